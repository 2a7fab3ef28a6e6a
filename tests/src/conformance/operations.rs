//! What the engine asks for is answered once, whatever the order. Judged by recordings: `audit`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bitswarm_core::TorrentNotice;
use bitswarm_core::torrent::{AddTorrent, TorrentState};

use super::Runtime;
use super::audit::Audit;
use super::harness::{alone, beside_others};
use super::sample::Sample;
use super::scripted::{BlackHole, become_unchoked, reset, try_connect};
use super::session::{Session, recorded};
use crate::interop::wire::Message;

/// The longest that an engine takes to stop ([`bitswarm_core::Command::Stop`]).
const STOP_LIMIT: Duration = Duration::from_millis(800);

/// What was recorded is all that the engine knew: played again it comes to the same, twice.
pub fn recorded_session_replays_to_the_same_fingerprint(runtime: Runtime) {
    const MOST_TRIES: u32 = 10;
    let _turn = beside_others();
    let sample = Sample::new(2 << 20);
    // An engine that stops does not wait for long: not every request is answered if the disk is busy
    // with the work of others.
    let in_time = |logs: &[(Vec<u8>, Duration); 2]| logs.iter().all(|(_, took)| *took < STOP_LIMIT);
    let mut tries = (0..MOST_TRIES).map(|_| recorded_transfer(runtime, &sample));
    let logs = tries.find(in_time).expect("stopped in time once");
    for (log, _) in logs {
        // Replaying compares with the fingerprints that were recorded.
        let (_, fingerprint) = Audit::of(&log);
        assert!(fingerprint.inputs > 32, "{fingerprint}");
        assert_eq!(Audit::of(&log).1, fingerprint);
    }
}

/// A transfer between two sessions: what was recorded of each, and how long its stop took.
fn recorded_transfer(runtime: Runtime, sample: &Sample) -> [(Vec<u8>, Duration); 2] {
    let mut seed = Session::with(runtime, recorded);
    seed.seed(sample);
    let mut leech = Session::with(runtime, recorded);
    leech.fetch(sample, seed.addr());
    leech.finish(sample);
    leech.wait_for_torrent(|what| *what == TorrentNotice::Saved);
    [leech, seed].map(|session| {
        let log = session.log();
        let (_dir, took) = session.stop_timed();
        (fs::read(log).unwrap(), took)
    })
}

/// Small bounds, many threads and torrents, peers that come, fail and go, calls from all sides.
pub fn every_operation_completes_exactly_once_under_stress(runtime: Runtime) {
    const TORRENTS: u32 = 8;
    let _turn = alone(runtime);
    let samples: Vec<_> =
        (0..TORRENTS).map(|number| Sample::numbered(number, 3 << 20, 32 << 10)).collect();
    let small = |config: &mut _| {
        recorded(config);
        config.disk_threads = NonZeroUsize::new(4);
        config.open_files = 2;
        config.core.bounds.write_backlog_bytes = 64 << 10;
        config.core.bounds.read_ahead_bytes = 128 << 10;
        config.core.bounds.assembly_bytes = 256 << 10;
        config.core.resume_interval = Duration::from_millis(50);
    };
    let mut seed = Session::with(runtime, small);
    for sample in &samples {
        seed.seed(sample);
    }
    let mut leech = Session::with(runtime, small);
    let hole = BlackHole::new();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peers = [hole.addr, refusing, seed.addr()];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| come_and_go(seed.addr(), &samples, &over));
        for session in [&seed, &leech] {
            let client = session.client.clone();
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert!(client.statuses().len() <= TORRENTS as usize);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        unrest(&leech, &samples, &peers);
        over.store(true, Ordering::Relaxed);
    });
    for sample in &samples {
        let of_it = |status: &&_| infohash(status) == sample.infohash();
        let statuses = leech.client.statuses();
        let id = statuses.iter().find(of_it).expect("it was added last").id;
        leech.wait_until(id, |status| status.state == TorrentState::Seeding);
        sample.assert_in(&leech.root());
    }
    leech.wait_for_torrent(|what| *what == TorrentNotice::Saved);
    for session in [leech, seed] {
        let (audit, _) = Audit::of(&session.stop_and_take_log());
        assert!(audit.disk_done > 500, "{audit:?}");
        assert!(audit.overtakings > 0, "{audit:?}");
    }
}

fn infohash(status: &bitswarm_core::torrent::TorrentStatus) -> [u8; 20] {
    status.infohash.0
}

/// Torrents are added, paused, resumed, removed with and without their files, and added again.
fn unrest(leech: &Session, samples: &[Sample], peers: &[SocketAddr]) {
    let add = |sample: &Sample| {
        let mut add = AddTorrent::new(sample.metainfo.clone(), leech.root());
        add.peers = peers.to_vec();
        // One that was just removed is still taking its leave.
        loop {
            match leech.client.add_torrent(add.clone()) {
                Ok(id) => return id,
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    };
    let mut ids: Vec<_> = samples.iter().map(&add).collect();
    for round in 0..60 {
        let at = round * 5 % ids.len();
        match round % 4 {
            0 => leech.client.pause(ids[at]).unwrap(),
            1 => leech.client.resume(ids[(at + ids.len() - 5) % ids.len()]).unwrap(),
            _ => {
                leech.client.remove_torrent(ids[at], round % 8 < 4).unwrap();
                ids[at] = add(&samples[at]);
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    for id in ids {
        leech.client.resume(id).unwrap();
    }
}

/// Peers that ask for something and do not wait for it.
fn come_and_go(seed: SocketAddr, samples: &[Sample], over: &AtomicBool) {
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(Some(mut peer)) = try_connect(seed, &samples[round % samples.len()]) else {
            continue;
        };
        become_unchoked(&mut peer);
        for piece in 0..32 {
            peer.send(&Message::Request(piece, 0, 16 << 10)).unwrap();
        }
        if round % 2 == 0 {
            reset(peer);
        }
    }
}

/// Four workers and requests of every size: later ones are done first, and nothing goes wrong.
pub fn completions_in_any_order_are_taken(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::numbered(0, 16 << 20, 256 << 10);
    let busy = |config: &mut _| {
        recorded(config);
        config.disk_threads = NonZeroUsize::new(4);
        config.core.resume_interval = Duration::from_millis(20);
    };
    let mut seed = Session::with(runtime, busy);
    seed.seed(&sample);
    let mut leech = Session::with(runtime, busy);
    leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    let audits = [leech, seed].map(|session| Audit::of(&session.stop_and_take_log()).0);
    let overtakings: usize = audits.iter().map(|audit| audit.overtakings).sum();
    assert!(overtakings > 0, "all in order: {audits:?}");
}
