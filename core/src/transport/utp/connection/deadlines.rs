//! When a connection has to be looked at, and what happens then.

use super::super::packet::HEADER_LEN;
use super::{Connection, End, State};
use crate::time::{Duration, Instant};

/// When a SYN is sent again, and when it is given up, since it was sent last (chosen; libtorrent and libutp 3 s
/// each).
const SYN_WAITS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// A connection that has sent nothing for so long sends something, so that routers remember it
/// (libutp's number).
const KEEP_ALIVE: Duration = Duration::from_secs(29);
/// Time-outs without an acknowledgement after which a connection is dead, and the least time
/// (chosen).
const DEAD_TIMEOUTS: u32 = 5;
const DEAD_TIME: Duration = Duration::from_secs(15);
/// A peer without room is asked for news after this, then twice it, and so on (chosen).
const ZERO_WINDOW: Duration = Duration::from_secs(1);

impl Connection {
    /// Whether the peer has no room for what is to be sent, and nothing under way will bring news of that.
    pub(super) fn watch_zero_window(&mut self, now: Instant) {
        let has_more = self.sender.unsent() > 0 || self.flags.wants;
        let is_stuck = self.is_open() && self.peer_window == 0 && has_more && self.sender.is_idle();
        if !is_stuck {
            if self.peer_window > 0 {
                self.times.zero_window = None;
                self.flags.one_more = false;
            }
        } else if self.times.zero_window.is_none() {
            self.times.zero_window = Some((now + ZERO_WINDOW, ZERO_WINDOW));
        }
    }

    /// When [`Connection::handle_timeout`] is to be called.
    pub(in super::super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Over => return None,
            State::Dialling { sent, at, .. } => {
                return Some(at + SYN_WAITS[sent.saturating_sub(1).min(SYN_WAITS.len() - 1)]);
            }
            State::Open => {}
        }
        let mut next = self.times.sent + KEEP_ALIVE;
        if !self.sender.is_idle() {
            next = next.min(self.times.waiting + self.rtt.timeout());
            if let Some(at) = self.tail_probe_at() {
                next = next.min(at);
            }
        }
        let zero_window =
            self.times.zero_window.filter(|_| self.sender.is_idle()).map(|(at, _)| at);
        for at in [self.times.lost_at, zero_window, self.times.flush_until].into_iter().flatten() {
            next = next.min(at);
        }
        Some(next)
    }

    pub(super) fn tail_probe_at(&self) -> Option<Instant> {
        let has_tail =
            self.sender.has_under_way() && !self.flags.tail_probed && self.rtt.timeouts() == 0;
        has_tail.then(|| self.rtt.probe_timeout()).flatten().map(|wait| self.times.waiting + wait)
    }

    /// The deadline has come, or something like it.
    pub(in super::super) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Over => return,
            State::Dialling { syn, sent, at } => {
                if sent > 0 && now >= at + SYN_WAITS[(sent - 1).min(SYN_WAITS.len() - 1)] {
                    if sent == SYN_WAITS.len() {
                        return self.end(End::TimedOut);
                    }
                    self.state = State::Dialling { syn, sent, at: now };
                    self.flags.syn_due = true;
                }
                return;
            }
            State::Open => {}
        }
        if self.times.flush_until.is_some_and(|until| now >= until) {
            self.state = State::Over;
            return;
        }
        if self.times.lost_at.is_some_and(|at| now >= at) {
            let (losses, lost_at) = self.sender.find_losses(now, self.rtt.least());
            self.times.lost_at = lost_at;
            self.lost(now, &losses);
        }
        if let Some((at, wait)) = self.times.zero_window
            && now >= at
            && self.sender.is_idle()
        {
            self.flags.one_more = true;
            let wait = (wait * 2).min(ZERO_WINDOW * 15);
            self.times.zero_window = Some((now + wait, wait));
        }
        if now >= self.times.sent + KEEP_ALIVE {
            self.flags.is_alive_due = true;
        }
        if self.sender.is_idle() {
            return;
        }
        if now >= self.times.waiting + self.rtt.timeout() {
            self.timed_out(now);
        }
    }

    /// Nothing was acknowledged for so long that everything under way is held lost.
    fn timed_out(&mut self, now: Instant) {
        let has_room = self.peer_window > 0 || now - self.times.heard > DEAD_TIME * 4;
        if self.rtt.timeouts() >= DEAD_TIMEOUTS && now - self.times.stalled >= DEAD_TIME && has_room
        {
            return self.end(End::TimedOut);
        }
        let is_first = self.rtt.timeouts() == 0;
        self.rtt.back_off();
        self.counters.timeouts += 1;
        self.times.waiting = now;
        self.times.lost_at = None;
        self.flags.tail_probed = false;
        let losses = self.sender.lose_all();
        if let Some(length) = losses.probe {
            self.mtu.probe_lost(length);
        }
        if self.peer_window == 0 {
            return;
        }
        let is_full =
            self.sender.oldest_len().is_some_and(|len| len + HEADER_LEN >= self.mtu.size());
        if self.rtt.timeouts() >= 2 && is_full {
            // Nothing of this length passes, it seems.
            self.flags.may_fragment = true;
            self.mtu.shrink(now);
        }
        let (next, segment) = (self.sender.next_order(), self.segment());
        self.control.on_timeout(now, is_first, next, segment);
    }
}
