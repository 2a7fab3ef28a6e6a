//! Strangers that would have engines dial, ask or believe whom they should not: peers that name others, and
//! nodes of the DHT and clients of trackers that show what others were given.

use std::net::SocketAddr;

use super::Storm;
use crate::sim::network::{HostId, Link};
use crate::sim::scripted::dht_liar::DhtLiar;
use crate::sim::scripted::namer::Namer;
use crate::sim::scripted::udp_liar::UdpLiar;

/// There are a tracker's clients to lie to if it is an engine's.
const BY_AN_ENGINE: u64 = 2;

impl Storm {
    /// All of them that the options say.
    pub(super) fn add_liars(&mut self, engines: &[HostId]) {
        let link = Link::home(1 << 20, 1 << 20);
        let (seed, content) = (self.options.seed, self.content.clone());
        let targets: Vec<SocketAddr> = engines.iter().map(|host| self.world.addr(*host)).collect();
        for number in 0..self.options.namers.min(200) as u8 {
            let namer =
                Namer::new(seed, number, &content, targets[number as usize / 2 % targets.len()]);
            self.world.add_script(&format!("namer {number}"), link, Box::new(namer));
            self.note("peer that names others");
        }
        if self.options.liars == 0 {
            return;
        }
        let infohash = content.infohash().0;
        if self.options.dht > 0 {
            let nodes =
                targets.iter().copied().chain(self.dht_node.map(|host| self.world.addr(host)));
            let nodes: Vec<SocketAddr> = nodes.collect();
            let liar = |label: &str| DhtLiar::new(seed, label, infohash, nodes.clone());
            let (first, second) = (liar("dht liar 0"), liar("dht liar 1"));
            let first = self.world.add_script("dht liar 0", link, Box::new(first));
            let second = second.in_league_with(self.world.addr(first));
            self.world.add_script("dht liar 1", link, Box::new(second));
            self.note("liars in the DHT");
        }
        if let Some(tracker) = self.tracker.filter(|_| self.options.meeting == BY_AN_ENGINE)
            && self.options.udp > 0
        {
            let liar = UdpLiar::new(self.world.addr(tracker), infohash);
            self.world.add_script("liar at the tracker", link, Box::new(liar));
            self.note("liar at the tracker");
        }
    }
}
