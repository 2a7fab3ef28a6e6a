//! Making metainfo files (BEP 3, 5, 12, 19, 27, 47, 52): pure, so the caller reads and hashes.
//!
//! A [`Creator`] is told what the torrent is to be; [`Creator::layout`] says which bytes of which
//! file make up each piece; with the pieces' hashes, [`Creator::finish_with_hashes`] gives the
//! file's bytes. The same input gives the same bytes: [`Creator::folder`] puts files into the order
//! of their paths, which is that of a file tree of v2. A hybrid is padded as libtorrent does it.
//! A name that we would have to store under another is refused, because nobody could seed it.

mod hashes;
mod write;

use std::fmt;

use bytes::Bytes;

use super::links::{Kind, Places};
use super::{Attributes, Metainfo, MetainfoError, PathRules, padding};
use crate::merkle::is_piece_len;
use crate::piece::{BLOCK_LEN, Geometry, MAX_PIECE_LEN, MAX_PIECES};
use crate::storage::layout::Layout;

pub use hashes::PieceHashes;

/// Most components of a path (chosen: with what surrounds it, a file tree stays within the depth
/// of bencoding that is read).
const MAX_DEPTH: usize = 90;

/// Which versions of the protocol a torrent is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// BitTorrent v1 (BEP 3).
    #[default]
    V1,
    /// BitTorrent v2 (BEP 52).
    V2,
    /// Both: two infohashes, one content.
    Hybrid,
}

impl Protocol {
    /// Whether pieces have SHA-1 hashes.
    pub const fn has_v1(self) -> bool {
        matches!(self, Protocol::V1 | Protocol::Hybrid)
    }

    /// Whether files have merkle trees, and each begins with a piece.
    pub const fn has_v2(self) -> bool {
        matches!(self, Protocol::V2 | Protocol::Hybrid)
    }
}

/// A torrent to be made.
#[derive(Clone, Debug)]
pub struct Creator {
    name: String,
    content: Content,
    protocol: Protocol,
    /// Bytes a piece; [`auto_piece_length`] at first.
    pub piece_length: u32,
    /// Trackers in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// HTTP seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// DHT nodes to begin with, as host and port (BEP 5).
    pub nodes: Vec<(String, u16)>,
    /// Whether peers may come from the trackers only (BEP 27). Part of the infohash.
    pub private: bool,
    /// What sets it apart from the same content elsewhere. Part of the infohash.
    pub source: Option<String>,
    /// A comment.
    pub comment: Option<String>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub creation_date: Option<u64>,
}

#[derive(Clone, Debug)]
enum Content {
    Single(NewFile),
    Files(Vec<NewFile>),
}

/// A file to be put into a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewFile {
    /// The components of its path under the torrent's folder.
    pub path: Vec<String>,
    /// In bytes.
    pub length: u64,
    /// Whether it is padding: zeros that let the next file begin with a piece (BEP 47).
    pub pad: bool,
    /// Whether it is to be made executable (BEP 47).
    pub executable: bool,
    /// Whether it is to be hidden (BEP 47).
    pub hidden: bool,
    /// Of a symbolic link, which has no length: the components of its target's path under the
    /// torrent's folder (BEP 47).
    pub link: Option<Vec<String>>,
}

impl NewFile {
    /// A plain file.
    pub fn new(path: impl IntoIterator<Item = impl Into<String>>, length: u64) -> Self {
        let path = path.into_iter().map(Into::into).collect();
        NewFile { path, length, pad: false, executable: false, hidden: false, link: None }
    }

    /// Whether it has bytes that are read.
    fn is_stored(&self) -> bool {
        !self.pad && self.link.is_none()
    }

    fn attributes(&self) -> Attributes {
        Attributes {
            pad: self.pad,
            symlink: self.link.is_some(),
            executable: self.executable,
            hidden: self.hidden,
        }
    }
}

/// The links among the files that lead to none of them, nor to a folder that has one in it, by
/// their index; or whose place is taken. A link may lead to another.
pub fn dangling_links(files: &[NewFile]) -> Vec<usize> {
    let mut places = Places::default();
    let path = |file: &NewFile| file.path.join("/");
    for file in files.iter().filter(|file| file.is_stored()) {
        places.add(&path(file), Kind::File);
    }
    let links: Vec<(usize, bool, String)> = (0..)
        .zip(files)
        .filter_map(|(index, file)| {
            let target = file.link.as_ref()?.join("/");
            let is_free = places.add(&path(file), Kind::Link(target.clone()));
            Some((index, is_free, target))
        })
        .collect();
    let dangles =
        |(_, is_free, target): &(usize, bool, String)| !is_free || !places.leads_somewhere(target);
    links.iter().filter(|link| dangles(link)).map(|(index, ..)| *index).collect()
}

/// Why a torrent cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// There is no file at all.
    NoFiles,
    /// The content is empty: no piece, nothing to transfer.
    Empty,
    /// The piece length is 0 or past [`MAX_PIECE_LEN`], or makes more than [`MAX_PIECES`] pieces.
    PieceLength(u32),
    /// The piece length is not one that v2 allows: a power of two from 16 KiB to [`MAX_PIECE_LEN`].
    PieceLengthV2(u32),
    /// A file lies in more folders than can be read again.
    TooDeep {
        /// Its path.
        path: String,
    },
    /// The hashes are not 20 bytes (v1) and 32 bytes (v2) for each piece.
    PieceHashes {
        /// Bytes given.
        given: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// A file cannot be stored under its own name.
    Name {
        /// Its name.
        name: String,
        /// The name it would get.
        stored_as: String,
    },
    /// It would be refused when read.
    Unreadable(MetainfoError),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFiles => write!(f, "there is no file to make a torrent of"),
            Self::Empty => write!(f, "the files are empty: there is nothing to share"),
            Self::PieceLength(len) => write!(
                f,
                "piece length {len} does not work here: it must be between 1 and {MAX_PIECE_LEN} \
                 bytes and make at most {MAX_PIECES} pieces"
            ),
            Self::PieceLengthV2(len) => write!(
                f,
                "piece length {len} does not work for v2: it must be a power of two from \
                 {BLOCK_LEN} to {MAX_PIECE_LEN} bytes"
            ),
            Self::TooDeep { path } => {
                write!(f, "{path} lies too deep: at most {MAX_DEPTH} names are possible in a path")
            }
            Self::PieceHashes { given, needed } => {
                write!(f, "{given} bytes of piece hashes where {needed} are needed")
            }
            Self::Name { name, stored_as } => write!(
                f,
                "{name:?} would be stored as {stored_as:?} by those who download it; rename it first"
            ),
            Self::Unreadable(error) => write!(f, "the torrent could not be read again: {error}"),
        }
    }
}

impl std::error::Error for CreateError {}

/// The piece length that suits content of this many bytes: a power of two from 16 KiB, as small as
/// keeps the pieces at 2048, then up to 16 MiB, then as small as keeps them at [`MAX_PIECES`]
/// (chosen).
pub fn auto_piece_length(total_len: u64) -> u32 {
    const COMFORTABLE_PIECES: u64 = 2048;
    const COMFORTABLE_LEN: u32 = 16 * 1024 * 1024;
    let mut len = BLOCK_LEN;
    while len < MAX_PIECE_LEN {
        let pieces = total_len.div_ceil(u64::from(len));
        let most = if len < COMFORTABLE_LEN { COMFORTABLE_PIECES } else { u64::from(MAX_PIECES) };
        if pieces <= most {
            break;
        }
        len *= 2;
    }
    len
}

impl Creator {
    /// A torrent of one file.
    pub fn single_file(name: impl Into<String>, length: u64) -> Self {
        let name = name.into();
        let file = NewFile::new([name.clone()], length);
        Self::new(name, Content::Single(file), length)
    }

    /// A torrent of a folder. The files are put into the order of their paths.
    pub fn folder(name: impl Into<String>, files: impl IntoIterator<Item = NewFile>) -> Self {
        let mut files: Vec<NewFile> = files.into_iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self::folder_in_order(name, files)
    }

    /// A torrent of a folder whose files keep the order they are given in, for padding between
    /// them.
    pub fn folder_in_order(
        name: impl Into<String>,
        files: impl IntoIterator<Item = NewFile>,
    ) -> Self {
        let files: Vec<NewFile> = files.into_iter().collect();
        let total = files.iter().fold(0_u64, |total, file| total.saturating_add(file.length));
        Self::new(name.into(), Content::Files(files), total)
    }

    fn new(name: String, content: Content, total: u64) -> Self {
        Creator {
            name,
            content,
            protocol: Protocol::V1,
            piece_length: auto_piece_length(total),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            nodes: Vec::new(),
            private: false,
            source: None,
            comment: None,
            created_by: None,
            creation_date: None,
        }
    }

    /// A torrent of one file with its attributes as given (BEP 47).
    pub fn with_attributes(mut self, executable: bool, hidden: bool) -> Self {
        if let Content::Single(file) = &mut self.content {
            (file.executable, file.hidden) = (executable, hidden);
        }
        self
    }

    /// The same content for other versions of the protocol. For v2, files are put into the order
    /// of the file tree, and padding among them is dropped: it is added where it is needed.
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        if let (true, Content::Files(files)) = (protocol.has_v2(), &mut self.content) {
            files.retain(|file| !file.pad);
            files.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Creator { protocol, ..self }
    }

    /// Which versions of the protocol it is for.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files in the order of the content: the caller reads them in this order. Of padding
    /// (BEP 47) that was asked for it takes zeros; what v2 needs is not listed.
    pub fn files(&self) -> &[NewFile] {
        match &self.content {
            Content::Single(file) => std::slice::from_ref(file),
            Content::Files(files) => files,
        }
    }

    /// What the content consists of: files, and the padding that v2 needs between them. A hybrid
    /// is padded after each of several files, the last too; v2 alone is where a file follows.
    fn parts(&self) -> Vec<Part<'_>> {
        let piece_len = u64::from(self.piece_length.max(1));
        let is_alone = self.files().len() == 1;
        let mut parts = Vec::with_capacity(self.files().len());
        let mut offset = 0_u64;
        let pad = |parts: &mut Vec<Part<'_>>, offset: &mut u64| {
            let aligned = offset.checked_next_multiple_of(piece_len).unwrap_or(u64::MAX);
            if aligned > *offset {
                parts.push(Part::Padding(aligned - *offset));
                *offset = aligned;
            }
        };
        for file in self.files() {
            if self.protocol == Protocol::V2 && file.length > 0 {
                pad(&mut parts, &mut offset);
            }
            parts.push(Part::File(file));
            offset = offset.saturating_add(file.length);
            if self.protocol == Protocol::Hybrid && !is_alone {
                pad(&mut parts, &mut offset);
            }
        }
        parts
    }

    /// How the content is cut into pieces. Checks everything that can be wrong before hashing.
    pub fn geometry(&self) -> Result<Geometry, CreateError> {
        self.geometry_of(&self.parts())
    }

    fn geometry_of(&self, parts: &[Part<'_>]) -> Result<Geometry, CreateError> {
        let total = parts.iter().try_fold(0_u64, |total, part| {
            total.checked_add(part.length()).filter(|&total| i64::try_from(total).is_ok())
        });
        if self.protocol.has_v2() {
            if !is_piece_len(self.piece_length.into()) {
                return Err(CreateError::PieceLengthV2(self.piece_length));
            }
            if let Some(deep) = self.files().iter().find(|file| file.path.len() > MAX_DEPTH) {
                return Err(CreateError::TooDeep { path: deep.path.join("/") });
            }
        }
        match total {
            _ if self.files().is_empty() => Err(CreateError::NoFiles),
            None => Err(CreateError::Unreadable(MetainfoError::TotalOverflow)),
            Some(0) => Err(CreateError::Empty),
            Some(total) => {
                let geometry = Geometry::new(total, self.piece_length)
                    .ok_or(CreateError::PieceLength(self.piece_length))?;
                let lengths = parts.iter().map(|part| (part.length(), part.is_padding()));
                Ok(padding::mark(geometry, lengths, self.protocol.has_v1()))
            }
        }
    }

    /// Which bytes to read for each piece. Without padding and links among [`Creator::files`], a
    /// [`FileIndex`](crate::disk::FileIndex) in it is an index into them.
    pub fn layout(&self) -> Result<Layout, CreateError> {
        let parts = self.parts();
        let files = parts.iter().map(|part| (part.length(), part.is_stored()));
        let layout = Layout::from_parts(self.geometry_of(&parts)?, files);
        layout.ok_or(CreateError::Unreadable(MetainfoError::TooManyFiles))
    }

    /// The metainfo file of a torrent of v1, given the SHA-1 hashes of all pieces one after the
    /// other. What is returned has been read again, and its names are the ones asked for.
    pub fn finish(&self, piece_hashes: &[u8]) -> Result<Metainfo, CreateError> {
        self.finish_with_hashes(&PieceHashes { v1: piece_hashes.to_vec(), v2: Vec::new() })
    }

    /// The metainfo file, given the hashes that its protocol has. What is returned has been read
    /// again, and its names are the ones asked for.
    pub fn finish_with_hashes(&self, hashes: &PieceHashes) -> Result<Metainfo, CreateError> {
        let layout = self.layout()?;
        hashes.check(self.protocol, layout.geometry())?;
        let bytes = Bytes::from(self.encode(&layout, hashes));
        let metainfo =
            Metainfo::from_bytes(bytes, PathRules::HOST).map_err(CreateError::Unreadable)?;
        self.check_names(&metainfo)?;
        Ok(metainfo)
    }

    /// The metainfo file, hashing content that is in memory: all files in the order of
    /// [`Creator::files`], padding among them included. For tests and simulations.
    pub fn finish_with_content(&self, content: &[u8]) -> Result<Metainfo, CreateError> {
        let layout = self.layout()?;
        self.finish_with_hashes(&PieceHashes::of_content(self, &layout, content))
    }

    /// Fails if a name was changed to make it safe.
    fn check_names(&self, metainfo: &Metainfo) -> Result<(), CreateError> {
        let differs = |name: &str, stored_as: &str| {
            let (name, stored_as) = (name.to_owned(), stored_as.to_owned());
            if name == stored_as { Ok(()) } else { Err(CreateError::Name { name, stored_as }) }
        };
        differs(&self.name, metainfo.name())?;
        let new = self.files().iter().filter(|file| !file.pad);
        let read = metainfo.files().iter().filter(|file| !file.attributes().pad);
        // A torrent of one file has the torrent's name for its path.
        let path = |file: &NewFile| match self.content {
            Content::Single(_) => self.name.clone(),
            Content::Files(_) => file.path.join("/"),
        };
        new.zip(read).try_for_each(|(new, file)| differs(&path(new), file.path()))
    }
}

/// What content consists of.
enum Part<'a> {
    File(&'a NewFile),
    /// So many zeros.
    Padding(u64),
}

impl Part<'_> {
    fn length(&self) -> u64 {
        match self {
            Part::File(file) => file.length,
            Part::Padding(length) => *length,
        }
    }

    fn is_padding(&self) -> bool {
        match self {
            Part::File(file) => file.pad,
            Part::Padding(_) => true,
        }
    }

    fn is_stored(&self) -> bool {
        matches!(self, Part::File(file) if file.is_stored())
    }
}

#[cfg(test)]
mod tests {
    use sha1::{Digest, Sha1};

    use super::*;
    use crate::disk::{FileIndex, Span};
    use crate::piece::PieceIndex;

    fn folder() -> Creator {
        let files = [(["b", "z"], 20_000), (["a", "y"], 0), (["B", "x"], 5)];
        Creator::folder("top", files.map(|(path, length)| NewFile::new(path, length)))
    }

    #[test]
    fn a_file_is_made_canonical_with_every_key() {
        let creator = Creator {
            piece_length: 32_768,
            trackers: vec![vec!["http://a/".into(), "http://b/".into()], vec!["http://c/".into()]],
            web_seeds: vec!["http://seed/".into()],
            nodes: vec![("node".into(), 6881)],
            private: true,
            source: Some("here".into()),
            comment: Some("hello".into()),
            created_by: Some("bitswarm".into()),
            creation_date: Some(1_700_000_000),
            ..Creator::single_file("file", 5)
        };
        let torrent = creator.finish(b"aaaaaaaaaaaaaaaaaaaa").unwrap();
        let expected = "d8:announce9:http://a/13:announce-listll9:http://a/9:http://b/e\
            l9:http://c/ee7:comment5:hello10:created by8:bitswarm13:creation datei1700000000e\
            4:infod6:lengthi5e4:name4:file12:piece lengthi32768e6:pieces20:aaaaaaaaaaaaaaaaaaaa\
            7:privatei1e6:source4:heree5:nodesll4:nodei6881eee8:url-list12:http://seed/e";
        assert_eq!(torrent.to_bytes(), expected);
        assert_eq!(torrent.trackers(), creator.trackers);
        assert_eq!(torrent.web_seeds(), creator.web_seeds);
        assert!(torrent.is_private());
        assert_eq!(torrent.source(), Some("here"));
        assert_eq!(torrent.comment(), Some("hello"));
        assert_eq!(torrent.created_by(), Some("bitswarm"));
        assert_eq!(torrent.creation_date(), Some(1_700_000_000));
    }

    #[test]
    fn the_order_in_which_files_are_named_does_not_matter() {
        let creator = folder();
        let paths: Vec<_> = creator.files().iter().map(|file| file.path.join("/")).collect();
        assert_eq!(paths, ["B/x", "a/y", "b/z"]);
        let backwards = Creator::folder("top", creator.files().iter().rev().cloned());
        let content = vec![7; 20_005];
        let torrent = creator.finish_with_content(&content).unwrap();
        assert_eq!(torrent, backwards.finish_with_content(&content).unwrap());
        let paths: Vec<_> = torrent.files().iter().map(super::super::File::path).collect();
        assert_eq!(paths, ["B/x", "a/y", "b/z"]);
    }

    #[test]
    fn the_layout_says_what_to_read_and_hashes_are_those_of_the_pieces() {
        let creator = folder();
        let layout = creator.layout().unwrap();
        let spans = [
            Span { file: Some(FileIndex(0)), offset: 0, length: 5 },
            Span { file: Some(FileIndex(2)), offset: 0, length: 16_379 },
        ];
        assert_eq!(layout.piece_spans(PieceIndex(0))[..], spans);
        let content: Vec<u8> = (0..20_005_u32).map(|byte| byte as u8).collect();
        let torrent = creator.finish_with_content(&content).unwrap();
        let second: [u8; 20] = Sha1::digest(&content[16_384..]).into();
        assert_eq!(torrent.piece_hash(PieceIndex(1)), Some(second));
        assert_eq!(Layout::new(&torrent), layout);
    }

    #[test]
    fn padding_and_executables_are_marked() {
        let file = |path: &str, length| NewFile::new([path], length);
        let pad = NewFile { pad: true, ..NewFile::new([".pad", "16379"], 16_379) };
        let program = NewFile { executable: true, ..file("c", 1) };
        let creator = Creator::folder_in_order("top", [file("a", 5), pad, program]);
        let mut content = vec![0; 16_385];
        content[16_384] = 1;
        let torrent = creator.finish_with_content(&content).unwrap();
        assert!(torrent.files()[1].attributes().pad);
        assert!(torrent.files()[2].attributes().executable);
        assert_eq!(Layout::new(&torrent), creator.layout().unwrap());
    }

    /// Whether a torrent lies where its creator said; what it has of padding besides is its own.
    fn lies_as_planned(torrent: &Metainfo, creator: &Creator) -> bool {
        let (read, planned) = (Layout::new(torrent), creator.layout().unwrap());
        let mut pieces = planned.geometry().iter();
        read.geometry().pieces() == planned.geometry().pieces()
            && pieces.all(|piece| read.piece_spans(piece) == planned.piece_spans(piece))
    }

    #[test]
    fn a_hybrid_is_padded_and_both_its_parts_are_read() {
        let content: Vec<u8> = (0..20_005_u32).map(|byte| (byte / 3) as u8).collect();
        let creator = folder().with_protocol(Protocol::Hybrid);
        let torrent = creator.finish_with_content(&content).unwrap();
        assert!(torrent.has_v1() && torrent.has_v2() && torrent.has_piece_layers());
        let files: Vec<_> = torrent.files().iter().map(|f| (f.path(), f.length())).collect();
        let expected = [
            ("B/x", 5),
            (".pad/16379", 16_379),
            ("a/y", 0),
            ("b/z", 20_000),
            (".pad/12768", 12_768),
        ];
        assert_eq!(files, expected);
        let mut last = content[5 + 16_384..].to_vec();
        last.resize(16_384, 0);
        assert_eq!(torrent.piece_hash(PieceIndex(2)), Some(Sha1::digest(&last).into()));
        let leaf = crate::merkle::leaf(&content[5 + 16_384..]);
        assert_eq!(torrent.piece_hash_v2(PieceIndex(2)), Some(leaf));
        assert_eq!(torrent.pieces_root(0), Some(crate::merkle::leaf(&content[..5])));
        assert!(lies_as_planned(&torrent, &creator));
    }

    #[test]
    fn v2_alone_has_the_tree_of_the_hybrid_and_nothing_of_v1() {
        let content = vec![9; 20_005];
        let hybrid = folder().with_protocol(Protocol::Hybrid).finish_with_content(&content);
        let creator = folder().with_protocol(Protocol::V2);
        let torrent = creator.finish_with_content(&content).unwrap();
        assert!(!torrent.has_v1() && torrent.has_piece_layers());
        assert!(lies_as_planned(&torrent, &creator));
        let hybrid = hybrid.unwrap();
        let pieces = 0..3;
        assert!(
            pieces.map(PieceIndex).all(|p| torrent.piece_hash_v2(p) == hybrid.piece_hash_v2(p))
        );
        let text = String::from_utf8_lossy(&torrent.to_bytes()).into_owned();
        assert!(!text.contains("5:files") && !text.contains("6:pieces"));
    }

    #[test]
    fn a_hybrid_of_one_file_is_one_file_in_both_parts() {
        let creator = Creator::single_file("one", 40_000).with_protocol(Protocol::Hybrid);
        let torrent = creator.finish_with_content(&[3; 40_000]).unwrap();
        assert!(!torrent.is_multi_file() && torrent.has_v2());
        assert_eq!(torrent.files().len(), 1);
        assert_eq!(torrent.piece_layer(0).unwrap().len(), 96);
        let v2 = creator.with_protocol(Protocol::V2).finish_with_content(&[3; 40_000]).unwrap();
        assert!(!v2.is_multi_file());
        assert_eq!(v2.pieces_root(0), torrent.pieces_root(0));
    }

    #[test]
    fn one_file_alone_in_a_folder_is_not_padded() {
        let creator = Creator::folder("top", [NewFile::new(["a"], 5)]);
        let torrent =
            creator.with_protocol(Protocol::Hybrid).finish_with_content(b"12345").unwrap();
        assert_eq!((torrent.files().len(), torrent.total_len()), (1, 5));
        assert!(torrent.is_multi_file());
    }

    #[test]
    fn links_are_written_in_both_parts() {
        let link = NewFile { link: Some(vec!["b".into(), "z".into()]), ..NewFile::new(["l"], 0) };
        let files = [NewFile::new(["b", "z"], 5), link];
        for protocol in [Protocol::V1, Protocol::V2, Protocol::Hybrid] {
            let creator = Creator::folder("top", files.clone()).with_protocol(protocol);
            let torrent = creator.finish_with_content(b"12345").unwrap();
            let link = torrent.files().iter().position(|f| f.attributes().symlink).unwrap();
            assert_eq!(torrent.link_target(link), Some("b/z"), "{protocol:?}");
        }
    }

    #[test]
    fn what_v2_forbids_is_refused_before_hashing() {
        let creator = Creator { piece_length: 40_000, ..folder() };
        assert!(creator.geometry().is_ok());
        let creator = creator.with_protocol(Protocol::Hybrid);
        assert_eq!(creator.geometry(), Err(CreateError::PieceLengthV2(40_000)));
        let deep = NewFile::new(vec!["d"; 91], 1);
        let deep = Creator::folder("top", [deep]).with_protocol(Protocol::V2);
        assert!(matches!(deep.geometry(), Err(CreateError::TooDeep { .. })));
        let just = NewFile::new(vec!["d"; 90], 1);
        let just = Creator::folder("top", [just]).with_protocol(Protocol::V2);
        assert!(just.finish_with_content(b"x").is_ok());
    }

    #[test]
    fn names_that_could_not_be_stored_as_they_are_are_refused() {
        let named = |name: &str| Creator::single_file(name, 1).finish(&[0; 20]).map(drop);
        let refused = |name: &str, stored_as: &str| {
            Err(CreateError::Name { name: name.into(), stored_as: stored_as.into() })
        };
        assert_eq!(named("a: really?"), Ok(()));
        assert_eq!(named("a\\b"), refused("a\\b", "ab"));
        assert_eq!(named("a\nb"), refused("a\nb", "a_b"));
        let twins = [NewFile::new(["README"], 1), NewFile::new(["readme"], 1)];
        let twins = Creator::folder("top", twins).finish(&[0; 20]).map(drop);
        assert_eq!(twins, refused("readme", "readme.1"));
        let inside = Creator::folder("top", [NewFile::new(["..", "x"], 1)]);
        assert_eq!(inside.finish(&[0; 20]).map(drop), refused("../x", "_/x"));
    }

    #[test]
    fn what_cannot_be_a_torrent_is_refused_before_hashing() {
        let none: [NewFile; 0] = [];
        assert_eq!(Creator::folder("top", none).geometry(), Err(CreateError::NoFiles));
        assert_eq!(Creator::single_file("a", 0).geometry(), Err(CreateError::Empty));
        let with_length =
            |piece_length| Creator { piece_length, ..Creator::single_file("a", 1 << 40) };
        assert_eq!(with_length(0).geometry(), Err(CreateError::PieceLength(0)));
        assert_eq!(with_length(16_384).geometry(), Err(CreateError::PieceLength(16_384)));
        assert!(with_length(1 << 20).geometry().is_ok());
        let huge = [NewFile::new(["a"], u64::MAX), NewFile::new(["b"], u64::MAX)];
        let huge = Creator::folder("top", huge).geometry();
        assert_eq!(huge, Err(CreateError::Unreadable(MetainfoError::TotalOverflow)));
        let short = Creator::single_file("a", 5).finish(&[0; 40]).map(drop);
        assert_eq!(short, Err(CreateError::PieceHashes { given: 40, needed: 20 }));
    }

    #[test]
    fn the_automatic_piece_length_keeps_the_pieces_few_and_allowed() {
        assert_eq!(auto_piece_length(0), 16_384);
        assert_eq!(auto_piece_length(32 << 20), 16_384);
        assert_eq!(auto_piece_length((32 << 20) + 1), 32_768);
        assert_eq!(auto_piece_length(1 << 30), 512 << 10);
        assert_eq!(auto_piece_length(1 << 40), 16 << 20);
        assert_eq!(auto_piece_length(1 << 48), 128 << 20);
        assert_eq!(auto_piece_length(u64::MAX), MAX_PIECE_LEN);
        assert!(
            (0..=49).all(|bits| Geometry::new(1 << bits, auto_piece_length(1 << bits)).is_some())
        );
    }
}
