//! Write tokens: proof that a node that stores something receives what is sent to its address
//! (BEP 5, "overview").
//!
//! A token is a keyed hash of the IP address and the time, so nothing is remembered per asker. It
//! is good in its own window of five minutes and in the next.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::random::SecretRng;
use crate::time::Instant;

/// Length of a window in seconds (BEP 5: "a secret that changes every five minutes and tokens up
/// to ten minutes old are accepted").
const WINDOW_S: u64 = 300;

/// Length of a token in bytes.
pub(super) const TOKEN_LEN: usize = 8;

/// Makes and checks tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    key: [u8; 16],
}

impl Tokens {
    /// With a secret of its own.
    pub(super) fn new(rng: &mut SecretRng) -> Self {
        Tokens { key: rng.bytes() }
    }

    /// A token for an address.
    pub(super) fn issue(&self, now: Instant, ip: IpAddr) -> [u8; TOKEN_LEN] {
        self.token(window(now), ip)
    }

    /// Whether it was issued to this address not long ago.
    pub(super) fn check(&self, now: Instant, ip: IpAddr, token: &[u8]) -> bool {
        let window = window(now);
        let fits = |window| self.token(window, ip) == token;
        fits(window) || window.checked_sub(1).is_some_and(fits)
    }

    fn token(&self, window: u64, ip: IpAddr) -> [u8; TOKEN_LEN] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        match ip {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write(&window.to_be_bytes());
        hasher.finish().to_be_bytes()
    }
}

fn window(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000_000 / WINDOW_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_for_five_to_ten_minutes() {
        let tokens = Tokens::new(&mut SecretRng::from_seed([1; 32]));
        let others = Tokens::new(&mut SecretRng::from_seed([2; 32]));
        let ip: IpAddr = "1.2.3.4".parse().unwrap();
        let secs = Instant::from_secs;
        let token = tokens.issue(secs(299), ip);
        assert!(tokens.check(secs(299), ip, &token) && tokens.check(secs(599), ip, &token));
        assert!(!tokens.check(secs(600), ip, &token), "too old");
        assert!(!tokens.check(secs(299), "1.2.3.5".parse().unwrap(), &token));
        assert!(!others.check(secs(299), ip, &token));
        assert!(!tokens.check(secs(299), ip, &token[..7]) && !tokens.check(secs(299), ip, b""));
    }
}
