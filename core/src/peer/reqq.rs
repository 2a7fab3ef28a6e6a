//! How many requests a peer takes at a time (BEP 10, `reqq`).
//!
//! Some say so. One that does not is first taken for a client of the old days; each time it has
//! answered a whole queue of that length it may have twice as many, up to our own bound. A
//! request that is late may have been dropped for being too many: then it gets no more than it
//! had at first, and that stays. So a long fat path fills where the peer is silent about it, and a
//! peer with a short queue loses requests once.

/// What a peer takes at first that does not say (libtorrent's default of old).
const ASSUMED: usize = 250;

/// The most requests a peer may have, as it says or has shown.
#[derive(Debug)]
pub(super) struct Reqq {
    most: usize,
    /// Answers from a full queue until the assumption doubles; `None`: it stands.
    until_more: Option<usize>,
}

impl Default for Reqq {
    fn default() -> Self {
        Reqq { most: ASSUMED, until_more: Some(ASSUMED) }
    }
}

impl Reqq {
    /// What the peer says it takes; at least one.
    pub(super) fn said(reqq: usize) -> Self {
        Reqq { most: reqq.max(1), until_more: None }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// The peer answered a request while `outstanding` of them were at it.
    pub(super) fn answered(&mut self, outstanding: usize) {
        let Some(left) = &mut self.until_more else { return };
        // Requests go out in batches, so that a full queue is often a little less than full.
        if outstanding < self.most - self.most / 4 {
            return;
        }
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.most = self.most.saturating_mul(2);
            *left = self.most;
        }
    }

    /// A request is late: perhaps the peer dropped it.
    pub(super) fn late(&mut self) {
        if self.until_more.is_some() && self.most > ASSUMED {
            *self = Reqq { most: ASSUMED, until_more: None };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(reqq: &mut Reqq, times: usize, outstanding: usize) {
        for _ in 0..times {
            reqq.answered(outstanding);
        }
    }

    #[test]
    fn a_silent_peer_that_answers_full_queues_gets_longer_ones() {
        let mut reqq = Reqq::default();
        answer(&mut reqq, 249, 250);
        assert_eq!(reqq.most(), 250);
        answer(&mut reqq, 1, 250);
        assert_eq!(reqq.most(), 500);
        answer(&mut reqq, 10_000, 250);
        assert_eq!(reqq.most(), 500, "half full queues show nothing");
        answer(&mut reqq, 500, 480);
        assert_eq!(reqq.most(), 1_000);
    }

    #[test]
    fn a_silent_peer_that_loses_one_gets_what_it_had_at_first() {
        let mut reqq = Reqq::default();
        reqq.late();
        answer(&mut reqq, 250, 250);
        assert_eq!(reqq.most(), 500, "what is late from a short queue was not too many");
        reqq.late();
        answer(&mut reqq, 10_000, 250);
        assert_eq!(reqq.most(), 250);
    }

    #[test]
    fn what_a_peer_says_stands() {
        let mut reqq = Reqq::said(0);
        answer(&mut reqq, 10_000, 1);
        assert_eq!(reqq.most(), 1);
        let mut reqq = Reqq::said(2_000);
        reqq.late();
        assert_eq!(reqq.most(), 2_000);
    }
}
