//! How a torrent stands, and what keeps it from being faster.

use crate::peer::Peer;
use crate::session::Session;
use crate::time::{Duration, Instant};
use crate::torrent::lifecycle::Phase;
use crate::torrent::{Bottleneck, Torrent, TorrentState, TorrentStatus};

/// A torrent that got nothing for this long is not limited by its peers' speed (chosen).
const STILL: u64 = 1;

impl Torrent {
    /// A snapshot.
    pub(crate) fn status(&self, session: &Session, now: Instant) -> TorrentStatus {
        let (down, totals) = (self.traffic.down_rate(now), self.traffic.totals());
        let content = self.content.as_deref();
        let total_bytes = content.map_or(0, |content| content.geometry().data_len());
        let wanted_bytes = match content {
            Some(content) if content.wants_all() => total_bytes,
            _ => self.download.picker.wanted_bytes(),
        };
        let have = self.download.picker.have().count();
        let left = self.download.picker.missing_bytes();
        let done_bytes = match (self.life.phase(), content) {
            (Phase::Checking, Some(content)) => {
                self.files.checker.bytes_checked(content.geometry(), have)
            }
            _ => wanted_bytes.saturating_sub(left),
        };
        let open = || self.swarm.peers.iter().map(|(_, peer)| peer).filter(|peer| peer.is_open());
        let state = self.life.state(self.files.retry.is_failing(), self.is_finished());
        let metadata = self.acquisition.fetch.as_ref().map(|fetch| fetch.progress());
        let is_held_up = |peer: &Peer| peer.download.interesting == 0 || peer.download.peer_choking;
        let bottleneck = bottleneck(&Facts {
            state,
            has_peers: open().next().is_some(),
            metadata_sources: metadata.map(|progress| progress.sources),
            is_offered_some: open().any(|peer| peer.download.interesting > 0),
            is_choked: open().all(is_held_up),
            down,
            is_limited: self.traffic.is_limited(now) || session.download.is_the_brake(now),
            disk_is_behind: session.disk_is_behind(),
        });
        TorrentStatus {
            id: self.id,
            name: self.name(),
            infohash: self.identity.primary(),
            state,
            bottleneck,
            pieces: self.pieces(),
            pieces_have: have,
            total_bytes,
            wanted_bytes,
            done_bytes,
            down_bytes_per_s: down,
            up_bytes_per_s: self.traffic.up_rate(now),
            downloaded_bytes: totals.downloaded,
            uploaded_bytes: totals.uploaded,
            failed_bytes: totals.failed,
            redundant_bytes: totals.redundant,
            peers: open().count(),
            seeds: open().filter(|peer| peer.download.has_everything()).count(),
            known_peers: self.swarm.book.len(),
            unchoked_us: open().filter(|peer| !peer.download.peer_choking).count(),
            eta: left.checked_div(down).filter(|_| left > 0).map(Duration::from_secs),
            trackers: self.announcing.trackers.status(now),
            metadata,
            disk_error: self.files.retry.error().cloned(),
        }
    }
}

/// What a bottleneck is told by.
#[derive(Clone, Copy, Debug)]
struct Facts {
    state: TorrentState,
    has_peers: bool,
    /// How many peers have metadata, while that is asked for.
    metadata_sources: Option<usize>,
    /// Whether any peer has what we want.
    is_offered_some: bool,
    /// Whether all that have something choke us.
    is_choked: bool,
    down: u64,
    is_limited: bool,
    disk_is_behind: bool,
}

fn bottleneck(facts: &Facts) -> Bottleneck {
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
