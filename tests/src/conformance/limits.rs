//! Rates that are kept, and senders that are held to them.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bitswarm_core::TorrentId;

use super::Runtime;
use super::harness::{beside_others, in_own_process};
use super::held::resident_bytes;
use super::sample::Sample;
use super::scripted::{accept, listen};
use super::session::Session;

/// A seed with an upload limit and a leech with a download limit, at the same time.
pub fn rates_are_within_five_percent_over_ten_seconds(runtime: Runtime) {
    const LIMIT: u64 = 3_000_000;
    const MEASURED: Duration = Duration::from_secs(10);
    let _turn = beside_others();
    let sample = Sample::new(14 * LIMIT as usize);
    let mut slow_seed =
        Session::with(runtime, |config| config.core.limits.up_bytes_per_s = Some(LIMIT));
    slow_seed.seed(&sample);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let leech = Session::start(runtime);
    let slow_leech =
        Session::with(runtime, |config| config.core.limits.down_bytes_per_s = Some(LIMIT));
    let limited_by_seed = leech.fetch(&sample, slow_seed.addr());
    let limited_by_leech = slow_leech.fetch(&sample, seed.addr());
    // The first second may be a burst.
    thread::sleep(Duration::from_millis(1500));
    let up = Counter::start(&leech, limited_by_seed);
    let down = Counter::start(&slow_leech, limited_by_leech);
    thread::sleep(MEASURED);
    for (way, rate) in [("up", up.rate(&leech)), ("down", down.rate(&slow_leech))] {
        let share = rate / LIMIT as f64;
        assert!((0.95..=1.05).contains(&share), "{way}: {share:.3} of the limit");
    }
    for session in [leech, slow_leech, slow_seed, seed] {
        session.stop();
    }
}

/// Bytes of one torrent since a moment.
struct Counter {
    id: TorrentId,
    bytes: u64,
    at: Instant,
}

impl Counter {
    fn start(session: &Session, id: TorrentId) -> Self {
        Counter { id, bytes: session.status(id).downloaded_bytes, at: Instant::now() }
    }

    /// Bytes per second.
    fn rate(&self, session: &Session) -> f64 {
        let bytes = session.status(self.id).downloaded_bytes - self.bytes;
        bytes as f64 / self.at.elapsed().as_secs_f64()
    }
}

/// A peer sends as fast as it can to one that takes 256 KB/s: what the system takes from it is
/// what fits the buffers and the limit, and none of it piles up in memory.
pub fn fast_sender_is_not_read_and_memory_stays_bounded(runtime: Runtime) {
    const LIMIT: u64 = 256_000;
    const MEASURED: Duration = Duration::from_secs(3);
    const BUFFERS: u64 = 16 << 20;
    const MEMORY: u64 = 16 << 20;
    let _turn = beside_others();
    in_own_process(runtime, || {
        let sample = Sample::new(1 << 20);
        let (listener, addr) = listen();
        let leech =
            Session::with(runtime, |config| config.core.limits.down_bytes_per_s = Some(LIMIT));
        let id = leech.fetch(&sample, addr);
        let taken = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let sender = {
            let (taken, over, sample) = (Arc::clone(&taken), Arc::clone(&over), sample.clone());
            thread::spawn(move || {
                let wire = accept(&listener, &sample);
                // Keep-alives: four zeros each.
                flood(wire.stream(), &taken, &over);
            })
        };
        leech.wait_until(id, |status| status.peers == 1);
        thread::sleep(Duration::from_millis(500));
        let memory = resident_bytes();
        let before = taken.load(Ordering::SeqCst);
        assert!(before < BUFFERS, "{before} bytes were taken at once");
        thread::sleep(MEASURED);
        let more = taken.load(Ordering::SeqCst) - before;
        let most = LIMIT * MEASURED.as_secs() * 2 + (2 << 20);
        assert!(more > 0 && more < most, "{more} bytes were taken, {most} at most expected");
        let grown = resident_bytes().saturating_sub(memory);
        assert!(grown < MEMORY, "{} KiB more memory", grown >> 10);
        assert_eq!(leech.status(id).peers, 1, "the sender is still there");
        leech.stop();
        over.store(true, Ordering::SeqCst);
        sender.join().unwrap();
    });
}

/// Sends zeros whenever the system takes some, and counts them.
fn flood(mut stream: &std::net::TcpStream, taken: &AtomicU64, over: &AtomicBool) {
    stream.set_nonblocking(true).unwrap();
    while !over.load(Ordering::SeqCst) {
        match stream.write(&[0; 64 << 10]) {
            Ok(count) => {
                taken.fetch_add(count as u64, Ordering::SeqCst);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return,
        }
    }
}
