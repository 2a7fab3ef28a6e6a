//! Runs a list of cases as a test program of its own, with the command line and the output of
//! `cargo test`.
//!
//! A case whose needs are not met is reported as ignored, with the reason, and again in a summary
//! at the end, which also goes to the file that `BITSWARM_INTEROP_SKIPPED` names. With
//! `BITSWARM_INTEROP=require` it fails instead.

use std::fmt::Write as _;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use super::{Lab, Need, Outcome, bitswarm, lab, namespace};

/// Cases that run at once: they wait for each other's timers more than they compute.
const AT_ONCE: usize = 4;

/// One case: what it needs, and its steps.
pub struct Case {
    name: String,
    needs: Vec<Need>,
    steps: Box<dyn FnOnce(&Lab) -> Outcome + Send>,
}

impl Case {
    /// A case with a name in the style of a test function's, what it cannot do without, and what
    /// it does.
    pub fn new(
        name: impl Into<String>,
        needs: &[&[Need]],
        steps: impl FnOnce(&Lab) -> Outcome + Send + 'static,
    ) -> Case {
        Case { name: name.into(), needs: needs.concat(), steps: Box::new(steps) }
    }

    /// The needs that are not met here, each once, with the reason.
    fn obstacles(&self) -> Vec<(Need, String)> {
        let mut obstacles: Vec<(Need, String)> = Vec::new();
        for need in &self.needs {
            if let (Some(why), false) = (need.missing(), obstacles.iter().any(|(n, _)| n == need)) {
                obstacles.push((*need, why));
            }
        }
        obstacles
    }
}

/// The `main` of the test program.
pub fn run(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    if let Err(error) = prepare(&arguments) {
        eprintln!("interop: {error}");
        return ExitCode::FAILURE;
    }
    let required = std::env::var("BITSWARM_INTEROP").is_ok_and(|value| value == "require");
    let mut skipped = String::new();
    let mut trials = Vec::new();
    for (number, case) in (1..).zip(cases) {
        let obstacles = case.obstacles();
        let chosen =
            arguments.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str()));
        if chosen && !required && !obstacles.is_empty() {
            let _ = writeln!(skipped, "interop: skipped {}: {}", case.name, reasons(&obstacles));
        }
        trials.push(trial(number, case, &obstacles, required));
    }
    lab::remember_panics();
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

fn trial(number: u8, case: Case, obstacles: &[(Need, String)], required: bool) -> Trial {
    if obstacles.is_empty() {
        let run = move || Lab::run(number, case.steps).map_err(Failed::from);
        return Trial::test(case.name, run);
    }
    let why = reasons(obstacles);
    let trial = Trial::test(case.name, move || Err(Failed::from(why)));
    let words: Vec<&str> = obstacles.iter().map(|(need, _)| need.word()).collect();
    trial.with_kind(format!("no {}", words.join(", "))).with_ignored_flag(!required)
}

fn reasons(obstacles: &[(Need, String)]) -> String {
    let reasons: Vec<&str> = obstacles.iter().map(|(_, why)| why.as_str()).collect();
    reasons.join("; ")
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
