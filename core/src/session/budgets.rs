//! What all torrents of a session may hold at once, and what waits until there is room again.
//!
//! Each [`Budget`] counts one kind of bytes, or of work. Torrents add what they begin to hold and free it
//! when they let it go; what to do when there is no room is theirs, but for the two that have a line:
//! connections that are not read from while the disk is behind, and torrents that wait for their turn.

use std::collections::{BTreeSet, VecDeque};

use crate::config::Bounds;
use crate::id::{ConnId, PeerSlot, TorrentId};
use crate::session::op::Held;

/// Of what may be read ahead, this part is for choked peers (chosen).
const CHOKED_PART: usize = 4;

/// Most bytes of messages that have not come whole (chosen: twice a block for each connection there may
/// be).
const HALF_MESSAGES: usize = 16 * 1024 * 1024;

/// How much is held of something, and how much may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    held: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Budget { held: 0, limit }
    }

    /// So much more is held, whether there is room for it or not.
    pub(crate) fn add(&mut self, amount: usize) {
        self.held += amount;
    }

    /// So much is held no more.
    pub(crate) fn free(&mut self, amount: usize) {
        debug_assert!(amount <= self.held, "{amount} of {} is freed", self.held);
        self.held = self.held.saturating_sub(amount);
    }

    /// Whether anything is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether more may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.held < self.limit
    }

    /// Whether more is held than may be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.held > self.limit
    }
}

/// The budgets of a session.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// Bytes handed to the disk and not yet written.
    writes: Budget,
    /// Connections not read from until the disk has caught up.
    held_for_disk: Vec<ConnId>,
    /// Bytes read for peers, or being read, and not yet sent.
    pub(crate) reads: Budget,
    /// Bytes of blocks held for incomplete pieces.
    pub(crate) assembly: Budget,
    /// Bytes of peers' messages that have not come whole (defence 45).
    pub(crate) half_messages: Budget,
    /// Hashes of checks under way.
    pub(crate) checks: Budget,
}

impl Budgets {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Budgets {
            writes: Budget::new(bounds.write_backlog_bytes),
            held_for_disk: Vec::new(),
            reads: Budget::new(bounds.read_ahead_bytes),
            assembly: Budget::new(bounds.assembly_bytes),
            half_messages: Budget::new(HALF_MESSAGES),
            checks: Budget::new(bounds.checking),
        }
    }

    /// Whether nothing is held, as when there is no torrent.
    pub(crate) fn are_empty(&self) -> bool {
        [self.writes, self.reads, self.assembly, self.half_messages, self.checks]
            .iter()
            .all(Budget::is_empty)
    }

    // Requests to the disk.

    /// A request to the disk begins that holds this.
    pub(crate) fn begin(&mut self, held: Held) {
        match held {
            Held::Nothing => {}
            Held::Check => self.checks.add(1),
            Held::Write(bytes) => self.writes.add(bytes),
            Held::Read(bytes) => self.reads.add(bytes),
        }
    }

    /// It is done, or given up. The connections to be read from again.
    #[must_use]
    pub(crate) fn end(&mut self, held: Held) -> Vec<ConnId> {
        match held {
            Held::Nothing => {}
            Held::Check => self.checks.free(1),
            Held::Read(bytes) => self.reads.free(bytes),
            Held::Write(bytes) => {
                self.writes.free(bytes);
                if self.writes.held <= self.writes.limit / 2 {
                    return std::mem::take(&mut self.held_for_disk);
                }
            }
        }
        Vec::new()
    }

    /// A connection has brought data: whether it is not to be read from until the disk has caught up.
    #[must_use]
    pub(crate) fn hold_for_disk(&mut self, conn: ConnId) -> bool {
        let is_behind = self.writes.is_exceeded();
        if is_behind {
            self.held_for_disk.push(conn);
        }
        is_behind
    }

    /// Whether the disk holds up the transfer.
    pub(crate) fn is_disk_behind(&self) -> bool {
        !self.held_for_disk.is_empty()
    }

    // Reads for peers.

    /// Whether more may be read for peers that we choke: they have a small part of what may be read
    /// ahead, so that those who do not take it hold up nobody (defence 45).
    pub(crate) fn has_room_for_choked(&self) -> bool {
        self.reads.held < self.reads.limit / CHOKED_PART
    }
}

/// Torrents and peers that wait for a turn, first come first served.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// Torrents that wait to hash what is on disk.
    pub(crate) checks: VecDeque<TorrentId>,
    /// Peers whose requests wait for room in [`Budgets::reads`].
    pub(crate) reads: VecDeque<(TorrentId, PeerSlot)>,
    connects: VecDeque<TorrentId>,
    connects_queued: BTreeSet<TorrentId>,
}

impl Queues {
    /// A torrent waits to open connections, unless it does already.
    pub(crate) fn push_connects(&mut self, id: TorrentId) {
        if self.connects_queued.insert(id) {
            self.connects.push_back(id);
        }
    }

    /// The torrent whose turn it is to open a connection.
    pub(crate) fn pop_connects(&mut self) -> Option<TorrentId> {
        let id = self.connects.pop_front()?;
        self.connects_queued.remove(&id);
        Some(id)
    }

    /// Whether a torrent waits to open connections.
    pub(crate) fn waits_to_connect(&self, id: TorrentId) -> bool {
        self.connects_queued.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::Id;

    fn budgets(write: usize, read: usize) -> Budgets {
        let bounds = Config::default().bounds;
        let (write_backlog_bytes, read_ahead_bytes) = (write, read);
        Budgets::new(&Bounds { write_backlog_bytes, read_ahead_bytes, ..bounds })
    }

    fn conn(slot: u32) -> ConnId {
        ConnId::new(slot, 0)
    }

    #[test]
    fn a_budget_has_room_below_its_limit_and_is_exceeded_above() {
        let mut budget = Budget::new(10);
        assert!(budget.is_empty() && budget.has_room());
        budget.add(10);
        assert!(!budget.has_room() && !budget.is_exceeded());
        budget.add(1);
        assert!(budget.is_exceeded());
        budget.free(11);
        assert!(budget.is_empty());
    }

    #[test]
    fn connections_are_held_above_the_limit_and_read_again_at_half_of_it() {
        let mut budgets = budgets(100, 0);
        budgets.begin(Held::Write(100));
        assert!(!budgets.hold_for_disk(conn(1)) && !budgets.is_disk_behind());
        budgets.begin(Held::Write(30));
        assert!(budgets.hold_for_disk(conn(1)) && budgets.hold_for_disk(conn(2)));
        assert_eq!(budgets.end(Held::Write(79)), []);
        assert!(budgets.is_disk_behind());
        assert_eq!(budgets.end(Held::Write(1)), [conn(1), conn(2)]);
        assert!(!budgets.is_disk_behind() && !budgets.are_empty());
        assert_eq!(budgets.end(Held::Write(50)), []);
        assert!(budgets.are_empty());
    }

    #[test]
    fn requests_to_the_disk_hold_their_budget_until_they_are_done() {
        let mut budgets = budgets(100, 100);
        for held in [Held::Read(7), Held::Check, Held::Write(9)] {
            budgets.begin(held);
            assert!(!budgets.are_empty(), "{held:?}");
            assert_eq!(budgets.end(held), []);
            assert!(budgets.are_empty(), "{held:?}");
        }
        budgets.begin(Held::Nothing);
        assert!(budgets.are_empty());
    }

    #[test]
    fn choked_peers_have_a_quarter_of_what_is_read_ahead() {
        let mut budgets = budgets(0, 100);
        budgets.reads.add(24);
        assert!(budgets.has_room_for_choked());
        budgets.reads.add(1);
        assert!(!budgets.has_room_for_choked() && budgets.reads.has_room());
    }

    #[test]
    fn torrents_that_wait_to_connect_stand_in_line_once() {
        let (a, b) = (TorrentId::new(1, 0), TorrentId::new(2, 0));
        let mut queues = Queues::default();
        for id in [a, b, a] {
            queues.push_connects(id);
        }
        assert!(queues.waits_to_connect(a));
        assert_eq!(queues.pop_connects(), Some(a));
        assert!(!queues.waits_to_connect(a));
        queues.push_connects(a);
        assert_eq!([(); 3].map(|()| queues.pop_connects()), [Some(b), Some(a), None]);
    }
}
