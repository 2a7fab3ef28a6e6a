//! Bounds on what is accepted of a metainfo file.

/// Longest metainfo accepted, in bytes (chosen: the hashes of the most pieces allowed take 40 MiB,
/// the rest is for names).
pub const MAX_METAINFO_LEN: usize = 64 * 1024 * 1024;

/// Most files accepted in a torrent (chosen; the bound on bencoded items allows little more).
pub const MAX_FILES: usize = 400_000;

/// Longest path of a file inside a torrent, in bytes: PATH_MAX of Linux, so no longer one could be
/// opened.
pub const MAX_PATH_LEN: usize = 4096;

/// Most entries of `similar` and of `collections` kept of a torrent that is read, and most in one that is
/// made (chosen: more than anybody could look for). [`Metainfo::lint`](super::Metainfo::lint) tells of
/// further ones.
pub const MAX_HINTS: usize = 4096;

/// Most trackers kept of a torrent that is read, and most in one that is made (chosen; defences 22 and
/// 33). [`Metainfo::lint`](super::Metainfo::lint) tells of further ones.
pub const MAX_TRACKERS: usize = 4096;

/// Most DHT nodes that are asked, at random, of those that a torrent names (chosen: it names 8 or so).
/// [`Metainfo::lint`](super::Metainfo::lint) tells of more.
pub const MAX_NODES_ASKED: usize = 64;
