//! One torrent: wires picker, choker, peers and storage together.
//!
//! The files here route and keep the books; what to fetch, whom to serve, when to announce, whom to
//! blame and when to save is decided by the machines they call:
//!
//! | file | what happens there |
//! |---|---|
//! | `identity` | by which infohashes it is known |
//! | `content` | what it consists of, and which files are wanted |
//! | `metadata` | from a magnet link to what the torrent is; the same for others |
//! | `lifecycle` | its phase, pause, the farewell |
//! | `disk` | the way to running, what may be written, saving, a disk that fails |
//! | `announcing` | trackers and the DHT are told, and tell of peers |
//! | `swarm` | which peers are connected and kept, which addresses are known, peer exchange |
//! | `peers` | peers come and go: between `swarm` and the connections |
//! | `handshake` | the first words of a connection |
//! | `messages` | a peer's bytes become messages, each for a part below |
//! | `half_messages` | what has come of messages is bounded for all peers together |
//! | `places` | who yields a place to a newcomer |
//! | `peer_pieces` | what peers have, and whether it interests us |
//! | `download` | which blocks to request of which source, what becomes of blocks and pieces |
//! | `transfer` | requests out, blocks in, pieces to disk: between `download`, peers and files |
//! | `local_files` | files that another torrent gets whole meanwhile |
//! | `upload` | which requests are served, when peers are unchoked, what is suggested, hashes for peers |
//! | `serve` | requests in, blocks and hashes out: between `upload`, peers and files |
//! | `traffic` | what is moved, how fast, under which limits |
//! | `end` | pause, resume, removal, the session's stop |
//! | `report` | how it stands |
//! | `rare` | what an idle torrent does without |

mod announcing;
mod content;
mod disk;
mod download;
mod end;
mod failed_dials;
mod half_messages;
mod handshake;
mod identity;
mod lifecycle;
mod local_files;
mod messages;
pub mod metadata;
pub mod options;
pub mod peer_book;
mod peer_pieces;
pub mod peer_priority;
mod peers;
mod places;
mod rare;
mod report;
pub(crate) mod selection;
mod serve;
mod start;
pub mod status;
mod swarm;
mod traffic;
mod transfer;
mod upload;

use std::sync::Arc;

use crate::config::RateLimits;
use crate::deadline::TimerKey;
use crate::disk::{DiskRequest, VerifyRequest};
use crate::id::{StoreId, TorrentId};
use crate::metainfo::Metainfo;
use crate::piece::{InfoHash, PieceIndex};
use crate::random::PolicyRng;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::time::Instant;
use crate::timer::TimerId;
use crate::torrent::announcing::Announcing;
use crate::torrent::content::{Choices, Content};
use crate::torrent::disk::Files;
use crate::torrent::download::Download;
use crate::torrent::identity::Identity;
use crate::torrent::lifecycle::{Lifecycle, Phase};
use crate::torrent::metadata::Acquisition;
use crate::torrent::swarm::Swarm;
use crate::torrent::traffic::{Released, Traffic};
use crate::torrent::upload::{LeafHashes, Upload};
use crate::transport::ReadPause;

pub use crate::priority::{FilePriority, PieceOrder};
pub use crate::tracker::TrackerStatus;
pub use options::{AddTorrent, TorrentSource};
pub use status::{Bottleneck, TorrentState, TorrentStatus};

/// One torrent of the session.
#[derive(Debug)]
pub(crate) struct Torrent {
    pub(crate) id: TorrentId,
    identity: Identity,
    /// What it consists of; until that is known it has no pieces and no files.
    content: Option<Box<Content>>,
    /// What the user chose beforehand, until then.
    choices: Option<Box<Choices>>,
    store: StoreId,
    /// What is still to be learnt of it.
    acquisition: Acquisition,
    life: Lifecycle,
    files: Files,
    download: Download,
    upload: Upload,
    swarm: Swarm,
    announcing: Announcing,
    traffic: Traffic,
    policy: PolicyRng,
    timer: TimerId,
}

impl Torrent {
    /// Whether pieces may go to and fro.
    fn is_active(&self) -> bool {
        self.life.is_active()
    }

    /// Whether new peers are welcome.
    fn welcomes_peers(&self) -> bool {
        (self.is_active() && !self.life.is_idle()) || self.is_fetching_metadata()
    }

    /// Whether peers are asked what it is, or for the layers where no more than that is wanted.
    fn is_fetching_metadata(&self) -> bool {
        let may_ask = self.life.phase() == Phase::Metadata && !self.life.is_paused();
        may_ask && self.acquisition.asks_peers()
    }

    /// Whether peers may be found by other means than trackers and the user: DHT, peer exchange,
    /// local discovery. The one place that decides it: never for a private torrent (BEP 27). While
    /// only a magnet link is known it is not known to be private either.
    pub(crate) fn discovery_allowed(&self) -> bool {
        self.metainfo().is_none_or(|metainfo| !metainfo.is_private())
    }

    /// What it is, once that is known.
    pub(crate) fn metainfo(&self) -> Option<&Arc<Metainfo>> {
        self.content.as_ref().map(|content| &content.metainfo)
    }

    /// Its pieces; none before it is known what it is.
    fn pieces(&self) -> u32 {
        self.content.as_ref().map_or(0, |content| content.geometry().pieces())
    }

    /// Its name, fit to be shown.
    fn name(&self) -> String {
        match (self.metainfo(), self.acquisition.magnet()) {
            (Some(metainfo), _) => metainfo.name().to_owned(),
            (None, Some(magnet)) => magnet.shown_name(),
            (None, None) => self.identity.primary().to_string(),
        }
    }

    /// By which infohashes it is known to others: of a hybrid two, as far as they are known.
    pub(crate) fn infohashes(&self) -> impl Iterator<Item = InfoHash> + use<> {
        self.identity.infohashes().short()
    }

    /// The other infohash of a hybrid, once: when it has become known.
    pub(crate) fn take_new_infohash(&mut self) -> Option<InfoHash> {
        self.identity.take_news()
    }

    /// Has a piece read from disk and compared with its hash.
    fn verify_piece(&mut self, session: &mut Session, piece: PieceIndex, why: TorrentOp) {
        let (Some(expect), Some(content)) = (self.piece_hash(piece), &self.content) else { return };
        let spans = content.layout.piece_spans(piece);
        let tell_zeros = self.files.claims.tells_zeros(content, piece);
        let request = VerifyRequest { store: self.store, spans, expect, tell_zeros };
        self.disk(session, why, DiskRequest::Verify(Box::new(request)));
    }

    /// Whether everything wanted is verified and written.
    fn is_finished(&self) -> bool {
        self.content.is_some() && self.download.picker.is_finished()
    }

    /// Whether every piece is verified and written, wanted or not.
    fn has_everything(&self) -> bool {
        self.content.is_some() && self.download.picker.have().is_all()
    }

    /// Whether it lacks something and fetches nothing: only a part is wanted, and is here (BEP 21).
    fn is_partial_seed(&self) -> bool {
        self.life.is_running() && self.is_finished() && !self.has_everything()
    }

    /// Whether it fetches pieces now.
    fn is_downloading(&self) -> bool {
        let waits = self.files.retry.stops_all() || self.files.claims.is_undecided();
        self.is_active() && !self.is_finished() && !waits
    }

    /// Whether nothing is left to do for it.
    pub(crate) fn is_ended(&self) -> bool {
        self.life.phase() == Phase::Ended
    }

    /// Its name for the runtime's disk.
    pub(crate) fn store(&self) -> StoreId {
        self.store
    }

    /// Sets the torrent's timer to the earliest of its deadlines.
    pub(crate) fn rearm(&mut self, session: &mut Session) {
        let mut next = self.upload.choking.due_at();
        // Each input comes here: a few comparisons, where an array would be filled and walked.
        let mut or_at = |at: Option<Instant>| {
            next = match (next, at) {
                (Some(next), Some(at)) => Some(next.min(at)),
                (next, at) => next.or(at),
            };
        };
        or_at(self.announce_due_at(session));
        or_at(self.dht_due_at(session));
        or_at(self.save_due_at(session));
        or_at(self.files.retry.due_at());
        or_at(self.connect_due_at(session));
        or_at(self.acquisition.due_at(session.now));
        or_at(self.download.resolve_at());
        or_at(self.swarm.pex_at());
        or_at(self.upload.leaf_hashes.get().and_then(LeafHashes::retry_at));
        match next {
            Some(at) => session.timers.set(self.timer, at),
            None => session.timers.cancel(self.timer),
        }
    }

    /// Its timer went off.
    pub(crate) fn handle_timeout(&mut self, session: &mut Session) {
        let now = session.now;
        if self.upload.choking.due_at().is_some_and(|at| at <= now) {
            self.decide_chokes(session);
        }
        if self.save_due_at(session).is_some_and(|at| at <= now) {
            self.begin_save(session);
        }
        if self.files.retry.due_at().is_some_and(|at| at <= now) {
            self.probe_disk(session);
        }
        if self.swarm.pex_at().is_some_and(|at| at <= now) {
            self.send_pex(session);
        }
        if self.acquisition.due_at(now).is_some_and(|at| at <= now) {
            self.poll_acquisition(session);
        }
        if self.download.resolve_at().is_some_and(|at| at <= now) {
            self.resolve_suspects(session);
        }
        let leaves_due = self.upload.leaf_hashes.get().and_then(LeafHashes::retry_at);
        if leaves_due.is_some_and(|at| at <= now) {
            self.retry_leaves(session);
        }
        if self.connect_due_at(session).is_some_and(|at| at <= now) {
            session.queue_connects(self.id);
        }
    }

    /// Changes its rate limits.
    pub(crate) fn set_limits(&mut self, session: &mut Session, limits: RateLimits) {
        let timer = || session.timers.register(TimerKey::TorrentRates(self.id));
        self.traffic.set_limits(session.now, limits, timer);
        self.release_limited(session);
    }

    /// The allowance of its limits may be positive again: lets those go who wait for it.
    pub(crate) fn release_limited(&mut self, session: &mut Session) {
        let Released { uploads, reads } = self.traffic.release(session.now);
        for conn in uploads {
            session.let_upload(conn);
        }
        for conn in reads {
            session.resume_reading(conn, ReadPause::TorrentRate);
        }
        for (timer, at) in self.traffic.timers(session.now) {
            session.arm(timer, at);
        }
    }
}

/// Registers what the parts of a torrent need at its birth.
pub(crate) fn register_timer(session: &mut Session, id: TorrentId) -> TimerId {
    session.timers.register(TimerKey::Torrent(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_idle_torrents_are_small() {
        let size = size_of::<Torrent>() + size_of::<Content>();
        assert!(size <= 2168, "an idle torrent takes {size} bytes, without what its files need");
    }
}
