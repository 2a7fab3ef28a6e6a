//! The file tree of BitTorrent v2 (BEP 52, "file tree").
//!
//! [`walk`] visits the files in the tree's order without recursion; how deep it may go is bounded
//! by [`Limits::METAINFO`](crate::bencode::Limits::METAINFO). Names must be sorted, as bencoding
//! demands: with that, no two files have one path, and the order of the pieces is not in doubt.
//! [`files`] makes the list of files of a torrent of v2 alone, with padding between them, so that
//! from there on a v2 torrent is laid out like any other.

use std::num::NonZeroU32;

use super::error::MetainfoError;
use super::fields;
use super::file::{Attributes, File};
use super::limits::{MAX_FILES, MAX_METAINFO_LEN, MAX_PATH_LEN};
use super::part_error::TreeError;
use super::path::{self, PathRules};
use crate::bencode::Value;
use crate::piece::Sha256Hash;

/// Most bytes of all paths together (chosen; as much as the longest metainfo has). Of v2 they are
/// not bounded by the input, because files in one directory share its path there.
const MAX_PATHS_LEN: usize = MAX_METAINFO_LEN;

/// What a file tree says of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    pub(super) length: u64,
    pub(super) attributes: Attributes,
    /// Where the pieces root lies, from the beginning of `info`; `None` of what has no bytes.
    pub(super) root: Option<NonZeroU32>,
}

impl Leaf {
    /// Reads the properties of file number `file`, which are the value of its empty name.
    pub(super) fn parse(
        properties: Value<'_>,
        info: Value<'_>,
        file: usize,
    ) -> Result<Self, MetainfoError> {
        let error = |why| MetainfoError::Tree { file, why };
        let attributes = fields::attributes(properties);
        if attributes.pad {
            return Err(error(TreeError::Padding));
        }
        // BEP 47: the length of a link is always zero and may be missing.
        if attributes.symlink {
            return Ok(Leaf { length: 0, attributes, root: None });
        }
        let length = properties.get("length").and_then(Value::as_uint);
        let length = length.ok_or(error(TreeError::Length))?;
        if length == 0 {
            return Ok(Leaf { length, attributes, root: None });
        }
        let root = properties.get("pieces root").ok_or(error(TreeError::Root))?;
        let hash = root.as_bytes().and_then(|hash| Sha256Hash::try_from(hash).ok());
        match hash {
            None => return Err(error(TreeError::Root)),
            Some(hash) if hash == [0; 32] => return Err(error(TreeError::ZeroRoot)),
            Some(_) => {}
        }
        // A string's content is the end of its encoding; `info` begins before it.
        let at = root.span().end.checked_sub(32).and_then(|at| at.checked_sub(info.span().start));
        let at = at.and_then(|at| u32::try_from(at).ok()).and_then(NonZeroU32::new);
        Ok(Leaf { length, attributes, root: Some(at.ok_or(error(TreeError::Root))?) })
    }
}

/// Visits every file with its number, the components of its path and its properties.
pub(super) fn walk<'a>(
    tree: Value<'a>,
    mut visit: impl FnMut(usize, &[&'a [u8]], Value<'a>) -> Result<(), MetainfoError>,
) -> Result<usize, MetainfoError> {
    let entries = tree.as_dict().ok_or(MetainfoError::WrongType("info.file tree"))?;
    let mut path: Vec<&[u8]> = Vec::new();
    // The directories that are being read, outermost first, with the last name read in each.
    let mut open = vec![(entries, None)];
    let mut file = 0;
    while let Some((entries, last)) = open.last_mut() {
        let error = |why| Err(MetainfoError::Tree { file, why });
        let Some((name, value)) = entries.next() else {
            open.pop();
            path.pop();
            continue;
        };
        match last.replace(name) {
            None if name.is_empty() => return error(TreeError::RootIsFile),
            Some(last) if last >= name => return error(TreeError::NotSorted),
            _ => {}
        }
        let Some(children) = value.as_dict() else { return error(TreeError::NotADictionary) };
        path.push(name);
        match children.clone().next() {
            Some((b"", properties)) => {
                if children.count() > 1 {
                    return error(TreeError::FileAndDirectory);
                }
                if properties.as_dict().is_none() {
                    return error(TreeError::NotADictionary);
                }
                if file >= MAX_FILES {
                    return Err(MetainfoError::TooManyFiles);
                }
                visit(file, &path, properties)?;
                file += 1;
                path.pop();
            }
            _ => open.push((children, None)),
        }
    }
    if file == 0 { Err(MetainfoError::NoFiles) } else { Ok(file) }
}

/// The files of a torrent of v2 alone in the order of the content, padded so that each begins
/// with a piece; and whether there may be many.
pub(super) fn files(
    info: Value<'_>,
    tree: Value<'_>,
    piece_len: u64,
    name: &str,
    rules: PathRules,
) -> Result<(Vec<File>, bool), MetainfoError> {
    let mut list = List { files: Vec::new(), piece_len, offset: 0, paths_len: 0 };
    let mut is_named = false;
    let count = walk(tree, |file, path, properties| {
        let leaf = Leaf::parse(properties, info, file)?;
        let safe = safe_path(path, file, rules)?;
        // A link makes no sense where there is nothing else.
        is_named = path.len() == 1 && safe == name && !leaf.attributes.symlink;
        list.add(safe, leaf, file)
    })?;
    // BEP 52 calls a tree of one file a torrent of one file. If the torrent has another name than
    // the file, it is better kept as the folder's.
    let is_single = count == 1 && is_named;
    let mut files = list.files;
    path::make_distinct(files.iter_mut().filter(|f| f.is_stored()).map(|f| &mut f.path));
    Ok((files, !is_single))
}

fn safe_path(path: &[&[u8]], file: usize, rules: PathRules) -> Result<String, MetainfoError> {
    let mut safe = String::new();
    for component in path {
        if !safe.is_empty() {
            safe.push('/');
        }
        safe.push_str(&path::component(component, rules));
        if safe.len() > MAX_PATH_LEN {
            return Err(MetainfoError::PathTooLong { file });
        }
    }
    Ok(safe)
}

/// The files so far.
struct List {
    files: Vec<File>,
    piece_len: u64,
    /// Where the content so far ends.
    offset: u64,
    /// Bytes of all paths.
    paths_len: usize,
}

impl List {
    fn add(&mut self, path: String, leaf: Leaf, file: usize) -> Result<(), MetainfoError> {
        self.paths_len = self.paths_len.saturating_add(path.len());
        if self.paths_len > MAX_PATHS_LEN {
            return Err(MetainfoError::Tree { file, why: TreeError::PathsTooLong });
        }
        let Leaf { length, attributes, root } = leaf;
        let aligned = match length {
            0 => self.offset,
            _ => align(self.offset, self.piece_len).ok_or(MetainfoError::TotalOverflow)?,
        };
        if aligned > self.offset {
            self.files.push(File::padding(self.offset, aligned - self.offset));
        }
        self.files.push(File { path, length, offset: aligned, attributes, root, layer: None });
        self.offset = aligned
            .checked_add(length)
            .filter(|&total| i64::try_from(total).is_ok())
            .ok_or(MetainfoError::TotalOverflow)?;
        Ok(())
    }
}

/// The first multiple of the piece length from `offset` on.
pub(super) fn align(offset: u64, piece_len: u64) -> Option<u64> {
    offset.checked_next_multiple_of(piece_len)
}
