//! Our outstanding requests at one peer, and how many there should be (BEP 3: "downloaders should
//! keep several piece requests queued up at once").
//!
//! The depth follows the path: measured rate times round trip, and as much again (a quarter second's
//! worth at least), so it doubles each round trip while the rate follows, fills a long fat pipe, and
//! leaves a slow peer two blocks. Round trips are measured by block, which includes the wait in the
//! peer's queue; every ten seconds or so the depth is halved for a moment to see the path without it.
//!
//! A request in its life is awaited, then late (older than the peer's round trips let expect: its
//! block is released to others, but welcome), then forgotten: when the peer has sent nothing for the
//! snub time, or has been late with it for several of these. A peer that owes blocks and sends none
//! for the snub time snubs us. Time in which we do not read counts for nothing.
//!
//! Invariants: never more requests than the peer's `reqq` and our bound (S4); each request ends
//! exactly once; each block is released at most once. Which blocks is the picker's.

use std::collections::VecDeque;

use super::reqq::Reqq;
use crate::piece::{BLOCK_LEN, Block, PieceIndex};
use crate::time::{Duration, Instant};

/// Depth before anything is measured (chosen).
const START_DEPTH: usize = 4;
/// Blocks besides those that fill the path: one on its way while one is asked for.
const SLACK: usize = 2;
/// Least time's worth of requests beyond the round trip (chosen: covers ticks of rate limiters).
const QUEUE_TIME: Duration = Duration::from_millis(250);
/// Longest round trip that the depth follows (chosen).
const LONGEST_RTT: Duration = Duration::from_secs(2);
/// Between two looks at the path without our queue (chosen, as in BBR).
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Round trips between two such looks, at least: each costs half of one (chosen: 1 %).
const PROBE_TRIPS: u32 = 50;
/// Round trips that make a look (chosen).
const PROBE_SAMPLES: u8 = 4;
/// The rate is the best of this time and of what is begun of the next (chosen).
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// What came is spread over this time at least, in nanoseconds (chosen: what clocks resolve).
const LEAST_FLIGHT: u64 = 1_000_000;
/// A request is late at the earliest after this (chosen).
const SOONEST_LATE: Duration = Duration::from_secs(3);
/// A request is late after this while no round trip was measured (chosen).
const FIRST_LATE: Duration = Duration::from_secs(10);
/// Snub times after which a request is forgotten at a peer that answers others (chosen: no answer
/// is due any more, but a slow peer would send a block twice that is asked for twice).
const FORGET_SNUBS: u32 = 4;
/// Most requests held back to be sent together (chosen: they fit half a packet).
const LARGEST_BATCH: usize = 32;

/// Our requests at one peer, in the order in which they were sent.
#[derive(Debug)]
pub struct Pipeline {
    queue: VecDeque<Request>,
    /// How many requests at the front are late.
    late: usize,
    /// How many requests are late or cancelled.
    given_up: usize,
    /// Whether a request was given up that the peer may still answer.
    forgot: bool,
    /// How many requests at the back wait for the socket.
    unsent: usize,
    most: usize,
    reqq: Reqq,
    snub: Duration,
    snubbed: bool,
    patience: Patience,
    /// When the peer began to owe us the next block, by `patience`.
    owed_since: Instant,
    trip: RoundTrip,
    rate: DeliveryRate,
}

/// How a request stood when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It was in time.
    Awaited,
    /// Its block was released to others before.
    Late,
    /// It was cancelled before.
    Cancelled,
}

/// What became of a request for which the peer took too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overdue {
    /// Its block is to be released to others; the peer may still send it.
    Late(Block),
    /// It is not waited for any more, and was late or cancelled before.
    Forgotten(Block),
}

#[derive(Debug)]
struct Request {
    block: Block,
    standing: Standing,
    /// Whether it was sent into an emptied queue, to measure the path.
    probe: bool,
    sent_at: Instant,
    /// When it was sent, by `patience`.
    owed_since: Instant,
    /// What had been delivered when it was sent, and when.
    delivered: Delivered,
}

impl Pipeline {
    /// No requests. At most `most` are ever outstanding (`Bounds::own_requests`); a peer snubs us
    /// after `snub` without a block (`Timeouts::snub`).
    pub fn new(most: usize, snub: Duration) -> Self {
        Pipeline {
            queue: VecDeque::new(),
            late: 0,
            given_up: 0,
            forgot: false,
            unsent: 0,
            most,
            reqq: Reqq::default(),
            snub,
            snubbed: false,
            patience: Patience::default(),
            owed_since: Instant::ZERO,
            trip: RoundTrip::default(),
            rate: DeliveryRate::default(),
        }
    }

    /// How many requests the peer says it takes (BEP 10, `reqq`). At least one is sent.
    pub fn set_reqq(&mut self, reqq: usize) {
        self.reqq = Reqq::said(reqq);
    }

    /// Requests outstanding: awaited, late, or cancelled and not answered.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none is outstanding.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether this block is outstanding here. O(n).
    pub fn contains(&self, block: Block) -> bool {
        self.position(block).is_some()
    }

    /// Whether there are requests here that were given up to others and may still be answered.
    pub fn has_given_up(&self) -> bool {
        self.given_up > 0
    }

    /// How many more requests to send now. They come in batches: 0 until it is worth a packet.
    pub fn want(&self, now: Instant) -> usize {
        let depth = self.depth(now);
        let missing = depth.saturating_sub(self.queue.len());
        let batch = (depth / 8).clamp(1, LARGEST_BATCH);
        if missing >= batch || self.queue.is_empty() { missing } else { 0 }
    }

    /// How many requests should be outstanding.
    pub fn depth(&self, now: Instant) -> usize {
        let most = self.most.min(self.reqq.most());
        if self.snubbed {
            return most.min(1);
        }
        let Some(path) = self.trip.least else { return most.min(START_DEPTH) };
        let rate = self.rate.best(now);
        // A block's round trip ends with the block's own transfer, which is not the path's.
        let transfer = u64::from(BLOCK_LEN) * 1_000_000_000 / rate.max(1);
        let path = path.min(LONGEST_RTT).saturating_sub(Duration::from_nanos(transfer));
        let worth = if self.trip.probing { path / 2 } else { path + path.max(QUEUE_TIME) };
        let bytes = u128::from(rate) * worth.as_nanos() / 1_000_000_000;
        let blocks = usize::try_from(bytes / u128::from(BLOCK_LEN)).unwrap_or(usize::MAX);
        blocks.saturating_add(SLACK).min(most)
    }

    /// A request was decided on, and waits until the socket takes it: until
    /// [`gathered`](Self::gathered) the peer owes nothing for it.
    pub fn queued(&mut self, block: Block, now: Instant) {
        self.sent(block, now);
        self.unsent += 1;
    }

    /// All requests that were queued are on their way.
    pub fn gathered(&mut self, now: Instant) {
        let owed_since = self.patience.clock(now);
        if self.unsent > 0 && self.unsent == self.queue.len() {
            self.owed_since = owed_since;
        }
        for request in self.queue.iter_mut().rev().take(std::mem::take(&mut self.unsent)) {
            request.sent_at = now;
            request.owed_since = owed_since;
        }
    }

    /// Requests that wait until the socket takes them.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// A request was sent.
    pub fn sent(&mut self, block: Block, now: Instant) {
        let owed_since = self.patience.clock(now);
        if self.queue.is_empty() {
            self.owed_since = owed_since;
            self.rate.restart(now);
        }
        self.trip.start_probe_if_due(now);
        self.queue.push_back(Request {
            block,
            standing: Standing::Awaited,
            probe: self.trip.probing && self.queue.len() < self.depth(now),
            sent_at: now,
            owed_since,
            delivered: self.rate.delivered,
        });
    }

    /// A block came in: ends its request and says how that stood. `None` if it was not asked for;
    /// see [`forgot`](Self::forgot). O(1) for a peer that answers in order, else O(n).
    pub fn received(&mut self, block: Block, now: Instant) -> Option<Standing> {
        let request = self.take(block);
        if request.is_some() || self.forgot {
            self.snubbed = false;
            self.owed_since = self.patience.clock(now);
        }
        let request = request?;
        self.reqq.answered(self.queue.len() + 1);
        self.trip.add(now, request.sent_at, request.probe);
        self.rate.add(now, block.length, request.delivered);
        Some(request.standing)
    }

    /// The peer rejected a request (BEP 6): ends it and says how it stood.
    pub fn rejected(&mut self, block: Block) -> Option<Standing> {
        self.take(block).map(|request| request.standing)
    }

    /// A request was cancelled; says how it stood. If an answer is due all the same (BEP 6: every
    /// request is answered) it stays outstanding until that.
    pub fn cancelled(&mut self, block: Block, answer_due: bool) -> Option<Standing> {
        if !answer_due {
            self.forgot = true;
            return self.take(block).map(|request| request.standing);
        }
        let at = self.position(block)?;
        let request = self.queue.get_mut(at)?;
        let standing = std::mem::replace(&mut request.standing, Standing::Cancelled);
        self.given_up += usize::from(standing == Standing::Awaited);
        Some(standing)
    }

    /// Ends all requests (the peer chokes us without the fast extension, or is gone). Returns them
    /// and how each stood.
    pub fn clear(&mut self) -> impl Iterator<Item = (Block, Standing)> + '_ {
        self.late = 0;
        self.given_up = 0;
        self.unsent = 0;
        self.forgot |= !self.queue.is_empty();
        self.queue.drain(..).map(|request| (request.block, request.standing))
    }

    /// The requested blocks of a piece.
    pub fn blocks_of(&self, piece: PieceIndex) -> Vec<Block> {
        let of_piece = self.queue.iter().filter(|request| request.block.piece == piece);
        of_piece.map(|request| request.block).collect()
    }

    /// Whether a request was ever given up that the peer may still answer. Until then a block not
    /// asked for is a violation where the fast extension is on (BEP 6).
    pub fn forgot(&self) -> bool {
        self.forgot
    }

    /// Whether the peer owed us blocks and sent none for the snub time, and none since.
    pub fn is_snubbed(&self) -> bool {
        self.snubbed
    }

    /// Whether we read from the peer. While we do not, it is not to blame for anything.
    pub fn set_reading(&mut self, reading: bool, now: Instant) {
        self.patience.set_running(reading, now);
    }

    /// When to call [`pop_overdue`](Self::pop_overdue). May change with every other call.
    pub fn deadline(&self) -> Option<Instant> {
        let front = self.queue.front().filter(|_| self.on_the_way() > 0)?;
        let forget = (self.late > 0).then(|| self.forget_at(front));
        let next = self.queue.get(self.late).filter(|_| self.late < self.on_the_way());
        let late = next.map(|first| first.owed_since + self.late_after());
        let snub = (!self.snubbed).then_some(self.owed_since + self.snub);
        [forget, late, snub].into_iter().flatten().min().and_then(|at| self.patience.real(at))
    }

    /// A request that is late, or forgotten, from now on. To be called until there is none.
    pub fn pop_overdue(&mut self, now: Instant) -> Option<Overdue> {
        let clock = self.patience.running_clock(now)?;
        if self.on_the_way() > 0 && clock >= self.owed_since + self.snub {
            self.snubbed = true;
        }
        if self.late > 0
            && let Some(front) = self.queue.front()
            && clock >= self.forget_at(front)
        {
            self.forgot = true;
            return self.take_at(0).map(|request| Overdue::Forgotten(request.block));
        }
        let late_after = self.late_after();
        while self.late < self.on_the_way()
            && let Some(request) = self.queue.get_mut(self.late)
            && clock >= request.owed_since + late_after
        {
            self.late += 1;
            self.reqq.late();
            if clock >= self.owed_since + late_after {
                self.rate.stalled();
            }
            if request.standing == Standing::Awaited {
                request.standing = Standing::Late;
                self.given_up += 1;
                return Some(Overdue::Late(request.block));
            }
        }
        None
    }

    /// The path's round trip, if it was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.trip.least
    }

    /// Bytes per second at which blocks come, at their best of the last seconds.
    pub fn rate_bytes_per_s(&self, now: Instant) -> u64 {
        self.rate.best(now)
    }

    fn late_after(&self) -> Duration {
        self.trip.late_after().clamp(SOONEST_LATE.min(self.snub / 2), self.snub / 2)
    }

    /// When the peer will have forgotten a request: it has been silent for long, or sends others.
    fn forget_at(&self, request: &Request) -> Instant {
        let silent = request.owed_since.max(self.owed_since) + self.snub;
        silent.min(request.owed_since + self.snub * FORGET_SNUBS)
    }

    /// Requests that are no longer with us. They are the first of the queue.
    fn on_the_way(&self) -> usize {
        self.queue.len() - self.unsent
    }

    fn position(&self, block: Block) -> Option<usize> {
        // Peers answer in order: mostly it is the first.
        if self.queue.front().is_some_and(|request| request.block == block) {
            return Some(0);
        }
        self.queue.iter().position(|request| request.block == block)
    }

    fn take(&mut self, block: Block) -> Option<Request> {
        self.take_at(self.position(block)?)
    }

    fn take_at(&mut self, at: usize) -> Option<Request> {
        if at < self.late {
            self.late -= 1;
        }
        if at >= self.on_the_way() {
            self.unsent -= 1;
        }
        let request = match at {
            0 => self.queue.pop_front(),
            _ => self.queue.remove(at),
        }?;
        self.given_up -= usize::from(request.standing != Standing::Awaited);
        Some(request)
    }
}

/// A clock that stands while we do not read.
#[derive(Debug, Default)]
struct Patience {
    stood: Duration,
    standing_since: Option<Instant>,
}

impl Patience {
    fn clock(&self, now: Instant) -> Instant {
        self.standing_since.unwrap_or(now).min(now).saturating_sub(self.stood)
    }

    /// `None` while the clock stands.
    fn running_clock(&self, now: Instant) -> Option<Instant> {
        self.standing_since.is_none().then(|| self.clock(now))
    }

    /// When the clock will show `at`; `None` while it stands.
    fn real(&self, at: Instant) -> Option<Instant> {
        self.standing_since.is_none().then_some(at + self.stood)
    }

    fn set_running(&mut self, running: bool, now: Instant) {
        match (running, self.standing_since) {
            (true, Some(since)) => {
                self.stood = self.stood.saturating_add(now - since);
                self.standing_since = None;
            }
            (false, None) => self.standing_since = Some(now),
            _ => {}
        }
    }
}

/// The time from a request to its block.
#[derive(Debug, Default)]
struct RoundTrip {
    /// Shortest since the last probe: the path.
    least: Option<Duration>,
    /// Smoothed, and its variation (RFC 6298), queues included: what to expect. In nanoseconds.
    smooth: u64,
    variation: u64,
    probing: bool,
    probe_samples: u8,
    probe_least: Duration,
    probed_at: Instant,
}

impl RoundTrip {
    fn add(&mut self, now: Instant, sent_at: Instant, probe: bool) {
        let nanos = now.as_nanos().saturating_sub(sent_at.as_nanos());
        let trip = Duration::from_nanos(nanos);
        let Some(least) = self.least else {
            (self.smooth, self.variation) = (nanos, nanos / 2);
            (self.least, self.probed_at) = (Some(trip), now);
            return;
        };
        self.least = Some(least.min(trip));
        let differs_by = self.smooth.abs_diff(nanos);
        self.variation = self.variation.saturating_mul(3).saturating_add(differs_by) / 4;
        self.smooth = self.smooth.saturating_mul(7).saturating_add(nanos) / 8;
        if !(probe && self.probing) {
            return;
        }
        self.probe_least = self.probe_least.min(trip);
        self.probe_samples += 1;
        if self.probe_samples >= PROBE_SAMPLES {
            self.least = Some(self.probe_least);
            self.probing = false;
            self.probed_at = now;
        }
    }

    fn start_probe_if_due(&mut self, now: Instant) {
        let Some(least) = self.least else { return };
        let interval = PROBE_INTERVAL.max(least * PROBE_TRIPS);
        if !self.probing && now >= self.probed_at + interval {
            (self.probing, self.probe_samples, self.probe_least) = (true, 0, Duration::MAX);
        }
    }

    fn late_after(&self) -> Duration {
        match self.least {
            Some(_) => {
                Duration::from_nanos(self.variation.saturating_mul(4).saturating_add(self.smooth))
            }
            None => FIRST_LATE,
        }
    }
}

/// Bytes that came in so far, and when the last of them did.
#[derive(Clone, Copy, Debug, Default)]
struct Delivered {
    bytes: u64,
    at: Instant,
}

/// How fast the peer delivers: over the flight of each request, what came in by the time it took
/// (so a burst is spread over a round trip at least); of these the best in a few seconds.
#[derive(Debug, Default)]
struct DeliveryRate {
    delivered: Delivered,
    best: u64,
    best_before: u64,
    window: u64,
}

impl DeliveryRate {
    /// A request goes out into silence: time counts from here.
    fn restart(&mut self, now: Instant) {
        self.delivered.at = now;
    }

    fn add(&mut self, now: Instant, bytes: u32, when_sent: Delivered) {
        self.delivered.bytes = self.delivered.bytes.saturating_add(bytes.into());
        self.delivered.at = now;
        let over = now.as_nanos().saturating_sub(when_sent.at.as_nanos()).max(LEAST_FLIGHT);
        let came = self.delivered.bytes.saturating_sub(when_sent.bytes);
        let bytes_per_s = came.saturating_mul(1_000_000_000) / over;
        let window = window_of(now);
        if window != self.window {
            self.best_before = self.best_before(window);
            (self.best, self.window) = (0, window);
        }
        self.best = self.best.max(bytes_per_s);
    }

    fn best(&self, now: Instant) -> u64 {
        let window = window_of(now);
        let this = if self.window == window { self.best } else { 0 };
        this.max(self.best_before(window))
    }

    /// The best of the window before this one.
    fn best_before(&self, window: u64) -> u64 {
        match window.saturating_sub(self.window) {
            0 => self.best_before,
            1 => self.best,
            _ => 0,
        }
    }

    fn stalled(&mut self) {
        (self.best, self.best_before) = (0, 0);
    }
}

fn window_of(now: Instant) -> u64 {
    now.as_nanos() / RATE_WINDOW.as_nanos() as u64
}

#[cfg(test)]
mod tests;
