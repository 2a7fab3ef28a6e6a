//! After each input: what follows from it beyond whom it concerned.

use super::Engine;
use crate::id::TorrentId;
use crate::services::dht::DhtService;
use crate::services::trackers::Finished;

impl Engine {
    /// What follows from an input beyond whom it concerned: announces that are due, checks and
    /// connections that may begin, timers, farewells.
    pub(super) fn settle(&mut self) {
        while let Some(id) = self.session.similar_files.pop_told() {
            if let Some(torrent) = self.torrents.get_mut(id) {
                torrent.files_found(&mut self.session);
                self.session.touched.push(id);
            }
        }
        while let Some(id) = self.session.similar_files.pop_woken() {
            if let Some(torrent) = self.torrents.get_mut(id) {
                torrent.reuse_waited_for(&mut self.session);
            }
        }
        self.continue_checks();
        self.continue_reads();
        self.open_connections();
        self.settle_touched();
        while let Some(id) = self.session.leaving.pop() {
            self.trackers.abandon(&mut self.session, &mut self.fetches, id);
        }
        self.settle_sent();
        for done in self.trackers.take_finished() {
            if let Some(torrent) = self.torrents.get_mut(done.torrent) {
                let Finished { tracker, infohash, result, .. } = done;
                torrent.announced(&mut self.session, tracker, infohash, result);
                self.settle_torrent(done.torrent);
            }
        }
        self.settle_dht();
        self.open_connections();
        self.settle_touched();
        self.settle_sent();
        self.session.send_datagrams(self.trackers.take_datagrams());
        if let Some(lsd) = &mut self.lsd {
            let datagrams = lsd.take_datagrams(&mut self.session);
            self.session.send_datagrams(datagrams);
        }
        let dht_idle = self.dht.as_ref().is_none_or(DhtService::is_idle);
        let idle = self.torrents.is_empty() && self.trackers.is_empty() && dht_idle;
        if self.session.stopping && idle {
            self.finish_stop();
        }
    }

    /// Torrents learn which trackers may have heard of them, before the next input ends them.
    fn settle_sent(&mut self) {
        for (id, tracker) in self.trackers.take_sent() {
            if let Some(torrent) = self.torrents.get_mut(id) {
                torrent.announce_sent(tracker);
            }
        }
    }

    pub(super) fn settle_touched(&mut self) {
        while let Some(id) = self.session.touched.pop() {
            self.settle_torrent(id);
        }
    }

    fn settle_torrent(&mut self, id: TorrentId) {
        let Some(torrent) = self.torrents.get_mut(id) else { return };
        while let Some(announce) = torrent.next_announce(&mut self.session) {
            self.trackers.start(&mut self.session, &mut self.fetches, id, announce);
        }
        if let (Some(dht), Some(request)) = (&mut self.dht, torrent.next_dht_request(&self.session))
        {
            let request = dht.request_of_torrent(&self.session, id, request);
            torrent.dht_requested(&self.session, request);
        }
        self.settle_local_discovery(id);
        let Some(torrent) = self.torrents.get_mut(id) else { return };
        if torrent.is_ended() {
            let (infohashes, store) = (torrent.infohashes(), torrent.store());
            for infohash in infohashes {
                if self.by_infohash.get(&infohash) == Some(&id) {
                    self.by_infohash.remove(&infohash);
                }
            }
            self.stores.remove(store);
            self.torrents.remove(id);
            if self.torrents.is_empty() {
                let session = &self.session;
                let held = [session.read_ahead, session.assembly_bytes, session.write_backlog];
                debug_assert_eq!(held, [0; 3], "bytes read, gathered, written stay counted");
            }
        } else {
            if let Some(infohash) = torrent.take_new_infohash() {
                // Of two that turn out to be one, each comes here: the second gives way.
                match self.by_infohash.get(&infohash) {
                    Some(&other) if other < id => torrent.yield_to_duplicate(&mut self.session),
                    _ => drop(self.by_infohash.insert(infohash, id)),
                }
            }
            torrent.rearm(&mut self.session);
        }
    }

    /// Keeps as many pieces being hashed as the bound allows, one torrent after the other.
    fn continue_checks(&mut self) {
        while self.session.checks_running < self.session.config.bounds.checking {
            let Some(&id) = self.session.check_queue.front() else { return };
            let more = match self.torrents.get_mut(id).filter(|torrent| torrent.is_checking()) {
                Some(torrent) => torrent.check_next(&mut self.session),
                None => false,
            };
            if !more {
                self.session.check_queue.pop_front();
            }
        }
    }

    /// Lets those read on who waited for the read-ahead budget, in turn, as far as it goes.
    pub(super) fn continue_reads(&mut self) {
        while self.session.may_read_ahead() {
            let Some((id, slot)) = self.session.read_waiters.pop_front() else { return };
            if let Some(torrent) = self.torrents.get_mut(id) {
                torrent.read_for_waiting(&mut self.session, slot);
            }
        }
    }

    /// Opens connections for the torrents that want some, in turn, within the limits.
    pub(super) fn open_connections(&mut self) {
        while self.session.may_connect() {
            let Some(id) = self.session.connect_queue.pop_front() else { return };
            self.session.connect_queued.remove(&id);
            let Some(torrent) = self.torrents.get_mut(id) else { continue };
            if torrent.connect_next(&mut self.session) {
                self.session.queue_connects(id);
            }
            self.session.touched.push(id);
        }
    }
}
