//! The DHT in the engine: what it found, and for whom.

use super::Engine;
use crate::dht::Stats;
use crate::notice::Notice;
use crate::services::dht::{Found, Outgoing};
use crate::session::Session;

impl Engine {
    /// How much the DHT node holds, if there is one. Goes through its tables.
    pub fn dht_stats(&self) -> Option<Stats> {
        self.dht.as_ref().map(|dht| dht.stats(&self.session))
    }

    /// Passes on what the DHT found.
    pub(super) fn settle_dht(&mut self) {
        let sockets = &self.session.sockets;
        let Some(dht) = &mut self.dht else { return };
        dht.begin_if_ready(&self.session, |ip| sockets.udp_at(ip).is_some());
        loop {
            let Some(dht) = &mut self.dht else { return };
            if let Some(found) = dht.poll_found(&mut self.session) {
                self.found_in_dht(found);
            } else if dht.rearm(&mut self.session) {
                // There are few nodes, and now more than before: worth announcing again.
                self.touch_all();
            } else {
                break;
            }
            self.settle_asks();
        }
        let Some(dht) = &mut self.dht else { return };
        while let Some(Outgoing { at, packet, source }) = dht.next_packet() {
            let Session { sockets, outbox, .. } = &mut self.session;
            if let Some(socket) = sockets.udp_at(at) {
                sockets.send_from(outbox, socket, packet, source);
            }
        }
    }

    fn found_in_dht(&mut self, found: Found) {
        match found {
            Found::Peers(id, peers) => {
                self.route(id, |torrent, session| torrent.dht_peers(session, &peers));
            }
            Found::Done(id, result) => {
                self.route(id, |torrent, session| torrent.dht_done(session, &result));
            }
            Found::UserDone(request, result) => {
                self.session.outbox.notify(Notice::DhtDone { request, result });
            }
            Found::Ready { nodes } => {
                self.session.outbox.notify(Notice::DhtReady { nodes });
                self.touch_all();
            }
            Found::ExternalAddress(ip) => {
                for (_, torrent) in self.torrents.iter_mut() {
                    torrent.learn_address(&mut self.session, ip);
                }
            }
        }
    }
}
