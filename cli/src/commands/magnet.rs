//! `magnet`: prints the magnet link of a torrent.

use bitswarm_core::metainfo::Magnet;
use bitswarm_core::metainfo::magnet::PeerAddress;
use bitswarm_core::torrent::TorrentSource;

use crate::args::{self, PeerName};
use crate::exit::Failure;
use crate::input;
use crate::output::print;

/// Prints one line.
pub(crate) fn run(args: &args::Magnet) -> Result<(), Failure> {
    let is_link = args.torrent.to_str().is_some_and(input::is_link);
    let mut magnet = match input::load_any(&args.torrent)? {
        // It would say the same again.
        source if is_link => Magnet::of(&input::whole(source)?),
        TorrentSource::Metainfo(metainfo) => Magnet::of(&metainfo),
        TorrentSource::Magnet(magnet) => *magnet,
    };
    magnet.peers.extend(args.peers.iter().filter_map(address));
    print(&magnet.to_string())
}

/// A peer in a link's form.
pub(crate) fn address(peer: &PeerName) -> Option<PeerAddress> {
    match peer.host.parse() {
        Ok(ip) => Some(PeerAddress::Ip(std::net::SocketAddr::new(ip, peer.port))),
        Err(_) => format!("{}:{}", peer.host, peer.port).parse().ok(),
    }
}
