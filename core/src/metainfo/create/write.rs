//! The bytes of a new metainfo file.

use std::collections::BTreeMap;

use super::hashes::root;
use super::{Content, Creator, NewFile, Part, PieceHashes};
use crate::bencode::{DictWriter, encode_dict};
use crate::metainfo::{Attributes, edit, tiers};
use crate::piece::Sha256Hash;
use crate::storage::layout::Layout;

/// A file of v2 and the hashes of its pieces.
struct TreeFile<'a> {
    file: &'a NewFile,
    root: Option<Sha256Hash>,
    pieces: &'a [Sha256Hash],
}

impl Creator {
    /// The whole file. The hashes are as many as the layout's pieces need.
    pub(super) fn encode(&self, layout: &Layout, hashes: &PieceHashes) -> Vec<u8> {
        let tiers = tiers::used(self.trackers.iter().map(|tier| tier.iter().map(String::as_str)));
        let parts = self.parts();
        let tree = if self.protocol.has_v2() {
            self.tree_files(&parts, layout, hashes)
        } else {
            Vec::new()
        };
        encode_dict(|root| {
            edit::write_trackers(root, &tiers);
            edit::write_text(root, "comment", self.comment.as_deref());
            edit::write_text(root, "created by", self.created_by.as_deref());
            if let Some(date) = self.creation_date {
                root.int("creation date", i64::try_from(date).unwrap_or(i64::MAX));
            }
            root.dict("info", |info| self.write_info(info, &parts, &tree, hashes));
            edit::write_nodes(root, &self.nodes);
            if self.protocol.has_v2() {
                root.dict("piece layers", |layers| write_layers(layers, &tree));
            }
            edit::write_web_seeds(root, &self.web_seeds);
        })
    }

    fn tree_files<'a>(
        &self,
        parts: &[Part<'a>],
        layout: &Layout,
        hashes: &'a PieceHashes,
    ) -> Vec<TreeFile<'a>> {
        let files = parts.iter().enumerate().filter_map(|(index, part)| match part {
            Part::File(file) => Some((index, *file)),
            Part::Padding(_) => None,
        });
        files
            .map(|(index, file)| {
                let pieces = hashes.of_file(layout, index);
                TreeFile { file, root: root(pieces, file.length, self.piece_length), pieces }
            })
            .collect()
    }

    fn write_info(
        &self,
        info: &mut DictWriter<'_>,
        parts: &[Part<'_>],
        tree: &[TreeFile<'_>],
        hashes: &PieceHashes,
    ) {
        if self.protocol.has_v1() {
            info.bytes("pieces", &hashes.v1);
            match &self.content {
                Content::Single(file) => {
                    write_attributes(info, file.attributes());
                    info.int("length", length(file.length));
                }
                Content::Files(_) => info.list("files", |list| {
                    parts.iter().for_each(|part| list.dict(|entry| write_part(entry, part)));
                }),
            }
        }
        if self.protocol.has_v2() {
            info.int("meta version", 2);
            info.dict("file tree", |dict| match &self.content {
                Content::Single(_) => {
                    tree.iter()
                        .for_each(|file| dict.dict(&self.name, |node| write_leaf(node, file)));
                }
                Content::Files(_) => write_tree(dict, tree, 0),
            });
        }
        edit::write_hints(info, &self.similar, &self.collections);
        info.bytes("name", &self.name);
        info.int("piece length", self.piece_length.into());
        if self.private {
            info.int("private", 1);
        }
        edit::write_text(info, "source", self.source.as_deref());
    }
}

fn write_part(entry: &mut DictWriter<'_>, part: &Part<'_>) {
    match part {
        Part::Padding(len) => {
            // The path that BEP 47 recommends.
            write_attributes(entry, Attributes { pad: true, ..Attributes::default() });
            entry.int("length", length(*len));
            entry.list("path", |list| {
                list.bytes(".pad");
                list.bytes(len.to_string());
            });
        }
        Part::File(file) => {
            write_attributes(entry, file.attributes());
            entry.int("length", length(file.length));
            entry.list("path", |list| file.path.iter().for_each(|part| list.bytes(part)));
            write_link(entry, file);
        }
    }
}

/// The files of one directory, whose names are number `depth` of their paths. No deeper than
/// `MAX_DEPTH`, which was checked.
fn write_tree(dict: &mut DictWriter<'_>, files: &[TreeFile<'_>], depth: usize) {
    let name = |file: &TreeFile<'_>| file.file.path.get(depth).cloned().unwrap_or_default();
    for same in files.chunk_by(|a, b| name(a) == name(b)) {
        let [first, ..] = same else { continue };
        dict.dict(name(first), |node| match first.file.path.len() == depth + 1 {
            true => write_leaf(node, first),
            false => write_tree(node, same, depth + 1),
        });
    }
}

fn write_leaf(node: &mut DictWriter<'_>, TreeFile { file, root, .. }: &TreeFile<'_>) {
    node.dict("", |properties| {
        write_attributes(properties, file.attributes());
        if file.link.is_none() {
            properties.int("length", length(file.length));
        }
        if let Some(root) = root {
            properties.bytes("pieces root", root);
        }
        write_link(properties, file);
    });
}

/// One layer for each root of a file of more than one piece.
fn write_layers(dict: &mut DictWriter<'_>, tree: &[TreeFile<'_>]) {
    let long = tree.iter().filter(|file| file.pieces.len() > 1);
    let layers: BTreeMap<_, _> = long.filter_map(|file| Some((file.root?, file.pieces))).collect();
    layers.iter().for_each(|(root, pieces)| dict.bytes(root, pieces.as_flattened()));
}

fn write_attributes(entry: &mut DictWriter<'_>, attributes: Attributes) {
    if attributes != Attributes::default() {
        entry.bytes("attr", attributes.to_letters());
    }
}

fn write_link(entry: &mut DictWriter<'_>, file: &NewFile) {
    if let Some(target) = &file.link {
        entry.list("symlink path", |list| target.iter().for_each(|part| list.bytes(part)));
    }
}

/// A length that `Creator::geometry` has checked.
fn length(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
