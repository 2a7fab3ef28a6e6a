//! Resume data: any bytes are refused or read; what is read is written and read again as the same,
//! and what it claims is believed only of files that are there.
//!
//! An even first byte puts a valid header around the rest, so that not every input fails at the
//! checksum; an odd one takes the rest as the whole file.

use std::ops::Range;

use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::disk::{FileIndex, FileStat};
use bitswarm_core::piece::{InfoHash, PieceIndex};
use bitswarm_core::storage::resume::{Resume, ResumeError};

use super::input::Input;

const INFOHASH: InfoHash = InfoHash([7; 20]);

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let is_raw = input.flag();
    let body = input.rest();
    let file = if is_raw { body.to_vec() } else { with_header(body) };
    match Resume::decode(&file, INFOHASH) {
        Ok(resume) => check(&resume, file.len()),
        Err(error) => drop(error.to_string()),
    }
}

fn check(resume: &Resume, file_len: usize) {
    // Nothing takes less than a byte, and a piece takes a bit.
    assert!(resume.files.len() + resume.priorities.len() <= file_len);
    assert!(resume.pieces.len() as usize <= 8 * file_len);
    let encoded = resume.encode(INFOHASH);
    assert_eq!(Resume::decode(&encoded, INFOHASH).as_ref(), Ok(resume));
    assert_eq!(Resume::decode(&encoded, InfoHash([8; 20])), Err(ResumeError::OtherTorrent));
    let cut = Resume::decode(&encoded[..encoded.len() - 1], INFOHASH);
    assert_eq!(cut, Err(ResumeError::Damaged));

    // Each file has an equal share of the pieces.
    let pieces = resume.pieces.len();
    let files = u32::try_from(resume.files.len().max(1)).expect("there are fewer files than bytes");
    let share = pieces.div_ceil(files);
    let pieces_of = |file: FileIndex| -> Range<u32> {
        let start = file.0.saturating_mul(share).min(pieces);
        start..start.saturating_add(share).min(pieces)
    };
    let gone = vec![None; resume.files.len()];
    let touched = vec![Some(FileStat::new(1, i64::MAX)); resume.files.len()];
    for now in [&resume.files, &gone, &touched] {
        let trust = resume.trust(now, pieces, pieces_of);
        for piece in (0..pieces.min(2000)).map(PieceIndex) {
            let (have, check) = (trust.have.has(piece), trust.check.has(piece));
            assert!(!(have && check), "what is there is not hashed");
            assert!(!have || resume.pieces.has(piece), "nothing is there that was not claimed");
        }
        let missing = (0..).map(FileIndex).zip(now).filter(|(_, stat)| stat.is_none());
        for piece in missing.take(100).flat_map(|(file, _)| pieces_of(file)).map(PieceIndex) {
            assert!(!trust.check.has(piece), "a missing file is not hashed");
        }
    }
    let other = resume.trust(&resume.files, pieces + 1, |_| 0..0);
    assert_eq!(other.have, Bitfield::new(pieces + 1), "another number of pieces is not believed");
}

fn with_header(body: &[u8]) -> Vec<u8> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&INFOHASH.0);
    crc.update(body);
    let checksum = crc.finalize().to_le_bytes();
    [b"bswarmRD", &1_u16.to_le_bytes()[..], &checksum, &INFOHASH.0, body].concat()
}
