//! What a connection sends next, and how it is written.

use bytes::BytesMut;

use super::super::packet::{self, HEADER_LEN, Header, Kind, MAX_SACK, MIN_PADDED};
use super::super::send::Tail;
use super::super::seq::Seq;
use super::{Clock, Connection, Fin, State, Written};
use crate::time::Instant;

/// Payload of a packet that is filled up to a length that is tried (chosen).
const PROBE_PAYLOAD: usize = 256;
/// Longest run of packets that are written at once, in bytes.
const MAX_RUN: usize = 65_000;

/// What a connection is about to send.
enum Next {
    Resend(usize),
    New(usize),
    Probe { payload: usize, length: usize },
    Fin,
    State,
}

impl Connection {
    /// Bytes that may be sent beyond those under way.
    fn room(&self) -> usize {
        self.control.window().min(self.peer_window).saturating_sub(self.sender.flight())
    }

    /// How many bytes the owner is to be asked for now.
    pub(in super::super) fn pull(&mut self) -> Option<usize> {
        let is_wanted = self.flags.wants
            && self.is_open()
            && self.fin == Fin::No
            && self.sender.unsent() < self.segment()
            && self.sender.next_resend().is_none();
        if !is_wanted {
            return None;
        }
        let least = self.segment().min(self.peer_window.max(1));
        let room = if self.flags.one_more { self.segment() } else { self.room() };
        let room = room.checked_sub(self.sender.unsent()).filter(|&room| room >= least)?;
        self.flags.wants = false;
        Some(room)
    }

    /// Writes the next packets, at most so many, all of one length but the last, which may be shorter.
    pub(in super::super) fn write(
        &mut self,
        now: Instant,
        clock: Clock,
        segments: usize,
        out: &mut BytesMut,
    ) -> Option<Written> {
        if self.state == State::Over {
            return None;
        }
        if let State::Dialling { syn, sent, .. } = self.state {
            if !std::mem::take(&mut self.flags.syn_due) {
                return None;
            }
            self.state = State::Dialling { syn, sent: sent + 1, at: now };
            let header = Header {
                connection_id: self.receive_id,
                seq: syn,
                ..self.header(now, clock, Kind::Syn)
            };
            packet::encode(out, &header, &[]);
            return Some(Written { segment_size: out.len(), may_fragment: false });
        }
        let mut written: Option<Written> = None;
        if self.tail_probe_at().is_some_and(|at| now >= at) {
            written = self.write_tail_probe(now, clock, out);
        }
        let start = out.len();
        for _ in usize::from(written.is_some())..segments.max(1) {
            let Some(next) = self.next(now, written.is_some()) else { break };
            let (length, may_fragment) = self.shape(&next);
            if let Some(run) = written {
                let is_full = out.len() + length > MAX_RUN;
                if is_full || length > run.segment_size || may_fragment != run.may_fragment {
                    break;
                }
            }
            self.write_one(now, clock, next, out);
            let run = *written.get_or_insert(Written { segment_size: length, may_fragment });
            if length < run.segment_size {
                break;
            }
        }
        if out.len() > start || written.is_some() {
            self.times.sent = now;
            self.control.on_sent(now, self.sender.flight(), self.rtt.smoothed());
        }
        written
    }

    /// What is to be sent next, if anything may be. `is_run`: something is sent already, which acknowledges.
    fn next(&mut self, now: Instant, is_run: bool) -> Option<Next> {
        if let Some(next) = self.next_of_stream(now) {
            // Of what has come out of order a packet of its own tells, first.
            let is_told = is_run || !(self.flags.ack_due && self.receiver.has_gap());
            return Some(if is_told { next } else { Next::State });
        }
        ((self.flags.ack_due || self.flags.is_alive_due) && !is_run).then_some(Next::State)
    }

    fn next_of_stream(&mut self, now: Instant) -> Option<Next> {
        let flight = self.sender.flight();
        if let Some(len) = self.sender.next_resend() {
            let has_room = flight == 0 || flight + len <= self.control.window();
            return has_room.then_some(Next::Resend(len));
        }
        let segment = self.segment();
        let unsent = self.sender.unsent();
        if unsent == 0 {
            let is_fin_due = self.fin == Fin::Wanted && !self.sender.is_full();
            return is_fin_due.then_some(Next::Fin);
        }
        if self.sender.is_full() {
            return None;
        }
        if self.flags.one_more {
            return Some(Next::New(unsent.min(segment)));
        }
        let room = self.room();
        let mut len = unsent.min(segment);
        if len > room {
            // A peer with little room gets what fits, one packet at a time.
            if flight > 0 || room == 0 {
                return None;
            }
            len = room;
        }
        // Others follow it at once, which show soon whether it has arrived.
        let is_probe_due = unsent >= segment + PROBE_PAYLOAD
            && self.control.window() >= 4 * segment
            && !self.receiver.has_gap();
        if is_probe_due && let Some(length) = self.mtu.next_probe(now) {
            let payload = PROBE_PAYLOAD.min(length - MIN_PADDED);
            return Some(Next::Probe { payload, length });
        }
        if len < segment && self.small.is_some() && self.fin == Fin::No {
            return None;
        }
        Some(Next::New(len))
    }

    /// How long the packet will be, and whether it may be cut on its way.
    fn shape(&self, next: &Next) -> (usize, bool) {
        match *next {
            Next::Resend(len) => (HEADER_LEN + len, self.flags.may_fragment),
            Next::New(len) => (HEADER_LEN + len, false),
            Next::Probe { length, .. } => (length, false),
            Next::Fin => (HEADER_LEN, false),
            Next::State => (packet::overhead(self.receiver.sack(&mut [0; MAX_SACK])), false),
        }
    }

    fn header(&mut self, now: Instant, clock: Clock, kind: Kind) -> Header {
        Header {
            kind,
            connection_id: self.send_id,
            timestamp: clock.micros(now),
            timestamp_difference: self.difference,
            window: self.receiver.tell_window(),
            seq: self.sender.next(),
            ack: self.receiver.acknowledged(),
        }
    }

    fn write_one(&mut self, now: Instant, clock: Clock, next: Next, out: &mut BytesMut) {
        let mut header = self.header(now, clock, Kind::Data);
        if let Next::State = next {
            header.kind = Kind::State;
            // A packet that says less than is known provokes no answer but keeps routers awake.
            if std::mem::take(&mut self.flags.is_alive_due) && !self.flags.ack_due {
                header.ack = header.ack.minus(1);
            }
            self.flags.ack_due = false;
            packet::encode(out, &header, self.receiver.sack(&mut [0; MAX_SACK]));
            return;
        }
        if !self.receiver.has_gap() {
            self.flags.ack_due = false;
        }
        self.flags.is_alive_due = false;
        if !self.sender.has_under_way() {
            self.begin_waiting(now);
        }
        let mut probe = None;
        let (outgoing, new) = match next {
            Next::Resend(_) => {
                self.counters.resent += 1;
                (self.sender.resend(now), 0)
            }
            Next::Fin => {
                self.fin = Fin::Sent;
                (Some(self.sender.send_fin(now)), 0)
            }
            Next::Probe { payload, length } => {
                self.mtu.probe_sent();
                self.counters.packets += 1;
                probe = Some((length, payload));
                (Some(self.sender.send_new(now, payload, Some(length))), payload)
            }
            Next::New(len) => {
                if len < self.mtu.size() - HEADER_LEN {
                    self.small = Some(self.sender.next());
                }
                self.flags.one_more = false;
                self.counters.packets += 1;
                (Some(self.sender.send_new(now, len, None)), len)
            }
            Next::State => (None, 0),
        };
        let Some(outgoing) = outgoing else { return };
        header.kind = outgoing.kind;
        header.seq = outgoing.seq;
        match probe {
            Some((length, payload)) => packet::encode_padded(out, &header, length, payload),
            None => packet::encode(out, &header, &[]),
        }
        outgoing.payload.write(out);
        self.news.sent += new;
    }

    /// Nothing was under way: what is sent now is what is waited for.
    fn begin_waiting(&mut self, now: Instant) {
        if self.rtt.timeouts() == 0 {
            let idle = (now - self.times.waiting).as_millis();
            let timeouts = idle / self.rtt.timeout().as_millis().max(1);
            if self.sender.is_idle() {
                self.control.on_idle(timeouts.min(32) as u32, self.mtu.size() - HEADER_LEN);
                self.times.stalled = now;
            }
            self.times.waiting = now;
        }
    }

    fn write_tail_probe(
        &mut self,
        now: Instant,
        clock: Clock,
        out: &mut BytesMut,
    ) -> Option<Written> {
        self.flags.tail_probed = true;
        let mut header = self.header(now, clock, Kind::Data);
        let Tail { len, probe, outgoing } = self.sender.resend_newest(now)?;
        if let Some(length) = probe {
            self.mtu.probe_lost(length);
        }
        header.kind = outgoing.kind;
        header.seq = outgoing.seq;
        packet::encode(out, &header, &[]);
        outgoing.payload.write(out);
        self.counters.resent += 1;
        let may_fragment = self.flags.may_fragment;
        Some(Written { segment_size: HEADER_LEN + len, may_fragment })
    }

    /// A packet that tells the other side that there is no such connection any more.
    pub(in super::super) fn write_reset(&mut self, now: Instant, clock: Clock, out: &mut BytesMut) {
        let header = self.header(now, clock, Kind::Reset);
        packet::encode(out, &header, &[]);
    }

    /// The numbers that the end of the stream is acknowledged with when it comes again.
    pub(in super::super) fn last_numbers(&self) -> (u16, Seq, Seq) {
        (self.send_id, self.sender.next(), self.receiver.acknowledged())
    }
}
