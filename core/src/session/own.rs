//! Who this session is to peers and trackers.

use std::net::IpAddr;

use crate::family::{Family, PerFamily};
use crate::piece::PeerId;
use crate::random::SecretRng;

/// How we name ourselves, and how others see us.
#[derive(Debug)]
pub(crate) struct OwnIdentity {
    pub(crate) peer_id: PeerId,
    /// Tells our announces apart from others' behind the same address (BEP 7, `key`).
    pub(crate) announce_key: u32,
    /// Our addresses as trackers see them (BEP 24).
    external: PerFamily<Option<IpAddr>>,
}

impl OwnIdentity {
    /// A new identity whose peer id begins with `prefix`.
    pub(crate) fn draw(prefix: [u8; 8], secret: &mut SecretRng) -> Self {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&prefix);
        id[8..].copy_from_slice(&secret.bytes::<12>());
        let external = PerFamily::default();
        OwnIdentity { peer_id: PeerId(id), announce_key: secret.next_u32(), external }
    }

    /// A tracker sees us at this address; whether that is news.
    pub(crate) fn learn_address(&mut self, ip: IpAddr) -> bool {
        self.external.get_mut(Family::of(ip)).replace(ip) != Some(ip)
    }

    /// Our addresses as trackers see them.
    pub(crate) fn external(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let PerFamily { v4, v6 } = self.external;
        [v4, v6].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_news_once_and_replaces_that_of_its_family() {
        let mut own = OwnIdentity::draw(*b"-bs0000-", &mut SecretRng::from_seed([1; 32]));
        let [a, b] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(own.learn_address(a) && !own.learn_address(a) && own.learn_address(six));
        assert!(own.learn_address(b));
        assert_eq!(own.external().collect::<Vec<_>>(), [b, six]);
        assert_eq!(own.peer_id.0[..8], *b"-bs0000-");
    }
}
