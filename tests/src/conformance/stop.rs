//! The end of a session: in time, and nothing is left of it.

use std::io::{Read, Write};
use std::time::Duration;

use bitswarm_core::TorrentNotice;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_runtime_common::STOP_TIMEOUT;

use super::Runtime;
use super::harness::{alone, in_own_process};
use super::held::Held;
use super::sample::Sample;
use super::scripted::{BlackHole, become_unchoked, connect, listen};
use super::session::Session;
use crate::interop::wire::Message;

/// How often a case may be slower than a second because the machine is (chosen).
const ATTEMPTS: usize = 3;

/// Plays a scene that ends with the stopping of sessions, and tells how long the slowest took.
/// Nothing may be left of it; and it has to take less than a second, if not at once then again.
fn ends_in_time(runtime: Runtime, scene: impl Fn() -> Duration) {
    in_own_process(runtime, || {
        // What a runtime starts once for the whole process is there from now on.
        Session::start(runtime).stop();
        let before = Held::now();
        let mut took = Vec::new();
        while took.len() < ATTEMPTS {
            took.push(scene());
            before.assert_again();
            if took.last() < Some(&STOP_TIMEOUT) {
                return;
            }
        }
        panic!("took {took:?}");
    });
}

/// Both ends of a transfer are stopped in the middle of it, while connects hang, a peer says
/// nothing, and another does not read what it asked for.
pub fn busy_sessions_end_within_a_second_and_leave_nothing(runtime: Runtime) {
    let _turn = alone(runtime);
    ends_in_time(runtime, || {
        let sample = Sample::new(16 << 20);
        let mut seed = Session::start(runtime);
        seed.seed(&sample);
        let (_silent, silent) = listen();
        let hole = BlackHole::new();
        let leech = Session::with(runtime, |c| c.core.limits.down_bytes_per_s = Some(1_000_000));
        let id = leech.add(&sample);
        leech.client.add_peers(id, vec![hole.addr, silent, seed.addr()]).unwrap();
        let mut greedy = connect(seed.addr(), &sample);
        become_unchoked(&mut greedy);
        for piece in 0..sample.pieces() as u32 {
            greedy.send(&Message::Request(piece, 0, 16 << 10)).unwrap();
        }
        leech.wait_until(id, |status| status.downloaded_bytes > 1_000_000);
        let (_leech, one) = leech.stop_timed();
        let (_seed, other) = seed.stop_timed();
        one.max(other)
    });
}

/// A tracker that answers once, and never when it is told of the end.
pub fn tracker_that_hangs_does_not_hold_up_the_end(runtime: Runtime) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\nConnection: close\r\n\r\n\
        d8:intervali1800e5:peers0:e";
    let _turn = alone(runtime);
    ends_in_time(runtime, || {
        let (tracker, addr) = listen();
        let sample = Sample::new(1 << 20);
        let mut session = Session::start(runtime);
        let mut add = AddTorrent::new(sample.metainfo.clone(), session.root());
        add.trackers = vec![format!("http://{addr}/announce")];
        session.client.add_torrent(add).unwrap();
        let (mut question, _) = tracker.accept().unwrap();
        question.write_all(ANSWER).unwrap();
        drop(question);
        session.wait_for_torrent(|what| matches!(what, TorrentNotice::TrackerAnswered { .. }));
        let (_dir, took) = session.stop_timed();
        let (mut told, _) = tracker.accept().unwrap();
        let mut request = [0; 12];
        told.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"GET /announc", "it was told");
        took
    });
}
