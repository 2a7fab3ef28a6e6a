//! How the table of streams speaks uTP: streams are dialled by it beside TCP, and carried by it once a connection
//! is open.
//!
//! A stream is tried by TCP first and by uTP a little later, or as soon as TCP has failed. Which is open
//! first carries it; the other attempt is given up. The host knows nothing of uTP: an id whose stream
//! uTP carries does not appear in an action any more.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::stream::{Attempt, Attempts, Carrier};
use super::streams::{Delivery, Streams, Transport};
use super::utp::{End, Ending, Event, Kind};
use super::utp_streams::{HEAD_START, Next, UtpConn, UtpStreams};
use crate::action::{Action, Close};
use crate::deadline::TimerKey;
use crate::event::Datagram;
use crate::id::{ConnId, SocketId};
use crate::net_error::NetError;
use crate::segments::Segments;
use crate::timer::TimerWheel;

/// Something that happened on a connection of uTP.
#[derive(Debug)]
pub(crate) enum Happened {
    /// A peer has opened it: it is to be accepted or refused.
    Arrived(UtpConn, SocketAddr),
    /// What its stream's owner is to be told, if anything.
    Delivery(Option<Delivery>),
}

/// Whether a packet wants a connection to be opened.
pub(crate) fn wants_to_open(datagram: &Datagram) -> bool {
    Kind::of(&datagram.data) == Some(Kind::Syn)
}

impl Streams {
    /// A socket is of no use any more: the streams that it carried.
    pub(crate) fn lost_utp(&mut self, socket: SocketId) -> Vec<ConnId> {
        self.utp.as_mut().map(|utp| utp.lost(socket)).unwrap_or_default()
    }

    /// Says by which sockets something is to be sent, and sets the timer.
    pub(crate) fn flush_utp(
        &mut self,
        timers: &mut TimerWheel<TimerKey>,
        ask: impl FnMut(SocketId),
    ) {
        let Some(utp) = &mut self.utp else { return };
        utp.with_transmits().for_each(ask);
        match utp.deadline() {
            Some(at) if timers.deadline(utp.timer) != Some(at) => timers.set(utp.timer, at),
            Some(_) => {}
            None => timers.cancel(utp.timer),
        }
    }
}

impl Transport<'_> {
    fn utp(&mut self) -> Option<&mut UtpStreams> {
        self.streams.utp.as_deref_mut()
    }

    // Sockets.

    /// Connections come and go by this socket from now on.
    pub(crate) fn open_utp(&mut self, socket: SocketId, addr: SocketAddr) {
        let now = self.now;
        if let Some(utp) = self.utp() {
            utp.open(now, socket, addr);
        }
    }

    /// The socket of a stream is of no use any more.
    pub(crate) fn ended_utp(&mut self, conn: ConnId, why: NetError) -> Option<Delivery> {
        if let Some((_, attempts)) = self.attempts(conn) {
            attempts.utp = Attempt::None;
            if attempts.tcp {
                return None;
            }
        }
        self.ended(conn, Some(why))
    }

    // Dialling.

    /// A stream is tried by uTP, too: soon if by TCP, at once if not.
    pub(super) fn race_later(&mut self, conn: ConnId, tcp: bool) {
        let at = if tcp { self.now + HEAD_START } else { self.now };
        if let Some(utp) = self.utp() {
            utp.race(at, conn);
        }
    }

    /// Another attempt was faster, or nobody wants the stream any more.
    pub(super) fn give_up(&mut self, attempt: Attempt) {
        if let Attempt::Now(utp) = attempt {
            self.close_utp(utp, Close::Abort);
        }
    }

    /// TCP has failed: whether uTP is tried on.
    pub(super) fn goes_on_by_utp(&mut self, conn: ConnId) -> bool {
        match self.attempts(conn) {
            Some((_, Attempts { utp: Attempt::Now(_), .. })) => true,
            Some((_, Attempts { utp: Attempt::Later, .. })) => self.begin_utp(conn),
            _ => false,
        }
    }

    /// Begins an attempt by uTP; whether there is one.
    fn begin_utp(&mut self, conn: ConnId) -> bool {
        let now = self.now;
        let Some((remote, _)) = self.attempts(conn) else { return false };
        let begun = self.utp().and_then(|utp| utp.connect(now, conn, remote));
        if let Some((_, attempts)) = self.attempts(conn) {
            attempts.utp = begun.map_or(Attempt::None, Attempt::Now);
        }
        begun.is_some()
    }

    // Time.

    /// Deadlines of connections have come. Attempts that are due begin with [`Transport::next_of_utp`].
    pub(crate) fn handle_utp_timeout(&mut self) {
        let now = self.now;
        if let Some(utp) = self.utp() {
            utp.handle_timeout(now);
        }
    }

    /// Begins the attempts that are due, up to one that cannot be begun and was the last of its stream.
    fn begin_due(&mut self) -> Option<Delivery> {
        let now = self.now;
        while let Some(conn) = self.utp().and_then(|utp| utp.next_race(now)) {
            let Some((_, attempts)) = self.attempts(conn) else { continue };
            let tcp = attempts.tcp;
            let is_next = attempts.utp == Attempt::Later;
            if is_next && !self.begin_utp(conn) && !tcp {
                return self.ended(conn, Some(NetError::Unreachable));
            }
        }
        None
    }

    // Coming in.

    /// A packet came in. `admits`: whether its sender may open a connection.
    pub(crate) fn receive_utp(&mut self, socket: SocketId, datagram: &Datagram, admits: bool) {
        let now = self.now;
        if let Some(utp) = self.utp() {
            utp.receive(now, socket, datagram, admits);
        }
    }

    /// What has happened next.
    pub(crate) fn next_of_utp(&mut self) -> Option<Happened> {
        if let Some(delivery) = self.begin_due() {
            return Some(Happened::Delivery(Some(delivery)));
        }
        let (utp, conn, remote, event) = self.utp()?.poll_event()?;
        let Some(conn) = conn else {
            return Some(match event {
                Event::Incoming => Happened::Arrived(utp, remote),
                _ => Happened::Delivery(None),
            });
        };
        Some(Happened::Delivery(match event {
            Event::Incoming => None,
            Event::Opened => self.opened_by_utp(conn, utp),
            Event::Received(data) => self.received(conn, data),
            Event::Sent(bytes) => self.sent(conn, bytes),
            Event::Closed(end) => self.closed_by_utp(conn, end),
        }))
    }

    fn opened_by_utp(&mut self, conn: ConnId, utp: UtpConn) -> Option<Delivery> {
        let (_, attempts) = self.attempts(conn)?;
        if attempts.tcp {
            self.outbox.push(Action::Close { conn, how: Close::Abort });
        }
        self.dialled(conn, Carrier::Utp(utp))
    }

    fn closed_by_utp(&mut self, conn: ConnId, end: End) -> Option<Delivery> {
        if let Some((_, attempts)) = self.attempts(conn) {
            attempts.utp = Attempt::None;
            if attempts.tcp {
                return None;
            }
        }
        let why = match end {
            End::Finished => None,
            End::Reset => Some(NetError::Reset),
            End::TimedOut => Some(NetError::TimedOut),
        };
        self.ended(conn, why)
    }

    /// Nobody wants a connection that a peer has opened.
    pub(crate) fn refuse_utp(&mut self, utp: UtpConn) {
        self.close_utp(utp, Close::Abort);
    }

    // Going out.

    /// What is to be sent through a socket next.
    pub(crate) fn gather_utp(
        &mut self,
        socket: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Next {
        let now = self.now;
        self.utp().map_or(Next::Idle, |utp| utp.poll_transmit(now, socket, segments, out))
    }

    /// The bytes that a stream had room for.
    pub(crate) fn supply_utp(&mut self, conn: UtpConn, bytes: Segments) {
        let now = self.now;
        if let Some(utp) = self.utp() {
            utp.supply(now, conn, bytes.into_parts());
        }
    }

    pub(super) fn want_utp(&mut self, conn: UtpConn) {
        let now = self.now;
        if let Some(utp) = self.utp() {
            utp.want(now, conn);
        }
    }

    pub(super) fn read_utp(&mut self, conn: UtpConn, on: bool) {
        if let Some(utp) = self.utp() {
            utp.set_reading(conn, on);
        }
    }

    pub(super) fn close_utp(&mut self, conn: UtpConn, how: Close) {
        let how = match how {
            Close::Flush => Ending::Flush,
            Close::Abort => Ending::Abort,
        };
        let now = self.now;
        if let Some(utp) = self.utp() {
            utp.close(now, conn, how);
        }
    }
}
