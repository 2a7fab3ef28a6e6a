//! The log's form: magic, version, and frames, each behind its length.
//!
//! The first frame is the header; all others are inputs or checkpoints. Everything is in postcard's
//! encoding. A frame that is cut off ends the log.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::encode::append;
use super::fingerprint::Fingerprint;
use crate::config::Config;
use crate::time::{Instant, UnixTime};

pub(super) const MAGIC: [u8; 8] = *b"bswarmLG";
/// Of everything after the magic. To be raised when an input or the configuration changes.
pub(super) const VERSION: u16 = 11;

/// What an engine is born with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) config: Config,
    pub(super) seed: [u8; 32],
    pub(super) now: Instant,
    pub(super) wall: UnixTime,
    /// Whether names were made safe for Windows.
    pub(super) windows_paths: bool,
}

/// What follows the header. `I` is an input, or a reference to one where it is only written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Frame<I> {
    Input {
        now: Instant,
        input: I,
    },
    /// What everything before comes to.
    Checkpoint(Fingerprint),
}

/// Begins a log.
pub(super) fn begin(header: &Header) -> postcard::Result<Vec<u8>> {
    let mut log = Vec::new();
    log.extend(MAGIC);
    log.extend(VERSION.to_le_bytes());
    write(&mut log, header)?;
    Ok(log)
}

/// Appends a frame; returns its content. On an error nothing is appended.
pub(super) fn write<'a, T: Serialize>(
    log: &'a mut Vec<u8>,
    content: &T,
) -> postcard::Result<&'a [u8]> {
    let start = log.len();
    log.extend([0; 4]);
    let done = append(log, content);
    let len = u32::try_from(log.len() - start - 4);
    match (done, len) {
        (Ok(()), Ok(len)) => {
            log[start..start + 4].copy_from_slice(&len.to_le_bytes());
            Ok(&log[start + 4..])
        }
        (done, _) => {
            log.truncate(start);
            Err(done.err().unwrap_or(postcard::Error::SerializeBufferFull))
        }
    }
}

/// Takes the content of the first frame off the log; `None` if it is cut off or there is none.
pub(super) fn next<'a>(log: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = log.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (content, rest) = rest.split_at_checked(len)?;
    *log = rest;
    Some(content)
}

/// Reads the content of a frame.
pub(super) fn read<T: DeserializeOwned>(content: &[u8]) -> Option<T> {
    postcard::take_from_bytes(content).ok().filter(|(_, rest)| rest.is_empty()).map(|(it, _)| it)
}
