//! What one peer may fetch of our metadata: a few times all of it, a minute (BEP 9: "clients MAY
//! implement flood protection"; defence 17).
//!
//! Requests wait here until the connection takes more, so that asking costs us a number and not a
//! piece.

use std::collections::VecDeque;

use crate::rate::Allowance;
use crate::time::Instant;

/// How often a peer may fetch everything in a minute (chosen; BEP 9: "the number of pieces of
/// metadata times a factor").
const FACTOR: u64 = 3;
/// Requests that wait for one peer; further ones are rejected (chosen).
const WAITING: usize = 256;

/// Requests of one peer for metadata.
#[derive(Debug, Default)]
pub struct MetadataUploads {
    waiting: VecDeque<u32>,
    allowance: Allowance,
}

impl MetadataUploads {
    /// A peer asks for one of `pieces` pieces; whether it is to be served, by [`pop`](Self::pop).
    /// If not, a reject is due. `allows` is asked, last, for the share of its address.
    pub fn request(
        &mut self,
        now: Instant,
        piece: u32,
        pieces: u32,
        allows: impl FnOnce() -> bool,
    ) -> bool {
        let most = u64::from(pieces) * FACTOR;
        let is_refused = piece >= pieces
            || self.waiting.len() >= WAITING
            || !self.allowance.allows(now, 1, most)
            || !allows();
        if is_refused {
            return false;
        }
        self.allowance.take(now, 1, most);
        self.waiting.push_back(piece);
        true
    }

    /// The next piece to send.
    pub fn pop(&mut self) -> Option<u32> {
        self.waiting.pop_front()
    }

    /// Whether a piece is to be sent.
    pub fn is_ready(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const PERIOD: Duration = Duration::from_secs(60);

    #[test]
    fn a_peer_gets_everything_a_few_times_and_then_has_to_wait() {
        let mut uploads = MetadataUploads::default();
        let now = Instant::from_secs(100);
        for round in 0..3 {
            for piece in 0..2 {
                assert!(uploads.request(now, piece, 2, || true), "round {round}");
                assert_eq!(uploads.pop(), Some(piece));
            }
        }
        assert!(!uploads.request(now, 0, 2, || true));
        assert!(!uploads.request(now + Duration::from_secs(59), 0, 2, || true));
        assert!(!uploads.request(now, 0, 2, || unreachable!("others of the address pay nothing")));
        assert!(!uploads.request(now + PERIOD, 1, 2, || false));
        assert!(uploads.request(now + PERIOD, 1, 2, || true) && uploads.is_ready());
    }

    #[test]
    fn pieces_that_are_not_and_floods_are_rejected() {
        let mut uploads = MetadataUploads::default();
        assert!(!uploads.request(Instant::ZERO, 5, 5, || true));
        assert!(!uploads.request(Instant::ZERO, 0, 0, || true));
        let admitted =
            (0..10_000).filter(|piece| uploads.request(Instant::ZERO, piece % 500, 500, || true));
        assert_eq!(admitted.count(), WAITING);
        assert_eq!(std::iter::from_fn(|| uploads.pop()).count(), WAITING);
    }
}
