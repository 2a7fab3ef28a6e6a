//! What this process holds: descriptors, threads, memory. For cases with a process of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long something may take to go that goes by itself (chosen): the system ends a thread a
/// moment after it was joined.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was held at one moment.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Held {
    /// Open sockets, files, pipes, each with what it is and how often it is open.
    descriptors: BTreeMap<PathBuf, usize>,
    /// Threads by name.
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
            *held.threads.entry(name.trim_end().to_owned()).or_default() += 1;
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

/// Memory in use now, in bytes.
pub(super) fn resident_bytes() -> u64 {
    memory("VmRSS:")
}

/// The most that was ever in use, in bytes.
pub(super) fn peak_resident_bytes() -> u64 {
    memory("VmHWM:")
}

fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a known field");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}
