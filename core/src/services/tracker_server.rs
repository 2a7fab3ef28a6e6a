//! The embedded tracker in a session: its connections, datagrams and timer.
//!
//! What the tracker answers is decided by [`TrackerServer`]; here bytes are passed to it and back.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::action::Close;
use crate::choke::AddressGroup;
use crate::deadline::TimerKey;
use crate::event::Datagram;
use crate::id::{ClientId, ConnId, Slab};
use crate::notice::Notice;
use crate::packet::Packet;
use crate::places::{Holder, Silent, Stage, who_yields};
use crate::segments::Segments;
use crate::session::Session;
use crate::time::Instant;
use crate::timer::TimerId;
use crate::tracker::server::{HeardAnnounce, HttpConn, Next, ServerConfig, Stats, TrackerServer};
use crate::transport::{Carrier, Role, StreamEvent};

/// The embedded tracker.
#[derive(Debug)]
pub(crate) struct TrackerService {
    server: TrackerServer,
    timer: TimerId,
    clients: Slab<ClientId, Client>,
    /// Whose connections have ended without a request.
    silent: Silent,
}

/// Connections to the tracker at once; past it, a newcomer has the place of one that waits for nothing, or
/// is refused (chosen).
const MOST_CLIENTS: usize = 1000;

/// One client that is connected to the tracker.
#[derive(Debug)]
struct Client {
    conn: ConnId,
    from: SocketAddr,
    http: HttpConn,
    out: Vec<u8>,
    /// Whether to close once everything is sent.
    closing: bool,
    /// How far it has come.
    stage: Stage,
}

/// Reports the announces that came in.
fn report(session: &mut Session, heard: Vec<HeardAnnounce>) {
    for announce in heard {
        session.outbox.notify(Notice::TrackerHeard(announce));
    }
}

impl TrackerService {
    /// A tracker, if the session is to run one.
    pub(crate) fn open(session: &mut Session) -> Option<Self> {
        if session.config.tracker_listen.is_empty() {
            return None;
        }
        let bounds = session.config.bounds;
        let config = ServerConfig {
            max_swarms: bounds.tracker_swarms,
            max_peers_per_swarm: bounds.tracker_peers,
            interval: session.config.tracker_interval,
            min_interval: session.config.tracker_interval.min(ServerConfig::default().min_interval),
            ..ServerConfig::default()
        };
        let mut server =
            TrackerServer::new(config, session.random.secret.fork(), session.random.hash_keys);
        server.set_log(session.config.tracker_notices);
        let timer = session.timers.register(TimerKey::TrackerServer);
        Some(TrackerService { server, timer, clients: Slab::new(), silent: Silent::default() })
    }

    /// How much the tracker holds.
    pub(crate) fn stats(&self) -> Stats {
        self.server.stats()
    }

    /// A client connects, unless there are too many who do not yield.
    pub(crate) fn accept(&mut self, session: &mut Session, from: SocketAddr) -> Option<ConnId> {
        if session.stopping {
            return None;
        }
        if self.clients.len() >= MOST_CLIENTS {
            let yields = self.who_yields(session.now, from)?;
            self.close(session, yields, Close::Abort);
        }
        let http = HttpConn::new(session.now, from);
        let deadline = http.poll_timeout();
        let stage = Stage::Handshake(session.now);
        let mut transport = session.transport();
        let id = self.clients.insert_with(|id| {
            let conn = transport.accept(from, Carrier::Tcp, Role::TrackerClient(id));
            Client { conn, from, http, out: Vec::new(), closing: false, stage }
        });
        let conn = self.clients.get(id)?.conn;
        transport.set_deadline(conn, deadline);
        Some(conn)
    }

    /// Closes the connections of clients that the IP filter refuses.
    pub(crate) fn close_refused(&mut self, session: &mut Session) {
        let is_refused = |(_, client): &(ClientId, &Client)| session.is_filtered(client.from.ip());
        let refused: Vec<ClientId> =
            self.clients.iter().filter(is_refused).map(|(id, _)| id).collect();
        for id in refused {
            self.close(session, id, Close::Abort);
        }
    }

    /// The client whose place a newcomer may have (defence 41). O(clients), when there is no place.
    fn who_yields(&self, now: Instant, newcomer: SocketAddr) -> Option<ClientId> {
        let newcomer = AddressGroup::of(newcomer.ip());
        let holders = self.clients.iter().map(|(key, client)| {
            let group = AddressGroup::of(client.from.ip());
            let stage = match client.stage {
                Stage::Handshake(since) => self.silent.stage(group, since, newcomer, now),
                stage => stage,
            };
            Holder { key, group, stage }
        });
        who_yields(&holders.collect::<Vec<_>>(), newcomer, now)
    }

    /// Something happened on the connection of a client.
    pub(crate) fn handle_stream(
        &mut self,
        session: &mut Session,
        id: ClientId,
        event: StreamEvent,
    ) {
        match event {
            StreamEvent::Received(data) => self.received(session, id, &data),
            StreamEvent::Sent { all: true } => self.sent(session, id),
            StreamEvent::Closed { .. } => drop(self.forget(session.now, id)),
            StreamEvent::TimedOut => self.close(session, id, Close::Abort),
            StreamEvent::Opened | StreamEvent::Sent { all: false } => {}
        }
    }

    /// Hands out what a client is to be sent.
    pub(crate) fn gather(&mut self, id: ClientId, out: &mut Segments) {
        if let Some(client) = self.clients.get_mut(id) {
            out.push(Bytes::from(std::mem::take(&mut client.out)));
        }
    }

    fn received(&mut self, session: &mut Session, id: ClientId, data: &[u8]) {
        // Those who keep their connections leave room for others.
        let is_crowded = self.clients.len() > MOST_CLIENTS / 2;
        let Some(client) = self.clients.get_mut(id).filter(|client| !client.closing) else {
            return;
        };
        let conn = client.conn;
        if is_crowded {
            client.http.close_after_next();
        }
        let next =
            self.server.handle_received(session.now, &mut client.http, data, &mut client.out);
        client.closing = next == Next::Close;
        if !client.out.is_empty() {
            client.stage = Stage::Idle(session.now);
        }
        let (deadline, answers) = (client.http.poll_timeout(), !client.out.is_empty());
        let done = client.closing && !answers && !session.streams.is_sending(conn);
        report(session, self.server.take_log());
        session.transport().set_deadline(conn, deadline);
        if answers {
            session.transport().ask_send(conn);
        } else if done {
            self.close(session, id, Close::Flush);
        }
        session.arm(self.timer, self.server.poll_timeout());
    }

    /// All that was gathered for a client is sent.
    fn sent(&mut self, session: &mut Session, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        if !client.out.is_empty() {
            session.transport().ask_send(client.conn);
        } else if client.closing {
            self.close(session, id, Close::Flush);
        }
    }

    fn close(&mut self, session: &mut Session, id: ClientId, how: Close) {
        if let Some(client) = self.forget(session.now, id) {
            session.transport().close(client.conn, how);
        }
    }

    fn forget(&mut self, now: Instant, id: ClientId) -> Option<Client> {
        let client = self.clients.remove(id)?;
        if let Stage::Handshake(since) = client.stage {
            self.silent.over(AddressGroup::of(client.from.ip()), since, now);
        }
        Some(client)
    }

    /// A datagram came in; its answer, if it gets one.
    pub(crate) fn datagram(
        &mut self,
        session: &mut Session,
        datagram: &Datagram,
    ) -> Option<Packet> {
        let remote = datagram.remote;
        let answer = self.server.handle_datagram(session.now, remote, &datagram.data);
        report(session, self.server.take_log());
        let data = answer?;
        session.arm(self.timer, self.server.poll_timeout());
        Some(Packet { remote, data })
    }

    /// Silent peers are forgotten.
    pub(crate) fn timeout(&mut self, session: &mut Session) {
        self.server.handle_timeout(session.now);
        session.arm(self.timer, self.server.poll_timeout());
    }
}
