//! Whether a file that lies where one of the torrent's belongs may be written.
//!
//! A torrent names files in a directory of the user's, so anything may be there already. Ours is what
//! resume data says that we made, or were allowed to write. Everything else is somebody else's until
//! its content proves that it is this torrent's, downloaded in part by another client or by us before
//! the resume data was lost: each piece that lies wholly inside it is right or all zeros, and at least
//! one that is not all zeros is right. Padding (BEP 47, BEP 52) belongs to the file before it.
//!
//! Pure: who looks at the files, hashes them and asks is `torrent::disk::claims`. A file that needs not
//! be written is never judged, whatever it is.

use std::fmt;

use crate::disk::{FileIndex, FileStat};
use crate::storage::file_set::FileSet;
use crate::storage::resume::Resume;

/// Whose a file is, as far as resume data tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Ours: we made it, or were allowed to write it.
    Ours,
    /// One of ours bore this name, and this is another file.
    Replaced,
    /// Resume data does not know it.
    Unknown,
}

/// How many of the pieces that lie wholly inside a file are what.
///
/// A piece that the file is too short for counts as nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Right, and not all zeros.
    pub right: u32,
    /// All zeros, right or not.
    pub zero: u32,
    /// Neither right nor all zeros.
    pub wrong: u32,
    /// Without a hash to compare with: the piece layers of v2 are not known yet.
    pub unknown: u32,
}

/// What is known of a file that is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// Whose it is.
    pub origin: Origin,
    /// How it lies there now.
    pub stat: FileStat,
    /// Its length in the torrent, in bytes.
    pub length: u64,
    /// Its pieces; of no account if it is ours.
    pub pieces: Tally,
}

/// Why a file is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Another torrent of the session writes it.
    OtherTorrent,
    /// It has other names besides: whatever is written to it changes what they stand for.
    Linked {
        /// How many names it has.
        names: u32,
    },
    /// It goes on where the torrent's file ends.
    TooLong {
        /// Bytes that it has.
        is: u64,
        /// Bytes that it should have.
        should_be: u64,
    },
    /// It has something else than the torrent.
    Differs {
        /// Pieces inside it that are neither right nor all zeros.
        wrong: u32,
        /// Those that are right.
        right: u32,
    },
    /// Nothing in it shows that it is the torrent's.
    Unproven,
    /// The hashes that it would be compared with are not known yet.
    NoHashes,
}

impl FileFacts {
    /// Whether the file may be written.
    pub fn may_write(&self) -> Result<(), Refusal> {
        if self.origin == Origin::Ours {
            return Ok(());
        }
        let Tally { right, wrong, unknown, .. } = self.pieces;
        if self.stat.links > 1 {
            return Err(Refusal::Linked { names: self.stat.links });
        }
        if self.stat.length > self.length {
            return Err(Refusal::TooLong { is: self.stat.length, should_be: self.length });
        }
        match self.origin {
            // Part of it is as we left it: an edition of ours, as editors save it.
            Origin::Replaced if right > 0 => Ok(()),
            _ if wrong > 0 => Err(Refusal::Differs { wrong, right }),
            _ if unknown > 0 => Err(Refusal::NoHashes),
            _ if right == 0 => Err(Refusal::Unproven),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::OtherTorrent => f.write_str("another torrent writes it"),
            Refusal::Linked { names } => write!(f, "it has {names} names (hard links)"),
            Refusal::TooLong { is: 1, should_be } => {
                write!(f, "it has 1 byte, the torrent's {should_be}")
            }
            Refusal::TooLong { is, should_be } => {
                write!(f, "it has {is} bytes, the torrent's {should_be}")
            }
            Refusal::Differs { wrong, right } => {
                let (pieces, are_not) =
                    if wrong == 1 { ("piece", "is") } else { ("pieces", "are") };
                let are = if right == 1 { "is" } else { "are" };
                write!(f, "{wrong} {pieces} in it {are_not} not the torrent's, {right} {are}")
            }
            Refusal::Unproven => f.write_str("nothing in it is known to be the torrent's"),
            Refusal::NoHashes => {
                f.write_str("it cannot be compared before its piece layers are known")
            }
        }
    }
}

/// Whose the file is that lies at this place now. `ours` are the files that we made or were allowed to
/// write, `resume` what was recorded of them last, if there is something.
pub fn origin(ours: &FileSet, resume: Option<&Resume>, file: FileIndex, now: &FileStat) -> Origin {
    if !ours.has(file) {
        return Origin::Unknown;
    }
    let Some(resume) = resume else { return Origin::Ours };
    match resume.files.get(file.0 as usize) {
        Some(Some(recorded)) if is_another(recorded, now) => Origin::Replaced,
        // It was not there when we had written for the last time.
        Some(None) if resume.stopped_cleanly => Origin::Unknown,
        _ => Origin::Ours,
    }
}

/// Ids tell files apart only where the system has lasting ones; one that looks untouched is the same.
fn is_another(recorded: &FileStat, now: &FileStat) -> bool {
    let have_ids = recorded.id != 0 && now.id != 0;
    have_ids && recorded.id != now.id && !now.is_as(recorded)
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;
    use crate::bitfield::Bitfield;
    use crate::time::UnixTime;

    fn tally(right: u32, zero: u32, wrong: u32) -> Tally {
        Tally { right, zero, wrong, unknown: 0 }
    }

    fn facts(origin: Origin, length: u64, pieces: Tally) -> FileFacts {
        FileFacts { origin, stat: FileStat::new(length, 1), length: 100, pieces }
    }

    fn unknown(length: u64, pieces: Tally) -> Result<(), Refusal> {
        facts(Origin::Unknown, length, pieces).may_write()
    }

    #[test]
    fn what_is_ours_may_be_written_whatever_is_in_it() {
        let mut ours = facts(Origin::Ours, 500, tally(0, 0, 9));
        ours.stat.links = 7;
        assert_eq!(ours.may_write(), Ok(()));
    }

    #[test]
    fn a_partial_download_of_another_client_may_be_written() {
        assert_eq!(unknown(100, tally(1, 9, 0)), Ok(()));
        assert_eq!(unknown(10, tally(1, 0, 0)), Ok(()), "it ends early");
        assert_eq!(unknown(100, tally(10, 0, 0)), Ok(()));
    }

    #[test]
    fn one_piece_of_something_else_keeps_a_file_from_being_written() {
        assert_eq!(unknown(100, tally(9, 0, 1)), Err(Refusal::Differs { wrong: 1, right: 9 }));
        assert_eq!(unknown(100, tally(0, 9, 1)), Err(Refusal::Differs { wrong: 1, right: 0 }));
    }

    #[test]
    fn a_file_without_any_proof_is_not_written() {
        for (length, pieces) in [(0, tally(0, 0, 0)), (9, tally(0, 0, 0)), (100, tally(0, 10, 0))] {
            assert_eq!(unknown(length, pieces), Err(Refusal::Unproven), "{length}");
        }
    }

    #[test]
    fn a_file_that_goes_on_is_not_cut() {
        let refused = Refusal::TooLong { is: 101, should_be: 100 };
        assert_eq!(unknown(101, tally(10, 0, 0)), Err(refused));
        let replaced = facts(Origin::Replaced, 101, tally(10, 0, 0));
        assert_eq!(replaced.may_write(), Err(refused));
    }

    #[test]
    fn a_file_with_other_names_is_not_written() {
        let mut linked = facts(Origin::Unknown, 100, tally(9, 1, 0));
        linked.stat.links = 2;
        assert_eq!(linked.may_write(), Err(Refusal::Linked { names: 2 }));
    }

    #[test]
    fn a_file_whose_hashes_are_not_known_waits_for_them() {
        let pieces = Tally { unknown: 1, ..tally(3, 0, 0) };
        assert_eq!(unknown(100, pieces), Err(Refusal::NoHashes));
    }

    #[test]
    fn an_edition_of_our_file_may_be_written_and_another_file_may_not() {
        assert_eq!(facts(Origin::Replaced, 100, tally(9, 0, 1)).may_write(), Ok(()));
        let other = facts(Origin::Replaced, 100, tally(0, 0, 1)).may_write();
        assert_eq!(other, Err(Refusal::Differs { wrong: 1, right: 0 }));
        let short = facts(Origin::Replaced, 10, tally(0, 0, 0)).may_write();
        assert_eq!(short, Err(Refusal::Unproven));
    }

    fn resume(file: Option<FileStat>, stopped_cleanly: bool) -> Resume {
        Resume {
            pieces: Bitfield::new(1),
            files: vec![file],
            ours: FileSet::default(),
            links: Vec::new(),
            uploaded_bytes: 0,
            downloaded_bytes: 0,
            priorities: Vec::new(),
            saved_at: UnixTime(10),
            stopped_cleanly,
            was_complete: false,
        }
    }

    fn stat(id: u64, modified_ns: i64) -> FileStat {
        FileStat { id, ..FileStat::new(100, modified_ns) }
    }

    #[test]
    fn resume_data_tells_whose_a_file_is() {
        let file = FileIndex(0);
        let (mut ours, now) = (FileSet::default(), stat(5, 3));
        assert_eq!(origin(&ours, Some(&resume(Some(now), true)), file, &now), Origin::Unknown);
        ours.insert(file);
        let of = |resume: &Resume| origin(&ours, Some(resume), file, &now);
        assert_eq!(of(&resume(Some(stat(5, 2)), true)), Origin::Ours, "changed in place");
        assert_eq!(of(&resume(Some(stat(6, 2)), true)), Origin::Replaced);
        assert_eq!(of(&resume(Some(stat(6, 3)), true)), Origin::Ours, "ids did not last");
        assert_eq!(of(&resume(Some(stat(0, 2)), true)), Origin::Ours, "no ids");
        assert_eq!(of(&resume(None, false)), Origin::Ours, "we died before we noted it");
        assert_eq!(of(&resume(None, true)), Origin::Unknown, "it came later");
    }

    quickcheck! {
        /// The rule in the words of the contract, for all that resume data does not know.
        fn nothing_is_written_without_proof(right: u8, zero: u8, wrong: u8, links: u8) -> bool {
            let pieces = tally(right.into(), zero.into(), wrong.into());
            let mut facts = facts(Origin::Unknown, 50, pieces);
            facts.stat.links = u32::from(links).max(1);
            let is_proved = wrong == 0 && right > 0 && links <= 1;
            facts.may_write().is_ok() == is_proved
        }
    }
}
