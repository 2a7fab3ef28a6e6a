//! More than can be taken: of datagrams, and of connections when there is no descriptor left.

use std::fs::File;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bitswarm_core::torrent::TorrentState;
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::Runtime;
use super::harness::{alone, in_own_process};
use super::sample::Sample;
use super::scripted::{become_unchoked, connect, fetch_block, wait_for_end};
use super::session::Session;

/// Two threads send datagrams as fast as they can to a leech that downloads 16 MiB; and more of
/// them, on a machine so busy that there was no flood meanwhile.
pub fn datagrams_do_not_starve_a_transfer(runtime: Runtime) {
    const LONGEST: Duration = Duration::from_secs(30);
    const FLOOD: u64 = 10_000;
    const MOST_TRANSFERS: u32 = 20;
    let _turn = alone(runtime);
    let mut seed = Session::start(runtime);
    let mut leech = Session::start(runtime);
    let target = leech.addr();
    let sent = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                while !over.load(Ordering::Relaxed) {
                    // One that finds no room is no less a flood.
                    let _ = socket.send_to(&[0xee; 200], target);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while sent.load(Ordering::Relaxed) < 1000 {
            thread::yield_now();
        }
        let mut during = 0;
        let slow = (0..MOST_TRANSFERS).find_map(|number| {
            let sample = Sample::numbered(number, 16 << 20, 256 << 10);
            seed.seed(&sample);
            let (began, before) = (Instant::now(), sent.load(Ordering::Relaxed));
            leech.fetch(&sample, seed.addr());
            leech.finish(&sample);
            let took = began.elapsed();
            during += sent.load(Ordering::Relaxed) - before;
            (took >= LONGEST || during > FLOOD).then_some(took)
        });
        over.store(true, Ordering::Relaxed);
        assert!(during > FLOOD, "that was no flood: {during} datagrams");
        assert!(slow.is_some_and(|took| took < LONGEST), "took {slow:?}");
    });
    leech.stop();
    seed.stop();
}

/// Every descriptor is taken while peers dial in and a download begins: peers are turned away and
/// not left hanging, the loop does not spin, and with descriptors back everything goes on.
pub fn exhausted_descriptors_are_survived_and_recovered_from(runtime: Runtime) {
    const MOST_TURNS: u64 = 400;
    let _turn = alone(runtime);
    in_own_process(runtime, || {
        let sample = Sample::new(2 << 20);
        let mut seed = Session::with(runtime, |config| {
            // Who is let in after all, and says nothing, is shown out soon.
            config.core.timeouts.handshake = Duration::from_secs(1);
        });
        seed.seed(&sample);
        let leech = Session::start(runtime);
        let mut before = connect(seed.addr(), &sample);
        let sockets: Vec<_> =
            (0..5).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
        let files = take_all_descriptors();
        for socket in &sockets {
            socket.connect(&seed.addr().into()).unwrap();
        }
        for socket in sockets {
            let turned_away = wait_for_end(&socket.into(), Duration::from_secs(20));
            assert!(turned_away.is_some(), "a peer is left hanging");
        }
        // Those of the sockets just closed.
        let more = take_all_descriptors();
        let id = leech.fetch(&sample, seed.addr());
        let turns = seed.client.turns() + leech.client.turns();
        thread::sleep(Duration::from_secs(1));
        let turns = seed.client.turns() + leech.client.turns() - turns;
        assert!(turns < MOST_TURNS, "{turns} turns in a second");
        assert_ne!(leech.status(id).state, TorrentState::Seeding, "it did not need descriptors");
        drop((files, more));

        become_unchoked(&mut before);
        fetch_block(&mut before, &sample, 0, 0, 16 << 10);
        leech.wait_until(id, |status| status.state == TorrentState::Seeding);
        sample.assert_in(&leech.root());
        let mut after = connect(seed.addr(), &sample);
        become_unchoked(&mut after);
        fetch_block(&mut after, &sample, 1, 0, 16 << 10);
        leech.stop();
        seed.stop();
    });
}

/// Opens files until the system gives no more.
fn take_all_descriptors() -> Vec<File> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.current.unwrap_or(u64::MAX).min(128));
    setrlimit(Resource::Nofile, limit).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}
