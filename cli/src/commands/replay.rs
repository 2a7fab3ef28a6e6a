//! `replay`: plays a recording (`--record`) to a fresh engine, without network or files, and says
//! whether it does the same again.

use std::fs;

use bitswarm_core::record::{Difference, ReplayError, Replayer};

use crate::args::Replay;
use crate::exit::{Code, Failure};
use crate::output::{Object, print};
use crate::progress::{Facts, Progress};
use crate::signals::Interrupt;
use crate::units::counted;

/// Inputs between two looks at the progress and at signals (chosen).
const LOOK_EVERY: u64 = 256;

/// Plays it to its end, or to where the engine does something else than when it was recorded.
pub(crate) fn run(args: &Replay) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting, args.painting);
    let log =
        fs::read(&args.log).map_err(|error| Failure::file("cannot read", &args.log, &error))?;
    let path = args.log.display().to_string();
    let mut replayer = Replayer::new(&log).map_err(|error| failure(&path, &error))?;
    let played = play(&mut replayer, &log, &path, &progress, &interrupt)?;
    let (print_of, rest) = (replayer.fingerprint(), replayer.remaining());
    if let Err(error) = played {
        if args.reporting.json {
            tell(args, &replayer, Some(&error)).print()?;
        }
        return Err(failure(&path, &error));
    }
    if rest > 0 {
        let rest = counted(rest, "byte is", "bytes are");
        progress.say(&format!("{path}: cut off: its last {rest} half of an input"));
    }
    if args.reporting.json {
        return tell(args, &replayer, None).print();
    }
    print(&format!("{path}: the engine does the same again; fingerprint {print_of}"))
}

/// The inner result says whether the engine did the same.
fn play(
    replayer: &mut Replayer<'_>,
    log: &[u8],
    path: &str,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Result<(), ReplayError>, Failure> {
    let mut task = progress.task(path);
    let total = log.len() as u64;
    for number in 1_u64.. {
        match replayer.step() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        }
        if number.is_multiple_of(LOOK_EVERY) {
            if interrupt.is_set() {
                return Err(Failure::interrupted("the recording was not played to its end"));
            }
            let done = total - replayer.remaining() as u64;
            task.set(|| Facts::work(done, total, counted(number, "input", "inputs")));
            progress.refresh();
        }
    }
    Ok(Ok(()))
}

fn tell(args: &Replay, replayer: &Replayer<'_>, error: Option<&ReplayError>) -> Object {
    let fingerprint = replayer.fingerprint();
    let (equal_until, different_at) = match error {
        Some(ReplayError::Diverged { equal_until, different_at, .. }) => {
            (Some(*equal_until), Some(*different_at))
        }
        _ => (None, None),
    };
    Object::new()
        .with("path", args.log.to_string_lossy())
        .with("same", error.is_none())
        .with("inputs", fingerprint.inputs)
        .with("actions", fingerprint.actions)
        .with("fingerprint", fingerprint.to_string())
        .with("cut_off", error.is_none() && replayer.remaining() > 0)
        .with("equal_until", equal_until)
        .with("different_at", different_at)
        .with("error", error.map(ToString::to_string))
}

fn failure(path: &str, error: &ReplayError) -> Failure {
    let (code, message) = match error {
        ReplayError::NotALog => {
            (Code::BadInput, "is no recording; --record LOG makes one".to_owned())
        }
        ReplayError::UnknownVersion(_) | ReplayError::Damaged { .. } => {
            (Code::BadInput, error.to_string())
        }
        ReplayError::Diverged { equal_until, different_at, what } => {
            let what = match what {
                Difference::Answers => "what inputs return",
                Difference::Actions => "what is to be done",
            };
            let message = format!(
                "the engine does the same up to input {equal_until} and parts from the log by input \
                 {different_at}, in {what}; it is another version, or not deterministic"
            );
            // With --json the result says so.
            return Failure::verdict(Code::Mismatch, format!("{path}: {message}"));
        }
    };
    Failure::new(code, format!("{path}: {message}"))
}
