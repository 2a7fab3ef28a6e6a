//! uTP between its connections, the sockets and the streams: what came in is handed on after each input, what
//! goes out is gathered when a socket takes it.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::Engine;
use crate::event::{Datagram, NetError};
use crate::id::SocketId;
use crate::packet::Transmit;
use crate::segments::Segments;
use crate::session::Session;
use crate::transport::sockets::SocketRole;
use crate::transport::{Carrier, Happened, Next, wants_to_open};

impl Engine {
    // Sockets.

    /// A socket is open: if it is for our own datagrams, streams come and go by it, too.
    pub(super) fn open_utp(&mut self, socket: SocketId, addr: SocketAddr) {
        if self.session.sockets.role(socket) == Some(SocketRole::PeersUdp) {
            self.session.transport().open_utp(socket, addr);
        }
    }

    /// A socket is of no use any more.
    pub(super) fn lost_utp(&mut self, socket: SocketId, why: NetError) {
        for conn in self.session.streams.lost_utp(socket) {
            let delivery = self.session.transport().ended_utp(conn, why);
            self.deliver(delivery);
        }
    }

    // Coming in.

    /// A packet of uTP came in.
    pub(super) fn utp_datagram(&mut self, socket: SocketId, datagram: &Datagram) {
        // Of a connection that is known nobody asks any more whether it is welcome.
        let admits = !wants_to_open(datagram) || !self.is_refused(datagram.remote);
        self.session.transport().receive_utp(socket, datagram, admits);
    }

    pub(super) fn utp_timeout(&mut self) {
        self.session.transport().handle_utp_timeout();
    }

    /// Hands on what has happened on connections of uTP; whether anything has.
    pub(super) fn deliver_utp(&mut self) -> bool {
        let mut has_any = false;
        while let Some(happened) = self.session.transport().next_of_utp() {
            has_any = true;
            match happened {
                Happened::Arrived(utp, remote) => {
                    if self.accept_peer(remote, Carrier::Utp(utp)).is_none() {
                        self.session.transport().refuse_utp(utp);
                    }
                }
                Happened::Delivery(delivery) => self.deliver(delivery),
            }
        }
        has_any
    }

    // Going out.

    /// Asks for what is to be sent, and sets the timer.
    pub(super) fn flush_utp(&mut self) {
        let Session { streams, sockets, outbox, timers, .. } = &mut self.session;
        streams.flush_utp(timers, |socket| sockets.ask(outbox, socket));
    }

    /// The next packets of uTP for a socket.
    pub(super) fn gather_utp(
        &mut self,
        socket: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        loop {
            match self.session.transport().gather_utp(socket, segments, out) {
                Next::Transmit(transmit) => return Some(transmit),
                Next::Pull(utp, conn, room) => {
                    let mut bytes = Segments::new();
                    self.pull(conn, room, &mut bytes);
                    self.session.transport().supply_utp(utp, bytes);
                    self.continue_reads();
                }
                // What was sent makes room for more.
                Next::Idle if self.deliver_utp() => self.settle(),
                Next::Idle => {
                    self.flush_utp();
                    return None;
                }
            }
        }
    }
}
