//! What one peer may fetch of our hashes: a few times all of them, a minute (BEP 52: "the same rate
//! limiting policy as piece requests"). Leaf hashes are not held but made from what is on disk; of
//! these, so many bytes' worth a minute.
//!
//! What follows a request for a block and is [owed](crate::peer::upload_queue::UploadQueue::owes_leaves) is
//! beyond these bounds: there is as much of it as there are such requests.
//!
//! Requests wait here until the connection takes more, so that asking costs us 48 bytes and not an
//! answer of 18 KB.

use std::collections::VecDeque;

use crate::rate::Allowance;
use crate::time::Instant;
use crate::wire::{HashRequest, Message};

/// How often a peer may fetch everything in a minute (chosen: asked for two at a time, each pair
/// with its proof, all hashes make about twelve times as many).
const FACTOR: u64 = 16;
/// How much of it the peers of one address may fetch together (chosen: some homes behind one address).
const FACTOR_OF_GROUP: u64 = 4;
/// Hashes that it may fetch however few there are (chosen).
const LEAST: u64 = 4096;
/// Requests that wait for one peer; further ones are rejected (chosen: they are of up to 512
/// hashes; libtorrent has two under way).
const WAITING: usize = 64;

/// Requests of one peer for hashes.
#[derive(Debug, Default)]
pub(crate) struct HashUploads {
    waiting: VecDeque<HashRequest>,
    /// Answers that were made of what is on disk, and wait for the limits like others.
    made: VecDeque<Message>,
    allowance: Allowance,
    leaves: Allowance,
    /// Requests for which leaf hashes are being made.
    pub(crate) leaves_waiting: usize,
}

impl HashUploads {
    /// A peer asks for some of `total` hashes; whether it is to be served, by
    /// [`pop`](Self::pop), as it is in any case if that is owed. If not, a reject is due. `allows` is asked
    /// for the share of its address: so many hashes, and how many it may have at most.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        request: HashRequest,
        total: u64,
        is_owed: bool,
        allows: impl FnOnce(u64, u64) -> bool,
    ) -> bool {
        let most = total.saturating_mul(FACTOR).max(LEAST);
        let hashes = request.range.answer_len() as u64;
        let has_room = self.waiting.len() < WAITING;
        let of_group = most.saturating_mul(FACTOR_OF_GROUP);
        // What the address has used up costs the peer nothing of its own, nor the other way round.
        let may = |own: &mut Allowance| {
            own.allows(now, hashes, most) && allows(hashes, of_group) && own.take(now, hashes, most)
        };
        let admitted = is_owed || (has_room && may(&mut self.allowance));
        if admitted {
            self.waiting.push_back(request);
        }
        admitted
    }

    /// Whether [`read_leaves`](Self::read_leaves) would take so much.
    pub(crate) fn may_read_leaves(&self, now: Instant, bytes: u64, most: u64) -> bool {
        self.leaves.allows(now, bytes, most)
    }

    /// Leaf hashes are to be made for the peer, of so many bytes on disk; whether they may be, if no
    /// more than `most` are read for it in a minute.
    pub(crate) fn read_leaves(&mut self, now: Instant, bytes: u64, most: u64) -> bool {
        self.leaves.take(now, bytes, most)
    }

    /// Leaf hashes that the peer asked for were made.
    pub(crate) fn made(&mut self, answer: Message) {
        self.made.push_back(answer);
    }

    /// The next answer that was made.
    pub(crate) fn pop_made(&mut self) -> Option<Message> {
        self.made.pop_front()
    }

    /// The next request to answer.
    pub(crate) fn pop(&mut self) -> Option<HashRequest> {
        self.waiting.pop_front()
    }

    /// Requests that wait, in whatever state.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.made.len() + self.leaves_waiting
    }

    /// Whether a request is to be answered.
    pub(crate) fn is_ready(&self) -> bool {
        !self.waiting.is_empty() || !self.made.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::HashRange;
    use crate::time::Duration;

    fn request(index: u32) -> HashRequest {
        let range = HashRange { base_layer: 2, index, length: 512, proof_layers: 8 };
        HashRequest { root: [1; 32], range }
    }

    #[test]
    fn a_flood_is_rejected_beyond_what_may_wait() {
        let mut uploads = HashUploads::default();
        let admitted = (0..10_000).filter(|n| {
            uploads.request(Instant::ZERO, request(n * 512), 1 << 30, false, |_, _| true)
        });
        assert_eq!(admitted.count(), WAITING);
        assert_eq!(uploads.pop(), Some(request(0)));
        assert_eq!(std::iter::from_fn(|| uploads.pop()).count(), WAITING - 1);
        assert!(!uploads.is_ready());
    }

    #[test]
    fn a_peer_gets_everything_a_few_times_and_then_has_to_wait() {
        let mut uploads = HashUploads::default();
        let mut served = 0;
        let all = |_, _| true;
        while uploads.request(Instant::ZERO, request(0), 1024, false, all)
            && uploads.pop().is_some()
        {
            served += request(0).range.answer_len();
        }
        assert!((15 * 1024..=16 * 1024).contains(&served), "{served} hashes");
        let later = Instant::ZERO + Duration::from_secs(60);
        for _ in 0..1000 {
            assert!(!uploads.request(later, request(0), 1024, false, |_, _| false));
        }
        assert!(uploads.request(later, request(0), 1024, false, all) && uploads.pop().is_some());
        assert!(!uploads.request(later, request(0), 1024, false, |_, _| false));
        assert!(uploads.request(later, request(0), 1024, true, |_, _| false) && uploads.is_ready());
    }
}
