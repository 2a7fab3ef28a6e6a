//! Failures of addresses that the peer list has no room for any more (defence 39).
//!
//! An address that is evicted and named again would be dialled again at once, as if it had never failed:
//! a source that names enough addresses could have us dial a victim without pause. So what failed is remembered
//! here, and given back when the address is named again. What has waited out its time is forgotten first.
//! When everything here still waits, nothing more fits, and the address may not be evicted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::time::Instant;

/// How an address has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// Times in a row.
    pub(super) failures: u8,
    /// When it may be tried again.
    pub(super) retry_at: Instant,
}

/// Addresses that failed and are not in the list.
#[derive(Debug)]
pub(super) struct FailedDials {
    by_addr: BTreeMap<SocketAddr, Failure>,
    by_time: BTreeSet<(Instant, SocketAddr)>,
    capacity: usize,
}

impl FailedDials {
    pub(super) fn new(capacity: usize) -> Self {
        FailedDials { by_addr: BTreeMap::new(), by_time: BTreeSet::new(), capacity }
    }

    /// Remembers the failures of an address; whether there was room. O(log n).
    pub(super) fn keep(&mut self, now: Instant, addr: SocketAddr, failure: Failure) -> bool {
        self.take(addr);
        if self.by_addr.len() >= self.capacity {
            match self.by_time.first() {
                Some(&(retry_at, oldest)) if retry_at <= now => _ = self.take(oldest),
                _ => return false,
            }
        }
        self.by_time.insert((failure.retry_at, addr));
        self.by_addr.insert(addr, failure);
        true
    }

    /// An address is named again: how it failed, if it did.
    pub(super) fn take(&mut self, addr: SocketAddr) -> Option<Failure> {
        let failure = self.by_addr.remove(&addr)?;
        self.by_time.remove(&(failure.retry_at, addr));
        Some(failure)
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn addr(number: u16) -> SocketAddr {
        SocketAddr::from(([1, 2, 3, 4], number))
    }

    fn failure(failures: u8, secs: u64) -> Failure {
        Failure { failures, retry_at: Instant::from_secs(secs) }
    }

    quickcheck! {
        fn what_still_waits_is_never_forgotten(steps: Vec<(u16, u8, u8)>) -> bool {
            let mut failed = FailedDials::new(5);
            let mut model: BTreeMap<SocketAddr, Failure> = BTreeMap::new();
            for (second, (port, failures, wait)) in (0_u64..).zip(steps) {
                let (addr, now) = (addr(port % 12), Instant::from_secs(second));
                if failures % 3 == 0 {
                    let kept = failed.take(addr);
                    let known = model.remove(&addr);
                    if kept != known && known.is_some_and(|known| known.retry_at > now) {
                        return false;
                    }
                } else {
                    let failure = failure(failures, second + u64::from(wait % 20));
                    if failed.keep(now, addr, failure) {
                        model.insert(addr, failure);
                    } else {
                        // It is not evicted, and in the list still.
                        let waits = model.values().filter(|known| known.retry_at > now).count();
                        model.remove(&addr);
                        if waits < 5 {
                            return false;
                        }
                    }
                }
                if failed.by_addr.len() > 5 || failed.by_addr.len() != failed.by_time.len() {
                    return false;
                }
            }
            true
        }
    }
}
