//! One seed: its options first, then how it went; on demand a trace, or a smaller run.

use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;

use bitswarm_tests::sim::storm::{Options, Report, try_run};
use bitswarm_tests::sim::world::Failure;

use super::{Changes, code, command};

pub(super) fn run(seed: u64, changes: &Changes, log: Option<PathBuf>, shrink: bool) -> ExitCode {
    let options = changes.options(seed).expect("checked before");
    say!("{options}");
    report_panics(&options);
    match try_run(&options, log) {
        Ok(report) => {
            print(&report);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say!("{failure}");
            if shrink {
                shrink_and_print(&options, &failure);
            } else {
                say!("reproduce: {}", command(&options));
            }
            ExitCode::from(code(&failure))
        }
    }
}

/// Where a panic ends the process, it takes the command that reproduces it along.
fn report_panics(options: &Options) {
    let reproduce = command(options);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        before(info);
        if cfg!(panic = "abort") {
            say!("crash: {info}\nreproduce: {reproduce}");
            std::process::exit(3);
        }
    }));
}

fn print(report: &Report) {
    say!("ended well at {:?} after {} inputs", report.ended_at, report.inputs);
    say!("trace {}", report.fingerprint);
    say!("conduct {}", report.conduct);
    for (event, count) in &report.events {
        say!("{count:>10}  {event}");
    }
}

/// Makes the options smaller while the run still fails in the same way.
fn shrink_and_print(options: &Options, failure: &Failure) {
    let mut least = (options.clone(), failure.clone());
    panic::set_hook(Box::new(|_| {}));
    let mut tries = 0;
    while let Some(smaller) = least.0.smaller().into_iter().find_map(|options| {
        tries += 1;
        let failed = try_run(&options, None).err()?;
        let same = failed.kind == failure.kind && failed.sort() == failure.sort();
        same.then_some((options, failed))
    }) {
        least = smaller;
    }
    let (options, failure) = least;
    say!("shrunk in {tries} runs: {options}\n{failure}");
    say!("reproduce: {}", command(&options));
}
