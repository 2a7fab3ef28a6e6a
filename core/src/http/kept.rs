//! Connections kept open after a response, for further requests to the same origin.
//!
//! A tracker of a thousand torrents is asked by all of them: each request that finds a kept connection
//! saves a look-up, a round trip and, over TLS, a handshake. Connections are few and not kept for
//! long: most servers close what is idle after 5 to 75 seconds. One that turns out to be closed
//! costs nothing but the time until that shows; see [`Fetch`](super::fetch::Fetch).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::{Scheme, Url};
use crate::time::Duration;

/// How long an idle connection is kept (chosen).
pub const KEEP: Duration = Duration::from_secs(20);

/// Idle connections kept (chosen).
const MOST: usize = 32;

/// Idle connections kept to one origin (chosen).
const MOST_OF_ORIGIN: usize = 4;

/// What a connection may be used for: requests for URLs of the same scheme, host and port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    is_secure: bool,
    host: Box<str>,
    port: u16,
}

/// Idle connections; `C` names one.
#[derive(Debug)]
pub struct Kept<C> {
    /// The one kept longest comes first.
    idle: VecDeque<(Origin, SocketAddr, C)>,
}

impl Origin {
    /// The origin of a URL.
    pub fn of(url: &Url) -> Self {
        let is_secure = url.scheme() == Scheme::Https;
        Origin { is_secure, host: url.host().to_tls_name(), port: url.port() }
    }
}

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Kept { idle: VecDeque::new() }
    }
}

impl<C: Copy + PartialEq> Kept<C> {
    /// Keeps a connection to `remote`. Returns one that is to be closed instead, if there are too
    /// many: of that origin, or of all.
    pub fn keep(&mut self, origin: Origin, remote: SocketAddr, conn: C) -> Option<C> {
        let of_origin = self.idle.iter().filter(|(its, ..)| *its == origin).count();
        let replaced = match of_origin >= MOST_OF_ORIGIN {
            true => self.idle.iter().position(|(its, ..)| *its == origin),
            false => (self.idle.len() >= MOST).then_some(0),
        };
        let closed = replaced.and_then(|at| self.idle.remove(at));
        self.idle.push_back((origin, remote, conn));
        closed.map(|(.., conn)| conn)
    }

    /// Takes a connection to an origin at an address that `fits`: the one kept last.
    pub fn take(
        &mut self,
        origin: &Origin,
        fits: impl Fn(IpAddr) -> bool,
    ) -> Option<(SocketAddr, C)> {
        let usable =
            |(its, remote, _): &(Origin, SocketAddr, C)| its == origin && fits(remote.ip());
        let at = self.idle.iter().rposition(usable)?;
        self.idle.remove(at).map(|(_, remote, conn)| (remote, conn))
    }

    /// Forgets a connection; whether it was kept.
    pub fn forget(&mut self, conn: C) -> bool {
        let at = self.idle.iter().position(|(.., its)| *its == conn);
        at.and_then(|at| self.idle.remove(at)).is_some()
    }

    /// Forgets the connections to addresses that are meant, and returns them.
    pub fn take_where(&mut self, is_meant: impl Fn(IpAddr) -> bool) -> Vec<C> {
        let meant = self.idle.iter().filter(|(_, remote, _)| is_meant(remote.ip()));
        let meant: Vec<C> = meant.map(|(.., conn)| *conn).collect();
        self.idle.retain(|(_, remote, _)| !is_meant(remote.ip()));
        meant
    }

    /// Forgets all connections, and returns them.
    pub fn take_all(&mut self) -> impl Iterator<Item = C> {
        std::mem::take(&mut self.idle).into_iter().map(|(.., conn)| conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&Url::parse(url).unwrap())
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([1, 1, 1, last], 80))
    }

    #[test]
    fn only_a_connection_of_the_same_scheme_host_and_port_is_used() {
        let mut kept = Kept::default();
        assert_eq!(kept.keep(origin("http://t.example/announce"), at(1), 1), None);
        for other in ["https://t.example/", "http://t.example:81/", "http://u.example/"] {
            assert_eq!(kept.take(&origin(other), |_| true), None);
        }
        let same = origin("http://T.example:80/scrape?x");
        assert_eq!(kept.take(&same, |ip| ip.is_ipv6()), None, "not at that address");
        assert_eq!(kept.take(&same, |_| true), Some((at(1), 1)));
        assert_eq!(kept.take(&same, |_| true), None, "it is taken");
    }

    #[test]
    fn the_one_kept_last_is_taken_first_and_one_that_ended_not_at_all() {
        let mut kept = Kept::default();
        let origin = origin("http://t.example/");
        for conn in 1..=3 {
            kept.keep(origin.clone(), at(conn), conn);
        }
        assert!(kept.forget(3) && !kept.forget(3));
        assert_eq!(kept.take(&origin, |_| true), Some((at(2), 2)));
        assert_eq!(kept.take_all().collect::<Vec<_>>(), [1]);
        assert_eq!(kept.take(&origin, |_| true), None);
    }

    #[test]
    fn connections_to_an_address_are_forgotten_together() {
        let mut kept = Kept::default();
        for conn in 1..=3 {
            kept.keep(origin("http://t.example/"), at(conn.min(2)), conn);
        }
        assert_eq!(kept.take_where(|ip| ip == at(2).ip()), [2, 3]);
        assert_eq!(kept.take_all().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn an_origin_has_its_share_and_all_together_have_a_bound() {
        let mut kept = Kept::default();
        let busy = origin("http://busy.example/");
        let closed: Vec<_> =
            (0..6).filter_map(|conn| kept.keep(busy.clone(), at(1), conn)).collect();
        assert_eq!(closed, [0, 1]);
        let others = (100..).zip(0..MOST);
        let closed: Vec<_> = others
            .filter_map(|(conn, n)| kept.keep(origin(&format!("http://{n}.example/")), at(2), conn))
            .collect();
        assert_eq!(closed, [2, 3, 4, 5]);
        assert_eq!(kept.idle.len(), MOST);
    }
}
