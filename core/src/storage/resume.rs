//! Resume data: which pieces are on disk, remembered over a restart.
//!
//! What is claimed here was verified and flushed before it was recorded, so it holds after a crash
//! too (S13). Files are recognised by length and the times of modification and change; a piece that
//! touches a file changed by somebody else is hashed again. After an unclean stop our own last writes
//! made some files newer than recorded: such a file keeps its claimed pieces if it was last written
//! about when we were.
//!
//! It also says which files are ours to write ([`foreign`](super::foreign)): it is recorded before the
//! first of them is made.
//!
//! The form is our own: magic, version, checksum, infohash, then a body in postcard's encoding.
//! Data that is broken in any way means a full check, never a lost torrent. Who writes it, when,
//! and whether atomically is not decided here.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bitfield::Bitfield;
use crate::disk::{FileIndex, FileStat};
use crate::piece::{InfoHash, MAX_PIECES, PieceIndex};
use crate::priority::FilePriority;
use crate::storage::file_set::FileSet;
use crate::time::UnixTime;

const MAGIC: [u8; 8] = *b"bswarmRD";
/// Of everything after the magic.
const VERSION: u16 = 2;
/// An earlier form, which is still read: it knew neither times of change nor whose a file is.
const VERSION_1: u16 = 1;
/// Magic, version, checksum, infohash.
const HEADER_LEN: usize = 8 + 2 + 4 + 20;
/// After the body of a torrent that was complete at some time; absent otherwise, as in what earlier
/// versions wrote.
const WAS_COMPLETE: u8 = 1;
/// How far a clock is set back in daily life (chosen).
const CLOCK_STEP_SECS: u64 = 3600;
/// How long after the last save a file may have been written by us before we died (chosen: a save
/// follows within seconds of a write, but a disk may be slow).
const LAST_WRITES_SECS: u64 = 60;

/// What is remembered of a torrent's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// Pieces that were verified and flushed.
    pub pieces: Bitfield,
    /// The files as they were then, in the store's order; `None` where there was none.
    pub files: Vec<Option<FileStat>>,
    /// The files that we made, are about to make, or were allowed to write.
    pub ours: FileSet,
    /// Symbolic links that we make, relative to the root: a later session knows by it that they are not the
    /// user's.
    pub links: Vec<PathBuf>,
    /// Bytes of blocks sent, ever.
    pub uploaded_bytes: u64,
    /// Bytes of blocks received, ever.
    pub downloaded_bytes: u64,
    /// The user's choice of files; empty if all are [`FilePriority::Normal`].
    pub priorities: Vec<FilePriority>,
    /// When this was recorded.
    pub saved_at: UnixTime,
    /// Whether nothing was written after this was recorded.
    pub stopped_cleanly: bool,
    /// Whether the torrent was complete at some time, so that trackers were told.
    pub was_complete: bool,
}

/// What resume data and files together tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    /// Pieces that are there, without hashing.
    pub have: Bitfield,
    /// Pieces that may be there: to be hashed.
    pub check: Bitfield,
}

/// Why resume data is of no use. All content is to be checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResumeError {
    /// It is something else.
    NotResumeData,
    /// It was written by another version of bitswarm, in this version of the form.
    UnknownVersion(u16),
    /// It is another torrent's.
    OtherTorrent,
    /// It is cut off, or its checksum does not fit.
    Damaged,
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResumeError::NotResumeData => f.write_str("not resume data")?,
            ResumeError::UnknownVersion(version) => {
                write!(f, "resume data of unknown version {version}")?;
            }
            ResumeError::OtherTorrent => f.write_str("resume data of another torrent")?,
            ResumeError::Damaged => f.write_str("damaged resume data")?,
        }
        f.write_str("; all files are checked instead")
    }
}

impl std::error::Error for ResumeError {}

/// What is encoded; the bitfield in the wire's form.
#[derive(Serialize, Deserialize)]
struct Body {
    piece_count: u32,
    pieces: Vec<u8>,
    files: Vec<Option<FileStat>>,
    ours: FileSet,
    links: Vec<PathBuf>,
    uploaded_bytes: u64,
    downloaded_bytes: u64,
    priorities: Vec<FilePriority>,
    saved_at: UnixTime,
    stopped_cleanly: bool,
}

/// The same in version 1: of each file length and time of modification.
#[derive(Serialize, Deserialize)]
struct BodyV1 {
    piece_count: u32,
    pieces: Vec<u8>,
    files: Vec<Option<(u64, i64)>>,
    uploaded_bytes: u64,
    downloaded_bytes: u64,
    priorities: Vec<FilePriority>,
    saved_at: UnixTime,
    stopped_cleanly: bool,
}

impl From<BodyV1> for Body {
    fn from(body: BodyV1) -> Self {
        // No file has these times, so each is hashed once.
        let stat = |(length, modified_ns)| FileStat {
            changed_ns: i64::MIN,
            ..FileStat::new(length, modified_ns)
        };
        Body {
            piece_count: body.piece_count,
            pieces: body.pieces,
            ours: FileSet::all(body.files.len() as u32),
            links: Vec::new(),
            files: body.files.into_iter().map(|file| file.map(stat)).collect(),
            uploaded_bytes: body.uploaded_bytes,
            downloaded_bytes: body.downloaded_bytes,
            priorities: body.priorities,
            saved_at: body.saved_at,
            stopped_cleanly: body.stopped_cleanly,
        }
    }
}

impl Resume {
    /// The form in which it is saved.
    pub fn encode(&self, infohash: InfoHash) -> Bytes {
        let body = Body {
            piece_count: self.pieces.len(),
            pieces: self.pieces.to_bytes(),
            files: self.files.clone(),
            ours: self.ours.clone(),
            links: self.links.clone(),
            uploaded_bytes: self.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes,
            priorities: self.priorities.clone(),
            saved_at: self.saved_at,
            stopped_cleanly: self.stopped_cleanly,
        };
        let mut body =
            postcard::to_allocvec(&body).expect("memory is the only thing that can lack");
        if self.was_complete {
            body.push(WAS_COMPLETE);
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(checksum(&infohash.0, &body).to_le_bytes());
        bytes.extend(infohash.0);
        bytes.extend(body);
        bytes.into()
    }

    /// Reads what [`encode`](Self::encode) wrote for the same torrent.
    pub fn decode(bytes: &[u8], infohash: InfoHash) -> Result<Self, ResumeError> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(ResumeError::NotResumeData)?;
        if *magic != MAGIC {
            return Err(ResumeError::NotResumeData);
        }
        let (version, rest) = rest.split_first_chunk().ok_or(ResumeError::Damaged)?;
        let version = u16::from_le_bytes(*version);
        if ![VERSION, VERSION_1].contains(&version) {
            return Err(ResumeError::UnknownVersion(version));
        }
        let (sum, rest) = rest.split_first_chunk().ok_or(ResumeError::Damaged)?;
        let (of_torrent, body) = rest.split_first_chunk().ok_or(ResumeError::Damaged)?;
        if u32::from_le_bytes(*sum) != checksum(of_torrent, body) {
            return Err(ResumeError::Damaged);
        }
        if InfoHash(*of_torrent) != infohash {
            return Err(ResumeError::OtherTorrent);
        }
        let resume = match version {
            VERSION_1 => Self::from_body_v1(body),
            _ => Self::from_body(body),
        };
        resume.ok_or(ResumeError::Damaged)
    }

    /// Whether it was saved later than it is now: by a clock that was wrong, or by a forger. What it
    /// says is there is to be hashed (defence 48).
    pub fn is_from_the_future(&self, now: UnixTime) -> bool {
        self.saved_at.0 > now.0.saturating_add(CLOCK_STEP_SECS)
    }

    /// What can be believed, given the files as they are now (in the store's order), a torrent of
    /// `piece_count` pieces, and the pieces that touch a file. O(pieces).
    ///
    /// A piece that touches a missing file is neither there nor to be hashed.
    pub fn trust(
        &self,
        now: &[Option<FileStat>],
        piece_count: u32,
        pieces_of: impl Fn(FileIndex) -> Range<u32>,
    ) -> Trust {
        if self.files.len() != now.len() || self.pieces.len() != piece_count {
            return Trust::check_all(now, piece_count, pieces_of);
        }
        let mut trust =
            Trust { have: self.pieces.clone(), check: Bitfield::new(self.pieces.len()) };
        let pairs = self.files.iter().zip(now);
        for (file, (recorded, now)) in (0..).map(FileIndex).zip(pairs) {
            if !self.is_unchanged(*recorded, *now) {
                for piece in pieces_of(file).map(PieceIndex) {
                    trust.have.clear(piece);
                    trust.check.set(piece);
                }
            }
        }
        trust.check_nothing_of_missing(now, pieces_of);
        trust
    }

    fn is_unchanged(&self, recorded: Option<FileStat>, now: Option<FileStat>) -> bool {
        let now = match (recorded, now) {
            (None, None) => return true,
            (Some(recorded), Some(now)) if now.is_as(&recorded) => return true,
            (_, None) => return false,
            (_, Some(now)) => now,
        };
        let no_file = FileStat::new(0, i64::MIN);
        let recorded = recorded.unwrap_or(no_file);
        let last_write_secs = self.saved_at.0.saturating_add(LAST_WRITES_SECS);
        let last_write_ns = i128::from(last_write_secs) * 1_000_000_000;
        !self.stopped_cleanly
            && now.length >= recorded.length
            && now.modified_ns >= recorded.modified_ns
            && i128::from(now.modified_ns.max(now.changed_ns)) <= last_write_ns
    }

    fn from_body_v1(body: &[u8]) -> Option<Self> {
        let (body, rest) = postcard::take_from_bytes::<BodyV1>(body).ok()?;
        if rest.is_empty() { Self::checked(body.into(), false) } else { None }
    }

    fn from_body(body: &[u8]) -> Option<Self> {
        let (body, rest) = postcard::take_from_bytes::<Body>(body).ok()?;
        let was_complete = rest == [WAS_COMPLETE];
        if rest.is_empty() || was_complete { Self::checked(body, was_complete) } else { None }
    }

    fn checked(body: Body, was_complete: bool) -> Option<Self> {
        if body.piece_count > MAX_PIECES {
            return None;
        }
        Some(Resume {
            pieces: Bitfield::from_bytes(&body.pieces, body.piece_count).ok()?,
            files: body.files,
            ours: body.ours,
            links: body.links,
            uploaded_bytes: body.uploaded_bytes,
            downloaded_bytes: body.downloaded_bytes,
            priorities: body.priorities,
            saved_at: body.saved_at,
            stopped_cleanly: body.stopped_cleanly,
            was_complete,
        })
    }
}

impl Trust {
    /// Without resume data: every piece all of whose files are there is to be hashed.
    pub fn check_all(
        now: &[Option<FileStat>],
        piece_count: u32,
        pieces_of: impl Fn(FileIndex) -> Range<u32>,
    ) -> Self {
        let mut trust =
            Trust { have: Bitfield::new(piece_count), check: Bitfield::full(piece_count) };
        trust.check_nothing_of_missing(now, pieces_of);
        trust
    }

    fn check_nothing_of_missing(
        &mut self,
        now: &[Option<FileStat>],
        pieces_of: impl Fn(FileIndex) -> Range<u32>,
    ) {
        let missing = (0..).map(FileIndex).zip(now).filter(|(_, now)| now.is_none());
        for piece in missing.flat_map(|(file, _)| pieces_of(file)).map(PieceIndex) {
            self.check.clear(piece);
        }
    }
}

fn checksum(infohash: &[u8; 20], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(infohash);
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use quickcheck::{TestResult, quickcheck};

    use super::*;

    const HASH: InfoHash = InfoHash([7; 20]);
    const SAVED_AT: UnixTime = UnixTime(1_800_000_000);

    fn stat(length: u64, age_secs: i64) -> Option<FileStat> {
        Some(FileStat::new(length, (SAVED_AT.0 as i64 - age_secs) * 1_000_000_000))
    }

    /// Ten pieces; the files touch pieces 0-3, 3-6, none and 7-9. All but piece 5 are there.
    fn resume(stopped_cleanly: bool) -> Resume {
        let mut pieces = Bitfield::full(10);
        pieces.clear(PieceIndex(5));
        Resume {
            pieces,
            files: vec![stat(100, 50), stat(90, 40), stat(0, 60), stat(80, 30)],
            ours: [0, 3].map(FileIndex).into_iter().collect(),
            links: vec!["album/link".into()],
            uploaded_bytes: 12,
            downloaded_bytes: u64::MAX,
            priorities: vec![FilePriority::High, FilePriority::Skip],
            saved_at: SAVED_AT,
            stopped_cleanly,
            was_complete: false,
        }
    }

    fn pieces_of(file: FileIndex) -> Range<u32> {
        [0..4, 3..7, 0..0, 7..10][file.0 as usize].clone()
    }

    fn trust(resume: &Resume, file: usize, now: Option<FileStat>) -> (Vec<u32>, Vec<u32>) {
        let mut files = resume.files.clone();
        files[file] = now;
        let trust = resume.trust(&files, 10, pieces_of);
        let list = |field: Bitfield| field.iter().map(|piece| piece.0).collect();
        (list(trust.have), list(trust.check))
    }

    #[test]
    fn what_was_encoded_is_decoded_for_the_same_torrent_only() {
        let bytes = resume(true).encode(HASH);
        assert_eq!(Resume::decode(&bytes, HASH), Ok(resume(true)));
        assert_eq!(Resume::decode(&bytes, InfoHash([8; 20])), Err(ResumeError::OtherTorrent));
    }

    #[test]
    fn other_data_is_told_from_damaged_data_and_other_versions() {
        let bytes = resume(true).encode(HASH);
        assert_eq!(Resume::decode(b"", HASH), Err(ResumeError::NotResumeData));
        assert_eq!(Resume::decode(b"d8:announce0:e", HASH), Err(ResumeError::NotResumeData));
        assert_eq!(Resume::decode(&bytes[..20], HASH), Err(ResumeError::Damaged));
        let mut newer = bytes.to_vec();
        newer[8] = 3;
        assert_eq!(Resume::decode(&newer, HASH), Err(ResumeError::UnknownVersion(3)));
    }

    #[test]
    fn data_of_the_first_version_names_all_files_and_has_each_hashed() {
        let new = resume(true);
        let old = BodyV1 {
            piece_count: 10,
            pieces: new.pieces.to_bytes(),
            files: new.files.iter().map(|f| f.map(|f| (f.length, f.modified_ns))).collect(),
            uploaded_bytes: 12,
            downloaded_bytes: 13,
            priorities: Vec::new(),
            saved_at: SAVED_AT,
            stopped_cleanly: true,
        };
        let body = postcard::to_allocvec(&old).unwrap();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION_1.to_le_bytes());
        bytes.extend(checksum(&HASH.0, &body).to_le_bytes());
        bytes.extend(HASH.0);
        bytes.extend(body);
        let read = Resume::decode(&bytes, HASH).unwrap();
        assert_eq!((&read.pieces, read.uploaded_bytes), (&new.pieces, 12));
        assert!((0..4).all(|file| read.ours.has(FileIndex(file))));
        let trust = read.trust(&new.files, 10, pieces_of);
        assert_eq!((trust.have.count(), trust.check.count()), (0, 10));
    }

    #[test]
    fn a_file_whose_time_of_change_differs_is_hashed_though_size_and_time_were_kept() {
        let mut kept = stat(90, 40).unwrap();
        kept.changed_ns += 1;
        assert_eq!(trust(&resume(true), 1, Some(kept)).1, [3, 4, 5, 6]);
        let linked = FileStat { links: 2, id: 9, ..stat(90, 40).unwrap() };
        assert_eq!(trust(&resume(true), 1, Some(linked)).1, [], "its content is the same");
    }

    #[test]
    fn data_that_was_saved_hours_from_now_is_from_the_future() {
        let resume = resume(true);
        assert!(!resume.is_from_the_future(SAVED_AT));
        assert!(!resume.is_from_the_future(UnixTime(SAVED_AT.0 - CLOCK_STEP_SECS)));
        assert!(resume.is_from_the_future(UnixTime(SAVED_AT.0 - CLOCK_STEP_SECS - 1)));
        assert!(!resume.is_from_the_future(UnixTime(u64::MAX)));
    }

    #[test]
    fn unchanged_files_keep_their_pieces() {
        let (have, check) = trust(&resume(true), 0, stat(100, 50));
        assert_eq!((have, check), (vec![0, 1, 2, 3, 4, 6, 7, 8, 9], vec![]));
    }

    #[test]
    fn every_piece_of_a_changed_file_is_hashed_again() {
        let shorter = trust(&resume(true), 1, stat(89, 40));
        assert_eq!(shorter, (vec![0, 1, 2, 7, 8, 9], vec![3, 4, 5, 6]));
        assert_eq!(trust(&resume(true), 1, stat(90, 39)), shorter);
    }

    #[test]
    fn pieces_of_a_missing_file_are_gone_without_hashing() {
        assert_eq!(trust(&resume(true), 3, None), (vec![0, 1, 2, 3, 4, 6], vec![]));
        assert_eq!(trust(&resume(true), 2, None).0.len(), 9, "an empty file holds nothing");
    }

    #[test]
    fn a_file_that_appeared_is_hashed() {
        let mut resume = resume(true);
        resume.files[3] = None;
        (7..10).for_each(|piece| _ = resume.pieces.clear(PieceIndex(piece)));
        assert_eq!(trust(&resume, 3, stat(80, 30)).1, [7, 8, 9]);
    }

    #[test]
    fn after_an_unclean_stop_our_own_last_writes_change_nothing() {
        let ours = trust(&resume(false), 1, stat(95, -2));
        assert_eq!(ours, (vec![0, 1, 2, 3, 4, 6, 7, 8, 9], vec![]));
        let later = trust(&resume(false), 1, stat(95, -61));
        assert_eq!(later, (vec![0, 1, 2, 7, 8, 9], vec![3, 4, 5, 6]), "somebody wrote after us");
        let shorter = trust(&resume(false), 1, stat(89, -2));
        assert_eq!(shorter, later, "we never shorten a file");
        let older = trust(&resume(false), 1, stat(90, 41));
        assert_eq!(older, later, "nor make it older");
    }

    #[test]
    fn data_that_does_not_fit_the_torrent_means_a_full_check() {
        let files = [stat(1, 1), None, stat(1, 1)];
        let trust = resume(true).trust(&files, 10, pieces_of);
        assert!(trust.have.is_none());
        assert_eq!(trust.check.count(), 6, "all but those of the missing file");
        let other_pieces = resume(true).trust(&resume(true).files, 9, pieces_of);
        assert_eq!((other_pieces.have.len(), other_pieces.check.count()), (9, 9));
    }

    quickcheck! {
        fn a_changed_byte_is_noticed(at: usize, by: u8) -> TestResult {
            let mut bytes = resume(false).encode(HASH).to_vec();
            if by == 0 {
                return TestResult::discard();
            }
            let at = at % bytes.len();
            bytes[at] ^= by;
            TestResult::from_bool(Resume::decode(&bytes, HASH).is_err())
        }

        fn a_cut_is_noticed(at: usize) -> bool {
            let bytes = resume(false).encode(HASH);
            Resume::decode(&bytes[..at % bytes.len()], HASH).is_err()
        }

        fn that_it_was_complete_survives(was_complete: bool) -> bool {
            let resume = Resume { was_complete, ..resume(true) };
            Resume::decode(&resume.encode(HASH), HASH) == Ok(resume)
        }

        fn arbitrary_bodies_do_no_harm(body: Vec<u8>) -> bool {
            Resume::from_body(&body).is_none_or(|resume| resume.pieces.len() <= MAX_PIECES)
        }

        fn numbers_survive(files: Vec<Option<(u64, i64)>>, bytes: (u64, u64), at: u64) -> bool {
            let stat = |(length, modified_ns)| FileStat::new(length, modified_ns);
            let resume = Resume {
                files: files.into_iter().map(|file| file.map(stat)).collect(),
                uploaded_bytes: bytes.0,
                downloaded_bytes: bytes.1,
                saved_at: UnixTime(at),
                ..resume(true)
            };
            Resume::decode(&resume.encode(HASH), HASH) == Ok(resume)
        }
    }
}
