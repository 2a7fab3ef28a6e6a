//! What keeps a torrent from being faster.

use crate::torrent::{Bottleneck, TorrentState};

/// Bytes per second below which nothing comes (chosen).
const STILL: u64 = 1;

/// What a bottleneck is told by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) state: TorrentState,
    pub(super) has_peers: bool,
    /// How many peers have metadata, while that is asked for.
    pub(super) metadata_sources: Option<usize>,
    /// Whether any peer has what we want.
    pub(super) is_offered_some: bool,
    /// Whether all that have something choke us.
    pub(super) is_choked: bool,
    pub(super) down: u64,
    pub(super) is_limited: bool,
    pub(super) disk_is_behind: bool,
}

/// What keeps a torrent from being faster.
pub(super) fn bottleneck(facts: &Facts) -> Bottleneck {
    match facts.state {
        TorrentState::Checking => return Bottleneck::Checking,
        TorrentState::DiskFailed => return Bottleneck::Disk,
        TorrentState::Metadata | TorrentState::Downloading => {}
        TorrentState::Seeding | TorrentState::Paused | TorrentState::Stopping => {
            return Bottleneck::None;
        }
    }
    match facts {
        Facts { has_peers: false, .. } => Bottleneck::NoPeers,
        Facts { metadata_sources: Some(0), .. } => Bottleneck::NothingOffered,
        Facts { metadata_sources: Some(_), .. } => Bottleneck::Peers,
        Facts { is_offered_some: false, .. } => Bottleneck::NothingOffered,
        // Who is choked by all gains nothing by a higher limit, which others use up.
        Facts { is_choked: true, down, .. } if *down < STILL => Bottleneck::Choked,
        Facts { is_limited: true, .. } => Bottleneck::RateLimit,
        Facts { disk_is_behind: true, .. } => Bottleneck::Disk,
        _ => Bottleneck::Peers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Facts = Facts {
        state: TorrentState::Downloading,
        has_peers: true,
        metadata_sources: None,
        is_offered_some: true,
        is_choked: false,
        down: 1_000,
        is_limited: false,
        disk_is_behind: false,
    };

    #[test]
    fn of_several_obstacles_the_one_is_told_without_which_the_others_would_show() {
        let limited = Facts { is_limited: true, disk_is_behind: true, ..FAST };
        let choked = Facts { is_choked: true, down: 0, ..limited };
        let useless = Facts { is_offered_some: false, ..choked };
        let alone = Facts { has_peers: false, ..useless };
        let told = [FAST, limited, choked, useless, alone].map(|facts| bottleneck(&facts));
        let expected = [
            Bottleneck::Peers,
            Bottleneck::RateLimit,
            Bottleneck::Choked,
            Bottleneck::NothingOffered,
            Bottleneck::NoPeers,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn who_is_choked_and_gets_blocks_all_the_same_is_limited_by_something_else() {
        let facts = Facts { is_choked: true, disk_is_behind: true, ..FAST };
        assert_eq!(bottleneck(&facts), Bottleneck::Disk);
    }

    #[test]
    fn metadata_waits_for_peers_that_have_it() {
        let metadata = |sources| {
            let state = TorrentState::Metadata;
            bottleneck(&Facts { state, metadata_sources: Some(sources), ..FAST })
        };
        assert_eq!([0, 1].map(metadata), [Bottleneck::NothingOffered, Bottleneck::Peers]);
    }
}
