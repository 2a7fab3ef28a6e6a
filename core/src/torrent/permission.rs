//! What may be written: whose the files are that lie where the torrent's belong.
//!
//! After the check each file that is to be written is judged ([`foreign`](crate::storage::foreign)). If
//! one is refused, nothing of the torrent is begun: no file is made, no peer is met, until the user
//! resumes the torrent, which looks again. Otherwise resume data that names the files as ours is saved
//! before the first of them is made, so that whatever ends us early does not lock us out. Torrents of
//! one session keep out of each other's files by [`Writers`](crate::session::writers).

use std::collections::BTreeMap;

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskError, DiskErrorKind, DiskRequest, FileIndex, FileStat};
use crate::piece::PieceIndex;
use crate::priority::FilePriority;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::storage::file_set::FileSet;
use crate::storage::foreign::{FileFacts, Origin, Refusal, Tally, origin};
use crate::storage::resume::Trust;
use crate::torrent::content::Content;
use crate::torrent::disk_trouble::DiskTrouble;
use crate::torrent::{Phase, Torrent};

/// What lies at the files' places, from the moment it is looked at until the torrent runs.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// In the store's order.
    pub(super) stats: Vec<Option<FileStat>>,
    /// Files that are there and not known to be ours, with what was found in them.
    strangers: BTreeMap<FileIndex, (Origin, Tally)>,
    /// Whether what is to be written was judged.
    pub(super) is_judged: bool,
    /// Whether that has to wait for hashes that peers are asked for.
    is_undecided: bool,
    /// Whether the torrent runs already, to ask for those hashes.
    pub(super) is_running: bool,
    /// Pieces hashed so far.
    pub(super) hashed: u32,
}

/// What is still to be made on disk.
#[derive(Debug)]
pub(super) struct Preparation {
    pub(super) files: Vec<FileIndex>,
    pub(super) links: bool,
    /// Whether the disk has been asked for it and has not answered.
    pub(super) is_under_way: bool,
}

impl Places {
    /// Whether every file that a piece has bytes of is there.
    fn has_piece(&self, content: &Content, piece: PieceIndex) -> bool {
        let is_there =
            |file: FileIndex| self.stats.get(file.0 as usize).is_some_and(Option::is_some);
        content.files_of(piece).all(is_there)
    }

    /// Whether a file that is to be written cannot be judged for want of hashes.
    fn lacks_hashes(&self, content: &Content, files: &FileSet) -> bool {
        let mut strangers = self.strangers.keys().filter(|file| files.has(**file));
        strangers.any(|file| self.may_write(content, *file) == Err(Refusal::NoHashes))
    }

    fn may_write(&self, content: &Content, file: FileIndex) -> Result<(), Refusal> {
        let at = file.0 as usize;
        let (Some(Some(stat)), Some(listed)) = (self.stats.get(at), content.spec.files.get(at))
        else {
            return Ok(());
        };
        let Some((origin, pieces)) = self.strangers.get(&file).copied() else { return Ok(()) };
        FileFacts { origin, stat: *stat, length: listed.length, pieces }.may_write()
    }
}

impl Torrent {
    /// Begins to judge the files that were found.
    pub(super) fn look_for_strangers(&mut self, stats: Vec<Option<FileStat>>) {
        let may_judge = !self.choices.overwrite && self.wants_something();
        let found = (0..).map(FileIndex).zip(&stats).filter(|_| may_judge);
        let strangers = found
            .filter_map(|(file, stat)| {
                let origin = origin(&self.ours, self.resume.as_deref(), file, stat.as_ref()?);
                (origin != Origin::Ours).then_some((file, (origin, Tally::default())))
            })
            .collect();
        self.places = Some(Box::new(Places { stats, strangers, ..Places::default() }));
    }

    /// Has those of them hashed that are not whole, also where resume data would answer: it is to be
    /// seen what is in them.
    pub(super) fn hash_strangers(&mut self, trust: &mut Trust) {
        let (Some(places), Some(content)) = (&self.places, &self.content) else { return };
        for &file in places.strangers.keys() {
            if content.has_file(&trust.have, file) {
                continue;
            }
            for piece in content.pieces_of(file).filter(|piece| places.has_piece(content, *piece)) {
                trust.have.clear(piece);
                trust.check.set(piece);
            }
        }
    }

    /// The file that may not be ours in which a piece lies wholly, if there is one.
    fn stranger_of(&self, piece: PieceIndex) -> Option<FileIndex> {
        let strangers = &self.places.as_ref()?.strangers;
        if strangers.is_empty() {
            return None;
        }
        let mut files = self.content.as_ref()?.files_of(piece);
        let first = files.next()?;
        (files.all(|file| file == first) && strangers.contains_key(&first)).then_some(first)
    }

    /// Whether it matters that a piece is nothing but zeros.
    pub(super) fn is_zero_of_interest(&self, piece: PieceIndex) -> bool {
        self.stranger_of(piece).is_some()
    }

    /// A piece was hashed at the check, or cannot be.
    pub(super) fn count_piece(&mut self, piece: PieceIndex, found: Option<&DiskDone>) {
        let Some(file) = self.stranger_of(piece) else { return };
        let strangers = self.places.as_mut().map(|places| &mut places.strangers);
        let Some((_, tally)) = strangers.and_then(|strangers| strangers.get_mut(&file)) else {
            return;
        };
        match found {
            Some(DiskDone::Done) => tally.right += 1,
            Some(DiskDone::Zeros { .. }) => tally.zero += 1,
            Some(_) => tally.wrong += 1,
            None => tally.unknown += 1,
        }
    }

    /// The files that will be written: those of missing pieces, and wanted ones that are to be made or
    /// cut.
    fn files_to_write(&self, content: &Content, places: &Places) -> FileSet {
        let is_lacking = |piece: &PieceIndex| {
            !self.picker.have().has(*piece) && self.picker.priority(*piece) != FilePriority::Skip
        };
        let lacking = content.geometry().iter().filter(is_lacking);
        let mut files: FileSet = lacking.flat_map(|piece| content.files_of(piece)).collect();
        let to_shape = (0..).map(FileIndex).zip(content.spec.files.iter().zip(&places.stats));
        files.extend(to_shape.filter_map(|(file, (listed, stat))| {
            let is_shaped = stat.is_some_and(|stat| stat.length <= listed.length);
            (!is_shaped && content.is_wanted(file)).then_some(file)
        }));
        files
    }

    /// What is to be made before the torrent runs, or nothing.
    pub(super) fn preparation(&self, places: &Places) -> Option<Preparation> {
        let content = self.content.as_ref().filter(|content| content.wants_something())?;
        let written = self.files_to_write(content, places);
        let files: Vec<FileIndex> = (0..)
            .map(FileIndex)
            .zip(&content.spec.files)
            .filter(|(file, listed)| {
                (written.has(*file) || listed.executable) && content.is_wanted(*file)
            })
            .map(|(file, _)| file)
            .collect();
        let links = !content.spec.links.is_empty();
        (links || !files.is_empty()).then_some(Preparation { files, links, is_under_way: false })
    }

    /// The check is done: judges what is to be written, and goes on if it may be.
    pub(super) fn ask_to_write(&mut self, session: &mut Session) {
        if self.identity.is_duplicate() {
            // The other one writes.
            self.places = None;
            return self.begin_running(session);
        }
        let (Some(mut places), Some(content)) = (self.places.take(), &self.content) else { return };
        places.is_judged = true;
        let wants = content.wants_something();
        let files = if wants { self.files_to_write(content, &places) } else { FileSet::default() };
        let refused = self.refused(session, content, &places, &files);
        let was_undecided = places.is_undecided;
        places.is_undecided = refused.is_none() && places.lacks_hashes(content, &files);
        if places.is_undecided {
            // Peers are asked for the hashes, and for nothing else.
            self.places = Some(places);
            return self.begin_running(session);
        }
        let is_to_be_made = |index: usize, stat: &Option<FileStat>| {
            stat.is_none() && files.has(FileIndex(index as u32))
        };
        let makes = places.stats.iter().enumerate().any(|(at, stat)| is_to_be_made(at, stat));
        self.places = Some(places);
        if let Some(error) = refused {
            if !was_undecided {
                self.tell_checked(session);
            }
            return self.refuse(session, error);
        }
        if files.is_empty() {
            return self.may_write(session);
        }
        let mut is_news = makes;
        for file in content.every_file().filter(|file| files.has(*file)) {
            is_news |= self.ours.insert(file);
            session.writers.add(content.path_of(file), self.id);
        }
        self.is_writer = true;
        if is_news {
            // Named in resume data before they are made.
            self.phase = Phase::Claiming;
            self.begin_save(session);
        } else {
            self.may_write(session);
        }
    }

    /// Whether it is not known yet if what is to be written may be: peers are asked for hashes first.
    pub(super) fn is_undecided(&self) -> bool {
        self.places.as_ref().is_some_and(|places| places.is_undecided)
    }

    /// A piece whose hash came late was hashed, or is not there.
    pub(super) fn count_late(&mut self, piece: PieceIndex, found: Option<&DiskDone>) {
        let Some(file) = self.stranger_of(piece) else { return };
        let strangers = self.places.as_mut().map(|places| &mut places.strangers);
        if let Some((_, tally)) = strangers.and_then(|strangers| strangers.get_mut(&file)) {
            tally.unknown = tally.unknown.saturating_sub(1);
            if found.is_some() {
                self.count_piece(piece, found);
            }
        }
    }

    /// More pieces were hashed late: decides, if all are that may be in files to be written.
    pub(super) fn decide_late(&mut self, session: &mut Session) {
        let Some(places) = self.places.as_ref().filter(|places| places.is_undecided) else {
            return;
        };
        let mut strangers = places.strangers.iter();
        let is_wanted = |file| self.content.as_ref().is_none_or(|content| content.is_wanted(file));
        if strangers.any(|(file, (_, tally))| tally.unknown > 0 && is_wanted(*file)) {
            return;
        }
        self.phase = Phase::Checking;
        self.ask_to_write(session);
    }

    /// The first file that may not be written, and why, if there is one.
    fn refused(
        &self,
        session: &Session,
        content: &Content,
        places: &Places,
        files: &FileSet,
    ) -> Option<DiskError> {
        let why = |file: FileIndex| {
            let others = session.writers.of(&content.path_of(file)).filter(|who| *who != self.id);
            if others.is_some() {
                return Some(Refusal::OtherTorrent);
            }
            places.may_write(content, file).err().filter(|why| *why != Refusal::NoHashes)
        };
        let every = content.every_file();
        let mut refused =
            every.filter(|file| files.has(*file)).filter_map(|file| Some((file, why(file)?)));
        let (first, why) = refused.next()?;
        let cause = match refused.count() {
            0 => why.to_string(),
            1 => format!("{why}; 1 other file is refused too"),
            others => format!("{why}; {others} other files are refused too"),
        };
        Some(DiskError { kind: DiskErrorKind::Foreign, path: content.path_of(first), cause })
    }

    /// While we looked away, somebody made a file that we were about to make: it is not ours.
    pub(super) fn stranger_appeared(&mut self, session: &mut Session, error: DiskError) {
        if let Some(content) = &self.content
            && let Some(file) =
                content.every_file().find(|file| content.path_of(*file) == error.path)
        {
            self.ours.remove(file);
        }
        for piece in std::mem::take(&mut self.unwritten) {
            self.forget_piece(session, piece);
        }
        self.preparation = None;
        self.refuse(session, error);
        self.saver.mark_dirty(session.now);
        self.saver.hurry();
    }

    /// Something that is to be written is somebody else's: nothing is done.
    fn refuse(&mut self, session: &mut Session, error: DiskError) {
        self.phase = Phase::Refused;
        self.withdraw_files(session);
        self.drop_all_peers(session);
        self.stop_announcing(session);
        self.leave_dht(session);
        self.paused = true;
        self.trouble = Some(Box::new(DiskTrouble::until_told(error.clone())));
        session.notify(self.id, crate::notice::TorrentNotice::DiskFailed { error });
    }

    /// The user resumes a torrent that was refused: looks again.
    pub(super) fn look_again(&mut self, session: &mut Session) {
        self.trouble = None;
        self.phase = Phase::Opening;
        self.announce_files(session);
        self.disk(session, TorrentOp::Open, DiskRequest::Look { store: self.store });
    }

    /// Whatever is to be written may be, and is named in resume data.
    pub(super) fn may_write(&mut self, session: &mut Session) {
        if !self.reuse_files(session) {
            self.begin_running(session);
        }
    }

    /// Files were copied from other torrents: the pieces of them that are to be hashed.
    pub(super) fn copied_pieces(&mut self, stats: Vec<Option<FileStat>>) -> Bitfield {
        let mut check = Bitfield::new(self.pieces());
        let (Some(places), Some(content)) = (&mut self.places, &self.content) else { return check };
        let before = std::mem::replace(&mut places.stats, stats);
        let is_new = |index: usize, stat: &Option<FileStat>| {
            stat.is_some() && before.get(index).is_some_and(Option::is_none)
        };
        let new = (places.stats.iter().enumerate())
            .filter(|(index, stat)| is_new(*index, stat))
            .map(|(index, _)| FileIndex(index as u32));
        for piece in new.flat_map(|file| content.pieces_of(file)) {
            if !self.picker.have().has(piece) && places.has_piece(content, piece) {
                check.set(piece);
            }
        }
        check
    }

    /// It writes no more: others may.
    pub(super) fn withdraw_claims(&mut self, session: &mut Session) {
        if std::mem::take(&mut self.is_writer)
            && let Some(content) = &self.content
        {
            for file in content.every_file() {
                session.writers.remove(&content.path_of(file), self.id);
            }
        }
    }
}
