//! Answers to SYNs that need no memory.
//!
//! The number of the answer is made of what the SYN said and a key. Who acknowledges it has received it, so
//! the address is his; only then is there a connection. A SYN from a false address costs an answer of
//! its own length.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use siphasher::sip::SipHasher13;

use super::seq::Seq;
use crate::random::SecretRng;
use crate::time::{Duration, Instant};

/// How long an answer is good for at least; at most, twice as long (chosen).
const EPOCH: Duration = Duration::from_secs(60);
/// How many packets behind the SYN the first may be that arrives: the ones before are lost or late
/// (chosen).
const FIRST_PACKETS: u16 = 4;

/// The keys of this epoch and the last one.
#[derive(Debug)]
pub(super) struct Cookies {
    keys: [(u64, u64); 2],
    began: Instant,
    rng: SecretRng,
}

/// What an acknowledged answer shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Admission {
    /// The number of the SYN.
    pub(super) syn: Seq,
    /// The number of our first packet.
    pub(super) next: Seq,
}

impl Cookies {
    pub(super) fn new(now: Instant, mut rng: SecretRng) -> Self {
        let keys = [Self::draw(&mut rng), Self::draw(&mut rng)];
        Cookies { keys, began: now, rng }
    }

    fn draw(rng: &mut SecretRng) -> (u64, u64) {
        (u64::from_le_bytes(rng.bytes()), u64::from_le_bytes(rng.bytes()))
    }

    fn renew(&mut self, now: Instant) {
        let mut left = 2;
        while now - self.began >= EPOCH && left > 0 {
            self.keys = [Self::draw(&mut self.rng), self.keys[0]];
            self.began += EPOCH;
            left -= 1;
        }
        if now - self.began >= EPOCH {
            self.began = now;
        }
    }

    fn cookie(key: (u64, u64), remote: SocketAddr, id: u16, syn: Seq) -> Seq {
        let mut hasher = SipHasher13::new_with_keys(key.0, key.1);
        (remote, id, syn).hash(&mut hasher);
        Seq(hasher.finish() as u16)
    }

    /// The number to answer a SYN with, which has the connection id `id`.
    pub(super) fn answer(&mut self, now: Instant, remote: SocketAddr, id: u16, syn: Seq) -> Seq {
        self.renew(now);
        Self::cookie(self.keys[0], remote, id, syn)
    }

    /// Whether a packet of a connection that is not known acknowledges our answer to its SYN, which
    /// had the connection id `id`.
    ///
    /// It does so as libutp and libtorrent do, by the number before that of the answer, or as BEP 29
    /// reads, by that number; then our first packet has the next one.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        id: u16,
        seq: Seq,
        ack: Seq,
    ) -> Option<Admission> {
        self.renew(now);
        for key in self.keys {
            for behind in 1..=FIRST_PACKETS {
                let syn = seq.minus(behind);
                let cookie = Self::cookie(key, remote, id, syn);
                if ack == cookie.minus(1) {
                    return Some(Admission { syn, next: cookie });
                }
                if ack == cookie {
                    return Some(Admission { syn, next: cookie.plus(1) });
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 6881).into()
    }

    #[test]
    fn acknowledged_answer_admits_its_address_alone_and_not_for_ever() {
        let mut cookies = Cookies::new(Instant::ZERO, SecretRng::from_seed([1; 32]));
        let now = Instant::from_secs(59);
        let cookie = cookies.answer(now, remote(1), 77, Seq(5));
        assert_eq!(cookies.answer(now, remote(1), 77, Seq(5)), cookie, "the same again");
        let admitted = Some(Admission { syn: Seq(5), next: cookie });
        let later = Instant::from_secs(119);
        for behind in 1..=FIRST_PACKETS {
            let seq = Seq(5).plus(behind);
            assert_eq!(cookies.admit(later, remote(1), 77, seq, cookie.minus(1)), admitted);
        }
        let literal = Some(Admission { syn: Seq(5), next: cookie.plus(1) });
        assert_eq!(cookies.admit(later, remote(1), 77, Seq(6), cookie), literal);
        assert_eq!(cookies.admit(later, remote(2), 77, Seq(6), cookie), None);
        assert_eq!(cookies.admit(later, remote(1), 78, Seq(6), cookie), None);
        assert_eq!(cookies.admit(later, remote(1), 77, Seq(10), cookie), None);
        assert_eq!(cookies.admit(later, remote(1), 77, Seq(6), cookie.plus(1)), None);
        assert_eq!(cookies.admit(Instant::from_secs(180), remote(1), 77, Seq(6), cookie), None);
    }
}
