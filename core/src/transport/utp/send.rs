//! Packets under way: which are acknowledged, which are lost, which go again.
//!
//! A packet is lost if some that were sent after it have arrived and it has not (BEP 29, "packet loss";
//! RFC 6675, section 4), or one has and the packet had a round trip and a little more
//! (RFC 8985, section 6.2). Both rules go by the order in which packets were *sent*, so they find the
//! loss of one that was sent again as well. What each acknowledgement costs is bounded by the packets
//! that it names, and each packet is held lost once for each time it is sent.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use super::packet::Kind;
use super::payload::{Payload, Unsent};
use super::seq::Seq;
use crate::time::{Duration, Instant};

/// Packets under way at most: far less than numbers there are, so that old ones are told from new.
const MAX_PACKETS: usize = 8192;
/// Packets that must have overtaken one that is lost (BEP 29).
const OVERTAKEN: usize = 3;
/// The same on a way that has changed the order of packets (chosen).
const OVERTAKEN_REORDERED: usize = 16;
/// Least time that packets may be late for the order in which they were sent (chosen: what a host takes
/// to handle a batch).
const MIN_SLACK: Duration = Duration::from_millis(1);
/// The most quarters of the least round trip that they may be late (RFC 8985: up to the whole round trip).
const MAX_QUARTERS: u32 = 16;

/// What has become of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    UnderWay,
    /// It is to be sent again.
    Lost,
    Acknowledged,
}

#[derive(Debug)]
struct Sent {
    payload: Payload,
    len: u16,
    is_fin: bool,
    fate: Fate,
    /// How often it was sent.
    times: u8,
    /// When it was sent last.
    at: Instant,
    /// The place of that among everything that was sent.
    order: u64,
    /// If it was filled up to a length that is tried: that length.
    probe: u16,
}

/// A packet that is to be sent now.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) seq: Seq,
    pub(super) kind: Kind,
    pub(super) payload: &'a Payload,
}

/// The newest packet, sent once more.
#[derive(Debug)]
pub(super) struct Tail<'a> {
    /// The length of its payload.
    pub(super) len: usize,
    /// The length that it was filled up to the first time.
    pub(super) probe: Option<usize>,
    pub(super) outgoing: Outgoing<'a>,
}

/// What an acknowledgement brought.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Acknowledged {
    /// Packets that were not acknowledged before.
    pub(super) packets: usize,
    /// Their bytes.
    pub(super) bytes: usize,
    /// The round trip of the newest that was sent once.
    pub(super) rtt: Option<Duration>,
    /// Whether the end of the stream is among them.
    pub(super) fin: bool,
    /// The length that has proven to pass.
    pub(super) probe_passed: Option<usize>,
    /// Packets that were held lost and had arrived.
    pub(super) needless: usize,
    /// Whether a packet was among them that was sent once.
    pub(super) first_try: bool,
}

/// Packets that are held lost from now on.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Losses {
    /// How many, without those that were tries of a length.
    pub(super) packets: usize,
    /// The place among everything sent of the newest of them.
    pub(super) newest: u64,
    /// The length of a try among them.
    pub(super) probe: Option<usize>,
}

/// The sending half of a connection.
#[derive(Debug)]
pub(super) struct Sender {
    /// Bytes that are in no packet yet.
    unsent: Unsent,
    /// From `first` on, without gaps.
    packets: VecDeque<Sent>,
    /// The oldest that is not acknowledged.
    first: Seq,
    /// Bytes under way.
    flight: usize,
    /// Bytes of packets that are not acknowledged.
    kept: usize,
    /// Packets that are to be sent again, the oldest first, by number; some may have arrived since.
    lost: VecDeque<Seq>,
    /// Packets under way.
    under_way: usize,
    /// Packets as they were sent, the oldest first; those that were sent again since or are not under way any more
    /// are passed over.
    sent_order: VecDeque<(u64, Seq)>,
    next_order: u64,
    /// The places of the packets acknowledged that were sent last, plus one; ascending.
    overtakers: [u64; OVERTAKEN_REORDERED],
    /// Of those acknowledged, the one that was sent last: its place, and its round trip.
    newest_acked: Option<(u64, Duration)>,
    /// How late packets may be for their order, in quarters of the least round trip.
    quarters: u32,
    /// Acknowledgements in a row that named nothing new.
    duplicates: u8,
}

impl Sender {
    /// Nothing was sent; the first packet will be `next`.
    pub(super) fn new(next: Seq) -> Self {
        Sender {
            unsent: Unsent::default(),
            packets: VecDeque::new(),
            first: next,
            flight: 0,
            kept: 0,
            lost: VecDeque::new(),
            under_way: 0,
            sent_order: VecDeque::new(),
            next_order: 1,
            overtakers: [0; OVERTAKEN_REORDERED],
            newest_acked: None,
            quarters: 1,
            duplicates: 0,
        }
    }

    /// The number of the next new packet.
    pub(super) fn next(&self) -> Seq {
        self.first.plus(self.packets.len() as u16)
    }

    /// The oldest that is not acknowledged, or the next new one.
    pub(super) fn first(&self) -> Seq {
        self.first
    }

    /// Bytes under way.
    pub(super) fn flight(&self) -> usize {
        self.flight
    }

    /// Bytes that are kept: in no packet yet, or in one that is not acknowledged.
    pub(super) fn kept(&self) -> usize {
        self.unsent.len() + self.kept
    }

    /// Bytes that are in no packet yet.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether nothing waits for an acknowledgement.
    pub(super) fn is_idle(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether packets are under way, as far as is known.
    pub(super) fn has_under_way(&self) -> bool {
        self.under_way > 0
    }

    /// The place that the next packet sent will have.
    pub(super) fn next_order(&self) -> u64 {
        self.next_order
    }

    /// Whether there are as many packets as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.packets.len() >= MAX_PACKETS
    }

    /// Takes bytes to send.
    pub(super) fn supply(&mut self, bytes: Bytes) {
        self.unsent.push(bytes);
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        let index = usize::try_from(seq.since(self.first)).ok()?;
        (index < self.packets.len()).then_some(index)
    }

    // Sending.

    /// Makes a packet of the next bytes, at most `len`, and has it under way.
    pub(super) fn send_new(
        &mut self,
        now: Instant,
        len: usize,
        probe: Option<usize>,
    ) -> Outgoing<'_> {
        let (payload, taken) = self.unsent.take(len);
        let probe = probe.map_or(0, |length| length as u16);
        self.put(now, payload, taken, false, probe)
    }

    /// Has the packet under way that ends the stream.
    pub(super) fn send_fin(&mut self, now: Instant) -> Outgoing<'_> {
        self.put(now, Payload::default(), 0, true, 0)
    }

    fn put(
        &mut self,
        now: Instant,
        payload: Payload,
        len: usize,
        is_fin: bool,
        probe: u16,
    ) -> Outgoing<'_> {
        let seq = self.next();
        let order = self.take_order(seq);
        self.flight += len;
        self.kept += len;
        self.under_way += 1;
        let len = len as u16;
        self.packets.push_back(Sent {
            payload,
            len,
            is_fin,
            fate: Fate::UnderWay,
            times: 1,
            at: now,
            order,
            probe,
        });
        self.outgoing(self.packets.len() - 1)
    }

    fn take_order(&mut self, seq: Seq) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        self.sent_order.push_back((order, seq));
        order
    }

    fn outgoing(&self, index: usize) -> Outgoing<'_> {
        let sent = &self.packets[index];
        let kind = if sent.is_fin { Kind::Fin } else { Kind::Data };
        Outgoing { seq: self.first.plus(index as u16), kind, payload: &sent.payload }
    }

    /// The payload's length of the packet that is to be sent again next.
    pub(super) fn next_resend(&mut self) -> Option<usize> {
        while let Some(&seq) = self.lost.front() {
            match self.index(seq) {
                Some(index) if self.packets[index].fate == Fate::Lost => {
                    return Some(usize::from(self.packets[index].len));
                }
                _ => self.lost.pop_front(),
            };
        }
        None
    }

    /// Has the packet under way again that [`Sender::next_resend`] spoke of.
    pub(super) fn resend(&mut self, now: Instant) -> Option<Outgoing<'_>> {
        self.next_resend()?;
        let seq = self.lost.pop_front()?;
        let index = self.index(seq)?;
        self.under_way += 1;
        self.flight += usize::from(self.packets[index].len);
        Some(self.send_again(now, index))
    }

    /// Sends the newest packet under way once more, without holding it lost.
    ///
    /// If it was a try of a length, that counts as failed.
    pub(super) fn resend_newest(&mut self, now: Instant) -> Option<Tail<'_>> {
        let index = self.packets.iter().rposition(|sent| sent.fate == Fate::UnderWay)?;
        let Sent { len, probe, .. } = self.packets[index];
        let probe = (probe != 0).then_some(usize::from(probe));
        Some(Tail { len: usize::from(len), probe, outgoing: self.send_again(now, index) })
    }

    fn send_again(&mut self, now: Instant, index: usize) -> Outgoing<'_> {
        let order = self.take_order(self.first.plus(index as u16));
        let sent = &mut self.packets[index];
        sent.fate = Fate::UnderWay;
        sent.times = sent.times.saturating_add(1);
        sent.at = now;
        sent.order = order;
        sent.probe = 0;
        self.outgoing(index)
    }

    /// The length of the oldest packet's payload.
    pub(super) fn oldest_len(&self) -> Option<usize> {
        self.packets.front().map(|sent| usize::from(sent.len))
    }

    // Acknowledgements.

    /// Whether an acknowledgement is possible: of what was sent, and not far before what is
    /// acknowledged already.
    pub(super) fn is_possible(&self, ack: Seq) -> bool {
        let acked = self.first.minus(1);
        (-3..=self.packets.len() as i32).contains(&ack.since(acked))
    }

    /// Everything up to `ack` has arrived, and what the bits of `sack` say. `is_bare`: nothing else came
    /// with it.
    pub(super) fn acknowledge(
        &mut self,
        now: Instant,
        ack: Seq,
        sack: &[u8],
        least_rtt: Duration,
        is_bare: bool,
    ) -> Acknowledged {
        let mut result = Acknowledged::default();
        let cumulative = ack.since(self.first) + 1;
        for index in 0..(cumulative.max(0) as usize).min(self.packets.len()) {
            self.arrived(now, index, least_rtt, &mut result);
        }
        // The first bit is for the second behind `ack`; bits before what is acknowledged say nothing.
        let base = ack.plus(2).since(self.first);
        for (at, &byte) in sack.iter().enumerate() {
            let mut bits = byte;
            while bits != 0 {
                let index = base + (at * 8) as i32 + bits.trailing_zeros() as i32;
                bits &= bits - 1;
                if let Ok(index) = usize::try_from(index)
                    && index < self.packets.len()
                {
                    self.arrived(now, index, least_rtt, &mut result);
                }
            }
        }
        while self.packets.front().is_some_and(|sent| sent.fate == Fate::Acknowledged) {
            self.packets.pop_front();
            self.first = self.first.plus(1);
        }
        if result.packets > 0 {
            self.duplicates = 0;
        } else if is_bare && sack.is_empty() && cumulative == 0 && !self.packets.is_empty() {
            self.duplicates = self.duplicates.saturating_add(1);
        }
        if result.needless > 0 {
            self.quarters = (self.quarters + 1).min(MAX_QUARTERS);
        }
        result
    }

    fn arrived(
        &mut self,
        now: Instant,
        index: usize,
        least_rtt: Duration,
        result: &mut Acknowledged,
    ) {
        let sent = &mut self.packets[index];
        match sent.fate {
            Fate::Acknowledged => return,
            Fate::UnderWay => {
                self.flight -= usize::from(sent.len);
                self.under_way -= 1;
            }
            Fate::Lost => {}
        }
        self.kept -= usize::from(sent.len);
        let rtt = now - sent.at;
        let was_lost = sent.fate == Fate::Lost;
        sent.fate = Fate::Acknowledged;
        sent.payload = Payload::default();
        // What was sent again so recently was acknowledged for the time before.
        let is_of_before = sent.times > 1 && rtt < least_rtt / 2;
        result.packets += 1;
        result.bytes += usize::from(sent.len);
        result.fin |= sent.is_fin;
        result.needless += usize::from(was_lost || is_of_before);
        result.first_try |= sent.times == 1;
        if sent.probe != 0 {
            result.probe_passed = Some(usize::from(sent.probe));
        }
        if sent.times == 1 && !was_lost {
            result.rtt = Some(result.rtt.map_or(rtt, |least| least.min(rtt)));
        }
        if was_lost || sent.times > 1 && rtt < least_rtt {
            return;
        }
        let order = sent.order;
        if self.newest_acked.is_none_or(|(newest, _)| order > newest) {
            self.newest_acked = Some((order, rtt));
        }
        let place = self.overtakers.partition_point(|&overtaker| overtaker < order + 1);
        if place > 0 {
            self.overtakers.copy_within(1..place, 0);
            self.overtakers[place - 1] = order + 1;
        }
    }

    fn is_current(&self, order: u64, seq: Seq) -> bool {
        self.index(seq).is_some_and(|index| {
            let sent = &self.packets[index];
            sent.fate == Fate::UnderWay && sent.order == order
        })
    }

    // Losses.

    /// How late a packet may be for its order, beyond the round trip of one that was sent after it.
    fn slack(&self, least_rtt: Duration) -> Duration {
        (least_rtt / 4 * self.quarters).max(MIN_SLACK)
    }

    /// Holds packets lost that others have overtaken. If time alone can tell of the oldest: when.
    pub(super) fn find_losses(
        &mut self,
        now: Instant,
        least_rtt: Duration,
    ) -> (Losses, Option<Instant>) {
        let mut losses = Losses::default();
        if self.duplicates >= 3 {
            // The other side names nothing: the first is missing, and others have come.
            self.duplicates = 0;
            if self
                .packets
                .front()
                .is_some_and(|sent| sent.fate == Fate::UnderWay && sent.times == 1)
            {
                self.lose(0, &mut losses);
            }
        }
        let overtaken = if self.quarters > 1 { OVERTAKEN_REORDERED } else { OVERTAKEN };
        let by_count = self.overtakers[OVERTAKEN_REORDERED - overtaken];
        while let Some(&(order, seq)) = self.sent_order.front() {
            if !self.is_current(order, seq) {
                self.sent_order.pop_front();
                continue;
            }
            let Some((newest, rtt)) = self.newest_acked.filter(|&(newest, _)| order < newest)
            else {
                break;
            };
            let Some(index) = self.index(seq) else { break };
            let lost_at = self.packets[index].at + rtt + self.slack(least_rtt);
            if order + 1 >= by_count && now < lost_at {
                return (losses, Some(lost_at));
            }
            debug_assert!(order < newest);
            self.sent_order.pop_front();
            self.lose(index, &mut losses);
        }
        (losses, None)
    }

    /// Holds everything lost that is under way.
    pub(super) fn lose_all(&mut self) -> Losses {
        let mut losses = Losses::default();
        self.lost.clear();
        self.sent_order.clear();
        for index in 0..self.packets.len() {
            match self.packets[index].fate {
                Fate::UnderWay => self.lose(index, &mut losses),
                Fate::Lost => self.lost.push_back(self.first.plus(index as u16)),
                Fate::Acknowledged => {}
            }
        }
        losses
    }

    fn lose(&mut self, index: usize, losses: &mut Losses) {
        let seq = self.first.plus(index as u16);
        let sent = &mut self.packets[index];
        sent.fate = Fate::Lost;
        self.flight -= usize::from(sent.len);
        self.under_way -= 1;
        self.lost.push_back(seq);
        if sent.probe != 0 {
            losses.probe = Some(usize::from(sent.probe));
            sent.probe = 0;
        } else {
            losses.packets += 1;
            losses.newest = losses.newest.max(sent.order);
        }
    }
}
