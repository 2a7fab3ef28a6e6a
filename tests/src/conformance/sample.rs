//! A torrent of one file whose content is at hand.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bitswarm_core::metainfo::{Creator, Metainfo};

use crate::interop::wire::{self, Message};

/// Content in memory, and its torrent.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) data: Arc<[u8]>,
    pub(super) metainfo: Arc<Metainfo>,
    pub(super) piece_len: usize,
}

impl Sample {
    /// So many bytes in pieces of 64 KiB.
    pub(super) fn new(len: usize) -> Self {
        Sample::numbered(0, len, 64 << 10)
    }

    /// One that differs from those of other numbers.
    pub(super) fn numbered(number: u32, len: usize, piece_len: u32) -> Self {
        let name = format!("file {number}");
        let salt = number.wrapping_mul(0x9E37_79B9);
        let byte = |n: u32| ((n ^ salt).wrapping_mul(2_654_435_761) >> 13) as u8;
        let data: Arc<[u8]> = (0..len as u32).map(byte).collect();
        let mut new = Creator::single_file(name.clone(), len as u64);
        new.piece_length = piece_len;
        let metainfo = Arc::new(new.finish_with_content(&data).unwrap());
        Sample { name, data, metainfo, piece_len: piece_len as usize }
    }

    pub(super) fn infohash(&self) -> [u8; 20] {
        self.metainfo.infohash().0
    }

    pub(super) fn pieces(&self) -> usize {
        self.data.len().div_ceil(self.piece_len)
    }

    /// The message of a peer that has everything.
    pub(super) fn everything(&self) -> Message {
        wire::bitfield(self.pieces(), |_| true)
    }

    pub(super) fn block(&self, piece: u32, begin: u32, len: u32) -> &[u8] {
        let start = piece as usize * self.piece_len + begin as usize;
        &self.data[start..start + len as usize]
    }

    /// The message that answers a request.
    pub(super) fn piece(&self, piece: u32, begin: u32, len: u32) -> Message {
        Message::Piece(piece, begin, self.block(piece, begin, len).to_vec())
    }

    /// Puts the file into a directory, which is made.
    pub(super) fn write_to(&self, root: &Path) {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join(&self.name), &self.data).unwrap();
    }

    /// Checks that the file in `root` is whole.
    pub(super) fn assert_in(&self, root: &Path) {
        let found = fs::read(root.join(&self.name)).unwrap();
        assert_eq!(found.len(), self.data.len());
        assert!(found == *self.data, "{} differs", self.name);
    }
}
