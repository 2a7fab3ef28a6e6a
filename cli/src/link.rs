//! Magnet links that are printed. What is printed can be read again as a whole: what does not fit is
//! told, or refused.

use std::collections::BTreeSet;

use bitswarm_core::metainfo::magnet::PeerAddress;
use bitswarm_core::metainfo::{Magnet, Metainfo};

use crate::exit::{Code, Failure};

/// The link to a torrent. Says how much of what the torrent names is in it, if not all is.
pub(crate) fn to(metainfo: &Metainfo, say: impl Fn(&str)) -> Magnet {
    let magnet = Magnet::of(metainfo);
    for part in magnet.lacks(metainfo) {
        say(&format!("the link names {part}: as many as can be read again"));
    }
    magnet
}

/// The text of a link to a torrent that these peers have, too.
pub(crate) fn text(
    mut magnet: Magnet,
    peers: impl IntoIterator<Item = PeerAddress>,
) -> Result<String, Failure> {
    magnet.peers.extend(peers);
    let named = magnet.peers.iter().collect::<BTreeSet<_>>().len();
    let text = magnet.to_string();
    let readable = text.parse::<Magnet>().map_or(0, |read| read.peers.len());
    if readable < named {
        let message = format!("a link cannot name {named} peers: it could not be read again");
        return Err(Failure::new(Code::Usage, message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use bitswarm_core::piece::InfoHash;

    use super::*;

    #[test]
    fn more_peers_than_can_be_read_again_are_refused_with_their_number() {
        let link = |count: u16| {
            let peer = |n| PeerAddress::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, n)));
            // Who is named twice counts once.
            let peers = (1..=count).chain([1]).map(peer);
            text(Magnet::new(InfoHash([1; 20])), peers)
        };
        let read: Magnet = link(4096).unwrap().parse().unwrap();
        assert_eq!(read.peers.len(), 4096);
        let refused = link(4097).unwrap_err();
        assert_eq!(refused.code, Code::Usage);
        assert!(refused.to_string().contains("4097"), "{refused}");
    }
}
