//! The embedded tracker's place in a session: its connections, datagrams and timer.
//!
//! What a tracker says is decided by [`TrackerServer`]; here bytes find their way to it and back.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::action::{Action, Close};
use crate::event::Datagram;
use crate::id::ConnId;
use crate::notice::Notice;
use crate::segments::Segments;
use crate::session::Session;
use crate::session::conn::{Role, TimerKey};
use crate::timer::TimerId;
use crate::tracker::server::{HeardAnnounce, HttpConn, Next, ServerConfig, Stats, TrackerServer};

/// The embedded tracker.
#[derive(Debug)]
pub(crate) struct TrackerHost {
    server: TrackerServer,
    timer: TimerId,
    clients: usize,
}

/// Connections to the tracker at once; past it, new ones are refused (chosen).
const MOST_CLIENTS: usize = 1000;

/// One connection to the tracker.
#[derive(Debug)]
pub(crate) struct TrackerClient {
    http: HttpConn,
    out: Vec<u8>,
    /// Whether to close once everything is sent.
    closing: bool,
}

/// Tells of the announces that were heard.
fn tell(session: &mut Session, heard: Vec<HeardAnnounce>) {
    for announce in heard {
        session.act(Action::Notify(Box::new(Notice::TrackerHeard(announce))));
    }
}

impl TrackerClient {
    /// Hands out what waits to be sent.
    pub(crate) fn gather(&mut self, out: &mut Segments) {
        out.push(Bytes::from(std::mem::take(&mut self.out)));
    }
}

impl TrackerHost {
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
        let mut server = TrackerServer::new(config, session.secret.fork(), session.hash_keys);
        server.set_log(session.config.tracker_notices);
        let timer = session.timers.register(TimerKey::TrackerServer);
        Some(TrackerHost { server, timer, clients: 0 })
    }

    /// How much the tracker holds.
    pub(crate) fn stats(&self) -> Stats {
        self.server.stats()
    }

    /// Somebody dialled in.
    pub(crate) fn accept(&mut self, session: &mut Session, from: SocketAddr) -> Option<ConnId> {
        if session.stopping || self.clients >= MOST_CLIENTS {
            return None;
        }
        self.clients += 1;
        let http = HttpConn::new(session.now, from);
        let deadline = http.poll_timeout();
        let client = TrackerClient { http, out: Vec::new(), closing: false };
        let conn = session.add_conn(from, Role::TrackerClient(Box::new(client)), true);
        session.set_deadline(conn, deadline);
        Some(conn)
    }

    /// Bytes came in.
    pub(crate) fn received(&mut self, session: &mut Session, conn: ConnId, data: &[u8]) {
        let now = session.now;
        let Some(state) = session.conns.get_mut(conn) else { return };
        let Role::TrackerClient(client) = &mut state.role else { return };
        if client.closing {
            return;
        }
        let next = self.server.handle_received(now, &mut client.http, data, &mut client.out);
        let heard = self.server.take_log();
        client.closing = next == Next::Close;
        let (deadline, answers) = (client.http.poll_timeout(), !client.out.is_empty());
        let done = client.closing && !answers && state.in_flight == 0;
        tell(session, heard);
        session.set_deadline(conn, deadline);
        if answers {
            session.ask_send(conn);
        } else if done {
            self.close(session, conn, Close::Flush);
        }
        session.arm(self.timer, self.server.poll_timeout());
    }

    /// All that was gathered for a connection is sent.
    pub(crate) fn sent(&mut self, session: &mut Session, conn: ConnId) {
        let Some(state) = session.conns.get(conn) else { return };
        let Role::TrackerClient(client) = &state.role else { return };
        if !client.out.is_empty() {
            session.ask_send(conn);
        } else if client.closing {
            self.close(session, conn, Close::Flush);
        }
    }

    /// A connection took too long.
    pub(crate) fn expired(&mut self, session: &mut Session, conn: ConnId) {
        self.close(session, conn, Close::Abort);
    }

    /// A connection is closed.
    pub(crate) fn closed(&mut self) {
        self.clients -= 1;
    }

    fn close(&mut self, session: &mut Session, conn: ConnId, how: Close) {
        self.clients -= 1;
        session.close(conn, how);
    }

    /// A datagram came in; its answer, if it gets one.
    pub(crate) fn datagram(
        &mut self,
        session: &mut Session,
        datagram: &Datagram,
    ) -> Option<Datagram> {
        let remote = datagram.remote;
        let answer = self.server.handle_datagram(session.now, remote, &datagram.data);
        tell(session, self.server.take_log());
        let data = answer?;
        session.arm(self.timer, self.server.poll_timeout());
        Some(Datagram { remote, data })
    }

    /// Silent peers are forgotten.
    pub(crate) fn timeout(&mut self, session: &mut Session) {
        self.server.handle_timeout(session.now);
        session.arm(self.timer, self.server.poll_timeout());
    }
}
