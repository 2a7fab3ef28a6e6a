//! Descriptors and threads that sessions hold, without those of the test harness, whose own threads
//! come and go.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long something may take to go that goes by itself (chosen): the system ends a thread a
/// moment after it was joined.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the names of threads begin that sessions and their runtimes start. (Those of the harness are
/// named after tests.)
const OURS: [&str; 2] = ["bitswarm", "async-"];

/// What was held at one moment.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Held {
    /// Open sockets, files, pipes, each with what it is and how often it is open.
    descriptors: BTreeMap<PathBuf, usize>,
    /// Threads of sessions by name.
    threads: BTreeMap<String, usize>,
}

impl Held {
    pub(super) fn now() -> Self {
        let mut held = Held { descriptors: BTreeMap::new(), threads: BTreeMap::new() };
        for entry in fs::read_dir("/proc/self/fd").unwrap() {
            // The directory's own descriptor is gone when it is looked at.
            if let Ok(target) = fs::read_link(entry.unwrap().path()) {
                let own = target.starts_with("/proc") && target.ends_with("fd");
                *held.descriptors.entry(target).or_default() += usize::from(!own);
            }
        }
        held.descriptors.retain(|_, count| *count > 0);
        for entry in fs::read_dir("/proc/self/task").unwrap() {
            let Ok(name) = fs::read_to_string(entry.unwrap().path().join("comm")) else { continue };
            if OURS.iter().any(|prefix| name.starts_with(prefix)) {
                *held.threads.entry(name.trim_end().to_owned()).or_default() += 1;
            }
        }
        held
    }

    /// Checks that the same is held again, to the last socket.
    pub(super) fn assert_again(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Held::now();
            if now == *self {
                return;
            }
            assert!(Instant::now() < deadline, "before: {self:#?}\nafter: {now:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
