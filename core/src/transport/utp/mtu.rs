//! How long a packet may be on its way.
//!
//! A stream of this protocol cannot be cut anew once it is cut into packets, so longer ones are tried with
//! padding: little payload, filled up to the length that is to be proven. If such a packet is lost, its
//! payload goes again without the padding, and nothing else changes.

use crate::time::{Duration, Instant};

/// Lengths that are tried, as UDP payload: Ethernet, PPPoE, both with IPv6, tunnels.
const LENGTHS: [u16; 8] = [1472, 1464, 1452, 1432, 1392, 1332, 1252, 1200];
/// Longest that is tried (RFC 8200, RFC 791: Ethernet's 1,500 less the headers).
const CEILING_V4: u16 = 1472;
const CEILING_V6: u16 = 1452;
/// What every way bears in practice (chosen; RFC 8200: 1,280 less 48).
const BASE_V4: u16 = 1200;
const BASE_V6: u16 = 1232;
/// What is left when the base does not pass either: the least that every host accepts (RFC 791: 576
/// less 28).
const FLOOR: u16 = 548;
/// Losses after which a length is held too long.
const FAILURES: u8 = 2;
/// When all is tried again.
const RENEW: Duration = Duration::from_secs(600);
/// When longer packets are tried again after they had stopped to pass (chosen).
const RETRY: Duration = Duration::from_secs(60);

/// What is known of the way to one peer.
#[derive(Clone, Debug)]
pub(super) struct Mtu {
    size: u16,
    /// The longest that may still be found to pass.
    ceiling: u16,
    highest: u16,
    base: u16,
    is_probing: bool,
    failures: u8,
    renew_at: Instant,
}

impl Mtu {
    /// Nothing is known but what passed on this machine's way out before, if anything.
    pub(super) fn new(now: Instant, is_v6: bool, proven: Option<u16>) -> Self {
        let (base, highest) = if is_v6 { (BASE_V6, CEILING_V6) } else { (BASE_V4, CEILING_V4) };
        let size = proven.unwrap_or(base).clamp(base, highest);
        let renew_at = now + RENEW;
        Mtu { size, ceiling: highest, highest, base, is_probing: false, failures: 0, renew_at }
    }

    /// How long a packet may be, in bytes of UDP payload.
    pub(super) fn size(&self) -> usize {
        usize::from(self.size)
    }

    /// The length to try next, if one is to be tried now.
    pub(super) fn next_probe(&mut self, now: Instant) -> Option<usize> {
        if now >= self.renew_at {
            self.ceiling = self.highest;
            self.failures = 0;
            self.renew_at = now + RENEW;
        }
        if self.is_probing {
            return None;
        }
        let fits = |length: &&u16| **length <= self.ceiling && **length > self.size;
        LENGTHS.iter().find(fits).map(|&length| usize::from(length))
    }

    /// A packet of the length that [`Mtu::next_probe`] said is under way.
    pub(super) fn probe_sent(&mut self) {
        self.is_probing = true;
    }

    /// It has passed.
    pub(super) fn probe_passed(&mut self, length: usize) {
        self.is_probing = false;
        self.failures = 0;
        let length = u16::try_from(length).unwrap_or(u16::MAX).min(self.highest);
        if length > self.size && length <= self.ceiling {
            self.size = length;
        }
    }

    /// It was lost.
    pub(super) fn probe_lost(&mut self, length: usize) {
        self.is_probing = false;
        self.failures += 1;
        if self.failures >= FAILURES {
            self.failures = 0;
            let next = LENGTHS.iter().find(|&&shorter| usize::from(shorter) < length);
            self.ceiling = next.copied().unwrap_or(0).max(self.size);
        }
    }

    /// Packets of full length do not pass any more. Whether shorter ones are sent from now on.
    pub(super) fn shrink(&mut self, now: Instant) -> bool {
        let size = if self.size > self.base { self.base } else { FLOOR };
        let has_shrunk = size < self.size;
        self.size = size;
        self.ceiling = size;
        self.failures = 0;
        self.renew_at = now + RETRY;
        has_shrunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches on a way that bears so much: the length that is found, and how many were lost.
    fn search(mtu: &mut Mtu, now: Instant, bears: usize) -> (usize, usize) {
        let mut lost = 0;
        while let Some(length) = mtu.next_probe(now) {
            mtu.probe_sent();
            assert_eq!(mtu.next_probe(now), None, "one at a time");
            if length <= bears {
                mtu.probe_passed(length);
            } else {
                mtu.probe_lost(length);
                lost += 1;
            }
        }
        (mtu.size(), lost)
    }

    #[test]
    fn longest_that_passes_is_found() {
        for (bears, found) in [(1472, 1472), (1464, 1464), (1471, 1464), (1300, 1252), (1210, 1200)]
        {
            let mut mtu = Mtu::new(Instant::ZERO, false, None);
            assert_eq!(search(&mut mtu, Instant::ZERO, bears).0, found, "{bears}");
        }
        let mut mtu = Mtu::new(Instant::ZERO, true, None);
        assert_eq!(search(&mut mtu, Instant::ZERO, 9000), (1452, 0));
    }

    #[test]
    fn one_loss_is_no_answer() {
        let mut mtu = Mtu::new(Instant::ZERO, false, None);
        mtu.probe_sent();
        mtu.probe_lost(1472);
        assert_eq!(mtu.next_probe(Instant::ZERO), Some(1472));
        mtu.probe_sent();
        mtu.probe_lost(1472);
        assert_eq!(mtu.next_probe(Instant::ZERO), Some(1464));
    }

    #[test]
    fn way_that_bears_less_than_before_is_searched_again_later() {
        let mut mtu = Mtu::new(Instant::ZERO, false, Some(1472));
        assert_eq!(mtu.next_probe(Instant::ZERO), None);
        assert!(mtu.shrink(Instant::ZERO));
        assert_eq!((mtu.size(), mtu.next_probe(Instant::ZERO)), (1200, None));
        assert!(mtu.shrink(Instant::ZERO));
        assert_eq!(mtu.size(), 548);
        assert!(!mtu.shrink(Instant::ZERO));
        assert_eq!(search(&mut mtu, Instant::from_secs(61), 1400).0, 1392);
    }

    #[test]
    fn search_is_renewed() {
        let mut mtu = Mtu::new(Instant::ZERO, false, None);
        assert_eq!(search(&mut mtu, Instant::ZERO, 1300).0, 1252);
        assert_eq!(mtu.next_probe(Instant::from_secs(599)), None);
        assert_eq!(search(&mut mtu, Instant::from_secs(600), 1500).0, 1472);
    }
}
