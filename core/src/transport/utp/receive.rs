//! Packets that came in, put in order.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::packet::MAX_SACK;
use super::seq::Seq;
use crate::time::{Duration, Instant};

/// Bytes that there is room for at first (chosen).
pub(super) const FIRST_BUDGET: usize = 256 * 1024;
/// Bytes that there is room for at most (chosen).
const MAX_BUDGET: usize = 4 * 1024 * 1024;
/// Bytes that each packet out of order is supposed to have: that decides how far ahead of the first
/// that is missing they may be (chosen).
const SUPPOSED_PACKET: usize = 1100;

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It was the next in order.
    InOrder,
    /// It waits for others that come before it.
    Early,
    /// It was here before.
    Again,
    /// There is no room for it.
    Refused,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Receiver {
    /// The first that has not come.
    next: Seq,
    /// What came out of order, from `next` on; the first is always missing.
    early: VecDeque<Option<Bytes>>,
    early_bytes: usize,
    /// How many packets of `early` have come.
    early_count: usize,
    /// The longest payload that has come: what each missing packet is supposed to bring.
    longest: usize,
    /// Bytes in order that are not handed on.
    ready: BytesMut,
    /// The number behind which nothing follows.
    end: Option<Seq>,
    budget: usize,
    /// Bytes that have come in since `round_began`.
    round_bytes: usize,
    round_began: Instant,
    /// The room that the other side was last told of.
    told: usize,
}

impl Receiver {
    /// Nothing has come in; the first packet will be `next`.
    pub(super) fn new(next: Seq, now: Instant) -> Self {
        Receiver {
            next,
            early: VecDeque::new(),
            early_bytes: 0,
            early_count: 0,
            longest: 0,
            ready: BytesMut::new(),
            end: None,
            budget: FIRST_BUDGET,
            round_bytes: 0,
            round_began: now,
            told: FIRST_BUDGET,
        }
    }

    /// The last in order that has come: what is acknowledged.
    pub(super) fn acknowledged(&self) -> Seq {
        self.next.minus(1)
    }

    /// Room for more, in bytes.
    pub(super) fn window(&self) -> usize {
        self.budget.saturating_sub(self.ready.len() + self.early_bytes)
    }

    /// The room that the other side is told of now.
    pub(super) fn tell_window(&mut self) -> u32 {
        self.told = self.window();
        u32::try_from(self.told).unwrap_or(u32::MAX)
    }

    /// Whether there is much more room than the other side knows of.
    pub(super) fn has_news_of_window(&self, segment: usize) -> bool {
        let window = self.window();
        (self.told < segment && window > self.told)
            || window >= self.told + (2 * segment).max(self.budget / 4)
    }

    /// Whether packets are missing that lie before others that have come.
    pub(super) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// Whether the other side has ended the stream and all of it has come in.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| self.next == end.plus(1))
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.ready.len() + self.early_bytes
    }

    /// A packet of the stream came in; `is_last`: nothing follows it.
    pub(super) fn receive(&mut self, seq: Seq, payload: &[u8], is_last: bool) -> Taken {
        let ahead = seq.since(self.next);
        if ahead < 0 {
            return Taken::Again;
        }
        let ahead = ahead as usize;
        if let Some(end) = self.end
            && seq.since(end) > 0
        {
            return Taken::Refused;
        }
        self.longest = self.longest.max(payload.len());
        if ahead == 0 {
            // Who takes bytes is handed these at once: what is missing always comes through.
            if !self.ready.is_empty() && payload.len() > self.window() {
                return Taken::Refused;
            }
            if is_last {
                self.end = Some(seq);
                self.early.clear();
                self.early_bytes = 0;
                self.early_count = 0;
            }
            self.round_bytes += payload.len();
            self.ready.extend_from_slice(payload);
            self.next = self.next.plus(1);
            self.early.pop_front();
            while let Some(Some(_)) = self.early.front() {
                let payload = self.early.pop_front().flatten().unwrap_or_default();
                self.early_bytes -= payload.len();
                self.early_count -= 1;
                self.ready.extend_from_slice(&payload);
                self.next = self.next.plus(1);
            }
            return Taken::InOrder;
        }
        if self.early.get(ahead).is_some_and(Option::is_some) {
            return Taken::Again;
        }
        // Those before it that are missing are to find room, too.
        let missing = (ahead + 1).max(self.early.len()) - self.early_count - 1;
        let reserved = missing * self.longest;
        if ahead >= self.budget / SUPPOSED_PACKET || payload.len() + reserved > self.window() {
            return Taken::Refused;
        }
        if is_last {
            // What came as if it was behind the end is not part of the stream.
            for payload in self.early.drain((ahead + 1).min(self.early.len())..).flatten() {
                self.early_bytes -= payload.len();
                self.early_count -= 1;
            }
            self.end = Some(seq);
        }
        if self.early.len() <= ahead {
            self.early.resize(ahead + 1, None);
        }
        self.early[ahead] = Some(Bytes::copy_from_slice(payload));
        self.early_bytes += payload.len();
        self.early_count += 1;
        self.round_bytes += payload.len();
        Taken::Early
    }

    /// Takes the bytes that are in order.
    pub(super) fn take(&mut self) -> Option<BytesMut> {
        (!self.ready.is_empty()).then(|| std::mem::take(&mut self.ready))
    }

    /// Drops the bytes that are in order: nobody wants them.
    pub(super) fn discard(&mut self) {
        self.ready = BytesMut::new();
    }

    /// Doubles the room if what comes in within a round trip fills half of it; by how much it has grown.
    pub(super) fn grow(&mut self, now: Instant, rtt: Duration, most: usize) -> usize {
        if now - self.round_began < rtt {
            return 0;
        }
        let is_filled = self.round_bytes >= self.budget / 2;
        self.round_bytes = 0;
        self.round_began = now;
        let by = (MAX_BUDGET - self.budget).min(self.budget);
        if !is_filled || by > most {
            return 0;
        }
        self.budget += by;
        by
    }

    /// Writes which packets have come out of order: a bit for each from the second on. Empty if there are
    /// none.
    pub(super) fn sack<'a>(&self, bits: &'a mut [u8; MAX_SACK]) -> &'a [u8] {
        // The first is missing; the first bit is for the second.
        let positions = self.early.len().saturating_sub(1).min(MAX_SACK * 8);
        if positions == 0 {
            return &[];
        }
        let len = positions.div_ceil(32) * 4;
        bits[..len].fill(0);
        for (at, _) in self
            .early
            .iter()
            .skip(1)
            .take(positions)
            .enumerate()
            .filter(|(_, early)| early.is_some())
        {
            bits[at / 8] |= 1 << (at % 8);
        }
        &bits[..len]
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn receiver() -> Receiver {
        Receiver::new(Seq(65534), Instant::ZERO)
    }

    #[test]
    fn packets_come_out_in_order_across_the_wrap() {
        let mut receiver = receiver();
        assert_eq!(receiver.receive(Seq(0), b"c", false), Taken::Early);
        assert_eq!(receiver.receive(Seq(65535), b"b", false), Taken::Early);
        assert_eq!(receiver.receive(Seq(0), b"x", false), Taken::Again);
        assert!(receiver.has_gap());
        assert_eq!(receiver.take(), None);
        assert_eq!(receiver.receive(Seq(65534), b"a", false), Taken::InOrder);
        assert_eq!(receiver.take().as_deref(), Some(&b"abc"[..]));
        assert!(!receiver.has_gap());
        assert_eq!(receiver.receive(Seq(65534), b"a", false), Taken::Again);
        assert_eq!(receiver.acknowledged(), Seq(0));
    }

    #[test]
    fn bits_begin_behind_the_missing_packet() {
        let mut receiver = Receiver::new(Seq(10), Instant::ZERO);
        let mut bits = [0xff; MAX_SACK];
        assert_eq!(receiver.sack(&mut bits), []);
        receiver.receive(Seq(11), b"x", false);
        receiver.receive(Seq(13), b"x", false);
        receiver.receive(Seq(19), b"x", false);
        assert_eq!(receiver.sack(&mut bits), [0b0000_0101, 1, 0, 0]);
        receiver.receive(Seq(10 + 33), b"x", false);
        assert_eq!(receiver.sack(&mut bits), [0b0000_0101, 1, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn end_comes_when_all_before_it_has_come_and_nothing_follows_it() {
        let mut receiver = Receiver::new(Seq(1), Instant::ZERO);
        receiver.receive(Seq(4), b"late", false);
        assert_eq!(receiver.receive(Seq(3), b"", true), Taken::Early);
        assert_eq!(receiver.receive(Seq(4), b"late", false), Taken::Refused);
        receiver.receive(Seq(2), b"b", false);
        assert!(!receiver.is_complete());
        receiver.receive(Seq(1), b"a", false);
        assert!(receiver.is_complete());
        assert_eq!(receiver.take().as_deref(), Some(&b"ab"[..]));
        assert_eq!(receiver.held(), 0);
    }

    #[test]
    fn what_there_is_no_room_for_is_refused_and_what_is_missing_never() {
        let mut receiver = Receiver::new(Seq(0), Instant::ZERO);
        let packet = [0; 1400];
        let count = (1..2000)
            .take_while(|&n| receiver.receive(Seq(n), &packet, false) == Taken::Early)
            .count();
        assert!(receiver.held() <= FIRST_BUDGET);
        assert!(count >= 180, "{count}");
        assert_eq!(receiver.receive(Seq(30_000), b"", false), Taken::Refused, "too far ahead");
        assert_eq!(receiver.receive(Seq(0), &packet, false), Taken::InOrder);
        assert!(receiver.held() <= FIRST_BUDGET + packet.len());
    }

    #[test]
    fn what_is_held_in_order_and_out_of_order_stays_within_the_budget_together() {
        for len in [1400, 9000] {
            let mut receiver = Receiver::new(Seq(0), Instant::ZERO);
            let packet = vec![0; len];
            for n in 100..300 {
                receiver.receive(Seq(n), &packet, false);
            }
            let early = receiver.held();
            for n in 0..100 {
                receiver.receive(Seq(n), &packet, false);
            }
            assert!(receiver.held() > early, "what is missing comes through");
            assert!(receiver.held() <= FIRST_BUDGET, "{} bytes of {len} each", receiver.held());
        }
    }

    #[test]
    fn missing_packet_that_is_longer_than_all_others_comes_through_when_bytes_are_taken() {
        let mut receiver = Receiver::new(Seq(0), Instant::ZERO);
        for n in 1..=200 {
            receiver.receive(Seq(n), &[0; 1310], false);
        }
        assert_eq!(receiver.receive(Seq(0), &[0; 60_000], false), Taken::InOrder);
        assert!(receiver.held() <= FIRST_BUDGET + 60_000);
    }

    #[test]
    fn room_grows_with_what_a_round_trip_brings() {
        let mut receiver = Receiver::new(Seq(0), Instant::ZERO);
        let rtt = Duration::from_millis(20);
        for n in 0..100 {
            receiver.receive(Seq(n), &[0; 1400], false);
            receiver.take();
        }
        assert_eq!(receiver.grow(Instant::from_millis(10), rtt, usize::MAX), 0);
        assert_eq!(receiver.grow(Instant::from_millis(20), rtt, usize::MAX), FIRST_BUDGET);
        assert_eq!(receiver.grow(Instant::from_millis(40), rtt, usize::MAX), 0);
        assert_eq!(receiver.window(), 2 * FIRST_BUDGET);
    }

    quickcheck! {
        fn any_order_gives_the_stream(order: Vec<u8>, first: u16) -> bool {
            let mut receiver = Receiver::new(Seq(first), Instant::ZERO);
            let all = (0..=255u8).collect::<Vec<_>>();
            for n in order.iter().chain(&all) {
                receiver.receive(Seq(first).plus(u16::from(*n)), &[*n], *n == 255);
            }
            receiver.take().is_some_and(|bytes| bytes == all[..])
                && receiver.is_complete()
                && receiver.held() == 0
        }
    }
}
