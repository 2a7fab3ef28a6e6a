//! Whether the v1 and the v2 part of a hybrid describe the same content (BEP 52, "upgrade path"):
//! the same files in the same order, each at the beginning of a piece, which v1 must pad for.
//!
//! What differs in what stands for nothing but looks (attributes, names of pad files) is let pass.
//! That the hashes of both kinds agree shows only when there is data.

use super::error::MetainfoError;
use super::fields::{Content, raw_path};
use super::file::File;
use super::part_error::HybridError;
use super::tree::{Leaf, align, walk};
use crate::bencode::Value;
use crate::merkle::is_piece_len;

/// Compares the tree with the files of v1, which learn their roots from it.
pub(super) fn check(
    info: Value<'_>,
    tree: Value<'_>,
    content: &mut Content,
) -> Result<(), MetainfoError> {
    let piece_len = u64::from(content.geometry.piece_len());
    if !is_piece_len(piece_len) {
        return Err(MetainfoError::PieceLengthV2(piece_len.cast_signed()));
    }
    let name = info.get("name.utf-8").or_else(|| info.get("name")).and_then(Value::as_bytes);
    let mut entries = info.get("files").and_then(Value::as_list);
    let mut v1 = content.files.iter_mut().enumerate();
    let mut offset = 0_u64;
    walk(tree, |number, path, properties| {
        // The next file of v1 that is not padding, with its entry in the list if there is one.
        let (index, file, entry) = loop {
            let entry = entries.as_mut().and_then(Iterator::next);
            let next = v1.next().map(|(index, file)| (index, file, entry));
            let (index, file, entry) = next.ok_or(error(number, HybridError::Count))?;
            if !file.attributes.pad {
                break (index, file, entry);
            }
        };
        let same_path = match entry {
            Some(entry) => is_path(entry, path),
            None => path.len() == 1 && path.first().copied() == name,
        };
        if !same_path {
            return Err(error(index, HybridError::Path));
        }
        let leaf = Leaf::parse(properties, info, number)?;
        let target = |entry: Value<'_>| entry.get("symlink path").map(|path| path.raw().to_vec());
        if leaf.attributes.symlink && entry.and_then(target) != target(properties) {
            return Err(error(index, HybridError::Link));
        }
        compare(file, &leaf, &mut offset, piece_len).map_err(|why| error(index, why))
    })?;
    if let Some((index, _)) = v1.find(|(_, file)| !file.attributes.pad) {
        return Err(error(index, HybridError::Count));
    }
    let end = align(offset, piece_len).ok_or(MetainfoError::TotalOverflow)?;
    if content.geometry.total_len() > end {
        return Err(error(content.files.len(), HybridError::Padding));
    }
    Ok(())
}

fn error(file: usize, why: HybridError) -> MetainfoError {
    MetainfoError::Hybrid { file, why }
}

/// Whether the entry of v1 has this path, byte for byte.
fn is_path(entry: Value<'_>, path: &[&[u8]]) -> bool {
    let raw = raw_path(entry).and_then(Value::as_list);
    raw.is_some_and(|raw| raw.map(Value::as_bytes).eq(path.iter().copied().map(Some)))
}

/// Compares one file; `offset` is where the content of v2 ends so far.
fn compare(
    file: &mut File,
    leaf: &Leaf,
    offset: &mut u64,
    piece_len: u64,
) -> Result<(), HybridError> {
    if file.attributes.symlink != leaf.attributes.symlink {
        return Err(HybridError::Link);
    }
    if file.length != leaf.length {
        return Err(HybridError::Length);
    }
    if file.length > 0 {
        let aligned = align(*offset, piece_len).filter(|&aligned| aligned == file.offset);
        // No more than the end of the file of v1, which was checked.
        *offset = aligned.ok_or(HybridError::Offset)? + file.length;
    }
    file.root = leaf.root;
    Ok(())
}
