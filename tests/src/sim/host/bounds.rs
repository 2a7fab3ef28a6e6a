//! Bounds that an engine must keep on its host: dials of one address, slots, bytes at the disk; and
//! what may be left of it at rest and after its end.

use std::net::SocketAddr;

use bitswarm_core::ConnId;
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::time::Instant;

use super::{Conn, EngineHost};
use crate::sim::network::EndId;
use crate::sim::world::Cx;

/// Most bytes handed in at once, as the network does it.
const LONGEST_RECEIVED: usize = 64 << 10;

/// Longest read for a peer, in bytes (BEP 3: larger requests are refused).
const LONGEST_READ: usize = 128 << 10;

/// Longest read of a piece for its leaf hashes, in bytes.
const LONGEST_READ_OF_LEAVES: usize = 1 << 20;

impl EngineHost {
    /// Nobody is dialled again and again in quick succession (defence 22), nor a stranger for a
    /// private torrent.
    pub(super) fn check_dial(&mut self, cx: &mut Cx<'_>, to: SocketAddr) {
        if let Err(broken) = self.checker.judge_dial(to) {
            cx.violation(self.id, broken);
        }
        if let Err(broken) = self.dials.dial(cx.now(), to) {
            cx.violation(self.id, broken);
        }
    }

    /// Who is banned is not connected again.
    pub(super) fn check_bans(&mut self, cx: &mut Cx<'_>, notice: &Notice) {
        let Notice::Torrent { id, what } = notice else { return };
        match what {
            TorrentNotice::PeerBanned { addr, .. } => self.bans.banned(*id, *addr),
            TorrentNotice::PeerConnected { addr, .. } => {
                if let Err(broken) = self.bans.connected(*id, *addr, self.config.bounds.bans) {
                    cx.violation(self.id, broken);
                }
            }
            _ => {}
        }
    }

    /// Whether nothing is overdue on any connection on which the engine may speak.
    pub(in crate::sim) fn judge_pace(&self, now: Instant) -> Result<(), String> {
        let mut speaking =
            self.conns.iter().filter(|(_, state)| state.peer && state.has_said_all());
        speaking.try_for_each(|(conn, _)| self.checker.judge_pace(now, *conn))
    }

    /// What is wrong with a connection when nobody wants anything any more.
    pub(in crate::sim) fn unrest(&self, judged: impl Fn(EndId) -> bool) -> Option<String> {
        let conns = self.conns.iter().filter(|(_, state)| judged(state.end));
        conns.filter_map(|(conn, _)| self.checker.unrest(*conn)).next()
    }

    /// Nobody is served beyond the slots.
    pub(super) fn check_slots(&self, cx: &mut Cx<'_>) {
        if let Err(broken) = self.checker.judge_slots(|conn| self.has_said_all(conn)) {
            cx.violation(self.id, broken);
        }
    }

    /// How many are served, but for those whose choke may still wait behind other bytes.
    pub fn served(&self) -> usize {
        self.checker.served(|conn| self.has_said_all(conn))
    }

    fn has_said_all(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(Conn::has_said_all)
    }

    /// What is under way at the disk stays within its bounds.
    pub(super) fn check_load(&mut self, cx: &mut Cx<'_>) {
        let (load, bounds) = (self.disk.load(), &self.config.bounds);
        // What is assembled may be written at once, a piece that straddles the bound, and what was
        // read from each connection before it was held back.
        let on_the_way = self.longest_piece + self.conns.len() * LONGEST_RECEIVED;
        let writes = bounds.write_backlog_bytes + bounds.assembly_bytes + on_the_way;
        let reads = bounds.read_ahead_bytes + LONGEST_READ;
        let reads_too_much =
            load.reading > reads && load.reading > reads + self.most_read_past_the_budget();
        if load.writing > writes || reads_too_much {
            cx.violation(self.id, format!("past its bounds at the disk: {load:?}"));
        }
    }

    /// For leaf hashes that have waited long, each torrent reads a part of a piece all the same. Looks
    /// at every torrent.
    fn most_read_past_the_budget(&self) -> usize {
        let torrents = self.engine.as_ref().map_or(0, |engine| engine.engine().torrents().count());
        torrents * self.longest_piece.min(LONGEST_READ_OF_LEAVES)
    }

    /// Checks that nothing is left of an engine that has said `Stopped`.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        if !self.stopped {
            left.push("the engine has not stopped".to_owned());
        }
        if !self.conns.is_empty() {
            left.push(format!("connections {:?}", self.conns.keys().collect::<Vec<_>>()));
        }
        if !self.lookups.is_empty() {
            left.push(format!("{} lookups", self.lookups.len()));
        }
        if self.disk.requests_under_way() > 0 {
            left.push(format!("{} disk requests", self.disk.requests_under_way()));
        }
        if self.disk.open_stores() > 0 {
            left.push(format!("{} open stores", self.disk.open_stores()));
        }
        left
    }
}
