//! What happened in a run: one running hash over all of it, and on demand a readable log.
//!
//! The hash is SHA-1 over one record for each thing that happened: when, to which host, and the
//! thing itself in serialised form. Runs of bytes past 64 count by length and CRC-32, so that
//! hashing costs little beside the run itself. Equal hashes mean equal runs; the first difference
//! of two runs is found by comparing their logs.

use std::fmt::{self, Write as _};

use bitswarm_core::time::Instant;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use sha1::{Digest, Sha1};

/// Longest run of bytes that goes into the hash as it is (chosen: longer than any digest or name
/// that identifies something, shorter than a block).
const VERBATIM_LEN: usize = 64;

/// The record of a run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: Sha1,
    records: u64,
    buffer: Vec<u8>,
    log: Option<String>,
}

/// What a run came to: equal for equal runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 20]);

impl Trace {
    /// Nothing happened yet. With `log`, a readable log is kept as well.
    pub fn new(log: bool) -> Self {
        Trace { log: log.then(String::new), ..Trace::default() }
    }

    /// Something happened: `kind` names it, `what` is all there is to say.
    pub fn record<T: Serialize + ?Sized>(
        &mut self,
        now: Instant,
        host: u32,
        kind: &'static str,
        what: &T,
    ) {
        self.records += 1;
        self.buffer.clear();
        self.buffer.extend_from_slice(&now.as_nanos().to_le_bytes());
        self.buffer.extend_from_slice(&host.to_le_bytes());
        self.buffer.extend_from_slice(kind.as_bytes());
        summary(what, &mut self.buffer);
        self.hash.update(&self.buffer);
    }

    /// Adds a line to the log, if one is kept.
    pub fn line(&mut self, now: Instant, host: u32, text: fmt::Arguments<'_>) {
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{now:?} {host:>3} {text}");
        }
    }

    /// Whether a log is kept, so that a costly line is worth making.
    pub fn logs(&self) -> bool {
        self.log.is_some()
    }

    /// The log so far; empty if none is kept.
    pub fn log(&self) -> &str {
        self.log.as_deref().unwrap_or_default()
    }

    /// How many things happened.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The hash over all that happened so far.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.hash.clone().finalize().into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appends `what` in serialised form, long runs of bytes by their length and checksum.
pub(super) fn summary<T: Serialize + ?Sized>(what: &T, buffer: &mut Vec<u8>) {
    let sink = Summary { buffer };
    postcard::serialize_with_flavor(what, sink).expect("a sink in memory takes everything");
}

/// Collects a serialised record, long runs of bytes by their length and checksum.
struct Summary<'a> {
    buffer: &'a mut Vec<u8>,
}

impl Flavor for Summary<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.buffer.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() <= VERBATIM_LEN {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            self.buffer.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(run: &[(u64, u32, &str)]) -> Fingerprint {
        let mut trace = Trace::new(false);
        for (at, host, what) in run {
            trace.record(Instant::from_secs(*at), *host, "test", *what);
        }
        trace.fingerprint()
    }

    #[test]
    fn the_fingerprint_tells_time_host_content_and_order_apart() {
        let long = "x".repeat(1000);
        let mut other = long.clone();
        other.replace_range(500..501, "y");
        let runs = [
            of(&[(1, 1, "a"), (2, 1, "b")]),
            of(&[(1, 1, "b"), (2, 1, "a")]),
            of(&[(1, 2, "a"), (2, 1, "b")]),
            of(&[(2, 1, "a"), (2, 1, "b")]),
            of(&[(1, 1, &long)]),
            of(&[(1, 1, &other)]),
        ];
        let distinct: std::collections::BTreeSet<_> = runs.iter().collect();
        assert_eq!(distinct.len(), runs.len());
        assert_eq!(runs[0], of(&[(1, 1, "a"), (2, 1, "b")]));
    }
}
