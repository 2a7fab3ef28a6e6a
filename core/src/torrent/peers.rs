//! Peers come and go, between the [`Swarm`](super::swarm) and their connections: connecting, silence,
//! farewell; and peer exchange (BEP 11) and local discovery (BEP 14), nothing of it for a private
//! torrent ([`Torrent::discovery_allowed`]).

use std::net::{IpAddr, SocketAddr};

use crate::action::Close;
use crate::dht::{DhtRequest, DhtRequestId, DhtResult};
use crate::event::NetError;
use crate::family::Family;
use crate::id::{ConnId, Id};
use crate::notice::TorrentNotice;
use crate::peer::{Peer, PeerSlot, PeerWire, WireState};
use crate::peer_source::PeerSource;
use crate::piece::InfoHash;
use crate::reach::Namer;
use crate::session::Session;
use crate::session::asks::Ask;
use crate::session::bans::BanReason;
use crate::session::half_messages::HalfMessage;
use crate::session::op::{NamedPeer, OpOwner};
use crate::session::shares::Taken;
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::announcing::trackers::{self, names_to_look_up};
use crate::torrent::announcing::{Lookup, Numbers, dht};
use crate::torrent::step::{MetadataStep, Step};
use crate::torrent::swarm::Ended;
use crate::torrent::swarm::peer_list::Added;
use crate::tracker::announce_job::{AnnounceJob, AnnounceResult};
use crate::tracker::list::TrackerKey;
use crate::transport::{AFTER_TIMEOUT, Role, Setup};
use crate::wire::handshake::HandshakeDecoder;
use crate::wire::{Message, Violation};

/// Peers that those of one address may make known in a minute (chosen: a message of the usual length of each
/// of some homes).
const NAMED_BY_ADDRESS: u64 = 200;

impl Torrent {
    // Connecting.

    /// Peers are welcome from now on.
    pub(super) fn open_for_peers(&mut self, session: &mut Session) {
        if self.life.is_idle() {
            return;
        }
        self.announcing.trackers.start(session.now);
        session.queues.push_connects(self.id);
    }

    /// Whether more peers would help.
    fn wants_peers(&self, session: &Session) -> bool {
        self.welcomes_peers() && self.swarm.peers.len() < session.config.connections.torrent
    }

    /// When the next known peer is due to be tried. Never while this torrent waits in the line for
    /// connections: its turn comes when one is free.
    pub(super) fn connect_due_at(&self, session: &Session) -> Option<Instant> {
        let waits = session.queues.waits_to_connect(self.id);
        if self.wants_peers(session) && !waits { self.swarm.addresses.next_at() } else { None }
    }

    /// Opens one connection, to the best peer that is due; whether there was one.
    pub(crate) fn connect_next(&mut self, session: &mut Session) -> bool {
        if !self.wants_peers(session) {
            return false;
        }
        let (id, bans) = (self.id, &session.bans);
        let is_banned = |addr| bans.is_banned(id, addr);
        let next = self.swarm.addresses.next_to_connect(session.now, is_banned);
        let Some(remote) = next else { return false };
        if session.streams.is_full_at(remote.ip()) {
            self.swarm.addresses.ended(remote, session.now, Ended::Busy);
            return true;
        }
        let policy = session.config.encryption;
        let addresses = &mut self.swarm.addresses;
        let mut known = addresses.encryption(remote).copied().unwrap_or_default();
        // A redial belongs to the attempt before.
        let is_free = known.is_redial() || addresses.source(remote) == Some(PeerSource::User);
        if !is_free && !session.quotas.dials.admit(session.now, remote.ip()) {
            self.swarm.addresses.ended(remote, session.now, Ended::Busy);
            return true;
        }
        let now = session.now;
        let pieces = self.content.is_some().then(|| self.pieces());
        let id = self.id;
        let config = &session.config;
        let placeholder = Id::new(u32::MAX, u32::MAX);
        let wire = PeerWire::new(placeholder, remote, false, WireState::Connecting, pieces, now);
        let attempt = known.attempt(policy);
        if let Some(encryption) = self.swarm.addresses.encryption(remote) {
            *encryption = known;
        }
        let mut peer = Peer::new(wire, pieces, config);
        peer.attempt = attempt;
        let slot = self.swarm.insert(peer);
        let deadline = now + config.timeouts.connect;
        let by_v2 = self.swarm.addresses.is_of_v2(remote);
        let setup = match attempt.encrypted {
            true => Setup::Mse(self.identity.for_handshake(by_v2)),
            false => Setup::Plain,
        };
        let conn = session.transport().connect(remote, setup, Role::Peer(id, slot));
        if let Some(peer) = self.swarm.peers.get_mut(slot) {
            peer.wire.conn = conn;
        }
        session.transport().set_deadline(conn, deadline);
        true
    }

    /// A connection we opened is established.
    pub(crate) fn peer_connected(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        peer.wire.state = WireState::Handshaking(HandshakeDecoder::new());
        let conn = peer.wire.conn;
        let deadline = session.now + session.config.timeouts.handshake;
        session.transport().set_deadline(conn, deadline);
        self.send_handshake(session, slot);
    }

    /// A peer dialled us and named this torrent. Its slot, if it is welcome.
    pub(crate) fn peer_arrived(
        &mut self,
        session: &mut Session,
        conn: ConnId,
        remote: SocketAddr,
        handshake: HandshakeDecoder,
    ) -> Option<PeerSlot> {
        if !self.welcomes_peers() || session.bans.is_banned(self.id, remote) {
            return None;
        }
        let (most, is_finished) = (session.config.connections.torrent, self.is_finished());
        if !self.swarm.has_place_for_incoming(most, is_finished) {
            let patience = session.config.timeouts.useless;
            let streams = &session.streams;
            let is_held_up = |conn| streams.is_send_paused(conn);
            let yields = self.swarm.yields_to(session.now, remote.ip(), is_finished, is_held_up);
            // What is kept for those that we dial stays theirs, though one of them is of no use now.
            let may_have_more = self.swarm.may_have_more_incoming(most, is_finished);
            let useless = || self.swarm.useless_peer(session.now, patience);
            let yields = yields.or_else(|| may_have_more.then(useless).flatten())?;
            self.drop_peer(session, yields, Ended::Useless);
        }
        let pieces = self.content.is_some().then(|| self.pieces());
        let state = WireState::Handshaking(handshake);
        let wire = PeerWire::new(conn, remote, true, state, pieces, session.now);
        let peer = Peer::new(wire, pieces, &session.config);
        let slot = self.swarm.insert(peer);
        session.transport().assign(conn, Role::Peer(self.id, slot));
        self.send_handshake(session, slot);
        Some(slot)
    }

    // Farewell.

    /// A peer broke the protocol: closes the connection to it.
    pub(super) fn disconnect_for(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        violation: Violation,
    ) {
        let how = match violation {
            Violation::UnrequestedBlock(_) => Ended::Wasteful,
            _ => Ended::Misbehaved,
        };
        if let Some(peer) = self.swarm.peers.get(slot) {
            session.notify_violation(self.id, peer.wire.remote, violation, true);
        }
        self.drop_peer(session, slot, how);
    }

    /// A peer is banned for the rest of the session; whom that hits, [`Bans`](crate::session::bans::Bans) says.
    pub(super) fn ban(&mut self, session: &mut Session, remote: SocketAddr, why: BanReason) {
        if session.bans.is_banned(self.id, remote) {
            return;
        }
        session.bans.ban(self.id, remote, why);
        self.swarm.addresses.forget(remote);
        session.notify(self.id, TorrentNotice::PeerBanned { addr: remote, why });
        if session.bans.is_banned_in_all(remote.ip()) {
            session.asks.push(self.id, Ask::DropBanned);
        }
        self.drop_banned(session);
    }

    /// Drops the peers that are banned.
    pub(crate) fn drop_banned(&mut self, session: &mut Session) {
        for slot in self.swarm.at(|remote| session.bans.is_banned(self.id, remote)) {
            self.drop_peer(session, slot, Ended::Misbehaved);
        }
    }

    /// There is another IP filter: the peers that it refuses are dropped, and forgotten.
    pub(crate) fn apply_ip_filter(&mut self, session: &mut Session) {
        for slot in self.swarm.at(|remote| session.is_filtered(remote.ip())) {
            self.drop_peer(session, slot, Ended::Normal);
        }
        self.swarm.addresses.set_filter(session.config.ip_filter.clone());
    }

    /// What has come of messages of this torrent's peers.
    pub(crate) fn half_messages(&self) -> impl Iterator<Item = HalfMessage<PeerSlot>> + '_ {
        self.swarm.half_messages()
    }

    /// A peer holds most of what has come of messages in the session, and that is too much.
    pub(crate) fn drop_half_message(&mut self, session: &mut Session, slot: PeerSlot) {
        self.drop_peer(session, slot, Ended::Misbehaved);
    }

    /// Closes the connection to a peer.
    pub(super) fn drop_peer(&mut self, session: &mut Session, slot: PeerSlot, why: Ended) {
        if let Some(peer) = self.swarm.peers.get(slot) {
            session.transport().close(peer.wire.conn, Close::Abort);
            self.remove_peer(session, slot, why);
        }
    }

    /// The connection to a peer is closed.
    pub(crate) fn peer_closed(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        why: Option<NetError>,
        heard: bool,
    ) {
        let policy = session.config.encryption;
        let Some(how) = self.swarm.closed(slot, why, heard, policy) else { return };
        self.remove_peer(session, slot, how);
    }

    /// Takes a peer out of the books and gives back everything it held.
    fn remove_peer(&mut self, session: &mut Session, slot: PeerSlot, why: Ended) {
        let Some(mut peer) = self.swarm.peers.remove(slot) else { return };
        session.budgets.half_messages.free(peer.wire.half_message);
        // Of two ways to one address that were tried at once, one is given up and the other is the source.
        let remote = Some(peer.wire.remote).filter(|remote| !self.swarm.is_open_at(*remote));
        self.acquisition.source_gone(slot, remote);
        let steps = match self.acquisition.layers {
            Some(_) => self.acquisition.poll(session.now),
            None => vec![Step::Metadata(MetadataStep::Ask)],
        };
        self.perform(session, steps);
        if let Some(leaves) = self.upload.leaf_hashes.get_mut() {
            leaves.peer_gone(slot);
        }
        self.download.leaf_source_gone(slot.into());
        self.resolve_suspects(session);
        if self.identity.other().is_some() && why != Ended::Redialled {
            self.swarm.try_other_infohash(&peer);
        }
        if self.swarm.peers.is_empty() {
            self.upload.drop_trees();
        }
        if peer.is_open() {
            if why == Ended::Useless {
                self.swarm.left_useless(session.now, &peer);
            }
            self.send_pex_soon(session);
        }
        self.upload.suggestions.peer_gone(slot);
        let was_open = peer.is_open();
        let free = self.download.source_gone(slot.into(), &mut peer.download, was_open);
        session.budgets.reads.free(peer.upload.uploads.ready_bytes());
        self.swarm.gone(session.now, &peer, why);
        // A slot is free: it is soon decided which of the peers that wait gets it.
        if !peer.upload.am_choking && self.swarm.is_any_waiting() {
            self.upload.choking.soon(session.now);
        }
        if free {
            self.fill_pipelines(session, None);
        }
        session.queues.push_connects(self.id);
    }

    /// A connection's timer went off.
    pub(crate) fn peer_timeout(&mut self, session: &mut Session, slot: PeerSlot) {
        let (now, timeouts) = (session.now, session.config.timeouts);
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let conn = peer.wire.conn;
        let (reading, sending) =
            (session.streams.is_reading(conn), session.streams.is_sending(conn));
        if !peer.is_open() {
            if !peer.wire.incoming
                && peer.wire.is_handshaking()
                && let Some(known) = self.swarm.addresses.encryption(peer.wire.remote)
            {
                known.kept_silent(session.config.encryption, peer.attempt);
            }
            return self.drop_peer(session, slot, Ended::Failed);
        }
        let silent_since = if sending {
            peer.wire.last_heard.min(peer.wire.last_spoke)
        } else {
            peer.wire.last_heard
        };
        if reading && now >= silent_since + timeouts.silence {
            return self.drop_peer(session, slot, Ended::Normal);
        }
        if now >= peer.wire.last_spoke + timeouts.keep_alive && !sending {
            peer.send(Message::KeepAlive);
            peer.wire.last_spoke = now;
            session.transport().ask_send(conn);
        }
        if self.download.overdue(now, slot.into(), &mut peer.download, reading) {
            self.fill_pipelines(session, None);
        }
        let Some(peer) = self.swarm.peers.get(slot) else { return };
        let keep_alive_at = peer.wire.last_spoke + timeouts.keep_alive;
        let silent_at = silent_since + timeouts.silence;
        let late_at = peer.download.pipeline.deadline().unwrap_or(Instant::FAR_FUTURE);
        let again_at = peer.download.refusals.waits_until(now).unwrap_or(Instant::FAR_FUTURE);
        let at = keep_alive_at.min(silent_at).min(late_at).min(again_at);
        session.transport().set_deadline(conn, at.max(now + AFTER_TIMEOUT));
    }

    // Peer exchange and local discovery.

    /// Whether peers are exchanged.
    pub(super) fn exchanges_peers(&self, session: &Session) -> bool {
        session.config.peer_exchange && self.discovery_allowed()
    }

    /// A peer came or went that others may be told of.
    pub(super) fn send_pex_soon(&mut self, session: &Session) {
        if self.exchanges_peers(session) {
            self.swarm.send_pex_soon(session.now);
        }
    }

    /// A peer tells which others it is connected to.
    pub(super) fn handle_pex(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        payload: &[u8],
    ) -> Result<(), Violation> {
        if !self.exchanges_peers(session) {
            return Ok(());
        }
        let (now, of) = (session.now, (Taken::Named, self.id));
        let may_name = |by| session.quotas.shares.take(now, of, by, 1, NAMED_BY_ADDRESS);
        if self.swarm.handle_pex(now, slot, payload, may_name)? {
            session.queues.push_connects(self.id);
        }
        Ok(())
    }

    /// Whether peers in the same network are told of the torrent, and those heard of are welcome.
    fn looks_for_local_peers(&self) -> bool {
        self.welcomes_peers() && self.discovery_allowed()
    }

    /// Whether they are to be looked for, if that is news.
    pub(crate) fn local_discovery_news(&mut self) -> Option<bool> {
        let looks = self.looks_for_local_peers();
        self.swarm.local_news(looks, self.identity.has_news())
    }

    /// The torrent turned out to be private when its metadata came: peers that were found otherwise
    /// than by trackers, the user and the link are forgotten (BEP 27).
    pub(super) fn leave_discovered_peers(&mut self, session: &mut Session) {
        if self.discovery_allowed() {
            return;
        }
        for slot in self.swarm.discovered() {
            self.drop_peer(session, slot, Ended::Normal);
        }
        if let Some(request) = self.announcing.dht.leave() {
            session.asks.push(self.id, Ask::EndRequest(request));
        }
        self.swarm.forget_discovered();
    }

    // How it is made known, and peers that are found.

    /// When the next announce is due. None is before it is known where peers reach us.
    pub(super) fn announce_due_at(&self, session: &Session) -> Option<Instant> {
        session.sockets.are_listeners_known().then(|| self.announcing.trackers.due_at())?
    }

    /// The next announce that is due.
    pub(crate) fn next_announce(&mut self, session: &Session) -> Option<AnnounceJob> {
        if let Some(second) = self.announcing.trackers.take_second() {
            return Some(second);
        }
        self.announce_due_at(session).filter(|&at| at <= session.now)?;
        let sockets = &session.sockets;
        let (is_finished, is_running) = (self.is_finished(), self.life.is_running());
        let standing = trackers::Standing {
            fetches: self.is_downloading() || self.is_fetching_metadata(),
            peers: self.swarm.peers.len(),
            is_partial_seed: is_running && is_finished && !self.has_everything(),
            families: sockets.families(),
            other: self.identity.other(),
        };
        let (totals, have) = (self.traffic.totals(), self.download.have());
        let (identity, content) = (&self.identity, &self.content);
        let numbers = || Numbers {
            infohash: identity.primary(),
            peer_id: session.own.peer_id,
            key: session.own.announce_key,
            uploaded: totals.uploaded,
            downloaded: totals.downloaded,
            left: content.as_ref().map(|content| content.bytes_missing(have)),
            encryption: session.config.encryption,
        };
        let port = |family| sockets.listen_port(family);
        self.announcing.next(session.now, standing, numbers, port)
    }

    /// An announce, with either infohash, is on its way to this tracker.
    pub(crate) fn announce_sent(&mut self, tracker: TrackerKey) {
        self.announcing.trackers.sent(tracker);
    }

    /// A tracker answered, or did not.
    pub(crate) fn announced(
        &mut self,
        session: &mut Session,
        tracker: TrackerKey,
        infohash: InfoHash,
        result: AnnounceResult,
    ) {
        let is_primary = infohash == self.identity.primary();
        let heard = self.announcing.answered(session.now, tracker, is_primary, result);
        if heard.is_answer {
            if is_primary {
                // Our network is there.
                self.swarm.addresses.recall_unreachable(session.now);
            }
            self.found_peers(session, Some(infohash), PeerSource::Tracker, &heard.peers);
        }
        if let Some(ip) = heard.external_ip {
            self.learn_address(session, ip);
        }
        if heard.is_answer && self.welcomes_peers() {
            let namer = heard.tracker.map_or(Namer::Torrent, Namer::Tracker);
            for (host, port) in names_to_look_up(heard.named_peers, &mut self.policy) {
                let peer = NamedPeer { port, source: PeerSource::Tracker, namer, infohash };
                session.resolve(OpOwner::Peer(self.id, peer), &host);
            }
        }
        if let Some(notice) = heard.notice {
            session.notify(self.id, notice);
        }
        if is_primary && !heard.is_late {
            self.end_if_idle(session);
        }
    }

    /// A tracker told us our address as it sees it: canonical priorities depend on it (BEP 40).
    pub(crate) fn learn_address(&mut self, session: &mut Session, ip: IpAddr) {
        if session.own.learn_address(ip) {
            session.notify(self.id, TorrentNotice::ExternalAddress { ip });
        }
        let ours = session.own.external().map(|ip| {
            let port = session.sockets.listen_port(Family::of(ip)).unwrap_or(0);
            SocketAddr::new(ip, port)
        });
        let ours: Vec<SocketAddr> = ours.collect();
        self.swarm.addresses.set_external(&ours);
    }

    /// Peers were found, which know the torrent by this infohash, if that is known.
    pub(crate) fn found_peers(
        &mut self,
        session: &mut Session,
        infohash: Option<InfoHash>,
        source: PeerSource,
        peers: &[SocketAddr],
    ) {
        if source == PeerSource::Lsd && !self.looks_for_local_peers() {
            return;
        }
        let is_of_v2 = |infohash| self.identity.is_hybrid() && self.identity.is_v2(infohash);
        let of_v2 = infohash.is_some_and(is_of_v2);
        for &peer in peers {
            // A peer that knows both is dialled with that of v1, and tells (BEP 52, "upgrade path").
            if self.swarm.addresses.add(peer, source, session.now) == Added::New {
                self.swarm.addresses.set_of_v2(peer, of_v2);
            }
        }
        session.queues.push_connects(self.id);
    }

    /// How far the DHT has grown, if the torrent may be looked for there.
    pub(super) fn dht_growth(&self, session: &Session) -> Option<usize> {
        let usable = session.dht.ready && self.discovery_allowed() && self.welcomes_peers();
        usable.then_some(session.dht.growth)
    }

    /// Begins to look for peers in the DHT, if that is due: `begin` says whether the lookup is under way or
    /// there are too many.
    pub(crate) fn look_in_dht(
        &mut self,
        session: &Session,
        begin: impl FnOnce(&Session, DhtRequest) -> Option<DhtRequestId>,
    ) {
        let Some(growth) = self.dht_growth(session) else { return };
        let infohashes = (self.identity.primary(), self.identity.other());
        let lookup = || Lookup {
            is_finished: self.is_finished(),
            has_everything: self.has_everything(),
            // Where the families have different ports, each is that of our datagrams there.
            port: session.sockets.any_listen_port().filter(|_| session.sockets.has_one_port()),
        };
        let next = self.announcing.next_lookup(session.now, growth, infohashes, lookup);
        let Some(request) = next else { return };
        let begun = begin(session, request);
        self.announcing.dht.began(session.now, growth, begun);
    }

    /// The DHT knows peers.
    pub(crate) fn dht_peers(&mut self, session: &mut Session, peers: &[SocketAddr]) {
        self.announcing.dht.found(peers.len());
        let (primary, other) = (self.identity.primary(), self.identity.other());
        let infohash = self.announcing.looked_for(primary, other);
        self.found_peers(session, Some(infohash), PeerSource::Dht, peers);
    }

    /// The lookup is done.
    pub(crate) fn dht_done(&mut self, session: &mut Session, result: &DhtResult) {
        let standing = dht::Standing {
            is_hybrid: self.identity.other().is_some(),
            peers: self.swarm.peers.len(),
            is_finished: self.is_finished(),
        };
        let (now, rng) = (session.now, &mut self.policy);
        if let Some(found) = self.announcing.dht.done(now, result.stored, standing, rng) {
            let dht::Found { peers, stored } = found;
            session.notify(self.id, TorrentNotice::DhtAnswered { peers, stored });
        }
    }
}
