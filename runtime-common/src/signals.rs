//! What an application has to know of signals and no well-kept crate tells.

#[cfg(unix)]
use crate::sys;

/// Whether a signal (its number, such as `SIGHUP`) is ignored in this process now. A process that
/// `nohup` starts, for one, begins with `SIGHUP` ignored, and should leave it so.
#[cfg(unix)]
pub fn is_ignored(signal: i32) -> bool {
    sys::is_ignored(signal)
}

/// Nothing is ignored where there are no signals.
#[cfg(not(unix))]
pub fn is_ignored(_signal: i32) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn of_the_defaults_only_those_that_rust_ignores_are_ignored() {
        assert!(is_ignored(libc::SIGPIPE), "Rust's start-up code ignores it");
        assert!(!is_ignored(libc::SIGTERM));
        assert!(!is_ignored(-1), "what is no signal is not ignored");
    }
}
