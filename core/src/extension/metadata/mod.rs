//! `ut_metadata`: the info dictionary from peers (BEP 9).
//!
//! [`MetadataMessage`] is what peers say, [`MetadataFetch`] decides whom to ask for what and whom
//! to believe, [`MetadataUploads`] what to answer to those who ask.

mod fetch;
mod message;
mod uploads;

pub use fetch::{MetadataFetch, MetadataProgress, Received};
pub use message::MetadataMessage;
pub use uploads::MetadataUploads;

/// Length of a piece of metadata in bytes; the last may be shorter (BEP 9, "metadata").
pub const METADATA_PIECE_LEN: u32 = 16 * 1024;

/// Length of a piece of metadata of `size` bytes; `None` if there is no such piece.
pub(crate) fn piece_len(size: u32, piece: u32) -> Option<u32> {
    let start = piece.checked_mul(METADATA_PIECE_LEN).filter(|&start| start < size)?;
    Some((size - start).min(METADATA_PIECE_LEN))
}
