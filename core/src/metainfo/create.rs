//! Making metainfo files (BEP 3, 12, 19, 27, 47): pure, so the caller reads and hashes.
//!
//! A [`Creator`] is told what the torrent is to be; [`Creator::layout`] says which bytes of which
//! file make up each piece; with the pieces' SHA-1 hashes, [`Creator::finish`] gives the file's
//! bytes. The same input gives the same bytes: files are put into the order of their paths.
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
