//! Local discovery in the engine: which torrents take part, and what others say.

use super::Engine;
use crate::event::Datagram;
use crate::id::TorrentId;
use crate::peer_source::PeerSource;

impl Engine {
    /// A torrent takes part from now on, or does not any more, if that is news.
    pub(super) fn settle_local_discovery(&mut self, id: TorrentId) {
        let Some(torrent) = self.torrents.get_mut(id) else { return };
        if let (Some(takes_part), Some(lsd)) = (torrent.local_discovery_news(), &mut self.lsd) {
            for infohash in torrent.infohashes() {
                lsd.set(&self.session, infohash, takes_part);
            }
        }
    }

    /// Peers in the same network say what they take part in.
    pub(super) fn heard_in_network(&mut self, batch: &[Datagram]) {
        for datagram in batch {
            let lsd = self.lsd.as_mut();
            let heard = lsd.and_then(|lsd| lsd.datagram(&self.session, datagram));
            let Some((peer, infohashes)) = heard else { continue };
            for infohash in infohashes {
                if let Some(&id) = self.by_infohash.get(&infohash) {
                    self.route(id, |torrent, session| {
                        torrent.found_peers(session, Some(infohash), PeerSource::Lsd, &[peer]);
                    });
                }
            }
        }
    }
}
