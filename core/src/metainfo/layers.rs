//! The `piece layers` of BitTorrent v2 (BEP 52): the piece hashes of every file that has more than
//! one piece, each checked against the file's root.
//!
//! They stay where they are in the input. Files with one root share one layer, which is hashed
//! once, so that the work is in proportion to the input. What belongs to no file is ignored.
//!
//! A torrent file of v2 alone must have them all. A hybrid may be without them and is then of use as
//! v1 alone; one that has some must have all. Peers give no layers with the metadata (BEP 9): what was
//! learnt of them may have any part ([`Known::Partly`]).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;

use super::error::MetainfoError;
use super::fields::Content;
use super::file::File;
use super::part_error::LayerError;
use crate::bencode::Value;
use crate::merkle::{Accumulator, TreeShape};
use crate::piece::Sha256Hash;

/// How many of the layers there must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// All, or none if v1 will do.
    Wholly,
    /// Any of them.
    Partly,
}

/// The layers of a torrent that were found.
pub(super) struct Found {
    /// Where they all lie; `None` if there are none.
    pub(super) range: Option<Range<usize>>,
    /// Whether no file lacks its own.
    pub(super) is_whole: bool,
}

/// Finds and checks the layer of each file that has one.
pub(super) fn attach(
    root: Value<'_>,
    info: Value<'_>,
    content: &mut Content,
    known: Known,
) -> Result<Found, MetainfoError> {
    let Some(all) = root.get("piece layers") else {
        let needs_layers = content.files.iter().any(|f| has_layer(f, content.geometry.piece_len()));
        let may_lack = content.piece_hashes.is_some() || known == Known::Partly;
        return match needs_layers && !may_lack {
            true => Err(MetainfoError::NoLayers),
            false => Ok(Found { range: None, is_whole: !needs_layers }),
        };
    };
    let entries = all.as_dict().ok_or(MetainfoError::WrongType("piece layers"))?;
    let mut layers = Layers { start: all.span().start, entries: BTreeMap::new() };
    for (key, value) in entries {
        if let Ok(key) = Sha256Hash::try_from(key) {
            layers.entries.entry(key).or_insert(Entry { value, checked: None });
        }
    }
    let piece_len = content.geometry.piece_len();
    let mut is_whole = true;
    for (index, file) in content.files.iter_mut().enumerate() {
        if has_layer(file, piece_len) {
            let error = |why| MetainfoError::Layer { file: index, why };
            let root = root_of(file, info).ok_or(error(LayerError::Missing))?;
            let shape = TreeShape::new(file.length, piece_len);
            let shape = shape.ok_or(MetainfoError::PieceLengthV2(piece_len.into()))?;
            file.layer = match layers.find(&root, shape) {
                Err(LayerError::Missing) if known == Known::Partly => {
                    is_whole = false;
                    None
                }
                found => Some(found.map_err(error)?),
            };
        }
    }
    Ok(Found { range: Some(all.span()), is_whole })
}

/// Whether a file of v2 has more than one piece.
fn has_layer(file: &File, piece_len: u32) -> bool {
    file.root.is_some() && file.length > u64::from(piece_len)
}

fn root_of(file: &File, info: Value<'_>) -> Option<Sha256Hash> {
    info.raw().get(file.root?.get() as usize..)?.first_chunk().copied()
}

struct Layers<'a> {
    /// Where the dictionary begins in the input.
    start: usize,
    entries: BTreeMap<Sha256Hash, Entry<'a>>,
}

struct Entry<'a> {
    value: Value<'a>,
    /// For a tree of which shape it was found to be right.
    checked: Option<TreeShape>,
}

impl Layers<'_> {
    /// Where the layer of a file lies, from the beginning of the dictionary.
    fn find(&mut self, root: &Sha256Hash, shape: TreeShape) -> Result<NonZeroU32, LayerError> {
        let entry = self.entries.get_mut(root).ok_or(LayerError::Missing)?;
        let layer = entry.value.as_bytes().ok_or(LayerError::Missing)?;
        let pieces = shape.pieces();
        let (hashes, rest) = layer.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != pieces as usize {
            return Err(LayerError::Length { len: layer.len(), pieces });
        }
        // With as many pieces, another height would be another root.
        let same = |known: TreeShape| known.height() == shape.height();
        if !entry.checked.is_some_and(same) {
            let mut above = Accumulator::new(shape.piece_layer());
            hashes.iter().for_each(|hash| above.push(*hash));
            if above.finish(shape.height()) != Some(*root) {
                return Err(LayerError::Root);
            }
            entry.checked = Some(shape);
        }
        let at = entry.value.span().end.checked_sub(layer.len() + self.start);
        at.and_then(|at| NonZeroU32::new(u32::try_from(at).ok()?)).ok_or(LayerError::Missing)
    }
}
