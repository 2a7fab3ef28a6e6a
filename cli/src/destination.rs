//! Where a command writes the torrent that it makes: a file, or stdout.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::{Code, Failure};
use crate::replace::{self, Existing};

/// Where a torrent goes.
#[derive(Debug)]
pub(crate) enum Destination {
    Stdout,
    File(PathBuf),
}

impl Destination {
    /// `-` is stdout. That a file cannot be there, or stdout is wanted for two things, is said now
    /// and not after minutes of hashing or of asking peers.
    pub(crate) fn of(path: PathBuf, json: bool, existing: Existing) -> Result<Self, Failure> {
        if path.as_os_str() != "-" {
            refuse_missing_directory(&path)?;
            replace::refuse_existing(&path, existing)?;
            return Ok(Destination::File(path));
        }
        if json {
            let message = "-o - and --json would both write to stdout; give one of them";
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(Destination::Stdout)
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Destination::Stdout => None,
            Destination::File(path) => Some(path),
        }
    }
}

fn refuse_missing_directory(output: &Path) -> Result<(), Failure> {
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::read_dir(dir).map(|_| ()).map_err(|error| Failure::file("cannot write", output, &error))
}
