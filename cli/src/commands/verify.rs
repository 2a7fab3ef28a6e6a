//! `verify`: compares data on disk with a torrent, hashing on all cores, and says which files and
//! pieces differ. Of a hybrid, pieces are compared with the hashes of both versions.
//!
//! A v1 piece may have bytes of several files. When such a piece is wrong, no hash tells which of
//! them is to blame: a file is said to differ only for pieces that are its own, and to be unsure
//! for those that it shares.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitswarm_core::disk::{DiskError, DiskErrorKind, FileIndex, StoreFile, StoreSpec};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::piece::PieceIndex;
use bitswarm_core::storage::layout::Layout;
use bitswarm_runtime_common::disk;
use bitswarm_runtime_common::hashing::PieceHash;
use serde_json::{Value, json};

use crate::args::{Verify, Version};
use crate::content;
use crate::describe;
use crate::exit::{Code, Failure};
use crate::hashing::{Hashes, hash};
use crate::input;
use crate::known::{self, Known};
use crate::load::root_of;
use crate::output::{Object, print};
use crate::progress::Progress;
use crate::signals::Interrupt;
use crate::text::shell_word;
use crate::units::counted;

/// Looks at the files, hashes every piece, reports.
pub(crate) fn run(args: &Verify) -> Result<(), Failure> {
    let metainfo = input::load(&args.torrent)?;
    let protocol = protocol(args, &metainfo)?;
    let data = &root_of(&metainfo, &args.data);
    fs::read_dir(data).map_err(|error| Failure::file("cannot read", data, &error))?;
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting, args.painting);

    let made = known::links_of_torrents(args.state_dir.as_deref(), data);
    let follow_top_link = !made.contains(OsStr::new(metainfo.name()));
    let named = Arc::new(StoreSpec { follow_top_link, ..metainfo.store_spec(data) });
    let spec = (*disk::follow_top_link(named.clone())).clone();
    let layout = metainfo.layout();
    let mut files = look_at_files(&metainfo, &named, &spec);
    let hashes = hash(metainfo.name(), spec, &layout, protocol, &progress, &interrupt)?;
    let Wrong { pieces, contradictions, unreadable } = wrong_pieces(&metainfo, hashes);
    for found in files.iter_mut().filter(|found| unreadable.contains_key(&found.place)) {
        found.shape = Shape::Unreadable;
    }
    blame(&mut files, &layout, &pieces);
    files.extend(look_at_links(&metainfo, data));
    if contradictions > 0 {
        progress.say(&format!(
            "{}: the hashes of v1 and v2 disagree about {}: the torrent contradicts itself",
            input::shown(&args.torrent),
            count_of(contradictions),
        ));
    }
    let advice = tell_resume_data(args, data, &metainfo, &files, &pieces);
    report(args, data, &metainfo, &files, &pieces, contradictions, &advice)?;
    match unreadable.values().next() {
        None => Ok(()),
        Some(error) => Err(Failure::verdict(Code::File, format!("cannot read {error}"))),
    }
}

/// Has resume data forget what is wrong, so that the next download does not believe it. What repairs
/// the data.
fn tell_resume_data(
    args: &Verify,
    dir: &Path,
    metainfo: &Metainfo,
    files: &[Found],
    wrong: &[PieceIndex],
) -> String {
    let (torrent, data) = (args.torrent.to_string_lossy(), dir.to_string_lossy());
    let download = format!("bitswarm download {} -o {}", shell_word(&torrent), shell_word(&data));
    let is_bad = |found: &&Found| found.word() != "ok";
    if let Some(found) = files.iter().filter(is_bad).find(|found| found.is_in_the_way()) {
        let barrier = barrier(dir, &found.place);
        let path = barrier.as_deref().and_then(|barrier| barrier.strip_prefix(dir).ok());
        let path = path.unwrap_or(&found.file.path).display();
        return format!("move {path} away, then {download} fetches what is missing");
    }
    let known = match wrong.is_empty() && files.iter().all(|found| found.word() == "ok") {
        true => known::Found::Nothing,
        false => Known::find(args.state_dir.as_deref(), dir, metainfo),
    };
    match known {
        known::Found::InUse => {
            format!("another bitswarm works on it; stop that, then {download} --check repairs it")
        }
        known::Found::Nothing if files.iter().any(|found| is_bad(&found) && found.is_there()) => {
            format!("{download} --overwrite fetches what is missing or wrong, over what is there")
        }
        known::Found::Nothing => format!("{download} fetches what is missing"),
        known::Found::Known(mut known) => {
            let is_strange = |(index, found): (u32, &Found)| {
                is_bad(&found) && found.is_there() && !known.is_ours(FileIndex(index), &found.place)
            };
            // Links come after the files.
            let overwrites = (0..).zip(files).any(is_strange);
            match known.forget(wrong) {
                _ if overwrites => {
                    format!(
                        "{download} --overwrite fetches what is missing or wrong, over what is there"
                    )
                }
                Ok(_) => format!("{download} fetches what is missing or wrong"),
                // What is recorded stays as it is.
                Err(_) => format!("{download} --check fetches what is missing or wrong"),
            }
        }
    }
}

/// Which hashes to compare with: those that the torrent has, unless the user wants fewer.
fn protocol(args: &Verify, metainfo: &Metainfo) -> Result<Protocol, Failure> {
    let lacks = |what: &str| {
        let message =
            format!("{} has no {what}; leave out --protocol", input::shown(&args.torrent));
        Err(Failure::new(Code::BadInput, message))
    };
    match args.protocol {
        Some(Version::V1 | Version::Hybrid) if !metainfo.has_v1() => lacks("hashes of v1"),
        Some(Version::V2 | Version::Hybrid) if !metainfo.has_v2() => lacks("hashes of v2"),
        Some(Version::V2 | Version::Hybrid) if !metainfo.has_piece_layers() => {
            lacks("piece layers, which v2 needs")
        }
        Some(version) => Ok(version.into()),
        None if !metainfo.has_piece_layers() => Ok(Protocol::V1),
        None if metainfo.has_v1() => Ok(Protocol::Hybrid),
        None => Ok(Protocol::V2),
    }
}

/// What the comparison found.
struct Wrong {
    pieces: Vec<PieceIndex>,
    /// How many of them are right by one version's hash and wrong by the other's.
    contradictions: u32,
    /// Files that could not be read, by path: what is in their pieces is not known.
    unreadable: BTreeMap<PathBuf, Box<DiskError>>,
}

/// Whether a piece is right, by each version that was hashed.
fn is_right(metainfo: &Metainfo, piece: PieceIndex, hash: PieceHash) -> (bool, bool) {
    let v1 = hash.v1.is_none_or(|v1| metainfo.piece_hash(piece) == Some(v1));
    let v2 = hash.v2.is_none_or(|v2| metainfo.piece_hash_v2(piece) == Some(v2));
    (v1, v2)
}

/// The pieces that are not what the torrent says, or cannot be read.
fn wrong_pieces(metainfo: &Metainfo, hashes: Hashes) -> Wrong {
    use DiskErrorKind::{InTheWay, NotFound, Short};
    let mut wrong = Wrong { pieces: Vec::new(), contradictions: 0, unreadable: BTreeMap::new() };
    for (piece, result) in metainfo.geometry().iter().zip(hashes) {
        match result.map(|hash| (is_right(metainfo, piece, hash), hash)) {
            Ok(((true, true), _)) => {}
            Ok(((v1, v2), hash)) => {
                let is_both = hash.v1.is_some() && hash.v2.is_some();
                wrong.contradictions += u32::from(is_both && v1 != v2);
                wrong.pieces.push(piece);
            }
            Err(error) if matches!(error.kind, InTheWay | NotFound | Short) => {
                wrong.pieces.push(piece);
            }
            Err(error) => {
                wrong.pieces.push(piece);
                wrong.unreadable.entry(error.path.clone()).or_insert(error);
            }
        }
    }
    wrong
}

/// One file of the torrent as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    /// Its path inside the torrent.
    name: String,
    file: StoreFile,
    /// Where it lies: elsewhere than its path says, behind a link of the user's.
    place: PathBuf,
    shape: Shape,
    /// Wrong pieces that have bytes of this file only.
    own_wrong: u32,
    /// Wrong pieces that have bytes of other files too.
    shared_wrong: u32,
    /// All of those, as runs of the first and the last.
    wrong: Vec<(u32, u32)>,
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
    /// No link, or one that leads elsewhere.
    WrongLink,
    /// The system does not let it be read.
    Unreadable,
}

/// `named` is where the files are by their names, `spec` where they are behind the top link.
fn look_at_files(metainfo: &Metainfo, named: &StoreSpec, spec: &StoreSpec) -> Vec<Found> {
    // As `info` has them: the files on disk are those, in the same order.
    let names = metainfo.numbered_files().map(|file| file.path().to_owned());
    let found = |((name, file), real): ((String, &StoreFile), &StoreFile)| {
        let place = spec.root.join(&real.path);
        let shape = shape(&spec.root, &place, file.length);
        Found::new(name, file.clone(), place, shape)
    };
    names.zip(&named.files).zip(&spec.files).map(found).collect()
}

/// The links that should be there. Whatever way they say it, they have to lead to their target.
fn look_at_links(metainfo: &Metainfo, data: &Path) -> Vec<Found> {
    let folder = data.join(metainfo.name());
    let links = describe::links(metainfo).filter_map(|(path, target)| Some((path, target?)));
    links
        .map(|(name, target)| {
            let path = folder.join(name);
            let shape = match fs::symlink_metadata(&path) {
                Ok(_) if leads_to(&folder, &path, target) => Shape::Right,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Shape::Missing,
                _ => Shape::WrongLink,
            };
            let file = Path::new(metainfo.name()).join(name);
            let file = StoreFile { path: file, length: 0, executable: false };
            Found::new(name.to_owned(), file, path, shape)
        })
        .collect()
}

fn leads_to(folder: &Path, link: &Path, target: &str) -> bool {
    content::target_below(folder, link).is_some_and(|found| found.join("/") == target)
}

fn shape(root: &Path, path: &Path, length: u64) -> Shape {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Shape::InTheWay,
        Ok(metadata) if metadata.len() != length => Shape::Length(metadata.len()),
        Ok(_) => Shape::Right,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match barrier(root, path) {
            Some(_) => Shape::InTheWay,
            None => Shape::Missing,
        },
        // A file where a directory should be. What cannot be read shows when it is hashed.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Shape::InTheWay,
        Err(_) => Shape::Right,
    }
}

/// What lies where one of a path's directories should be: a file, or a link that leads nowhere.
fn barrier(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut above = path.ancestors().skip(1).take_while(|dir| *dir != root);
    let (dir, found) = above.find_map(|dir| Some((dir, fs::symlink_metadata(dir).ok()?)))?;
    (!found.is_dir()).then(|| dir.to_owned())
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
            add_to_runs(&mut found.wrong, piece.0);
            if is_own {
                found.own_wrong += 1;
            } else {
                found.shared_wrong += 1;
            }
        }
    }
}

/// Adds a number that is larger than all before.
fn add_to_runs(runs: &mut Vec<(u32, u32)>, number: u32) {
    match runs.last_mut() {
        Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
        _ => runs.push((number, number)),
    }
}

/// Runs such as `3, 7-9`; the first few of many.
fn runs_in_words(runs: &[(u32, u32)]) -> String {
    const SHOWN: usize = 20;
    let run = |&(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let shown: Vec<String> = runs.iter().take(SHOWN).map(run).collect();
    shown.join(", ") + if runs.len() > SHOWN { ", ..." } else { "" }
}

impl Found {
    fn new(name: String, file: StoreFile, place: PathBuf, shape: Shape) -> Self {
        Found { name, file, place, shape, own_wrong: 0, shared_wrong: 0, wrong: Vec::new() }
    }

    /// Whether something is there that a download would have to write over.
    fn is_there(&self) -> bool {
        matches!(self.shape, Shape::Right | Shape::Length(_))
    }

    /// Whether something is there that a download leaves alone.
    fn is_in_the_way(&self) -> bool {
        matches!(self.shape, Shape::InTheWay | Shape::WrongLink)
    }

    /// The word for programs.
    fn word(&self) -> &'static str {
        match self.shape {
            Shape::Missing => "missing",
            Shape::InTheWay => "not_a_file",
            Shape::WrongLink => "wrong_link",
            Shape::Unreadable => "unreadable",
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
                let (count, runs) = (count_of(self.shared_wrong), runs_in_words(&self.wrong));
                format!("may differ: {count} that it shares with others wrong ({runs})")
            }
            ("differs", _) => {
                let (count, runs) = (count_of(self.own_wrong), runs_in_words(&self.wrong));
                format!("differs: {count} wrong ({runs})")
            }
            ("unreadable", _) => "cannot be read".to_owned(),
            ("wrong_link", _) => "is not the link it should be".to_owned(),
            ("not_a_file", _) => "is not a plain file".to_owned(),
            (_, Shape::Length(is)) => {
                format!("has {} instead of {length}", counted(is, "byte", "bytes"))
            }
            _ => "is missing".to_owned(),
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "path": self.name,
            "length": self.file.length,
            "status": self.word(),
            "bad_pieces": self.own_wrong + self.shared_wrong,
            "bad_runs": self.wrong,
        })
    }
}

fn count_of(count: u32) -> String {
    counted(count, "piece", "pieces")
}

fn report(
    args: &Verify,
    data: &Path,
    metainfo: &Metainfo,
    files: &[Found],
    wrong: &[PieceIndex],
    contradictions: u32,
    advice: &str,
) -> Result<(), Failure> {
    let total = metainfo.geometry().pieces() as usize;
    let right = total - wrong.len();
    let bad = files.iter().filter(|found| found.word() != "ok").count();
    // A piece may be wrong though no file is: nothing but padding, or an impossible torrent.
    let is_ok = bad == 0 && wrong.is_empty();
    if args.reporting.json {
        let files = files.iter().map(Found::to_json);
        Object::new()
            .with("name", metainfo.name())
            .with("infohash_v1", metainfo.infohash_v1().map(|hash| hash.to_string()))
            .with("infohash_v2", metainfo.infohash_v2().map(|hash| hash.to_string()))
            .with("ok", is_ok)
            .with("pieces", total)
            .with("pieces_ok", right)
            .with("contradictions", contradictions)
            .with("files", files.collect::<Vec<_>>())
            .print()?;
    } else {
        for found in files {
            if let Some(complaint) = found.complaint() {
                print(&format!("{}: {complaint}", found.file.path.display()))?;
            }
        }
        let pieces = counted(total, "piece is", "pieces are");
        print(&format!("{}: {right} of {pieces} right", metainfo.name()))?;
    }
    // What cannot be read is another matter.
    if is_ok || files.iter().any(|found| found.shape == Shape::Unreadable) {
        return Ok(());
    }
    let (data, name) = (data.display(), metainfo.name());
    let of = counted(files.len(), "file", "files");
    Err(Failure::verdict(
        Code::Mismatch,
        format!("{name} in {data} does not match the torrent in {bad} of {of}; {advice}"),
    ))
}

#[cfg(test)]
mod tests {
    use bitswarm_core::piece::Geometry;

    use super::*;

    fn found(length: u64) -> Found {
        let file = StoreFile { path: "f".into(), length, executable: false };
        Found::new("f".into(), file, "f".into(), Shape::Right)
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
        assert_eq!(files[0].complaint().unwrap(), "differs: 1 piece wrong (0-1)");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_apart_and_the_rest_is_judged() {
        let creator = bitswarm_core::metainfo::Creator::single_file("f", 40_000);
        let metainfo = creator.finish_with_content(&[7; 40_000]).unwrap();
        assert_eq!(metainfo.geometry().pieces(), 3);
        let path = PathBuf::from("data/f");
        let denied =
            DiskError { kind: DiskErrorKind::Denied, path: path.clone(), cause: String::new() };
        let right = PieceHash { v1: metainfo.piece_hash(PieceIndex(1)), v2: None };
        let hashes =
            vec![Err(denied.into()), Ok(right), Ok(PieceHash { v1: Some([1; 20]), v2: None })];
        let wrong = wrong_pieces(&metainfo, hashes);
        assert_eq!(wrong.pieces, [PieceIndex(0), PieceIndex(2)]);
        assert!(wrong.unreadable.contains_key(&path) && wrong.unreadable.len() == 1);
        let mut unreadable = found(5);
        unreadable.shape = Shape::Unreadable;
        assert_eq!(unreadable.word(), "unreadable");
    }

    #[test]
    fn files_behind_the_top_link_go_by_the_torrents_names() {
        let creator = bitswarm_core::metainfo::Creator::single_file("f", 5);
        let metainfo = creator.finish_with_content(&[7; 5]).unwrap();
        let named = metainfo.store_spec(Path::new("data"));
        let mut real = named.clone();
        real.root = "elsewhere".into();
        real.files[0].path = "other".into();
        let found = look_at_files(&metainfo, &named, &real);
        assert_eq!(found[0].place, Path::new("elsewhere/other"), "as a disk error names it");
        assert_eq!((&*found[0].name, &*found[0].file.path), ("f", Path::new("f")));
    }

    #[test]
    fn pieces_are_named_as_runs() {
        let mut runs = Vec::new();
        [3, 7, 8, 9, 11].into_iter().for_each(|piece| add_to_runs(&mut runs, piece));
        assert_eq!(runs_in_words(&runs), "3, 7-9, 11");
        let many: Vec<_> = (0..30).map(|n| (2 * n, 2 * n)).collect();
        assert!(runs_in_words(&many).ends_with("36, 38, ..."));
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
