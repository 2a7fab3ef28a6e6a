//! How the world of an engine ends: everything is taken down, nothing may be left, and a recording
//! plays to the same end.

use std::time::Duration;

use bitswarm_core::record::replay;

use super::setup::TORRENTS;
use super::world::World;

impl World {
    /// Takes everything down, by removing the torrents (`how` is even) or by stopping the engine
    /// with them, and looks at what is left.
    pub(super) fn finish(&mut self, how: u8) {
        self.faults(0);
        self.lazy = false;
        if how & 1 == 0 {
            for which in 0..TORRENTS {
                self.remove(which, which == 0);
            }
            // Trackers that say nothing are waited for.
            for _ in 0..200 {
                self.settle();
                if self.engine.engine().torrents().next().is_none() {
                    break;
                }
                self.pass_to_deadline();
            }
            let left: Vec<_> = self.engine.engine().torrents().collect();
            assert!(left.is_empty(), "removed and still there: {left:?}");
            assert!(self.conns.values().all(|conn| !conn.is_peer || !conn.begun), "peers are left");
        }
        self.stop();
        self.settle();
        self.pass(Duration::from_secs(1));
        self.settle();
        assert!(self.stopped, "within a second it has stopped");
        assert_eq!(self.engine.engine().torrents().count(), 0, "torrents are left");
        assert_eq!(self.disk.open_stores(), 0, "stores are left");
        assert_eq!(self.disk.requests_under_way(), 0, "the disk is not done");
        self.play_again(usize::from(how));
    }

    /// The recording, if there is one, plays to the same end, and as far as it goes when it is cut.
    fn play_again(&mut self, cut: usize) {
        if !self.engine.is_recording() {
            return;
        }
        self.engine.checkpoint();
        let log = self.engine.take_log();
        let replayed = replay(&log).expect("what was recorded can be played");
        assert_eq!(Some(replayed.fingerprint), self.engine.fingerprint());
        assert!(!replayed.cut_off);
        if let Ok(part) = replay(&log[..log.len() * cut / 256]) {
            assert!(part.fingerprint.inputs <= replayed.fingerprint.inputs);
        }
    }
}
