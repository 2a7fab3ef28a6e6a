//! What one peer may fetch of our metadata: a few times all of it, a minute (BEP 9: "clients MAY
//! implement flood protection"; defence 17).
//!
//! Requests wait here until the connection takes more, so that asking costs us a number and not a
//! piece.

use std::collections::VecDeque;

use crate::time::{Duration, Instant};

/// How often a peer may fetch everything in one [`PERIOD`] (chosen; BEP 9: "the number of pieces of
/// metadata times a factor").
const FACTOR: u32 = 3;
/// After this a peer may fetch as much again (chosen).
const PERIOD: Duration = Duration::from_secs(60);
/// Requests that wait for one peer; further ones are rejected (chosen).
const WAITING: usize = 256;

/// Requests of one peer for metadata.
#[derive(Debug, Default)]
pub struct MetadataUploads {
    waiting: VecDeque<u32>,
    admitted: u32,
    period_began: Option<Instant>,
}

impl MetadataUploads {
    /// A peer asks for one of `pieces` pieces; whether it is to be served, by [`pop`](Self::pop).
    /// If not, a reject is due.
    pub fn request(&mut self, now: Instant, piece: u32, pieces: u32) -> bool {
        let began = *self.period_began.get_or_insert(now);
        if now - began >= PERIOD {
            self.period_began = Some(now);
            self.admitted = 0;
        }
        let most = pieces.saturating_mul(FACTOR);
        if piece >= pieces || self.admitted >= most || self.waiting.len() >= WAITING {
            return false;
        }
        self.admitted += 1;
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

    #[test]
    fn a_peer_gets_everything_a_few_times_and_then_has_to_wait() {
        let mut uploads = MetadataUploads::default();
        let now = Instant::from_secs(100);
        for round in 0..3 {
            for piece in 0..2 {
                assert!(uploads.request(now, piece, 2), "round {round}");
                assert_eq!(uploads.pop(), Some(piece));
            }
        }
        assert!(!uploads.request(now, 0, 2));
        assert!(!uploads.request(now + Duration::from_secs(59), 0, 2));
        assert!(uploads.request(now + PERIOD, 1, 2) && uploads.is_ready());
    }

    #[test]
    fn pieces_that_are_not_and_floods_are_rejected() {
        let mut uploads = MetadataUploads::default();
        assert!(!uploads.request(Instant::ZERO, 5, 5));
        assert!(!uploads.request(Instant::ZERO, 0, 0));
        let admitted = (0..10_000).filter(|piece| uploads.request(Instant::ZERO, piece % 500, 500));
        assert_eq!(admitted.count(), WAITING);
        assert_eq!(std::iter::from_fn(|| uploads.pop()).count(), WAITING);
    }
}
