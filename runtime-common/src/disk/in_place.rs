//! Sending from a file without reading it: the bytes go from the page cache to the socket.
//!
//! A read that is only to be sent is answered with where its bytes lie, if they are all in memory
//! and enough of them to be worth two system calls. The file stays open until they are sent, so that
//! it may be moved, removed or closed meanwhile. It may also be cut short or fail to be read, and
//! then what was begun to be sent cannot be finished: `Lost`. Whatever else the system cannot do is
//! read and sent as any other bytes.

use std::fmt;
use std::io;

use bitswarm_core::StoreId;
use bitswarm_core::disk::{DiskError, DiskErrorKind, FileHandle, FileIndex, FilePart, Span};
use bytes::Bytes;
use rustix::io::{Errno, pread, retry_on_intr};
use socket2::SockRef;

use super::at_once;
use super::error::{disk_error, told};
use super::files::{Access, FileCache, OpenFile};

/// Least that is sent in place, in bytes (chosen: a block; less is copied as soon).
const LEAST: u32 = 16 * 1024;

/// What became of a part.
pub(crate) enum Sent {
    /// The socket took this many of its bytes, at least one. If these were not all, it may be full
    /// or not: the next call tells.
    Some(usize),
    /// Its bytes, all of them, to be sent in the way of others.
    Read(Bytes),
}

/// A part of a file that was to be sent and cannot be read.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) file: FileIndex,
    pub(crate) offset: u64,
    pub(crate) error: DiskError,
}

/// Where all of the bytes lie, if they are in memory, and in one file that is open.
pub(super) fn find(spans: &[Span], store: StoreId, cache: &FileCache) -> Option<FilePart> {
    let &[Span { file: Some(file), offset, length }] = spans else { return None };
    if length < LEAST || !cache.may_lend() {
        return None;
    }
    let open = cache.get((store, file.0), Access::Read)?;
    at_once::is_cached(&open, offset, length.into()).then(|| FilePart {
        store,
        file,
        offset,
        length,
        handle: FileHandle::new(open),
    })
}

/// Sends some of a part. An error that is not a [`Lost`] is the socket's.
pub(crate) fn send(socket: &SockRef<'_>, part: &FilePart) -> io::Result<Sent> {
    let Some(file) = part.handle.get::<OpenFile>() else {
        return Err(lost(part, told(DiskErrorKind::Io, "".as_ref(), "sent by another host")));
    };
    match send_file(socket, file, part) {
        Ok(count @ 1..) => Ok(Sent::Some(count)),
        Err(errno @ (Errno::AGAIN | Errno::INTR)) => Err(errno.into()),
        // The end of the file, its failure, the socket's, or something that the system cannot do:
        // reading tells the first two, sending the third.
        Ok(0) | Err(_) => read(file, part).map(Sent::Read).map_err(|error| lost(part, error)),
    }
}

#[cfg(target_os = "linux")]
fn send_file(socket: &SockRef<'_>, file: &OpenFile, part: &FilePart) -> Result<usize, Errno> {
    let mut offset = part.offset;
    rustix::fs::sendfile(&**socket, file, Some(&mut offset), part.length as usize)
}

#[cfg(not(target_os = "linux"))]
fn send_file(_: &SockRef<'_>, _: &OpenFile, _: &FilePart) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP)
}

fn read(file: &OpenFile, part: &FilePart) -> Result<Bytes, DiskError> {
    let mut bytes = vec![0; part.length as usize];
    let mut at = 0;
    while at < bytes.len() {
        let from = part.offset + at as u64;
        match retry_on_intr(|| pread(file, &mut bytes[at..], from)) {
            Ok(0) => return Err(told(DiskErrorKind::Short, file.path(), "")),
            Ok(count) => at += count,
            Err(errno) => return Err(disk_error(file.path(), errno)),
        }
    }
    Ok(bytes.into())
}

fn lost(part: &FilePart, error: DiskError) -> io::Error {
    io::Error::other(Lost { file: part.file, offset: part.offset, error })
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be sent: {}", self.error)
    }
}

impl std::error::Error for Lost {}
