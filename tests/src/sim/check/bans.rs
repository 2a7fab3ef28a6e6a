//! Bans are kept (defence 43): with whom an engine has no dealings any more it has none, however it comes
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::id::TorrentId;

/// Ports of an address from which it has offended in a torrent when it is banned there as a whole.
const PORTS: usize = 2;

/// Whom one engine has banned.
#[derive(Debug, Default)]
pub struct Bans {
    /// Ports of each address, by torrent.
    ports: BTreeMap<(TorrentId, IpAddr), BTreeSet<u16>>,
    addresses: BTreeSet<IpAddr>,
}

impl Bans {
    /// The engine is gone: the next knows of none.
    pub fn forget(&mut self) {
        *self = Bans::default();
    }

    /// The engine says that it bans somebody.
    pub fn banned(&mut self, torrent: TorrentId, addr: SocketAddr) {
        self.ports.entry((torrent, addr.ip())).or_default().insert(addr.port());
        self.addresses.insert(addr.ip());
    }

    /// It says that it is connected to somebody. `most` addresses it remembers.
    pub fn connected(
        &self,
        torrent: TorrentId,
        addr: SocketAddr,
        most: usize,
    ) -> Result<(), String> {
        let Some(ports) = self.ports.get(&(torrent, addr.ip())) else { return Ok(()) };
        let is_banned = ports.contains(&addr.port()) || ports.len() >= PORTS;
        match is_banned && self.addresses.len() <= most {
            true => Err(format!("is connected to {addr}, which it has banned")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bitswarm_core::id::Id;

    use super::*;

    #[test]
    fn a_ban_is_of_the_port_and_then_of_the_address_in_its_torrent() {
        let addr = |port| SocketAddr::from(([50, 0, 0, 1], port));
        let [one, two] = [1, 2].map(|number| TorrentId::new(number, 0));
        let mut bans = Bans::default();
        bans.banned(one, addr(5));
        assert!(bans.connected(one, addr(5), 9).is_err());
        assert!(bans.connected(one, addr(6), 9).is_ok() && bans.connected(two, addr(5), 9).is_ok());
        bans.banned(one, addr(7));
        assert!(bans.connected(one, addr(6), 9).is_err());
        assert!(bans.connected(one, addr(6), 0).is_ok(), "it may have been forgotten");
    }
}
