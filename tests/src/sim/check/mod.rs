//! What must hold on every connection of an engine, judged from the bytes that go in and out.
//!
//! The checker keeps, per connection, what either side has said: handshake, choke, interest,
//! bitfield, allowed fast, requests. It learns what the engine was told when bytes are handed to
//! the engine, and judges what the engine says when bytes are gathered from it, so there is no
//! moment in between that could excuse a message; where one waits behind bytes that have not left yet, the
//! host says so. The rules are those of docs/SIMULATION.md, "What is checked". Streams that begin with anything
//! but the peer protocol (HTTP to and from trackers) are left alone. Encrypted ones are read too: the engine's
//! private keys follow from its seed.

mod answers;
mod bans;
mod conn;
mod datagram;
mod dials;
mod given;
mod hashes;
mod meter;
mod private;
mod tap;
mod work;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::id::ConnId;
use bitswarm_core::piece::{InfoHash, PieceIndex};
use bitswarm_core::time::{Duration, Instant};

use super::content::Content;
use super::disk::Disk;
use super::mse::{End, Keys};
use super::peer_wire::{Msg, Run};
pub use answers::{Answers, lied_of};
pub use bans::Bans;
use conn::Conn;
pub use datagram::judge_datagram;
pub use dials::{Dials, named_by};
pub use given::Given;
pub use meter::Meter;
pub use private::stranger;
pub use work::Work;

/// Watches all connections of one engine.
#[derive(Debug, Default)]
pub struct Checker {
    conns: BTreeMap<ConnId, Conn>,
    torrents: BTreeMap<InfoHash, Watched>,
    settings: Settings,
    tally: Tally,
    /// What the tally was when the engine that runs now began.
    before: Tally,
    /// Bytes of blocks received by it that it need not have counted.
    cut_short: u64,
    lines: Lines,
    /// The private keys of the engine that runs now.
    keys: Option<Keys>,
}

/// Messages for the log, if one is kept.
#[derive(Debug, Default)]
struct Lines(Option<Vec<String>>);

impl Lines {
    fn note(&mut self, verb: &str, message: &Msg<'_>) {
        if let Some(lines) = &mut self.0 {
            lines.push(format!("{verb} {message}"));
        }
    }
}

/// What the checker must know of the engine's settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Most requests outstanding at one peer.
    pub own_requests: usize,
    /// How long a peer that owes a block may be silent before it counts as snubbing.
    pub snub: Duration,
    /// Most peers of a torrent that may download at once, and want to.
    pub slots: usize,
    /// Requests that a peer may have queued.
    pub peer_requests: usize,
    /// Whether the disk holds what was written: not if it was tampered with behind the engine.
    pub trust_disk: bool,
    /// Whether the disk may fail, or give back something else.
    pub disk_fails: bool,
    /// Whether a peer that is interested in a seed must be unchoked in time: no planted trouble excuses a
    /// delay.
    pub judges_turns: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            own_requests: usize::MAX,
            snub: Duration::from_secs(60),
            slots: usize::MAX,
            peer_requests: usize::MAX,
            trust_disk: true,
            disk_fails: false,
            judges_turns: false,
        }
    }
}

/// How often interesting things happened, over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests sent.
    pub requests: u64,
    /// Of those, for a block that was outstanding at another peer.
    pub duplicate_requests: u64,
    /// Of those, when other blocks had not been asked for yet and the first request was younger
    /// than a second.
    pub early_duplicates: u64,
    /// Cancels sent.
    pub cancels: u64,
    /// Rejects sent.
    pub rejects: u64,
    /// Chokes sent.
    pub chokes: u64,
    /// Unchokes sent.
    pub unchokes: u64,
    /// Blocks sent.
    pub blocks_sent: u64,
    /// Blocks received.
    pub blocks_received: u64,
    /// Bytes of blocks sent.
    pub payload_sent: u64,
    /// Bytes of blocks received.
    pub payload_received: u64,
    /// Bytes sent that a limit is to hold back: of blocks, padding included, metadata and hashes.
    pub limited_sent: u64,
    /// Bytes of metadata sent.
    pub metadata_sent: u64,
    /// Requests sent for a piece allowed fast while choked.
    pub fast_requests: u64,
    /// Requests sent when every missing block was outstanding already.
    pub end_game: u64,
    /// Requests repeated elsewhere because the peer asked first was silent for the snub time.
    pub snubs: u64,
    /// Connections on which the remote spoke nonsense.
    pub nonsense: u64,
    /// Connections that are encrypted and on which the engine has greeted.
    pub encrypted: u64,
    /// Connections of v2 on which both sides have greeted.
    pub v2_conns: u64,
    /// Hash requests sent.
    pub hash_requests: u64,
    /// Answers to hash requests sent that are hashes.
    pub hashes_sent: u64,
    /// Answers to hash requests sent that are rejects.
    pub hash_rejects: u64,
    /// Hashes received that prove what they say.
    pub hashes_proven: u64,
    /// Hashes received that prove nothing.
    pub hashes_wrong: u64,
}

/// The torrent of the engine that has this name in handshakes.
fn named(torrents: &BTreeMap<InfoHash, Watched>, infohash: InfoHash) -> Option<InfoHash> {
    let is_it = |(_, watched): &(&InfoHash, &Watched)| watched.content.is_named(infohash);
    torrents.iter().find(is_it).map(|(key, _)| *key)
}

/// A request older than this may be repeated elsewhere without being in the end game: its peer is
/// late (chosen: longer than a round trip with queues, shorter than any snub).
const LATE: Duration = Duration::from_secs(1);

/// A torrent of the engine.
#[derive(Debug)]
struct Watched {
    content: Arc<Content>,
    root: PathBuf,
    /// Whether the engine was given its metainfo, not a magnet link.
    is_given: bool,
    /// Whether the engine knows what it is.
    is_known: bool,
    /// Pieces that were found right on disk already.
    verified: Bitfield,
    /// When each of them was first claimed.
    claimed_at: BTreeMap<u32, Instant>,
    /// Requests outstanding at any peer, with the time of the first and how many.
    outstanding: BTreeMap<Run, (Instant, u32)>,
    /// Blocks that came, or are outstanding, or were there from the beginning.
    asked: BTreeMap<Run, ()>,
    blocks: u64,
    /// Remotes that want something of it, and the most of them there were at once.
    interested: usize,
    most_interested: usize,
}

impl Checker {
    /// Watches an engine with these settings.
    pub fn new(settings: Settings) -> Self {
        Checker { settings, ..Checker::default() }
    }

    /// The engine was given this torrent, to be kept under this root.
    pub fn watch(&mut self, content: Arc<Content>, root: PathBuf) {
        self.watch_as(content, root, true);
    }

    /// The same, by a magnet link: it does not know yet what the torrent is.
    pub fn watch_link(&mut self, content: Arc<Content>, root: PathBuf) {
        self.watch_as(content, root, false);
    }

    fn watch_as(&mut self, content: Arc<Content>, root: PathBuf, given: bool) {
        let blocks = |piece| u64::from(content.stored_blocks_of(piece));
        let blocks = (0..content.pieces()).map(blocks).sum();
        let watched = Watched {
            verified: Bitfield::new(content.pieces()),
            claimed_at: BTreeMap::new(),
            root,
            is_given: given,
            is_known: given,
            outstanding: BTreeMap::new(),
            asked: BTreeMap::new(),
            interested: 0,
            most_interested: 0,
            blocks,
            content,
        };
        self.torrents.insert(watched.content.infohash(), watched);
    }

    /// Keeps a line for each message from now on.
    pub fn log(&mut self) {
        self.lines.0 = Some(Vec::new());
    }

    /// The messages since this was asked last.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.0.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on the disk may hold something else than what was written.
    pub fn distrust_disk(&mut self) {
        self.settings.trust_disk = false;
        self.expect_disk_errors();
    }

    /// From now on the disk may fail.
    pub fn expect_disk_errors(&mut self) {
        self.settings.disk_fails = true;
        self.conns.values_mut().for_each(Conn::expect_disk_errors);
    }

    /// The engine is gone; its disk may have lost what was not synced.
    pub fn crashed(&mut self) {
        self.conns.clear();
        self.before = self.tally;
        self.cut_short = 0;
        for watched in self.torrents.values_mut() {
            watched.verified = Bitfield::new(watched.content.pieces());
            watched.outstanding.clear();
            watched.asked.clear();
            watched.interested = 0;
            watched.claimed_at.clear();
            watched.is_known = watched.is_given;
        }
    }

    /// The engine has learnt what its torrents are. On connections that are not `clear` what it said
    /// before it knew may wait.
    pub fn learnt(&mut self, clear: impl Fn(ConnId) -> bool) {
        for watched in self.torrents.values_mut().filter(|watched| !watched.is_known) {
            watched.is_known = true;
            let its = |state: &Conn| state.torrent() == Some(watched.content.infohash());
            for (conn, state) in self.conns.iter_mut().filter(|(_, state)| its(state)) {
                state.expect_words_from_before(!clear(*conn));
            }
        }
    }

    /// The engine sends this to somebody who may not hear of private torrents.
    pub fn judge_secrecy(&self, port: u16, to: SocketAddr, data: &[u8]) -> Result<(), String> {
        self.torrents.values().try_for_each(|watched| watched.judge_secrecy(port, to, data))
    }

    /// The engine dials this address.
    pub fn judge_dial(&self, to: SocketAddr) -> Result<(), String> {
        self.torrents.values().try_for_each(|watched| watched.judge_dial(to))
    }

    /// An engine with this seed begins.
    pub fn begins(&mut self, seed: [u8; 32]) {
        self.keys = Some(Keys::of(seed));
    }

    /// A connection begins.
    pub fn opened(&mut self, conn: ConnId) {
        self.conns.insert(conn, Conn::default());
    }

    /// A connection with a peer begins, which may be encrypted.
    pub fn opened_to_peer(&mut self, conn: ConnId, has_dialled: bool) {
        let engine = if has_dialled { End::Dialler } else { End::Dialled };
        self.conns.insert(conn, Conn::tapped(engine));
    }

    /// What was said on a connection has left only now: until then nothing more could be said.
    pub fn excuse_silence(&mut self, now: Instant, conn: ConnId) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.excuse_silence(now);
        }
    }

    /// The engine could say nothing until now.
    pub fn excuse(&mut self, now: Instant) {
        self.conns.values_mut().for_each(|state| state.excuse(now));
    }

    /// From now on a peer that is interested in a seed must be unchoked in time.
    pub fn judge_turns(&mut self, on: bool) {
        self.settings.judges_turns = on;
    }

    /// Whether something is overdue on a connection.
    pub fn judge_pace(&self, now: Instant, conn: ConnId) -> Result<(), String> {
        let Some(state) = self.conns.get(&conn).filter(|state| state.is_peer()) else {
            return Ok(());
        };
        state.judge_silence(now)?;
        let watched = state.torrent().and_then(|infohash| self.torrents.get(&infohash));
        watched.map_or(Ok(()), |watched| state.judge_wait(now, watched, self.settings))
    }

    /// A connection is over.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(state) = self.conns.remove(&conn) else { return };
        if let Some(watched) = state.torrent().and_then(|infohash| self.torrents.get_mut(&infohash))
        {
            if state.is_counted_as_interested() {
                watched.count_interest(false);
            }
            state.requests().for_each(|run| watched.settle(run));
        }
    }

    /// Bytes are about to be handed to the engine.
    pub fn received(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if let Some(state) = self.conns.get_mut(&conn) {
            let around = conn::Hearing {
                settings: self.settings,
                torrents: &mut self.torrents,
                tally: &mut self.tally,
                lines: &mut self.lines,
                keys: self.keys.as_mut(),
            };
            state.received(now, bytes, around);
        }
    }

    /// The engine has committed these bytes to the connection, all that it had to say. What it
    /// broke, if anything.
    pub fn sent<'a>(
        &mut self,
        now: Instant,
        conn: ConnId,
        parts: impl Iterator<Item = &'a [u8]>,
        disk: &Disk,
    ) -> Result<(), String> {
        let Some(state) = self.conns.get_mut(&conn) else {
            return Err(format!("sends on {conn:?}, which is not open"));
        };
        let mut around = conn::Around {
            now,
            torrents: &mut self.torrents,
            tally: &mut self.tally,
            settings: self.settings,
            disk,
            lines: &mut self.lines,
            keys: self.keys.as_mut(),
        };
        state.sent(parts, &mut around).map_err(|broken| format!("{conn:?}: {broken}"))
    }

    /// Whether there are slots for all whom the engine serves, now that it has said all that it had
    /// to say on those connections that are `clear`; on others a choke may wait.
    pub fn judge_slots(&self, clear: impl Fn(ConnId) -> bool) -> Result<(), String> {
        let served = self.conns.iter().filter(|(conn, state)| state.is_served() && clear(**conn));
        let mut of_torrent = BTreeMap::<_, usize>::new();
        for (_, state) in served {
            *of_torrent.entry(state.torrent()).or_default() += 1;
        }
        let most = of_torrent.into_values().max().unwrap_or(0);
        if most > self.settings.slots {
            return Err(format!("serves {most} peers with {} slots", self.settings.slots));
        }
        Ok(())
    }

    /// What is wrong with a connection when nobody wants anything any more.
    pub fn unrest(&self, conn: ConnId) -> Option<String> {
        let what = self.conns.get(&conn)?.unrest()?;
        Some(format!("{conn:?}: {what}"))
    }

    /// The engine closed a connection in answer to an input that held so many bytes of blocks: it
    /// need not have looked at all of them.
    pub fn cut_short(&mut self, payload: u64) {
        self.cut_short += payload;
    }

    /// Bytes of blocks that the engine which runs now has sent, and has received at least.
    pub fn payload(&self) -> (u64, u64) {
        let sent = self.tally.payload_sent - self.before.payload_sent;
        let received = self.tally.payload_received - self.before.payload_received;
        (sent, received - self.cut_short)
    }

    /// Bytes of blocks sent and received on one connection.
    pub fn payload_of(&self, conn: ConnId) -> Option<(u64, u64)> {
        self.conns.get(&conn).map(Conn::payload)
    }

    /// Whether the connection speaks the peer protocol, as far as it has spoken.
    pub fn is_peer(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(Conn::is_peer)
    }

    /// How often interesting things happened.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Of the connections that are `clear`, those whose peer wants to download and may.
    pub fn served(&self, clear: impl Fn(ConnId) -> bool) -> usize {
        self.conns.iter().filter(|(conn, state)| state.is_served() && clear(**conn)).count()
    }

    /// Requests that the engine has outstanding.
    pub fn outstanding(&self) -> usize {
        self.torrents.values().map(|watched| watched.outstanding.len()).sum()
    }
}

impl Watched {
    /// One more remote wants something of it, or one less does.
    fn count_interest(&mut self, wants: bool) {
        self.interested =
            if wants { self.interested + 1 } else { self.interested.saturating_sub(1) };
        self.most_interested = self.most_interested.max(self.interested);
    }

    /// The engine says it has a piece: its bytes must be on disk.
    fn claim(
        &mut self,
        now: Instant,
        piece: u32,
        disk: &Disk,
        settings: Settings,
    ) -> Result<(), String> {
        if piece >= self.content.pieces() {
            return Err(format!("claims piece {piece} of {}", self.content.pieces()));
        }
        self.claimed_at.entry(piece).or_insert(now);
        if !settings.trust_disk || self.verified.has(PieceIndex(piece)) {
            return Ok(());
        }
        if !self.content.piece_on_disk(disk, &self.root, piece) {
            return Err(format!("claims piece {piece}, whose bytes are not on disk"));
        }
        self.verified.set(PieceIndex(piece));
        Ok(())
    }

    /// The engine asks for a block. Whether another peer owes it, and since when.
    fn ask(&mut self, now: Instant, run: Run) -> Option<Instant> {
        self.asked.insert(run, ());
        let (first, count) = self.outstanding.entry(run).or_insert((now, 0));
        *count += 1;
        (*count > 1).then_some(*first)
    }

    /// A peer no longer owes a block.
    fn settle(&mut self, run: Run) {
        if let Some((_, count)) = self.outstanding.get_mut(&run) {
            *count -= 1;
            if *count == 0 {
                self.outstanding.remove(&run);
            }
        }
    }

    /// A block that was owed did not come: it counts as not asked for again.
    fn miss(&mut self, run: Run) {
        self.settle(run);
        if !self.outstanding.contains_key(&run) {
            self.asked.remove(&run);
        }
    }

    /// Whether every block has been asked for or was there.
    fn is_end_game(&self) -> bool {
        let mut there = 0;
        for piece in self.verified.iter() {
            there += u64::from(self.content.stored_blocks_of(piece.0));
        }
        let fresh = self.asked.keys().filter(|run| !self.verified.has(PieceIndex(run.piece)));
        there + fresh.count() as u64 >= self.blocks
    }
}

#[cfg(test)]
mod tests;
