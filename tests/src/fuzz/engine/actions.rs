//! The loop of a host: it carries out the actions of an engine and checks each of them. Ids are fresh
//! and alive, at most one `Send` is outstanding, the actions of one event are bounded, what goes out
//! keeps to the rules of the peer wire, the disk is asked for nothing that its contract excludes.

use std::net::IpAddr;
use std::sync::LazyLock;

use bitswarm_core::Segments;
use bitswarm_core::action::{Action, SocketKind};
use bitswarm_core::disk::DiskRequest;
use bitswarm_core::event::Event;
use bitswarm_core::id::{ConnId, OpId, SocketId};
use bitswarm_core::notice::Notice;
use bytes::BytesMut;

use super::conn::Conn;
use super::world::World;

/// Most actions that one event may cause (chosen: with at most 8 connections and 45 pieces, far
/// above what it can).
const MOST_ACTIONS: usize = 2000;

/// With `FUZZ_LOG` in the environment, what happens is written to stderr.
pub(super) static LOGS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_LOG").is_some());

impl World {
    pub(super) fn input(&mut self, event: Event) {
        self.log(|| format!("in  {event:?}"));
        self.engine.handle(self.now, event);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.engine.poll_action() {
            actions += 1;
            assert!(actions <= MOST_ACTIONS, "one event causes no end of actions");
            self.log(|| format!("out {action:?}"));
            self.perform(action);
        }
        for which in self.torrents.iter().flatten() {
            if let Some(status) = self.engine.engine().status(self.now, *which) {
                assert!(status.pieces_have <= status.pieces);
                // While it checks, what is not wanted is counted too.
                assert!(status.done_bytes <= status.total_bytes, "{status:?}");
                assert!(status.seeds <= status.peers && status.known_peers <= 64);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Bind { socket, spec } => {
                assert!(self.sockets.insert(socket, spec).is_none(), "{socket:?} is bound twice");
                self.unbound.push(socket);
            }
            Action::Unbind { socket } => {
                assert!(self.sockets.remove(&socket).is_some(), "{socket:?} is not bound");
                self.unbound.retain(|other| *other != socket);
            }
            Action::Connect { conn, .. } => self.adopt(conn, false),
            Action::Send { conn } => {
                let state = self.conns.get_mut(&conn).expect("sends on a live connection");
                assert!(state.open && !state.due && state.unreported == 0, "one send at a time");
                state.due = true;
                if !self.lazy {
                    self.gather(conn);
                }
            }
            Action::Secure { conn, .. } => {
                let state = self.conns.get_mut(&conn).expect("secures a live connection");
                assert!(state.open && !state.due && state.unreported == 0, "TLS comes first");
                (state.open, state.securing) = (false, true);
            }
            Action::Read { conn, .. } => assert!(self.conns.contains_key(&conn)),
            Action::Close { conn, .. } => {
                assert!(self.conns.remove(&conn).is_some(), "closes {conn:?}, which is dead");
                self.bury(conn);
            }
            Action::SendDatagrams { socket } => self.send_datagrams(socket),
            Action::Disk { op, request } => self.submit(op, request),
            Action::Resolve { op, host, .. } => {
                assert!(host.parse::<IpAddr>().is_err(), "{host} needs no look-up");
                self.lookups.push(op);
            }
            Action::Notify(notice) => {
                assert!(!self.stopped, "{notice:?} after the last notice");
                self.stopped = *notice == Notice::Stopped;
            }
        }
    }

    fn log(&mut self, what: impl FnOnce() -> String) {
        if *LOGS {
            self.checker.take_lines().iter().for_each(|line| eprintln!("{:?}  {line}", self.now));
            let what = what();
            eprintln!("{:?} {}", self.now, what.get(..300).unwrap_or(&what));
        }
    }

    pub(super) fn adopt(&mut self, conn: ConnId, open: bool) {
        let state = Conn { open, understood: true, ..Conn::default() };
        assert!(self.conns.insert(conn, state).is_none(), "{conn:?} is given out while it lives");
        self.checker.opened(conn);
    }

    pub(super) fn bury(&mut self, conn: ConnId) {
        self.checker.closed(conn);
        self.dead.truncate(63);
        self.dead.insert(0, conn);
    }

    pub(super) fn gather(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.due) else { return };
        conn.due = false;
        let mut out = Segments::new();
        self.engine.gather(self.now, id, 40_000, &mut out);
        let bytes = out.take_all();
        conn.unreported += bytes.len();
        conn.speak(&bytes);
        if conn.understood && self.judges {
            let verdict = self.checker.sent(self.now, id, std::iter::once(&bytes[..]), &self.disk);
            verdict.unwrap_or_else(|broken| panic!("{broken}"));
        }
    }

    fn send_datagrams(&mut self, socket: SocketId) {
        let spec = self.sockets.get(&socket).expect("sends through a live socket");
        assert_eq!(spec.kind, SocketKind::Udp);
        let mut count = 0;
        let mut out = BytesMut::new();
        while let Some(transmit) = self.engine.gather_datagrams(self.now, socket, 3, &mut out) {
            assert!(out.len() <= 3 * transmit.segment_size && !out.is_empty());
            for data in out.chunks(transmit.segment_size) {
                if let Some(transaction) = data.get(12..16) {
                    self.transaction.copy_from_slice(transaction);
                }
                count += 1;
                assert!(count < 1000 && data.len() <= 1500);
            }
            out.clear();
        }
    }

    fn submit(&mut self, op: OpId, request: DiskRequest) {
        let opens = matches!(request, DiskRequest::Open { .. });
        let (ticket, _) = self.disk.submit(self.now, op, request);
        self.tickets.push((ticket, opens));
        let breaches = self.disk.take_breaches();
        assert!(breaches.is_empty(), "{breaches:?}");
    }
}
