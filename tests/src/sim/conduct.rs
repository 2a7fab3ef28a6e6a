//! What engines did to the world, whatever form it was asked in: the second hash over a run.
//!
//! The trace's hash is over every input and every action as they are written, so it changes when an
//! action gains a field. This one is over what came of them, each thing with its time: on each stream
//! the address that was dialled, the bytes and the end; from each datagram socket the datagrams; on each
//! disk what was written, made, moved, saved and forgotten. Notices, reads and the ids of operations are
//! not in it. Each stream, socket and disk has a hash of its own, so what two of them do at one instant
//! may change places.

use std::collections::BTreeMap;

use bitswarm_core::disk::DiskRequest;
use bitswarm_core::time::Instant;
use serde::Serialize;
use sha1::{Digest, Sha1};

use super::network::{EndId, HostId, SocketKey};
use super::trace::{Fingerprint, summary};

/// Where something was done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Lane {
    /// One side of a stream.
    Stream(EndId),
    /// A datagram socket.
    Socket(SocketKey),
    /// The host's disk.
    Disk,
}

/// The hashes of all lanes.
#[derive(Debug, Clone, Default)]
pub struct Conduct {
    lanes: BTreeMap<(HostId, Lane), Sha1>,
    buffer: Vec<u8>,
}

impl Conduct {
    /// A host did something: `kind` names it, `what` is all there is to say.
    pub fn did<T: Serialize + ?Sized>(
        &mut self,
        now: Instant,
        host: HostId,
        lane: Lane,
        kind: &'static str,
        what: &T,
    ) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&now.as_nanos().to_le_bytes());
        self.buffer.extend_from_slice(kind.as_bytes());
        summary(what, &mut self.buffer);
        self.lanes.entry((host, lane)).or_default().update(&self.buffer);
    }

    /// A disk was asked for something; what only reads is left out.
    pub fn asked_disk(&mut self, now: Instant, host: HostId, request: &DiskRequest) {
        let lane = Lane::Disk;
        match request {
            DiskRequest::Write(write) => self.did(now, host, lane, "write", write),
            DiskRequest::Prepare { .. } => self.did(now, host, lane, "prepare", request),
            DiskRequest::Reuse { .. } => self.did(now, host, lane, "reuse", request),
            DiskRequest::Move { .. } => self.did(now, host, lane, "move", request),
            DiskRequest::Sync { .. } => self.did(now, host, lane, "sync", request),
            DiskRequest::Save { .. } => self.did(now, host, lane, "save", request),
            DiskRequest::Forget { .. } => self.did(now, host, lane, "forget", request),
            DiskRequest::Close { .. } => self.did(now, host, lane, "close", request),
            DiskRequest::Open { .. }
            | DiskRequest::Look { .. }
            | DiskRequest::Read { .. }
            | DiskRequest::Verify(_)
            | DiskRequest::Load { .. } => {}
        }
    }

    /// The hash over all that was done so far.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut whole = Sha1::new();
        let mut name = Vec::new();
        for (key, lane) in &self.lanes {
            name.clear();
            summary(key, &mut name);
            whole.update(&name);
            whole.update(lane.clone().finalize());
        }
        Fingerprint(whole.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conduct(what: &[(u64, u32, &'static str)]) -> Fingerprint {
        let mut conduct = Conduct::default();
        for (at, host, text) in what {
            conduct.did(Instant::from_secs(*at), HostId(*host), Lane::Disk, "test", text);
        }
        conduct.fingerprint()
    }

    #[test]
    fn order_counts_within_a_lane_and_not_between_two() {
        let (one, two) = ((1, 0, "a"), (1, 1, "b"));
        assert_eq!(conduct(&[one, two]), conduct(&[two, one]));
        let (one, two) = ((1, 0, "a"), (1, 0, "b"));
        assert_ne!(conduct(&[one, two]), conduct(&[two, one]));
    }

    #[test]
    fn time_host_and_content_count() {
        let all = [conduct(&[(1, 0, "a")]), conduct(&[(2, 0, "a")]), conduct(&[(1, 1, "a")])];
        assert!(all[0] != all[1] && all[0] != all[2] && all[0] != conduct(&[(1, 0, "b")]));
    }
}
