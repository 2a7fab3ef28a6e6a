//! After each input: what follows from it beyond whom it concerned.

use super::Engine;
use crate::id::TorrentId;
use crate::services::dht::DhtService;
use crate::services::trackers::Finished;
use crate::session::asks::Ask;
use crate::session::half_messages::{self, HalfMessage};
use crate::torrent::Torrent;

impl Engine {
    /// What follows from an input beyond whom it concerned: what torrents ask for, announces that are
    /// over, what the DHT found, datagrams, the end.
    pub(super) fn settle(&mut self) {
        self.deliver_utp();
        self.settle_once();
        while self.deliver_utp() {
            self.settle_once();
        }
        self.flush_utp();
    }

    fn settle_once(&mut self) {
        self.settle_asks();
        self.settle_announces();
        self.settle_dht();
        self.settle_announces();
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

    /// Does what torrents ask for, in order, until nothing is asked and nobody's turn has come.
    pub(super) fn settle_asks(&mut self) {
        loop {
            self.continue_checks();
            self.continue_reads();
            self.open_connections();
            if self.session.asks.is_empty() {
                return;
            }
            while let Some((id, ask)) = self.session.asks.pop() {
                self.perform(id, ask);
            }
        }
    }

    fn perform(&mut self, id: TorrentId, ask: Ask) {
        match ask {
            Ask::Settle => self.settle_torrent(id),
            Ask::EndAnnounces => self.trackers.abandon(&mut self.session, &mut self.fetches, id),
            Ask::CopyFiles => self.route(id, Torrent::copy_files),
            Ask::LookForFiles => {
                self.session.files.similar.looked(id);
                self.route(id, Torrent::files_found);
            }
            Ask::MeetNode(addr) => {
                if let Some(dht) = &mut self.dht {
                    dht.meet(&self.session, *addr);
                }
            }
            Ask::LookUpNode(node) => {
                if let Some(dht) = &mut self.dht {
                    dht.look_up_named(&mut self.session, &node.0, node.1);
                }
            }
            Ask::FreeHalfMessages => self.free_half_messages(),
            Ask::DropBanned => self.drop_banned(),
            Ask::EndRequest(request) => {
                if let Some(dht) = &mut self.dht {
                    dht.forget(request);
                }
            }
        }
    }

    /// Lets peers go until what has come of messages is within its bound.
    fn free_half_messages(&mut self) {
        while self.session.budgets.half_messages.is_exceeded() {
            let holders = self.torrents.iter().flat_map(|(id, torrent)| {
                let keyed = move |half: HalfMessage<_>| HalfMessage {
                    key: (id, half.key),
                    group: half.group,
                    bytes: half.bytes,
                };
                torrent.half_messages().map(keyed)
            });
            let holders: Vec<_> = holders.collect();
            let Some((id, slot)) = half_messages::largest(&holders) else { return };
            self.route(id, |torrent, session| torrent.drop_half_message(session, slot));
        }
    }

    /// An address is banned in all torrents: nobody there keeps a connection, before its handshake or after.
    fn drop_banned(&mut self) {
        self.close_incoming_where(|session, ip| session.bans.is_banned_in_all(ip));
        let ids: Vec<TorrentId> = self.torrents.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.route(id, Torrent::drop_banned);
        }
    }

    /// Torrents learn which trackers may have heard of them, before the next input ends them, and what
    /// trackers answered.
    fn settle_announces(&mut self) {
        for (id, tracker) in self.trackers.take_sent() {
            if let Some(torrent) = self.torrents.get_mut(id) {
                torrent.announce_sent(tracker);
            }
        }
        for done in self.trackers.take_finished() {
            let Finished { torrent, tracker, infohash, result } = done;
            self.route(torrent, |torrent, session| {
                torrent.announced(session, tracker, infohash, result);
            });
        }
        if !self.session.asks.is_empty() {
            self.settle_asks();
        }
    }

    fn settle_torrent(&mut self, id: TorrentId) {
        let Some(torrent) = self.torrents.get_mut(id) else { return };
        while let Some(announce) = torrent.next_announce(&self.session) {
            self.trackers.start(&mut self.session, &mut self.fetches, id, announce);
        }
        if let Some(dht) = &mut self.dht {
            torrent.look_in_dht(&self.session, |session, request| {
                dht.request_of_torrent(session, id, request)
            });
        }
        self.settle_local_discovery(id);
        let Some(torrent) = self.torrents.get_mut(id) else { return };
        if torrent.is_ended() {
            let (infohashes, store) = (torrent.infohashes(), torrent.store());
            for infohash in infohashes {
                if self.by_infohash.get(&infohash) == Some(&id) {
                    self.by_infohash.remove(&infohash);
                    self.session.streams.remove_infohash(infohash);
                }
            }
            self.stores.remove(store);
            self.torrents.remove(id);
            if self.torrents.is_empty() {
                let budgets = &self.session.budgets;
                debug_assert!(budgets.are_empty(), "something stays counted: {budgets:?}");
            }
        } else {
            if let Some(infohash) = torrent.take_new_infohash() {
                // Of two that turn out to be one, each comes here: the second gives way.
                match self.by_infohash.get(&infohash) {
                    Some(&other) if other < id => torrent.yield_to_duplicate(&mut self.session),
                    _ => {
                        self.by_infohash.insert(infohash, id);
                        self.session.streams.add_infohash(infohash);
                    }
                }
            }
            torrent.rearm(&mut self.session);
        }
    }

    /// Keeps as many pieces being hashed as the bound allows, one torrent after the other.
    fn continue_checks(&mut self) {
        while self.session.budgets.checks.has_room() {
            let Some(&id) = self.session.queues.checks.front() else { return };
            let more = match self.torrents.get_mut(id).filter(|torrent| torrent.is_checking()) {
                Some(torrent) => torrent.check_next(&mut self.session),
                None => false,
            };
            if !more {
                self.session.queues.checks.pop_front();
            }
        }
    }

    /// Lets those read on who waited for the read-ahead budget, in turn, as far as it goes.
    pub(super) fn continue_reads(&mut self) {
        while self.session.budgets.reads.has_room() {
            let Some((id, slot)) = self.session.queues.reads.pop_front() else { return };
            if let Some(torrent) = self.torrents.get_mut(id) {
                torrent.read_for_waiting(&mut self.session, slot);
            }
        }
    }

    /// Opens connections for the torrents that want some, in turn, within the limits.
    fn open_connections(&mut self) {
        while self.session.may_connect() {
            let Some(id) = self.session.queues.pop_connects() else { return };
            let Some(torrent) = self.torrents.get_mut(id) else { continue };
            if torrent.connect_next(&mut self.session) {
                self.session.queues.push_connects(id);
            }
            self.session.asks.settle(id);
        }
    }
}
