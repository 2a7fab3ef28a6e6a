//! A part of a file in the place of its bytes.
//!
//! What is read only to be sent on need not pass through memory: a host whose system can send from a
//! file answers with where the bytes lie, and finds that again in what it gathers. The engine cuts
//! such a part into blocks and looks no further.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::FileIndex;
use crate::id::StoreId;

/// A run of bytes in one file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilePart {
    /// The store of the file.
    pub store: StoreId,
    /// The file.
    pub file: FileIndex,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u32,
    /// What the host wants to have at hand when it sends this; not recorded.
    #[serde(skip)]
    pub handle: FileHandle,
}

/// Something of the host's own that goes with a [`FilePart`], such as the file that it has opened.
/// The engine does not look at it, and to it all are equal.
#[derive(Clone, Default)]
pub struct FileHandle(Option<Arc<dyn Any + Send + Sync>>);

impl FilePart {
    /// Drops the first `bytes` bytes, which are no more than there are.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.length);
        self.offset += u64::from(bytes);
        self.length -= bytes;
    }

    /// Keeps the first `bytes` bytes.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.length = self.length.min(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

impl FileHandle {
    /// A handle that is this.
    pub fn new(what: Arc<dyn Any + Send + Sync>) -> Self {
        FileHandle(Some(what))
    }

    /// What it is, if it is a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl PartialEq for FileHandle {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for FileHandle {}

impl fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "FileHandle" } else { "no FileHandle" })
    }
}
