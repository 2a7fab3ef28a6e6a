//! What a peer has asked us for: its requests in order, the reads under way, the blocks ready.
//!
//! Requests are served in the order they came. Adjacent ones are read from disk in one run; the
//! blocks sent are slices of what was read. A request can be cancelled until its bytes are handed
//! to the socket. The queue is bounded: past the bound a request is refused. A read that is under
//! way counts as such until it is done, also if its blocks are not wanted any more: the disk is at
//! work for it, and its bytes will come.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::piece::{Block, BlockRun, PieceIndex};

/// Longest run read at once, in bytes (chosen: amortises the hop to a worker, stays in cache).
const RUN_LEN: u32 = 256 * 1024;

/// A peer's requests.
#[derive(Debug, Default)]
pub(crate) struct UploadQueue {
    queue: VecDeque<Upload>,
    /// How many of them are being read or are ready: the first of the queue. The others wait.
    begun: usize,
    /// Bytes being read, for requests that stand or were dropped since.
    reading: usize,
    /// Bytes ready to be sent.
    ready: usize,
    /// The block asked for last, served or not, and whether leaf hashes were asked for with it.
    latest: Option<(Block, bool)>,
}

#[derive(Debug)]
struct Upload {
    block: Block,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Reading,
    Ready(Bytes),
}

impl UploadQueue {
    /// How many requests wait, in whatever state.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The pieces that the peer is in the middle of, as far as its requests tell: that of the
    /// request served next, and that asked for last.
    pub(crate) fn pieces_under_way(&self) -> [Option<PieceIndex>; 2] {
        let latest = self.latest.map(|(block, _)| block.piece);
        [self.queue.front().map(|upload| upload.block.piece), latest]
    }

    /// Bytes that were read and wait to be sent.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ready
    }

    /// Appends a request.
    pub(crate) fn push(&mut self, block: Block) {
        self.latest = Some((block, false));
        self.queue.push_back(Upload { block, state: State::Waiting });
    }

    /// Whether leaf hashes that are asked for now must be given, since the block asked for last is
    /// among those they are of (BEP 52). Once for each block.
    pub(crate) fn owes_leaves(&mut self, are_of: impl FnOnce(Block) -> bool) -> bool {
        match &mut self.latest {
            Some((block, with_leaves @ false)) if are_of(*block) => {
                *with_leaves = true;
                true
            }
            _ => false,
        }
    }

    /// Drops a request; whether it was there.
    pub(crate) fn cancel(&mut self, block: Block) -> bool {
        let Some(at) = self.queue.iter().position(|upload| upload.block == block) else {
            return false;
        };
        self.begun -= usize::from(at < self.begun);
        if let Some(Upload { state: State::Ready(data), .. }) = self.queue.remove(at) {
            self.ready -= data.len();
        }
        true
    }

    /// Drops all requests and returns them in order.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = Block> + '_ {
        (self.begun, self.ready) = (0, 0);
        self.queue.drain(..).map(|upload| upload.block)
    }

    /// Whether a request has not begun to be read.
    pub(crate) fn has_waiting(&self) -> bool {
        self.begun < self.queue.len()
    }

    /// The next adjacent requests to read, if less than `limit` bytes are being read or ready.
    pub(crate) fn next_run(&mut self, limit: usize) -> Option<BlockRun> {
        if self.reading + self.ready >= limit {
            return None;
        }
        let start = self.queue.get(self.begun)?.block;
        let longest = u32::try_from(limit).unwrap_or(u32::MAX).min(RUN_LEN);
        let mut run = BlockRun { piece: start.piece, begin: start.begin, length: 0 };
        for upload in self.queue.range_mut(self.begun..) {
            let block = upload.block;
            let adjacent =
                block.piece == run.piece && block.begin == run.begin.saturating_add(run.length);
            let fits = run.length == 0 || run.length.saturating_add(block.length) <= longest;
            if !adjacent || !fits {
                break;
            }
            upload.state = State::Reading;
            self.begun += 1;
            run.length += block.length;
        }
        self.reading += run.length as usize;
        Some(run)
    }

    /// A run was read: its blocks are ready, those of them that were not cancelled.
    pub(crate) fn run_read(&mut self, run: BlockRun, data: &Bytes) {
        self.reading = self.reading.saturating_sub(run.length as usize);
        for upload in self.queue.iter_mut().take(self.begun) {
            if matches!(upload.state, State::Reading) && run.covers(upload.block) {
                let from = (upload.block.begin - run.begin) as usize;
                let to = from + upload.block.length as usize;
                if to <= data.len() {
                    upload.state = State::Ready(data.slice(from..to));
                    self.ready += to - from;
                }
            }
        }
    }

    /// A run could not be read: its blocks are dropped and returned.
    pub(crate) fn run_failed(&mut self, run: BlockRun) -> Vec<Block> {
        self.reading = self.reading.saturating_sub(run.length as usize);
        let mut failed = Vec::new();
        let begun = &mut self.begun;
        self.queue.retain(|upload| {
            let dropped = matches!(upload.state, State::Reading) && run.covers(upload.block);
            if dropped {
                failed.push(upload.block);
                *begun -= 1;
            }
            !dropped
        });
        failed
    }

    /// Whether the first request can be sent now.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.queue.front(), Some(Upload { state: State::Ready(_), .. }))
    }

    /// Takes the first request out if its bytes are there.
    pub(crate) fn pop_ready(&mut self) -> Option<(Block, Bytes)> {
        if !self.is_ready() {
            return None;
        }
        match self.queue.pop_front()? {
            Upload { block, state: State::Ready(data) } => {
                self.ready -= data.len();
                self.begun -= 1;
                Some((block, data))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(piece: u32, number: u32) -> Block {
        Block { piece: PieceIndex(piece), begin: number * 16_384, length: 16_384 }
    }

    #[test]
    fn adjacent_requests_are_read_in_one_run() {
        let mut queue = UploadQueue::default();
        for request in [block(0, 0), block(0, 1), block(0, 3), block(1, 0)] {
            queue.push(request);
        }
        let run = queue.next_run(1 << 20).unwrap();
        assert_eq!((run.begin, run.length), (0, 32_768));
        let next = queue.next_run(1 << 20).unwrap();
        assert_eq!((next.begin, next.length), (3 * 16_384, 16_384));
        queue.run_read(run, &Bytes::from(vec![7; 32_768]));
        assert_eq!(queue.pop_ready().unwrap().0, block(0, 0));
        assert_eq!(queue.pop_ready().unwrap().0, block(0, 1));
        assert!(queue.pop_ready().is_none(), "the third is still being read");
    }

    #[test]
    fn a_cancelled_request_is_not_sent_though_it_was_read() {
        let mut queue = UploadQueue::default();
        queue.push(block(0, 0));
        queue.push(block(0, 1));
        let run = queue.next_run(1 << 20).unwrap();
        assert!(queue.cancel(block(0, 0)));
        assert!(!queue.cancel(block(0, 0)));
        queue.run_read(run, &Bytes::from(vec![7; 32_768]));
        assert_eq!(queue.pop_ready().unwrap().0, block(0, 1));
        assert_eq!((queue.reading, queue.ready), (0, 0));
    }

    #[test]
    fn what_is_being_read_for_a_cancelled_request_counts_until_it_is_there() {
        let mut queue = UploadQueue::default();
        let run = |queue: &mut UploadQueue| {
            queue.push(block(0, 0));
            queue.next_run(32_768)
        };
        let first = run(&mut queue).unwrap();
        queue.cancel(block(0, 0));
        run(&mut queue).unwrap();
        queue.clear().for_each(drop);
        assert_eq!(run(&mut queue), None, "two reads are under way");
        queue.run_read(first, &Bytes::from(vec![7; 16_384]));
        assert!(queue.next_run(32_768).is_some());
    }

    #[test]
    fn reading_ahead_stops_at_the_limit_and_runs_have_a_bound() {
        let mut queue = UploadQueue::default();
        for number in 0..64 {
            queue.push(block(0, number));
        }
        assert_eq!(queue.next_run(RUN_LEN as usize).unwrap().length, RUN_LEN);
        assert_eq!(queue.next_run(RUN_LEN as usize), None);
    }

    #[test]
    fn a_failed_read_returns_its_requests_once() {
        let mut queue = UploadQueue::default();
        queue.push(block(0, 0));
        queue.push(block(2, 0));
        let run = queue.next_run(1 << 20).unwrap();
        assert_eq!(queue.run_failed(run), [block(0, 0)]);
        assert!(queue.run_failed(run).is_empty());
        assert_eq!((queue.reading, queue.ready), (0, 0));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn what_waits_stays_behind_what_was_begun_whatever_is_cancelled_or_fails() {
        let mut queue = UploadQueue::default();
        for number in [0, 1, 2, 5, 6, 8] {
            queue.push(block(0, number));
        }
        let first = queue.next_run(1 << 20).unwrap();
        assert!(queue.cancel(block(0, 1)) && queue.cancel(block(0, 8)));
        let second = queue.next_run(1 << 20).unwrap();
        assert_eq!((second.begin, second.length), (5 * 16_384, 2 * 16_384));
        assert!(!queue.has_waiting());
        queue.push(block(0, 9));
        assert_eq!(queue.run_failed(first), [block(0, 0), block(0, 2)]);
        assert!(queue.has_waiting());
        queue.run_read(second, &Bytes::from(vec![0; 2 * 16_384]));
        assert_eq!(queue.pop_ready().map(|(block, _)| block), Some(block(0, 5)));
        assert_eq!(queue.next_run(1 << 20).map(|run| run.begin), Some(9 * 16_384));
        assert!(queue.clear().eq([block(0, 6), block(0, 9)]));
        assert!(!queue.has_waiting() && queue.next_run(1 << 20).is_none());
    }
}
