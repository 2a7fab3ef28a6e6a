//! The engine: one session of many torrents, driven by events, speaking in actions.
//!
//! This file is the face and the switchboard: it finds out whom an input concerns and hands it on.
//! Torrents live in `torrent/`, what they share in `session/`; trackers, DHT, local discovery and the
//! embedded tracker in `services/`.

mod accept;
mod commands;
mod dht;
mod error;
mod incoming;
mod ip_filter;
mod lsd;
mod route;
mod selection;
mod settle;
mod utp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;

use crate::action::Action;
use crate::config::Config;
use crate::deadline::TimerKey;
use crate::disk::{DiskDone, DiskError};
use crate::event::{Event, NetError, ResolveError};
use crate::id::{ConnId, OpId, Slab, SocketId, StoreId, TorrentId};
use crate::map::Map;
use crate::metainfo::Metainfo;
use crate::network::NetworkState;
use crate::packet::Transmit;
use crate::piece::InfoHash;
use crate::segments::Segments;
use crate::services::dht::DhtService;
use crate::services::fetches::Fetches;
use crate::services::lsd::LsdService;
use crate::services::tracker_server::TrackerService;
use crate::services::trackers::Trackers;
use crate::session::Session;
use crate::session::op::OpOwner;
use crate::time::{Duration, Instant, UnixTime};
use crate::timer::TimerId;
use crate::torrent::{Torrent, TorrentStatus};
use crate::tracker::server::Stats as TrackerStats;
use crate::transport::Carrier;
use crate::transport::sockets::SocketRole;

use incoming::Incoming;

pub use error::{AddTorrentError, DhtError, NoSuchTorrent, Stopping};

/// Longest time that `Command::Stop` takes (chosen: a host may promise to stop within a second).
const STOP_LIMIT: Duration = Duration::from_millis(800);

/// One session: many torrents, one identity, one thread, nothing shared.
///
/// Every method that takes `now` is an input: feed it times that do not run backwards (they are
/// clamped), and drain [`Engine::poll_action`] after each.
#[derive(Debug)]
pub struct Engine {
    session: Session,
    torrents: Slab<TorrentId, Torrent>,
    by_infohash: Map<InfoHash, TorrentId>,
    stores: Slab<StoreId, ()>,
    trackers: Trackers,
    fetches: Fetches,
    tracker: Option<TrackerService>,
    dht: Option<DhtService>,
    lsd: Option<LsdService>,
    incoming: Incoming,
    stop_timer: TimerId,
    network: Option<Box<NetworkState>>,
}

impl Engine {
    /// A session with no torrents. The first actions open its sockets.
    ///
    /// `seed` decides everything that is random in it; `wall` is the time of day at `now`.
    pub fn new(config: Config, seed: [u8; 32], now: Instant, wall: UnixTime) -> Self {
        let mut session = Session::new(config, seed, now, wall);
        let tracker = TrackerService::open(&mut session);
        let dht = DhtService::open(&mut session);
        let lsd = LsdService::open(&mut session);
        let stop_timer = session.timers.register(TimerKey::Stop);
        Engine {
            torrents: Slab::new(),
            by_infohash: Map::with_hasher(session.random.hash_keys),
            stores: Slab::new(),
            trackers: Trackers::new(&mut session),
            fetches: Fetches::default(),
            tracker,
            dht,
            lsd,
            incoming: Incoming::new(session.random.hash_keys),
            stop_timer,
            network: None,
            session,
        }
    }

    // Inputs.

    /// What happened. Never fails, never panics, bounded work, whatever a remote sent.
    pub fn handle(&mut self, now: Instant, event: Event) {
        self.advance(now);
        match event {
            Event::Timeout => self.timeout(),
            Event::Network(state) => self.network = Some(state),
            Event::Bound { socket, result } => self.bound(socket, result),
            Event::SocketLost { socket, why } => {
                self.session.sockets.lost(&mut self.session.outbox, socket, why);
                self.lost_utp(socket, why);
            }
            Event::Connected { conn, local: _ } => {
                let delivery = self.session.transport().handle_connected(conn);
                self.deliver(delivery);
            }
            Event::Secured { conn } => {
                let delivery = self.session.transport().handle_secured(conn);
                self.deliver(delivery);
            }
            Event::Received { conn, data } => {
                let delivery = self.session.transport().handle_received(conn, data);
                self.deliver(delivery);
            }
            Event::Sent { conn, bytes } => {
                let delivery = self.session.transport().handle_sent(conn, bytes);
                self.deliver(delivery);
            }
            Event::Closed { conn, why } => {
                let delivery = self.session.transport().handle_closed(conn, why);
                self.deliver(delivery);
            }
            Event::Datagrams { socket, batch } => self.datagrams(socket, batch),
            Event::DatagramReady { socket } => {
                self.session.sockets.ready(&mut self.session.outbox, socket);
            }
            Event::Disk { op, result } => self.disk(op, result),
            Event::Resolved { op, result } => self.resolved(op, result),
        }
        self.settle();
    }

    /// A listener has accepted a connection. `None`: it is not wanted, close it.
    pub fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        self.advance(now);
        if self.session.is_filtered(from.ip()) {
            return None;
        }
        match self.session.sockets.role(socket)? {
            SocketRole::Peers => self.accept_peer(from, Carrier::Tcp),
            SocketRole::Tracker => self.tracker.as_mut()?.accept(&mut self.session, from),
            SocketRole::PeersUdp | SocketRole::TrackerUdp | SocketRole::LocalDiscovery => None,
        }
    }

    /// Fills `out` with up to about `limit` bytes for the connection (the last message is not
    /// cut); what is returned is committed. To be called once for each `Action::Send`.
    pub fn gather(&mut self, now: Instant, conn: ConnId, limit: usize, out: &mut Segments) {
        self.advance(now);
        self.pull(conn, limit, out);
        self.continue_reads();
    }

    /// Fills `out`, which is empty, with the next packets to send through a socket: one, or up to
    /// `segments` that go together, if the host can send so many in one call. To be called until it
    /// returns `None` or the socket would block.
    pub fn gather_datagrams(
        &mut self,
        now: Instant,
        socket: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        self.advance(now);
        loop {
            let transmit = match self.session.sockets.gather(socket, segments, out) {
                None => self.gather_utp(socket, segments, out)?,
                Some(transmit) => transmit,
            };
            if !self.session.is_filtered(transmit.destination.ip()) {
                return Some(transmit);
            }
            out.clear();
        }
    }

    /// What to do: one FIFO, O(1), to be drained after each input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.session.outbox.pop()
    }

    /// When to hand in `Event::Timeout`. May change with every input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.session.timers.next()
    }

    // Queries.

    /// How a torrent stands at `now`.
    pub fn status(&self, now: Instant, id: TorrentId) -> Option<TorrentStatus> {
        self.torrents.get(id).map(|torrent| torrent.status(&self.session, now))
    }

    /// What a torrent is; `None` while only a magnet link is known of it.
    pub fn metainfo(&self, id: TorrentId) -> Option<Arc<Metainfo>> {
        self.torrents.get(id)?.metainfo().cloned()
    }

    /// Every torrent, in a fixed order.
    pub fn torrents(&self) -> impl Iterator<Item = TorrentId> + '_ {
        self.torrents.keys()
    }

    /// How much the embedded tracker holds, if there is one.
    pub fn tracker_stats(&self) -> Option<TrackerStats> {
        self.tracker.as_ref().map(TrackerService::stats)
    }

    /// What the machine's network was like when the host said so.
    pub fn network(&self) -> Option<&NetworkState> {
        self.network.as_deref()
    }

    /// The settings, as they are now.
    pub fn config(&self) -> &Config {
        &self.session.config
    }

    // The switchboard.

    /// Time only moves forwards.
    fn advance(&mut self, now: Instant) {
        self.session.now = self.session.now.max(now);
    }

    /// Hands an input to a torrent, if it still lives.
    fn route(&mut self, id: TorrentId, input: impl FnOnce(&mut Torrent, &mut Session)) {
        if let Some(torrent) = self.torrents.get_mut(id) {
            input(torrent, &mut self.session);
            self.session.asks.settle(id);
        }
    }

    fn timeout(&mut self) {
        let mut due = Vec::new();
        while let Some(key) = self.session.timers.pop(self.session.now) {
            due.push(key);
        }
        for key in due {
            match key {
                TimerKey::Conn(conn) => {
                    let delivery = self.session.streams.handle_timeout(conn);
                    self.deliver(delivery);
                }
                TimerKey::KeyAgreements => {
                    for delivery in self.session.transport().handle_agreements_due() {
                        self.deliver(Some(delivery));
                    }
                }
                TimerKey::Torrent(id) => self.route(id, Torrent::handle_timeout),
                TimerKey::TorrentRates(id) => self.route(id, Torrent::release_limited),
                TimerKey::Announce(id) => {
                    self.trackers.timeout(&mut self.session, &mut self.fetches, id);
                }
                TimerKey::Fetch(id) => {
                    let owner = self.fetches.handle_timeout(&mut self.session, id);
                    self.fetched(owner);
                }
                TimerKey::UdpTrackers => {
                    self.trackers.udp_timeout(&mut self.session, &mut self.fetches);
                }
                TimerKey::UploadRate => self.session.wake_uploads(),
                TimerKey::DownloadRate => self.session.wake_downloads(),
                TimerKey::TrackerServer => {
                    if let Some(tracker) = &mut self.tracker {
                        tracker.timeout(&mut self.session);
                    }
                }
                TimerKey::Dht => {
                    if let Some(dht) = &mut self.dht {
                        dht.timeout(&self.session);
                    }
                }
                TimerKey::Utp => self.utp_timeout(),
                // Settling sends what is due.
                TimerKey::Lsd => {}
                TimerKey::Stop => self.finish_stop(),
            }
        }
    }

    fn bound(&mut self, socket: SocketId, result: Result<SocketAddr, NetError>) {
        let Session { sockets, outbox, .. } = &mut self.session;
        sockets.bound(outbox, socket, result);
        if let Ok(addr) = result {
            self.open_utp(socket, addr);
        }
        if self.session.sockets.are_listeners_known() {
            self.trackers.start_waiting(&mut self.session, &mut self.fetches);
            // Announces have waited for the port.
            self.touch_all();
        }
    }

    /// Looks at every torrent at the end of this input. For what happens a few times in a
    /// session.
    fn touch_all(&mut self) {
        for id in self.torrents.keys() {
            self.session.asks.settle(id);
        }
    }

    fn resolved(&mut self, op: OpId, result: Result<Vec<IpAddr>, ResolveError>) {
        match self.session.ops.remove(op) {
            Some(OpOwner::Announce(id)) => {
                self.trackers.resolved(&mut self.session, &mut self.fetches, id, result);
            }
            Some(OpOwner::Fetch(id)) => {
                let owner = self.fetches.handle_resolved(&mut self.session, id, result);
                self.fetched(owner);
            }
            Some(OpOwner::Peer(id, peer)) => {
                let (source, found) = (peer.source, peer.addresses(result));
                self.route(id, |torrent, session| {
                    torrent.found_peers(session, Some(peer.infohash), source, &found);
                });
            }
            Some(OpOwner::Dht(what)) => {
                if let Some(dht) = &mut self.dht {
                    dht.resolved(&self.session, what, result);
                }
            }
            Some(OpOwner::Torrent(..)) | None => {}
        }
    }

    fn disk(&mut self, op: OpId, result: Result<DiskDone, Box<DiskError>>) {
        match self.session.ops.remove(op) {
            Some(OpOwner::Torrent(id, what)) => {
                self.route(id, |torrent, session| torrent.disk_done(session, what, result));
            }
            Some(OpOwner::Dht(what)) => {
                if let Some(dht) = &mut self.dht {
                    dht.disk_done(&self.session, what, result);
                }
            }
            Some(OpOwner::Announce(_) | OpOwner::Fetch(_) | OpOwner::Peer(..)) | None => {}
        }
    }

    fn finish_stop(&mut self) {
        if self.session.stopping && !self.session.outbox.has_ended() {
            self.session.timers.cancel(self.stop_timer);
            self.trackers.abandon_all(&mut self.session, &mut self.fetches);
            self.fetches.close_kept(&mut self.session);
            self.session.outbox.notify_stopped();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::notice::Notice;

    #[test]
    fn socket_that_is_lost_is_told_of_once_and_not_used() {
        let now = Instant::ZERO;
        let config = Config { listen: vec![([10, 0, 0, 1], 6881).into()], ..Config::default() };
        let mut engine = Engine::new(config, [1; 32], now, UnixTime(0));
        let bind = engine.poll_action();
        let Some(Action::Bind { socket, spec }) = bind else { panic!("{bind:?}") };
        engine.handle(now, Event::Bound { socket, result: Ok(spec.addr) });
        let failed = |engine: &mut Engine| {
            engine.handle(now, Event::SocketLost { socket, why: NetError::Other });
            let actions = std::iter::from_fn(|| engine.poll_action());
            let failed = |action: &Action| matches!(action, Action::Notify(notice) if matches!(**notice, Notice::ListenFailed { addr, .. } if addr == spec.addr));
            actions.filter(failed).count()
        };
        assert_eq!((failed(&mut engine), failed(&mut engine)), (1, 0));
        let from = SocketAddr::from(([10, 0, 0, 2], 5000));
        assert_eq!(engine.accept(now, socket, from), None);
    }

    #[test]
    fn what_happens_after_the_last_notice_is_told_to_nobody() {
        let now = Instant::ZERO;
        let mut engine = Engine::new(Config::default(), [1; 32], now, UnixTime(0));
        let bind = engine.poll_action();
        let Some(Action::Bind { socket, spec }) = bind else { panic!("{bind:?}") };
        engine.command(now, Command::Stop);
        engine.handle(now, Event::Bound { socket, result: Ok(spec.addr) });
        let notices = std::iter::from_fn(|| engine.poll_action())
            .filter_map(|action| match action {
                Action::Notify(notice) => Some(*notice),
                _ => None,
            })
            .collect::<Vec<_>>();
        assert_eq!(notices, [Notice::Stopped]);
    }
}
