//! What users ask for, carried out.

use super::{AddTorrentError, DhtError, Engine, NoSuchTorrent, STOP_LIMIT, Stopping, selection};
use crate::command::{Command, Commands, Reply};
use crate::config::RateLimits;
use crate::dht::{DhtRequest, DhtRequestId};
use crate::http::Url;
use crate::id::TorrentId;
use crate::peer_source::PeerSource;
use crate::piece::InfoHash;
use crate::session::Session;
use crate::time::Instant;
use crate::torrent::{AddTorrent, Removal, Torrent};
use crate::tracker::ScrapeId;

impl Commands for Engine {
    fn command(&mut self, now: Instant, command: Command) -> Reply {
        Engine::command(self, now, command)
    }
}

impl Engine {
    /// Carries out what a user asks for.
    pub fn command(&mut self, now: Instant, command: Command) -> Reply {
        self.advance(now);
        match command {
            Command::AddTorrent(add) => Reply::Added(self.add(*add)),
            Command::RemoveTorrent { id, delete_files } => {
                let removal = if delete_files { Removal::DeleteFiles } else { Removal::KeepFiles };
                self.change(id, |torrent, session| torrent.end(session, Some(removal)))
            }
            Command::Pause(id) => self.change(id, Torrent::pause),
            Command::Resume(id) => self.change(id, Torrent::unpause),
            Command::AddPeers { id, peers } => self.change(id, |torrent, session| {
                torrent.found_peers(session, None, PeerSource::User, &peers);
            }),
            Command::SetOrder { id, order } => {
                self.change(id, |torrent, _| torrent.set_order(order))
            }
            Command::SetLimits(limits) => {
                self.limit(limits);
                Reply::Done
            }
            Command::SetIpFilter(filter) => {
                self.set_ip_filter(filter);
                Reply::Done
            }
            Command::SetTorrentLimits { id, limits } => {
                self.change(id, |torrent, session| torrent.set_limits(session, limits))
            }
            Command::Dht(request) => Reply::Dht(self.ask_dht(*request)),
            Command::Scrape { tracker, infohashes } => {
                Reply::Scrape(self.ask_tracker(tracker, infohashes))
            }
            Command::Stop => {
                self.begin_to_stop();
                Reply::Done
            }
        }
    }

    fn add(&mut self, add: AddTorrent) -> Result<TorrentId, AddTorrentError> {
        if self.session.stopping {
            return Err(AddTorrentError::Stopping);
        }
        let infohash = add.source.infohash();
        for infohash in add.source.infohashes().short() {
            if let Some(&known) = self.by_infohash.get(&infohash) {
                return Err(AddTorrentError::Duplicate(known));
            }
        }
        selection::check(&add)?;
        let store = self.stores.insert(());
        let session = &mut self.session;
        let id = self.torrents.insert_with(|id| Torrent::new(session, id, store, add));
        self.by_infohash.insert(infohash, id);
        self.session.streams.add_infohash(infohash);
        if let Some(torrent) = self.torrents.get_mut(id) {
            torrent.start(&mut self.session);
        }
        self.settle();
        Ok(id)
    }

    fn change(&mut self, id: TorrentId, change: impl FnOnce(&mut Torrent, &mut Session)) -> Reply {
        let Some(torrent) = self.torrents.get_mut(id) else {
            return Reply::Torrent(Err(NoSuchTorrent(id)));
        };
        change(torrent, &mut self.session);
        self.session.asks.settle(id);
        self.settle();
        Reply::Torrent(Ok(()))
    }

    fn limit(&mut self, limits: RateLimits) {
        let now = self.session.now;
        self.session.config.limits = limits;
        self.session.upload.bucket().set_limit(limits.up_bytes_per_s, now);
        self.session.download.bucket().set_limit(limits.down_bytes_per_s, now);
        self.session.wake_uploads();
        self.session.wake_downloads();
    }

    fn ask_dht(&mut self, request: DhtRequest) -> Result<DhtRequestId, DhtError> {
        let dht = self.dht.as_mut().filter(|_| !self.session.stopping).ok_or(DhtError::Off)?;
        let id = dht.request_of_user(&self.session, request).ok_or(DhtError::Refused);
        self.settle();
        id
    }

    fn ask_tracker(
        &mut self,
        tracker: Url,
        infohashes: Vec<InfoHash>,
    ) -> Result<ScrapeId, Stopping> {
        if self.session.stopping {
            return Err(Stopping);
        }
        let id = self.trackers.scrape(&mut self.session, &mut self.fetches, tracker, infohashes);
        self.settle();
        Ok(id)
    }

    fn begin_to_stop(&mut self) {
        if self.session.stopping {
            return;
        }
        self.session.stopping = true;
        let deadline = self.session.now + STOP_LIMIT;
        self.session.timers.set(self.stop_timer, deadline);
        self.close_incoming_where(|_, _| true);
        for (_, torrent) in self.torrents.iter_mut() {
            torrent.end(&mut self.session, None);
        }
        if let Some(dht) = &mut self.dht {
            dht.stop(&mut self.session);
        }
        self.trackers.abandon_scrapes(&mut self.session, &mut self.fetches);
        self.touch_all();
        self.settle();
    }
}
