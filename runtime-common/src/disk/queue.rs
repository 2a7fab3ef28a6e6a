//! What the disk's workers do next.
//!
//! Requests wait in four lines. Three move data and take turns: reads and the like, pieces to be
//! hashed and written, pieces to be read and hashed. The fourth is upkeep, which may wait long for the
//! device (sync, save, prepare, move, close) and never takes the last worker, so that peers are served
//! while a slow disk syncs. The engine bounds how much it asks for, so the lines have no bound of
//! their own.
//!
//! Pieces are hashed with least work several at once ([`crate::multi_buffer`]), so a worker takes as many. Of a
//! fast download one piece is not taken alone: it waits some milliseconds for others. After a pause it
//! goes at once. And while one worker writes, another joins it only when as many wait as are worth
//! taking, or for long: a file lets in one writer at a time, and the others would spin.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bitswarm_core::OpId;
use bitswarm_core::disk::{DiskRequest, Spans, VerifyRequest, WriteRequest};
use bitswarm_core::piece_hash::PieceHash;

/// How long a piece waits for others, if one came no longer than this before it (chosen: at rates
/// where the work of hashing counts, several pieces come in this time, and no peer notices it).
const COMPANY: Duration = Duration::from_millis(3);

/// How much longer it waits while another worker writes (chosen: that one takes it sooner, unless its
/// disk hangs).
const OTHER_WRITER: Duration = Duration::from_millis(50);

/// Pieces of more bytes than this are not taken together, but for the first (chosen: a worker is not
/// to be busy for long).
const BATCH_LEN: u64 = 32 << 20;

/// Requests that a worker does together.
#[derive(Debug)]
pub(crate) enum Batch {
    /// One of any kind.
    One(OpId, DiskRequest),
    /// Pieces to hash and write.
    Writes(Vec<(OpId, Box<WriteRequest>)>),
    /// Pieces to read and hash.
    Verifies(Vec<(OpId, Box<VerifyRequest>)>),
}

/// What a worker is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// This, and say so when it is done ([`Queue::ended`]).
    Do(Batch, Line),
    /// Wait until then, or until something is submitted.
    WaitUntil(Instant),
    /// Wait until something is submitted.
    Wait,
}

/// Where a batch was taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Transfers,
    Writes,
    Verifies,
    Upkeep,
}

/// The requests that wait.
#[derive(Debug)]
pub(super) struct Queue {
    transfers: VecDeque<(OpId, DiskRequest)>,
    writes: VecDeque<WaitingWrite>,
    verifies: VecDeque<(OpId, Box<VerifyRequest>)>,
    upkeep: VecDeque<(OpId, DiskRequest)>,
    /// Which of the first three was taken from last.
    turn: usize,
    /// When the last piece to be written came.
    last_write: Option<Instant>,
    /// Workers, and those of them that do upkeep now, or write pieces.
    workers: usize,
    upkeep_running: usize,
    writing: usize,
    /// Pieces worth taking at once.
    at_once: usize,
}

/// A piece that waits to be written.
#[derive(Debug)]
struct WaitingWrite {
    op: OpId,
    request: Box<WriteRequest>,
    /// When it is taken whether or not there are others.
    until: Instant,
}

impl Queue {
    /// For so many workers, which had best take so many pieces at once.
    pub(super) fn new(workers: usize, at_once: usize) -> Self {
        Queue {
            transfers: VecDeque::new(),
            writes: VecDeque::new(),
            verifies: VecDeque::new(),
            upkeep: VecDeque::new(),
            turn: 0,
            last_write: None,
            workers,
            upkeep_running: 0,
            writing: 0,
            at_once: at_once.max(1),
        }
    }

    /// A request is to be done.
    pub(super) fn submit(&mut self, now: Instant, op: OpId, request: DiskRequest) {
        match request {
            DiskRequest::Write(request) if request.expect.is_some() => {
                let is_fast = self.last_write.is_some_and(|last| now < last + COMPANY);
                let waits = is_fast && gains_from_company(&request);
                self.last_write = Some(now);
                let until = if waits { now + COMPANY } else { now };
                self.writes.push_back(WaitingWrite { op, request, until });
            }
            DiskRequest::Verify(request) => self.verifies.push_back((op, request)),
            DiskRequest::Open { .. }
            | DiskRequest::Look { .. }
            | DiskRequest::Read { .. }
            | DiskRequest::Write(_)
            | DiskRequest::Load { .. } => self.transfers.push_back((op, request)),
            DiskRequest::Prepare { .. }
            | DiskRequest::Reuse { .. }
            | DiskRequest::Sync { .. }
            | DiskRequest::Move { .. }
            | DiskRequest::Close { .. }
            | DiskRequest::Save { .. }
            | DiskRequest::Forget { .. } => self.upkeep.push_back((op, request)),
        }
    }

    /// What a worker that has nothing to do is to do now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.upkeep_running + 1 < self.workers.max(2)
            && let Some((op, request)) = self.upkeep.pop_front()
        {
            self.upkeep_running += 1;
            return Next::Do(Batch::One(op, request), Line::Upkeep);
        }
        for _ in 0..3 {
            self.turn = (self.turn + 1) % 3;
            let taken = match self.turn {
                0 => {
                    let taken = self.transfers.pop_front();
                    taken.map(|(op, request)| (Batch::One(op, request), Line::Transfers))
                }
                1 => self.take_writes(now).map(|batch| (Batch::Writes(batch), Line::Writes)),
                _ => self.take_verifies().map(|batch| (Batch::Verifies(batch), Line::Verifies)),
            };
            if let Some((batch, line)) = taken {
                self.writing += usize::from(line == Line::Writes);
                return Next::Do(batch, line);
            }
        }
        self.writes_due().map_or(Next::Wait, Next::WaitUntil)
    }

    /// A batch from this line is done; whether another worker may go on with what had to wait for it.
    pub(super) fn ended(&mut self, line: Line) -> bool {
        match line {
            Line::Upkeep => {
                self.upkeep_running -= 1;
                !self.upkeep.is_empty()
            }
            Line::Writes => {
                self.writing -= 1;
                false
            }
            Line::Transfers | Line::Verifies => false,
        }
    }

    /// Whether nothing waits but upkeep.
    pub(super) fn has_transfers(&self) -> bool {
        !(self.transfers.is_empty() && self.writes.is_empty() && self.verifies.is_empty())
    }

    /// Drops what only brings something, for the end: writes and upkeep are still done, and wait for
    /// nothing.
    pub(super) fn keep_writes_only(&mut self, now: Instant) {
        self.transfers.retain(|(_, request)| matches!(request, DiskRequest::Write(_)));
        self.verifies.clear();
        self.writes.iter_mut().for_each(|write| write.until = now);
    }

    /// When pieces are taken though they are fewer than are worth it.
    fn writes_due(&self) -> Option<Instant> {
        let first = self.writes.front()?.until;
        Some(if self.writing > 0 { first + OTHER_WRITER } else { first })
    }

    fn take_writes(&mut self, now: Instant) -> Option<Vec<(OpId, Box<WriteRequest>)>> {
        if self.writes.len() < self.at_once && self.writes_due()? > now {
            return None;
        }
        let batch = take(&mut self.writes, self.at_once, |write| &write.request.spans)?;
        Some(batch.into_iter().map(|write| (write.op, write.request)).collect())
    }

    /// No more than the share of this worker: all of them together are faster still.
    fn take_verifies(&mut self) -> Option<Vec<(OpId, Box<VerifyRequest>)>> {
        let share = self.verifies.len().div_ceil(self.workers.max(1));
        take(&mut self.verifies, share.min(self.at_once), |(_, verify)| &verify.spans)
    }
}

/// Whether hashing it takes less work when others are hashed beside it: of v2 alone the blocks of one
/// piece are enough.
fn gains_from_company(write: &WriteRequest) -> bool {
    !matches!(write.expect, None | Some(PieceHash::V2(_)))
}

/// The first `count`, or fewer if they are long.
fn take<T>(line: &mut VecDeque<T>, count: usize, spans: impl Fn(&T) -> &Spans) -> Option<Vec<T>> {
    let mut length = 0;
    let fitting = line.iter().take(count).take_while(|waiting| {
        length += spans(waiting).iter().map(|span| u64::from(span.length)).sum::<u64>();
        length <= BATCH_LEN
    });
    let count = fitting.count().max(1).min(line.len());
    let batch: Vec<T> = line.drain(..count).collect();
    (!batch.is_empty()).then_some(batch)
}

#[cfg(test)]
mod tests {
    use bitswarm_core::StoreId;
    use bitswarm_core::disk::{FileIndex, Span, StateName};
    use bitswarm_core::id::Id;
    use bitswarm_core::piece::InfoHash;
    use bitswarm_core::piece_hash::PieceRoot;

    use super::*;

    fn spans(length: u32) -> Spans {
        Spans::from_slice(&[Span { file: Some(FileIndex(0)), offset: 0, length }])
    }

    fn write(length: u32, expect: Option<PieceHash>) -> DiskRequest {
        let (spans, data) = (spans(length), Vec::new());
        DiskRequest::Write(Box::new(WriteRequest {
            store: StoreId::new(0, 0),
            spans,
            data,
            expect,
        }))
    }

    fn piece() -> DiskRequest {
        write(1 << 20, Some(PieceHash::V1([0; 20])))
    }

    fn verify() -> DiskRequest {
        let expect = PieceHash::V1([0; 20]);
        DiskRequest::Verify(Box::new(VerifyRequest {
            store: StoreId::new(0, 0),
            spans: spans(1 << 20),
            expect,
            tell_zeros: false,
        }))
    }

    fn read() -> DiskRequest {
        DiskRequest::Read { store: StoreId::new(0, 0), spans: spans(1 << 14) }
    }

    fn sync() -> DiskRequest {
        DiskRequest::Sync { store: StoreId::new(0, 0) }
    }

    /// A queue, a clock, and the numbers of what is taken from it. Who takes something is done with it
    /// at once, but for what `busy` holds back.
    struct Bench {
        queue: Queue,
        is_busy: bool,
        start: Instant,
        now: Instant,
        submitted: u32,
    }

    impl Bench {
        fn new(workers: usize) -> Self {
            let start = Instant::now();
            Bench { queue: Queue::new(workers, 4), is_busy: false, start, now: start, submitted: 0 }
        }

        fn at(&mut self, ms: u64) -> &mut Self {
            self.now = self.start + Duration::from_millis(ms);
            self
        }

        fn submit(&mut self, request: DiskRequest) -> &mut Self {
            self.queue.submit(self.now, OpId::new(self.submitted, 0), request);
            self.submitted += 1;
            self
        }

        /// What is next: the numbers of the requests, or in how many milliseconds to ask again.
        fn next(&mut self) -> Result<Vec<u32>, Option<u64>> {
            match self.queue.next(self.now) {
                Next::Do(batch, line) => {
                    if !self.is_busy {
                        self.queue.ended(line);
                    }
                    Ok(match batch {
                        Batch::One(op, _) => vec![op.index()],
                        Batch::Writes(writes) => writes.iter().map(|(op, _)| op.index()).collect(),
                        Batch::Verifies(all) => all.iter().map(|(op, _)| op.index()).collect(),
                    })
                }
                Next::WaitUntil(until) => Err(Some((until - self.now).as_millis() as u64)),
                Next::Wait => Err(None),
            }
        }
    }

    #[test]
    fn the_first_piece_goes_at_once_and_those_close_behind_it_go_together() {
        let mut bench = Bench::new(2);
        assert_eq!(bench.submit(piece()).next(), Ok(vec![0]));
        assert_eq!(bench.at(1).submit(piece()).next(), Err(Some(3)));
        assert_eq!(bench.at(2).submit(piece()).next(), Err(Some(2)));
        assert_eq!(bench.at(3).submit(piece()).next(), Err(Some(1)));
        assert_eq!(
            bench.submit(piece()).next(),
            Ok(vec![1, 2, 3, 4]),
            "a full batch does not wait"
        );
        assert_eq!(bench.submit(piece()).next(), Err(Some(3)));
        assert_eq!(bench.at(6).next(), Ok(vec![5]), "nor does a piece wait for ever");
        assert_eq!(bench.at(6).submit(piece()).next(), Ok(vec![6]), "a pause has passed");
        assert_eq!(bench.next(), Err(None));
    }

    #[test]
    fn a_second_writer_comes_for_many_pieces_or_when_the_first_takes_long() {
        let mut bench = Bench::new(2);
        bench.is_busy = true;
        assert_eq!(bench.submit(piece()).next(), Ok(vec![0]));
        assert_eq!(bench.at(20).submit(piece()).next(), Err(Some(50)));
        bench.at(30).submit(piece()).submit(piece());
        assert_eq!(bench.submit(piece()).next(), Ok(vec![1, 2, 3, 4]));
        assert_eq!(bench.at(40).submit(piece()).next(), Err(Some(50)));
        assert_eq!(bench.at(90).next(), Ok(vec![5]));
        bench.at(200).submit(piece());
        for _ in 0..3 {
            assert_eq!(bench.next(), Err(Some(50)));
            bench.queue.ended(Line::Writes);
        }
        assert_eq!(bench.next(), Ok(vec![6]), "nobody else writes");
    }

    #[test]
    fn what_gains_nothing_waits_for_nothing() {
        let mut bench = Bench::new(2);
        let root = PieceRoot { hash: [0; 32], layer: 6, length: 1 << 20 };
        for request in [piece(), write(1 << 20, Some(PieceHash::V2(root))), write(1 << 14, None)] {
            bench.submit(request);
        }
        let mut all = [bench.next(), bench.next()].map(Result::unwrap).concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }

    #[test]
    fn long_pieces_are_not_many_at_once() {
        let mut bench = Bench::new(1);
        let long = |length| write(length, Some(PieceHash::V1([0; 20])));
        bench
            .submit(long(40 << 20))
            .submit(long(20 << 20))
            .submit(long(8 << 20))
            .submit(long(8 << 20));
        assert_eq!(bench.next(), Ok(vec![0]));
        assert_eq!(bench.at(5).next(), Ok(vec![1, 2]));
        assert_eq!(bench.next(), Ok(vec![3]));
    }

    #[test]
    fn workers_share_what_is_to_be_verified() {
        let mut bench = Bench::new(2);
        for _ in 0..7 {
            bench.submit(verify());
        }
        assert_eq!(bench.next(), Ok(vec![0, 1, 2, 3]), "as many as are worth it");
        assert_eq!(bench.next(), Ok(vec![4, 5]), "half of the three");
        assert_eq!(bench.next(), Ok(vec![6]));
    }

    #[test]
    fn all_kinds_have_their_turn() {
        let mut bench = Bench::new(2);
        for _ in 0..20 {
            bench.submit(verify()).submit(read()).submit(piece());
        }
        let first: Vec<u32> = (0..3).flat_map(|_| bench.next().unwrap()).map(|op| op % 3).collect();
        for kind in 0..3 {
            assert!(first.contains(&kind), "{first:?}");
        }
    }

    #[test]
    fn upkeep_comes_first_but_never_takes_the_last_worker() {
        let mut bench = Bench::new(3);
        bench.is_busy = true;
        bench.submit(read()).submit(sync()).submit(sync()).submit(sync());
        assert_eq!(
            [bench.next(), bench.next(), bench.next()],
            [Ok(vec![1]), Ok(vec![2]), Ok(vec![0])]
        );
        assert_eq!(bench.next(), Err(None));
        assert!(bench.queue.ended(Line::Upkeep), "one more waits");
        assert_eq!(bench.next(), Ok(vec![3]));
        assert!(!bench.queue.ended(Line::Upkeep));
    }

    #[test]
    fn at_the_end_only_what_keeps_data_is_done_and_without_delay() {
        let mut bench = Bench::new(2);
        let save = DiskRequest::Save {
            name: StateName::Resume(InfoHash([1; 20])),
            data: Default::default(),
        };
        bench.submit(piece()).submit(piece()).submit(read()).submit(verify());
        bench.submit(write(1 << 14, None)).submit(save);
        bench.queue.keep_writes_only(bench.now);
        let mut done: Vec<u32> = std::iter::from_fn(|| bench.next().ok()).flatten().collect();
        done.sort_unstable();
        assert_eq!(done, [0, 1, 4, 5]);
        assert!(!bench.queue.has_transfers());
    }
}
