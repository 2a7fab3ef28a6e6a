//! The simulator's command line.

mod swarm;

use std::process::ExitCode;

use clap::Parser;

/// Runs the simulator.
#[derive(Debug, Parser)]
#[command(name = "sim")]
enum Args {
    /// Runs a swarm and reports its figures.
    Swarm(swarm::Args),
}

fn main() -> ExitCode {
    match Args::parse() {
        Args::Swarm(args) => swarm::run(&args),
    }
}
