//! What may be written: whose the files are that lie where the torrent's belong, and what is to be
//! made.
//!
//! After the check each file that is to be written is judged ([`foreign`](crate::storage::foreign)). If
//! one is refused, nothing of the torrent is begun: no file is made, no peer is met, until the user
//! resumes the torrent, which looks again. Otherwise resume data that names the files as ours is saved
//! before the first of them is made, so that whatever ends us early does not lock us out. Torrents of
//! one session keep out of each other's files by [`Writers`](crate::session::writers).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskError, DiskErrorKind, FileIndex, FileStat, Span};
use crate::piece::PieceIndex;
use crate::storage::file_set::FileSet;
use crate::storage::foreign::{FileFacts, Origin, Refusal, Tally, origin};
use crate::storage::resume::{Resume, Trust};
use crate::torrent::content::Content;

/// Whose the files of a torrent are, and what is to be made of them.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// The files that we made or were allowed to write, in this session or an earlier one.
    ours: FileSet,
    /// Whether [`Writers`](crate::session::writers::Writers) knows it.
    is_writer: bool,
    /// What lies at the files' places, until it runs.
    places: Option<Box<Places>>,
    /// What is still to be made before it can be finished.
    preparation: Option<Box<Preparation>>,
}

/// What lies at the files' places, from the moment it is looked at until the torrent runs.
#[derive(Debug, Default)]
struct Places {
    /// In the store's order.
    stats: Vec<Option<FileStat>>,
    /// Files that are there and not known to be ours, with what was found in them.
    strangers: BTreeMap<FileIndex, (Origin, Tally)>,
    /// Whether what is to be written was judged.
    is_judged: bool,
    /// Whether that has to wait for hashes that peers are asked for.
    is_undecided: bool,
    /// Whether the torrent runs already, to ask for those hashes.
    is_running: bool,
    /// Pieces hashed so far.
    hashed: u32,
}

/// What is still to be made on disk.
#[derive(Debug)]
struct Preparation {
    files: Vec<FileIndex>,
    links: bool,
    /// Whether the disk has been asked for it and has not answered.
    is_under_way: bool,
}

/// What is to be written was judged.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It takes hashes that peers are asked for, and nothing else is asked of them until then.
    Undecided,
    /// A file is another program's. `is_late`: that took hashes of peers.
    Refused { error: DiskError, is_late: bool },
    /// It may be written, to these places; `is_news`: they are to be named in resume data first.
    Allowed { places: Vec<PathBuf>, is_news: bool },
}

impl Claims {
    // What is there.

    /// An earlier session has recorded that these files are ours.
    pub(crate) fn recall(&mut self, ours: &FileSet) {
        self.ours = ours.clone();
    }

    /// The files that are ours.
    pub(crate) fn ours(&self) -> &FileSet {
        &self.ours
    }

    /// The files were looked at: begins to judge those that are there, unless all may be written.
    pub(crate) fn found(
        &mut self,
        content: &Content,
        stats: Vec<Option<FileStat>>,
        resume: Option<&Resume>,
    ) {
        let may_judge = !content.overwrite && content.wants_something();
        let found = (0..).map(FileIndex).zip(&stats).filter(|_| may_judge);
        let strangers = found
            .filter_map(|(file, stat)| {
                let origin = origin(&self.ours, resume, file, stat.as_ref()?);
                (origin != Origin::Ours).then_some((file, (origin, Tally::default())))
            })
            .collect();
        self.places = Some(Box::new(Places { stats, strangers, ..Places::default() }));
    }

    /// Has those hashed that are not whole, also where resume data would answer: it is to be seen what
    /// is in them.
    pub(crate) fn distrust(&self, content: &Content, trust: &mut Trust) {
        let Some(places) = &self.places else { return };
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

    /// Leaves out of a check what cannot be there, because a file ends before it.
    pub(crate) fn skip_short(&self, content: &Content, check: &mut Bitfield) {
        let stats = self.places.iter().flat_map(|places| &places.stats);
        for (file, (listed, stat)) in content.every_file().zip(content.spec.files.iter().zip(stats))
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

    /// Whether a file is known to be missing.
    pub(crate) fn is_missing(&self, file: FileIndex) -> bool {
        let stats = self.places.as_ref().map(|places| &places.stats);
        stats.and_then(|stats| stats.get(file.0 as usize)).is_some_and(Option::is_none)
    }

    /// The file that may not be ours in which a piece lies wholly, if there is one.
    fn stranger_of(&self, content: &Content, piece: PieceIndex) -> Option<FileIndex> {
        let strangers = &self.places.as_ref()?.strangers;
        if strangers.is_empty() {
            return None;
        }
        let mut files = content.files_of(piece);
        let first = files.next()?;
        (files.all(|file| file == first) && strangers.contains_key(&first)).then_some(first)
    }

    fn tally_of(&mut self, content: &Content, piece: PieceIndex) -> Option<&mut Tally> {
        let file = self.stranger_of(content, piece)?;
        self.places.as_mut()?.strangers.get_mut(&file).map(|(_, tally)| tally)
    }

    /// Whether it matters that a piece is nothing but zeros.
    pub(crate) fn needs_zeros(&self, content: &Content, piece: PieceIndex) -> bool {
        self.stranger_of(content, piece).is_some()
    }

    /// A piece was hashed at the check, or cannot be.
    pub(crate) fn count(&mut self, content: &Content, piece: PieceIndex, found: Option<&DiskDone>) {
        let Some(tally) = self.tally_of(content, piece) else { return };
        match found {
            Some(DiskDone::Done) => tally.right += 1,
            Some(DiskDone::Zeros { .. }) => tally.zero += 1,
            Some(_) => tally.wrong += 1,
            None => tally.unknown += 1,
        }
    }

    /// A piece whose hash came late was hashed, or is not there.
    pub(crate) fn count_late(
        &mut self,
        content: &Content,
        piece: PieceIndex,
        found: Option<&DiskDone>,
    ) {
        let Some(tally) = self.tally_of(content, piece) else { return };
        tally.unknown = tally.unknown.saturating_sub(1);
        if found.is_some() {
            self.count(content, piece, found);
        }
    }

    /// A part of the check is done, with so many pieces hashed. Whether what is to be written was judged
    /// already; `None` if nothing is being looked at.
    pub(crate) fn checked(&mut self, hashed: u32) -> Option<bool> {
        let places = self.places.as_mut()?;
        places.hashed += hashed;
        Some(places.is_judged)
    }

    /// Pieces hashed so far.
    pub(crate) fn hashed(&self) -> u32 {
        self.places.as_ref().map_or(0, |places| places.hashed)
    }

    // What may be written.

    /// The check is done: judges what is to be written. `lacks`: which pieces are to be fetched;
    /// `is_others`: where other torrents write.
    pub(crate) fn judge(
        &mut self,
        content: &Content,
        lacks: impl Fn(PieceIndex) -> bool,
        is_others: impl Fn(&Path) -> bool,
    ) -> Option<Verdict> {
        let mut places = self.places.take()?;
        places.is_judged = true;
        let files = match content.wants_something() {
            true => places.files_to_write(content, lacks),
            false => FileSet::default(),
        };
        let refused = places.refused(content, &files, is_others);
        let is_late = places.is_undecided;
        places.is_undecided = refused.is_none() && places.lacks_hashes(content, &files);
        let is_undecided = places.is_undecided;
        let makes = places.stats.iter().zip(content.every_file());
        let mut is_news = makes.into_iter().any(|(stat, file)| stat.is_none() && files.has(file));
        self.places = Some(places);
        if is_undecided {
            return Some(Verdict::Undecided);
        }
        if let Some(error) = refused {
            return Some(Verdict::Refused { error, is_late });
        }
        let mut paths = Vec::new();
        for file in content.every_file().filter(|file| files.has(*file)) {
            is_news |= self.ours.insert(file);
            paths.push(content.path_of(file));
        }
        self.is_writer |= !paths.is_empty();
        Some(Verdict::Allowed { is_news: is_news && !paths.is_empty(), places: paths })
    }

    /// Another torrent of the session writes: nothing is judged.
    pub(crate) fn leave_to_other(&mut self) {
        self.places = None;
    }

    /// Whether it is not known yet if what is to be written may be: peers are asked for hashes first.
    pub(crate) fn is_undecided(&self) -> bool {
        self.places.as_ref().is_some_and(|places| places.is_undecided)
    }

    /// Whether that can be judged now: all that may be in files to be written is hashed.
    pub(crate) fn can_decide(&self, content: &Content) -> bool {
        let Some(places) = self.places.as_ref().filter(|places| places.is_undecided) else {
            return false;
        };
        let mut strangers = places.strangers.iter();
        !strangers.any(|(file, (_, tally))| tally.unknown > 0 && content.is_wanted(*file))
    }

    /// While we looked away, another program made a file that we were about to make: it is not ours.
    pub(crate) fn stranger_appeared(&mut self, content: &Content, path: &Path) {
        if let Some(file) = content.every_file().find(|file| content.path_of(*file) == path) {
            self.ours.remove(file);
        }
        self.preparation = None;
    }

    /// Files were copied from other torrents: the pieces of them that are to be hashed.
    pub(crate) fn copied(
        &mut self,
        content: &Content,
        have: &Bitfield,
        stats: Vec<Option<FileStat>>,
    ) -> Bitfield {
        let mut check = Bitfield::new(content.geometry().pieces());
        let Some(places) = &mut self.places else { return check };
        let before = std::mem::replace(&mut places.stats, stats);
        let is_new = |index: usize, stat: &Option<FileStat>| {
            stat.is_some() && before.get(index).is_some_and(Option::is_none)
        };
        let new = (places.stats.iter().enumerate())
            .filter(|(index, stat)| is_new(*index, stat))
            .map(|(index, _)| FileIndex(index as u32));
        for piece in new.flat_map(|file| content.pieces_of(file)) {
            if !have.has(piece) && places.has_piece(content, piece) {
                check.set(piece);
            }
        }
        check
    }

    /// It writes no more: the places that others may write to.
    pub(crate) fn release(&mut self, content: &Content) -> Vec<PathBuf> {
        let was_writer = std::mem::take(&mut self.is_writer);
        let files = content.every_file().filter(|_| was_writer);
        files.map(|file| content.path_of(file)).collect()
    }

    /// The files that are the torrent's: those that we wrote, and those that have its content. What lies
    /// in the place of others is another program's.
    pub(crate) fn files_to_delete(&self, content: &Content, have: &Bitfield) -> Vec<FileIndex> {
        let has_content_of =
            |file: FileIndex| content.pieces_of(file).len() > 0 && content.has_file(have, file);
        let is_its_own = |file: &FileIndex| self.ours.has(*file) || has_content_of(*file);
        content.every_file().filter(is_its_own).collect()
    }

    // What is made.

    /// It runs from now on; whether it did before, to ask for hashes.
    pub(crate) fn begin_running(&mut self) -> bool {
        let places = self.places.as_mut();
        places.is_some_and(|places| std::mem::replace(&mut places.is_running, true))
    }

    /// What is to be written may be, so what is to be made is known. How many pieces were hashed.
    pub(crate) fn prepare(&mut self, content: &Content, lacks: impl Fn(PieceIndex) -> bool) -> u32 {
        let places = self.places.take().unwrap_or_default();
        self.preparation = places.preparation(content, lacks).map(Box::new);
        places.hashed
    }

    /// Whether something is still to be made.
    pub(crate) fn is_preparing(&self) -> bool {
        self.preparation.is_some()
    }

    /// Whether something is to be made and the disk is not asked for it.
    pub(crate) fn is_to_prepare(&self) -> bool {
        self.preparation.as_ref().is_some_and(|preparation| !preparation.is_under_way)
    }

    /// What the disk is asked to make: wanted files, so that empty ones exist and a full disk shows
    /// early, and whether the links, unless nothing is wanted at all. Later the same tries whether the
    /// disk works again.
    pub(crate) fn next_preparation(
        &mut self,
        content: &Content,
        have: &Bitfield,
    ) -> (Vec<FileIndex>, bool) {
        if let Some(preparation) = &mut self.preparation {
            preparation.is_under_way = true;
            return (preparation.files.clone(), preparation.links);
        }
        let is_open = |file: &FileIndex| content.is_wanted(*file) && !content.has_file(have, *file);
        (content.every_file().filter(is_open).collect(), false)
    }

    /// It is made; whether it was still to be made.
    pub(crate) fn prepared(&mut self) -> bool {
        self.preparation.take().is_some()
    }

    /// Nothing is made any more.
    pub(crate) fn give_up_preparing(&mut self) {
        self.preparation = None;
    }

    /// It could not be made.
    pub(crate) fn preparation_failed(&mut self) {
        if let Some(preparation) = &mut self.preparation {
            preparation.is_under_way = false;
        }
    }
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

    /// The first file that may not be written, and why, if there is one.
    fn refused(
        &self,
        content: &Content,
        files: &FileSet,
        is_others: impl Fn(&Path) -> bool,
    ) -> Option<DiskError> {
        let why = |file: FileIndex| {
            if is_others(&content.path_of(file)) {
                return Some(Refusal::OtherTorrent);
            }
            self.may_write(content, file).err().filter(|why| *why != Refusal::NoHashes)
        };
        let every = content.every_file().filter(|file| files.has(*file));
        let mut refused = every.filter_map(|file| Some((file, why(file)?)));
        let (first, why) = refused.next()?;
        let cause = match refused.count() {
            0 => why.to_string(),
            1 => format!("{why}; 1 other file is refused too"),
            others => format!("{why}; {others} other files are refused too"),
        };
        Some(DiskError { kind: DiskErrorKind::Foreign, path: content.path_of(first), cause })
    }

    /// The files that will be written: those of missing pieces, and wanted ones that are to be made or
    /// cut.
    fn files_to_write(&self, content: &Content, lacks: impl Fn(PieceIndex) -> bool) -> FileSet {
        let lacking = content.geometry().iter().filter(|piece| lacks(*piece));
        let mut files: FileSet = lacking.flat_map(|piece| content.files_of(piece)).collect();
        let to_shape = content.every_file().zip(content.spec.files.iter().zip(&self.stats));
        files.extend(to_shape.filter_map(|(file, (listed, stat))| {
            let is_shaped = stat.is_some_and(|stat| stat.length <= listed.length);
            (!is_shaped && content.is_wanted(file)).then_some(file)
        }));
        files
    }

    /// What is to be made before the torrent runs, or nothing.
    fn preparation(
        &self,
        content: &Content,
        lacks: impl Fn(PieceIndex) -> bool,
    ) -> Option<Preparation> {
        if !content.wants_something() {
            return None;
        }
        let written = self.files_to_write(content, lacks);
        let is_made = |(file, is_executable): &(FileIndex, bool)| {
            (written.has(*file) || *is_executable) && content.is_wanted(*file)
        };
        let files = content.every_file().zip(content.spec.files.iter().map(|file| file.executable));
        let files: Vec<FileIndex> = files.filter(is_made).map(|(file, _)| file).collect();
        let links = !content.spec.links.is_empty();
        (links || !files.is_empty()).then_some(Preparation { files, links, is_under_way: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::content::tests::content;

    fn stat(length: u64) -> Option<FileStat> {
        Some(FileStat::new(length, 7))
    }

    /// What is to be written where all pieces are missing.
    fn judge(claims: &mut Claims) -> Option<Verdict> {
        claims.judge(&content(), |_| true, |_| false)
    }

    fn found(stats: [Option<FileStat>; 3]) -> Claims {
        let mut claims = Claims::default();
        claims.found(&content(), stats.to_vec(), None);
        claims
    }

    #[test]
    fn files_that_are_to_be_made_are_named_as_ours_first() {
        let mut claims = found([None; 3]);
        assert_eq!(claims.checked(0), Some(false));
        let Some(Verdict::Allowed { places, is_news }) = judge(&mut claims) else {
            panic!("nothing is there")
        };
        assert!(is_news && places.len() == 3 && claims.ours().has(FileIndex(2)));
        assert_eq!(claims.checked(5), Some(true), "what is hashed from now on is not judged");
        assert_eq!(claims.release(&content()), places, "others may write there again");
        assert!(claims.release(&content()).is_empty(), "once");
    }

    #[test]
    fn what_is_ours_and_there_is_no_news() {
        let mut claims = Claims::default();
        claims.recall(&FileSet::all(3));
        let stats = [20_000, 10_000, 30_000].map(stat).to_vec();
        claims.found(&content(), stats, None);
        let verdict = judge(&mut claims);
        assert!(matches!(verdict, Some(Verdict::Allowed { is_news: false, .. })), "{verdict:?}");
    }

    #[test]
    fn a_file_with_other_content_is_refused_unless_it_may_be_overwritten() {
        let check = |overwrite| {
            let mut claims = Claims::default();
            let content = Content { overwrite, ..content() };
            claims.found(&content, vec![None, None, stat(30_000)], None);
            for piece in content.pieces_of(FileIndex(2)) {
                claims.count(&content, piece, Some(&DiskDone::HashMismatch));
            }
            judge(&mut claims)
        };
        let Some(Verdict::Refused { error, is_late }) = check(false) else { panic!("refused") };
        assert_eq!((error.kind, error.path), (DiskErrorKind::Foreign, "root/top/c".into()));
        assert!(!is_late && matches!(check(true), Some(Verdict::Allowed { is_news: true, .. })));
    }

    #[test]
    fn where_another_torrent_writes_nothing_is_written() {
        let mut claims = found([None; 3]);
        let verdict = claims.judge(&content(), |_| true, |path| path.ends_with("b"));
        let Some(Verdict::Refused { error, .. }) = verdict else { panic!("refused") };
        assert_eq!(error.path, PathBuf::from("root/top/b"));
    }

    #[test]
    fn a_check_leaves_out_what_a_short_file_cannot_have() {
        let content = content();
        let claims = found([stat(20_000), stat(10_000), stat(10_000)]);
        let mut check = Bitfield::full(4);
        claims.skip_short(&content, &mut check);
        assert_eq!(check.iter().collect::<Vec<_>>(), [PieceIndex(0), PieceIndex(1)]);
    }

    #[test]
    fn of_copied_files_those_pieces_are_hashed_whose_files_are_all_there() {
        let content = content();
        let mut claims = found([stat(20_000), None, None]);
        let have = Bitfield::new(4);
        let check = claims.copied(&content, &have, vec![stat(20_000), None, stat(30_000)]);
        assert_eq!(check.iter().collect::<Vec<_>>(), [PieceIndex(2), PieceIndex(3)]);
        assert!(claims.is_missing(FileIndex(1)) && !claims.is_missing(FileIndex(2)));
    }

    #[test]
    fn what_is_to_be_made_is_asked_for_until_it_is() {
        let content = content();
        let mut claims = found([None, stat(10_000), None]);
        claims.checked(1);
        assert_eq!(claims.prepare(&content, |_| false), 1, "pieces hashed");
        assert!(claims.is_to_prepare());
        let have = Bitfield::full(4);
        let missing = vec![FileIndex(0), FileIndex(2)];
        assert_eq!(claims.next_preparation(&content, &have), (missing.clone(), false));
        assert!(claims.is_preparing() && !claims.is_to_prepare(), "under way");
        claims.preparation_failed();
        assert!(claims.is_to_prepare());
        assert_eq!(claims.next_preparation(&content, &have).0, missing);
        assert!(claims.prepared() && !claims.prepared());
        assert!(claims.next_preparation(&content, &have).0.is_empty(), "all is whole");
    }

    #[test]
    fn of_a_removed_torrent_what_is_not_ours_stays() {
        let content = content();
        let mut claims = Claims::default();
        let mut ours = FileSet::default();
        ours.insert(FileIndex(1));
        claims.recall(&ours);
        let mut have = Bitfield::new(4);
        have.set(PieceIndex(0));
        have.set(PieceIndex(1));
        assert_eq!(claims.files_to_delete(&content, &have), [FileIndex(0), FileIndex(1)]);
    }
}
