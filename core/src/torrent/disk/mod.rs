//! A torrent and its files: what is there, whose it is, what may be written, when it is recorded, and
//! a disk that fails.
//!
//! | file | what is decided there |
//! |---|---|
//! | `checker` | which pieces are hashed, and how far that has come |
//! | `padding_pieces` | which pieces of padding are hashed for all |
//! | `claims` | whose the files are that are to be written, and what is to be made |
//! | `retry` | what waits for a disk that fails, and when it is tried again |
//! | `unreadable` | which pieces are refused because they cannot be read |
//! | `saving` | when all is recorded, and whether it may be said to be complete |
//! | `resume_saver` | the rhythm of flushing and recording |
//!
//! The machines know neither each other nor session and torrent. [`Files`] hands them what the disk has
//! answered and says which steps follow: `startup` on the way to running, `durability` from then on. The
//! torrent carries the steps out (`torrent/files.rs`).

mod checker;
mod claims;
mod durability;
mod padding_pieces;
mod resume_saver;
mod retry;
mod saving;
mod startup;
mod unreadable;

use crate::torrent::disk::checker::Checker;
use crate::torrent::disk::claims::Claims;
use crate::torrent::disk::retry::Retry;
use crate::torrent::disk::saving::Saving;

pub(super) use durability::Record;

/// The machines of a torrent's files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) checker: Checker,
    pub(super) claims: Claims,
    pub(super) retry: Retry,
    pub(super) saving: Saving,
}

impl Files {
    /// Of a torrent of which nothing is known yet. `is_all_hashed`: even if resume data would answer.
    pub(super) fn new(is_all_hashed: bool) -> Self {
        Files {
            checker: Checker::default(),
            claims: Claims::default(),
            retry: Retry::default(),
            saving: Saving::new(is_all_hashed),
        }
    }
}
