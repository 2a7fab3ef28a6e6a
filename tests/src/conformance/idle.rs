//! Turns of the loop: none when there is nothing to do, and soon when there is.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Runtime;
use super::harness::{alone, beside_others};
use super::sample::Sample;
use super::scripted::{connect, wait_for_end};
use super::session::Session;

/// How long turns are counted.
const COUNTED: Duration = Duration::from_secs(2);

fn turns(session: &Session) -> u64 {
    let before = session.client.turns();
    thread::sleep(COUNTED);
    session.client.turns() - before
}

/// A seed without peers.
pub fn session_with_nothing_to_do_takes_no_turns(runtime: Runtime) {
    let _turn = beside_others();
    let mut session = Session::start(runtime);
    session.seed(&Sample::new(1 << 20));
    thread::sleep(Duration::from_millis(200));
    let turns = turns(&session);
    assert!(turns <= 2, "{turns} turns");
    session.stop();
}

/// A seed and a peer that wants nothing: the connection alone costs nothing. (Their choking has a
/// rhythm of ten seconds; one turn of it may fall into the time.)
pub fn finished_peers_that_stay_connected_cost_no_turns(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    let id = seed.seed(&sample);
    let peer = connect(seed.addr(), &sample);
    seed.wait_until(id, |status| status.peers == 1);
    thread::sleep(Duration::from_millis(200));
    let turns = turns(&seed);
    assert!(turns <= 4, "{turns} turns");
    assert_eq!(seed.status(id).peers, 1);
    drop(peer);
    seed.stop();
}

/// Those who connect and say nothing are shown out when their time is over: never before, most of
/// them at once, all of them soon.
pub fn deadlines_are_met_and_never_early(runtime: Runtime) {
    const GIVEN: Duration = Duration::from_millis(500);
    const USUALLY_LATE: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(1);
    let _turn = alone(runtime);
    let mut session = Session::with(runtime, |config| config.core.timeouts.handshake = GIVEN);
    // Without a torrent nobody is let in.
    session.seed(&Sample::new(100_000));
    let addr = session.addr();
    let threads: Vec<_> = (0..9)
        .map(|number| {
            thread::spawn(move || {
                // At odd moments, so that each has a deadline of its own.
                thread::sleep(Duration::from_micros(17_300 * number));
                let began = Instant::now();
                let stream = TcpStream::connect(addr).unwrap();
                wait_for_end(&stream, GIVEN + 2 * LATE).expect("shown out");
                began.elapsed()
            })
        })
        .collect();
    let mut took: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    took.sort();
    assert!(took[0] >= GIVEN, "too early: {took:?}");
    assert!(took[took.len() / 2] < GIVEN + USUALLY_LATE, "late: {took:?}");
    assert!(took[took.len() - 1] < GIVEN + LATE, "very late: {took:?}");
    session.stop();
}

/// A call from another thread wakes the loop.
pub fn calls_are_answered_at_once(runtime: Runtime) {
    const USUALLY: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_secs(1);
    let _turn = alone(runtime);
    let session = Session::start(runtime);
    let mut took = Vec::new();
    for _ in 0..101 {
        // The loop sleeps by now.
        thread::sleep(Duration::from_millis(2));
        let began = Instant::now();
        assert!(session.client.statuses().is_empty());
        took.push(began.elapsed());
    }
    took.sort();
    assert!(took[50] < USUALLY && took[100] < LONGEST, "{took:?}");
    session.stop();
}
