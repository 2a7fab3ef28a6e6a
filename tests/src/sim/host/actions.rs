//! What a host does at its engine's word: each action, as a runtime carries it out, with the manners
//! that the contract allows.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::action::{Action, Close, SocketKind, SocketSpec};
use bitswarm_core::disk::DiskRequest;
use bitswarm_core::event::{Event, NetError, ResolveError};
use bitswarm_core::id::{ConnId, OpId, SocketId};
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::packet::Transmit;
use bitswarm_core::socket::Names;
use bitswarm_core::time::Duration;
use bytes::BytesMut;

use super::{Bound, Conn, EngineHost, LINGER};
use crate::sim::check::judge_datagram;
use crate::sim::conduct::Lane;
use crate::sim::world::{Cx, PEER_PORT, Wake};

/// Datagrams that are gathered at once (chosen: so that several come to go together).
const SEGMENTS: usize = 4;

impl EngineHost {
    pub(super) fn perform(&mut self, cx: &mut Cx<'_>, action: Action) {
        match action {
            Action::Bind { socket, spec } => self.bind(cx, socket, spec),
            Action::Unbind { socket } => match self.sockets.remove(&socket) {
                Some(Bound { key: Some(key), .. }) => {
                    self.keys.remove(&key);
                    cx.net.unbind(key);
                }
                Some(Bound { key: None, .. }) => {}
                None => cx.violation(self.id, format!("unbinds {socket:?}, which is not bound")),
            },
            Action::Connect { conn, to, from: _ } => {
                self.check_filter(cx, "connects to", to.ip());
                let end = cx.net.connect(cx.now(), self.id, to);
                cx.did(self.id, Lane::Stream(end), "connect", &to);
                let to_peer = to.port() == PEER_PORT;
                self.adopt(cx, conn, end, to_peer, false);
                if to_peer {
                    self.check_dial(cx, to);
                }
            }
            Action::Secure { conn, .. } => self.secure(cx, conn),
            Action::Send { conn } => self.send(cx, conn),
            Action::Read { conn, on } => match self.conns.get(&conn) {
                Some(state) => cx.net.set_reading(cx.now(), state.end, on),
                None => cx.violation(self.id, format!("Read for {conn:?}, which is dead")),
            },
            Action::Close { conn, how } => self.close(cx, conn, how),
            Action::SendDatagrams { socket } => self.send_datagrams(cx, socket),
            Action::Disk { op, request } => self.submit(cx, op, request),
            Action::Resolve { op, host, via } => {
                if host.parse::<IpAddr>().is_ok() {
                    cx.violation(self.id, format!("asks the resolver for the address {host}"));
                }
                if via == Names::Refuse {
                    let result = Err(ResolveError::Refused);
                    return self.pending.push_back(Event::Resolved { op, result });
                }
                let (took, result) = cx.resolver.look_up(&host);
                self.lookups.insert(op, result);
                cx.wake(cx.now() + took, self.id, self.incarnation, Wake::Resolved(op));
            }
            Action::Notify(notice) => {
                cx.line(self.id, format_args!("notice {notice:?}"));
                self.stopped |= *notice == Notice::Stopped;
                if let Notice::Torrent { what: TorrentNotice::MetadataReceived { .. }, .. } =
                    *notice
                {
                    let conns = &self.conns;
                    self.checker.learnt(|conn| conns.get(&conn).is_some_and(Conn::has_said_all));
                }
                self.check_bans(cx, &notice);
                self.notices.push((cx.now(), *notice));
            }
        }
    }

    /// Sockets of local discovery have no key: no network is behind them.
    pub(super) fn bind(&mut self, cx: &mut Cx<'_>, socket: SocketId, spec: SocketSpec) {
        let some_key = |(key, addr)| (Some(key), addr);
        let bound = match spec.kind {
            SocketKind::TcpListener => cx.net.listen(self.id, spec.addr).map(some_key),
            SocketKind::Udp => cx.net.bind_datagram(self.id, spec.addr).map(some_key),
            // No two hosts of this world are in the same network: what is told there nobody hears.
            SocketKind::Multicast => Ok((None, spec.addr)),
        };
        let key = bound.as_ref().ok().and_then(|(key, _)| *key);
        if self
            .sockets
            .insert(socket, Bound { key, kind: spec.kind, held: VecDeque::new() })
            .is_some()
        {
            cx.violation(self.id, format!("{socket:?} is bound twice"));
        }
        if let Some(key) = key {
            self.keys.insert(key, socket);
        }
        let result: Result<SocketAddr, NetError> = bound.map(|(_, addr)| addr);
        self.pending.push_back(Event::Bound { socket, result });
    }

    /// What TLS carries is simulated, not TLS.
    fn secure(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        match self.conns.get_mut(&conn) {
            Some(state) if state.open && state.unreported == 0 && !state.securing => {
                state.securing = true;
                self.pending.push_back(Event::Secured { conn });
            }
            _ => cx.violation(self.id, format!("Secure for {conn:?}, which is not open and idle")),
        }
    }

    pub(super) fn send(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let limit = if self.dice.chance(self.manners.odd_gather_per_mille) {
            self.dice.between(1..=self.manners.gather_limit as u64) as usize
        } else {
            self.manners.gather_limit
        };
        let now = self.local(cx.now());
        let Some(state) = self.conns.get_mut(&conn) else {
            return cx.violation(self.id, format!("Send for {conn:?}, which is dead"));
        };
        if !state.open || state.securing {
            cx.violation(self.id, format!("Send for {conn:?}, which is not established"));
        }
        if state.unreported > 0 {
            let text = format!("Send for {conn:?} while one is outstanding");
            return cx.violation(self.id, text);
        }
        let Some(engine) = &mut self.engine else { return };
        engine.gather(now, conn, limit, &mut state.out);
        let gathered = state.out.len();
        state.unreported += gathered;
        self.counts.inputs += 1;
        let before = self.checker.tally();
        let mut checksum = crc32fast::Hasher::new();
        state.out.iter().for_each(|part| checksum.update(part));
        let (end, checksum) = (state.end, checksum.finalize());
        let parts = state.out.iter().map(AsRef::as_ref);
        let verdict = self.checker.sent(cx.now(), conn, parts, &self.disk);
        cx.record(self.id, "gather", &(conn, limit, gathered, checksum));
        cx.did(self.id, Lane::Stream(end), "bytes", &(gathered, checksum));
        self.log_messages(cx, conn);
        if let Err(broken) = verdict {
            cx.violation(self.id, broken);
        }
        if let Some((up, _)) = &mut self.meters {
            let payload = self.checker.tally().limited_sent - before.limited_sent;
            up.add(cx.now(), payload as usize);
        }
        let metadata = self.checker.tally().metadata_sent - before.metadata_sent;
        if let Err(broken) = self.given.add(cx.now(), cx.net.host_of(end.other()), metadata) {
            cx.violation(self.id, broken);
        }
        self.write(cx, conn);
    }

    pub(super) fn log_messages(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        for line in self.checker.take_lines() {
            cx.line(self.id, format_args!("{conn:?} {line}"));
        }
    }

    /// Writes what was gathered, as far as the stream takes it, and reports that.
    pub(super) fn write(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let taken = cx.net.write(cx.now(), state.end, &mut state.out);
        if taken > 0 && self.manners.sent_late > Duration::ZERO {
            let at = cx.now() + self.dice.up_to(self.manners.sent_late);
            return cx.wake(at, self.id, self.incarnation, Wake::Sent(conn, taken));
        }
        self.report_sent(cx, conn, taken);
    }

    /// Tells the engine that bytes have left.
    pub(super) fn report_sent(&mut self, cx: &mut Cx<'_>, conn: ConnId, mut taken: usize) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.unreported -= taken;
            if taken > 0 {
                self.checker.excuse_silence(cx.now(), conn);
            }
        }
        if taken > 1 && self.dice.chance(self.manners.split_sent_per_mille) {
            let first = self.dice.between(1..=taken as u64 - 1) as usize;
            self.pending.push_back(Event::Sent { conn, bytes: first });
            taken -= first;
        }
        if taken > 0 {
            self.pending.push_back(Event::Sent { conn, bytes: taken });
        }
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>, conn: ConnId, how: Close) {
        let Some(state) = self.forget(cx, conn) else {
            return cx.violation(self.id, format!("Close for {conn:?}, which is dead"));
        };
        cx.did(self.id, Lane::Stream(state.end), "close", &(how == Close::Flush));
        match how {
            Close::Flush if !state.out.is_empty() => {
                self.lingering.insert(state.end, state.out);
                let at = cx.now() + LINGER;
                cx.wake(at, self.id, self.incarnation, Wake::Linger(state.end));
            }
            Close::Flush => cx.net.close(cx.now(), state.end),
            Close::Abort => cx.net.reset(cx.now(), state.end),
        }
    }

    pub(super) fn send_datagrams(&mut self, cx: &mut Cx<'_>, socket: SocketId) {
        let now = self.local(cx.now());
        let Some(bound) = self.sockets.get_mut(&socket) else {
            return cx.violation(self.id, format!("SendDatagrams for {socket:?}, not bound"));
        };
        if bound.kind == SocketKind::TcpListener {
            cx.violation(self.id, format!("SendDatagrams for {socket:?}, which is no UDP socket"));
        }
        let Some(key) = bound.key else { return self.tell_network(cx, socket) };
        while bound.held.is_empty() {
            let Some(engine) = &mut self.engine else { return };
            self.counts.inputs += 1;
            let mut out = BytesMut::new();
            let transmit = engine.gather_datagrams(now, socket, SEGMENTS, &mut out);
            let Some(Transmit { destination: to, segment_size, .. }) = transmit else { return };
            let filter = engine.engine().config().ip_filter.as_ref();
            if filter.is_some_and(|filter| filter.refuses(to.ip())) {
                cx.violation(self.id, format!("sends to {to}, which its IP filter refuses"));
            }
            let port = cx.net.socket_addr(key).map_or(0, |own| own.port());
            for data in out.chunks(segment_size).map(BytesMut::from) {
                cx.record(self.id, "datagram", &(to, &data));
                cx.did(self.id, Lane::Socket(key), "datagram", &(to, &data));
                let verdict = judge_datagram(port, to, &data)
                    .and_then(|()| self.checker.judge_secrecy(port, to, &data))
                    .and_then(|()| self.answers.sent(cx.now(), port, to, &data));
                if let Err(broken) = verdict {
                    cx.violation(self.id, broken);
                }
                let waits = !bound.held.is_empty();
                if waits || !cx.net.send_datagram(cx.now(), key, to, data.clone()) {
                    bound.held.push_back((to, data));
                }
            }
        }
    }

    /// What is told to the local network, where nobody hears it.
    fn tell_network(&mut self, cx: &mut Cx<'_>, socket: SocketId) {
        let now = self.local(cx.now());
        while let Some(engine) = &mut self.engine {
            self.counts.inputs += 1;
            let mut data = BytesMut::new();
            let transmit = engine.gather_datagrams(now, socket, 1, &mut data);
            let Some(Transmit { destination: to, .. }) = transmit else { return };
            cx.record(self.id, "multicast", &(to, &data));
            if let Err(broken) = self.checker.judge_secrecy(0, to, &data) {
                cx.violation(self.id, broken);
            }
        }
    }

    /// Sends the datagrams that had to wait; whether the socket has room for more.
    pub(super) fn send_held(&mut self, cx: &mut Cx<'_>, socket: SocketId) -> bool {
        let Some(Bound { key: Some(key), held, .. }) = self.sockets.get_mut(&socket) else {
            return false;
        };
        while let Some((to, data)) = held.front() {
            if !cx.net.send_datagram(cx.now(), *key, *to, data.clone()) {
                return false;
            }
            held.pop_front();
        }
        true
    }

    pub(super) fn submit(&mut self, cx: &mut Cx<'_>, op: OpId, request: DiskRequest) {
        let now = cx.now();
        cx.conduct.asked_disk(now, self.id, &request);
        let (ticket, at) = self.disk.submit(cx.now(), op, request);
        for breach in self.disk.take_breaches() {
            cx.violation(self.id, breach);
        }
        self.check_load(cx);
        cx.wake(at, self.id, self.incarnation, Wake::Disk(ticket));
    }
}
