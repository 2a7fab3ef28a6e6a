//! The download half of a peer: which pieces it has, whether it lets us download, our requests to it
//! and what came of them.
//!
//! Which blocks to request is decided by the torrent's [`Picker`](crate::picker::Picker).

use smallvec::SmallVec;

use crate::bitfield::Bitfield;
use crate::config::Config;
use crate::peer::claims::WholeClaims;
use crate::peer::early::EarlyPieces;
use crate::peer::pipeline::Pipeline;
use crate::piece::{Block, PieceIndex};
use crate::rate::RateMeter;
use crate::refusals::Refusals;

/// Allowed-fast and suggested pieces remembered of a peer (chosen; BEP 6 has sets of 10).
const FAST_PIECES: usize = 32;

/// What one peer has and what we requested of it.
#[derive(Debug)]
pub(crate) struct PeerDownload {
    pub(crate) am_interested: bool,
    pub(crate) peer_choking: bool,

    /// What the peer announced while the number of pieces was not known.
    pub(crate) early: EarlyPieces,
    pub(crate) has: Bitfield,
    /// Whether a bitfield, have-all, have-none or have has come: no bitfield may follow.
    pub(crate) has_announced: bool,
    /// What the peer said of all pieces at once.
    pub(crate) whole_claims: WholeClaims,
    /// Whether the picker counts the peer as a seed, but for pieces it lacks, rather than piece by piece.
    pub(crate) counted_as_seed: bool,
    /// Pieces the peer has that we still want.
    pub(crate) interesting: u32,

    pub(crate) pipeline: Pipeline,
    /// What the peer rejected lately.
    pub(crate) refusals: Refusals,
    /// Pieces the peer lets us fetch while it chokes us.
    pub(crate) allowed_to_us: SmallVec<[PieceIndex; 4]>,
    pub(crate) suggested: SmallVec<[PieceIndex; 4]>,
    /// Whether the peer ever suggested a piece: then it counts who has what, though it has everything.
    pub(crate) suggests: bool,
    /// Requests that follow the outbox: until they are handed out, a choke or a cancel takes them
    /// back.
    pub(crate) asking: Vec<Block>,

    pub(crate) down: RateMeter,
    pub(crate) downloaded: u64,
    /// Bytes that we did not request: of blocks, metadata and hashes.
    pub(crate) unasked_bytes: u64,
}

impl PeerDownload {
    /// Nothing is known of the peer, of a torrent of so many pieces.
    pub(crate) fn new(pieces: Option<u32>, config: &Config) -> Self {
        PeerDownload {
            am_interested: false,
            peer_choking: true,
            early: EarlyPieces::new(config.bounds.metadata_bytes),
            has: Bitfield::new(pieces.unwrap_or(0)),
            has_announced: false,
            whole_claims: WholeClaims::default(),
            counted_as_seed: false,
            interesting: 0,
            pipeline: Pipeline::new(config.bounds.own_requests, config.timeouts.snub),
            refusals: Refusals::default(),
            allowed_to_us: SmallVec::new(),
            suggested: SmallVec::new(),
            suggests: false,
            asking: Vec::new(),
            down: RateMeter::default(),
            downloaded: 0,
            unasked_bytes: 0,
        }
    }

    /// Whether the peer has every piece.
    pub(crate) fn has_everything(&self) -> bool {
        self.has_announced && self.has.is_all()
    }

    /// Whether a wanted piece could be requested now, were the connection open.
    pub(crate) fn is_source(&self) -> bool {
        !self.peer_choking && self.interesting > 0
    }

    /// Whether the peer may be asked for blocks now; while choked, for allowed-fast pieces only.
    pub(crate) fn can_request(&self) -> bool {
        self.am_interested && (!self.peer_choking || !self.allowed_to_us.is_empty())
    }

    /// Takes back a request that was not handed out yet; whether there was one.
    pub(crate) fn unask(&mut self, block: Block) -> bool {
        let before = self.asking.len();
        self.asking.retain(|asked| *asked != block);
        self.asking.len() < before
    }

    /// A request has ended. If it ended before it was handed out, it is not handed out any more.
    pub(crate) fn request_ended(&mut self, block: Block) {
        if self.pipeline.unsent() < self.asking.len() {
            self.unask(block);
        }
    }

    /// Remembers a piece that the peer lets us fetch while choked.
    pub(crate) fn allow(&mut self, piece: PieceIndex) {
        if self.allowed_to_us.len() < FAST_PIECES && !self.allowed_to_us.contains(&piece) {
            self.allowed_to_us.push(piece);
        }
    }

    /// Remembers a piece that the peer suggests: it has it in memory.
    pub(crate) fn suggest(&mut self, piece: PieceIndex) {
        if self.suggested.len() == FAST_PIECES {
            self.suggested.remove(0);
        }
        self.suggests = true;
        self.suggested.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    const fn block(number: u32) -> Block {
        Block { piece: PieceIndex(0), begin: number * 16384, length: 16384 }
    }

    fn unchoked() -> PeerDownload {
        let mut peer = PeerDownload::new(Some(8), &Config::default());
        peer.am_interested = true;
        peer.peer_choking = false;
        peer
    }

    #[test]
    fn request_that_ended_before_it_was_handed_out_is_not_handed_out() {
        let mut peer = unchoked();
        for number in [0, 1] {
            peer.pipeline.queued(block(number), Instant::ZERO);
            peer.asking.push(block(number));
        }
        peer.pipeline.rejected(block(0));
        peer.request_ended(block(0));
        assert_eq!(peer.asking, [block(1)]);
        assert!(peer.unask(block(1)) && !peer.unask(block(1)));
    }

    #[test]
    fn while_choked_only_allowed_pieces_may_be_requested_and_they_are_bounded() {
        let mut peer = unchoked();
        assert!(peer.can_request());
        peer.peer_choking = true;
        assert!(!peer.can_request());
        for piece in 0..1000 {
            peer.allow(PieceIndex(piece % 500));
            peer.suggest(PieceIndex(piece));
        }
        assert!(peer.can_request());
        assert_eq!((peer.allowed_to_us.len(), peer.suggested.len()), (FAST_PIECES, FAST_PIECES));
        assert_eq!(peer.suggested.last(), Some(&PieceIndex(999)), "the oldest goes first");
    }
}
