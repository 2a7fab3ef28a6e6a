//! The IP filter in the engine: what becomes of those that a new one refuses.
//!
//! It is asked at the doors for what comes in: `accept` and the datagrams of a batch. For what goes out it is asked
//! where that is decided: in a torrent's list of peers, in the DHT, for a request's address after its host
//! was looked up. What leaves by datagram all the same, since a new filter crossed it, is dropped last.

use std::sync::Arc;

use super::Engine;
use crate::event::Datagram;
use crate::ip_filter::IpFilter;
use crate::session::Session;

impl Engine {
    /// Has another filter from now on.
    pub(super) fn set_ip_filter(&mut self, filter: Option<Arc<IpFilter>>) {
        self.session.config.ip_filter = filter;
        self.close_incoming_where(Session::is_filtered);
        for (_, torrent) in self.torrents.iter_mut() {
            torrent.apply_ip_filter(&mut self.session);
        }
        if let Some(dht) = &mut self.dht {
            dht.apply_ip_filter(&self.session);
        }
        if let Some(tracker) = &mut self.tracker {
            tracker.close_refused(&mut self.session);
        }
        for owner in self.fetches.close_refused(&mut self.session) {
            self.fetched(Some(owner));
        }
        self.touch_all();
        self.settle();
    }

    /// Takes datagrams out of a batch that nobody is to see.
    pub(super) fn drop_refused(&self, batch: &mut Vec<Datagram>) {
        batch.retain(|datagram| !self.session.is_filtered(datagram.remote.ip()));
    }
}
