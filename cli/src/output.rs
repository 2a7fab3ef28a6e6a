//! stdout: results, as lines for people or as JSON for programs.
//!
//! Nothing else is ever written there. With `--json` every line is one object, whose first field
//! is the version of the format, `"v": 1`; fields may be added within a version, never changed.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::text::{clean, clean_json};

/// The version of the JSON that is written.
const VERSION: u64 = 1;

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
        write_line(&self.to_string())
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
    write_line(&clean(line))
}

/// Writes text as it is: for scripts and manual pages of our own making.
pub(crate) fn print_raw(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    check(out.write_all(text).and_then(|()| out.flush()))
}

fn write_line(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    check(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// A reader that went away (`| head`) has what it wanted; anything else is an error.
fn check(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::file("cannot write to", Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}
