//! A disk that fails: the torrent waits, says why, and tries again by itself.
//!
//! Nothing is fetched anew because of it: what is verified stays in memory until it can be written.
//! Each failed probe doubles the wait.

use crate::disk::DiskError;
use crate::time::{Duration, Instant};

/// First wait before the disk is tried again (chosen).
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait (chosen: a freed disk is noticed within this).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The state of a disk that failed.
#[derive(Debug)]
pub(crate) struct DiskTrouble {
    error: DiskError,
    wait: Duration,
    /// `None` while a probe is under way.
    retry_at: Option<Instant>,
}

impl DiskTrouble {
    /// The disk failed for the first time.
    pub(crate) fn new(error: DiskError, now: Instant) -> Self {
        DiskTrouble { error, wait: FIRST_WAIT, retry_at: Some(now + FIRST_WAIT) }
    }

    /// Only the user can help: it is not tried again.
    pub(crate) fn until_told(error: DiskError) -> Self {
        DiskTrouble { error, wait: FIRST_WAIT, retry_at: None }
    }

    /// It failed again.
    pub(crate) fn failed_again(&mut self, error: DiskError, now: Instant) {
        self.error = error;
        if self.retry_at.is_none() {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
            self.retry_at = Some(now + self.wait);
        }
    }

    /// The probe has worked, but something else does not yet: it is tried next.
    pub(crate) fn probe_next(&mut self, now: Instant) {
        if self.retry_at.is_none() {
            self.retry_at = Some(now + FIRST_WAIT);
        }
    }

    /// What failed.
    pub(crate) fn error(&self) -> &DiskError {
        &self.error
    }

    /// When to try again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// A probe begins.
    pub(crate) fn probe(&mut self) {
        self.retry_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskErrorKind;

    fn full() -> DiskError {
        DiskError { kind: DiskErrorKind::Full, path: "file".into(), cause: String::new() }
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_the_longest() {
        let mut now = Instant::from_secs(10);
        let mut trouble = DiskTrouble::new(full(), now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let at = trouble.retry_at().expect("waits");
            waits.push((at - now).as_secs());
            now = at;
            trouble.probe();
            assert_eq!(trouble.retry_at(), None, "one probe at a time");
            trouble.failed_again(full(), now);
        }
        assert_eq!(waits, [2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn failures_while_waiting_do_not_lengthen_the_wait() {
        let mut trouble = DiskTrouble::new(full(), Instant::ZERO);
        trouble.failed_again(full(), Instant::from_secs(1));
        assert_eq!(trouble.retry_at(), Some(Instant::ZERO + FIRST_WAIT));
    }
}
