//! Log lines of the runtime, on stderr: errors always, more with `--verbose`.

use std::io::{self, Write};

use tracing::Level;

use crate::output::Stderr;
use crate::text::clean;

/// Starts logging. `verbose` counts the `-v`s.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => Level::ERROR,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(|| CleanLines(Stderr))
        .init();
}

/// Makes what is written safe for a terminal, but for the ends of lines: a log line may hold names
/// and messages of strangers (defence 4). It is written with one call.
struct CleanLines<W>(W);

impl<W: Write> Write for CleanLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<_> = text.split('\n').map(clean).collect();
        self.0.write_all(lines.join("\n").as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_escapes_do_not_stay_escapes() {
        let mut out = CleanLines(Vec::new());
        out.write_all(b"one \x1b[2J\ntwo\n").unwrap();
        assert_eq!(out.0, b"one \\u{1b}[2J\ntwo\n");
    }
}
