//! The hashes of the pieces of a torrent to be made.

use sha1::{Digest, Sha1};

use super::error::CreateError;
use super::protocol::Protocol;
use crate::merkle::{Accumulator, BlockHasher, TreeShape};
use crate::piece::{Geometry, Sha256Hash};
use crate::storage::layout::Layout;

/// The hashes of all pieces in order, one after the other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PieceHashes {
    /// SHA-1 over each piece with its padding, 20 bytes each; empty for v2 alone.
    pub v1: Vec<u8>,
    /// The node of its file's merkle tree that each piece is, 32 bytes each: of layer
    /// [`Layout::merkle_layer`]. Padding is no part of it. Empty for v1.
    pub v2: Vec<u8>,
}

impl PieceHashes {
    /// As many as a torrent needs, to be replaced by the right ones.
    pub fn placeholders(protocol: Protocol, geometry: &Geometry) -> Self {
        let pieces = geometry.pieces() as usize;
        let hashes = |wanted: bool, len: usize| vec![0xff; if wanted { pieces * len } else { 0 }];
        PieceHashes { v1: hashes(protocol.has_v1(), 20), v2: hashes(protocol.has_v2(), 32) }
    }

    pub(super) fn check(&self, protocol: Protocol, geometry: &Geometry) -> Result<(), CreateError> {
        let pieces = geometry.pieces() as usize;
        for (wanted, hashes, len) in
            [(protocol.has_v1(), &self.v1, 20), (protocol.has_v2(), &self.v2, 32)]
        {
            let (given, needed) = (hashes.len(), if wanted { pieces * len } else { 0 });
            if given != needed {
                return Err(CreateError::PieceHashes { given, needed });
            }
        }
        Ok(())
    }

    /// Of content that is in memory; what is missing at its end counts as zeros.
    /// `starts` has where each stored file begins in it.
    pub(super) fn of_content(
        protocol: Protocol,
        starts: &[usize],
        layout: &Layout,
        content: &[u8],
    ) -> Self {
        let mut hashes = PieceHashes::default();
        for piece in layout.geometry().iter() {
            let (mut sha1, mut blocks) = (Sha1::new(), BlockHasher::default());
            for span in layout.piece_spans(piece) {
                let start = span.file.and_then(|file| starts.get(file.0 as usize));
                let start = start.map(|start| start + span.offset as usize);
                let end = start.map(|start| start + span.length as usize);
                match start.zip(end).and_then(|(start, end)| content.get(start..end)) {
                    Some(bytes) => {
                        sha1.update(bytes);
                        blocks.update(bytes);
                    }
                    None => sha1.update(vec![0; span.length as usize]),
                }
            }
            if protocol.has_v1() {
                hashes.v1.extend(sha1.finalize());
            }
            let node = layout.merkle_layer(piece).and_then(|layer| blocks.finish(layer));
            hashes.v2.extend(node.filter(|_| protocol.has_v2()).into_iter().flatten());
        }
        hashes
    }

    /// The hashes of v2 of a file, whose place among the layout's files is given.
    pub(super) fn of_file<'a>(&'a self, layout: &Layout, file: usize) -> &'a [[u8; 32]] {
        let pieces = layout.pieces_of_file(file);
        let all = self.v2.as_chunks::<32>().0;
        all.get(pieces.start as usize..pieces.end as usize).unwrap_or_default()
    }
}

/// The pieces root of a file with these piece hashes; `None` if it is empty.
pub(super) fn root(hashes: &[Sha256Hash], file_len: u64, piece_len: u32) -> Option<Sha256Hash> {
    let shape = TreeShape::new(file_len, piece_len)?;
    if !shape.has_piece_layer() {
        return hashes.first().copied();
    }
    let mut above = Accumulator::new(shape.piece_layer());
    hashes.iter().for_each(|hash| above.push(*hash));
    above.finish(shape.height())
}
