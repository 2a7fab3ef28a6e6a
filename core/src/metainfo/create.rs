//! Making metainfo files (BEP 3, 12, 19, 27, 47): pure, so the caller reads and hashes.
//!
//! A [`Creator`] is told what the torrent is to be; [`Creator::layout`] says which bytes of which
//! file make up each piece; with the pieces' SHA-1 hashes, [`Creator::finish`] gives the file's
//! bytes. The same input gives the same bytes: [`Creator::folder`] puts files into the order of
//! their paths.
//! A name that we would have to store under another is refused, because nobody could seed it.

use std::fmt;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::{Attributes, Metainfo, MetainfoError, PathRules};
use crate::bencode::{DictWriter, encode_dict};
use crate::piece::{BLOCK_LEN, Geometry, MAX_PIECE_LEN, MAX_PIECES};
use crate::storage::layout::Layout;

/// A torrent to be made.
#[derive(Clone, Debug)]
pub struct Creator {
    name: String,
    content: Content,
    /// Bytes a piece; [`auto_piece_length`] at first.
    pub piece_length: u32,
    /// Trackers in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// HTTP seeds (BEP 19).
    pub web_seeds: Vec<String>,
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
}

impl NewFile {
    /// A plain file.
    pub fn new(path: impl IntoIterator<Item = impl Into<String>>, length: u64) -> Self {
        let path = path.into_iter().map(Into::into).collect();
        NewFile { path, length, pad: false, executable: false }
    }

    fn attributes(&self) -> Attributes {
        Attributes { pad: self.pad, executable: self.executable, ..Attributes::default() }
    }
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
    /// The hashes are not 20 bytes for each piece.
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
            piece_length: auto_piece_length(total),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            private: false,
            source: None,
            comment: None,
            created_by: None,
            creation_date: None,
        }
    }

    /// The files in the order of the content: the caller reads them in this order. Of padding
    /// (BEP 47) it takes zeros.
    pub fn files(&self) -> &[NewFile] {
        match &self.content {
            Content::Single(file) => std::slice::from_ref(file),
            Content::Files(files) => files,
        }
    }

    /// How the content is cut into pieces. Checks everything that can be wrong before hashing.
    pub fn geometry(&self) -> Result<Geometry, CreateError> {
        let total = self.files().iter().try_fold(0_u64, |total, file| {
            total.checked_add(file.length).filter(|&total| i64::try_from(total).is_ok())
        });
        match total {
            _ if self.files().is_empty() => Err(CreateError::NoFiles),
            None => Err(CreateError::Unreadable(MetainfoError::TotalOverflow)),
            Some(0) => Err(CreateError::Empty),
            Some(total) => Geometry::new(total, self.piece_length)
                .ok_or(CreateError::PieceLength(self.piece_length)),
        }
    }

    /// Which bytes to read for each piece. Without padding, a [`FileIndex`](crate::disk::FileIndex)
    /// in it is an index into [`Creator::files`]; [`Layout::file_of_store`] translates in any case.
    pub fn layout(&self) -> Result<Layout, CreateError> {
        let files = self.files().iter().map(|file| (file.length, !file.pad));
        let layout = Layout::from_parts(self.geometry()?, files);
        layout.ok_or(CreateError::Unreadable(MetainfoError::TooManyFiles))
    }

    /// The metainfo file, given the SHA-1 hashes of all pieces one after the other. What is
    /// returned has been read again, and its names are the ones asked for.
    pub fn finish(&self, piece_hashes: &[u8]) -> Result<Metainfo, CreateError> {
        let needed = self.geometry()?.pieces() as usize * 20;
        if piece_hashes.len() != needed {
            return Err(CreateError::PieceHashes { given: piece_hashes.len(), needed });
        }
        let bytes = Bytes::from(self.encode(piece_hashes));
        let metainfo =
            Metainfo::from_bytes(bytes, PathRules::HOST).map_err(CreateError::Unreadable)?;
        self.check_names(&metainfo)?;
        Ok(metainfo)
    }

    /// The metainfo file, hashing content that is in memory: all files in the order of
    /// [`Creator::files`], padding included. For tests and simulations.
    pub fn finish_with_content(&self, content: &[u8]) -> Result<Metainfo, CreateError> {
        let piece_len = self.geometry()?.piece_len() as usize;
        let hashes: Vec<u8> = content.chunks(piece_len).flat_map(Sha1::digest).collect();
        self.finish(&hashes)
    }

    fn encode(&self, piece_hashes: &[u8]) -> Vec<u8> {
        let tiers = super::tiers(self.trackers.iter().map(|tier| tier.iter().map(String::as_str)));
        encode_dict(|root| {
            super::edit::write_trackers(root, &tiers);
            write_text(root, "comment", self.comment.as_deref());
            write_text(root, "created by", self.created_by.as_deref());
            if let Some(date) = self.creation_date {
                root.int("creation date", i64::try_from(date).unwrap_or(i64::MAX));
            }
            root.dict("info", |info| self.write_info(info, piece_hashes));
            match self.web_seeds.as_slice() {
                [] => {}
                [url] => root.bytes("url-list", url),
                urls => root.list("url-list", |list| urls.iter().for_each(|url| list.bytes(url))),
            }
        })
    }

    fn write_info(&self, info: &mut DictWriter<'_>, piece_hashes: &[u8]) {
        match &self.content {
            Content::Single(file) => info.int("length", length(file)),
            Content::Files(files) => info.list("files", |list| {
                files.iter().for_each(|file| list.dict(|entry| write_file(entry, file)));
            }),
        }
        info.bytes("name", &self.name);
        info.int("piece length", self.piece_length.into());
        info.bytes("pieces", piece_hashes);
        if self.private {
            info.int("private", 1);
        }
        write_text(info, "source", self.source.as_deref());
    }

    /// Fails if a name was changed to make it safe.
    fn check_names(&self, metainfo: &Metainfo) -> Result<(), CreateError> {
        let differs = |name: &str, stored_as: &str| {
            let (name, stored_as) = (name.to_owned(), stored_as.to_owned());
            if name == stored_as { Ok(()) } else { Err(CreateError::Name { name, stored_as }) }
        };
        differs(&self.name, metainfo.name())?;
        let pairs = self.files().iter().zip(metainfo.files());
        pairs
            .filter(|(_, file)| file.is_stored())
            .try_for_each(|(new, file)| differs(&new.path.join("/"), file.path()))
    }
}

fn write_file(entry: &mut DictWriter<'_>, file: &NewFile) {
    if file.attributes() != Attributes::default() {
        entry.bytes("attr", file.attributes().to_letters());
    }
    entry.int("length", length(file));
    entry.list("path", |list| file.path.iter().for_each(|part| list.bytes(part)));
}

fn write_text(dict: &mut DictWriter<'_>, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        dict.bytes(key, text);
    }
}

/// A length that `Creator::geometry` has checked.
fn length(file: &NewFile) -> i64 {
    i64::try_from(file.length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
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
            7:privatei1e6:source4:heree8:url-list12:http://seed/e";
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
