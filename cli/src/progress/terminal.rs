//! What stderr is: a terminal that lines can be redrawn on, one that belongs to somebody else now,
//! or no terminal; how large it is, and whether it is to have colour.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(unix)]
use rustix::process::{getpgid, getpgrp, getppid, getsid};
#[cfg(unix)]
use rustix::termios::tcgetpgrp;

use super::screen::Dimensions;
use crate::args::Colour;
use crate::output::stderr_to_ask;
use crate::signals::began_uninterruptible;

/// Of a terminal that does not say how large it is.
const USUAL: Dimensions = Dimensions { width: 80, rows: 24 };

/// Whether stderr is written to in colour.
pub(super) fn wants_colour(colour: Colour) -> bool {
    decide(colour, set("NO_COLOR"), stderr_to_ask().is_terminal() && !is_dumb())
}

/// `NO_COLOR` counts if it is set and not empty (no-color.org), and less than the option.
fn decide(colour: Colour, no_color: bool, is_terminal: bool) -> bool {
    match colour {
        Colour::Auto => is_terminal && !no_color,
        Colour::Always => true,
        Colour::Never => false,
    }
}

/// Who has the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// It is ours to draw on.
    Us,
    /// The shell that put this process into the background: lines come between its prompts.
    Shell,
    /// A program in the foreground, which may draw on it: what is not asked for would be in its way.
    Another,
}

/// A terminal on stderr.
#[derive(Debug)]
pub(super) struct Terminal {
    /// Set when the process goes on after it was stopped (Ctrl-Z).
    continued: Arc<AtomicBool>,
    /// A shell without job control started it with `&`: it shares the foreground with what follows.
    is_behind: bool,
}

impl Terminal {
    /// stderr, if lines can be redrawn there.
    pub(super) fn new() -> Option<Self> {
        if !stderr_to_ask().is_terminal() || is_dumb() {
            return None;
        }
        let continued = Arc::default();
        #[cfg(unix)]
        // Without it, lines may be drawn in the wrong place after Ctrl-Z: no reason to fail.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGCONT, Arc::clone(&continued));
        Some(Terminal { continued, is_behind: is_behind() })
    }

    pub(super) fn size(&self) -> Dimensions {
        let size = terminal_size::terminal_size_of(stderr_to_ask());
        match size.map(|(width, height)| (usize::from(width.0), usize::from(height.0))) {
            Some((width @ 1.., rows @ 1..)) => Dimensions { width, rows },
            _ => USUAL,
        }
    }

    pub(super) fn holder(&self) -> Holder {
        match holder() {
            Holder::Us if self.is_behind => Holder::Another,
            holder => holder,
        }
    }

    /// Whether the terminal is ours to draw on.
    pub(super) fn is_ours(&self) -> bool {
        self.holder() == Holder::Us
    }

    /// Whether somebody else may have written since the last time: the process was stopped.
    pub(super) fn was_left(&self) -> bool {
        self.continued.swap(false, Ordering::Relaxed)
    }
}

/// Whether the terminal breaks lines anew when it becomes narrower. Most do; those that do not
/// would lose lines above ours if they were treated so.
pub(super) fn reflows() -> bool {
    let term = env::var("TERM").unwrap_or_default();
    reflows_with(&term, set("XTERM_VERSION"), set("TMUX"))
}

fn reflows_with(term: &str, is_xterm: bool, is_tmux: bool) -> bool {
    let old = ["linux", "screen", "rxvt", "vt", "st"];
    let is_old = old.iter().any(|name| term.strip_prefix(name).is_some_and(ends_name));
    is_tmux || !(is_xterm || is_old)
}

/// `st` is the name of a terminal, and so is `st-256color`; `vt100` is one of the `vt`s.
fn ends_name(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether the terminal cannot move its cursor.
fn is_dumb() -> bool {
    let term = env::var_os("TERM");
    cfg!(unix) && (term.as_deref().is_none_or(OsStr::is_empty) || term.is_some_and(|t| t == "dumb"))
}

fn set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Whether this is what a shell without job control makes of `command &`: interrupts are ignored, and
/// stdin is not the terminal (POSIX, asynchronous lists).
fn is_behind() -> bool {
    cfg!(unix) && began_uninterruptible() && !io::stdin().is_terminal()
}

#[cfg(unix)]
fn holder() -> Holder {
    // A terminal that is not the one that controls this process has no foreground to be in.
    let Ok(foreground) = tcgetpgrp(stderr_to_ask()) else { return Holder::Us };
    if foreground == getpgrp() {
        return Holder::Us;
    }
    let is_parents = getppid().is_some_and(|parent| getpgid(Some(parent)) == Ok(foreground));
    match is_parents || getsid(None) == Ok(foreground) {
        true => Holder::Shell,
        false => Holder::Another,
    }
}

#[cfg(not(unix))]
fn holder() -> Holder {
    Holder::Us
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_outranks_the_environment_and_that_the_terminal() {
        assert!(decide(Colour::Auto, false, true));
        assert!(!decide(Colour::Auto, true, true));
        assert!(!decide(Colour::Auto, false, false));
        assert!(decide(Colour::Always, true, false));
        assert!(!decide(Colour::Never, false, true));
    }

    #[test]
    fn terminals_that_leave_lines_as_they_are_are_known() {
        assert!(reflows_with("xterm-256color", false, false));
        assert!(!reflows_with("xterm-256color", true, false));
        assert!(reflows_with("screen-256color", false, true), "tmux");
        for term in ["linux", "screen", "screen.xterm", "rxvt-unicode", "vt100", "st-256color"] {
            assert!(!reflows_with(term, false, false), "{term}");
        }
        assert!(reflows_with("stterm", false, false));
    }
}
