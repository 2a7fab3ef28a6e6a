//! A torrent whose true bytes the simulator knows: what everything on disks and wires is compared
//! with. The metainfo is written here, without the core's help.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::{BLOCK_LEN, InfoHash};
use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::bencode::Value;
use super::dice::Dice;
use super::disk::Disk;

/// A torrent's true content.
#[derive(Debug, Clone)]
pub struct Content {
    name: String,
    /// Path under the name (empty for a torrent of a single file) and length in bytes.
    files: Vec<(String, u64)>,
    piece_len: u32,
    data: Bytes,
    info: Vec<u8>,
    infohash: InfoHash,
}

impl Content {
    /// One file of random bytes.
    pub fn single(seed: u64, name: &str, length: u64, piece_len: u32) -> Arc<Self> {
        Self::build(seed, name, vec![(String::new(), length)], piece_len)
    }

    /// Several files of random bytes, with paths relative to the torrent's name.
    pub fn multi(seed: u64, name: &str, files: &[(&str, u64)], piece_len: u32) -> Arc<Self> {
        let files = files.iter().map(|(path, length)| ((*path).to_owned(), *length)).collect();
        Self::build(seed, name, files, piece_len)
    }

    /// The same bytes as a private torrent (BEP 27).
    pub fn private(&self) -> Arc<Self> {
        let mut info = info_dict(&self.name, &self.files, self.piece_len, &self.data);
        if let Value::Dict(entries) = &mut info {
            entries.insert(b"private".to_vec(), Value::Int(1));
        }
        let info = info.to_bytes();
        let infohash = InfoHash(Sha1::digest(&info).into());
        Arc::new(Content { info, infohash, ..self.clone() })
    }

    fn build(seed: u64, name: &str, files: Vec<(String, u64)>, piece_len: u32) -> Arc<Self> {
        let total: u64 = files.iter().map(|(_, length)| length).sum();
        let length = usize::try_from(total).expect("simulated content fits into memory");
        let data = Bytes::from(Dice::new(seed, name).bytes(length));
        let info = info_dict(name, &files, piece_len, &data).to_bytes();
        let infohash = InfoHash(Sha1::digest(&info).into());
        Arc::new(Content { name: name.to_owned(), files, piece_len, data, info, infohash })
    }

    /// The metainfo, with these tiers of trackers, as the core reads it.
    ///
    /// # Panics
    /// If the core does not read it, or reads another infohash out of it.
    pub fn metainfo(&self, trackers: &[&[&str]]) -> Arc<Metainfo> {
        let metainfo = Metainfo::parse(&self.torrent_file(trackers)).expect("valid metainfo");
        assert_eq!(metainfo.infohash(), self.infohash, "the core reads another infohash");
        Arc::new(metainfo)
    }

    /// The `.torrent` file, with these tiers of trackers (BEP 3, BEP 12).
    pub fn torrent_file(&self, trackers: &[&[&str]]) -> Vec<u8> {
        let mut out = b"d".to_vec();
        if let Some(first) = trackers.iter().flat_map(|tier| tier.iter()).next() {
            out.extend_from_slice(b"8:announce");
            out.extend(Value::bytes(first).to_bytes());
            let tier = |tier: &&[&str]| Value::List(tier.iter().map(Value::bytes).collect());
            out.extend_from_slice(b"13:announce-list");
            out.extend(Value::List(trackers.iter().map(tier).collect()).to_bytes());
        }
        out.extend_from_slice(b"4:info");
        out.extend_from_slice(&self.info);
        out.push(b'e');
        out
    }

    /// The SHA-1 of the info dictionary.
    pub fn infohash(&self) -> InfoHash {
        self.infohash
    }

    /// The info dictionary.
    pub fn info_bytes(&self) -> &[u8] {
        &self.info
    }

    /// All its bytes, file after file.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.data.len() as u64
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// How many pieces it has.
    pub fn pieces(&self) -> u32 {
        self.len().div_ceil(u64::from(self.piece_len)) as u32
    }

    /// How many blocks a piece has.
    pub fn blocks_of(&self, piece: u32) -> u32 {
        (self.piece(piece).len() as u32).div_ceil(BLOCK_LEN)
    }

    /// The bytes of a piece; empty if there is no such piece.
    pub fn piece(&self, piece: u32) -> Bytes {
        let start = (u64::from(piece) * u64::from(self.piece_len)).min(self.len()) as usize;
        let end = (start + self.piece_len as usize).min(self.data.len());
        self.data.slice(start..end)
    }

    /// A run of bytes of a piece; `None` if it does not lie inside the piece.
    pub fn run(&self, piece: u32, begin: u32, length: u32) -> Option<Bytes> {
        let piece = self.piece(piece);
        let end = begin.checked_add(length)? as usize;
        (end <= piece.len()).then(|| piece.slice(begin as usize..end))
    }

    /// Where its files lie under this root, and how long they are.
    pub fn paths(&self, root: &Path) -> Vec<(PathBuf, u64)> {
        let base = root.join(&self.name);
        let path = |path: &str| if path.is_empty() { base.clone() } else { base.join(path) };
        self.files.iter().map(|(file, length)| (path(file), *length)).collect()
    }

    /// Puts all of it on a disk.
    pub fn plant(&self, disk: &mut Disk, root: &Path) {
        let mut offset = 0;
        for (path, length) in self.paths(root) {
            let end = offset + length as usize;
            disk.plant(path, self.data[offset..end].to_vec());
            offset = end;
        }
    }

    /// Whether a reader of the disk finds the right bytes of a piece there.
    pub fn piece_on_disk(&self, disk: &Disk, root: &Path, piece: u32) -> bool {
        self.compare(root, piece, |path| disk.content(path))
    }

    /// Whether the right bytes of a piece would survive a crash now.
    pub fn piece_durable(&self, disk: &Disk, root: &Path, piece: u32) -> bool {
        self.compare(root, piece, |path| disk.durable_content(path))
    }

    /// Whether the disk has all of it.
    pub fn is_on_disk(&self, disk: &Disk, root: &Path) -> bool {
        (0..self.pieces()).all(|piece| self.piece_on_disk(disk, root, piece))
    }

    fn compare<'a>(
        &self,
        root: &Path,
        piece: u32,
        read: impl Fn(&Path) -> Option<&'a [u8]>,
    ) -> bool {
        let truth = self.piece(piece);
        let start = u64::from(piece) * u64::from(self.piece_len);
        let end = start + truth.len() as u64;
        let mut file_start = 0;
        for (path, length) in self.paths(root) {
            let (from, to) = (start.max(file_start), end.min(file_start + length));
            if from < to {
                let wanted = &truth[(from - start) as usize..(to - start) as usize];
                let there = read(&path).and_then(|data| {
                    data.get((from - file_start) as usize..(to - file_start) as usize)
                });
                if there != Some(wanted) {
                    return false;
                }
            }
            file_start += length;
        }
        true
    }
}

fn info_dict(name: &str, files: &[(String, u64)], piece_len: u32, data: &[u8]) -> Value {
    let hashes: Vec<u8> =
        data.chunks(piece_len as usize).flat_map(|piece| Sha1::digest(piece).to_vec()).collect();
    let length = |length: u64| Value::Int(i64::try_from(length).expect("fits"));
    let content = match files {
        [(path, only)] if path.is_empty() => ("length", length(*only)),
        _ => {
            let file = |(path, len): &(String, u64)| {
                let parts = path.split('/').map(Value::bytes).collect();
                Value::dict([("length", length(*len)), ("path", Value::List(parts))])
            };
            ("files", Value::List(files.iter().map(file).collect()))
        }
    };
    Value::dict([
        content,
        ("name", Value::bytes(name)),
        ("piece length", Value::Int(piece_len.into())),
        ("pieces", Value::bytes(hashes)),
    ])
}

/// The announce URL of a tracker that listens there.
pub fn announce_url(tracker: SocketAddr) -> String {
    format!("http://{tracker}/announce")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_reads_the_metainfo_as_it_was_meant() {
        let content = Content::multi(1, "two", &[("a", 20_000), ("sub/b", 20_000)], 16_384);
        let metainfo = content.metainfo(&[&["http://50.0.0.1:1/announce"], &["udp://50.0.0.2:1"]]);
        assert_eq!(metainfo.trackers().len(), 2);
        let geometry = metainfo.geometry();
        assert_eq!((geometry.pieces(), geometry.total_len()), (3, 40_000));
        for piece in geometry.iter() {
            let truth: [u8; 20] = Sha1::digest(content.piece(piece.0)).into();
            assert_eq!(metainfo.piece_hash(piece), Some(truth));
        }
        let spec = metainfo.store_spec(Path::new("/data"));
        let listed: Vec<(PathBuf, u64)> =
            spec.files.iter().map(|file| (spec.root.join(&file.path), file.length)).collect();
        assert_eq!(listed, content.paths(Path::new("/data")));
    }

    #[test]
    fn a_piece_over_two_files_is_on_disk_when_both_parts_are() {
        let content = Content::multi(1, "two", &[("a", 20_000), ("sub/b", 20_000)], 16_384);
        let root = Path::new("/data");
        let mut disk = Disk::new(1, "disk", 0);
        assert!(!content.piece_on_disk(&disk, root, 0));
        content.plant(&mut disk, root);
        assert!(content.is_on_disk(&disk, root));
        let (a, b) = (Path::new("/data/two/a"), Path::new("/data/two/sub/b"));
        assert_eq!(disk.content(a).unwrap().len(), 20_000);
        disk.tamper(bitswarm_core::Instant::ZERO, b, 100, &[0; 20]);
        assert!(!content.piece_on_disk(&disk, root, 1));
        assert!(content.piece_on_disk(&disk, root, 0) && content.piece_on_disk(&disk, root, 2));
        assert_eq!(content.pieces(), 3);
        assert_eq!(content.piece(2).len(), 40_000 - 32_768);
    }
}
