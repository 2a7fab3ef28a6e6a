//! What to ask a seed for in a swarm of leeches: first what none of those has.
//!
//! While the leeches together lack a piece, the swarm goes no faster than the seeds send, so what a
//! seed sends twice is lost to all. A piece that a leech has too is therefore left to the leeches,
//! one in progress included, as long as there are others. What the seed suggests comes first: it
//! suggests each piece to one peer (`choke::spread`), so that two do not begin the same by chance.
//! With nobody but seeds around, or if the order is sequential, this decides nothing.

use super::choose::Walk;
use super::{PeerKey, PickHints, Picker, lane};
use crate::bitfield::Bitfield;
use crate::piece::PieceIndex;
use crate::priority::PieceOrder;

impl Picker {
    /// A piece of this lane to fetch from this peer, because seeds alone have it; a new one only if
    /// not too many are in progress.
    pub(super) fn choose_only_at_seeds(
        &mut self,
        wanted_lane: usize,
        peer: PeerKey,
        has: &Bitfield,
        crowded: bool,
        hints: PickHints<'_>,
    ) -> Option<PieceIndex> {
        let among_leeches = has.is_all() && self.peers > 0;
        if !among_leeches || self.order == PieceOrder::Sequential {
            return None;
        }
        let begun = self.partials.loose().iter().filter(|partial| {
            self.is_only_at_seeds(partial.piece)
                && lane(self.priority(partial.piece)) == wanted_lane
                && self.owner(partial).is_none()
                && self.may_fetch(peer, partial)
        });
        let begun = begun.min_by_key(|p| (p.missing(), p.piece)).map(|partial| partial.piece);
        if begun.is_some() || crowded {
            return begun;
        }
        let suits = |piece: &PieceIndex| {
            self.open.has(*piece)
                && self.is_only_at_seeds(*piece)
                && lane(self.priority(*piece)) == wanted_lane
        };
        if let Some(piece) = hints.suggested.iter().copied().find(suits) {
            return Some(piece);
        }
        if self.begins_by_chance() {
            return None;
        }
        match self.walk(wanted_lane, has, 1) {
            Walk::Found(piece) if self.is_only_at_seeds(piece) => Some(piece),
            _ => None,
        }
    }
}
