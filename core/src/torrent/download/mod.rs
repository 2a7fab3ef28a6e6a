//! The download of a torrent: which blocks to request of which source, what becomes of blocks and
//! pieces that arrive, and which source sent a wrong one.
//!
//! A [`Source`] is anything that gives blocks: a peer on the wire, a file of another torrent. What a
//! source has and owes us is its [`SourceState`], which its owner keeps and passes in. The machine
//! knows no connections and touches no file: it answers with the steps that the torrent carries out, requests
//! to the disk among them.
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
mod written;

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskRequest};
use crate::peer::pipeline::Standing;
use crate::picker::{Picker, Received};
use crate::piece::{BLOCK_LEN, Block, Geometry, PieceIndex};
use crate::priority::{FilePriority, PieceOrder};
use crate::random::PolicyRng;
use crate::session::op::TorrentOp;
use crate::time::Instant;
use crate::torrent::content::Content;
use crate::torrent::download::assembly::Assembly;
use crate::torrent::download::late_blocks::LateBlocks;
use crate::torrent::download::leaf_hashes::LeafHashes;
use crate::torrent::download::smart_ban::SmartBan;
use crate::torrent::download::suspect_pieces::SuspectPieces;
use crate::torrent::download::underfilled::Underfilled;
use crate::torrent::lazy::Lazy;
use crate::torrent::step::{DiskResult, Step};
use crate::wire::BlockData;

pub(super) use local_source::{LocalFile, LocalPart, LocalSource};
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

/// What was read from another torrent's file.
#[derive(Debug)]
pub(super) struct LocalBlocks {
    /// The part of a piece that it is.
    pub(super) part: LocalPart,
    /// Its blocks, from its beginning on.
    pub(super) blocks: Vec<(Block, Bytes)>,
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

    /// Goes on with the next missing piece of another torrent's file, if none is under way.
    pub(super) fn next_local(&mut self, content: &Content) -> Option<Step> {
        let local = self.local.get_mut()?;
        let picker = &self.picker;
        let is_missing = |piece| {
            picker.is_interesting(piece) && !picker.is_held(piece) && !picker.is_verifying(piece)
        };
        let begins = local.begin_next(|file| content.pieces_of(file), is_missing);
        begins.then_some(Step::ReadLocal)
    }

    /// Reads the next part of a piece from the other torrent's file.
    pub(super) fn read_local(&self, content: &Content) -> Option<Step> {
        let local = self.local.get()?;
        let (store, span) = local.next_part(|piece| content.layout.piece_spans(piece))?;
        let read = DiskRequest::Read { store, spans: span.into_iter().collect() };
        Some(Step::Disk(TorrentOp::ReadFromOther, read))
    }

    /// A part of a piece was read from the other torrent's file: which, and its blocks. A file that cannot
    /// be read is given up; then the step that follows, if one does.
    pub(super) fn local_read(
        &mut self,
        content: &Content,
        result: DiskResult,
    ) -> Result<LocalBlocks, Option<Step>> {
        let local = self.local.get_mut().ok_or(None)?;
        let mut data = match result {
            Ok(DiskDone::Read(data)) if !data.is_empty() => data,
            _ => return Err(local.give_up_file().then_some(Step::NextLocal)),
        };
        let len_of = |piece| content.geometry().data_len_of(piece);
        let part = local.part_read(data.len(), len_of).ok_or(None)?;
        let mut blocks = Vec::new();
        for number in part.begin / BLOCK_LEN.. {
            let block = content.geometry().block(part.piece, number);
            let len = block.length as usize;
            if data.is_empty() || len == 0 || data.len() < len {
                break;
            }
            blocks.push((block, data.split_to(len)));
        }
        Ok(LocalBlocks { part, blocks })
    }

    /// The blocks of a part were kept, if the torrent still downloads: what comes next. If the piece waits for
    /// its verdict, that goes on with the next.
    pub(super) fn local_part_taken(&mut self, part: LocalPart, downloads: bool) -> Option<Step> {
        if !part.is_last && downloads {
            return Some(Step::ReadLocal);
        }
        if self.picker.is_verifying(part.piece) && downloads {
            return None;
        }
        if let Some(local) = self.local.get_mut() {
            local.end_piece();
        }
        Some(Step::NextLocal)
    }

    /// A piece was verified, or lost.
    pub(super) fn local_settled(&mut self, piece: PieceIndex) -> Option<Step> {
        let goes_on = self.local.get_mut().is_some_and(|local| local.settled(piece));
        goes_on.then_some(Step::NextLocal)
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
