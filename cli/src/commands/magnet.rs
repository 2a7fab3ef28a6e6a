//! `magnet`: prints the magnet link of a torrent.

use bitswarm_core::metainfo::magnet::PeerAddress;
use bitswarm_core::torrent::TorrentSource;

use crate::args::{self, PeerName};
use crate::exit::{Code, Failure};
use crate::output::{print, say};
use crate::{input, link};

/// Prints one line.
pub(crate) fn run(args: &args::Magnet) -> Result<(), Failure> {
    let is_link = args.torrent.to_str().is_some_and(input::is_link);
    let magnet = match input::load_any(&args.torrent)? {
        // It would say the same again.
        source if is_link => link::to(&input::whole(source)?, say),
        TorrentSource::Metainfo(metainfo) => link::to(&metainfo, say),
        TorrentSource::Magnet(magnet) => *magnet,
    };
    let peers: Vec<PeerAddress> = args.peers.iter().map(address).collect::<Result<_, _>>()?;
    print(&link::text(magnet, peers)?)
}

/// A peer in a link's form.
fn address(peer: &PeerName) -> Result<PeerAddress, Failure> {
    if let Ok(ip) = peer.host.parse() {
        return Ok(PeerAddress::Ip(std::net::SocketAddr::new(ip, peer.port)));
    }
    let name = format!("{}:{}", peer.host, peer.port);
    name.parse().map_err(|()| {
        let message = format!(
            "{name} cannot be named in a link; write the host in ASCII (xn--...) or its address"
        );
        Failure::new(Code::Usage, message)
    })
}
