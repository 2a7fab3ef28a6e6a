//! Runs a list of cases as a test program of its own, with the command line and the output of
//! `cargo test`.
//!
//! A case whose needs are not met is reported as ignored, with the reason, and again in a summary
//! at the end, which also goes to the file that `BITSWARM_INTEROP_SKIPPED` names. With
//! `BITSWARM_INTEROP=require` it fails instead.

use std::fmt::Write as _;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use super::{Lab, Need, Outcome, bitswarm, namespace};

/// One case: what it needs, and its steps.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, in the style of a test function's.
    pub name: &'static str,
    /// What it cannot do without.
    pub needs: Vec<Need>,
    /// What it does.
    pub steps: fn(&Lab) -> Outcome,
}

impl Case {
    /// A case with these needs.
    pub fn new(name: &'static str, needs: &[&[Need]], steps: fn(&Lab) -> Outcome) -> Case {
        Case { name, needs: needs.concat(), steps }
    }

    /// Why it cannot run here.
    fn obstacle(&self) -> Option<String> {
        let obstacles: Vec<String> = self.needs.iter().filter_map(|need| need.missing()).collect();
        (!obstacles.is_empty()).then(|| obstacles.join("; "))
    }
}

/// The `main` of the test program.
pub fn run(cases: Vec<Case>) -> ExitCode {
    let arguments = Arguments::from_args();
    if let Err(error) = prepare(&arguments) {
        eprintln!("interop: {error}");
        return ExitCode::FAILURE;
    }
    let required = std::env::var("BITSWARM_INTEROP").is_ok_and(|value| value == "require");
    let mut skipped = String::new();
    let mut trials = Vec::new();
    for (number, case) in (1..).zip(cases) {
        let obstacle = case.obstacle();
        if let (Some(why), false) = (&obstacle, required) {
            let _ = writeln!(skipped, "interop: skipped {}: {why}", case.name);
        }
        trials.push(trial(number, &case, obstacle, required));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        tell_skipped(&skipped);
    }
    conclusion.exit_code()
}

/// Builds our binary and moves into a namespace, unless only a list is asked for.
fn prepare(arguments: &Arguments) -> Outcome {
    if arguments.list {
        return Ok(());
    }
    if !namespace::is_entered() {
        let binary = bitswarm::build()?;
        match namespace::enter((bitswarm::BINARY, binary.as_os_str()))? {}
    }
    namespace::set_up()
}

fn trial(number: u8, case: &Case, obstacle: Option<String>, required: bool) -> Trial {
    let steps = case.steps;
    let Some(why) = obstacle else {
        let run = move || Lab::run(number, steps).map_err(Failed::from);
        return Trial::test(case.name, run);
    };
    let kind = if required { String::new() } else { format!("skipped: {why}") };
    Trial::test(case.name, move || Err(Failed::from(why)))
        .with_kind(kind)
        .with_ignored_flag(!required)
}

fn tell_skipped(skipped: &str) {
    if !skipped.is_empty() {
        eprint!("{skipped}");
        eprintln!("interop: bash .ci/install-peers installs the clients that these cases need");
    }
    if let Some(path) = std::env::var_os("BITSWARM_INTEROP_SKIPPED")
        && let Err(error) = std::fs::write(&path, skipped)
    {
        eprintln!("interop: {}: {error}", path.display());
    }
}
