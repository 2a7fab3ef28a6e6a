//! `sim swarm`: a swarm of engines in virtual time, and how close it comes to the bound.

use std::path::PathBuf;
use std::process::ExitCode;

use bitswarm_tests::sim::experiment::{self, Settings};
use clap::value_parser;

/// Most members of a kind (chosen: each has an address of its own, and some megabytes).
const MOST: i64 = 10_000;

/// What to run. Sizes and rates take `KiB`, `MiB` or `GiB`; rates are per second.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leechers.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=MOST))]
    peers: u32,
    /// Members that have everything from the beginning.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=MOST))]
    seeds: u32,
    /// Length of the content.
    #[arg(long, default_value = "64MiB", value_parser = bytes)]
    size: u64,
    /// Length of a piece: a power of two from 16KiB to 64MiB.
    #[arg(long, default_value = "128KiB", value_parser = piece_len)]
    piece: u32,
    /// Upload rate of each.
    #[arg(long, default_value = "256KiB", value_parser = bytes)]
    up: u64,
    /// Download rate of each.
    #[arg(long, default_value = "2MiB", value_parser = bytes)]
    down: u64,
    /// Upload rate of a seed, if it is another.
    #[arg(long, value_parser = bytes)]
    seed_up: Option<u64>,
    /// Half of the leechers have half the rates, a fifth has three times the rates.
    #[arg(long)]
    heterogeneous: bool,
    /// Nine of ten leechers come together in the middle.
    #[arg(long)]
    flash_crowd: bool,
    /// Each leecher is cut off once for a while, and leaves when it has finished.
    #[arg(long)]
    churn: bool,
    /// Leechers that never unchoke anybody.
    #[arg(long, default_value_t = 0)]
    free_riders: u32,
    /// Free riders come anew every half minute, from the same addresses.
    #[arg(long)]
    riders_return: bool,
    /// Upload slots of everybody; 0: as many as by default
    #[arg(long, default_value_t = 0)]
    slots: usize,
    /// Decides everything that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw the run into this file.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Runs it; fails if not everybody finished.
pub(crate) fn run(args: &Args) -> ExitCode {
    if args.free_riders > args.peers {
        eprintln!("--free-riders {}: there are {} leechers", args.free_riders, args.peers);
        return ExitCode::from(2);
    }
    let before = cpu_seconds();
    let report = experiment::run(&args.settings());
    let cpu = cpu_seconds() - before;
    print!("{report}");
    say!(
        "{} engine events in {cpu:.1} s of CPU: {:.0} a second; {} steps of the simulator; {}",
        report.inputs,
        report.inputs as f64 / cpu,
        report.steps,
        memory(&report),
    );
    if let Some(path) = &args.plot
        && let Err(why) = std::fs::write(path, experiment::plot(&report))
    {
        eprintln!("{} could not be written: {why}", path.display());
        return ExitCode::FAILURE;
    }
    if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            seed: self.seed,
            peers: self.peers,
            seeds: self.seeds,
            size: self.size,
            piece_len: self.piece,
            up_bytes_per_s: self.up,
            down_bytes_per_s: self.down,
            seed_up_bytes_per_s: self.seed_up,
            heterogeneous: self.heterogeneous,
            flash_crowd: self.flash_crowd,
            churn: self.churn,
            free_riders: self.free_riders,
            riders_return: self.riders_return,
            slots: self.slots,
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("{unit:?} is none of B, KiB, MiB, GiB")),
    };
    let number: u64 = number.parse().map_err(|_| "no number of bytes".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "out of range".to_owned())
}

fn piece_len(text: &str) -> Result<u32, String> {
    let length = bytes(text)?;
    let length = u32::try_from(length).ok().filter(|length| length.is_power_of_two());
    length
        .filter(|length| (16 << 10..=64 << 20).contains(length))
        .ok_or_else(|| "no power of two from 16KiB to 64MiB".to_owned())
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that the process has held, for each member.
fn memory(report: &experiment::Report) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
    match kib {
        Some(kib) => {
            format!("{} MiB at most, {} KiB a member", kib >> 10, kib / report.peers.len() as u64)
        }
        None => "memory not known".to_owned(),
    }
}
