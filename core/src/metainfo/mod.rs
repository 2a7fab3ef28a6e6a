//! Metainfo: what a .torrent file says (BEP 3, 12, 19, 27, 38, 47, 52).
//!
//! [`Metainfo::parse`] reads torrents of v1, of v2, and hybrids of both, whose parts must agree
//! ([`HybridError`]). Infohashes are of the `info` bytes as they were received. Piece hashes, roots
//! and layers stay where they are in the input; layers have been checked against their roots.
//! Memory is proportional to the input and never to a number in it. Every file's path has been made
//! safe before anybody sees it ([`path`]), every text fit to print ([`text`]). What is not understood
//! is kept: [`Metainfo::to_bytes`] is the input, and [`Metainfo::with_trackers`] changes nothing but the
//! trackers. [`create`] makes new ones.
//!
//! [`Magnet`] is a torrent of which no more than the infohash is known.
//!
//! Not here: `httpseeds` (BEP 17).

pub mod create;
mod edit;
mod error;
mod fields;
mod file;
pub mod file_ranges;
mod hints;
mod hybrid;
mod layers;
mod limits;
mod links;
pub mod lint;
pub mod magnet;
mod numbering;
mod parse;
mod part_error;
pub mod path;
pub mod text;
mod tiers;
mod tree;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::disk::{StoreFile, StoreLink, StoreSpec};
use crate::merkle::TreeShape;
use crate::piece::{Geometry, InfoHash, InfoHashV2, PieceIndex, Sha1Hash, Sha256Hash};
use crate::piece_hash::{PieceHash, PieceRoot};
use crate::storage::layout::Layout;

pub use create::Creator;
pub use edit::Edit;
pub use error::MetainfoError;
pub use file::{Attributes, File};
pub use file_ranges::{FileRanges, FileRangesError};
pub use limits::{
    MAX_FILES, MAX_HINTS, MAX_METAINFO_LEN, MAX_NODES_ASKED, MAX_PATH_LEN, MAX_TRACKERS,
};
pub use magnet::Magnet;
pub use part_error::{HybridError, LayerError, LinkError, TreeError};
pub use path::PathRules;

/// What a .torrent file says.
///
/// # Names and paths
///
/// [`Metainfo::name`] and each path's components are harmless: never empty, `.` or `..`, without
/// separators of either kind, NUL, control or bidirectional characters, at most 255 bytes, and
/// allowed by the host's [`PathRules`] (device names and trailing dots matter to Windows only, and
/// are left alone elsewhere). No two stored files have paths that differ only in case,
/// nor does one lie where another needs a directory: later ones are renamed to `stem.1.ext`.
#[derive(Clone, PartialEq)]
pub struct Metainfo {
    bytes: Bytes,
    /// Where in `bytes` the value of `info` lies.
    info: Range<usize>,
    /// Where in `bytes` the content of `info.pieces` lies, if there is a v1 part.
    piece_hashes: Option<Range<usize>>,
    infohash: InfoHash,
    /// The v2 part, if there is one.
    v2: Option<V2>,
    name: String,
    geometry: Geometry,
    files: Vec<File>,
    /// The targets of the links that lead somewhere, by index in `files`, in its order.
    links: Vec<(u32, String)>,
    is_multi_file: bool,
    is_private: bool,
    source: Option<String>,
    similar: Vec<InfoHash>,
    collections: Vec<String>,
    outer: Outer,
}

/// What v2 adds (BEP 52).
#[derive(Clone, PartialEq)]
struct V2 {
    infohash: InfoHashV2,
    /// Where in the file the value of `piece layers` lies, if there is one.
    layers: Option<Range<usize>>,
    has_all_layers: bool,
}

/// What stands outside of `info` and does not count into the infohash.
#[derive(Clone, PartialEq, Default)]
struct Outer {
    trackers: Vec<Vec<String>>,
    web_seeds: Vec<String>,
    nodes: Vec<(String, u16)>,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<i64>,
}

impl Metainfo {
    /// The file as it was read.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// By which peers, trackers and the DHT know it: that of v1 if there is a v1 part, otherwise
    /// that of v2, truncated.
    pub fn infohash(&self) -> InfoHash {
        self.infohash
    }

    /// The SHA-1 of [`Metainfo::info_bytes`], if there is a v1 part.
    pub fn infohash_v1(&self) -> Option<InfoHash> {
        self.has_v1().then_some(self.infohash)
    }

    /// The SHA2-256 of [`Metainfo::info_bytes`], if there is a v2 part.
    pub fn infohash_v2(&self) -> Option<InfoHashV2> {
        self.v2.as_ref().map(|v2| v2.infohash)
    }

    /// Whether it can be used as a torrent of v1: with SHA-1 hashes of its pieces.
    pub fn has_v1(&self) -> bool {
        self.piece_hashes.is_some()
    }

    /// Whether it can be used as a torrent of v2: with merkle roots of its files.
    pub fn has_v2(&self) -> bool {
        self.v2.is_some()
    }

    /// Whether [`Metainfo::piece_hash_v2`] knows every piece. A torrent of a magnet link has no
    /// piece layers at first, without which it knows only files of one piece.
    pub fn has_piece_layers(&self) -> bool {
        self.v2.as_ref().is_some_and(|v2| v2.has_all_layers)
    }

    /// The info dictionary as it was received: what BEP 9 transfers.
    pub fn info_bytes(&self) -> Bytes {
        self.bytes.slice(self.info.clone())
    }

    /// The name of the file, or of the folder that holds the files; sanitised. If the torrent's
    /// own name comes to nothing, the infohash in hexadecimal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the content is cut into pieces.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Length of the content in bytes, padding included.
    pub fn total_len(&self) -> u64 {
        self.geometry.total_len()
    }

    /// The SHA-1 that a piece must have, padding included; `None` if there is no such piece, or
    /// no v1 part.
    pub fn piece_hash(&self, piece: PieceIndex) -> Option<Sha1Hash> {
        let hashes = self.bytes.get(self.piece_hashes.clone()?)?;
        hashes.get(piece.at().checked_mul(20)?..)?.first_chunk().copied()
    }

    /// The node of its file's merkle tree that a piece must have, padding not included: that of
    /// the piece layer, or the root of a file of one piece. `None` if there is no such piece, no
    /// v2 part, or no layer.
    pub fn piece_hash_v2(&self, piece: PieceIndex) -> Option<Sha256Hash> {
        let (file, number) = self.file_of_piece(piece)?;
        match self.tree_shape(file)?.has_piece_layer() {
            true => self.layer_from(file, number)?.first_chunk().copied(),
            false => self.pieces_root(file),
        }
    }

    /// What a piece must hash to, as far as that is known; `None` if there is no such piece, or one
    /// of v2 alone whose layer is not known.
    pub fn expected_hash(&self, piece: PieceIndex) -> Option<PieceHash> {
        self.expected_hash_with(piece, None)
    }

    /// The same where this may be known of the piece layers besides: the piece's node, if the
    /// metainfo has none.
    pub fn expected_hash_with(
        &self,
        piece: PieceIndex,
        node: Option<Sha256Hash>,
    ) -> Option<PieceHash> {
        let node = self.piece_hash_v2(piece).or(node);
        match (self.piece_hash(piece), node.and_then(|node| self.piece_root(piece, node))) {
            (Some(v1), Some(v2)) => Some(PieceHash::Both(v1, v2)),
            (Some(v1), None) => Some(PieceHash::V1(v1)),
            (None, v2) => v2.map(PieceHash::V2),
        }
    }

    fn piece_root(&self, piece: PieceIndex, hash: Sha256Hash) -> Option<PieceRoot> {
        let (file, number) = self.file_of_piece(piece)?;
        let piece_len = self.geometry.piece_len();
        let left = self.files.get(file)?.length - u64::from(number) * u64::from(piece_len);
        let length = u32::try_from(left).unwrap_or(u32::MAX).min(piece_len);
        Some(PieceRoot { hash, layer: self.tree_shape(file)?.top_of_piece(), length })
    }

    /// In which file of v2 a piece lies, and which of its pieces it is. There all of a piece but
    /// its padding lies in one file.
    pub fn file_of_piece(&self, piece: PieceIndex) -> Option<(usize, u32)> {
        if !self.has_v2() || !self.geometry.contains(piece) {
            return None;
        }
        let start = self.geometry.offset_of(piece);
        let file = self.files.partition_point(|file| file.offset + file.length <= start);
        let into = start.checked_sub(self.files.get(file)?.offset)?;
        Some((file, u32::try_from(into / u64::from(self.geometry.piece_len())).ok()?))
    }

    /// The shape of a file's merkle tree; `None` if it is empty, padding or not of v2. Files are
    /// given by their index in [`Metainfo::files`].
    pub fn tree_shape(&self, file: usize) -> Option<TreeShape> {
        let file = self.files.get(file).filter(|file| file.root.is_some())?;
        TreeShape::new(file.length, self.geometry.piece_len())
    }

    /// The root of a file's merkle tree; `None` if it is empty, padding or not of v2.
    pub fn pieces_root(&self, file: usize) -> Option<Sha256Hash> {
        let at = self.files.get(file)?.root?.get() as usize;
        let info = self.bytes.get(self.info.clone())?;
        info.get(at..)?.first_chunk().copied()
    }

    /// The hashes of a file's pieces in the layer of its merkle tree that has one for each, one
    /// after the other; `None` if it has not more than one piece, or the layers are not known.
    pub fn piece_layer(&self, file: usize) -> Option<Bytes> {
        let layer = self.layer_from(file, 0)?;
        let len = self.tree_shape(file)?.pieces() as usize * 32;
        Some(self.bytes.slice_ref(layer.get(..len)?))
    }

    /// What follows from the `number`th hash of a file's layer on.
    fn layer_from(&self, file: usize, number: u32) -> Option<&[u8]> {
        let at = self.files.get(file)?.layer?.get() as usize;
        let layers = self.bytes.get(self.v2.as_ref()?.layers.clone()?)?;
        layers.get(at.checked_add((number as usize).checked_mul(32)?)?..)
    }

    /// The files in the order of their content: at least one. Pad files and links are among them, so the
    /// indices are not the numbers that users see: those are of [`Metainfo::numbered_files`].
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Where a symbolic link leads: a path inside the torrent as those of its files. `None` if the
    /// file is no link, or one that leads to no file or folder of the torrent.
    pub fn link_target(&self, file: usize) -> Option<&str> {
        let at = self.links.binary_search_by_key(&file, |link| link.0 as usize).ok()?;
        self.links.get(at).map(|(_, target)| target.as_str())
    }

    /// Whether the torrent is a folder of files (which may still be only one), not a single file.
    pub fn is_multi_file(&self) -> bool {
        self.is_multi_file
    }

    /// The trackers' URLs in tiers, each URL once (BEP 12; from `announce` if there is no usable
    /// `announce-list`). At most [`MAX_TRACKERS`]; that they are URLs is not checked.
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.outer.trackers
    }

    /// Whether peers may come from the trackers only (BEP 27).
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// The value of `source` in `info`, by which some trackers tell their torrents apart.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Torrents that may have files of this one (BEP 38).
    pub fn similar(&self) -> &[InfoHash] {
        &self.similar
    }

    /// Collections that it belongs to, whose torrents may have files of each other (BEP 38).
    pub fn collections(&self) -> &[String] {
        &self.collections
    }

    /// The comment, fit to print.
    pub fn comment(&self) -> Option<&str> {
        self.outer.comment.as_deref()
    }

    /// The program that made it, fit to print.
    pub fn created_by(&self) -> Option<&str> {
        self.outer.created_by.as_deref()
    }

    /// When it was made, in seconds since 1970; anything a stranger may have put there.
    pub fn creation_date(&self) -> Option<i64> {
        self.outer.creation_date
    }

    /// HTTP seeds (BEP 19, `url-list`). That they are URLs is not checked.
    pub fn web_seeds(&self) -> &[String] {
        &self.outer.web_seeds
    }

    /// DHT nodes to begin with, as host and port (BEP 5, "torrent file extensions").
    pub fn nodes(&self) -> &[(String, u16)] {
        &self.outer.nodes
    }

    /// The files as they lie on disk under `root`: in a folder of the torrent's name if there may
    /// be many. Pad files are left out, links stand apart and only those that lead somewhere, so the
    /// indices differ from [`Metainfo::files`]; [`Layout`] translates.
    pub fn store_spec(&self, root: &Path) -> StoreSpec {
        let folder = if self.is_multi_file { Path::new(&self.name) } else { Path::new("") };
        let file = |file: &File| StoreFile {
            path: folder.join(file.to_path_buf()),
            length: file.length,
            executable: file.attributes.executable,
        };
        let link = |(index, target): &(u32, String)| {
            let path = self.files.get(*index as usize)?;
            Some(StoreLink {
                path: folder.join(path.to_path_buf()),
                target: links::relative(path.path(), target),
            })
        };
        let mut files: Vec<StoreFile> = self.numbered_files().map(file).collect();
        files.shrink_to_fit();
        let links = self.links.iter().filter_map(link).collect();
        StoreSpec { root: PathBuf::from(root), files, links, follow_top_link: false }
    }

    /// The map between its pieces and its files. Agrees with [`Metainfo::store_spec`].
    pub fn layout(&self) -> Layout {
        let files = self.files.iter().map(|file| (file.length(), file.is_stored()));
        Layout::from_parts(self.geometry().clone(), files)
            .expect("a Metainfo has checked that its files make up its content")
    }
}

impl fmt::Debug for Metainfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metainfo")
            .field("infohash", &self.infohash)
            .field("infohash_v2", &self.infohash_v2())
            .field("name", &self.name)
            .field("geometry", &self.geometry)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod v2_tests;
