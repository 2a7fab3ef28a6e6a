//! A cheap network for experiments: byte streams between members whose links have rates.
//!
//! Where [`network`](crate::sim::network) is out to break things, this is out to be fast and fair,
//! so that a thousand engines run in minutes: bytes pass by reference from `gather` until they are
//! handed to the reader; a packet is 20 ms of its uplink, and costs two entries of the queue. An
//! uplink sends one packet of each stream in turn, but short messages first, as a router with fair
//! queueing does (RFC 8290); the downlink delays what exceeds its rate, in order of arrival. Streams
//! lose nothing and end in order. A reader that stops reading closes the window.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::event::NetError;
use bitswarm_core::id::ConnId;
use bitswarm_core::segments::Segments;
use bitswarm_core::time::{Duration, Instant};
use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::sim::queue::Queue;

/// Bytes that a stream's send buffer takes (chosen: as a kernel that keeps little unsent).
const SEND_BUFFER: usize = 64 << 10;
/// Bytes on their way or unread, at most, for one direction of a stream (chosen).
const WINDOW: usize = 256 << 10;
/// Up to here what a stream has to send goes before long transfers (chosen: an Ethernet segment).
const SHORT: usize = 1448;
/// Longest packet in bytes (chosen: a block).
const LONGEST_PACKET: u64 = 16 << 10;
/// Packets a second of a busy uplink (chosen).
const PACKETS_PER_S: u64 = 50;
/// How long a connect request waits where nobody is (chosen: past every client's own patience).
const CONNECT_PATIENCE: Duration = Duration::from_secs(127);

/// A member of the swarm, by number.
pub(super) type MemberId = u32;

/// One end of a stream; also names the pipe that carries what this end sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EndId(u32);

impl EndId {
    fn at(self) -> usize {
        self.0 as usize
    }

    fn other(self) -> EndId {
        EndId(self.0 ^ 1)
    }
}

/// How a member is connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Bytes per second towards the network.
    pub(super) up_bytes_per_s: u64,
    /// Bytes per second towards the member.
    pub(super) down_bytes_per_s: u64,
    /// Its share of the one-way delay.
    pub(super) latency: Duration,
}

/// What a link waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum LinkTimer {
    /// The uplink has sent what it was sending.
    Uplink(MemberId),
    /// A packet of this end reaches the other side's downlink.
    Arrive(EndId),
    /// A packet of this end has passed it.
    Deliver(EndId),
    /// Bytes that waited for the reader are handed over.
    Release(EndId),
    Syn(EndId),
    SynAck(EndId),
    Failed(EndId, NetError),
}

/// What happens to a member.
#[derive(Debug)]
pub(super) enum Happening {
    Connected {
        conn: ConnId,
        local: SocketAddr,
    },
    Failed {
        conn: ConnId,
        why: NetError,
    },
    Incoming {
        end: EndId,
        from: SocketAddr,
        port: u16,
    },
    Received {
        conn: ConnId,
        data: BytesMut,
    },
    /// There is room in the send buffer of a stream that had none.
    Writable {
        end: EndId,
        conn: ConnId,
    },
    Ended {
        conn: ConnId,
        why: Option<NetError>,
    },
}

/// All links and streams.
#[derive(Debug, Default)]
pub(super) struct Links {
    ports: Vec<Port>,
    ends: Vec<End>,
    /// Streams whose two ends are done with.
    free: Vec<EndId>,
    happened: VecDeque<(MemberId, Happening)>,
}

#[derive(Debug)]
struct Port {
    link: Link,
    listening: bool,
    uplink_free: Instant,
    downlink_free: Instant,
    uplink_armed: bool,
    short: VecDeque<EndId>,
    long: VecDeque<EndId>,
    sent_bytes: u64,
}

#[derive(Debug)]
struct End {
    member: MemberId,
    addr: SocketAddr,
    /// `None` once the member has let go of it.
    conn: Option<ConnId>,
    /// Whether the stream is established, as far as this end knows.
    open: bool,
    /// What was written and not yet sent.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Packets between the uplink and the reader, in order.
    flight: VecDeque<Packet>,
    /// Of `flight`, from the front: packets that have arrived and wait for the reader.
    arrived: usize,
    flight_bytes: usize,
    in_line: bool,
    starved: bool,
    finish: Finish,
    last_arrival: Instant,
    /// The reader at the other end does not read.
    paused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    No,
    Asked,
    Sent,
}

#[derive(Debug)]
enum Packet {
    Data(SmallVec<[Bytes; 2]>, usize),
    Fin,
}

impl Links {
    /// Adds a member's link.
    pub(super) fn add(&mut self, link: Link) -> MemberId {
        self.ports.push(Port {
            link,
            listening: false,
            uplink_free: Instant::ZERO,
            downlink_free: Instant::ZERO,
            uplink_armed: false,
            short: VecDeque::new(),
            long: VecDeque::new(),
            sent_bytes: 0,
        });
        self.ports.len() as MemberId - 1
    }

    /// The address of a member: each is in a network of its own.
    pub(super) fn ip(member: MemberId) -> IpAddr {
        let [_, high, low, _] = (member << 8).to_be_bytes();
        IpAddr::from([50, high, low, 10])
    }

    fn member_at(&self, ip: IpAddr) -> Option<MemberId> {
        let IpAddr::V4(ip) = ip else { return None };
        let [50, high, low, 10] = ip.octets() else { return None };
        let member = u32::from_be_bytes([0, 0, high, low]);
        ((member as usize) < self.ports.len()).then_some(member)
    }

    /// Whether a member takes connections.
    pub(super) fn set_listening(&mut self, member: MemberId, on: bool) {
        self.ports[member as usize].listening = on;
    }

    /// Bytes that a member's uplink has sent.
    pub(super) fn sent_bytes(&self, member: MemberId) -> u64 {
        self.ports[member as usize].sent_bytes
    }

    /// What happened since this was asked last.
    pub(super) fn poll(&mut self) -> Option<(MemberId, Happening)> {
        self.happened.pop_front()
    }

    /// Something that the links waited for is due.
    pub(super) fn handle<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, timer: LinkTimer) {
        match timer {
            LinkTimer::Uplink(member) => {
                self.ports[member as usize].uplink_armed = false;
                self.pump(queue, member);
            }
            LinkTimer::Arrive(end) => self.arrive(queue, end),
            LinkTimer::Deliver(end) => {
                self.ends[end.at()].arrived += 1;
                self.hand_over(queue, end);
            }
            LinkTimer::Release(end) => self.hand_over(queue, end),
            LinkTimer::Syn(end) => self.syn(queue, end),
            LinkTimer::SynAck(end) => {
                let own = &mut self.ends[end.at()];
                own.open = true;
                match own.conn {
                    Some(conn) => {
                        let connected = Happening::Connected { conn, local: own.addr };
                        self.happened.push_back((own.member, connected));
                    }
                    None => self.finish(queue, end),
                }
            }
            LinkTimer::Failed(end, why) => {
                if let Some(conn) = self.ends[end.at()].conn.take() {
                    let member = self.ends[end.at()].member;
                    self.happened.push_back((member, Happening::Failed { conn, why }));
                }
                self.free.push(end);
            }
        }
    }

    // Streams.

    /// Opens a stream.
    pub(super) fn connect<T: From<LinkTimer>>(
        &mut self,
        queue: &mut Queue<T>,
        member: MemberId,
        conn: ConnId,
        to: SocketAddr,
    ) -> EndId {
        let target = self.member_at(to.ip());
        let from = SocketAddr::new(Self::ip(member), 49_152);
        let ends =
            [End::new(member, from, Some(conn)), End::new(target.unwrap_or(member), to, None)];
        let end = match self.free.pop() {
            Some(free) => {
                for (offset, end) in ends.into_iter().enumerate() {
                    self.ends[free.at() + offset] = end;
                }
                free
            }
            None => {
                self.ends.extend(ends);
                EndId(self.ends.len() as u32 - 2)
            }
        };
        let now = queue.now();
        match target {
            Some(target) => {
                queue.push(now + self.delay(member, target), LinkTimer::Syn(end).into());
            }
            None => {
                let failed = LinkTimer::Failed(end, NetError::TimedOut);
                queue.push(now + CONNECT_PATIENCE, failed.into());
            }
        }
        end
    }

    fn syn<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, end: EndId) {
        let (from, to) = (&self.ends[end.at()], &self.ends[end.other().at()]);
        if self.ports[to.member as usize].listening {
            let incoming =
                Happening::Incoming { end: end.other(), from: from.addr, port: to.addr.port() };
            self.happened.push_back((to.member, incoming));
        } else {
            self.refuse(queue, end.other());
        }
    }

    /// The member takes what came in.
    pub(super) fn accept<T: From<LinkTimer>>(
        &mut self,
        queue: &mut Queue<T>,
        end: EndId,
        conn: ConnId,
    ) {
        let back = queue.now() + self.delay_of(end);
        let own = &mut self.ends[end.at()];
        own.conn = Some(conn);
        own.open = true;
        own.last_arrival = back;
        queue.push(back, LinkTimer::SynAck(end.other()).into());
    }

    /// The member does not take what came in.
    pub(super) fn refuse<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, end: EndId) {
        let back = queue.now() + self.delay_of(end);
        queue.push(back, LinkTimer::Failed(end.other(), NetError::Refused).into());
    }

    /// How many bytes may be written now, if any; else `Writable` follows when some may.
    pub(super) fn room(&mut self, end: EndId) -> Option<usize> {
        let own = &mut self.ends[end.at()];
        own.starved = own.queued > SEND_BUFFER / 2;
        (!own.starved).then(|| SEND_BUFFER - own.queued)
    }

    /// Takes all of these bytes.
    pub(super) fn write<T: From<LinkTimer>>(
        &mut self,
        queue: &mut Queue<T>,
        end: EndId,
        bytes: &mut Segments,
    ) {
        let own = &mut self.ends[end.at()];
        own.queued += bytes.len();
        own.queue.extend(bytes.iter().cloned());
        bytes.advance(bytes.len());
        self.enqueue(queue, end);
    }

    /// Stops or resumes reading.
    pub(super) fn set_reading<T: From<LinkTimer>>(
        &mut self,
        queue: &mut Queue<T>,
        end: EndId,
        on: bool,
    ) {
        let from = &mut self.ends[end.other().at()];
        from.paused = !on;
        if on && from.arrived > 0 {
            queue.push(queue.now(), LinkTimer::Release(end.other()).into());
        }
    }

    /// Lets go of a stream. What was written is sent first if it is to be flushed.
    pub(super) fn close<T: From<LinkTimer>>(
        &mut self,
        queue: &mut Queue<T>,
        end: EndId,
        flush: bool,
    ) {
        let own = &mut self.ends[end.at()];
        own.conn = None;
        if !flush {
            own.queue.clear();
            own.queued = 0;
        }
        if own.open {
            self.finish(queue, end);
        }
    }

    /// The member is gone: so are its streams, and the others hear of it.
    pub(super) fn leave<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, member: MemberId) {
        self.set_listening(member, false);
        for at in 0..self.ends.len() {
            if self.ends[at].member == member && self.ends[at].conn.is_some() {
                self.close(queue, EndId(at as u32), false);
            }
        }
    }

    fn finish<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, end: EndId) {
        if self.ends[end.at()].finish == Finish::No {
            self.ends[end.at()].finish = Finish::Asked;
            self.enqueue(queue, end);
        }
    }

    // Packets.

    /// Puts a pipe in line for the uplink if it may send something.
    fn enqueue<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, end: EndId) {
        let own = &mut self.ends[end.at()];
        if own.in_line || !own.can_send() {
            return;
        }
        own.in_line = true;
        let port = &mut self.ports[own.member as usize];
        if own.queued <= SHORT {
            port.short.push_back(end);
        } else {
            port.long.push_back(end);
        }
        self.pump(queue, self.ends[end.at()].member);
    }

    /// Sends what the uplink can send now.
    fn pump<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, member: MemberId) {
        let now = queue.now();
        loop {
            let port = &mut self.ports[member as usize];
            if port.short.is_empty() && port.long.is_empty() {
                return;
            }
            if port.uplink_free > now {
                if !port.uplink_armed {
                    port.uplink_armed = true;
                    queue.push(port.uplink_free, LinkTimer::Uplink(member).into());
                }
                return;
            }
            let next = port.short.pop_front().or_else(|| port.long.pop_front());
            if let Some(end) = next {
                self.send_packet(queue, end);
            }
        }
    }

    fn send_packet<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, end: EndId) {
        let delay = self.delay_of(end);
        let own = &mut self.ends[end.at()];
        let port = &mut self.ports[own.member as usize];
        own.in_line = false;
        if !own.can_send() {
            return;
        }
        let longest =
            (port.link.up_bytes_per_s / PACKETS_PER_S).clamp(SHORT as u64, LONGEST_PACKET);
        let packet = own.next_packet((longest as usize).min(WINDOW - own.flight_bytes));
        let bytes = packet.len();
        port.sent_bytes += bytes as u64;
        port.uplink_free =
            port.uplink_free.max(queue.now()) + transfer(bytes, port.link.up_bytes_per_s);
        own.last_arrival = own.last_arrival.max(port.uplink_free + delay);
        own.flight.push_back(packet);
        queue.push(own.last_arrival, LinkTimer::Arrive(end).into());
        if own.can_send() {
            own.in_line = true;
            port.long.push_back(end);
        }
        if own.starved
            && own.queued <= SEND_BUFFER / 2
            && let Some(conn) = own.conn
        {
            own.starved = false;
            self.happened.push_back((own.member, Happening::Writable { end, conn }));
        }
    }

    /// A packet is at the downlink: through at once if that is free, else behind what is before it.
    fn arrive<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, end: EndId) {
        let now = queue.now();
        let own = &mut self.ends[end.at()];
        let bytes = own.flight.get(own.arrived).map_or(0, Packet::len);
        let to = self.ends[end.other().at()].member;
        let port = &mut self.ports[to as usize];
        let free = port.downlink_free;
        port.downlink_free = free.max(now) + transfer(bytes, port.link.down_bytes_per_s);
        if free > now {
            queue.push(free, LinkTimer::Deliver(end).into());
        } else {
            self.ends[end.at()].arrived += 1;
            self.hand_over(queue, end);
        }
    }

    /// Gives the reader what has arrived through this end's pipe.
    fn hand_over<T: From<LinkTimer>>(&mut self, queue: &mut Queue<T>, end: EndId) {
        let (reader, member) = {
            let reader = &self.ends[end.other().at()];
            (reader.conn, reader.member)
        };
        let mut handed = false;
        loop {
            let own = &mut self.ends[end.at()];
            if own.arrived == 0 || (own.paused && reader.is_some()) {
                break;
            }
            let Some(packet) = own.flight.pop_front() else { break };
            own.arrived -= 1;
            own.flight_bytes -= packet.len();
            handed = true;
            match (packet, reader) {
                (Packet::Data(parts, length), Some(conn)) => {
                    let mut data = BytesMut::with_capacity(length);
                    parts.iter().for_each(|part| data.extend_from_slice(part));
                    self.happened.push_back((member, Happening::Received { conn, data }));
                }
                (Packet::Data(..), None) => {}
                (Packet::Fin, reader) => {
                    let back = &mut self.ends[end.other().at()];
                    if back.finish == Finish::Sent && back.flight.is_empty() {
                        self.free.push(EndId(end.0 & !1));
                    }
                    if let Some(conn) = reader {
                        back.conn = None;
                        self.happened.push_back((member, Happening::Ended { conn, why: None }));
                        self.finish(queue, end.other());
                    }
                    return;
                }
            }
        }
        if handed {
            self.enqueue(queue, end);
        }
    }

    fn delay_of(&self, end: EndId) -> Duration {
        self.delay(self.ends[end.at()].member, self.ends[end.other().at()].member)
    }

    fn delay(&self, a: MemberId, b: MemberId) -> Duration {
        self.ports[a as usize].link.latency + self.ports[b as usize].link.latency
    }
}

impl End {
    fn new(member: MemberId, addr: SocketAddr, conn: Option<ConnId>) -> Self {
        End {
            member,
            addr,
            conn,
            open: false,
            queue: VecDeque::new(),
            queued: 0,
            flight: VecDeque::new(),
            arrived: 0,
            flight_bytes: 0,
            in_line: false,
            starved: false,
            finish: Finish::No,
            last_arrival: Instant::ZERO,
            paused: false,
        }
    }

    fn can_send(&self) -> bool {
        if self.queued == 0 { self.finish == Finish::Asked } else { self.flight_bytes < WINDOW }
    }

    fn next_packet(&mut self, longest: usize) -> Packet {
        if self.queued == 0 {
            self.finish = Finish::Sent;
            return Packet::Fin;
        }
        let length = longest.min(self.queued);
        let mut parts = SmallVec::new();
        let mut left = length;
        while left > 0
            && let Some(first) = self.queue.front_mut()
        {
            let part = first.split_to(first.len().min(left));
            left -= part.len();
            parts.push(part);
            if !first.has_remaining() {
                self.queue.pop_front();
            }
        }
        self.queued -= length;
        self.flight_bytes += length;
        Packet::Data(parts, length)
    }
}

impl Packet {
    fn len(&self) -> usize {
        match self {
            Packet::Data(_, length) => *length,
            Packet::Fin => 0,
        }
    }
}

fn transfer(bytes: usize, rate_bytes_per_s: u64) -> Duration {
    Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate_bytes_per_s.max(1))
}
