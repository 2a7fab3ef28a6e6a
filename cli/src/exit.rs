//! How a run ends: the exit codes, and the one line that goes with each.
//!
//! Every command returns `Result<(), Failure>`. A [`Failure`] is a code and a sentence that says
//! what went wrong, where, and the way out; [`crate::report::report`] writes it to stderr as one line,
//! and `main` exits with the code. The codes are part of the command line's contract (docs/CLI.md) and do not change.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use bitswarm_core::piece::InfoHash;

/// Why a run did not do what it was asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Code {
    /// Something nobody foresaw.
    Unknown = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The bencode, torrent or magnet link is not valid.
    BadInput = 4,
    /// Nobody could be reached.
    NoPeers = 6,
    /// Stopped by the user with work unfinished.
    Interrupted = 7,
    /// Nothing moved for as long as `--stall-timeout` allows.
    Stalled = 8,
    /// No space left on the disk.
    DiskFull = 9,
    /// A file could not be read or written.
    File = 11,
    /// The data is not what the torrent says.
    Mismatch = 13,
    /// No socket to listen on.
    Listen = 15,
}

/// A code and one sentence for the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// What the process exits with.
    pub(crate) code: Code,
    message: String,
    telling: Telling,
    /// The torrent that it is about, if it is about one of them.
    torrent: Option<InfoHash>,
}

/// Where a failure is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Telling {
    /// In one line on stderr, and as an object with `--json`.
    Due,
    /// In the line only: the results that were printed say it already.
    Verdict,
    /// It was told when it happened.
    Done,
}

impl Failure {
    /// `message` says what, where and the way out, in one line.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), telling: Telling::Due, torrent: None }
    }

    /// What the results that were printed come to, such as "differs".
    pub(crate) fn verdict(code: Code, message: impl Into<String>) -> Self {
        Failure { telling: Telling::Verdict, ..Failure::new(code, message) }
    }

    /// The same, told already: what is left to do is to end with its code.
    pub(crate) fn said(self) -> Self {
        Failure { telling: Telling::Done, ..self }
    }

    /// The same, of one torrent.
    pub(crate) fn about(self, torrent: InfoHash) -> Self {
        Failure { torrent: Some(torrent), ..self }
    }

    /// The torrent that it is about, if it is about one of them.
    pub(crate) fn torrent(&self) -> Option<&InfoHash> {
        self.torrent.as_ref()
    }

    /// Whether it was told already.
    pub(crate) fn is_said(&self) -> bool {
        self.telling == Telling::Done
    }

    /// Whether the results say it already.
    pub(crate) fn is_verdict(&self) -> bool {
        self.telling == Telling::Verdict
    }

    /// A file or directory that could not be used: `what` is a phrase such as "cannot read".
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let full = matches!(error.kind(), StorageFull | QuotaExceeded);
        let code = if full { Code::DiskFull } else { Code::File };
        Failure::new(code, format!("{what} {}: {}", path.display(), reason(error)))
    }

    /// Stopped by a signal.
    pub(crate) fn interrupted(unfinished: impl fmt::Display) -> Self {
        Failure::new(Code::Interrupted, format!("interrupted: {unfinished}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// The system's words for an error with the way out, where there is an obvious one.
fn reason(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let words = match error.kind() {
        Kind::NotFound => "there is no such file or directory; check the path",
        Kind::PermissionDenied => "not permitted; check who owns it and its mode",
        Kind::IsADirectory => "is a directory, a file is needed",
        Kind::NotADirectory => "a file is in the place of a directory; choose another path",
        Kind::AlreadyExists => "something else is in its place; choose another path",
        Kind::StorageFull => "the disk is full; free some space and run this again",
        Kind::QuotaExceeded => "your quota is used up; free some space and run this again",
        Kind::FileTooLarge => "it would be longer than files may be here; see ulimit -f",
        Kind::ReadOnlyFilesystem => "the file system is read-only; choose another place",
        _ => return error.to_string(),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_code() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::file("cannot write", Path::new("x"), &full).code, Code::DiskFull);
        let gone = io::Error::from(io::ErrorKind::NotFound);
        let failure = Failure::file("cannot read", Path::new("a.torrent"), &gone);
        assert_eq!(failure.code, Code::File);
        assert_eq!(
            failure.to_string(),
            "cannot read a.torrent: there is no such file or directory; check the path"
        );
    }
}
