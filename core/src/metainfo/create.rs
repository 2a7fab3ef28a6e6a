//! Making metainfo files (BEP 3, 5, 12, 19, 27, 38, 47, 52): pure, so the caller reads and hashes.
//!
//! A [`Creator`] is told what the torrent is to be; [`Creator::layout`] says which bytes of which
//! file make up each piece; with the pieces' hashes, [`Creator::finish_with_hashes`] gives the
//! file's bytes. The same input gives the same bytes: [`Creator::folder`] puts files into the order
//! of their paths, which is that of a file tree of v2. A hybrid is padded as libtorrent does it.
//! A name that we would have to store under another is refused, because nobody could seed it.

mod error;
mod hashes;
mod protocol;
mod write;

use bytes::Bytes;

use self::error::MAX_DEPTH;
use super::links::{Kind, Places};
use super::{Attributes, Metainfo, MetainfoError, PathRules, hints, tiers};
use crate::merkle::is_piece_len;
use crate::padding::Padding;
use crate::piece::{BLOCK_LEN, Geometry, InfoHash, MAX_PIECE_LEN, MAX_PIECES};
use crate::storage::layout::Layout;

pub use error::CreateError;
pub use hashes::PieceHashes;
pub use protocol::Protocol;

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
    /// Torrents that may have files of this one (BEP 38). Part of the infohash.
    pub similar: Vec<InfoHash>,
    /// Collections that it belongs to (BEP 38). Part of the infohash.
    pub collections: Vec<String>,
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
            similar: Vec::new(),
            collections: Vec::new(),
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
                Ok(geometry.with_padding(Padding::of_files(lengths)))
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
        tiers::writable(&self.trackers)
            .and_then(|_| hints::writable("similar", self.similar.len()))
            .and_then(|()| hints::writable("collections", self.collections.len()))
            .map_err(CreateError::Unreadable)?;
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
        self.finish_with_hashes(&PieceHashes::of_content(
            self.protocol,
            &self.stored_starts(),
            &layout,
            content,
        ))
    }

    /// Where each stored file begins in content that has all files one after the other.
    fn stored_starts(&self) -> Vec<usize> {
        let mut offset = 0;
        let mut starts = Vec::new();
        for file in self.files() {
            starts.extend(file.is_stored().then_some(offset));
            offset += file.length as usize;
        }
        starts
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
mod tests;
