//! The way of a torrent to running: resume data, the files' sizes, the check.

use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::choke::accounts::Accounts;
use crate::disk::{
    DiskDone, DiskError, DiskErrorKind, DiskRequest, FileIndex, FileStat, Span, StateName,
};
use crate::extension::pex::PexSwarm;
use crate::id::{Slab, StoreId, TorrentId};
use crate::metainfo::Metainfo;
use crate::notice::TorrentNotice;
use crate::picker::Picker;
use crate::piece::{Geometry, InfoHash, PieceIndex};
use crate::session::Session;
use crate::session::op::{OpOwner, TorrentOp};

use crate::storage::resume::{Resume, Trust};
use crate::torrent::announce::Announcer;
use crate::torrent::assembly::Assembly;
use crate::torrent::checker::Checker;
use crate::torrent::content::{Choices, Content};
use crate::torrent::identity::Identity;
use crate::torrent::peer_book::{PeerBook, PeerSource};
use crate::torrent::rare::Rare;
use crate::torrent::saver::Saver;
use crate::torrent::traffic::Traffic;
use crate::torrent::{AddTorrent, Phase, PieceOrder, Torrent, TorrentSource, register_timer};
use crate::tracker::NamedBy;

/// Addresses of which it is remembered what they gave and took (chosen: twenty times as many peers
/// as a torrent has).
const MOST_ACCOUNTS: usize = 1000;

impl Torrent {
    /// A torrent that has done nothing yet; [`Torrent::start`] follows.
    pub(crate) fn new(
        session: &mut Session,
        id: TorrentId,
        store: StoreId,
        mut add: AddTorrent,
    ) -> Self {
        let choices = Choices::of(&mut add);
        let identity = Identity::of(&add.source);
        let mut policy = session.policy.fork();
        let (metainfo, magnet) = match add.source {
            TorrentSource::Metainfo(metainfo) => (Some(metainfo), None),
            TorrentSource::Magnet(magnet) => (None, Some(magnet)),
        };
        let mut book = PeerBook::new(session.config.bounds.known_peers, policy.fork());
        for peer in add.peers {
            book.add(peer, PeerSource::User, session.now);
        }
        let mut torrent = Torrent {
            id,
            identity,
            content: None,
            choices,
            store,
            magnet,
            metadata: None,
            layers: None,
            kept_hashes: Default::default(),
            unchecked: Default::default(),
            metadata_only: add.metadata_only,
            is_idle: false,
            recheck: add.recheck,
            phase: Phase::Loading,
            paused: add.paused,
            told_finished: false,
            was_complete: false,
            resumed_whole: false,
            saved_due: false,
            picker: Picker::new(Geometry::NOTHING, policy.fork()),
            assembly: Assembly::default(),
            smart_ban: Default::default(),
            checker: Checker::default(),
            resume: None,
            ours: Default::default(),
            is_writer: false,
            places: None,
            preparation: None,
            saver: Saver::new(),
            trouble: None,
            unwritten: Default::default(),
            unreadable: None,
            disk_ops: 0,
            hash_trees: Default::default(),
            leaves: Default::default(),
            leaf_uploads: Default::default(),
            local_copy: Default::default(),
            in_doubt: Default::default(),
            is_local: false,
            peers: Slab::new(),
            book,
            accounts: Accounts::new(MOST_ACCOUNTS),
            announcer: Announcer::new(Vec::new(), policy.fork()),
            dht: Default::default(),
            pex_at: None,
            pex_swarm: PexSwarm::default(),
            hungry: Default::default(),
            late: Default::default(),
            spread: None,
            choke_at: None,
            optimistic_at: session.now,
            traffic: Traffic::default(),
            policy,
            timer: register_timer(session, id),
        };
        torrent.set_limits(session, add.limits);
        // Those that the user adds are each a tier of its own, and come first.
        let users: Vec<Vec<String>> = add.trackers.into_iter().map(|url| vec![url]).collect();
        torrent.announcer.add_trackers(&users, NamedBy::User, session.now);
        if let Some(metainfo) = metainfo {
            torrent.announcer.add_trackers(metainfo.trackers(), NamedBy::Torrent, session.now);
            torrent.adopt(metainfo);
            torrent.meet_named_nodes(session);
        }
        if let Some(magnet) = torrent.magnet.clone() {
            torrent.take_hints(session, &magnet);
        }
        torrent
    }

    /// It is known what the torrent is: how it is cut, which files it has, which of them are wanted.
    pub(super) fn adopt(&mut self, metainfo: Arc<Metainfo>) {
        self.identity.learn(&metainfo);
        let by_link = self.magnet.as_ref().and_then(|magnet| magnet.select.as_ref());
        let content = Content::new(metainfo, &mut self.choices, by_link);
        self.picker = Picker::new(content.geometry().clone(), self.policy.fork());
        self.picker.set_order(self.choices.order);
        for (piece, priority) in content.piece_priorities() {
            self.picker.set_priority(piece, priority);
        }
        self.content = Some(Box::new(content));
        self.find_layers();
    }

    /// Begins by finding out what the torrent is, if only a magnet link is known.
    pub(crate) fn start(&mut self, session: &mut Session) {
        if self.content.is_some() {
            self.find_resume_data(session);
        } else {
            self.find_metadata(session);
        }
    }

    /// Goes on with resume data. Also where everything is to be hashed it tells whose the files are.
    pub(super) fn find_resume_data(&mut self, session: &mut Session) {
        self.phase = Phase::Loading;
        self.announce_files(session);
        self.load_resume_data(session, self.identity.resume_key());
    }

    fn load_resume_data(&mut self, session: &mut Session, key: InfoHash) {
        let name = StateName::Resume(key);
        self.disk(session, TorrentOp::LoadResume(key), DiskRequest::Load { name });
    }

    /// Starts a disk request of this torrent.
    pub(super) fn disk(&mut self, session: &mut Session, op: TorrentOp, request: DiskRequest) {
        self.disk_ops += 1;
        session.disk(OpOwner::Torrent(self.id, op), request);
    }

    /// Resume data is here, or there is none.
    pub(super) fn resume_loaded(
        &mut self,
        session: &mut Session,
        key: InfoHash,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if self.phase != Phase::Loading {
            return;
        }
        if let (Ok(DiskDone::Loaded(None)), Some(other)) =
            (&result, self.identity.infohashes().v2_short())
            && other != key
        {
            // Earlier versions kept that of a hybrid which began with a link to v2 there.
            return self.load_resume_data(session, other);
        }
        // A file that is broken or not ours means a full check, nothing worse.
        if let (Ok(DiskDone::Loaded(Some(data))), Some(content)) = (result, &self.content) {
            self.resume = Resume::decode(&data, key)
                .ok()
                .filter(|resume| resume.pieces.len() == content.geometry().pieces())
                .filter(|resume| resume.files.len() == content.spec.files.len())
                .map(Box::new);
        }
        if let Some(resume) = &self.resume {
            self.traffic.recall(resume.uploaded_bytes, resume.downloaded_bytes);
            self.ours = resume.ours.clone();
            self.was_complete = resume.was_complete || resume.pieces.is_all();
        }
        self.open_files(session);
    }

    pub(super) fn open_files(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        self.phase = Phase::Opening;
        let request = DiskRequest::Open { store: self.store, spec: content.spec.clone() };
        self.disk(session, TorrentOp::Open, request);
    }

    /// The files' sizes are known: decide what has to be hashed.
    pub(super) fn files_opened(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if self.phase != Phase::Opening {
            return;
        }
        let stats = match result {
            Ok(DiskDone::Files(stats)) => stats,
            Ok(_) => Vec::new(),
            Err(error) => {
                // Without its files' sizes nothing can be claimed; the error shows, and each
                // retry of the disk looks again.
                self.disk_failed(session, *error);
                return;
            }
        };
        self.trouble = None;
        self.begin_check(session, stats);
    }

    /// The files are as they are: hashes what has to be hashed.
    pub(super) fn begin_check(&mut self, session: &mut Session, stats: Vec<Option<FileStat>>) {
        let mut trust = self.trust(&stats);
        self.look_for_strangers(stats);
        self.hash_strangers(&mut trust);
        let lost: Vec<PieceIndex> =
            self.picker.have().iter().filter(|piece| !trust.have.has(*piece)).collect();
        lost.into_iter().for_each(|piece| self.picker.unmark_have(piece));
        for piece in trust.have.iter() {
            self.picker.mark_have(piece);
        }
        self.hash_pieces(session, trust.check);
    }

    /// Hashes these pieces, as far as they may be there.
    pub(super) fn hash_pieces(&mut self, session: &mut Session, mut check: Bitfield) {
        self.skip_what_is_short(&mut check);
        self.check_without_hashes(&mut check);
        self.check_padding(&mut check);
        self.checker = Checker::new(&check);
        self.phase = Phase::Checking;
        if self.checker.is_done() {
            self.check_done(session);
        } else {
            session.check_queue.push_back(self.id);
        }
    }

    /// What is there without hashing, and what is to be hashed.
    fn trust(&mut self, stats: &[Option<FileStat>]) -> Trust {
        let pieces = self.pieces();
        let pieces_of = |file| match self.content.as_ref().map(|content| &content.layout) {
            Some(layout) => {
                layout.file_of_store(file).map_or(0..0, |file| layout.pieces_of_file(file))
            }
            None => 0..0,
        };
        let is_all_hashed = std::mem::take(&mut self.recheck);
        match &self.resume {
            Some(resume) if !is_all_hashed => resume.trust(stats, pieces, pieces_of),
            _ => Trust::check_all(stats, pieces, pieces_of),
        }
    }

    /// Leaves out of a check what cannot be there, because a file ends before it.
    fn skip_what_is_short(&self, check: &mut Bitfield) {
        let (Some(places), Some(content)) = (&self.places, &self.content) else { return };
        for (file, (listed, stat)) in
            content.every_file().zip(content.spec.files.iter().zip(&places.stats))
        {
            let Some(stat) = stat.filter(|stat| stat.length < listed.length) else { continue };
            for piece in content.pieces_of(file) {
                let ends_early = |span: &Span| {
                    span.file == Some(file) && span.offset + u64::from(span.length) > stat.length
                };
                if content.layout.piece_spans(piece).iter().any(ends_early) {
                    check.clear(piece);
                }
            }
        }
    }

    /// Starts hashing the next piece; whether more are waiting.
    pub(crate) fn check_next(&mut self, session: &mut Session) -> bool {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.retry_at().is_some()) {
            return false;
        }
        if let Some(piece) = self.checker.start_next() {
            session.checks_running += 1;
            self.verify_piece(session, piece, TorrentOp::Check(piece));
        }
        self.checker.has_more()
    }

    /// A piece was hashed, or is not there; one that the disk does not give is tried again.
    pub(super) fn piece_checked(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        session.checks_running -= 1;
        match &result {
            Err(error) if self.phase == Phase::Checking && !is_absence(error.kind) => {
                self.checker.put_back(piece);
                return self.disk_failed(session, error.as_ref().clone());
            }
            Ok(_) => self.disk_works(session),
            Err(_) => {}
        }
        self.checker.finish_one();
        if let Ok(done) = &result {
            self.count_piece(piece, Some(done));
        }
        if let Ok(DiskDone::Done | DiskDone::Zeros { is_right: true }) = result {
            self.picker.mark_have(piece);
            self.padding_checked(piece);
        }
        if self.phase == Phase::Checking && self.checker.is_done() {
            self.check_done(session);
        }
    }

    fn check_done(&mut self, session: &mut Session) {
        let (hashed, _) = self.checker.progress();
        let Some(places) = &mut self.places else { return };
        places.hashed += hashed;
        if places.is_judged {
            self.begin_running(session);
        } else {
            self.ask_to_write(session);
        }
    }

    /// It is known what is here.
    pub(super) fn tell_checked(&self, session: &mut Session) {
        let hashed = self.places.as_ref().map_or(0, |places| places.hashed);
        session.notify(
            self.id,
            TorrentNotice::Checked {
                have: self.picker.have().count(),
                pieces: self.pieces(),
                from_resume: hashed == 0,
            },
        );
    }

    /// Whatever is to be written may be: goes on with peers.
    pub(super) fn begin_running(&mut self, session: &mut Session) {
        self.phase = Phase::Running;
        let was_running = self
            .places
            .as_mut()
            .is_some_and(|places| std::mem::replace(&mut places.is_running, true));
        if was_running {
            // It waited for hashes to be decided what may be written.
            self.prepare(session);
            self.feed_hungry(session);
            let slots: Vec<_> = self.peers.keys().collect();
            for slot in slots {
                self.request_blocks(session, slot);
            }
            return self.files_found(session);
        }
        self.tell_checked(session);
        self.resume = None;
        self.prepare(session);
        self.smart_ban = Rare::default();
        self.offer_files(session);
        if self.is_finished() {
            self.finished(session);
        }
        self.check_late(session);
        self.is_idle = self.choices.idle_if_complete && self.is_finished();
        if self.is_idle {
            // Of a magnet link, trackers and peers know already.
            self.drop_all_peers(session);
            self.stop_announcing(session);
            self.leave_dht(session);
        } else if !self.paused {
            self.open_for_peers(session);
            self.go_on_with_peers(session);
        }
        if !self.is_finished() {
            self.want_files(session);
        }
    }

    /// Makes what is to be made, unless it is not known yet whether it may be.
    pub(super) fn prepare(&mut self, session: &mut Session) {
        if self.is_undecided() || self.identity.is_duplicate() {
            return;
        }
        let places = self.places.take().unwrap_or_default();
        if places.hashed > 0 {
            self.saver.mark_dirty(session.now);
        }
        self.preparation = self.preparation(&places).map(Box::new);
        self.resumed_whole = self.is_finished() && self.preparation.is_none() && places.hashed == 0;
        if self.preparation.is_some() {
            self.prepare_files(session);
        }
    }

    /// Makes the wanted files, so that empty ones exist and a full disk shows early; and the links,
    /// unless nothing is wanted at all. Later the same tries whether the disk works again.
    pub(super) fn prepare_files(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        let have = self.picker.have();
        let (files, links) = match &mut self.preparation {
            Some(preparation) => {
                preparation.is_under_way = true;
                (preparation.files.clone(), preparation.links)
            }
            None => {
                let is_open =
                    |file: &FileIndex| content.is_wanted(*file) && !content.has_file(have, *file);
                (content.every_file().filter(is_open).collect(), false)
            }
        };
        let (store, allocation) = (self.store, self.choices.allocation);
        let request = DiskRequest::Prepare { store, files, allocation, links };
        self.disk(session, TorrentOp::Prepare, request);
    }

    pub(super) fn wants_something(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.wants_something())
    }

    /// The wanted files are made, or could not be.
    pub(super) fn files_prepared(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        match result {
            Ok(_) => {
                if self.preparation.take().is_some() {
                    self.saver.mark_dirty(session.now);
                }
                if self.unwritten.is_empty() {
                    self.disk_works(session);
                }
                if self.is_finished() {
                    self.finished(session);
                }
            }
            Err(error) => {
                if let Some(preparation) = &mut self.preparation {
                    preparation.is_under_way = false;
                }
                self.disk_failed(session, *error);
            }
        }
    }

    /// Fetches pieces in this order from now on.
    pub(crate) fn set_order(&mut self, order: PieceOrder) {
        self.choices.order = order;
        self.picker.set_order(order);
    }
}

/// Whether a file that cannot be read is simply not there, or not all of it.
fn is_absence(kind: DiskErrorKind) -> bool {
    matches!(kind, DiskErrorKind::NotFound | DiskErrorKind::Short | DiskErrorKind::InTheWay)
}
