//! What a peer sends that it was not asked for: blocks twice, cancelled ones, other lengths, hashes and
//! metadata that we did not request.
//!
//! It costs us the bytes, no more, and a peer that does so may be the only one that has the torrent. So
//! waste costs a peer its priority, and is bounded by bytes: by an allowance, and by what the peer sends
//! of use. Where there is another source less is borne. What passed on earlier connections with the
//! address counts, so that a new connection is no new allowance (defence 39).

/// Wasted bytes that say nothing about a peer (chosen: what crosses cancels).
const NEGLIGIBLE: u64 = 256 * 1024;
/// A peer whose waste is more than this part of what it sent of use is wasteful (chosen).
const WASTEFUL_PART: u64 = 8;
/// Wasted bytes that are borne of every peer (chosen).
const ALLOWANCE: u64 = 4 * 1024 * 1024;
/// Wasted bytes borne for each byte of use where there are other sources (chosen: each block twice).
const BORNE: u64 = 1;
/// The same of the only source (chosen: a download sixteen times as dear is better than none).
const BORNE_OF_ONLY_SOURCE: u64 = 16;

/// What a peer has sent us, on this connection and earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Waste {
    /// Bytes that it was not asked for.
    pub(crate) wasted: u64,
    /// Bytes of blocks that it was asked for.
    pub(crate) useful: u64,
}

impl Waste {
    /// Whether others are to be preferred.
    pub(crate) fn is_wasteful(self) -> bool {
        self.wasted > NEGLIGIBLE && self.wasted > self.useful / WASTEFUL_PART
    }

    /// Whether it is more than is borne of the peer, given whether it is the only source.
    pub(crate) fn is_too_much(self, is_only_source: bool) -> bool {
        let borne = if is_only_source { BORNE_OF_ONLY_SOURCE } else { BORNE };
        self.wasted > ALLOWANCE.saturating_add(self.useful.saturating_mul(borne))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn waste(wasted: u64, useful: u64) -> Waste {
        Waste { wasted, useful }
    }

    #[test]
    fn every_block_twice_costs_priority_and_is_borne_for_ever() {
        for useful in [MIB, 100 * MIB, u64::MAX / 2] {
            let twice = waste(useful, useful);
            assert!(twice.is_wasteful());
            assert!(!twice.is_too_much(false) && !twice.is_too_much(true));
        }
    }

    #[test]
    fn of_the_only_source_more_is_borne_and_not_everything() {
        let five_times = waste(400 * MIB, 100 * MIB);
        assert!(five_times.is_too_much(false) && !five_times.is_too_much(true));
        assert!(waste(2000 * MIB, 100 * MIB).is_too_much(true));
    }

    #[test]
    fn a_flood_without_use_ends_with_the_allowance() {
        assert!(!waste(4 * MIB, 0).is_too_much(true));
        assert!(waste(4 * MIB + 1, 0).is_too_much(true));
    }

    #[test]
    fn a_few_blocks_that_crossed_a_cancel_are_no_waste() {
        assert!(!waste(200 * 1024, 0).is_wasteful());
        assert!(!waste(MIB, 100 * MIB).is_wasteful());
    }
}
