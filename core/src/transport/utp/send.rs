//! Packets under way: which are acknowledged, which are lost, which go again.
//!
//! A packet is lost if some that were sent after it have arrived and it has not (BEP 29, "packet loss";
//! RFC 6675, section 4), or one has and the packet had a round trip and a little more
//! (RFC 8985, section 6.2). Both rules go by the order in which packets were *sent*, so they find the
//! loss of one that was sent again as well. What each acknowledgement costs is bounded by the packets
//! that it names, and each packet is held lost once for each time it is sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::packet::Kind;
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

/// Some bytes in slices.
#[derive(Clone, Debug, Default)]
pub(super) struct Payload {
    first: Bytes,
    more: Vec<Bytes>,
}

impl Payload {
    fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() {
            self.first = bytes;
        } else {
            self.more.push(bytes);
        }
    }

    /// Appends the bytes.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.first);
        for bytes in &self.more {
            out.extend_from_slice(bytes);
        }
    }
}

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
    unsent: VecDeque<Bytes>,
    unsent_len: usize,
    /// From `first` on, without gaps.
    packets: VecDeque<Sent>,
    /// The oldest that is not acknowledged.
    first: Seq,
    /// Bytes under way.
    flight: usize,
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
            unsent: VecDeque::new(),
            unsent_len: 0,
            packets: VecDeque::new(),
            first: next,
            flight: 0,
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

    /// Bytes that are in no packet yet.
    pub(super) fn unsent(&self) -> usize {
        self.unsent_len
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
        if !bytes.is_empty() {
            self.unsent_len += bytes.len();
            self.unsent.push_back(bytes);
        }
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
        let mut payload = Payload::default();
        let mut left = len.min(self.unsent_len);
        let taken = left;
        while left > 0
            && let Some(front) = self.unsent.front_mut()
        {
            if front.len() <= left {
                left -= front.len();
                payload.push(self.unsent.pop_front().unwrap_or_default());
            } else {
                payload.push(front.split_to(left));
                left = 0;
            }
        }
        self.unsent_len -= taken;
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

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// A sender with so many packets of ten bytes under way since `at(0)`, from number 65,533 on.
    fn under_way(count: usize) -> Sender {
        let mut sender = Sender::new(Seq(65533));
        for _ in 0..count {
            sender.supply(Bytes::from_static(b"0123456789"));
            sender.send_new(at(0), 10, None);
        }
        sender
    }

    fn numbers_resent(sender: &mut Sender, now: Instant) -> Vec<u16> {
        std::iter::from_fn(|| sender.resend(now).map(|outgoing| outgoing.seq.0)).collect()
    }

    fn ack(sender: &mut Sender, now: u64, ack: u16, sack: &[u8]) -> Acknowledged {
        sender.acknowledge(at(now), Seq(ack), sack, RTT, true)
    }

    #[test]
    fn packets_are_cut_across_slices_and_sent_again_as_they_were() {
        let mut sender = Sender::new(Seq(1));
        for part in [&b"abc"[..], b"defgh", b"ij"] {
            sender.supply(Bytes::copy_from_slice(part));
        }
        let mut out = BytesMut::new();
        sender.send_new(at(0), 4, None).payload.write(&mut out);
        sender.send_new(at(0), 100, None).payload.write(&mut out);
        assert_eq!(out[..], b"abcdefghij"[..]);
        assert_eq!((sender.unsent(), sender.flight(), sender.next()), (0, 10, Seq(3)));
        sender.lose_all();
        assert_eq!(sender.flight(), 0);
        let mut out = BytesMut::new();
        while let Some(outgoing) = sender.resend(at(1)) {
            outgoing.payload.write(&mut out);
        }
        assert_eq!(out[..], b"abcdefghij"[..]);
        assert_eq!(sender.flight(), 10);
    }

    #[test]
    fn bytes_count_once_by_whichever_acknowledgement() {
        let mut sender = under_way(6);
        assert_eq!(ack(&mut sender, 20, 65532, &[0b101]).bytes, 20);
        assert_eq!(sender.flight(), 40);
        let acked = ack(&mut sender, 21, 65535, &[]);
        assert_eq!((acked.bytes, acked.packets), (20, 2), "one of three was known");
        assert_eq!(
            ack(&mut sender, 22, 65535, &[0xff; 255]).bytes,
            20,
            "bits for what was not sent"
        );
        assert_eq!(sender.flight(), 0);
        assert_eq!((sender.first(), sender.next()), (Seq(3), Seq(3)));
    }

    #[test]
    fn acknowledgement_of_what_was_not_sent_is_impossible() {
        let sender = under_way(3);
        let possible = |ack: u16| sender.is_possible(Seq(ack));
        assert!(possible(65532) && possible(65535) && possible(65529));
        assert!(!possible(0) && !possible(65528) && !possible(30_000));
    }

    #[test]
    fn three_that_overtake_show_a_loss_and_two_do_not() {
        let mut sender = under_way(5);
        ack(&mut sender, 20, 65532, &[0b011]);
        let (losses, due) = sender.find_losses(at(20), RTT);
        assert_eq!((losses.packets, due), (0, Some(at(25))));
        ack(&mut sender, 20, 65532, &[0b111]);
        assert_eq!(sender.find_losses(at(20), RTT).0.packets, 1);
        assert_eq!(numbers_resent(&mut sender, at(20)), [65533]);
    }

    #[test]
    fn time_shows_a_loss_where_too_few_overtake() {
        let mut sender = under_way(2);
        ack(&mut sender, 20, 65532, &[1]);
        let (losses, due) = sender.find_losses(at(24), RTT);
        assert_eq!((losses.packets, due), (0, Some(at(25))));
        assert_eq!(sender.find_losses(at(25), RTT).0.packets, 1);
    }

    #[test]
    fn loss_of_one_that_was_sent_again_is_found() {
        let mut sender = under_way(4);
        ack(&mut sender, 20, 65532, &[0b111]);
        sender.find_losses(at(20), RTT);
        assert_eq!(numbers_resent(&mut sender, at(20)), [65533]);
        for _ in 0..3 {
            sender.supply(Bytes::from_static(b"x"));
            sender.send_new(at(21), 1, None);
        }
        ack(&mut sender, 41, 65532, &[0b11_1111]);
        assert_eq!(sender.find_losses(at(41), RTT).0.packets, 1);
        assert_eq!(numbers_resent(&mut sender, at(41)), [65533]);
    }

    #[test]
    fn needless_resend_makes_patient() {
        let mut sender = under_way(4);
        ack(&mut sender, 20, 65532, &[0b111]);
        sender.find_losses(at(20), RTT);
        numbers_resent(&mut sender, at(20));
        let acked = ack(&mut sender, 22, 0, &[]);
        assert_eq!(acked.needless, 1);
        for _ in 0..5 {
            sender.supply(Bytes::from_static(b"x"));
            sender.send_new(at(30), 1, None);
        }
        ack(&mut sender, 50, 0, &[0b1111]);
        let (losses, due) = sender.find_losses(at(50), RTT);
        assert_eq!((losses.packets, due), (0, Some(at(60))));
    }

    #[test]
    fn peer_without_selective_acknowledgements_says_it_thrice() {
        let mut sender = under_way(5);
        for _ in 0..2 {
            ack(&mut sender, 20, 65532, &[]);
            assert_eq!(sender.find_losses(at(20), RTT).0.packets, 0);
        }
        ack(&mut sender, 20, 65532, &[]);
        assert_eq!(sender.find_losses(at(20), RTT).0.packets, 1);
    }

    #[test]
    fn lost_try_of_a_length_is_no_loss_and_goes_again_as_it_should() {
        let mut sender = Sender::new(Seq(1));
        sender.supply(Bytes::from_static(&[0; 100]));
        sender.send_new(at(0), 20, Some(1472));
        for _ in 0..3 {
            sender.send_new(at(0), 20, None);
        }
        sender.acknowledge(at(20), Seq(0), &[0b111], RTT, true);
        let (losses, _) = sender.find_losses(at(20), RTT);
        assert_eq!((losses.packets, losses.probe), (0, Some(1472)));
        assert_eq!(numbers_resent(&mut sender, at(20)), [1]);
        assert_eq!(sender.acknowledge(at(40), Seq(4), &[], RTT, true).probe_passed, None);
    }
}
