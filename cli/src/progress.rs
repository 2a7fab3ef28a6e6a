//! stderr: progress and messages.
//!
//! On a terminal each task has one line with a bar, redrawn in place. Elsewhere (a log, a pipe)
//! each task writes one plain line every few seconds. With `--quiet` there is neither; with
//! `--verbose` lines are plain, so that bars and log lines do not overwrite each other.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Reporting;
use crate::output;
use crate::screen::{self, Screen};
use crate::text::clean;

/// Between two plain lines of one task (chosen: a log of an hour stays readable).
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Before the first plain line of a task (chosen: what is done at once needs none but the last).
const FIRST_LINE: Duration = Duration::from_secs(1);

/// Steps of a bar: tenths of a percent.
const BAR_LEN: u64 = 1000;

/// Where progress and messages go.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Bars(MultiProgress),
    Lines,
    Silent,
}

impl Progress {
    /// Bars, lines or silence, by what stderr is and what the user asked for.
    pub(crate) fn new(reporting: Reporting) -> Self {
        // A stream of objects on the same terminal leaves no place for bars.
        let has_stream = reporting.verbose > 0 || (reporting.json && screen::has_results());
        let form = if reporting.quiet {
            Form::Silent
        } else if screen::is_ours() && !has_stream {
            // Ten times a second is smooth, and costs nothing beside a transfer.
            let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 10);
            Form::Bars(MultiProgress::with_draw_target(target))
        } else {
            Form::Lines
        };
        Progress { form }
    }

    /// A new line for a task.
    pub(crate) fn task(&self, label: &str) -> Task {
        let label = clean(label).into_owned();
        let shown = match &self.form {
            Form::Bars(bars) => {
                let bar = ProgressBar::new(BAR_LEN).with_style(style());
                Shown::Bar(bars.add(bar.with_prefix(label.clone())))
            }
            Form::Lines => Shown::Lines { due: Instant::now() + FIRST_LINE, said: String::new() },
            Form::Silent => Shown::Nothing,
        };
        Task { label, shown }
    }

    /// A sentence for the user, above the bars.
    pub(crate) fn say(&self, message: &str) {
        if !matches!(self.form, Form::Silent) {
            self.above_bars(|| output::say(message));
        }
    }

    /// Writes a result while the bars are out of the way: stdout may be the same terminal.
    pub(crate) fn above_bars<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.form {
            Form::Bars(bars) => bars.suspend(write),
            Form::Lines | Form::Silent => write(),
        }
    }
}

/// The progress of one task.
#[derive(Debug)]
pub(crate) struct Task {
    label: String,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    /// When the next line is due, and what the last one said.
    Lines {
        due: Instant,
        said: String,
    },
    Nothing,
}

impl Task {
    /// How many bytes are done, of how many, and what else there is to say.
    pub(crate) fn set(&mut self, done: u64, total: u64, message: impl FnOnce() -> String) {
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(permille(done, total));
                bar.set_message(line(done, total, &message()));
            }
            Shown::Lines { due, said } => {
                let now = Instant::now();
                if now < *due {
                    return;
                }
                *due = now + LINE_INTERVAL;
                let line = line(done, total, &message());
                if *said != line {
                    output::say(&format!("{}: {}", self.label, line.trim_start()));
                    *said = line;
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Nothing more is to be said of this task: its bar goes.
    pub(crate) fn give_up(&mut self) {
        if let Shown::Bar(bar) = std::mem::replace(&mut self.shown, Shown::Nothing) {
            bar.finish_and_clear();
        }
    }

    /// The last word on this task: its line stays as it is.
    pub(crate) fn finish(&mut self, done: u64, total: u64, message: &str) {
        let line = line(done, total, message);
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(permille(done, total));
                bar.abandon_with_message(line);
            }
            Shown::Lines { .. } => output::say(&format!("{}: {}", self.label, line.trim_start())),
            Shown::Nothing => {}
        }
    }
}

/// What stands beside the bar.
fn line(done: u64, total: u64, message: &str) -> String {
    let permille = permille(done, total);
    format!("{:>3}.{}% {}", permille / 10, permille % 10, clean(message))
}

/// How much of it is done, rounded down: [`BAR_LEN`] means all of it.
fn permille(done: u64, total: u64) -> u64 {
    match total {
        0 => BAR_LEN,
        _ => (u128::from(done.min(total)) * u128::from(BAR_LEN) / u128::from(total)) as u64,
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:15!} {bar:9} {wide_msg}")
        .expect("the template is a constant that tests draw")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_percent_is_all_of_it_and_no_less() {
        assert_eq!(line(0, 10, "x"), "  0.0% x");
        assert_eq!(line(9_999, 10_000, "x"), " 99.9% x");
        assert_eq!(line(10, 10, "x"), "100.0% x");
        assert_eq!(line(0, 0, "x"), "100.0% x");
        assert_eq!(line(u64::MAX, u64::MAX, "x"), "100.0% x");
    }

    #[test]
    fn a_task_can_be_drawn() {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let progress = Progress { form: Form::Bars(bars) };
        let mut task = progress.task("a\u{1b}b");
        assert_eq!(task.label, "a\\u{1b}b");
        task.set(50, 100, || "x".to_owned());
        task.finish(100, 100, "y");
    }
}
