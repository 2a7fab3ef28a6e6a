//! Swarms of engines in memory: they complete, and the same seed gives the same run.

use std::sync::Arc;

use bitswarm_core::record::replay;
use bitswarm_core::time::{Duration, Instant};
use bitswarm_tests::sim::content::{Content, announce_url};
use bitswarm_tests::sim::dice::seed_bytes;
use bitswarm_tests::sim::network::{HostId, Link};
use bitswarm_tests::sim::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use bitswarm_tests::sim::trace::Fingerprint;
use bitswarm_tests::sim::world::World;

/// A tracker, a seeder, and so many leechers that find each other through the tracker.
struct Swarm {
    world: World,
    seeder: HostId,
    leechers: Vec<HostId>,
}

/// Who runs the tracker.
#[derive(Clone, Copy)]
enum By {
    Engine,
    Script,
}

impl Swarm {
    fn new(seed: u64, content: &Arc<Content>, leechers: u32, by: By) -> Self {
        let mut world = World::new(seed);
        let link = Link::home(1 << 20, 1 << 20);
        let tracker = match by {
            By::Engine => world.add_engine("tracker", link, |config| {
                config.tracker_listen = vec![([0, 0, 0, 0], TRACKER_PORT).into()];
            }),
            By::Script => {
                let tracker = Tracker::new(Answer::Swarm(60));
                world.add_script("tracker", link, Box::new(tracker))
            }
        };
        let url = announce_url((world.addr(tracker).ip(), TRACKER_PORT).into());
        let seeder = world.add_engine("seeder", Link::home(500_000, 500_000), |_| {});
        world.plant(seeder, content);
        world.add_torrent(seeder, content, |add| add.trackers = vec![url.clone()]);
        let leechers = (0..leechers)
            .map(|number| {
                let name = format!("leecher {number}");
                let host = world.add_engine(&name, Link::home(250_000, 1_000_000), |_| {});
                world.add_torrent(host, content, |add| add.trackers = vec![url.clone()]);
                host
            })
            .collect();
        Swarm { world, seeder, leechers }
    }

    /// Runs until every leecher has said that it has finished.
    fn complete(&mut self, within: Duration) {
        let deadline = Instant::ZERO + within;
        let leechers = self.leechers.clone();
        let done = |world: &World| leechers.iter().all(|host| world.has_finished(*host));
        self.world.run_until(deadline, done).unwrap_or_else(|failure| panic!("{failure}"));
        for host in &self.leechers {
            assert!(self.world.has_all_bytes(*host), "{} lacks bytes", self.world.name(*host));
        }
    }
}

#[test]
fn a_seeder_and_twenty_leechers_complete_and_the_same_seed_gives_the_same_run() {
    let run = |seed: u64| -> (Fingerprint, Instant) {
        let content = Content::multi(
            7,
            "swarm",
            &[("a.bin", 1_500_000), ("b/empty", 0), ("b/c.bin", 1_645_728)],
            128 << 10,
        );
        let mut swarm = Swarm::new(seed, &content, 20, By::Script);
        swarm.complete(Duration::from_secs(240));
        let tally = swarm.world.engine_host(swarm.seeder).checker().tally();
        eprintln!(
            "seed {seed}: complete at {:?}, {} inputs, seeder sent {} of {} bytes",
            swarm.world.now(),
            swarm.world.inputs(),
            tally.payload_sent,
            content.len(),
        );
        (swarm.world.fingerprint(), swarm.world.now())
    };
    let first = run(1);
    assert_eq!(first, run(1), "the same seed gave another run");
    assert_ne!(first.0, run(2).0, "another seed gave the same run");
}

#[test]
fn two_engines_joined_in_memory_give_the_same_fingerprint_twice() {
    let run = || {
        let content = Content::single(1, "pair", 1 << 20, 64 << 10);
        let mut world = World::new(1);
        let seeder = world.add_engine("seeder", Link::default(), |_| {});
        world.plant(seeder, &content);
        world.add_torrent(seeder, &content, |_| {});
        let leecher = world.add_engine("leecher", Link::default(), |_| {});
        let peer = world.addr(seeder);
        world.add_torrent(leecher, &content, |add| add.peers = vec![peer]);
        let done = |world: &World| world.has_finished(leecher);
        world.run_until(Instant::from_secs(60), done).unwrap_or_else(|why| panic!("{why}"));
        assert!(world.has_all_bytes(leecher));
        world.fingerprint()
    };
    assert_eq!(run(), run());
}

#[test]
fn what_was_recorded_replays_to_the_same_fingerprint_and_a_changed_log_does_not() {
    let content = Content::single(4, "recorded", 1 << 20, 64 << 10);
    let mut world = World::new(4);
    world.recording = true;
    let seeder = world.add_engine("seeder", Link::home(500_000, 500_000), |_| {});
    world.plant(seeder, &content);
    world.add_torrent(seeder, &content, |_| {});
    let leecher = world.add_engine("leecher", Link::home(500_000, 500_000), |_| {});
    let peer = world.addr(seeder);
    world.add_torrent(leecher, &content, |add| add.peers = vec![peer]);
    let done = |world: &World| world.has_finished(leecher);
    world.run_until(Instant::from_secs(60), done).unwrap_or_else(|why| panic!("{why}"));
    for host in [seeder, leecher] {
        let recorder = world.engine_host_mut(host).recorder_mut().expect("it runs");
        recorder.checkpoint();
        let log = recorder.take_log();
        let replayed = replay(&log).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(Some(replayed.fingerprint), recorder.fingerprint());
        assert!(replayed.fingerprint.inputs > 100 && !replayed.cut_off);
        // Another seed: the engine does something else with the same inputs.
        let mut other = log.clone();
        let seed = seed_bytes(4, &format!("{} engine 0", world.name(host)));
        let at = other.windows(32).position(|window| window == seed).expect("it is in the log");
        other[at] ^= 1;
        assert!(replay(&other).is_err(), "a log with another seed replays");
    }
}

#[test]
fn a_swarm_completes_by_the_tracker_that_one_of_the_engines_runs() {
    let content = Content::single(3, "tracked", 1 << 20, 64 << 10);
    let mut swarm = Swarm::new(3, &content, 5, By::Engine);
    swarm.complete(Duration::from_secs(120));
}
