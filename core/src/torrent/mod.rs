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
//! | `files` | the machines' steps are carried out; requests to the disk and their completions |
//! | `announcing` | trackers and the DHT are told, and tell of peers |
//! | `swarm` | which peers are connected and kept, which addresses are known, peer exchange |
//! | `peers` | peers come and go: between `swarm` and the connections |
//! | `messages` | handshakes and messages: between the wire of a peer and the machines |
//! | `learning` | between `metadata`, peers and the disk |
//! | `download` | which blocks to request of which source, what becomes of blocks and pieces |
//! | `transfer` | requests out, blocks in, pieces to disk: between `download`, peers and files |
//! | `step` | what to do next and in order, as the machines say |
//! | `similar` | files that another torrent has whole, or gets whole meanwhile |
//! | `upload` | which requests are served, when peers are unchoked, what is suggested, hashes for peers |
//! | `serve` | requests in, blocks and hashes out: between `upload`, peers and files |
//! | `traffic` | what is moved, how fast, under which limits |
//! | `options`, `selection` | what the user asks for: a torrent to add, which files of it |
//! | `status` | how it stands, as a snapshot |
//! | `bottleneck` | what keeps it from being faster |
//! | `lazy` | what an idle torrent does without |
//!
//! Here is what holds of the whole: how it begins, is paused and ends, its one timer, its status.

mod announcing;
mod bottleneck;
mod content;
mod disk;
mod download;
mod files;
mod identity;
mod lazy;
mod learning;
mod lifecycle;
mod messages;
pub mod metadata;
pub mod options;
mod peers;
pub(crate) mod selection;
mod serve;
mod similar;
pub mod status;
mod step;
mod swarm;
mod traffic;
mod transfer;
mod upload;

use std::sync::Arc;

use crate::config::RateLimits;
use crate::deadline::TimerKey;
use crate::disk::{DiskRequest, VerifyRequest};
use crate::encryption::Encryption;
use crate::id::{StoreId, TorrentId};
use crate::metainfo::Metainfo;
use crate::notice::TorrentNotice;
use crate::peer::Peer;
use crate::peer_source::PeerSource;
use crate::picker::Picker;
use crate::piece::{Geometry, InfoHash, PieceIndex};
use crate::random::PolicyRng;
use crate::session::Session;
use crate::session::asks::Ask;
use crate::session::op::TorrentOp;
use crate::time::{Duration, Instant};
use crate::timer::TimerId;
use crate::torrent::announcing::Announcing;
use crate::torrent::announcing::dht::nodes_to_meet;
use crate::torrent::bottleneck::{Facts, bottleneck};
use crate::torrent::content::{Choices, Content};
use crate::torrent::disk::Files;
use crate::torrent::download::Download;
use crate::torrent::identity::Identity;
use crate::torrent::lifecycle::{Lifecycle, Phase};
use crate::torrent::metadata::Acquisition;
use crate::torrent::step::{MetadataStep, Step};
use crate::torrent::swarm::peer_list::PeerList;
use crate::torrent::swarm::{Ended, Swarm};
use crate::torrent::traffic::{Released, Traffic};
use crate::torrent::upload::{LeafHashes, Upload};
use crate::tracker::NamedBy;
use crate::transport::ReadPause;

pub use crate::priority::{FilePriority, PieceOrder};
pub use crate::tracker::TrackerStatus;
pub(crate) use lifecycle::Removal;
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
    // It begins.

    /// A torrent that has done nothing yet; [`Torrent::start`] follows.
    pub(crate) fn new(
        session: &mut Session,
        id: TorrentId,
        store: StoreId,
        mut add: AddTorrent,
    ) -> Self {
        let choices = Choices::of(&mut add);
        let identity = Identity::of(&add.source);
        let mut policy = session.random.policy.fork();
        let (metainfo, magnet) = match add.source {
            TorrentSource::Metainfo(metainfo) => (Some(metainfo), None),
            TorrentSource::Magnet(magnet) => (None, Some(magnet)),
        };
        let mut addresses = PeerList::new(session.config.bounds.known_peers, policy.fork());
        addresses.set_filter(session.config.ip_filter.clone());
        for peer in add.peers {
            addresses.add(peer, PeerSource::User, session.now);
        }
        let acquisition = Acquisition::new(magnet, add.metadata_only);
        let mut torrent = Torrent {
            id,
            identity,
            content: None,
            choices: Some(Box::new(choices)),
            store,
            acquisition,
            life: Lifecycle::new(add.paused),
            files: Files::new(add.recheck),
            download: Download::new(Picker::new(Geometry::NOTHING, policy.fork())),
            upload: Upload::new(session.now),
            swarm: Swarm::new(addresses),
            announcing: Announcing::new(policy.fork()),
            traffic: Traffic::default(),
            policy,
            timer: session.timers.register(TimerKey::Torrent(id)),
        };
        torrent.set_limits(session, add.limits);
        // Those that the user adds are each a tier of its own, and come first.
        let users: Vec<Vec<String>> = add.trackers.into_iter().map(|url| vec![url]).collect();
        torrent.announcing.trackers.add(&users, NamedBy::User, session.now);
        if let Some(metainfo) = metainfo {
            torrent.announcing.trackers.add(metainfo.trackers(), NamedBy::Torrent, session.now);
            torrent.adopt(metainfo);
            if let Some(content) = torrent.content.as_ref().filter(|_| torrent.discovery_allowed())
            {
                let nodes = nodes_to_meet(content.metainfo.nodes(), &mut torrent.policy);
                for node in nodes {
                    session.asks.push(id, Ask::LookUpNode(Box::new(node)));
                }
            }
        }
        if let Some(magnet) = torrent.acquisition.magnet().cloned() {
            torrent.take_hints(session, &magnet);
        }
        torrent
    }

    /// It is known what the torrent is: how it is cut, which files it has, which of them are wanted.
    fn adopt(&mut self, metainfo: Arc<Metainfo>) {
        let Some(choices) = self.choices.take() else { return };
        self.identity.learn(&metainfo);
        let by_link = self.acquisition.chosen_by_link();
        let order = choices.order;
        let content = Content::new(metainfo, *choices, by_link);
        self.download.begin(content.geometry().clone(), self.policy.fork());
        self.download.set_order(order);
        for (piece, priority) in content.piece_priorities() {
            self.download.set_priority(piece, priority);
        }
        for piece in self.acquisition.find_layers(&content) {
            self.download.hold(piece);
        }
        self.content = Some(Box::new(content));
    }

    /// Begins by finding out what the torrent is, if only a magnet link is known.
    pub(crate) fn start(&mut self, session: &mut Session) {
        if self.content.is_some() {
            self.find_resume_data(session);
        } else {
            self.perform(session, metadata::load(self.identity.resume_key()));
        }
    }

    /// Fetches pieces in this order from now on.
    pub(crate) fn set_order(&mut self, order: PieceOrder) {
        if let Some(choices) = &mut self.choices {
            choices.order = order;
        }
        self.download.set_order(order);
    }

    // What holds of it.

    /// Whether new peers are welcome.
    fn welcomes_peers(&self) -> bool {
        (self.life.is_active() && !self.life.is_idle()) || self.is_fetching_metadata()
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

    /// Its name for the runtime's disk.
    pub(crate) fn store(&self) -> StoreId {
        self.store
    }

    /// Has a piece read from disk and compared with its hash.
    fn verify_piece(&mut self, session: &mut Session, piece: PieceIndex, why: TorrentOp) {
        let (Some(expect), Some(content)) = (self.piece_hash(piece), &self.content) else { return };
        let spans = content.layout.piece_spans(piece);
        let tell_zeros = self.files.claims.needs_zeros(content, piece);
        let request = VerifyRequest { store: self.store, spans, expect, tell_zeros };
        self.disk(session, why, DiskRequest::Verify(Box::new(request)));
    }

    /// Whether everything wanted is verified and written.
    fn is_finished(&self) -> bool {
        self.content.is_some() && self.download.is_finished()
    }

    /// Whether every piece is verified and written, wanted or not.
    fn has_everything(&self) -> bool {
        self.content.is_some() && self.download.have().is_all()
    }

    /// Whether it lacks something wanted and may fetch it.
    fn wants_pieces(&self) -> bool {
        self.life.is_active() && !self.is_finished()
    }

    /// Whether it fetches pieces now.
    fn is_downloading(&self) -> bool {
        let waits = self.files.retry.stops_all() || self.files.claims.is_undecided();
        self.wants_pieces() && !waits
    }

    /// Whether nothing is left to do for it.
    pub(crate) fn is_ended(&self) -> bool {
        self.life.phase() == Phase::Ended
    }

    // Time and limits.

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
        or_at(self.upload.choking.look_at());
        or_at(self.announce_due_at(session));
        let growth = self.dht_growth(session);
        or_at(growth.and_then(|growth| self.announcing.dht.due_at(session.now, growth)));
        let interval = session.config.resume_interval;
        or_at(self.files.saving.due_at(self.life.phase(), interval));
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
        if self.upload.choking.look_at().is_some_and(|at| at <= now) {
            // If a peer lets its slot lie idle while others wait, slots are decided anew.
            let is_idle = self.upload.choking.look(now, &self.swarm.choke_snapshots(now));
            if is_idle {
                self.decide_chokes(session);
            }
        }
        let save_at = self.files.saving.due_at(self.life.phase(), session.config.resume_interval);
        if save_at.is_some_and(|at| at <= now) {
            self.perform(session, [Step::Save]);
        }
        if self.files.retry.due_at().is_some_and(|at| at <= now) {
            let step = self.files.probe(self.life.phase());
            self.perform(session, step);
        }
        if self.swarm.pex_at().is_some_and(|at| at <= now) {
            let exchanges = self.exchanges_peers(session);
            self.swarm.send_pex(now, exchanges, |conn| session.transport().ask_send(conn));
        }
        if self.acquisition.due_at(now).is_some_and(|at| at <= now) {
            let steps = self.acquisition.poll(now);
            self.perform(session, steps);
        }
        if self.download.resolve_at().is_some_and(|at| at <= now) {
            self.resolve_suspects(session);
        }
        let leaves_due = self.upload.leaf_hashes.get().and_then(LeafHashes::retry_at);
        if leaves_due.is_some_and(|at| at <= now) {
            self.retry_leaves(session);
        }
        if self.connect_due_at(session).is_some_and(|at| at <= now) {
            session.queues.push_connects(self.id);
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
            session.transport().resume_sending(conn);
        }
        for conn in reads {
            session.transport().resume_reading(conn, ReadPause::TorrentRate);
        }
        for (timer, at) in self.traffic.timers(session.now) {
            session.arm(timer, at);
        }
    }

    // It is paused, resumed, and ends.

    /// Stops transfers and closes connections, until [`Torrent::unpause`].
    pub(crate) fn pause(&mut self, session: &mut Session) {
        if !self.life.set_paused(true) {
            return;
        }
        self.fall_silent(session);
        self.upload.choking.stop();
        session.notify(self.id, TorrentNotice::Paused);
    }

    /// Undoes [`Torrent::pause`].
    pub(crate) fn unpause(&mut self, session: &mut Session) {
        if !self.life.set_paused(false) {
            return;
        }
        session.notify(self.id, TorrentNotice::Resumed);
        match self.life.phase() {
            Phase::Running => {
                self.open_for_peers(session);
                self.files_found(session);
            }
            // What was learnt while it was to learn no more than the metadata.
            Phase::Metadata if self.is_fetching_metadata() => self.open_for_peers(session),
            Phase::Metadata if self.content.is_some() => self.find_resume_data(session),
            Phase::Refused => {
                // Perhaps the user has made room.
                self.files.retry.clear();
                self.life.enter(Phase::Opening);
                self.shared_files().expect(&mut session.files.similar);
                self.disk(session, TorrentOp::Open, DiskRequest::Look { store: self.store });
            }
            _ => {}
        }
    }

    /// The session stops, and the torrent is kept for the next; or it is taken out for good.
    pub(crate) fn end(&mut self, session: &mut Session, remove: Option<Removal>) {
        let Some(phase) = self.life.end(remove) else { return };
        if phase == Phase::Refused {
            self.files.retry.clear();
        }
        self.files.checker.abandon();
        self.withdraw_files(session);
        self.acquisition.stop();
        self.fall_silent(session);
        self.upload.choking.stop();
        let is_as_saved = self.files.saving.is_as_saved(!self.traffic.is_none());
        if phase == Phase::Running && remove.is_none() && !is_as_saved {
            self.files.saving.mark_dirty(session.now);
        }
        if remove.is_none() {
            self.perform_metadata_step(session, MetadataStep::KeepLayers);
        }
        self.end_if_idle(session);
    }

    /// Closes all connections, for reasons that are no peer's.
    fn drop_all_peers(&mut self, session: &mut Session) {
        for slot in self.swarm.slots() {
            self.drop_peer(session, slot, Ended::LetGo);
        }
    }

    /// Leaves peers, trackers and the DHT.
    fn fall_silent(&mut self, session: &mut Session) {
        self.drop_all_peers(session);
        let left = self.announcing.leave(session.now);
        if left.trackers {
            session.asks.push(self.id, Ask::EndAnnounces);
        }
        if let Some(request) = left.lookup {
            session.asks.push(self.id, Ask::EndRequest(request));
        }
    }

    /// Whether the check of this torrent has more to hash.
    pub(crate) fn is_checking(&self) -> bool {
        self.life.phase() == Phase::Checking
    }

    // How it stands.

    /// A snapshot.
    pub(crate) fn status(&self, session: &Session, now: Instant) -> TorrentStatus {
        let (down, totals) = (self.traffic.down_rate(now), self.traffic.totals());
        let content = self.content.as_deref();
        let total_bytes = content.map_or(0, |content| content.geometry().data_len());
        let wanted_bytes = match content {
            Some(content) if content.wants_all() => total_bytes,
            _ => self.download.picker().wanted_bytes(),
        };
        let have = self.download.have().count();
        let left = self.download.picker().missing_bytes();
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
            disk_is_behind: session.budgets.is_disk_behind(),
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
            utp_peers: open().filter(|peer| session.streams.is_utp(peer.wire.conn)).count(),
            seeds: open().filter(|peer| peer.download.has_everything()).count(),
            encrypted: open().filter(|peer| peer.encryption != Encryption::None).count(),
            known_peers: self.swarm.addresses.len(),
            unchoked_us: open().filter(|peer| !peer.download.peer_choking).count(),
            eta: left.checked_div(down).filter(|_| left > 0).map(Duration::from_secs),
            trackers: self.announcing.trackers.status(now),
            metadata,
            disk_error: self.files.retry.error().cloned(),
        }
    }
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
