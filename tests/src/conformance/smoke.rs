//! A first look at a runtime. Every other case waits a minute before it says that nothing comes; this
//! one takes seconds, and says how far it got.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use bitswarm_core::TorrentNotice;

use super::Runtime;
use super::harness::beside_others;
use super::sample::Sample;
use super::session::Session;

/// Longest that a step may take (chosen: a hundred times what it takes, on a machine that has much to
/// do).
const STEP: Duration = Duration::from_secs(10);

/// A session starts and listens, answers a call, checks a file, sends it to another, and stops.
pub fn first_look(runtime: Runtime) {
    let _turn = beside_others();
    let (steps, taken) = mpsc::channel();
    // One that is stuck is left behind.
    let session = thread::spawn(move || run(runtime, &steps));
    let mut step = "start";
    loop {
        match taken.recv_timeout(STEP) {
            Ok(next) => step = next,
            Err(RecvTimeoutError::Timeout) => panic!("stuck: {step}"),
            // It is done, or has panicked and said why.
            Err(RecvTimeoutError::Disconnected) => break session.join().expect("it goes through"),
        }
    }
}

fn run(runtime: Runtime, steps: &Sender<&'static str>) {
    let step = |name| steps.send(name).expect("somebody waits");
    step("start a session and listen: Bind, Bound, and news of the application");
    let mut seed = Session::start(runtime);
    step("answer a call: Wake");
    assert!(seed.client.statuses().is_empty());
    let sample = Sample::new(1 << 20);
    step("check a file: Disk");
    seed.seed(&sample);
    step("start another session");
    let mut leech = Session::start(runtime);
    step("connect, accept, send and receive: Connect, Send, Read");
    leech.fetch(&sample, seed.addr());
    leech.wait_for_torrent(|what| *what == TorrentNotice::Finished);
    sample.assert_in(&leech.root());
    step("stop: Close, Unbind, Host::is_finished");
    leech.stop();
    seed.stop();
}
