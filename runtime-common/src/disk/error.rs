//! What the system said, as the engine wants to hear it.
//!
//! A [`DiskError`] names the path, the kind (which decides what the engine does next) and the
//! system's own words (which a person reads).

use std::io;
use std::path::Path;

use bitswarm_core::disk::{DiskError, DiskErrorKind};
use rustix::io::Errno;

/// The error for a system call on `path` that failed with `errno`.
pub(crate) fn disk_error(path: &Path, errno: Errno) -> DiskError {
    DiskError { kind: kind(errno), path: path.to_owned(), cause: words(errno) }
}

/// The error for what no system call has words for.
pub(crate) fn error_at(kind: DiskErrorKind, path: &Path, cause: &str) -> DiskError {
    DiskError { kind, path: path.to_owned(), cause: cause.to_owned() }
}

fn kind(errno: Errno) -> DiskErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT => DiskErrorKind::Full,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => DiskErrorKind::Denied,
        Errno::NOENT => DiskErrorKind::NotFound,
        // A link where none is followed, a directory where a file belongs, a file where a directory
        // belongs, a path that leaves the root, a socket, something that is there already.
        Errno::LOOP
        | Errno::NOTDIR
        | Errno::ISDIR
        | Errno::XDEV
        | Errno::NXIO
        | Errno::EXIST
        | Errno::NOTEMPTY => DiskErrorKind::InTheWay,
        Errno::MFILE | Errno::NFILE => DiskErrorKind::TooManyOpen,
        _ => DiskErrorKind::Io,
    }
}

/// The system's message without the number that Rust appends.
fn words(errno: Errno) -> String {
    let mut words = match errno {
        Errno::LOOP => "a symbolic link, which is not followed".to_owned(),
        Errno::XDEV => "it leads out of its directory".to_owned(),
        Errno::FBIG => "it would be longer than files may be here; see ulimit -f".to_owned(),
        _ => io::Error::from(errno).to_string(),
    };
    if let Some(at) = words.find(" (os error") {
        words.truncate(at);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_becomes_the_kind_that_decides_what_the_engine_does() {
        let kinds = [
            (Errno::NOSPC, DiskErrorKind::Full),
            (Errno::DQUOT, DiskErrorKind::Full),
            (Errno::ACCESS, DiskErrorKind::Denied),
            (Errno::PERM, DiskErrorKind::Denied),
            (Errno::ROFS, DiskErrorKind::Denied),
            (Errno::NOENT, DiskErrorKind::NotFound),
            (Errno::LOOP, DiskErrorKind::InTheWay),
            (Errno::ISDIR, DiskErrorKind::InTheWay),
            (Errno::MFILE, DiskErrorKind::TooManyOpen),
            (Errno::IO, DiskErrorKind::Io),
        ];
        for (errno, kind) in kinds {
            assert_eq!(disk_error(Path::new("f"), errno).kind, kind, "{errno:?}");
        }
    }

    #[test]
    fn message_reads_as_one_line_without_numbers() {
        let error = disk_error(Path::new("a/b"), Errno::NOSPC);
        assert_eq!(error.to_string(), "a/b: disk full (No space left on device)");
        let error = disk_error(Path::new("a/b"), Errno::FBIG);
        assert_eq!(error.kind, DiskErrorKind::Io);
        assert!(error.to_string().ends_with("see ulimit -f)"), "{error}");
    }
}
