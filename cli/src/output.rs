//! The process's outputs, and the only code that writes to them: results on stdout, as lines for
//! people or as JSON for programs; progress, messages and errors on stderr.
//!
//! With `--json` every line of stdout is one object, whose first field is the version of the
//! format, `"v": 1`; fields may be added within a version, never changed.
//!
//! An output is *lost* when nobody can read it any more: the reader of a pipe has gone, or the
//! terminal has. That never ends a run. A lost stdout is said once on stderr where the run has more
//! to do than to print (see [`outlives_its_reader`]); what would go to a lost output is dropped.
//! The standard library's macros panic instead, so clippy refuses them in this package.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::text::{clean, clean_json};

/// The version of the JSON that is written.
const VERSION: u64 = 1;

/// Before a full output that does not block is tried again (chosen).
const FULL_PAUSE: Duration = Duration::from_millis(5);

static OUTPUTS: Outputs = Outputs {
    outlives_reader: AtomicBool::new(false),
    stdout_lost: AtomicBool::new(false),
    stderr_lost: AtomicBool::new(false),
    failure: Mutex::new(None),
};

/// What is known of the outputs.
struct Outputs {
    outlives_reader: AtomicBool,
    stdout_lost: AtomicBool,
    stderr_lost: AtomicBool,
    /// Why results could not be written though somebody may want to read them (a full disk).
    failure: Mutex<Option<Failure>>,
}

/// The run goes on when stdout cannot be written: it transfers or serves, and its results are
/// elsewhere. What is wrong is said once.
pub(crate) fn outlives_its_reader() {
    OUTPUTS.outlives_reader.store(true, Relaxed);
}

/// A JSON object under construction; fields keep their order.
#[derive(Clone, Debug)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// An object that bears the format's version and nothing else.
    pub(crate) fn new() -> Self {
        Object(Map::from_iter([("v".to_owned(), VERSION.into())]))
    }

    /// One of a stream of objects, which say what they are in the field `event`.
    pub(crate) fn event(name: &str) -> Self {
        Object::new().with("event", name)
    }

    /// Adds a field.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// Writes it as one line.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        write_results(format!("{self}\n").as_bytes())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&clean_json(&json))
    }
}

/// Writes one line for people, made safe for a terminal.
pub(crate) fn print(line: &str) -> Result<(), Failure> {
    write_results(format!("{}\n", clean(line)).as_bytes())
}

/// Writes bytes as they are: scripts, manual pages and torrents.
pub(crate) fn print_raw(bytes: &[u8]) -> Result<(), Failure> {
    write_results(bytes)
}

/// A sentence on stderr, made safe for a terminal.
pub(crate) fn say(message: &str) {
    // One write a line, so that lines of several processes do not mix.
    write_stderr(format!("{}\n", clean(message)).as_bytes());
}

/// How the writing of results ended, at the end of a run that went on without.
pub(crate) fn verdict() -> Result<(), Failure> {
    let failure = OUTPUTS.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

/// stderr as a writer that never fails: what cannot be written is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_stderr(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// stdout, to ask what it is; writing is done here.
#[expect(clippy::disallowed_methods, reason = "the room that writes")]
pub(crate) fn stdout_to_ask() -> io::Stdout {
    io::stdout()
}

/// stderr, to ask what it is; writing is done here.
#[expect(clippy::disallowed_methods, reason = "the room that writes")]
pub(crate) fn stderr_to_ask() -> io::Stderr {
    io::stderr()
}

fn write_results(bytes: &[u8]) -> Result<(), Failure> {
    if OUTPUTS.stdout_lost.load(Relaxed) {
        return Ok(());
    }
    written(write_stdout(bytes))
}

/// What it means to the run how results, or help, went to stdout.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    let Err(error) = result else { return Ok(()) };
    let goes_on = OUTPUTS.outlives_reader.load(Relaxed);
    if is_loss(&error) {
        // A reader that went away (`| head`) has what it wanted.
        OUTPUTS.stdout_lost.store(true, Relaxed);
        if goes_on {
            say("bitswarm: nobody reads the standard output any more; going on without it");
        }
        return Ok(());
    }
    let failure = Failure::file("cannot write to", Path::new("standard output"), &error);
    if !goes_on {
        return Err(failure);
    }
    OUTPUTS.stdout_lost.store(true, Relaxed);
    say(&format!("bitswarm: {failure}; going on without it"));
    let mut kept = OUTPUTS.failure.lock().unwrap_or_else(PoisonError::into_inner);
    kept.get_or_insert(failure.said());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the room that writes")]
fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    write_all(&mut io::stdout().lock(), bytes)
}

#[expect(clippy::disallowed_methods, reason = "the room that writes")]
fn write_stderr(bytes: &[u8]) {
    if OUTPUTS.stderr_lost.load(Relaxed) {
        return;
    }
    if let Err(error) = write_all(&mut io::stderr().lock(), bytes)
        && is_loss(&error)
    {
        OUTPUTS.stderr_lost.store(true, Relaxed);
    }
}

/// As `Write::write_all`, and waits where an output that somebody else made non-blocking is full.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match patiently(|| out.write(bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count.min(bytes.len())..],
        }
    }
    patiently(|| out.flush())
}

fn patiently<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
            result => return result,
        }
    }
}

/// Whether nobody will read it any more: a pipe without a reader (`EPIPE`), a terminal that is gone
/// (`EIO`, `ENXIO`), a descriptor that was closed (`EBADF`), a connection that was reset.
fn is_loss(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    let by_number = matches!(error.raw_os_error(), Some(EIO | ENXIO | EBADF));
    by_number || matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

const EIO: i32 = 5;
const ENXIO: i32 = 6;
const EBADF: i32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, and is full or interrupted in between.
    #[derive(Default)]
    struct Reluctant {
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            match self.calls % 3 {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                1 => Err(io::ErrorKind::Interrupted.into()),
                _ => {
                    let count = bytes.len().min(3);
                    self.taken.extend_from_slice(&bytes[..count]);
                    Ok(count)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_is_full_for_a_while_gets_every_byte_once() {
        let mut out = Reluctant::default();
        write_all(&mut out, b"every byte, in order\n").unwrap();
        assert_eq!(out.taken, b"every byte, in order\n");
    }

    #[test]
    fn gone_readers_and_terminals_are_lost_and_full_disks_are_not() {
        let os = io::Error::from_raw_os_error;
        for error in [os(EIO), os(ENXIO), os(EBADF), io::ErrorKind::BrokenPipe.into()] {
            assert!(is_loss(&error), "{error}");
        }
        assert!(!is_loss(&io::ErrorKind::StorageFull.into()));
        assert!(!is_loss(&io::ErrorKind::FileTooLarge.into()));
    }
}
