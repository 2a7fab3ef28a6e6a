//! What is said about hashes on one connection (BEP 52, "hash request"), and the rules for it:
//! requests are well-formed and of the torrent's trees, answers are true, each to one request that
//! was made, and the whole of them is bounded whatever is asked.

use std::collections::BTreeMap;

use bitswarm_core::time::{Duration, Instant};

use super::Tally;
use crate::sim::content::Content;
use crate::sim::peer_wire::{HashRun, Msg, Run};

/// A request may be repeated after this time (chosen: less than any wait for an answer).
const AGAIN: Duration = Duration::from_secs(5);

/// Requests under way at one peer at most (chosen: a few for piece layers, one for the leaves of
/// each piece that failed).
const MOST_ASKED: usize = 64;

/// Hashes that one peer may be sent in a minute whatever is asked, for each hash that the pieces
/// have and besides: about twice what the engine allows itself, for leaf hashes come on top.
const FACTOR: u64 = 32;
const LEAST: u64 = 24 * 1024;

/// Requests and answers of both sides.
#[derive(Debug, Default)]
pub(super) struct HashTalk {
    /// Requests of the engine that were not answered, and when each was made last.
    asked: BTreeMap<HashRun, Instant>,
    /// Requests of the remote that the engine owes an answer; one may be made several times.
    owed: BTreeMap<HashRun, u32>,
    /// When the remote first asked.
    since: Option<Instant>,
    /// Hashes sent.
    sent: u64,
    /// Requests for leaves that came right after one for a block of theirs, and are not answered with
    /// hashes yet.
    with_block: BTreeMap<HashRun, WithBlock>,
    /// How many hashes they were for, in all.
    hashes_with_blocks: u64,
}

/// What has become of a request for leaf hashes and of the block asked for before it.
#[derive(Debug)]
struct WithBlock {
    block: Run,
    is_served: bool,
    is_rejected: bool,
}

impl HashTalk {
    /// A request that the engine has not answered.
    pub(super) fn owed(&self) -> Option<&HashRun> {
        self.owed.keys().next()
    }

    pub(super) fn asked_by_them(&mut self, now: Instant, run: HashRun) {
        self.since.get_or_insert(now);
        *self.owed.entry(run).or_default() += 1;
    }

    /// The same, about leaves of which `block` was asked for in the message before. Unless it is asked
    /// twice, when one cannot tell what is answered.
    pub(super) fn asked_with_block(&mut self, run: HashRun, block: Run) {
        self.hashes_with_blocks += u64::from(run.length) + 64;
        if self.owed.get(&run) == Some(&1) {
            let with_block = WithBlock { block, is_served: false, is_rejected: false };
            self.with_block.insert(run, with_block);
        }
    }

    /// The engine serves a block.
    pub(super) fn block_served(&mut self, block: Run) -> Result<(), String> {
        for (run, with_block) in &mut self.with_block {
            if with_block.block == block {
                with_block.is_served = true;
                with_block.judge(run)?;
            }
        }
        Ok(())
    }

    /// The engine does not serve a block, or no block at all.
    pub(super) fn block_refused(&mut self, block: Option<Run>) {
        self.with_block.retain(|_, with_block| block.is_some_and(|run| with_block.block != run));
    }

    pub(super) fn answered_by_them(&mut self, run: HashRun) {
        self.asked.remove(&run);
    }

    /// Whether the engine may say this on a connection of v2.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        message: &Msg<'_>,
        content: &Content,
        tally: &mut Tally,
    ) -> Result<(), String> {
        match *message {
            Msg::HashRequest(run) => {
                tally.hash_requests += 1;
                self.judge_request(now, run, content)
            }
            Msg::Hashes { run, hashes } => {
                tally.hashes_sent += 1;
                self.answer(run)?;
                self.with_block.remove(&run);
                self.sent += hashes.len() as u64 / 32;
                if !content.proves(&run, hashes) {
                    return Err(format!("sends hashes that do not prove {run}"));
                }
                self.judge_amount(now, content)
            }
            Msg::HashReject(run) => {
                tally.hash_rejects += 1;
                self.answer(run)?;
                let Some(with_block) = self.with_block.get_mut(&run) else { return Ok(()) };
                with_block.is_rejected = true;
                with_block.judge(&run)
            }
            _ => Ok(()),
        }
    }

    fn judge_request(
        &mut self,
        now: Instant,
        run: HashRun,
        content: &Content,
    ) -> Result<(), String> {
        let tree = content.trees().get(&run.pieces_root);
        let tree = tree.ok_or_else(|| format!("asks for hashes of no file: {run}"))?;
        if !tree.may_be_asked(&run) {
            return Err(format!("asks for hashes that BEP 52 does not allow: {run}"));
        }
        // BEP 52: "only required to support setting the base layer to the leaf and piece layers".
        if run.base_layer != 0 && run.base_layer != content.piece_layer() {
            return Err(format!("asks for hashes of a layer that few have: {run}"));
        }
        let before = self.asked.insert(run, now);
        if before.is_some_and(|before| now - before < AGAIN) {
            return Err(format!("asks for hashes again at once: {run}"));
        }
        let fresh = self.asked.values().filter(|at| now - **at < AGAIN).count();
        match fresh > MOST_ASKED {
            true => Err(format!("asks for {fresh} runs of hashes at once")),
            false => Ok(()),
        }
    }

    fn answer(&mut self, run: HashRun) -> Result<(), String> {
        super::conn::count_down(&mut self.owed, run)
            .ok_or_else(|| format!("answers a hash request that was not made: {run}"))
    }

    fn judge_amount(&self, now: Instant, content: &Content) -> Result<(), String> {
        let minutes = self.since.map_or(0, |since| (now - since).as_secs() / 60);
        let most = (FACTOR * u64::from(content.pieces()) + LEAST) * (minutes + 1);
        let most = most + self.hashes_with_blocks;
        match self.sent > most {
            true => Err(format!("sends {} hashes in {minutes} minutes", self.sent)),
            false => Ok(()),
        }
    }
}

impl WithBlock {
    /// BEP 52: "MUST NOT reject a hash request with a base layer of zero if it immediately follows a
    /// request for one of the chunks in the requested range and the client services the chunk request".
    fn judge(&self, run: &HashRun) -> Result<(), String> {
        match self.is_served && self.is_rejected {
            true => Err(format!("serves {} and rejects the hash request for {run}", self.block)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::content::Kind;

    struct Talk {
        talk: HashTalk,
        content: std::sync::Arc<Content>,
        tally: Tally,
        now: Instant,
    }

    impl Talk {
        fn new() -> Self {
            let content = Content::single_of(Kind::V2, 1, "talk", 300_000, 32_768);
            let (talk, tally) = (HashTalk::default(), Tally::default());
            Talk { talk, content, tally, now: Instant::ZERO }
        }

        /// Four hashes of the piece layer, with their proof.
        fn run(&self) -> HashRun {
            let (tree, pieces) = self.content.layered().next().expect("there is one");
            tree.runs(1, pieces, 4)[1]
        }

        fn truth(&self, run: &HashRun) -> Vec<u8> {
            self.content.trees()[&run.pieces_root].answer(run).expect("may be asked")
        }

        fn say(&mut self, message: Msg<'_>) -> Result<(), String> {
            self.talk.judge(self.now, &message, &self.content, &mut self.tally)
        }
    }

    #[test]
    fn leaves_rejected_though_their_block_is_served_are_caught() {
        let block = Run { piece: 0, begin: 0, length: 16_384 };
        for served_first in [true, false] {
            let mut talk = Talk::new();
            let (tree, _) = talk.content.layered().next().expect("there is one");
            let run = tree.runs(0, 4, 4)[0];
            let ask = |talk: &mut Talk| {
                talk.talk.asked_by_them(talk.now, run);
                talk.talk.asked_with_block(run, block);
            };
            ask(&mut talk);
            assert_eq!(talk.say(Msg::HashReject(run)), Ok(()), "a block that is not served");
            talk.talk.block_refused(Some(block));
            assert_eq!(talk.talk.block_served(block), Ok(()));
            ask(&mut talk);
            if served_first {
                assert_eq!(talk.talk.block_served(block), Ok(()));
                assert!(talk.say(Msg::HashReject(run)).is_err());
            } else {
                assert_eq!(talk.say(Msg::HashReject(run)), Ok(()));
                assert!(talk.talk.block_served(block).is_err());
            }
        }
    }

    #[test]
    fn requests_that_bep_52_does_not_allow_are_caught() {
        let mut talk = Talk::new();
        let run = talk.run();
        assert_eq!(talk.say(Msg::HashRequest(run)), Ok(()));
        assert!(talk.say(Msg::HashRequest(run)).is_err(), "at once again");
        talk.now += AGAIN;
        assert_eq!(talk.say(Msg::HashRequest(run)), Ok(()));
        for bad in [
            HashRun { pieces_root: [1; 32], ..run },
            HashRun { index: 2, ..run },
            HashRun { length: 3, ..run },
            HashRun { length: 1, ..run },
            HashRun { length: 1024, index: 0, ..run },
            HashRun { index: 16, ..run },
            HashRun { proof_layers: run.proof_layers + 1, ..run },
            HashRun { base_layer: 2, proof_layers: 1, index: 0, length: 2, ..run },
        ] {
            assert!(talk.say(Msg::HashRequest(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_request_is_answered_once_and_truly() {
        let mut talk = Talk::new();
        let run = talk.run();
        let truth = talk.truth(&run);
        let hashes = Msg::Hashes { run, hashes: &truth };
        assert!(talk.say(hashes).is_err() && talk.say(Msg::HashReject(run)).is_err());
        talk.talk.asked_by_them(talk.now, run);
        talk.talk.asked_by_them(talk.now, run);
        assert_eq!(talk.talk.owed(), Some(&run));
        assert_eq!((talk.say(hashes), talk.say(Msg::HashReject(run))), (Ok(()), Ok(())));
        assert_eq!(talk.talk.owed(), None);
        assert!(talk.say(hashes).is_err());
        for wrong in [&truth[32..], &[&truth[..], &[0; 32]].concat(), &vec![7; truth.len()]] {
            talk.talk.asked_by_them(talk.now, run);
            assert!(talk.say(Msg::Hashes { run, hashes: wrong }).is_err());
        }
    }

    #[test]
    fn more_hashes_than_anybody_needs_are_caught() {
        let mut talk = Talk::new();
        let run = talk.run();
        let truth = talk.truth(&run);
        let mut answer = || {
            talk.talk.asked_by_them(talk.now, run);
            talk.say(Msg::Hashes { run, hashes: &truth })
        };
        assert!((0..4000).all(|_| answer().is_ok()), "it is no flood yet");
        assert!((0..4000).any(|_| answer().is_err()), "it is a flood");
    }
}
