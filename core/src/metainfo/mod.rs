//! Metainfo: what a .torrent file says (BEP 3, 12, 19, 27, 47).
//!
//! [`Metainfo::parse`] reads v1 torrents of one or many files; a hybrid is used as v1, and a v2
//! torrent without a v1 part is refused by name. The infohash is the SHA-1 of the `info` bytes as
//! they were received. Piece hashes stay where they are in the input; memory is proportional to
//! the input and never to a number in it. Every file's path has been made safe before anybody sees
//! it ([`path`]), every text fit to print ([`text`]). What is not understood is kept:
//! [`Metainfo::to_bytes`] is the input, and [`Metainfo::with_trackers`] changes nothing but the
//! trackers. [`create`] makes new ones.
//!
//! [`Magnet`] is a torrent of which no more than the infohash is known.
//!
//! Not here: v2 file trees and merkle hashes, `httpseeds` (BEP 17).

pub mod create;
mod edit;
mod error;
mod file;
pub mod file_ranges;
pub mod magnet;
mod padding;
mod parse;
pub mod path;
pub mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::bencode::encode_dict;
use crate::disk::{StoreFile, StoreSpec};
use crate::piece::{Geometry, InfoHash, PieceIndex, Sha1Hash};

pub use create::Creator;
pub use error::MetainfoError;
pub use file::{Attributes, File};
pub use file_ranges::FileRanges;
pub use magnet::Magnet;
pub use path::PathRules;

/// Longest metainfo accepted, in bytes (chosen: the hashes of the most pieces allowed take 40 MiB,
/// the rest is for names).
pub const MAX_METAINFO_LEN: usize = 64 * 1024 * 1024;

/// Most files accepted in a torrent (chosen; the bound on bencoded items allows little more).
pub const MAX_FILES: usize = 400_000;

/// Longest path of a file inside a torrent, in bytes: PATH_MAX of Linux, so no longer one could be
/// opened.
pub const MAX_PATH_LEN: usize = 4096;

/// Most trackers kept (chosen; defences 22 and 33). Further ones are ignored.
pub const MAX_TRACKERS: usize = 256;

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
    /// Where in `bytes` the content of `info.pieces` lies.
    piece_hashes: Range<usize>,
    infohash: InfoHash,
    name: String,
    geometry: Geometry,
    files: Vec<File>,
    is_multi_file: bool,
    is_private: bool,
    source: Option<String>,
    outer: Outer,
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
    /// Reads a metainfo file, copying it once. Bytes after its end are ignored, as other clients
    /// do; [`Metainfo::to_bytes`] still has them.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetainfoError> {
        Self::from_bytes(Bytes::copy_from_slice(bytes), PathRules::HOST)
    }

    /// Reads a metainfo file without copying it, for a file system with the given rules.
    pub fn from_bytes(bytes: Bytes, rules: PathRules) -> Result<Self, MetainfoError> {
        parse::metainfo(bytes, rules)
    }

    /// A torrent of an info dictionary that peers gave (BEP 9), with the trackers and web seeds of
    /// its magnet link. That it has the link's infohash is for the caller to have seen.
    pub fn from_info(info: Bytes, magnet: &Magnet) -> Result<Self, MetainfoError> {
        let tiers: Vec<Vec<String>> = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
        let bytes = encode_dict(|root| {
            edit::write_trackers(root, &tiers);
            root.raw("info", &info);
            if !magnet.web_seeds.is_empty() {
                root.list("url-list", |list| {
                    magnet.web_seeds.iter().for_each(|url| list.bytes(url));
                });
            }
        });
        Self::from_bytes(bytes.into(), PathRules::HOST)
    }

    /// The file as it was read.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The same torrent with other trackers, in tiers (BEP 12); no tiers, no trackers. All other
    /// keys keep their bytes and their order; what followed the end of the file is dropped.
    pub fn with_trackers(&self, tiers: &[Vec<String>]) -> Self {
        edit::with_trackers(self, tiers)
    }

    /// The SHA-1 of [`Metainfo::info_bytes`].
    pub fn infohash(&self) -> InfoHash {
        self.infohash
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

    /// The SHA-1 that a piece must have; `None` if there is no such piece.
    pub fn piece_hash(&self, piece: PieceIndex) -> Option<Sha1Hash> {
        let hashes = self.bytes.get(self.piece_hashes.clone())?;
        hashes.get(piece.at().checked_mul(20)?..)?.first_chunk().copied()
    }

    /// The files in the order of their content: at least one. Pad files and links are among them.
    pub fn files(&self) -> &[File] {
        &self.files
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
    /// be many. Pad files and links are left out, so the indices differ from [`Metainfo::files`];
    /// [`Layout`](crate::storage::layout::Layout) translates.
    pub fn store_spec(&self, root: &Path) -> StoreSpec {
        let folder = if self.is_multi_file { Path::new(&self.name) } else { Path::new("") };
        let file = |file: &File| StoreFile {
            path: folder.join(file.to_path_buf()),
            length: file.length,
            executable: file.attributes.executable,
        };
        StoreSpec {
            root: PathBuf::from(root),
            files: self.files.iter().filter(|file| file.is_stored()).map(file).collect(),
        }
    }
}

/// Tiers as they are used and written: each URL once, trimmed, no empty tier, not too many.
fn tiers<'a>(
    tiers: impl IntoIterator<Item = impl IntoIterator<Item = &'a str>>,
) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for tier in tiers {
        let urls = tier.into_iter().map(str::trim).filter(|url| !url.is_empty());
        let fresh = urls.filter(|url| seen.len() < MAX_TRACKERS && seen.insert(*url));
        let tier: Vec<String> = fresh.map(str::to_owned).collect();
        if !tier.is_empty() {
            kept.push(tier);
        }
    }
    kept
}

impl fmt::Debug for Metainfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metainfo")
            .field("infohash", &self.infohash)
            .field("name", &self.name)
            .field("geometry", &self.geometry)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
