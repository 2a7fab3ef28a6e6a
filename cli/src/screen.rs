//! The terminal that progress is drawn on: stderr, as long as it is ours to draw on.
//!
//! A terminal belongs to the process group in its foreground. A process in the background may write
//! lines there, but must not move the cursor or clear what others wrote. A terminal that has gone
//! takes no drawing and is no error ([`crate::output`]).

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;
use rustix::process::getpgrp;
use rustix::stdio;
use rustix::termios::{Winsize, tcgetpgrp, tcgetwinsize};

use crate::output::Stderr;

/// Columns and rows of a terminal that does not say how many it has.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Whether stderr is a terminal that this process may draw on now.
pub(crate) fn is_ours() -> bool {
    stdio::stderr().is_terminal() && in_foreground()
}

/// Whether stdout is a terminal.
pub(crate) fn has_results() -> bool {
    stdio::stdout().is_terminal()
}

/// Whether stderr's terminal is controlled by our process group. One that controls nothing, such as
/// a serial line without job control, is there for whoever writes.
fn in_foreground() -> bool {
    tcgetpgrp(stdio::stderr()).map_or(true, |foreground| foreground == getpgrp())
}

/// Draws on stderr in pieces as large as the drawing that [`TermLike::flush`] ends.
#[derive(Debug, Default)]
pub(crate) struct Screen(Mutex<String>);

impl Screen {
    fn drawing(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, text: &str) -> io::Result<()> {
        self.drawing().push_str(text);
        Ok(())
    }

    /// Moves the cursor (ECMA-48, CUU to CUB).
    fn move_by(&self, count: usize, direction: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.add(&format!("\x1b[{count}{direction}")) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text)?;
        self.add("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawing = std::mem::take(&mut *self.drawing());
        match !drawing.is_empty() && is_ours() {
            true => Stderr.write_all(drawing.as_bytes()),
            false => Ok(()),
        }
    }
}

fn size() -> (u16, u16) {
    match tcgetwinsize(stdio::stderr()) {
        Ok(Winsize { ws_col, ws_row, .. }) if ws_col > 0 && ws_row > 0 => (ws_col, ws_row),
        _ => USUAL_SIZE,
    }
}
