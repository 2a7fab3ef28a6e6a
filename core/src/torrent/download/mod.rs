//! The download of a torrent: which blocks to request of which source, what becomes of blocks and
//! pieces that arrive, and which source sent a wrong one.
//!
//! A [`Source`] is anything that gives blocks: a peer on the wire, a file of another torrent. What a
//! source has and owes us is its [`SourceState`], which its owner keeps and passes in. The machine
//! knows neither connections nor files: it says which requests to cancel, which pieces to verify and
//! write, which leaf hashes to request and which addresses to ban; the torrent does it.
//!
//! Every block is requested, received and released at one place here, so that the [`Picker`], the
//! pipelines and [`LateBlocks`] never disagree.

mod assembly;
mod late_blocks;
pub(super) mod leaf_hashes;
mod local_source;
mod requests;
mod smart_ban;
mod source;
mod suspect_pieces;
#[cfg(test)]
mod tests;
mod underfilled;
mod verdicts;

use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::bitfield::Bitfield;
use crate::disk::FileIndex;
use crate::peer::pipeline::Standing;
use crate::picker::{Picker, Received};
use crate::piece::{Block, Geometry, PieceIndex};
use crate::priority::{FilePriority, PieceOrder};
use crate::random::PolicyRng;
use crate::time::Instant;
use crate::torrent::download::assembly::Assembly;
use crate::torrent::download::late_blocks::LateBlocks;
use crate::torrent::download::leaf_hashes::LeafHashes;
use crate::torrent::download::smart_ban::SmartBan;
use crate::torrent::download::suspect_pieces::SuspectPieces;
use crate::torrent::download::underfilled::Underfilled;
use crate::torrent::lazy::Lazy;
use crate::wire::BlockData;

pub(super) use local_source::{LocalFile, LocalSource};
pub(super) use requests::{Share, Terms};
pub(super) use source::{Source, SourceState};

/// The download of one torrent.
#[derive(Debug)]
pub(super) struct Download {
    picker: Picker,
    assembly: Assembly,
    smart_ban: Lazy<SmartBan<SocketAddr>>,
    /// Failed pieces whose blocks are held until leaf hashes show which are wrong.
    suspects: SuspectPieces,
    leaf_hashes: LeafHashes,
    late: LateBlocks,
    /// Sources that could be asked for more than there was to pick.
    underfilled: Underfilled,
    /// What is read from files of other torrents.
    pub(super) local: Lazy<LocalSource>,
}

/// What a block that arrived is good for.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It was not requested of this source.
    Unrequested,
    /// It was requested, and is here already or no longer wanted.
    Redundant,
    /// It was missing.
    Kept(Kept),
}

/// A block that was missing is held now.
#[derive(Debug)]
pub(super) struct Kept {
    /// Bytes that are held in memory since.
    pub(super) added: usize,
    /// Whether the piece is complete: verify and write it.
    pub(super) completes_piece: bool,
    /// The other sources of which the block was requested: these requests are to be
    /// [cancelled](Download::cancel).
    pub(super) cancel: SmallVec<[Source; 2]>,
}

impl Download {
    /// Nothing was received yet.
    pub(super) fn new(picker: Picker) -> Self {
        Download {
            picker,
            assembly: Assembly::default(),
            smart_ban: Lazy::default(),
            suspects: SuspectPieces::default(),
            leaf_hashes: LeafHashes::default(),
            late: LateBlocks::default(),
            underfilled: Underfilled::default(),
            local: Lazy::default(),
        }
    }

    // What there is to fetch.

    /// It is known how the torrent is cut: nothing of it is here yet, and all of it is wanted.
    pub(super) fn begin(&mut self, geometry: Geometry, rng: PolicyRng) {
        self.picker = Picker::new(geometry, rng);
    }

    /// How much a piece is wanted.
    pub(super) fn set_priority(&mut self, piece: PieceIndex, priority: FilePriority) {
        self.picker.set_priority(piece, priority);
    }

    /// Fetches pieces in this order from now on.
    pub(super) fn set_order(&mut self, order: PieceOrder) {
        self.picker.set_order(order);
    }

    /// A piece is not to be fetched for now: its hash is not known.
    pub(super) fn hold(&mut self, piece: PieceIndex) {
        self.picker.hold(piece);
    }

    /// It may be fetched.
    pub(super) fn let_go(&mut self, piece: PieceIndex) {
        self.picker.let_go(piece);
    }

    /// The pieces that are here, verified and written.
    pub(super) fn have(&self) -> &Bitfield {
        self.picker.have()
    }

    /// Whether everything wanted is.
    pub(super) fn is_finished(&self) -> bool {
        self.picker.is_finished()
    }

    /// The picker, to be asked.
    pub(super) fn picker(&self) -> &Picker {
        &self.picker
    }

    // Files of other torrents.

    /// Goes on with the next missing piece of another torrent's file, if none is under way; whether a
    /// part is to be read. `pieces_of` tells the pieces that have bytes of a file.
    pub(super) fn begin_next_local<Pieces: Iterator<Item = PieceIndex>>(
        &mut self,
        pieces_of: impl Fn(FileIndex) -> Pieces,
    ) -> bool {
        let Some(local) = self.local.get_mut() else { return false };
        let picker = &self.picker;
        let is_missing = |piece| {
            picker.is_interesting(piece) && !picker.is_held(piece) && !picker.is_verifying(piece)
        };
        local.begin_next(pieces_of, is_missing)
    }

    /// Nothing is read from files of other torrents any more.
    pub(super) fn forget_local(&mut self) {
        if let Some(local) = self.local.get_mut() {
            local.clear();
        }
    }

    // Blocks.

    /// A block has come from a source, of which `counted` bytes are content; `sender` is blamed if it
    /// is wrong.
    pub(super) fn block(
        &mut self,
        now: Instant,
        source: Source,
        sender: SocketAddr,
        state: &mut SourceState,
        (block, counted): (Block, u64),
        data: BlockData,
    ) -> Arrival {
        let standing = state.pipeline.received(block, now);
        state.request_ended(block);
        if standing == Some(Standing::Late) {
            self.late.remove(block, source);
        }
        if standing.is_none() {
            state.unasked_bytes += u64::from(block.length);
            return Arrival::Unrequested;
        }
        state.down.add(now, counted);
        state.downloaded += counted;
        state.refusals.delivered();
        self.keep(source, Some(sender), block, data).map_or(Arrival::Redundant, Arrival::Kept)
    }

    /// Keeps a block, if it was missing.
    pub(super) fn keep(
        &mut self,
        source: Source,
        sender: Option<SocketAddr>,
        block: Block,
        data: BlockData,
    ) -> Option<Kept> {
        let received = self.picker.received(source.key(), block);
        let Received::Accepted { piece_complete, also_requested_by } = received else {
            return None;
        };
        if let Some(sender) = sender {
            let smart_ban = self.smart_ban.make();
            smart_ban.received(block.piece, block.number(), sender);
            if piece_complete {
                // Blocks of padding alone were sent by no peer, and are no reason to doubt who sent the rest.
                let padding = self.picker.geometry().padding_blocks(block.piece);
                padding.for_each(|number| smart_ban.received(block.piece, number, sender));
            }
        }
        let held = self.assembly.held_bytes();
        self.assembly.insert(self.picker.geometry(), block, data);
        let mut cancel = SmallVec::new();
        if !also_requested_by.is_empty() {
            cancel.extend(also_requested_by.into_iter().map(Source::of));
        }
        self.late.take(block, &mut cancel);
        let added = self.assembly.held_bytes() - held;
        Some(Kept { added, completes_piece: piece_complete, cancel })
    }
}
