//! One connection: its state and its two halves. When it has to be looked at is in [`deadlines`], what it
//! sends next in [`outgoing`].
//!
//! Nothing is sent from here of its own accord: [`Connection::write`] is asked for packets, and makes
//! them of bytes that were supplied before. So what is to be sent can be changed until the window opens.

mod deadlines;
mod outgoing;

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};

use super::control::Control;
use super::mtu::Mtu;
use super::packet::{HEADER_LEN, Header, Kind, Packet};
use super::receive::{Receiver, Taken};
use super::rtt::Rtt;
use super::send::{Acknowledged, Losses, Sender};
use super::seq::Seq;
use crate::time::{Duration, Instant};

/// How long bytes are sent that wait when a connection is closed (chosen).
const FLUSH: Duration = Duration::from_secs(5);

/// Why a connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The other side has ended it in order.
    Finished,
    /// The other side does not know it.
    Reset,
    /// The other side does not answer.
    TimedOut,
}

/// Something that happened on a connection.
#[derive(PartialEq, Eq, Debug)]
pub enum Event {
    /// A remote peer has opened it, and proven its address.
    Incoming,
    /// The remote peer has answered: it is open.
    Opened,
    /// Bytes of the stream, in order.
    Received(BytesMut),
    /// So many bytes that were supplied have been sent for the first time.
    Sent(usize),
    /// It is over; the id is dead.
    Closed(End),
}

/// Packets that were written: all of one length, but the last may be shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Written {
    pub(super) segment_size: usize,
    pub(super) may_fragment: bool,
}

/// Engine time as it stands in packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(pub(super) u32);

impl Clock {
    /// Microseconds, from a beginning that nobody else knows.
    pub(super) fn micros(self, at: Instant) -> u32 {
        ((at.as_nanos() / 1000) as u32).wrapping_add(self.0)
    }
}

/// How many times something happened; for tests and measurements.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Packets that were sent again.
    pub resent: u32,
    /// Of these, those that had arrived.
    pub needless: u32,
    /// Time-outs.
    pub timeouts: u32,
    /// Packets with new bytes.
    pub packets: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A SYN with this number was sent so often, the last one then.
    Dialling {
        syn: Seq,
        sent: usize,
        at: Instant,
    },
    Open,
    /// Dead.
    Over,
}

/// How far the end of our stream is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
enum Fin {
    No,
    Wanted,
    Sent,
    Acknowledged,
}

/// What the owner of a connection is to be told.
#[derive(Debug, Default)]
struct News {
    is_incoming: bool,
    is_opened: bool,
    sent: usize,
    end: Option<End>,
}

/// When things happened that deadlines count from.
#[derive(Debug)]
struct Times {
    /// A packet of any kind was sent.
    sent: Instant,
    /// A packet of any kind came in.
    heard: Instant,
    /// What the time-out counts from: progress, or packets under way where none were, or the last time-out.
    waiting: Instant,
    /// The same without time-outs.
    stalled: Instant,
    /// Time shows then whether the oldest packet is lost.
    lost_at: Option<Instant>,
    /// The peer without room is asked then; and how long after the last time.
    zero_window: Option<(Instant, Duration)>,
    /// It ends then, whatever was sent.
    flush_until: Option<Instant>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) remote: SocketAddr,
    /// The address of ours that the peer speaks to, where the system says so.
    pub(super) local: Option<IpAddr>,
    pub(super) receive_id: u16,
    send_id: u16,
    state: State,
    sender: Sender,
    receiver: Receiver,
    control: Control,
    rtt: Rtt,
    mtu: Mtu,
    times: Times,
    news: News,
    pub(super) counters: Counters,
    peer_window: usize,
    /// How long the last packet was under way to us, by both clocks; 0 before there was one.
    difference: u32,
    fin: Fin,
    /// The newest packet that was not full: another waits until it is acknowledged.
    small: Option<Seq>,
    flags: Flags,
}

#[derive(Debug, Default)]
struct Flags {
    /// The owner has bytes to supply.
    wants: bool,
    /// The owner does not take bytes at present.
    is_paused: bool,
    /// Nobody owns it any more.
    is_orphan: bool,
    ack_due: bool,
    /// The newest packet was sent again since the last progress.
    tail_probed: bool,
    /// Packets that go again may be cut on their way: full ones do not pass.
    may_fragment: bool,
    /// One packet may be sent though the peer has no room.
    one_more: bool,
    /// The SYN is to be sent.
    syn_due: bool,
    is_alive_due: bool,
    /// It stands in the list of those that may send, or of those that have news.
    pub(super) is_ready: bool,
    pub(super) has_news: bool,
}

impl Connection {
    fn new(
        now: Instant,
        remote: SocketAddr,
        ids: (u16, u16),
        state: State,
        next: Seq,
        expected: Seq,
        proven: Option<u16>,
    ) -> Self {
        let mtu = Mtu::new(now, remote.is_ipv6(), proven);
        Connection {
            remote,
            local: None,
            receive_id: ids.0,
            send_id: ids.1,
            state,
            sender: Sender::new(next),
            receiver: Receiver::new(expected, now),
            control: Control::new(now, mtu.size() - HEADER_LEN),
            rtt: Rtt::default(),
            mtu,
            times: Times {
                sent: now,
                heard: now,
                waiting: now,
                stalled: now,
                lost_at: None,
                zero_window: None,
                flush_until: None,
            },
            news: News::default(),
            counters: Counters::default(),
            peer_window: 0,
            difference: 0,
            fin: Fin::No,
            small: None,
            flags: Flags::default(),
        }
    }

    /// A connection that we open; its SYN is the first that it sends.
    pub(super) fn dial(
        now: Instant,
        remote: SocketAddr,
        receive_id: u16,
        syn: Seq,
        proven: Option<u16>,
    ) -> Self {
        let state = State::Dialling { syn, sent: 0, at: now };
        let ids = (receive_id, receive_id.wrapping_add(1));
        let mut connection = Self::new(now, remote, ids, state, syn.plus(1), Seq(0), proven);
        connection.flags.syn_due = true;
        connection
    }

    /// A connection that a remote peer has opened with the SYN `syn`, whose answer it has acknowledged: our first
    /// packet will be `next`. What showed that comes in next.
    pub(super) fn accept(
        now: Instant,
        remote: SocketAddr,
        receive_id: u16,
        syn: Seq,
        next: Seq,
        proven: Option<u16>,
    ) -> Self {
        let ids = (receive_id, receive_id.wrapping_sub(1));
        let mut connection = Self::new(now, remote, ids, State::Open, next, syn.plus(1), proven);
        connection.news.is_incoming = true;
        connection
    }

    // Queries.

    /// Whether it is dead: nothing more comes of it, and it has told its owner.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over && (self.flags.is_orphan || self.news.end.is_none())
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether both sides have ended their streams.
    pub(super) fn is_finished(&self) -> bool {
        self.fin == Fin::Acknowledged && self.receiver.is_complete()
    }

    pub(super) fn is_orphan(&self) -> bool {
        self.flags.is_orphan
    }

    /// The longest packet that is known to pass.
    pub(super) fn proven(&self) -> u16 {
        self.mtu.size() as u16
    }

    pub(super) fn rtt(&self) -> Duration {
        self.rtt.smoothed()
    }

    pub(super) fn queueing(&self) -> Duration {
        self.control.queueing().unwrap_or_default()
    }

    /// Bytes under way, and how many may be by congestion control and by the peer's room.
    pub(super) fn flight(&self) -> (usize, usize, usize) {
        (self.sender.flight(), self.control.window(), self.peer_window)
    }

    /// Bytes to send that are kept: that wait, or are not acknowledged.
    pub(super) fn kept(&self) -> usize {
        self.sender.kept()
    }

    /// Bytes that were received and are held.
    pub(super) fn held(&self) -> usize {
        self.receiver.held()
    }

    /// When something was last heard of the peer.
    pub(super) fn heard(&self) -> Instant {
        self.times.heard
    }

    fn segment(&self) -> usize {
        self.mtu.size() - HEADER_LEN
    }

    // What the owner does.

    /// The owner has bytes to send, to be pulled when there is room.
    pub(super) fn want(&mut self, now: Instant) {
        self.flags.wants = true;
        self.watch_zero_window(now);
    }

    /// The owner hands over bytes that it was asked for.
    pub(super) fn supply(&mut self, now: Instant, bytes: impl IntoIterator<Item = Bytes>) {
        for bytes in bytes {
            self.sender.supply(bytes);
        }
        self.watch_zero_window(now);
    }

    /// The owner takes bytes, or takes none for now.
    pub(super) fn set_reading(&mut self, on: bool) {
        self.flags.is_paused = !on;
    }

    /// The owner is gone; what waits is sent, then the stream is ended.
    pub(super) fn flush(&mut self, now: Instant) {
        self.flags.is_orphan = true;
        self.flags.wants = false;
        self.receiver.discard();
        self.times.flush_until = Some(now + FLUSH);
        if self.fin == Fin::No {
            self.fin = Fin::Wanted;
        }
        if !self.is_open() {
            self.state = State::Over;
        }
    }

    // News.

    /// What the owner is to be told next.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        if self.flags.is_orphan {
            self.receiver.discard();
            return None;
        }
        if std::mem::take(&mut self.news.is_incoming) {
            return Some(Event::Incoming);
        }
        if std::mem::take(&mut self.news.is_opened) {
            return Some(Event::Opened);
        }
        if self.news.sent > 0 {
            return Some(Event::Sent(std::mem::take(&mut self.news.sent)));
        }
        if !self.flags.is_paused
            && let Some(bytes) = self.receiver.take()
        {
            self.flags.ack_due |= self.receiver.has_news_of_window(self.segment());
            return Some(Event::Received(bytes));
        }
        if self.receiver.is_complete()
            && self.receiver.held() == 0
            && self.news.end.is_none()
            && self.is_open()
        {
            self.news.end = Some(End::Finished);
        }
        let end = self.news.end.take()?;
        self.flags.is_orphan = true;
        if self.is_open() {
            // The rest happens without the owner: our end of the stream.
            self.times.flush_until = Some(self.times.heard + FLUSH);
            self.fin = if self.fin == Fin::No { Fin::Wanted } else { self.fin };
        }
        Some(Event::Closed(end))
    }

    fn end(&mut self, why: End) {
        self.state = State::Over;
        self.news.end = Some(why);
    }

    // Packets that come in.

    /// A packet of this connection came in, at `at` by the system's word. `most`: by how much the room may grow.
    /// By how much it has grown.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        at: Instant,
        clock: Clock,
        packet: &Packet<'_>,
        most: usize,
    ) -> usize {
        let Header { kind, seq, ack, .. } = packet.header;
        if kind == Kind::Reset {
            self.receive_reset(ack);
            return 0;
        }
        match self.state {
            State::Over => return 0,
            State::Dialling { syn, sent, at } => {
                if ack != syn || sent == 0 || kind != Kind::State {
                    return 0;
                }
                self.state = State::Open;
                self.news.is_opened = true;
                // The answer has the number of the first packet with bytes, which is still to come. The
                // peer keeps nothing of us before it sees that we have it.
                self.receiver = Receiver::new(seq, now);
                self.flags.ack_due = true;
                if sent == 1 {
                    self.rtt.sample(now - at);
                }
            }
            State::Open if kind == Kind::Syn => return 0,
            State::Open => {
                if !self.sender.is_possible(ack) {
                    return 0;
                }
            }
        }
        self.times.heard = now;
        self.learn(now, at, clock, &packet.header);
        let is_bare = kind == Kind::State;
        let acked = self.sender.acknowledge(now, ack, packet.sack, self.rtt.least(), is_bare);
        if acked.packets > 0 {
            self.progressed(now, &acked);
        }
        let (losses, lost_at) = self.sender.find_losses(now, self.rtt.least());
        self.times.lost_at = lost_at;
        self.lost(now, &losses);
        let has_payload = kind == Kind::Fin || kind == Kind::Data && !packet.payload.is_empty();
        let grown = if has_payload { self.receive_payload(now, packet, most) } else { 0 };
        self.watch_zero_window(now);
        grown
    }

    fn receive_reset(&mut self, ack: Seq) {
        let is_ours = match self.state {
            State::Dialling { syn, .. } => ack == syn,
            State::Open => self.sender.is_possible(ack),
            State::Over => false,
        };
        if is_ours {
            self.end(End::Reset);
        }
    }

    /// What the header says of clocks and room.
    fn learn(&mut self, now: Instant, at: Instant, clock: Clock, header: &Header) {
        if header.timestamp != 0 {
            let difference = clock.micros(at).wrapping_sub(header.timestamp);
            self.difference = difference.max(1);
            self.control.on_packet(now, difference);
        }
        self.control.on_delay(now, header.timestamp_difference, self.rtt.smoothed());
        let had_room = self.peer_window > 0;
        self.peer_window = header.window as usize;
        if self.peer_window > 0 && !had_room && self.times.zero_window.take().is_some() {
            // What was sent to ask for room was not taken.
            self.sender.lose_all();
        }
    }

    fn progressed(&mut self, now: Instant, acked: &Acknowledged) {
        if let Some(rtt) = acked.rtt {
            self.rtt.sample(rtt);
        }
        self.rtt.progress();
        self.times.waiting = now;
        self.times.stalled = now;
        self.flags.tail_probed = false;
        self.counters.needless += acked.needless as u32;
        if let Some(length) = acked.probe_passed {
            self.mtu.probe_passed(length);
        }
        if acked.fin {
            self.fin = Fin::Acknowledged;
        }
        if self.sender.is_idle() {
            self.flags.may_fragment = false;
        }
        let segment = self.segment();
        self.control.on_ack(now, acked, self.rtt.smoothed(), segment);
        self.small = self.small.filter(|small| small.since(self.sender.first()) >= 0);
    }

    fn lost(&mut self, now: Instant, losses: &Losses) {
        if let Some(length) = losses.probe {
            self.mtu.probe_lost(length);
        }
        let (next, rtt, segment) = (self.sender.next_order(), self.rtt.smoothed(), self.segment());
        self.control.on_losses(now, losses, next, rtt, segment);
    }

    fn receive_payload(&mut self, now: Instant, packet: &Packet<'_>, most: usize) -> usize {
        let Header { kind, seq, .. } = packet.header;
        // Who has hung up takes no more bytes, and says nothing of that.
        let taken = self.receiver.receive(seq, packet.payload, kind == Kind::Fin);
        if self.flags.is_orphan {
            self.receiver.discard();
        }
        self.flags.ack_due = true;
        match taken {
            Taken::InOrder => self.receiver.grow(now, self.rtt.smoothed(), most),
            Taken::Early | Taken::Again | Taken::Refused => 0,
        }
    }

    // Lists of the endpoint.

    /// Puts it in the list of those that may send; whether it was not there.
    pub(super) fn mark_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.flags.is_ready, true)
    }

    pub(super) fn unmark_ready(&mut self) {
        self.flags.is_ready = false;
    }

    /// Puts it in the list of those with news; whether it was not there.
    pub(super) fn mark_news(&mut self) -> bool {
        !std::mem::replace(&mut self.flags.has_news, true)
    }

    pub(super) fn unmark_news(&mut self) {
        self.flags.has_news = false;
    }
}
