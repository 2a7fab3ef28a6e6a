//! A DHT on loopback: some nodes that know each other, ours and libtorrent's.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::lab::until;
use super::{Lab, Outcome, Process, bitswarm, libtorrent};

/// Who runs a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `bitswarm dht node`.
    Bitswarm,
    /// A libtorrent session without a torrent.
    Libtorrent,
}

/// Some nodes. They end with it.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<(SocketAddr, Process)>,
}

impl Network {
    /// Starts a node of each kind in turn, and waits until each knows all others.
    pub fn start(lab: &Lab, kinds: &[Kind]) -> Outcome<Network> {
        let addrs: Vec<SocketAddr> = kinds.iter().map(|_| lab.seat().addr()).collect();
        let mut nodes = Vec::new();
        for (kind, addr) in kinds.iter().zip(addrs.iter().copied()) {
            let command = command(lab, *kind, addr, &addrs);
            nodes.push((addr, Process::spawn(lab, &format!("dht-node-{kind:?}"), &command)?));
        }
        let mut network = Network { nodes };
        let others = network.nodes.len() - 1;
        until("the nodes to know each other", Duration::from_secs(40), || {
            let known = network.ensure_running()?;
            Ok(known.into_iter().all(|nodes| nodes >= others as u64).then_some(()))
        })?;
        Ok(network)
    }

    /// A node for others to begin with.
    pub fn router(&self) -> SocketAddr {
        self.nodes[0].0
    }

    /// How many nodes each knows; an error if one has ended.
    pub fn ensure_running(&mut self) -> Outcome<Vec<u64>> {
        let known = self.nodes.iter_mut().map(|(_, process)| {
            process.ensure_running()?;
            let text = process.stdout();
            let lines = text.lines().rev().filter_map(|line| serde_json::from_str(line).ok());
            let nodes = lines.into_iter().find_map(|line: Value| line["nodes"].as_u64());
            Ok(nodes.unwrap_or(0))
        });
        known.collect()
    }
}

/// Ours begins with the first node, and the first with the last. libtorrent takes a minute or more to
/// get to know those who ask it, so it is told of all.
fn command(lab: &Lab, kind: Kind, addr: SocketAddr, all: &[SocketAddr]) -> Command {
    let mut others = all.iter().filter(|other| **other != addr);
    match kind {
        Kind::Bitswarm => {
            let mut command = bitswarm::command(lab);
            command.args(["dht", "node", "--json", "--bind", &addr.ip().to_string()]);
            command.args(["--port", &addr.port().to_string()]);
            let router =
                if all.first() == Some(&addr) { others.next_back() } else { others.next() };
            command.args(router.map(|router| format!("--dht-bootstrap={router}")));
            command
        }
        Kind::Libtorrent => {
            let mut command = libtorrent::script();
            command.arg("node").arg(addr.to_string()).args(others.map(ToString::to_string));
            command
        }
    }
}
