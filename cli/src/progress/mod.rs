//! stderr: progress and messages.
//!
//! On a terminal each task has one line with a bar, redrawn in place at its end. Elsewhere (a log, a
//! pipe, a terminal that cannot move its cursor or that the shell has now) each task writes one plain
//! line every few seconds; while another program has the terminal, only when it ends, and sentences wait:
//! a line in between would come into what that program draws. With `--quiet` there is neither; with
//! `--verbose` lines are plain, so that bars and log lines do not overwrite each other.
//!
//! - `facts`: what is known of a task; `line`: how that is laid out, a pure function;
//! - `board`: which tasks are shown; `screen`: how lines are redrawn; `terminal`: what stderr is;
//! - `width`: how many columns text takes.

mod board;
mod facts;
mod line;
mod screen;
mod terminal;
mod width;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::args::{Painting, Reporting};
use crate::output::{Stderr, stdout_to_ask};
use crate::text::clean;

pub(crate) use board::Whole;
pub(crate) use facts::{Activity, Facts, Tone};

use board::Board;
use line::sentence;
use screen::Screen;
use terminal::{Holder, Terminal};

/// Between two plain lines of one task (chosen: a log of an hour stays readable).
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Before the first plain line of a task (chosen: what is done at once needs none but the last).
const FIRST_LINE: Duration = Duration::from_secs(1);

/// Longest text that waits for another program to end (chosen); what comes then is written all the same.
const MOST_WAITING: usize = 16 * 1024;

/// Between two frames (chosen: ten times a second is smooth, and costs nothing beside a transfer).
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// Where progress and messages go. Clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    form: Form,
    colour: bool,
    board: Board,
    screen: Screen,
    drawn_at: Option<Instant>,
    /// Of each task: when its next plain line is due, and what the last one said.
    plain: BTreeMap<u64, (Instant, String)>,
    /// Sentences that wait until no other program is in the foreground of the terminal.
    waiting: String,
}

#[derive(Debug)]
enum Form {
    Terminal(Terminal),
    Lines,
    Silent,
}

impl Progress {
    /// Bars, lines or silence, by what stderr is and what the user asked for.
    pub(crate) fn new(reporting: Reporting, painting: Painting) -> Self {
        // A stream of objects on the same terminal leaves no place for bars.
        let has_stream = reporting.verbose > 0 || (reporting.json && stdout_to_ask().is_terminal());
        let form = match Terminal::new() {
            _ if reporting.quiet => Form::Silent,
            Some(terminal) if !has_stream => Form::Terminal(terminal),
            _ => Form::Lines,
        };
        Progress(Arc::new(Mutex::new(Inner {
            form,
            colour: terminal::wants_colour(painting.color),
            board: Board::default(),
            screen: Screen::new(terminal::reflows()),
            drawn_at: None,
            plain: BTreeMap::new(),
            waiting: String::new(),
        })))
    }

    /// Whether nothing is shown of how tasks stand.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.lock().form, Form::Silent)
    }

    /// A new line for a task, once something is known of it.
    pub(crate) fn task(&self, label: &str) -> Task {
        let id = self.lock().add(label);
        Task { id, progress: self.clone() }
    }

    /// What is said of all tasks together, where there are several.
    pub(crate) fn set_whole(&self, whole: Whole) {
        self.lock().board.whole = Some(whole);
    }

    /// A sentence for the user, above the bars.
    pub(crate) fn say(&self, message: &str) {
        let mut inner = self.lock();
        if !matches!(inner.form, Form::Silent) {
            let line = clean(message) + "\n";
            inner.write_above(&line);
        }
    }

    /// Writes a result while the bars are out of the way: stdout may be the same terminal.
    pub(crate) fn above_bars<R>(&self, write: impl FnOnce() -> R) -> R {
        self.lock().erase();
        let written = write();
        self.lock().draw();
        written
    }

    /// Shows how tasks stand now, if it is time.
    pub(crate) fn refresh(&self) {
        self.lock().refresh();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The progress of one task. Its line goes when this does, unless it has had its last word.
#[derive(Debug)]
pub(crate) struct Task {
    id: u64,
    progress: Progress,
}

impl Task {
    /// How it stands; shown at the next [`Progress::refresh`].
    pub(crate) fn set(&mut self, facts: impl FnOnce() -> Facts) {
        let mut inner = self.progress.lock();
        if matches!(inner.form, Form::Silent) {
            return;
        }
        if let Some(entry) = inner.board.get_mut(self.id) {
            entry.facts = Some(facts());
        }
    }

    /// The last word on this task: its line stays as it is.
    pub(crate) fn finish(&mut self, facts: Facts) {
        let mut inner = self.progress.lock();
        inner.finish(self.id, facts);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut inner = self.progress.lock();
        let is_finished = inner.board.get_mut(self.id).is_none_or(|entry| entry.is_finished);
        if !is_finished {
            inner.board.remove(self.id);
            inner.plain.remove(&self.id);
            if inner.board.is_settled() { inner.settle() } else { inner.draw() }
        }
    }
}

impl Inner {
    fn add(&mut self, label: &str) -> u64 {
        let id = self.board.add(clean(label).into_owned());
        self.plain.insert(id, (Instant::now() + FIRST_LINE, String::new()));
        id
    }

    fn finish(&mut self, id: u64, facts: Facts) {
        let Some(entry) = self.board.get_mut(id) else { return };
        entry.is_finished = true;
        let line = sentence(&entry.label, &facts).render(self.colour) + "\n";
        entry.facts = Some(facts);
        self.plain.remove(&id);
        match &self.form {
            Form::Terminal(terminal) if terminal.is_ours() => self.refresh(),
            Form::Terminal(_) | Form::Lines => {
                let before = std::mem::take(&mut self.waiting);
                write(&(before + &line));
            }
            Form::Silent => {}
        }
        self.settle();
    }

    /// When no task is under way any more, what is drawn stays for good.
    fn settle(&mut self) {
        if self.board.is_settled() {
            self.draw();
            self.screen.let_go();
            self.board.clear();
        }
    }

    fn refresh(&mut self) {
        match &self.form {
            Form::Terminal(terminal) if terminal.is_ours() => {
                if !self.waiting.is_empty() {
                    self.write_above("");
                } else if self.drawn_at.is_none_or(|at| at.elapsed() >= FRAME_INTERVAL) {
                    self.draw();
                }
            }
            Form::Terminal(terminal) => {
                let is_free = terminal.holder() == Holder::Shell;
                // What was drawn is somewhere above the shell's prompt.
                self.screen.let_go();
                if is_free {
                    write(&std::mem::take(&mut self.waiting));
                    self.write_plain();
                }
            }
            Form::Lines => self.write_plain(),
            Form::Silent => {}
        }
    }

    /// Draws all that there is to show, if the terminal is ours.
    fn draw(&mut self) {
        self.draw_below("");
    }

    fn draw_below(&mut self, above: &str) {
        let Form::Terminal(terminal) = &self.form else { return };
        if !terminal.is_ours() {
            return;
        }
        if terminal.was_left() {
            self.screen.let_go();
        }
        let size = terminal.size();
        let lines = self.board.lines(size.width, size.rows);
        if above.is_empty() && lines.is_empty() && self.screen.is_empty() {
            return;
        }
        let frame = self.screen.frame(above, &lines, self.colour, size);
        self.drawn_at = Some(Instant::now());
        write(&frame);
    }

    fn erase(&mut self) {
        let Form::Terminal(terminal) = &self.form else { return };
        if terminal.was_left() || !terminal.is_ours() {
            return self.screen.let_go();
        }
        let size = terminal.size();
        write(&self.screen.erase(size));
    }

    /// Writes whole lines, and before them those that waited.
    fn write_above(&mut self, lines: &str) {
        self.waiting.push_str(lines);
        if let Form::Terminal(terminal) = &self.form {
            match terminal.holder() {
                Holder::Us => {
                    let lines = std::mem::take(&mut self.waiting);
                    return self.draw_below(&lines);
                }
                Holder::Another if self.waiting.len() <= MOST_WAITING => return,
                Holder::Another | Holder::Shell => {}
            }
        }
        write(&std::mem::take(&mut self.waiting));
    }

    /// A plain line of each task that is due and has something new to say.
    fn write_plain(&mut self) {
        let now = Instant::now();
        let mut lines = String::new();
        for (id, (due, said)) in self.plain.iter_mut().filter(|(_, (due, _))| *due <= now) {
            let Some(entry) = self.board.get_mut(*id) else { continue };
            let Some(facts) = &entry.facts else { continue };
            *due = now + LINE_INTERVAL;
            let line = sentence(&entry.label, facts).render(self.colour);
            if *said != line {
                lines.extend([&line, "\n"]);
                *said = line;
            }
        }
        write(&lines);
    }
}

/// A sentence for the user before there is any progress.
pub(crate) fn say_alone(message: &str) {
    write(&(clean(message) + "\n"));
}

/// Writes at once. That nobody reads is no reason to stop working.
fn write(text: &str) {
    if !text.is_empty() {
        // It drops what cannot be written.
        let _ = Stderr.write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Colour;

    fn silent() -> Progress {
        let reporting = Reporting { json: false, quiet: true, verbose: 0 };
        Progress::new(reporting, Painting { color: Colour::default() })
    }

    #[test]
    fn a_task_that_is_dropped_leaves_no_line_and_one_that_ended_does() {
        let progress = silent();
        progress.lock().form = Form::Lines;
        let facts = || Facts::work(1, 2, String::new());
        let mut staying = progress.task("a\u{1b}b");
        let mut going = progress.task("gone");
        staying.set(facts);
        going.set(facts);
        assert_eq!(progress.lock().board.lines(80, 24).len(), 2);
        drop(going);
        let shown = progress.lock().board.lines(80, 24);
        assert_eq!(shown.len(), 1);
        assert!(shown[0].render(false).starts_with("a\\u{1b}b"));
        assert!(!progress.lock().board.is_settled());
        staying.finish(facts());
        assert!(progress.lock().board.is_settled());
    }
}
