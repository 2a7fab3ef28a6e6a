//! The loop of download and seed: hears what the engine tells, looks how the torrents stand, shows
//! it, and ends when its goals are reached.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bitswarm_core::TorrentId;
use bitswarm_core::metainfo::{FileRanges, Metainfo};
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};

use crate::args::Transfer;
use crate::exit::{Code, Failure};
use crate::goals::{Goals, Purpose};
use crate::ip_filter::IpLists;
use crate::json;
use crate::left_out::LeftOut;
use crate::load::place;
use crate::output::print;
use crate::progress::{Progress, Task, Whole};
use crate::session::{PATIENCE, Session};
use crate::signals::Interrupt;
use crate::state::Fetcher;
use crate::status_line::{Dht, facts, in_words, last_facts};
use crate::torrent_lock::TorrentLock;
use crate::units::{Rate, Size, Span, counted};

/// Between two looks at all torrents (chosen: a bar moves smoothly enough).
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What each torrent adds to that, so that looking at many stays cheap (chosen).
const LOOK_INTERVAL_EACH: Duration = Duration::from_millis(2);

/// Between two `progress` objects of one torrent.
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// A session with its torrents, from the user's side.
#[derive(Debug)]
pub(crate) struct TransferLoop {
    session: Session,
    purpose: Purpose,
    goals: Goals,
    progress: Progress,
    json: bool,
    torrents: BTreeMap<TorrentId, Box<Torrent>>,
    /// The parts of the run that failed.
    left_out: LeftOut,
    /// Nobody else writes the torrents' data until nothing is written any more.
    lock: TorrentLock,
    /// Whether peers are looked for in the DHT.
    uses_dht: bool,
    /// Where the IP filter comes from.
    ip_lists: IpLists,
}

/// A torrent as the user sees it.
#[derive(Debug)]
struct Torrent {
    name: String,
    infohash: InfoHash,
    /// Where it goes to, until it is known what it is.
    root: Option<PathBuf>,
    place: PathBuf,
    /// Files that are to be chosen when the metadata is known.
    selection: Option<FileRanges>,
    added: Instant,
    task: Task,
    /// When it was told how it stands, and a hash of that.
    told: Option<(Instant, u64)>,
    /// Whether peers may come from trackers and the user only.
    is_private: bool,
    /// Peers that the last search in the DHT has found.
    found_in_dht: Option<usize>,
}

impl TransferLoop {
    /// A session without torrents; of what the user named, some may be left out already.
    pub(crate) fn new(
        session: Session,
        purpose: Purpose,
        transfer: &Transfer,
        progress: Progress,
        lock: TorrentLock,
        mut left_out: LeftOut,
    ) -> Self {
        left_out.tell_above(&progress);
        TransferLoop {
            session,
            purpose,
            goals: Goals::new(purpose, transfer.stall_timeout, Instant::now()),
            progress,
            json: transfer.reporting.json,
            torrents: BTreeMap::new(),
            left_out,
            lock,
            uses_dht: !transfer.network.no_dht,
            ip_lists: IpLists::new(&transfer.network.ip_filter, transfer.reporting.json),
        }
    }

    /// Adds a torrent with what is kept of it; or leaves it out, if another process has its lock or
    /// it cannot be added.
    pub(crate) fn add(&mut self, add: AddTorrent, kept: Option<&Fetcher>) -> Result<(), Failure> {
        let name = add.source.shown_name();
        let infohash = add.source.infohash();
        if let Err(failure) = self.lock.check(&infohash, &name) {
            self.left_out.add(failure.about(infohash));
            return Ok(());
        }
        if let Some(kept) = kept {
            kept.fetch(infohash);
        }
        let known = add.source.metainfo().cloned();
        let root = add.root.clone();
        // Until a magnet link's name is known, what is known is the directory.
        let place = known.as_ref().map_or(root.clone(), |known| place(known, &root));
        let selection = known.is_none().then(|| add.only.clone()).flatten();
        let id = match self.session.add(add) {
            Ok(id) => id,
            Err(failure) => {
                self.left_out.add(failure.about(infohash));
                return Ok(());
            }
        };
        self.goals.add(id);
        if self.json {
            json::event("added", &infohash)
                .with("name", name.as_str())
                .with("path", place.to_string_lossy())
                .with("total", known.as_ref().map(|known| known.geometry().data_len()))
                .with("pieces", known.as_ref().map(|known| known.geometry().pieces()))
                .print()?;
        }
        let torrent = Torrent {
            task: self.progress.task(&name),
            name,
            infohash,
            root: known.is_none().then_some(root),
            place,
            selection,
            added: Instant::now(),
            told: None,
            is_private: known.is_some_and(|known| known.is_private()),
            found_in_dht: None,
        };
        self.torrents.insert(id, Box::new(torrent));
        Ok(())
    }

    /// Runs until the purpose is reached, something fails, or the user has enough; then ends the
    /// session in order.
    pub(crate) fn run(mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let verdict = self.until_over(interrupt);
        let farewell = self.say_farewell();
        // The lock on the session's directory is held until nothing is written any more.
        let ended = self.session.end();
        verdict.and(farewell).and(ended)
    }

    fn until_over(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let mut look_at = Instant::now();
        while !interrupt.is_set() {
            if self.torrents.is_empty() {
                return self.left_out.verdict();
            }
            if interrupt.takes_reload() {
                self.reload();
            }
            let until_look = look_at.saturating_duration_since(Instant::now());
            let mut look_now = until_look.is_zero();
            // All that is there to hear is heard before the next look.
            let mut notice = self.session.next_notice(until_look.min(PATIENCE))?;
            while let Some(heard) = notice {
                look_now |= self.hear(&heard)?;
                notice = self.session.next_notice(Duration::ZERO)?;
            }
            if look_now {
                let count = u32::try_from(self.torrents.len()).unwrap_or(u32::MAX);
                look_at = Instant::now() + LOOK_INTERVAL + LOOK_INTERVAL_EACH * count;
                if self.look()? {
                    return self.left_out.verdict();
                }
            }
        }
        self.progress.say("stopping (Ctrl-C again exits at once)");
        self.look()?;
        self.goals.interrupted()?;
        self.left_out.verdict()
    }

    /// Reads the IP filter again. What cannot be read leaves the one that is there.
    fn reload(&mut self) {
        if self.ip_lists.is_empty() {
            return self.progress.say("nothing to read again: there is no --ip-filter");
        }
        match self.ip_lists.load(&self.progress) {
            Ok(filter) => self.session.set_ip_filter(filter),
            Err(failure) => {
                self.progress.say(&format!("{failure}; the IP filter stays as it was"));
            }
        }
    }

    /// Takes notice of something. `Ok(true)`: it may be over now.
    fn hear(&mut self, notice: &Notice) -> Result<bool, Failure> {
        match notice {
            Notice::Listening { kind, addr, .. } => {
                if self.json {
                    json::listening(*kind, *addr).print()?;
                }
            }
            Notice::ListenFailed { kind, addr, why, .. } => {
                match self.session.listen_failure(*kind, *addr, *why) {
                    Some(failure) => self.left_out.add(failure),
                    None => self.progress.say(&format!("cannot listen on {addr}: {why}")),
                }
            }
            Notice::Torrent { id, what } => return self.hear_of_torrent(*id, what),
            Notice::DhtReady { .. }
            | Notice::DhtDone { .. }
            | Notice::Scraped { .. }
            | Notice::TrackerHeard(_)
            | Notice::Stopped => {}
        }
        Ok(false)
    }

    fn hear_of_torrent(&mut self, id: TorrentId, what: &TorrentNotice) -> Result<bool, Failure> {
        let Some(torrent) = self.torrents.get_mut(&id) else { return Ok(false) };
        if matches!(what, TorrentNotice::MetadataReceived { .. })
            && let Some(metainfo) = self.session.metainfo(id)
            && let Err(failure) = torrent.learn(&metainfo, &self.progress)
        {
            self.leave_out(id, failure);
            return Ok(true);
        }
        if self.json
            && let Some(object) = json::notice(what, &torrent.infohash)
        {
            object.print()?;
        }
        let name = &torrent.name;
        match what {
            TorrentNotice::Checked { have, pieces, .. }
                if self.purpose == Purpose::Seed && have < pieces =>
            {
                if *have == 0 {
                    return self.give_up(id);
                }
                let pieces = counted(*pieces, "piece is", "pieces are");
                self.progress.say(&format!(
                    "{name}: {have} of {pieces} here and right; sharing those \
                     (bitswarm download fetches the others)"
                ));
            }
            TorrentNotice::MetadataReceived { .. } => {
                self.progress.say(&format!("{name}: metadata received"));
            }
            TorrentNotice::MetadataTooLong { bytes, limit } => {
                self.progress.say(&format!(
                    "{name}: a peer claims metadata of {bytes} bytes; at most {limit} are accepted"
                ));
            }
            TorrentNotice::PeerBanned { addr, why } => {
                self.progress.say(&format!("{name}: peer {addr} is banned: {why}"));
            }
            TorrentNotice::TrackerAnswered { warning: Some(warning), .. } => {
                self.progress.say(&format!("{name}: the tracker warns: {warning}"));
            }
            TorrentNotice::DiskFailed { error } if self.purpose == Purpose::Seed => {
                self.progress.say(&format!("{name}: {error}; trying again by and by"));
            }
            TorrentNotice::DiskRecovered => {
                self.progress.say(&format!("{name}: the disk works again"));
            }
            _ => {}
        }
        if let TorrentNotice::DhtAnswered { peers, .. } = what {
            torrent.found_in_dht = Some(*peers);
        }
        let was_complete = self.goals.is_torrent_complete(id);
        if let Err(failure) = self.goals.handle(id, what, Instant::now()) {
            self.leave_out(id, failure);
            return Ok(true);
        }
        let is_complete = self.goals.is_torrent_complete(id);
        let is_news = is_complete && !was_complete && self.purpose != Purpose::Seed;
        if is_news {
            self.tell_complete(id)?;
        }
        Ok(is_news)
    }

    /// Nothing of a torrent to be shared is what it should be.
    fn give_up(&mut self, id: TorrentId) -> Result<bool, Failure> {
        let Some(torrent) = self.torrents.get(&id) else { return Ok(false) };
        let place = torrent.place.display();
        let failure = Failure::new(
            Code::Mismatch,
            format!("nothing in {place} is what the torrent says; see bitswarm verify"),
        );
        let infohash = torrent.infohash;
        self.leave_out(id, failure);
        self.session.remove(id);
        self.lock.release(&infohash);
        Ok(false)
    }

    /// Goes on without a torrent, and tells why. What is known of it is kept for the next run.
    fn leave_out(&mut self, id: TorrentId, failure: Failure) {
        let Some(torrent) = self.torrents.remove(&id) else { return };
        self.session.pause(id);
        self.goals.remove(id);
        let infohash = torrent.infohash;
        // Its line goes.
        drop(torrent);
        self.left_out.add(failure.about(infohash));
    }

    /// The result of a download: where it is, and how it went.
    fn tell_complete(&mut self, id: TorrentId) -> Result<(), Failure> {
        let status = self.session.status(id);
        let (content, downloaded) =
            status.map_or((0, 0), |status| (status.wanted_bytes, status.downloaded_bytes));
        let Some(torrent) = self.torrents.get(&id) else { return Ok(()) };
        let time = torrent.added.elapsed();
        if self.json {
            return json::event("complete", &torrent.infohash)
                .with("name", torrent.name.as_str())
                .with("path", torrent.place.to_string_lossy())
                .with("size", content)
                .with("downloaded", downloaded)
                .with("seconds", time.as_secs_f64())
                .print();
        }
        let how = match downloaded {
            0 => "was complete already".to_owned(),
            _ => {
                let (size, received) = (Size(content).to_string(), Size(downloaded).to_string());
                let rate = Rate::mean(downloaded, time);
                // More than the content, or less of what was here in part.
                let received = match received == size {
                    true => String::new(),
                    false => format!(", received {received}"),
                };
                format!("complete, {size}{received} in {} ({rate})", Span(time))
            }
        };
        let line = format!("{}: {how}", torrent.place.display());
        self.progress.above_bars(|| print(&line))
    }

    /// Looks at all torrents and shows how they stand. `Ok(true)`: the run is over.
    fn look(&mut self) -> Result<bool, Failure> {
        let now = Instant::now();
        let shows = self.uses_dht && (self.json || !self.progress.is_silent());
        let stats = if shows { self.session.dht_stats() } else { None };
        let nodes = stats.map(|stats| stats.nodes);
        self.session.each_status(|status| {
            self.goals.see(status, now);
            let Some(torrent) = self.torrents.get_mut(&status.id) else { return Ok(()) };
            let nodes = nodes.filter(|_| !torrent.is_private);
            let dht = nodes.map(|nodes| Dht { nodes, found: torrent.found_in_dht });
            torrent.task.set(|| facts(status, dht));
            if self.json { torrent.tell_progress(status, nodes, now) } else { Ok(()) }
        })?;
        let note = nodes.map(in_words).unwrap_or_default();
        self.progress.set_whole(Whole { of: "torrents", note });
        self.progress.refresh();
        self.goals.judge(now)
    }

    /// The last word on every torrent.
    fn say_farewell(&mut self) -> Result<(), Failure> {
        let mut written = Ok(());
        // A session that is over by itself has nothing more to tell.
        let _ = self.session.each_status(|status| {
            let Some(torrent) = self.torrents.get_mut(&status.id) else { return Ok(()) };
            let is_complete = self.goals.is_torrent_complete(status.id);
            let is_done = is_complete && self.purpose != Purpose::Seed;
            torrent.task.finish(last_facts(status, is_done));
            if self.json && written.is_ok() {
                // A part that is shared was all that was wanted, but it is not the torrent.
                let is_whole = self.purpose != Purpose::Seed || status.pieces_have == status.pieces;
                written = json::status("stopped", status)
                    .with("complete", is_whole && is_complete)
                    .print();
            }
            Ok(())
        });
        written
    }
}

impl Torrent {
    /// The metadata is known.
    fn learn(&mut self, metainfo: &Metainfo, progress: &Progress) -> Result<(), Failure> {
        if let Some(root) = self.root.take() {
            self.place = place(metainfo, &root);
        }
        self.is_private = metainfo.is_private();
        let name = metainfo.name();
        if self.name != name {
            self.name = name.to_owned();
            self.task = progress.task(name);
        }
        let count = metainfo.file_count();
        match self.selection.take() {
            Some(chosen) if chosen.largest_named() as usize >= count => {
                let number = u64::from(chosen.largest_named()) + 1;
                let message = format!("there is no file {number} in {name}, which has {count}");
                Err(Failure::new(Code::Usage, message))
            }
            _ => Ok(()),
        }
    }

    /// Writes a `progress` object if it is time and something has changed.
    fn tell_progress(
        &mut self,
        status: &TorrentStatus,
        dht_nodes: Option<usize>,
        now: Instant,
    ) -> Result<(), Failure> {
        let mut hasher = DefaultHasher::new();
        json::standing(status).hash(&mut hasher);
        let hash = hasher.finish();
        if let Some((when, before)) = self.told
            && (now.saturating_duration_since(when) < JSON_INTERVAL || before == hash)
        {
            return Ok(());
        }
        self.told = Some((now, hash));
        json::status("progress", status).with("dht_nodes", dht_nodes).print()
    }
}
