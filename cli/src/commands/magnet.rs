//! `magnet`: prints the magnet link of a torrent file.

use bitswarm_core::metainfo::Magnet;
use bitswarm_core::metainfo::magnet::PeerAddress;

use crate::args::{self, PeerName};
use crate::exit::{Code, Failure};
use crate::input;
use crate::output::print;

/// Prints one line.
pub(crate) fn run(args: &args::Magnet) -> Result<(), Failure> {
    let mut magnet = Magnet::of(&input::load(&args.torrent)?);
    magnet.peers = args.peers.iter().map(address).collect::<Result<_, _>>()?;
    print(&magnet.to_string())
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
