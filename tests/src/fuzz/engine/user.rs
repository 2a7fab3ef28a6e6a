//! What the user of an engine under a fuzzer wants.

use std::net::SocketAddr;

use bitswarm_core::engine::NoSuchTorrent;
use bitswarm_core::id::TorrentId;
use bitswarm_core::record::Recorder;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Instant};

use super::setup::{CONTENT, ROOT, TRACKERS};
use super::world::World;

impl World {
    pub(super) fn with(
        &mut self,
        which: usize,
        request: impl FnOnce(&mut Recorder, Instant, TorrentId) -> Result<(), NoSuchTorrent>,
    ) {
        if let Some(id) = self.torrents[which] {
            // One that was removed is still named by its id.
            let _ = request(&mut self.engine, self.now, id);
            self.drain();
        }
    }

    pub(super) fn set_limits(&mut self, limits: bitswarm_core::config::RateLimits) {
        self.engine.set_limits(self.now, limits);
        self.drain();
    }

    pub(super) fn add(&mut self, which: usize, how: u8) {
        let trackers = if which == 0 { &TRACKERS[..] } else { &[] };
        let metainfo = CONTENT[which].metainfo(trackers);
        let mut add = AddTorrent::new(metainfo, ROOT);
        add.paused = how & 1 != 0;
        add.recheck = how & 2 != 0;
        if how & 4 != 0 {
            add.share_only = true;
        }
        let ports = 0..u16::from(how >> 4 & 3);
        add.peers = ports.map(|port| SocketAddr::from(([198, 51, 100, 7], 7000 + port))).collect();
        if let Ok(id) = self.engine.add_torrent(self.now, add) {
            self.torrents[which] = Some(id);
        }
        self.drain();
    }

    pub(super) fn remove(&mut self, which: usize, delete_files: bool) {
        // What was deleted, and may be added again, is not what the checker has seen.
        self.judges &= !delete_files;
        self.with(which, |engine, now, id| engine.remove_torrent(now, id, delete_files));
    }

    pub(super) fn stop(&mut self) {
        self.engine.stop(self.now);
        self.drain();
    }
}
