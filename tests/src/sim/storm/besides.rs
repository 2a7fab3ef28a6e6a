//! A torrent beside the first, in the same sessions, that nobody has and only hostile peers know. Whatever
//! they do there, the first must not suffer: its honest peers are not banned, and it has its part of slots,
//! connections and budgets.

use std::net::SocketAddr;

use super::Storm;
use crate::sim::content::Content;
use crate::sim::dice::Dice;
use crate::sim::network::{HostId, Link};
use crate::sim::scripted::Script;
use crate::sim::scripted::claimer::Claimer;
use crate::sim::scripted::crowd::{self, Crowd};
use crate::sim::scripted::hostile::Hostile;
use crate::sim::scripted::peer::{Behaviour, Peer};

/// Its hostile peers (chosen: each kind is there).
const PEERS: u64 = 6;
/// From so many pieces on it is there for the work that it makes.
const LARGE: u64 = 10_000;

impl Storm {
    /// Gives the torrent to every engine, if there is one.
    pub(super) fn add_hostile_torrent(&mut self, engines: &[HostId]) {
        let pieces = self.options.hostile_torrent;
        if pieces == 0 {
            return;
        }
        let seed = self.options.seed;
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX).min(1_000_000);
        let content = Content::hollow(seed, "hostile torrent", pieces);
        let targets: Vec<SocketAddr> = engines.iter().map(|host| self.world.addr(*host)).collect();
        let mut dice = Dice::new(seed, "hostile torrent's peers");
        for number in 0..PEERS {
            let name = format!("beside {number}");
            let targets = targets.clone();
            let script: Box<dyn Script> = match number % 4 {
                0 => Box::new(Claimer::new(seed, &name, &content, targets)),
                1 => {
                    let peer = Hostile::new(seed, &name, &content, targets);
                    Box::new(if self.options.mse > 0 { peer.encrypting() } else { peer })
                }
                2 if self.options.hostile_torrent < LARGE => {
                    // What it gives is wrong.
                    let encryption = self.encryption_of_a_script();
                    let behaviour = Behaviour { dial: targets, encryption, ..Behaviour::seeder() };
                    Box::new(Peer::new(seed, &name, &content, behaviour))
                }
                _ => {
                    let kinds = [crowd::Kind::Rejects, crowd::Kind::Drips, crowd::Kind::Chokes];
                    let kind = kinds[dice.index(kinds.len())];
                    let conns = targets.len();
                    Box::new(Crowd::new(seed, &name, &content, kind, targets, conns))
                }
            };
            let host = self.world.add_script(&name, Link::home(1 << 19, 1 << 19), script);
            self.wrongdoers.insert(self.world.addr(host).ip());
            self.besides.push(host);
        }
        let peers: Vec<SocketAddr> =
            self.besides.iter().map(|host| self.world.addr(*host)).collect();
        for host in engines {
            self.world.add_torrent(*host, &content, |add| add.peers.clone_from(&peers));
        }
        self.note(if self.options.hostile_torrent < LARGE {
            "hostile torrent"
        } else {
            "large hostile torrent"
        });
    }
}
