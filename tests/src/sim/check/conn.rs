//! One connection as both sides' messages make it, and the rules for what the engine may say. What it
//! hears is in `hearing`.

mod hearing;
mod pace;

use std::collections::{BTreeMap, BTreeSet};

use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::piece::{BLOCK_LEN, InfoHash, PieceIndex};
use bitswarm_core::time::Instant;

use super::hashes::HashTalk;
use super::tap::Tap;
use super::{LATE, Lines, Settings, Tally, Watched, named};
use crate::sim::bencode::Value;
use crate::sim::disk::Disk;
use crate::sim::mse::{End, Keys};
use crate::sim::peer_wire::{Hello, Item, Msg, Reader, Run};
use pace::Pace;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Conn {
    tap: Tap,
    kind: Kind,
    outgoing: Reader,
    incoming: Reader,
    /// The remote spoke nonsense: nothing it said counts any more.
    incoming_broken: bool,
    us: Side,
    them: Side,
    torrent: Option<InfoHash>,
    /// The torrent that the engine's own handshake names.
    ours: Option<InfoHash>,
    hashes: HashTalk,
    /// Requests of the engine that the remote owes an answer.
    requests: BTreeMap<Run, Request>,
    /// Requests that the remote has answered, or dropped with a choke (BEP 3), not cancelled before.
    answered: BTreeSet<Run>,
    /// Requests of the remote that the engine owes an answer; a block may be asked for twice.
    owed: BTreeMap<Run, u32>,
    /// Those of them that the last choke has dropped (BEP 6: "it MUST reject all requests from the peer").
    dropped: BTreeMap<Run, u32>,
    /// The `reqq` of the remote (BEP 10).
    their_queue: Option<usize>,
    /// The remote's number for `ut_pex`, 0 if it has none any more (BEP 10).
    their_pex_id: Option<i64>,
    /// Bytes of blocks sent and received.
    payload_sent: u64,
    payload_received: u64,
    /// When the remote last sent a block that it was asked for.
    latest_block: Instant,
    /// What is sent next may have been said before the engine knew what the torrent is.
    words_from_before: bool,
    pace: Pace,
    /// Whether the remote is among [`Watched::interested`].
    counted_as_interested: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Unknown,
    Peer,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    at: Instant,
    cancelled: bool,
    /// The remote was silent for the snub time since.
    forgotten: bool,
}

/// What one side has said.
#[derive(Debug)]
struct Side {
    hello: Option<Hello>,
    /// Messages other than extended ones.
    messages: u64,
    choking: bool,
    interested: bool,
    has: Bitfield,
    allowed_fast: BTreeSet<u32>,
    /// The block that was asked for in the last message, if that is what it was.
    just_asked: Option<Run>,
}

impl Default for Side {
    fn default() -> Self {
        Side {
            hello: None,
            messages: 0,
            // BEP 3: "Connections start out choked and not interested."
            choking: true,
            interested: false,
            has: Bitfield::default(),
            allowed_fast: BTreeSet::new(),
            just_asked: None,
        }
    }
}

/// What the rules look at besides the connection.
pub(super) struct Around<'a> {
    pub(super) now: Instant,
    pub(super) torrents: &'a mut BTreeMap<InfoHash, Watched>,
    pub(super) tally: &'a mut Tally,
    pub(super) settings: Settings,
    pub(super) disk: &'a Disk,
    pub(super) lines: &'a mut Lines,
    pub(super) keys: Option<&'a mut Keys>,
}

/// What is looked at when the remote speaks.
pub(super) struct Hearing<'a> {
    pub(super) settings: Settings,
    pub(super) torrents: &'a mut BTreeMap<InfoHash, Watched>,
    pub(super) tally: &'a mut Tally,
    pub(super) lines: &'a mut Lines,
    pub(super) keys: Option<&'a mut Keys>,
}

/// By which infohashes the torrents may be named in MSE.
fn names(torrents: &BTreeMap<InfoHash, Watched>) -> Vec<[u8; 20]> {
    torrents.values().flat_map(|watched| watched.content.short_names()).collect()
}

impl Conn {
    /// A connection with a peer, on which the engine is this side.
    pub(super) fn tapped(engine: End) -> Self {
        Conn { tap: Tap::on(engine), ..Conn::default() }
    }

    pub(super) fn torrent(&self) -> Option<InfoHash> {
        self.torrent
    }

    pub(super) fn is_peer(&self) -> bool {
        self.kind == Kind::Peer
    }

    /// Whether the engine lets the remote download, who wants to.
    pub(super) fn is_served(&self) -> bool {
        !self.us.choking && self.them.interested
    }

    /// What was asked for may be rejected.
    pub(super) fn expect_disk_errors(&mut self) {
        self.hashes.block_refused(None);
    }

    /// The engine has just learnt what the torrent is.
    pub(super) fn expect_words_from_before(&mut self, may_wait: bool) {
        self.words_from_before = may_wait;
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = Run> + '_ {
        self.requests.keys().copied()
    }

    pub(super) fn payload(&self) -> (u64, u64) {
        (self.payload_sent, self.payload_received)
    }

    /// What is wrong with the connection when nobody wants anything any more.
    pub(super) fn unrest(&self) -> Option<String> {
        if self.kind != Kind::Peer || self.us.hello.is_none() || self.them.hello.is_none() {
            return None;
        }
        if let Some(run) = self.owed.keys().next() {
            let choking = if self.us.choking { "choked" } else { "unchoked" };
            return Some(format!("never answers the request for {run} of one it has {choking}"));
        }
        let waits = self.requests.iter().find(|(_, request)| !request.cancelled);
        if let Some((run, _)) = waits {
            return Some(format!("never takes back its request for {run}"));
        }
        if let Some(run) = self.hashes.owed() {
            return Some(format!("never answers the hash request for {run}"));
        }
        if !self.us.choking && !self.them.interested {
            // The slot of a peer that is not interested is free for one that is: no fault.
            return None;
        }
        self.us.interested.then(|| "stays interested in one who has nothing for it".to_owned())
    }

    /// Both sides know the fast extension (BEP 6).
    fn fast(&self) -> bool {
        let knows = |side: &Side| side.hello.is_some_and(|hello| hello.fast());
        knows(&self.us) && knows(&self.them)
    }

    fn see(&mut self, bytes: &[u8]) {
        if self.kind == Kind::Unknown
            && let Some(first) = bytes.first()
        {
            self.kind = if *first == 0x13 { Kind::Peer } else { Kind::Other };
        }
    }

    pub(super) fn received(&mut self, now: Instant, bytes: &[u8], around: Hearing<'_>) {
        let Hearing { settings, torrents, tally, lines, keys } = around;
        let bytes = &self.tap.received(bytes, keys, || names(torrents))[..];
        self.see(bytes);
        if self.kind != Kind::Peer || self.incoming_broken {
            return;
        }
        let mut reader = std::mem::take(&mut self.incoming);
        reader.feed(bytes);
        loop {
            match reader.try_next() {
                Ok(Some(item)) => {
                    if let Item::Msg(message) = &item {
                        lines.note("hears", message);
                    }
                    self.hear(now, item, settings, torrents, tally);
                }
                Ok(None) => break,
                Err(_) => {
                    self.incoming_broken = true;
                    tally.nonsense += 1;
                    break;
                }
            }
        }
        self.incoming = reader;
        // What it does about it is judged when it speaks.
        let _ = self.mark_turn(now, torrents, settings);
    }

    fn mark_turn(
        &mut self,
        now: Instant,
        torrents: &mut BTreeMap<InfoHash, Watched>,
        settings: Settings,
    ) -> Result<(), String> {
        let wants = self.them.interested;
        let Some(watched) = self.torrent.and_then(|hash| torrents.get_mut(&hash)) else {
            return Ok(());
        };
        if std::mem::replace(&mut self.counted_as_interested, wants) != wants {
            watched.count_interest(wants);
        }
        self.mark_wait(now, watched, settings)
    }

    /// Whether it is among those that want something of its torrent.
    pub(super) fn is_counted_as_interested(&self) -> bool {
        self.counted_as_interested
    }

    /// The engine has committed all of this at once.
    pub(super) fn sent<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        around: &mut Around<'_>,
    ) -> Result<(), String> {
        if self.tap.is_plain() {
            return self.says(parts, around);
        }
        let bytes = parts.collect::<Vec<_>>().concat();
        let keys = around.keys.as_deref_mut();
        let plain = self.tap.sent(&bytes, keys, || names(around.torrents))?;
        self.says([&plain[..]].into_iter(), around)
    }

    /// The engine says all of this at once.
    fn says<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        around: &mut Around<'_>,
    ) -> Result<(), String> {
        let mut reader = std::mem::take(&mut self.outgoing);
        let mut says_something = false;
        for part in parts {
            self.see(part);
            says_something |= !part.is_empty();
            if self.kind == Kind::Peer {
                reader.feed(part);
            }
        }
        if self.kind != Kind::Peer {
            return Ok(());
        }
        let verdict = self.judge_all(&mut reader, around);
        self.words_from_before = false;
        self.outgoing = reader;
        verdict.and_then(|()| self.judge_leftovers(around))?;
        self.mark_turn(around.now, around.torrents, around.settings)?;
        if says_something { self.spoke(around.now) } else { Ok(()) }
    }

    /// Whether the remote may be expected to answer. It is taken to have forgotten what is as old as
    /// the snub time when it sent nothing for that time either, or what is four times as old.
    fn owes(&self, request: &Request, now: Instant, settings: Settings) -> bool {
        let silence = now - request.at.max(self.latest_block);
        !request.forgotten && silence < settings.snub && now - request.at < settings.snub * 4
    }

    /// The remote sends a block again; what it owed all through a silence of the snub time it may
    /// be taken to have forgotten.
    fn end_silence(&mut self, now: Instant, settings: Settings) {
        let before = std::mem::replace(&mut self.latest_block, now);
        if now - before >= settings.snub {
            for request in self.requests.values_mut() {
                request.forgotten |= now - request.at.max(before) >= settings.snub;
            }
        }
    }

    /// Requests for what has been there for a while must have been taken back by now.
    fn judge_leftovers(&self, around: &Around<'_>) -> Result<(), String> {
        let Some(watched) = self.torrent.and_then(|hash| around.torrents.get(&hash)) else {
            return Ok(());
        };
        let stale = |run: &Run| {
            let claimed = watched.claimed_at.get(&run.piece);
            claimed.is_some_and(|at| around.now - *at > LATE)
        };
        let waits = |request: &Request| {
            !request.cancelled && self.owes(request, around.now, around.settings)
        };
        let left = self.requests.iter().find(|(run, request)| waits(request) && stale(run));
        left.map_or(Ok(()), |(run, _)| Err(format!("does not cancel {run}, which it has")))
    }

    fn judge_all(&mut self, reader: &mut Reader, around: &mut Around<'_>) -> Result<(), String> {
        while let Some(item) = reader.try_next()? {
            match item {
                Item::Hello(hello) => self.greet(hello, around)?,
                Item::Msg(message) => {
                    around.lines.note("says", &message);
                    self.judge(message, around)?;
                }
            }
        }
        Ok(())
    }

    fn greet(&mut self, hello: Hello, around: &mut Around<'_>) -> Result<(), String> {
        let infohash = InfoHash(hello.infohash);
        let ours = named(around.torrents, infohash);
        let watched = ours.and_then(|ours| around.torrents.get(&ours));
        let watched = watched.ok_or_else(|| format!("greets with unknown torrent {infohash}"))?;
        if self.torrent.is_some_and(|theirs| ours != Some(theirs)) {
            return Err(format!("answers a handshake with another torrent, {infohash}"));
        }
        if let Some(theirs) = self.them.hello {
            // BEP 52: "The remote peer may then respond with the new infohash".
            let upgrades = theirs.v2() && watched.content.short_v2() == Some(infohash);
            if theirs.infohash != hello.infohash && !upgrades {
                return Err(format!("answers with the torrent's other infohash, {infohash}"));
            }
        }
        watched.judge_hello(&hello)?;
        self.ours = ours;
        self.us.hello = Some(hello);
        self.us.has = Bitfield::new(watched.content.pieces());
        around.tally.encrypted += u64::from(self.tap.is_mse());
        around.tally.v2_conns += u64::from(self.of_v2(watched));
        Ok(())
    }

    /// Whether both have greeted, and one of them with the infohash of v2.
    fn of_v2(&self, watched: &Watched) -> bool {
        let Some((us, them)) = self.us.hello.zip(self.them.hello) else { return false };
        let v2 = watched.content.short_v2().map(|infohash| infohash.0);
        v2.is_some_and(|v2| us.infohash == v2 || them.infohash == v2)
    }

    /// Whether the engine may say this now.
    fn judge(&mut self, message: Msg<'_>, around: &mut Around<'_>) -> Result<(), String> {
        self.judge_order(&message)?;
        let Some(watched) = self.ours.and_then(|ours| around.torrents.get_mut(&ours)) else {
            return Err("speaks without a handshake".to_owned());
        };
        if !self.words_from_before {
            watched.judge_privacy(&message, self.their_pex_id)?;
        }
        let (now, settings, disk) = (around.now, around.settings, around.disk);
        let tally = &mut *around.tally;
        match message {
            Msg::Have(_) | Msg::Bitfield(_) | Msg::HaveAll => {
                self.judge_claim(now, message, watched, disk, settings)
            }
            Msg::Choke | Msg::Unchoke | Msg::Interested | Msg::NotInterested => {
                self.judge_switch(message, tally)
            }
            Msg::Request(run) => {
                self.judge_request(now, run, watched, settings)?;
                self.answered.remove(&run);
                if self
                    .requests
                    .insert(run, Request { at: now, cancelled: false, forgotten: false })
                    .is_some()
                {
                    watched.settle(run);
                }
                tally.requests += 1;
                tally.fast_requests += u64::from(self.them.choking);
                if let Some(first) = watched.ask(now, run) {
                    tally.duplicate_requests += 1;
                    let age = now - first;
                    let end_game = watched.is_end_game();
                    tally.end_game += u64::from(end_game);
                    tally.early_duplicates += u64::from(age < LATE && !end_game);
                    tally.snubs += u64::from(age >= settings.snub);
                }
                Ok(())
            }
            Msg::Cancel(run) => {
                tally.cancels += 1;
                self.judge_cancel(run, watched)
            }
            Msg::Piece { piece, begin, data } => {
                tally.limited_sent += data.len() as u64;
                tally.blocks_sent += 1;
                let run = Run { piece, begin, length: data.len() as u32 };
                // Padding counts for nothing.
                let payload = watched.content.stored_in(piece, begin, run.length);
                tally.payload_sent += u64::from(payload);
                self.payload_sent += u64::from(payload);
                self.hashes.block_served(run)?;
                self.judge_block(piece, begin, data, watched, settings)
            }
            Msg::Reject(run) => {
                tally.rejects += 1;
                self.hashes.block_refused(Some(run));
                self.them.just_asked.take_if(|asked| *asked == run);
                self.answer(run)
            }
            Msg::AllowedFast(piece) if piece >= watched.content.pieces() => {
                Err(format!("allows piece {piece} fast, which does not exist"))
            }
            Msg::AllowedFast(piece) => {
                self.us.allowed_fast.insert(piece);
                Ok(())
            }
            Msg::Extended { id, payload } => {
                let is_metadata = id != 0 && Some(i64::from(id)) != self.their_pex_id;
                let metadata = if is_metadata { payload.len() as u64 } else { 0 };
                tally.limited_sent += metadata;
                tally.metadata_sent += metadata;
                self.judge_extended(id, payload)
            }
            Msg::HashRequest(_) | Msg::Hashes { .. } | Msg::HashReject(_) => {
                if let Msg::Hashes { hashes, .. } = &message {
                    tally.limited_sent += hashes.len() as u64;
                }
                if !self.of_v2(watched) {
                    return Err(format!("says {} of v2 to one of v1", name(&message)));
                }
                self.hashes.judge(now, &message, &watched.content, tally)
            }
            Msg::Suggest(_) | Msg::HaveNone | Msg::KeepAlive | Msg::Port(_) => Ok(()),
            Msg::Unknown(id) => Err(format!("says message {id}, which there is not")),
        }
    }

    /// What may be said at which point of a connection (BEP 3, 6, 10).
    fn judge_order(&mut self, message: &Msg<'_>) -> Result<(), String> {
        let fast = self.fast();
        if self.them.hello.is_none() {
            return Err(format!("says {} before the other's handshake", name(message)));
        }
        let counts = !matches!(message, Msg::Extended { .. } | Msg::KeepAlive);
        let first = counts && self.us.messages == 0;
        self.us.messages += u64::from(counts);
        let opens = matches!(message, Msg::Bitfield(_) | Msg::HaveAll | Msg::HaveNone);
        if opens && !first {
            return Err(format!("says {} as a later message", name(message)));
        }
        if fast && first && !opens {
            return Err(format!("begins with {} despite the fast extension", name(message)));
        }
        let needs_fast = matches!(
            message,
            Msg::Suggest(_) | Msg::HaveAll | Msg::HaveNone | Msg::Reject(_) | Msg::AllowedFast(_)
        );
        if needs_fast && !fast {
            return Err(format!("says {} without the fast extension", name(message)));
        }
        Ok(())
    }

    fn judge_claim(
        &mut self,
        now: Instant,
        message: Msg<'_>,
        watched: &mut Watched,
        disk: &Disk,
        settings: Settings,
    ) -> Result<(), String> {
        let has = match message {
            Msg::Have(piece) => {
                watched.claim(now, piece, disk, settings)?;
                let new = self.us.has.set(PieceIndex(piece));
                return new.then_some(()).ok_or_else(|| format!("announces piece {piece} twice"));
            }
            Msg::Bitfield(bits) => Bitfield::from_bytes(bits, watched.content.pieces())
                .map_err(|_| "sends a malformed bitfield".to_owned())?,
            _ => Bitfield::full(watched.content.pieces()),
        };
        has.iter().try_for_each(|piece| watched.claim(now, piece.0, disk, settings))?;
        self.us.has = has;
        Ok(())
    }

    fn judge_switch(&mut self, message: Msg<'_>, tally: &mut Tally) -> Result<(), String> {
        let (switch, to) = match message {
            Msg::Choke => (&mut self.us.choking, true),
            Msg::Unchoke => (&mut self.us.choking, false),
            Msg::Interested => (&mut self.us.interested, true),
            _ => (&mut self.us.interested, false),
        };
        if std::mem::replace(switch, to) == to {
            return Err(format!("says {} again", name(&message)));
        }
        match message {
            Msg::Choke => {
                tally.chokes += 1;
                // BEP 3 drops all requests at a choke; with BEP 6 each is still answered.
                if self.fast() {
                    let allowed = &self.us.allowed_fast;
                    let is_dropped = |run: &Run| !allowed.contains(&run.piece);
                    let owed = self.owed.iter().map(|(run, count)| (*run, *count));
                    self.dropped = owed.filter(|(run, _)| is_dropped(run)).collect();
                } else {
                    self.owed.clear();
                    self.hashes.block_refused(None);
                    self.them.just_asked = None;
                }
            }
            Msg::Unchoke => {
                tally.unchokes += 1;
                if let Some((run, _)) = self.dropped.first_key_value() {
                    return Err(format!("never answered {run}, which its choke has dropped"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn judge_cancel(&mut self, run: Run, watched: &mut Watched) -> Result<(), String> {
        let fast = self.fast();
        // Its answer or a choke came while the cancel waited to be sent: to the remote they have crossed.
        if self.answered.remove(&run) {
            return Ok(());
        }
        let request = self.requests.get_mut(&run);
        let request = request.ok_or_else(|| format!("cancels {run}, not asked for"))?;
        if std::mem::replace(&mut request.cancelled, true) {
            return Err(format!("cancels {run} twice"));
        }
        // With BEP 6 the peer still answers, with the block or a reject.
        if !fast {
            self.requests.remove(&run);
            watched.settle(run);
        }
        Ok(())
    }

    fn judge_block(
        &mut self,
        piece: u32,
        begin: u32,
        data: &[u8],
        watched: &Watched,
        settings: Settings,
    ) -> Result<(), String> {
        let run = Run { piece, begin, length: data.len() as u32 };
        if self.us.choking && !self.us.allowed_fast.contains(&piece) {
            return Err(format!("sends {run} to one it chokes"));
        }
        self.answer(run)?;
        if !self.us.has.has(PieceIndex(piece)) {
            return Err(format!("sends {run} of a piece it never claimed"));
        }
        let truth = watched.content.served(piece, begin, run.length);
        if settings.trust_disk && truth.as_deref() != Some(data) {
            return Err(format!("sends wrong bytes for {run}"));
        }
        Ok(())
    }

    fn judge_extended(&self, id: u8, payload: &[u8]) -> Result<(), String> {
        if !self.them.hello.is_some_and(|hello| hello.extended()) {
            return Err("sends an extended message to one who does not know them".to_owned());
        }
        if id != 0 {
            return Ok(());
        }
        match Value::parse(payload) {
            Ok(Value::Dict(_)) => Ok(()),
            Ok(_) => Err("sends an extension handshake that is no dictionary".to_owned()),
            Err(why) => Err(format!("sends a malformed extension handshake: {why}")),
        }
    }

    fn judge_request(
        &self,
        now: Instant,
        run: Run,
        watched: &Watched,
        settings: Settings,
    ) -> Result<(), String> {
        let piece = PieceIndex(run.piece);
        let broken = |what: &str| Err(format!("asks for {run} {what}"));
        if watched.content.run(run.piece, run.begin, run.length).is_none() || run.length == 0 {
            return broken("outside of the torrent");
        }
        let stored = |from, to| watched.content.stored_in(run.piece, from, to - from);
        let (end, block) = (run.begin + run.length, run.begin - run.begin % BLOCK_LEN);
        if end > block + BLOCK_LEN || stored(block, run.begin) > 0 {
            return broken("which is not a block");
        }
        if stored(run.begin, run.begin + 1) == 0 || stored(end - 1, end) == 0 {
            return broken("which is padding at one end");
        }
        if !self.them.has.has(piece) {
            return broken("which the peer lacks");
        }
        if self.us.has.has(piece) {
            return broken("of a piece that it has");
        }
        if self.them.choking && !(self.fast() && self.them.allowed_fast.contains(&run.piece)) {
            return broken("while choked");
        }
        if !self.us.interested {
            return broken("without being interested");
        }
        let owes = |request: &&Request| self.owes(request, now, settings);
        if self.requests.get(&run).as_ref().is_some_and(owes) {
            return broken("which the peer already owes");
        }
        let owed = || self.requests.values().filter(owes);
        if owed().count() >= settings.own_requests {
            return broken("past its own bound on requests");
        }
        if self.their_queue.is_some_and(|bound| owed().count() >= bound.max(1)) {
            return broken("past what the peer queues");
        }
        Ok(())
    }
}

impl Conn {
    /// A request of the remote is answered.
    fn answer(&mut self, run: Run) -> Result<(), String> {
        let _ = count_down(&mut self.dropped, run);
        count_down(&mut self.owed, run).ok_or_else(|| format!("answers {run}, not asked for"))
    }
}

/// Takes one of these away, if there is any.
pub(super) fn count_down<R: Ord>(runs: &mut BTreeMap<R, u32>, run: R) -> Option<()> {
    let count = runs.get_mut(&run)?;
    *count -= 1;
    if *count == 0 {
        runs.remove(&run);
    }
    Some(())
}

fn name(message: &Msg<'_>) -> String {
    let text = format!("{message:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}
