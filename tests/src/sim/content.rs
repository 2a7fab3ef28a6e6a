//! A torrent whose true bytes the simulator knows: what everything on disks and wires is compared
//! with. The metainfo is written here, of v1 (BEP 3), v2 (BEP 52) or both, without the core's help.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::{BLOCK_LEN, InfoHash, InfoHashV2, PieceIndex};
use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::bencode::Value;
use super::dice::Dice;
use super::disk::Disk;
use super::merkle::{Hash, Tree};
use super::peer_wire::HashRun;

/// For which versions of the protocol a torrent is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// BEP 3.
    V1,
    /// BEP 52 alone.
    V2,
    /// Both: one content, two infohashes (BEP 52, "upgrade path").
    Hybrid,
}

impl Kind {
    /// All of them, for tests.
    pub const ALL: [Kind; 3] = [Kind::V1, Kind::V2, Kind::Hybrid];
}

/// A torrent's true content.
#[derive(Debug, Clone)]
pub struct Content {
    kind: Kind,
    name: String,
    is_single: bool,
    files: Vec<File>,
    piece_len: u32,
    /// All pieces one after the other. With v2, zeros fill up the last piece of a file that others
    /// follow, and of a hybrid the last file's too.
    data: Bytes,
    /// The trees of the files that have bytes, by their roots.
    trees: BTreeMap<Hash, Arc<Tree>>,
    info: Vec<u8>,
    is_private: bool,
    /// If its bytes are not known to anybody: how many there would be, and the infohash.
    hollow: Option<(u64, InfoHash)>,
}

/// A file, and where its bytes are.
#[derive(Debug, Clone)]
struct File {
    /// Under the name; empty for a torrent of a single file.
    path: String,
    length: u64,
    /// In `data`.
    offset: u64,
    /// Its pieces root: of v2, and if it has bytes.
    root: Option<Hash>,
}

impl File {
    fn end(&self) -> u64 {
        self.offset + self.length
    }
}

impl Content {
    /// One file of random bytes, of v1.
    pub fn single(seed: u64, name: &str, length: u64, piece_len: u32) -> Arc<Self> {
        Self::single_of(Kind::V1, seed, name, length, piece_len)
    }

    /// Several files of random bytes, with paths relative to the torrent's name, of v1.
    pub fn multi(seed: u64, name: &str, files: &[(&str, u64)], piece_len: u32) -> Arc<Self> {
        Self::multi_of(Kind::V1, seed, name, files, piece_len)
    }

    /// One file of random bytes.
    pub fn single_of(kind: Kind, seed: u64, name: &str, length: u64, piece_len: u32) -> Arc<Self> {
        Arc::new(Self::build(kind, seed, name, &[("", length)], piece_len, &[]))
    }

    /// Several files of random bytes, with paths relative to the torrent's name. In a torrent of v2
    /// they lie in the order of the file tree.
    pub fn multi_of(
        kind: Kind,
        seed: u64,
        name: &str,
        files: &[(&str, u64)],
        piece_len: u32,
    ) -> Arc<Self> {
        let mut files = files.to_vec();
        if kind != Kind::V1 {
            files.sort_by_key(|(path, _)| path.split('/').collect::<Vec<_>>());
        }
        Arc::new(Self::build(kind, seed, name, &files, piece_len, &[]))
    }

    /// Several files of random bytes, of v1, each with so much padding behind it (BEP 47).
    pub fn padded(seed: u64, name: &str, files: &[(&str, u64, u64)], piece_len: u32) -> Arc<Self> {
        let padding: Vec<u64> = files.iter().map(|(.., padding)| *padding).collect();
        let files: Vec<(&str, u64)> = files.iter().map(|(path, len, _)| (*path, *len)).collect();
        Arc::new(Self::build(Kind::V1, seed, name, &files, piece_len, &padding))
    }

    /// A torrent of one file and of v1 whose bytes nobody has: the hashes of its pieces, of a block each, are
    /// random. Whoever claims to have a piece lies, and has zeros to give. It takes no memory for its bytes.
    pub fn hollow(seed: u64, name: &str, pieces: u32) -> Arc<Self> {
        let length = u64::from(pieces) * u64::from(BLOCK_LEN);
        let hashes = Dice::new(seed, name).bytes(pieces as usize * 20);
        let info = Value::dict([
            ("length", number(length)),
            ("name", Value::bytes(name)),
            ("piece length", Value::Int(BLOCK_LEN.into())),
            ("pieces", Value::bytes(hashes)),
        ]);
        let info = info.to_bytes();
        let infohash = InfoHash(Sha1::digest(&info).into());
        let file = File { path: String::new(), length, offset: 0, root: None };
        Arc::new(Content {
            kind: Kind::V1,
            name: name.to_owned(),
            is_single: true,
            files: vec![file],
            piece_len: BLOCK_LEN,
            data: Bytes::from(vec![0; BLOCK_LEN as usize]),
            trees: BTreeMap::new(),
            info,
            is_private: false,
            hollow: Some((length, infohash)),
        })
    }

    /// Whether nobody has its bytes.
    pub fn is_hollow(&self) -> bool {
        self.hollow.is_some()
    }

    /// The same bytes as a private torrent (BEP 27).
    pub fn private(&self) -> Arc<Self> {
        let mut info = self.info_dict();
        if let Value::Dict(entries) = &mut info {
            entries.insert(b"private".to_vec(), Value::Int(1));
        }
        Arc::new(Content { info: info.to_bytes(), is_private: true, ..self.clone() })
    }

    /// The same bytes, with so many bytes more in the info dictionary: metadata of several pieces.
    pub fn with_longer_info(&self, len: usize) -> Arc<Self> {
        let mut info = self.info_dict();
        if let Value::Dict(entries) = &mut info {
            entries.insert(b"zz".to_vec(), Value::bytes(Dice::new(0, &self.name).bytes(len)));
            if self.is_private {
                entries.insert(b"private".to_vec(), Value::Int(1));
            }
        }
        Arc::new(Content { info: info.to_bytes(), ..self.clone() })
    }

    fn build(
        kind: Kind,
        seed: u64,
        name: &str,
        files: &[(&str, u64)],
        piece_len: u32,
        padding: &[u64],
    ) -> Self {
        let total: u64 = files.iter().map(|(_, length)| length).sum();
        let length = usize::try_from(total).expect("simulated content fits into memory");
        let random = Dice::new(seed, name).bytes(length);
        let is_single = matches!(files, [("", _)]);
        let (mut data, mut taken) = (Vec::with_capacity(random.len()), 0);
        let align = |data: &mut Vec<u8>| {
            data.resize(data.len().next_multiple_of(piece_len as usize), 0);
        };
        let mut content = Content {
            kind,
            name: name.to_owned(),
            is_single,
            files: Vec::new(),
            piece_len,
            data: Bytes::new(),
            trees: BTreeMap::new(),
            info: Vec::new(),
            is_private: false,
            hollow: None,
        };
        for (number, (path, length)) in files.iter().enumerate() {
            if kind == Kind::V2 && *length > 0 {
                align(&mut data);
            }
            let offset = data.len() as u64;
            let bytes = &random[taken..taken + *length as usize];
            data.extend_from_slice(bytes);
            taken += bytes.len();
            let tree = (kind != Kind::V1 && *length > 0).then(|| Arc::new(Tree::new(bytes)));
            let root = tree.as_ref().map(|tree| tree.root());
            content.trees.extend(root.zip(tree));
            content.files.push(File { path: (*path).to_owned(), length: *length, offset, root });
            if kind == Kind::Hybrid && !is_single {
                align(&mut data);
            }
            let padding = padding.get(number).map_or(0, |padding| *padding as usize);
            data.resize(data.len() + padding, 0);
        }
        content.data = Bytes::from(data);
        content.info = content.info_dict().to_bytes();
        content
    }

    /// Whether it is private (BEP 27).
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// The metainfo, with these tiers of trackers, as the core reads it.
    ///
    /// # Panics
    /// If the core does not read it, or reads another infohash out of it.
    pub fn metainfo(&self, trackers: &[&[&str]]) -> Arc<Metainfo> {
        let metainfo = Metainfo::parse(&self.torrent_file(trackers)).expect("valid metainfo");
        assert_eq!(metainfo.infohash(), self.infohash(), "the core reads another infohash");
        assert_eq!(metainfo.infohash_v2(), self.infohash_v2(), "the core reads another infohash");
        Arc::new(metainfo)
    }

    /// The `.torrent` file, with these tiers of trackers (BEP 3, BEP 12, BEP 52).
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
        if self.kind != Kind::V1 {
            out.extend_from_slice(b"12:piece layers");
            out.extend(self.piece_layers().to_bytes());
        }
        out.push(b'e');
        out
    }

    /// For which versions it is made.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is known by: the SHA-1 of the info dictionary, or, of v2 alone, the truncated
    /// SHA2-256.
    pub fn infohash(&self) -> InfoHash {
        match self.kind {
            Kind::V2 => self.short_v2().expect("of v2"),
            // It is long, and asked for with each handshake.
            _ if self.is_hollow() => self.hollow.expect("it is").1,
            _ => InfoHash(Sha1::digest(&self.info).into()),
        }
    }

    /// The SHA2-256 of the info dictionary of a torrent of v2 (BEP 52, "infohash").
    pub fn infohash_v2(&self) -> Option<InfoHashV2> {
        (self.kind != Kind::V1).then(|| InfoHashV2(Sha256::digest(&self.info).into()))
    }

    /// The same, truncated as it stands in handshakes.
    pub fn short_v2(&self) -> Option<InfoHash> {
        let mut short = [0; 20];
        short.copy_from_slice(&self.infohash_v2()?.0[..20]);
        Some(InfoHash(short))
    }

    /// All that it is known by in handshakes.
    pub fn short_names(&self) -> Vec<[u8; 20]> {
        let names = [Some(self.infohash()), self.short_v2()];
        names.into_iter().flatten().map(|name| name.0).collect()
    }

    /// Whether it is known by this in handshakes.
    pub fn is_named(&self, infohash: InfoHash) -> bool {
        self.infohash() == infohash || self.short_v2() == Some(infohash)
    }

    /// The trees of its files, by their roots; none of v1.
    pub fn trees(&self) -> &BTreeMap<Hash, Arc<Tree>> {
        &self.trees
    }

    /// Whether these hashes are what the torrent's files have for an answer.
    pub fn proves(&self, run: &HashRun, hashes: &[u8]) -> bool {
        let tree = self.trees.get(&run.pieces_root);
        tree.and_then(|tree| tree.answer(run)).is_some_and(|truth| truth == hashes)
    }

    /// The layer of the trees whose nodes are pieces.
    pub fn piece_layer(&self) -> u32 {
        (self.piece_len / BLOCK_LEN).ilog2()
    }

    /// The files that have more than a piece: their trees, and how many pieces.
    pub fn layered(&self) -> impl Iterator<Item = (&Tree, usize)> {
        self.files.iter().filter_map(|file| {
            let tree = self.trees.get(&file.root?)?;
            let pieces = file.length.div_ceil(u64::from(self.piece_len)) as usize;
            (pieces > 1).then_some((&**tree, pieces))
        })
    }

    /// The tree that has a byte of a piece, and the number of its leaf; none of padding, nor of v1.
    pub fn leaf_at(&self, piece: u32, begin: u32) -> Option<(&Tree, u32)> {
        let at = u64::from(piece) * u64::from(self.piece_len) + u64::from(begin);
        let file = self.files.iter().find(|file| (file.offset..file.end()).contains(&at))?;
        let leaf = (at - file.offset) / u64::from(BLOCK_LEN);
        Some((&**self.trees.get(&file.root?)?, leaf as u32))
    }

    /// The pieces that have leaves in such a run.
    pub fn pieces_of_leaves(&self, run: &HashRun) -> impl Iterator<Item = PieceIndex> + '_ {
        let root = run.pieces_root;
        let (from, to) = (run.index, run.index.saturating_add(run.length));
        (0..self.pieces()).map(PieceIndex).filter(move |piece| {
            (0..self.stored_blocks_of(piece.0)).any(|block| {
                let leaf = self.leaf_at(piece.0, block * BLOCK_LEN);
                leaf.is_some_and(|(tree, leaf)| tree.root() == root && (from..to).contains(&leaf))
            })
        })
    }

    /// The info dictionary.
    pub fn info_bytes(&self) -> &[u8] {
        &self.info
    }

    /// All its pieces, one after the other.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// How many bytes its pieces have.
    pub fn len(&self) -> u64 {
        self.hollow.map_or(self.data.len() as u64, |(length, _)| length)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pieces it has.
    pub fn pieces(&self) -> u32 {
        self.len().div_ceil(u64::from(self.piece_len)) as u32
    }

    /// How many blocks a piece has.
    pub fn blocks_of(&self, piece: u32) -> u32 {
        (self.piece(piece).len() as u32).div_ceil(BLOCK_LEN)
    }

    /// The bytes of a piece; empty if there is no such piece. To v1 it includes the padding at its
    /// end; v2 knows of none.
    pub fn piece(&self, piece: u32) -> Bytes {
        if self.is_hollow() {
            return if piece < self.pieces() { self.data.clone() } else { Bytes::new() };
        }
        let start = (u64::from(piece) * u64::from(self.piece_len)).min(self.len()) as usize;
        let mut end = (start + self.piece_len as usize).min(self.data.len());
        if self.kind == Kind::V2 {
            end = start + self.stored_len(piece) as usize;
        }
        self.data.slice(start..end)
    }

    /// How many bytes a piece has before the padding at its end.
    pub fn stored_len(&self, piece: u32) -> u32 {
        let start = u64::from(piece) * u64::from(self.piece_len);
        let end = start + u64::from(self.piece_len);
        let before = self.files.iter().filter(|file| file.offset < end);
        let ends = before.map(|file| file.end().clamp(start, end));
        ends.max().map_or(0, |last| (last - start) as u32)
    }

    /// How many blocks of a piece have bytes that are stored.
    pub fn stored_blocks_of(&self, piece: u32) -> u32 {
        let blocks = (0..self.blocks_of(piece)).map(|block| block * BLOCK_LEN);
        blocks.filter(|begin| self.stored_in(piece, *begin, BLOCK_LEN) > 0).count() as u32
    }

    /// How many bytes of a run of a piece are stored; what is not, is padding.
    pub fn stored_in(&self, piece: u32, begin: u32, length: u32) -> u32 {
        let piece_start = u64::from(piece) * u64::from(self.piece_len);
        let start = piece_start + u64::from(begin.min(self.piece_len));
        let end = (start + u64::from(length)).min(piece_start + u64::from(self.piece_len));
        let stored = |file: &File| file.end().min(end).saturating_sub(file.offset.max(start));
        self.files.iter().map(stored).sum::<u64>() as u32
    }

    /// The bytes that a run of a piece is answered with, padding among them though v2 knows of none.
    pub fn served(&self, piece: u32, begin: u32, length: u32) -> Option<Bytes> {
        if self.is_hollow() {
            return self.run(piece, begin, length);
        }
        let start = u64::from(piece) * u64::from(self.piece_len) + u64::from(begin);
        let is_inside = u64::from(begin) + u64::from(length) <= u64::from(self.piece_len);
        let (start, end) = (start as usize, (start + u64::from(length)) as usize);
        (is_inside && end <= self.data.len()).then(|| self.data.slice(start..end))
    }

    /// A run of bytes of a piece; `None` if it does not lie inside the piece.
    pub fn run(&self, piece: u32, begin: u32, length: u32) -> Option<Bytes> {
        let piece = self.piece(piece);
        let end = begin.checked_add(length)? as usize;
        (end <= piece.len()).then(|| piece.slice(begin as usize..end))
    }

    /// Where its files lie under this root, and how long they are.
    pub fn paths(&self, root: &Path) -> Vec<(PathBuf, u64)> {
        self.files.iter().map(|file| (self.path(root, file), file.length)).collect()
    }

    fn path(&self, root: &Path, file: &File) -> PathBuf {
        let base = root.join(&self.name);
        if self.is_single { base } else { base.join(&file.path) }
    }

    /// Puts all of it on a disk.
    ///
    /// # Panics
    /// If nobody has its bytes.
    pub fn plant(&self, disk: &mut Disk, root: &Path) {
        assert!(!self.is_hollow(), "there is nothing to put there");
        for file in &self.files {
            let bytes = &self.data[file.offset as usize..file.end() as usize];
            disk.plant(self.path(root, file), bytes.to_vec());
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
        if self.is_hollow() {
            return false;
        }
        let start = u64::from(piece) * u64::from(self.piece_len);
        let end = start + u64::from(self.piece_len);
        self.files.iter().all(|file| {
            let (from, to) = (start.max(file.offset), end.min(file.end()));
            if from >= to {
                return true;
            }
            let wanted = &self.data[from as usize..to as usize];
            let within = (from - file.offset) as usize..(to - file.offset) as usize;
            let there = read(&self.path(root, file));
            there.and_then(|data| data.get(within)) == Some(wanted)
        })
    }

    // The metainfo.

    fn info_dict(&self) -> Value {
        let mut info = vec![
            ("name", Value::bytes(&self.name)),
            ("piece length", Value::Int(self.piece_len.into())),
        ];
        if self.kind != Kind::V2 {
            let pieces = self.data.chunks(self.piece_len as usize);
            let hashes: Vec<u8> = pieces.flat_map(|piece| Sha1::digest(piece).to_vec()).collect();
            info.push(("pieces", Value::bytes(hashes)));
            info.push(match &self.files[..] {
                [only] if self.is_single => ("length", number(only.length)),
                files => ("files", Value::List(self.file_list(files))),
            });
        }
        if self.kind != Kind::V1 {
            info.push(("meta version", Value::Int(2)));
            info.push(("file tree", self.file_tree()));
        }
        Value::dict(info)
    }

    /// The files of v1, with the padding that a hybrid has after each (BEP 47).
    fn file_list(&self, files: &[File]) -> Vec<Value> {
        let ends = files.iter().skip(1).map(|next| next.offset).chain([self.len()]);
        let mut list = Vec::new();
        for (file, next) in files.iter().zip(ends) {
            let path = file.path.split('/').map(Value::bytes).collect();
            list.push(Value::dict([("length", number(file.length)), ("path", Value::List(path))]));
            let padding = next - file.end();
            if padding > 0 {
                let path = [".pad".to_owned(), padding.to_string()];
                list.push(Value::dict([
                    ("attr", Value::bytes("p")),
                    ("length", number(padding)),
                    ("path", Value::List(path.iter().map(Value::bytes).collect())),
                ]));
            }
        }
        list
    }

    /// BEP 52, "file tree".
    fn file_tree(&self) -> Value {
        let mut tree = BTreeMap::new();
        for file in &self.files {
            let root = file.root.map(|root| ("pieces root", Value::bytes(root)));
            let leaf = Value::dict([("length", number(file.length))].into_iter().chain(root));
            let path = if self.is_single { &self.name } else { &file.path };
            let mut folder = &mut tree;
            for part in path.split('/') {
                let below = folder.entry(part.as_bytes().to_vec());
                let Value::Dict(below) = below.or_insert_with(|| Value::Dict(BTreeMap::new()))
                else {
                    panic!("a file is no folder");
                };
                folder = below;
            }
            folder.insert(Vec::new(), leaf);
        }
        Value::Dict(tree)
    }

    /// BEP 52, "piece layers": of the files that have more than one piece.
    fn piece_layers(&self) -> Value {
        let layers = self.layered().map(|(tree, pieces)| {
            let layer = &tree.layer(self.piece_layer())[..pieces];
            (tree.root().to_vec(), Value::bytes(layer.as_flattened()))
        });
        Value::Dict(layers.collect())
    }
}

fn number(number: u64) -> Value {
    Value::Int(i64::try_from(number).expect("fits"))
}

/// The announce URL of a tracker that listens there.
pub fn announce_url(tracker: SocketAddr) -> String {
    format!("http://{tracker}/announce")
}

#[cfg(test)]
mod tests {
    use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};

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

    /// What the core makes of the same files.
    fn created(kind: Kind, content: &Content, files: &[(&str, u64)]) -> Metainfo {
        let protocol = match kind {
            Kind::V1 => Protocol::V1,
            Kind::V2 => Protocol::V2,
            Kind::Hybrid => Protocol::Hybrid,
        };
        let creator = match files {
            [("", length)] => Creator::single_file("t", *length),
            _ => {
                let file = |(path, len): &(&str, u64)| NewFile::new(path.split('/'), *len);
                Creator::folder_in_order("t", files.iter().map(file))
            }
        };
        let mut creator = creator.with_protocol(protocol);
        creator.piece_length = 32_768;
        let stored = content.files.iter();
        let stored = stored.map(|file| &content.data[file.offset as usize..file.end() as usize]);
        creator.finish_with_content(&stored.collect::<Vec<_>>().concat()).expect("valid")
    }

    #[test]
    fn torrents_of_all_kinds_are_what_the_core_would_have_made() {
        let many = [("d", 70_000), ("b/empty", 0), ("b/c", 16_385), ("a", 32_768), ("e", 5)];
        for kind in Kind::ALL {
            for files in [&many[..], &[("", 100_000)], &[("", 3)]] {
                let content = match files {
                    [("", length)] => Content::single_of(kind, 1, "t", *length, 32_768),
                    _ => Content::multi_of(kind, 1, "t", files, 32_768),
                };
                let (read, made) = (content.metainfo(&[]), created(kind, &content, files));
                assert_eq!(read.infohash(), made.infohash(), "{kind:?} {files:?}");
                assert_eq!(read.infohash_v2(), made.infohash_v2());
                let geometry = read.geometry();
                for piece in geometry.iter() {
                    let blocks = content.stored_blocks_of(piece.0);
                    assert_eq!(geometry.blocks_of(piece), blocks);
                    let in_content = content.blocks_of(piece.0);
                    assert!(blocks == in_content || kind == Kind::Hybrid);
                    let hash = read.expected_hash(piece).expect("known");
                    let whole = content.piece(piece.0);
                    assert!(hash.is_of([&whole[..]]), "{kind:?} {files:?} {piece:?}");
                }
                let mut disk = Disk::new(1, "disk", 0);
                content.plant(&mut disk, Path::new("/data"));
                assert!(content.is_on_disk(&disk, Path::new("/data")));
            }
        }
    }

    #[test]
    fn of_a_hollow_torrent_nobody_has_a_piece() {
        let content = Content::hollow(1, "hollow", 100_000);
        let metainfo = content.metainfo(&[]);
        assert_eq!(metainfo.geometry().pieces(), 100_000);
        assert_eq!((content.pieces(), content.blocks_of(99_999)), (100_000, 1));
        assert_eq!(content.piece(99_999).len(), 16_384);
        assert_eq!((content.piece(100_000).len(), content.run(100_000, 0, 1)), (0, None));
        let given: [u8; 20] = Sha1::digest(content.piece(7)).into();
        assert_ne!(metainfo.piece_hash(PieceIndex(7)), Some(given));
        assert!(!content.is_on_disk(&Disk::new(1, "disk", 0), Path::new("/data")));
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
