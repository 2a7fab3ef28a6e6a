//! Streams: two pipes of bytes, one each way, and the life of their two ends.
//!
//! The bytes of a pipe lie in one queue from the moment they are written until they are read;
//! counters say how many of them have arrived, are on their way, and wait for the uplink. A packet
//! on its way is only a length, so bytes are copied once, when they are handed to the reader.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bitswarm_core::Segments;
use bitswarm_core::event::NetError;
use bitswarm_core::time::Instant;
use serde::Serialize;

use super::link::Outgoing;
use super::pipe::{Finish, Over, Pipe};
use super::{Due, HostId, NetEvent, Network, SocketKind};

/// One end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct EndId(u32);

impl EndId {
    fn new(stream: usize, side: usize) -> Self {
        EndId(u32::try_from(stream * 2 + side).expect("fewer than 2^31 streams"))
    }

    fn stream(self) -> usize {
        self.0 as usize / 2
    }

    /// 0 for the end that dialled, 1 for the one that accepted.
    fn side(self) -> usize {
        self.0 as usize % 2
    }

    /// Whether this end dialled; the other accepted.
    pub fn has_dialled(self) -> bool {
        self.side() == 0
    }

    /// The end on the other side.
    pub fn other(self) -> EndId {
        EndId(self.0 ^ 1)
    }
}

/// What is done to streams on their way, and the sizes of their buffers.
#[derive(Debug, Clone, Copy)]
pub struct Disturbance {
    /// Packets and deliveries cut at a random place, of 1000.
    pub cut_per_mille: u32,
    /// Deliveries held back for a moment to be merged with what follows, of 1000.
    pub merge_per_mille: u32,
    /// Longest time a delivery is held back.
    pub merge_delay: Duration,
    /// Bytes a sender's buffer takes before the uplink has sent them.
    pub send_buffer: usize,
    /// Bytes on their way or waiting for the reader, per pipe.
    pub window: usize,
    /// How long a connect request waits for an answer.
    pub connect_patience: Duration,
    /// How long bytes are sent again to a side that does not answer.
    pub patience: Duration,
}

impl Default for Disturbance {
    fn default() -> Self {
        Disturbance {
            cut_per_mille: 100,
            merge_per_mille: 50,
            merge_delay: Duration::from_millis(2),
            send_buffer: 128 << 10,
            window: 256 << 10,
            connect_patience: Duration::from_secs(127),
            patience: Duration::from_secs(300),
        }
    }
}

impl Disturbance {
    /// Cuts and merges wherever it can.
    pub fn rough() -> Self {
        Disturbance {
            cut_per_mille: 900,
            merge_per_mille: 300,
            send_buffer: 20_000,
            window: 40_000,
            ..Disturbance::default()
        }
    }
}

/// What is on its way in a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parcel {
    /// So many bytes.
    Data(u32),
    /// The last byte was sent.
    Fin,
    /// The stream is dead.
    Reset,
}

#[derive(Debug)]
pub(super) struct Stream {
    ends: [End; 2],
    /// `pipes[side]` carries what the end of that side sends.
    pipes: [Pipe; 2],
}

#[derive(Debug)]
struct End {
    host: HostId,
    addr: SocketAddr,
    life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Opening,
    Open,
    /// Nobody wants to hear of it any more; what was written is still sent.
    Closed,
}

impl Network {
    /// Opens a stream; `Connected` or `Closed` follows.
    pub fn connect(&mut self, now: Instant, host: HostId, to: SocketAddr) -> EndId {
        let number = self.streams.len();
        let port = &mut self.hosts[host.at()];
        let own = port.addrs.iter().find(|own| own.is_ipv4() == to.is_ipv4()).copied();
        let local = SocketAddr::new(own.unwrap_or(IpAddr::from([0, 0, 0, 0])), port.draw_port());
        let target = self.host_at(to.ip());
        self.streams.push(Some(Box::new(Stream {
            ends: [
                End { host, addr: local, life: Life::Opening },
                End { host: target.unwrap_or(host), addr: to, life: Life::Closed },
            ],
            pipes: Default::default(),
        })));
        let id = u32::try_from(number).expect("fewer than 2^31 streams");
        match target {
            Some(target) if own.is_some() => {
                let at = now + self.delay(host, target);
                self.wake(at, Due::Syn(id));
            }
            Some(_) => self.wake(now, Due::ConnectFailed(id, NetError::Unreachable)),
            None => {
                let at = now + self.disturbance.connect_patience;
                self.wake(at, Due::ConnectFailed(id, NetError::TimedOut));
            }
        }
        EndId::new(number, 0)
    }

    pub(super) fn syn_arrived(&mut self, now: Instant, id: u32) {
        let Some(stream) = &mut self.streams[id as usize] else { return };
        let [dialler, target] = &mut stream.ends;
        if dialler.life == Life::Closed {
            self.streams[id as usize] = None;
            return;
        }
        let (from, to, from_addr, to_addr) = (dialler.host, target.host, dialler.addr, target.addr);
        if !self.connected(from, to) || (from != to && !self.hosts[to.at()].link.accepts) {
            let at = now + self.disturbance.connect_patience;
            self.wake(at, Due::ConnectFailed(id, NetError::TimedOut));
            return;
        }
        let back = now + self.delay(to, from);
        let binding = (SocketKind::Listener, to_addr.is_ipv4(), to_addr.port());
        let Some(&socket) = self.hosts[to.at()].bound.get(&binding) else {
            self.wake(back, Due::ConnectFailed(id, NetError::Refused));
            return;
        };
        if let Some(stream) = &mut self.streams[id as usize] {
            stream.ends[1].life = Life::Open;
            stream.pipes[1].last_arrival = back;
        }
        self.wake(back, Due::SynAck(id));
        self.emit(to, NetEvent::Incoming { socket, end: EndId(id * 2 + 1), from: from_addr });
    }

    pub(super) fn syn_answered(&mut self, now: Instant, id: u32) {
        let Some(stream) = &mut self.streams[id as usize] else { return };
        let dialler = &mut stream.ends[0];
        let end = EndId(id * 2);
        if dialler.life == Life::Opening {
            dialler.life = Life::Open;
            let (host, local) = (dialler.host, dialler.addr);
            self.emit(host, NetEvent::Connected { end, local });
        } else {
            self.send_reset(now, end);
        }
    }

    pub(super) fn connect_failed(&mut self, id: u32, why: NetError) {
        let Some(stream) = self.streams[id as usize].take() else { return };
        if stream.ends[0].life == Life::Opening {
            self.emit(stream.ends[0].host, NetEvent::Closed { end: EndId(id * 2), why });
        }
    }

    /// Takes as many of the bytes as there is room for, and says how many. If that was not all,
    /// `Writable` follows.
    pub fn write(&mut self, now: Instant, end: EndId, bytes: &mut Segments) -> usize {
        let room = self.disturbance.send_buffer;
        let Some(stream) = &mut self.streams[end.stream()] else { return 0 };
        let pipe = &mut stream.pipes[end.side()];
        if stream.ends[end.side()].life != Life::Open || pipe.finish != Finish::No {
            return 0;
        }
        let mut left = room.saturating_sub(pipe.queued);
        let mut taken = 0;
        for part in bytes.iter() {
            let fits = left.min(part.len());
            if fits == 0 {
                break;
            }
            pipe.bytes.push(part.slice(..fits));
            taken += fits;
            left -= fits;
        }
        bytes.advance(taken);
        pipe.queued += taken;
        pipe.starved = !bytes.is_empty();
        self.enqueue(now, end);
        taken
    }

    /// Starts or stops reading. What arrives in between waits, and fills the window.
    pub fn set_reading(&mut self, now: Instant, end: EndId, on: bool) {
        let from = end.other();
        let Some(stream) = &mut self.streams[from.stream()] else { return };
        stream.pipes[from.side()].paused = !on;
        if on {
            self.hand_over(now, from);
        }
    }

    /// Ends our direction of the stream behind all that was written.
    pub fn shutdown(&mut self, now: Instant, end: EndId) {
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let pipe = &mut stream.pipes[end.side()];
        if stream.ends[end.side()].life == Life::Open && pipe.finish == Finish::No {
            pipe.finish = Finish::Asked;
            self.enqueue(now, end);
        }
    }

    /// Lets go of the stream: what was written is sent, then it ends; nothing more is heard of it.
    /// As in TCP, closing with bytes unread resets the stream.
    pub fn close(&mut self, now: Instant, end: EndId) {
        let Some(stream) = &self.streams[end.stream()] else { return };
        let unread = stream.pipes[end.other().side()].arrived > 0;
        if unread {
            return self.reset(now, end);
        }
        self.shutdown(now, end);
        if let Some(stream) = &mut self.streams[end.stream()] {
            stream.ends[end.side()].life = Life::Closed;
        }
        self.reap(end);
    }

    /// Kills the stream: what was not sent is dropped, the other side hears a reset.
    pub fn reset(&mut self, now: Instant, end: EndId) {
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let before = std::mem::replace(&mut stream.ends[end.side()].life, Life::Closed);
        if before == Life::Open {
            self.send_reset(now, end);
        }
    }

    /// The end is gone without a word.
    pub(super) fn vanish(&mut self, end: EndId) {
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        stream.ends[end.side()].life = Life::Closed;
        stream.pipes[end.side()].drop_queued();
        stream.pipes[end.side()].finish = Finish::Sent;
        self.reap(end);
    }

    pub(super) fn holder(&self, end: EndId) -> Option<HostId> {
        let own = &self.streams[end.stream()].as_ref()?.ends[end.side()];
        (own.life != Life::Closed).then_some(own.host)
    }

    /// The host cuts a stream of its own, and hears of it as if the other side had.
    pub fn cut(&mut self, now: Instant, end: EndId) {
        let Some(host) = self.holder(end) else { return };
        let established = self.streams[end.stream()]
            .as_ref()
            .is_some_and(|stream| stream.ends[end.side()].life == Life::Open);
        if established {
            self.emit(host, NetEvent::Closed { end, why: NetError::Reset });
            self.reset(now, end);
        }
    }

    /// All ends of a host that it still holds.
    pub fn ends_of(&self, host: HostId) -> Vec<EndId> {
        let held = |end: EndId| {
            self.streams[end.stream()].as_ref().is_some_and(|stream| {
                let own = &stream.ends[end.side()];
                own.host == host && own.life != Life::Closed
            })
        };
        (0..self.streams.len())
            .flat_map(|stream| [EndId::new(stream, 0), EndId::new(stream, 1)])
            .filter(|end| held(*end))
            .collect()
    }

    fn send_reset(&mut self, now: Instant, end: EndId) {
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let (from, to) = (stream.ends[end.side()].host, stream.ends[end.other().side()].host);
        let pipe = &mut stream.pipes[end.side()];
        pipe.drop_queued();
        pipe.finish = Finish::Sent;
        if self.connected(from, to) {
            self.dispatch(now, end, Parcel::Reset);
        }
        self.reap(end);
    }

    /// Puts the pipe in line for the uplink, if it has something to send and the window is open.
    fn enqueue(&mut self, now: Instant, end: EndId) {
        let window = self.disturbance.window;
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let host = stream.ends[end.side()].host;
        let pipe = &mut stream.pipes[end.side()];
        if !pipe.in_ring && pipe.stalled.is_none() && pipe.can_send(window) {
            pipe.in_ring = true;
            self.hosts[host.at()].outgoing.push_back(Outgoing::Stream(end));
            self.pump(now, host);
        }
    }

    /// Sends one packet of the pipe; how many bytes that took on the uplink.
    pub(super) fn send_from(&mut self, now: Instant, end: EndId) -> usize {
        let settings = self.disturbance;
        let Some(stream) = &mut self.streams[end.stream()] else { return 0 };
        let (host, peer) = (stream.ends[end.side()].host, stream.ends[end.other().side()].host);
        let pipe = &mut stream.pipes[end.side()];
        pipe.in_ring = false;
        if !pipe.can_send(settings.window) {
            return 0;
        }
        if !self.connected(host, peer) {
            self.stall(now, end);
            return 0;
        }
        let longest = self.hosts[host.at()].link.longest_packet();
        let cut = if self.dice.chance(settings.cut_per_mille) {
            self.dice.between(1..=longest)
        } else {
            longest
        };
        let Some(stream) = &mut self.streams[end.stream()] else { return 0 };
        let pipe = &mut stream.pipes[end.side()];
        let length = pipe.sendable(settings.window).min(cut as usize);
        let parcel = if length == 0 {
            pipe.finish = Finish::Sent;
            Parcel::Fin
        } else {
            pipe.queued -= length;
            pipe.travelling += length;
            Parcel::Data(length as u32)
        };
        let has_room = pipe.starved && pipe.queued <= settings.send_buffer / 2;
        if has_room {
            pipe.starved = false;
        }
        let tell = has_room && stream.ends[end.side()].life == Life::Open;
        if pipe.can_send(settings.window) {
            pipe.in_ring = true;
            self.hosts[host.at()].outgoing.push_back(Outgoing::Stream(end));
        }
        let sent_at = now + self.hosts[host.at()].link.up_time(length);
        self.dispatch(sent_at, end, parcel);
        if tell {
            self.emit(host, NetEvent::Writable { end });
        }
        length
    }

    /// The parcel has left the uplink and travels.
    fn dispatch(&mut self, sent_at: Instant, end: EndId, parcel: Parcel) {
        let Some(stream) = &self.streams[end.stream()] else { return };
        let (from, to) = (stream.ends[end.side()].host, stream.ends[end.other().side()].host);
        let at = sent_at + self.delay(from, to);
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let pipe = &mut stream.pipes[end.side()];
        pipe.last_arrival = pipe.last_arrival.max(at);
        let at = pipe.last_arrival;
        self.wake(at, Due::Arrive(end, parcel));
    }

    pub(super) fn parcel_arrived(&mut self, now: Instant, end: EndId, parcel: Parcel) {
        let Some(stream) = &self.streams[end.stream()] else { return };
        let to = stream.ends[end.other().side()].host;
        let bytes = if let Parcel::Data(bytes) = parcel { bytes as usize } else { 0 };
        let at = self.hosts[to.at()].receive(now, bytes);
        if at > now {
            self.wake(at, Due::Deliver(end, parcel));
        } else {
            self.parcel_delivered(now, end, parcel);
        }
    }

    pub(super) fn parcel_delivered(&mut self, now: Instant, end: EndId, parcel: Parcel) {
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let reader = &stream.ends[end.other().side()];
        let (host, closed) = (reader.host, reader.life == Life::Closed);
        let pipe = &mut stream.pipes[end.side()];
        match parcel {
            Parcel::Data(length) => {
                pipe.travelling -= length as usize;
                if closed {
                    pipe.bytes.skip(length as usize);
                    if self.hosts[host.at()].alive {
                        self.send_reset(now, end.other());
                    }
                    return self.reap(end);
                }
                pipe.arrived += length as usize;
            }
            Parcel::Fin => pipe.over = Some(Over::Fin),
            Parcel::Reset => {
                pipe.over = Some(Over::Reset);
                // A reset is noticed by one who does not read, too; what was unread is lost.
                if pipe.paused {
                    pipe.bytes.skip(pipe.arrived);
                    pipe.arrived = 0;
                }
            }
        }
        self.hand_over(now, end);
    }

    /// Gives the reader what has arrived through this end's pipe, or holds it back a moment.
    fn hand_over(&mut self, now: Instant, end: EndId) {
        let settings = self.disturbance;
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let pipe = &mut stream.pipes[end.side()];
        let reset = pipe.over == Some(Over::Reset);
        if pipe.held || (pipe.paused && !reset) {
            return;
        }
        if pipe.arrived > 0 && pipe.over.is_none() && self.dice.chance(settings.merge_per_mille) {
            pipe.held = true;
            let at = now + self.dice.up_to(settings.merge_delay);
            return self.wake(at, Due::Release(end));
        }
        self.hand_over_now(now, end);
    }

    pub(super) fn release(&mut self, now: Instant, end: EndId) {
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let pipe = &mut stream.pipes[end.side()];
        pipe.held = false;
        if !pipe.paused || pipe.over == Some(Over::Reset) {
            self.hand_over_now(now, end);
        }
    }

    fn hand_over_now(&mut self, now: Instant, end: EndId) {
        let cut_per_mille = self.disturbance.cut_per_mille;
        let to = end.other();
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let reader = &mut stream.ends[to.side()];
        let host = reader.host;
        let pipe = &mut stream.pipes[end.side()];
        if reader.life != Life::Open {
            return;
        }
        let opens_window = pipe.arrived > 0;
        if pipe.arrived > 0 {
            let length = if self.dice.chance(cut_per_mille) {
                self.dice.between(1..=pipe.arrived.min(LONGEST_READ) as u64) as usize
            } else {
                pipe.arrived.min(LONGEST_READ)
            };
            let data = pipe.bytes.take(length);
            pipe.arrived -= length;
            let event = NetEvent::Received { end: to, data };
            self.out.push_back(super::Output::Event(host, event));
        }
        if pipe.arrived > 0 {
            // The reader may want to stop after each read: the rest is its next one.
            pipe.held = true;
            self.wake(now, Due::Release(end));
            return self.enqueue(now, end);
        }
        match pipe.over.take() {
            None => {}
            Some(Over::Fin) => self.emit(host, NetEvent::Ended { end: to }),
            Some(Over::Reset) => {
                reader.life = Life::Closed;
                stream.pipes[to.side()].drop_queued();
                stream.pipes[to.side()].finish = Finish::Sent;
                self.emit(host, NetEvent::Closed { end: to, why: NetError::Reset });
            }
        }
        if opens_window {
            self.enqueue(now, end);
        }
        self.reap(end);
    }

    /// The other side cannot be reached: the pipe waits, but not for ever.
    fn stall(&mut self, now: Instant, end: EndId) {
        let at = now + self.disturbance.patience;
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let pipe = &mut stream.pipes[end.side()];
        if pipe.stalled.is_none() {
            pipe.stalled = Some(now);
            self.wake(at, Due::Patience(end, now));
        }
    }

    pub(super) fn patience_over(&mut self, end: EndId, since: Instant) {
        let Some(stream) = &mut self.streams[end.stream()] else { return };
        let own = &mut stream.ends[end.side()];
        let pipe = &mut stream.pipes[end.side()];
        if pipe.stalled != Some(since) {
            return;
        }
        pipe.drop_queued();
        pipe.finish = Finish::Sent;
        let host = own.host;
        if std::mem::replace(&mut own.life, Life::Closed) == Life::Open {
            self.emit(host, NetEvent::Closed { end, why: NetError::TimedOut });
        }
        self.reap(end);
    }

    /// Lets every stalled pipe try again.
    pub(super) fn retry_stalled(&mut self, now: Instant) {
        for stream in 0..self.streams.len() {
            for side in 0..2 {
                let Some(open) = &mut self.streams[stream] else { continue };
                if open.pipes[side].stalled.take().is_some() {
                    self.enqueue(now, EndId::new(stream, side));
                }
            }
        }
    }

    /// Forgets a stream that both sides let go of, when nothing is left to send.
    fn reap(&mut self, end: EndId) {
        let Some(stream) = &self.streams[end.stream()] else { return };
        let let_go = stream.ends.iter().all(|end| end.life == Life::Closed);
        let drained = stream
            .pipes
            .iter()
            .all(|pipe| pipe.queued + pipe.travelling == 0 && pipe.finish != Finish::Asked);
        if let_go && drained {
            self.streams[end.stream()] = None;
        }
    }
}

/// Most bytes handed over at once (chosen: as large as a runtime's read buffer).
const LONGEST_READ: usize = 64 << 10;
