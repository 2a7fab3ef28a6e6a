//! A .torrent file made by one of several programs, read independently of the core, and the check
//! of its pieces against what is on disk.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::bencode::Value;
use super::{Content, Lab, Need, Outcome, Process, bitswarm, libtorrent};

/// Who makes the .torrent file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Creator {
    /// `bitswarm create`, version 1 only.
    Bitswarm,
    /// `bitswarm create`, version 1 and 2 in one (BEP 52), with pad files (BEP 47).
    BitswarmHybrid,
    /// `bitswarm create`, version 2 only.
    BitswarmV2,
    /// `transmission-create`.
    Transmission,
    /// libtorrent, version 1 only.
    Libtorrent,
    /// libtorrent, version 1 and 2 in one (BEP 52), with pad files (BEP 47).
    LibtorrentHybrid,
    /// libtorrent, version 2 only.
    LibtorrentV2,
}

impl Creator {
    /// What it takes to run it.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Creator::Bitswarm | Creator::BitswarmHybrid | Creator::BitswarmV2 => &[],
            Creator::Transmission => &[Need::TransmissionCreate],
            Creator::Libtorrent | Creator::LibtorrentHybrid | Creator::LibtorrentV2 => {
                &[Need::Libtorrent]
            }
        }
    }
}

/// A .torrent file and what it says.
#[derive(Clone, Debug)]
pub struct Torrent {
    /// The .torrent file.
    pub path: PathBuf,
    /// What it is about.
    pub content: Content,
    /// SHA-1 of the info dictionary as it stands in the file; of version 2 alone, the first bytes
    /// of its SHA2-256.
    pub infohash: [u8; 20],
    /// SHA2-256 of the info dictionary, if there is a version 2 part.
    pub infohash_v2: Option<[u8; 32]>,
    /// Bytes in each piece but the last.
    pub piece_length: u64,
    /// SHA-1 of each piece; none of version 2 alone.
    pub piece_hashes: Vec<[u8; 20]>,
    /// The files in the torrent's order; pad files have no path.
    pub files: Vec<(Option<PathBuf>, u64)>,
}

impl Torrent {
    /// Has `creator` make a torrent of some content.
    pub fn create(
        lab: &Lab,
        content: Content,
        creator: Creator,
        piece_length: u64,
        tracker: &str,
    ) -> Outcome<Torrent> {
        let path = lab.make_dir("torrent")?.join(format!("{creator:?}.torrent"));
        let command = create_command(lab, creator, &content.path(), &path, piece_length, tracker);
        let mut process = Process::spawn(lab, &format!("create-{creator:?}"), &command)?;
        match process.exit_code(Duration::from_secs(60))? {
            0 => Torrent::read(path, content),
            code => Err(format!("creating a torrent with {creator:?}: exit code {code}").into()),
        }
    }

    /// Reads a .torrent file of some content.
    pub fn read(path: PathBuf, content: Content) -> Outcome<Torrent> {
        let bytes = fs::read(&path)?;
        let meta = Value::parse(&bytes)?;
        let info = meta.get("info").ok_or("no info")?;
        let span = meta.span("info").ok_or("no info")?;
        let integer = |key| info.get(key).and_then(Value::int).ok_or(format!("no {key}"));
        let name = info.get("name").and_then(Value::text).ok_or("no name")?;
        let pieces = match info.get("pieces").and_then(Value::bytes) {
            Some(pieces) => pieces,
            None => return Torrent::of_v2(path, content, info, &bytes[span]),
        };
        let files = match info.get("files").and_then(Value::list) {
            None => vec![(Some(PathBuf::from(name)), u64::try_from(integer("length")?)?)],
            Some(files) => {
                files.iter().map(|file| read_file(name, file)).collect::<Outcome<Vec<_>>>()?
            }
        };
        let is_named = |path: &Path| files.iter().any(|(named, _)| named.as_deref() == Some(path));
        let content = content.only_named(is_named)?;
        Ok(Torrent {
            path,
            infohash: Sha1::digest(&bytes[span.clone()]).into(),
            infohash_v2: info.get("meta version").map(|_| Sha256::digest(&bytes[span]).into()),
            piece_length: u64::try_from(integer("piece length")?)?,
            piece_hashes: pieces.chunks_exact(20).map(|hash| hash.try_into().unwrap()).collect(),
            files,
            content,
        })
    }

    /// One of version 2 alone, whose pieces are not read.
    fn of_v2(path: PathBuf, content: Content, info: &Value, raw: &[u8]) -> Outcome<Torrent> {
        let piece_length =
            info.get("piece length").and_then(Value::int).ok_or("no piece length")?;
        let infohash_v2: [u8; 32] = Sha256::digest(raw).into();
        Ok(Torrent {
            path,
            infohash: infohash_v2[..20].try_into()?,
            infohash_v2: Some(infohash_v2),
            piece_length: u64::try_from(piece_length)?,
            piece_hashes: Vec::new(),
            files: Vec::new(),
            content,
        })
    }

    /// Bytes in all pieces, padding included.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|(_, length)| length).sum()
    }

    /// The infohash as 40 hexadecimal digits.
    pub fn infohash_hex(&self) -> String {
        self.infohash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a piece as they stand below `root`. What is not on disk reads as nothing, so
    /// the result may be short.
    pub fn read_piece(&self, root: &Path, index: usize) -> Vec<u8> {
        let start = index as u64 * self.piece_length;
        let end = (start + self.piece_length).min(self.total());
        let mut piece = Vec::new();
        let mut file_start = 0;
        for (path, length) in &self.files {
            let (from, to) = (start.max(file_start), end.min(file_start + length));
            if from < to {
                let (offset, wanted) = (from - file_start, to - from);
                match path {
                    Some(path) => read_span(&root.join(path), offset, wanted, &mut piece),
                    None => piece.resize(piece.len() + wanted as usize, 0),
                }
            }
            file_start += length;
        }
        piece
    }

    /// For each piece, whether its bytes below `root` have its hash.
    pub fn verify(&self, root: &Path) -> Vec<bool> {
        let matches = |(index, hash): (usize, &[u8; 20])| {
            <[u8; 20]>::from(Sha1::digest(self.read_piece(root, index))) == *hash
        };
        self.piece_hashes.iter().enumerate().map(matches).collect()
    }
}

fn create_command(
    lab: &Lab,
    creator: Creator,
    input: &Path,
    output: &Path,
    piece_length: u64,
    tracker: &str,
) -> Command {
    match creator {
        Creator::Bitswarm | Creator::BitswarmHybrid | Creator::BitswarmV2 => {
            let mut command = bitswarm::command(lab);
            command.arg("create").arg(input).arg("-o").arg(output).args([
                "--tracker",
                tracker,
                "--force",
            ]);
            let protocol = match creator {
                Creator::BitswarmHybrid => "hybrid",
                Creator::BitswarmV2 => "v2",
                // What every client can read.
                _ => "v1",
            };
            command.args(["--protocol", protocol, "--piece-length", &piece_length.to_string()]);
            command
        }
        Creator::Transmission => {
            let mut command = Command::new("transmission-create");
            command.args(["-s", &(piece_length / 1024).to_string(), "-t", tracker]);
            command.arg("-o").arg(output).arg(input);
            command
        }
        Creator::Libtorrent | Creator::LibtorrentHybrid | Creator::LibtorrentV2 => {
            let mut command = libtorrent::script();
            command.arg("create").arg(input).arg(output);
            command.args([&piece_length.to_string(), tracker]);
            command.arg(match creator {
                Creator::LibtorrentHybrid => "hybrid",
                Creator::LibtorrentV2 => "v2",
                _ => "v1",
            });
            command
        }
    }
}

fn read_file(name: &str, file: &Value) -> Outcome<(Option<PathBuf>, u64)> {
    let length = file.get("length").and_then(Value::int).ok_or("file without a length")?;
    let length = u64::try_from(length)?;
    if file.get("attr").and_then(Value::text).is_some_and(|attr| attr.contains('p')) {
        return Ok((None, length));
    }
    let mut path = PathBuf::from(name);
    for component in file.get("path").and_then(Value::list).ok_or("file without a path")? {
        path.push(component.text().ok_or("path component is no text")?);
    }
    Ok((Some(path), length))
}

/// Appends what of the span is there.
fn read_span(path: &Path, offset: u64, length: u64, out: &mut Vec<u8>) {
    let Ok(mut file) = File::open(path) else { return };
    if file.seek(SeekFrom::Start(offset)).is_ok() {
        let _ = file.take(length).read_to_end(out);
    }
}
