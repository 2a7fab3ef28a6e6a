//! Many seeds on all cores: a progress bar, what failed and how to reproduce it, and a summary.
//!
//! Every sixteenth seed runs twice: the second run must be the first one again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bitswarm_tests::sim::storm::{Options, Report, try_run};
use bitswarm_tests::sim::trace::Fingerprint;
use bitswarm_tests::sim::world::{Failure, Kind};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Changes, code, command};

/// Without a terminal there is a line for so many seeds instead of the bar.
const TOLD: u64 = 1000;

/// One in so many seeds is run twice.
const TWICE: u64 = 16;

#[derive(Debug, Default)]
struct Summary {
    runs: u64,
    inputs: u64,
    events: BTreeMap<&'static str, (u64, u64)>,
    failures: Vec<(Options, Failure)>,
    /// For each seed that ended well: the hash of its trace, and that of what the engines did.
    fingerprints: BTreeMap<u64, (Fingerprint, Fingerprint)>,
}

pub(super) fn run(
    seeds: Range<u64>,
    changes: &Changes,
    jobs: Option<usize>,
    fail_fast: bool,
    fingerprints: Option<&Path>,
) -> ExitCode {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.unwrap_or_else(cores).max(1);
    let bar = ProgressBar::new(seeds.end - seeds.start);
    let style = "{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if cfg!(panic = "abort") {
            before(info);
        }
    }));
    let start = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let enough = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let options = changes.options(seed).expect("checked before");
                    let result = run_one(&options);
                    enough.fetch_or(fail_fast && result.is_err(), Ordering::Relaxed);
                    let mut summary = summary.lock().expect("no thread panics while it holds it");
                    summary.add(options, result, &bar);
                }
            });
        }
    });
    bar.finish_and_clear();
    let summary = summary.into_inner().expect("no thread panics while it holds it");
    summary.print(start.elapsed().as_secs_f64());
    if let Some(file) = fingerprints
        && let Err(why) = std::fs::write(file, summary.fingerprints())
    {
        eprintln!("{} cannot be written: {why}", file.display());
        return ExitCode::from(2);
    }
    match summary.failures.iter().map(|(_, failure)| code(failure)).min() {
        Some(code) => ExitCode::from(code),
        None => ExitCode::SUCCESS,
    }
}

fn run_one(options: &Options) -> Result<Report, Failure> {
    let first = try_run(options, None)?;
    if options.seed.is_multiple_of(TWICE) {
        let second = try_run(options, None)?;
        if first != second {
            let what = format!("traces {} and {}", first.fingerprint, second.fingerprint);
            let (kind, seed, at) = (Kind::Determinism, options.seed, first.ended_at);
            return Err(Failure { kind, seed, at, what });
        }
    }
    Ok(first)
}

impl Summary {
    fn add(&mut self, options: Options, result: Result<Report, Failure>, bar: &ProgressBar) {
        self.runs += 1;
        match result {
            Ok(report) => {
                let hashes = (report.fingerprint, report.conduct);
                self.fingerprints.insert(options.seed, hashes);
                self.inputs += report.inputs;
                for (event, count) in report.events {
                    let (runs, all) = self.events.entry(event).or_default();
                    *runs += 1;
                    *all += count;
                }
            }
            Err(failure) => {
                bar.suspend(|| say!("{failure}\nreproduce: {}", command(&options)));
                self.failures.push((options, failure));
                bar.set_message(format!("{} failed", self.failures.len()));
            }
        }
        bar.inc(1);
        if bar.is_hidden() && self.runs.is_multiple_of(TOLD) {
            say!("{} seeds, {} failed", self.runs, self.failures.len());
        }
    }

    fn fingerprints(&self) -> String {
        let line = |(seed, (trace, conduct)): (&u64, &(Fingerprint, Fingerprint))| {
            format!("{seed} {trace} {conduct}\n")
        };
        self.fingerprints.iter().map(line).collect()
    }

    fn print(&self, seconds: f64) {
        say!("{:>12} {:>9}  event", "times", "in runs");
        for (event, (runs, all)) in &self.events {
            say!("{all:>12} {runs:>9}  {event}");
        }
        let mut sorts: BTreeMap<(Kind, String), Vec<u64>> = BTreeMap::new();
        for (_, failure) in &self.failures {
            sorts.entry((failure.kind, failure.sort())).or_default().push(failure.seed);
        }
        for ((kind, sort), seeds) in &mut sorts {
            seeds.sort_unstable();
            say!("{} times {kind:?}: {sort}, first seed {}", seeds.len(), seeds[0]);
        }
        say!(
            "{} seeds in {seconds:.0} s ({:.1} per second), {} inputs, {} failed",
            self.runs,
            self.runs as f64 / seconds,
            self.inputs,
            self.failures.len(),
        );
    }
}
