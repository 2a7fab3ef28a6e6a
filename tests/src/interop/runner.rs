//! Runs a list of cases as a test program of its own, with the command line and the output of
//! `cargo test`.
//!
//! A case whose needs are not met is reported as ignored, with the reason, and again in a summary
//! at the end, which also goes to the file that `BITSWARM_INTEROP_SKIPPED` names. With
//! `BITSWARM_INTEROP=require` it fails instead.
//!
//! Under nextest each case is a process, in a namespace of its own. nextest asks for the list of cases
//! outside of any namespace, where it cannot be known what a case will lack: all are listed, and a case
//! whose needs are not met adds its line to that file when its turn comes, and ends.

use std::fmt::Write as _;
use std::io::Write as _;
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
    let numbered = (1..).zip(cases);
    let trials = match std::env::var_os("NEXTEST") {
        Some(_) => numbered.map(|(number, case)| late_trial(number, case)).collect(),
        None => numbered.map(|(number, case)| trial(number, case, &arguments)).collect(),
    };
    lab::remember_panics();
    libtest_mimic::run(&arguments, trials).exit_code()
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

/// Whether a case that cannot run is a failure.
fn all_are_required() -> bool {
    std::env::var("BITSWARM_INTEROP").is_ok_and(|value| value == "require")
}

/// A trial of which it is known before any runs whether it can.
fn trial(number: u8, case: Case, arguments: &Arguments) -> Trial {
    let obstacles = case.obstacles();
    if obstacles.is_empty() {
        return Trial::test(case.name, move || Lab::run(number, case.steps).map_err(Failed::from));
    }
    let why = reasons(&obstacles);
    let is_chosen = arguments.filter.as_ref().is_none_or(|filter| case.name.contains(filter));
    if is_chosen && !arguments.list && !all_are_required() {
        report_skipped(&case.name, &why);
    }
    let trial = Trial::test(case.name, move || Err(Failed::from(why)));
    let words: Vec<&str> = obstacles.iter().map(|(need, _)| need.word()).collect();
    trial.with_kind(format!("no {}", words.join(", "))).with_ignored_flag(!all_are_required())
}

/// A trial that finds out whether it can run when it is to.
fn late_trial(number: u8, case: Case) -> Trial {
    Trial::test(case.name.clone(), move || {
        let obstacles = case.obstacles();
        if obstacles.is_empty() {
            return Lab::run(number, case.steps).map_err(Failed::from);
        }
        let why = reasons(&obstacles);
        if all_are_required() {
            return Err(Failed::from(why));
        }
        report_skipped(&case.name, &why);
        Ok(())
    })
}

fn reasons(obstacles: &[(Need, String)]) -> String {
    let reasons: Vec<&str> = obstacles.iter().map(|(_, why)| why.as_str()).collect();
    reasons.join("; ")
}

/// Says that a case cannot run here: on stderr, and in the file that is to have all of them.
fn report_skipped(name: &str, why: &str) {
    let mut line = String::new();
    let _ = writeln!(line, "interop: skipped {name}: {why} (.ci/install-peers installs clients)");
    eprint!("{line}");
    let Some(path) = std::env::var_os("BITSWARM_INTEROP_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("interop: {}: {error}", path.display());
    }
}
