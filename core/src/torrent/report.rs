//! How a torrent stands, and what keeps it from being faster.

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
        let wanted_bytes = self.wanted_bytes();
        let left = self.download.picker.missing_bytes();
        let done_bytes = match self.life.phase() {
            Phase::Checking => self.checked_bytes(),
            _ => wanted_bytes.saturating_sub(left),
        };
        let open = || self.peers.iter().filter(|(_, peer)| peer.is_open());
        TorrentStatus {
            id: self.id,
            name: self.name(),
            infohash: self.identity.primary(),
            state: self.state(),
            bottleneck: self.bottleneck(session, down, now),
            pieces: self.pieces(),
            pieces_have: self.download.picker.have().count(),
            total_bytes: self.content.as_ref().map_or(0, |content| content.geometry().data_len()),
            wanted_bytes,
            done_bytes,
            down_bytes_per_s: down,
            up_bytes_per_s: self.traffic.up_rate(now),
            downloaded_bytes: totals.downloaded,
            uploaded_bytes: totals.uploaded,
            failed_bytes: totals.failed,
            redundant_bytes: totals.redundant,
            peers: open().count(),
            seeds: open().filter(|(_, peer)| peer.download.has_everything()).count(),
            known_peers: self.book.len(),
            unchoked_us: open().filter(|(_, peer)| !peer.download.peer_choking).count(),
            eta: left.checked_div(down).filter(|_| left > 0).map(Duration::from_secs),
            trackers: self.tracker_status(now),
            metadata: self.metadata.as_ref().map(|fetch| fetch.progress()),
            disk_error: self.files.retry.error().cloned(),
        }
    }

    fn state(&self) -> TorrentState {
        match self.life.phase() {
            Phase::Ending { .. } | Phase::Ended => TorrentState::Stopping,
            _ if self.files.retry.is_failing() => TorrentState::DiskFailed,
            Phase::Metadata if self.life.is_paused() => TorrentState::Paused,
            Phase::Metadata => TorrentState::Metadata,
            Phase::Loading | Phase::Opening | Phase::Checking => TorrentState::Checking,
            Phase::Claiming | Phase::Reusing => TorrentState::Checking,
            Phase::Refused => TorrentState::Paused,
            Phase::Running if self.life.is_paused() => TorrentState::Paused,
            Phase::Running if self.is_finished() => TorrentState::Seeding,
            Phase::Running => TorrentState::Downloading,
        }
    }

    fn bottleneck(&self, session: &Session, down: u64, now: Instant) -> Bottleneck {
        match self.state() {
            TorrentState::Checking => return Bottleneck::Checking,
            TorrentState::DiskFailed => return Bottleneck::Disk,
            TorrentState::Metadata | TorrentState::Downloading => {}
            TorrentState::Seeding | TorrentState::Paused | TorrentState::Stopping => {
                return Bottleneck::None;
            }
        }
        let open = || self.peers.iter().map(|(_, peer)| peer).filter(|peer| peer.is_open());
        if open().next().is_none() {
            return Bottleneck::NoPeers;
        }
        if let Some(fetch) = &self.metadata {
            let asking = fetch.progress().sources > 0;
            return if asking { Bottleneck::Peers } else { Bottleneck::NothingOffered };
        }
        if open().all(|peer| peer.download.interesting == 0) {
            return Bottleneck::NothingOffered;
        }
        // Who is choked by all gains nothing by a higher limit, which others use up.
        let choked =
            open().all(|peer| peer.download.interesting == 0 || peer.download.peer_choking);
        if choked && down < STILL {
            return Bottleneck::Choked;
        }
        if self.traffic.is_limited(now) || session.download.is_the_brake(now) {
            return Bottleneck::RateLimit;
        }
        if session.disk_is_behind() { Bottleneck::Disk } else { Bottleneck::Peers }
    }

    fn wanted_bytes(&self) -> u64 {
        match &self.content {
            Some(content) if content.wants_all() => content.geometry().data_len(),
            _ => self.download.picker.wanted_bytes(),
        }
    }

    fn checked_bytes(&self) -> u64 {
        let Some(geometry) = self.content.as_ref().map(|known| known.geometry()) else { return 0 };
        let (done, total) = self.files.checker.progress();
        let trusted = u64::from(self.download.picker.have().count().saturating_sub(done));
        let checked = u64::from(done) + if total == 0 { 0 } else { trusted };
        let pieces = u128::from(geometry.pieces().max(1));
        let bytes = u128::from(geometry.data_len()) * u128::from(checked) / pieces;
        u64::try_from(bytes).unwrap_or(u64::MAX).min(geometry.data_len())
    }
}
