//! `verify`: compares data on disk with a torrent, hashing on all cores, and says which files
//! differ.
//!
//! A v1 piece may have bytes of several files. When such a piece is wrong, no hash tells which of
//! them is to blame: a file is said to differ only for pieces that are its own, and to be unsure
//! for those that it shares.

use std::fs;
use std::io;
use std::path::Path;

use bitswarm_core::disk::{DiskErrorKind, FileIndex, StoreFile, StoreSpec};
use bitswarm_core::metainfo::{File, Metainfo};
use bitswarm_core::piece::PieceIndex;
use bitswarm_core::storage::layout::Layout;
use serde_json::{Value, json};

use crate::args::Verify;
use crate::commands::info;
use crate::exit::{Code, Failure};
use crate::hashing::{Hashes, hash};
use crate::input;
use crate::output::{Object, print};
use crate::progress::Progress;
use crate::signals::Interrupt;

/// Looks at the files, hashes every piece, reports.
pub(crate) fn run(args: &Verify) -> Result<(), Failure> {
    let metainfo = input::load(&args.torrent)?;
    fs::read_dir(&args.data).map_err(|error| Failure::file("cannot read", &args.data, &error))?;
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting);

    let spec = metainfo.store_spec(&args.data);
    let layout = Layout::new(&metainfo);
    let mut files = look_at_files(&spec);
    let hashes = hash(metainfo.name(), spec, &layout, &progress, &interrupt)?;
    let wrong = wrong_pieces(&metainfo, hashes)?;
    blame(&mut files, &layout, &wrong);
    report(args, &metainfo, &files, wrong.len())
}

/// The pieces that are not what the torrent says. A file that cannot be read is a failure.
fn wrong_pieces(metainfo: &Metainfo, hashes: Hashes) -> Result<Vec<PieceIndex>, Failure> {
    use DiskErrorKind::{InTheWay, NotFound, Short};
    let mut wrong = Vec::new();
    for (piece, result) in metainfo.geometry().iter().zip(hashes) {
        match result {
            Ok(digest) if metainfo.piece_hash(piece) == Some(digest) => {}
            Ok(_) => wrong.push(piece),
            Err(error) if matches!(error.kind, InTheWay | NotFound | Short) => wrong.push(piece),
            Err(error) => return Err(Failure::new(Code::File, format!("cannot read {error}"))),
        }
    }
    Ok(wrong)
}

/// One file of the torrent as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    file: StoreFile,
    shape: Shape,
    /// Wrong pieces that have bytes of this file only.
    own_wrong: u32,
    /// Wrong pieces that have bytes of other files too.
    shared_wrong: u32,
}

/// What can be seen of a file without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Right,
    Missing,
    /// Of another length, in bytes.
    Length(u64),
    /// Something that is no plain file.
    InTheWay,
}

fn look_at_files(spec: &StoreSpec) -> Vec<Found> {
    let found = |file: &StoreFile| Found {
        shape: shape(&spec.root.join(&file.path), file.length),
        file: file.clone(),
        own_wrong: 0,
        shared_wrong: 0,
    };
    spec.files.iter().map(found).collect()
}

fn shape(path: &Path, length: u64) -> Shape {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Shape::InTheWay,
        Ok(metadata) if metadata.len() != length => Shape::Length(metadata.len()),
        Ok(_) => Shape::Right,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Shape::Missing,
        // A file where a directory should be. What cannot be read shows when it is hashed.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Shape::InTheWay,
        Err(_) => Shape::Right,
    }
}

/// Counts the wrong pieces of each file.
fn blame(files: &mut [Found], layout: &Layout, wrong: &[PieceIndex]) {
    for &piece in wrong {
        let spans = layout.piece_spans(piece);
        let mut touched: Vec<FileIndex> = spans.iter().filter_map(|span| span.file).collect();
        touched.dedup();
        let is_own = touched.len() == 1;
        for FileIndex(file) in touched {
            let Some(found) = files.get_mut(file as usize) else { continue };
            if is_own {
                found.own_wrong += 1;
            } else {
                found.shared_wrong += 1;
            }
        }
    }
}

impl Found {
    /// The word for programs.
    fn word(&self) -> &'static str {
        match self.shape {
            Shape::Missing => "missing",
            Shape::InTheWay => "not_a_file",
            Shape::Length(length) if length < self.file.length => "too_short",
            Shape::Length(_) => "too_long",
            Shape::Right if self.own_wrong > 0 => "differs",
            Shape::Right if self.shared_wrong > 0 => "unsure",
            Shape::Right => "ok",
        }
    }

    /// What is wrong with it, for people; `None` if nothing is.
    fn complaint(&self) -> Option<String> {
        let length = self.file.length;
        Some(match (self.word(), self.shape) {
            ("ok", _) => return None,
            ("unsure", _) => {
                format!(
                    "may differ: {} that it shares with others wrong",
                    pieces(self.shared_wrong)
                )
            }
            ("differs", _) => format!("differs: {} wrong", pieces(self.own_wrong)),
            ("not_a_file", _) => "is not a plain file".to_owned(),
            (_, Shape::Length(is)) => format!("has {is} bytes instead of {length}"),
            _ => "is missing".to_owned(),
        })
    }

    fn to_json(&self, path: &str) -> Value {
        json!({
            "path": path,
            "length": self.file.length,
            "status": self.word(),
            "bad_pieces": self.own_wrong + self.shared_wrong,
        })
    }
}

fn pieces(count: u32) -> String {
    if count == 1 { "1 piece".to_owned() } else { format!("{count} pieces") }
}

fn report(
    args: &Verify,
    metainfo: &Metainfo,
    files: &[Found],
    wrong: usize,
) -> Result<(), Failure> {
    let total = metainfo.geometry().pieces() as usize;
    let right = total - wrong;
    let bad = files.iter().filter(|found| found.word() != "ok").count();
    if args.reporting.json {
        // As `info` has them: the files on disk are those, in the same order.
        let paths = info::listed(metainfo).map(File::path);
        let files = files.iter().zip(paths).map(|(found, path)| found.to_json(path));
        Object::new()
            .with("name", metainfo.name())
            .with("infohash_v1", metainfo.infohash().to_string())
            .with("ok", bad == 0)
            .with("pieces", total)
            .with("pieces_ok", right)
            .with("files", files.collect::<Vec<_>>())
            .print()?;
    } else {
        for found in files {
            if let Some(complaint) = found.complaint() {
                print(&format!("{}: {complaint}", found.file.path.display()))?;
            }
        }
        print(&format!("{}: {right} of {total} pieces are right", metainfo.name()))?;
    }
    if bad == 0 {
        return Ok(());
    }
    let (data, name, of) = (args.data.display(), metainfo.name(), files.len());
    Err(Failure::new(
        Code::Mismatch,
        format!(
            "{name} in {data} does not match the torrent in {bad} of {of} files; \
             bitswarm download -o {data} fetches what is missing or wrong"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use bitswarm_core::piece::Geometry;

    use super::*;

    fn found(length: u64) -> Found {
        let file = StoreFile { path: "f".into(), length, executable: false };
        Found { file, shape: Shape::Right, own_wrong: 0, shared_wrong: 0 }
    }

    #[test]
    fn a_wrong_piece_is_blamed_on_its_only_file_and_leaves_sharers_unsure() {
        // Pieces of 10 bytes: 0 is the first file's, 1 is shared by all, 2 is the third's.
        let lengths = [15, 2, 13];
        let geometry = Geometry::new(30, 10).unwrap();
        let layout = Layout::from_parts(geometry, lengths.map(|l| (l, true))).unwrap();
        let mut files = lengths.map(found);
        blame(&mut files, &layout, &[PieceIndex(0), PieceIndex(1)]);
        assert_eq!(files.each_ref().map(Found::word), ["differs", "unsure", "unsure"]);
        assert_eq!((files[0].own_wrong, files[0].shared_wrong), (1, 1));
    }

    #[test]
    fn a_file_of_the_wrong_length_is_bad_though_its_pieces_are_right() {
        let mut long = found(5);
        long.shape = Shape::Length(6);
        assert_eq!(long.word(), "too_long");
        assert_eq!(long.complaint().unwrap(), "has 6 bytes instead of 5");
        assert_eq!(found(5).complaint(), None);
    }
}
