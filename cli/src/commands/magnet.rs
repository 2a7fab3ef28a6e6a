//! `magnet`: prints the magnet link of a torrent file.

use bitswarm_core::metainfo::Magnet;
use bitswarm_core::metainfo::magnet::PeerAddress;

use crate::args::{self, PeerName};
use crate::exit::Failure;
use crate::input;
use crate::output::print;

/// Prints one line.
pub(crate) fn run(args: &args::Magnet) -> Result<(), Failure> {
    let mut magnet = Magnet::of(&input::load(&args.torrent)?);
    magnet.peers = args.peers.iter().filter_map(address).collect();
    print(&magnet.to_string())
}

/// A peer in a link's form.
pub(crate) fn address(peer: &PeerName) -> Option<PeerAddress> {
    match peer.host.parse() {
        Ok(ip) => Some(PeerAddress::Ip(std::net::SocketAddr::new(ip, peer.port))),
        Err(_) => format!("{}:{}", peer.host, peer.port).parse().ok(),
    }
}
