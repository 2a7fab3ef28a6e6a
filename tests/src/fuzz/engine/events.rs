//! What happens to an engine under a fuzzer from outside: connections, bytes, the disk, look-ups,
//! sockets, datagrams. What a host must guarantee holds, whatever the program says.

use std::net::{IpAddr, SocketAddr};

use bitswarm_core::action::SocketKind;
use bitswarm_core::disk::{DiskError, DiskErrorKind};
use bitswarm_core::event::{Datagram, Event, NetError, ResolveError};
use bitswarm_core::id::ConnId;
use bytes::BytesMut;

use super::world::World;

impl World {
    /// A remote sends.
    pub(super) fn receive(&mut self, conn: Option<ConnId>, bytes: &[u8]) {
        let Some((id, conn)) = conn.and_then(|id| Some((id, self.conns.get_mut(&id)?))) else {
            return;
        };
        if !conn.open || bytes.is_empty() {
            return;
        }
        conn.listen(bytes);
        self.checker.received(self.now, id, bytes);
        self.input(Event::Received { conn: id, data: BytesMut::from(bytes) });
    }

    /// A remote accepts our connection.
    pub(super) fn connected(&mut self, conn: Option<ConnId>) {
        let Some((id, conn)) = conn.and_then(|id| Some((id, self.conns.get_mut(&id)?))) else {
            return;
        };
        if !std::mem::replace(&mut conn.open, true) {
            let local = SocketAddr::from(([203, 0, 113, 1], 50_000));
            let is_secured = std::mem::take(&mut conn.securing);
            self.input(match is_secured {
                true => Event::Secured { conn: id },
                false => Event::Connected { conn: id, local },
            });
        }
    }

    /// A remote hangs up, or does not answer.
    pub(super) fn end_conn(&mut self, conn: Option<ConnId>, why: Option<NetError>) {
        let Some(id) = conn else { return };
        if self.conns.remove(&id).is_some() {
            self.bury(id);
            self.input(Event::Closed { conn: id, why });
        }
    }

    /// A remote connects.
    pub(super) fn accept(&mut self, listener: u8, who: u8) {
        let mut listeners = self.open_sockets(SocketKind::TcpListener);
        let Some(socket) = listeners.nth(usize::from(listener & 1)) else { return };
        drop(listeners);
        let from = match who >> 6 {
            0 => SocketAddr::from(([127, 0, 0, 1], 1000 + u16::from(who))),
            1 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(who & 7)], 1000)),
            _ => SocketAddr::from(([198, 51, 100, who & 15], 1000 + u16::from(who))),
        };
        if let Some(conn) = self.engine.accept(self.now, socket, from) {
            self.adopt(conn, true);
        }
        self.drain();
    }

    /// A socket takes what waits for it.
    pub(super) fn write(&mut self, conn: Option<ConnId>) {
        if let Some(id) = conn {
            self.gather(id);
            self.drain();
        }
    }

    /// A socket reports a part of what it took, in 255ths.
    pub(super) fn report_sent(&mut self, conn: Option<ConnId>, part: u8) {
        let Some((id, conn)) = conn.and_then(|id| Some((id, self.conns.get_mut(&id)?))) else {
            return;
        };
        let bytes = (conn.unreported * usize::from(part)).div_ceil(255);
        if bytes > 0 {
            conn.unreported -= bytes;
            self.input(Event::Sent { conn: id, bytes });
        }
    }

    /// A disk request completes: as it comes, or with an error.
    pub(super) fn complete_disk(&mut self, which: u8, error: Option<DiskErrorKind>) {
        if self.tickets.is_empty() {
            return;
        }
        let (ticket, opens) = self.tickets.remove(usize::from(which) % self.tickets.len());
        let (op, result) = self.disk.finish(self.now, ticket).expect("it is under way");
        let result = match error.filter(|_| !opens) {
            // It may have been done in spite of the error, unless it opens a store.
            Some(kind) => Err(Box::new(DiskError {
                kind,
                path: "/downloads/x".into(),
                cause: "fuzzed".to_owned(),
            })),
            None => result,
        };
        self.input(Event::Disk { op, result });
    }

    /// From now on the disk has these faults.
    pub(super) fn faults(&mut self, bits: u8) {
        let per_mille = |bit: u8| if bits & bit != 0 { 500 } else { 0 };
        self.disk.faults.read_error_per_mille = per_mille(1);
        self.disk.faults.write_error_per_mille = per_mille(2);
        self.disk.faults.sync_error_per_mille = per_mille(4);
        self.disk.faults.save_error_per_mille = per_mille(8);
        self.disk.faults.denied = bits & 0x30 == 0x30;
        self.disk.faults.capacity = (bits & 0xc0 == 0xc0).then_some(30_000);
    }

    /// A name was looked up.
    pub(super) fn resolved(&mut self, which: u8, result: Result<Vec<IpAddr>, ResolveError>) {
        if !self.lookups.is_empty() {
            let op = self.lookups.remove(usize::from(which) % self.lookups.len());
            self.input(Event::Resolved { op, result });
        }
    }

    /// The oldest socket that was asked for is open, or could not be opened.
    pub(super) fn bound(&mut self, error: Option<NetError>) {
        if self.unbound.is_empty() {
            return;
        }
        let socket = self.unbound.remove(0);
        // One that could not be opened may be asked for again, at another port.
        let spec = match error {
            Some(_) => self.sockets.remove(&socket),
            None => self.sockets.get(&socket).cloned(),
        };
        let addr = spec.expect("it was asked for").addr;
        self.input(Event::Bound { socket, result: error.map_or(Ok(addr), Err) });
    }

    /// A datagram comes in.
    pub(super) fn datagram(&mut self, how: u8, data: &[u8]) {
        let mut sockets = self.open_sockets(SocketKind::Udp);
        let Some(socket) = sockets.nth(usize::from(how & 1)) else { return };
        drop(sockets);
        let remote = match how >> 1 & 3 {
            0 => SocketAddr::from(([198, 51, 100, 1], 1000)),
            _ => SocketAddr::from(([192, 0, 2, 1], 6969)),
        };
        let batch = vec![Datagram { remote, local: None, received: self.now, data: data.into() }];
        self.input(Event::Datagrams { socket, batch });
    }

    /// Datagram sockets take more.
    pub(super) fn ready(&mut self) {
        for socket in self.open_sockets(SocketKind::Udp).collect::<Vec<_>>() {
            self.input(Event::DatagramReady { socket });
        }
    }

    /// Something that crossed a close.
    pub(super) fn stale(&mut self, which: u8) {
        let Some(&conn) = self.dead.get(usize::from(which >> 2)) else { return };
        let local = SocketAddr::from(([203, 0, 113, 1], 50_000));
        let event = match which & 3 {
            0 => Event::Received { conn, data: BytesMut::from(&b"\0\0\0\x01\x01"[..]) },
            1 => Event::Sent { conn, bytes: 5 },
            2 => Event::Closed { conn, why: None },
            _ => Event::Connected { conn, local },
        };
        self.input(event);
    }
}
