//! Symbolic links of a torrent (BEP 47, "symlinks"): which of them lead somewhere.
//!
//! A link may only lead to a file of the same torrent, or to a folder that has one in it, and only
//! from a place where nothing else is (defence 2). Others are listed among the files like padding,
//! and never made.

use std::collections::BTreeSet;

use super::File;
use super::path::{self, PathRules};
use super::tree::walk;
use crate::bencode::Value;

/// The targets of the links that lead somewhere, by their index in `files`, in its order. Targets
/// are paths inside the torrent, as those of files.
pub(super) fn links(
    info: Value<'_>,
    tree: Option<Value<'_>>,
    files: &[File],
    rules: PathRules,
) -> Vec<(u32, String)> {
    let indices: Vec<usize> = (0..files.len()).filter(|&at| is_link(files, at)).collect();
    if indices.is_empty() {
        return Vec::new();
    }
    let targets = targets(info, tree, rules);
    let places = Places::of(files);
    let pairs = indices.into_iter().zip(targets);
    pairs
        .filter_map(|(at, target)| {
            let (file, target) = (files.get(at)?, target?);
            let leads_somewhere = places.exists(&target) && places.is_free(&file.path);
            leads_somewhere.then_some((u32::try_from(at).ok()?, target))
        })
        .collect()
}

fn is_link(files: &[File], at: usize) -> bool {
    files.get(at).is_some_and(|file| file.attributes.symlink && !file.attributes.pad)
}

/// The target of every link in the order of the files, as it would be called here.
fn targets(info: Value<'_>, tree: Option<Value<'_>>, rules: PathRules) -> Vec<Option<String>> {
    let target = |entry: Value<'_>| {
        let raw = entry.get("symlink path")?.as_list()?;
        let parts: Option<Vec<String>> =
            raw.map(|part| Some(path::component(part.as_bytes()?, rules))).collect();
        parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join("/"))
    };
    let is_link = |entry: Value<'_>| {
        let attributes = super::parse::attributes(entry);
        attributes.symlink && !attributes.pad
    };
    let mut targets = Vec::new();
    match (info.get("files").and_then(Value::as_list), tree) {
        (Some(list), _) if info.get("pieces").is_some() => {
            targets.extend(list.filter(|entry| is_link(*entry)).map(target));
        }
        (_, Some(tree)) => {
            // That the tree can be walked was seen before.
            let _ = walk(tree, |_, _, properties| {
                if is_link(properties) {
                    targets.push(target(properties));
                }
                Ok(())
            });
        }
        _ => {}
    }
    targets
}

/// Where there are files and folders.
struct Places<'a> {
    files: BTreeSet<&'a str>,
    folders: BTreeSet<&'a str>,
    links: BTreeSet<&'a str>,
    /// Paths that more than one link wants.
    contested: BTreeSet<&'a str>,
}

impl<'a> Places<'a> {
    fn of(files: &'a [File]) -> Self {
        let mut places = Places {
            files: BTreeSet::new(),
            folders: BTreeSet::new(),
            links: BTreeSet::new(),
            contested: BTreeSet::new(),
        };
        for file in files.iter().filter(|file| !file.attributes.pad) {
            let path = file.path.as_str();
            if file.attributes.symlink {
                if !places.links.insert(path) {
                    places.contested.insert(path);
                }
                continue;
            }
            places.files.insert(path);
            let mut parent = path;
            // From the innermost folder out, until one that is known.
            while let Some((above, _)) = parent.rsplit_once('/') {
                if !places.folders.insert(above) {
                    break;
                }
                parent = above;
            }
        }
        places
    }

    fn exists(&self, path: &str) -> bool {
        self.files.contains(path) || self.folders.contains(path)
    }

    /// Whether nothing else is in this place, nor a file or link where it needs a folder.
    fn is_free(&self, path: &str) -> bool {
        let mut parents = path.rmatch_indices('/').filter_map(|(at, _)| path.get(..at));
        !self.exists(path)
            && !self.contested.contains(path)
            && !parents.any(|parent| self.files.contains(parent) || self.links.contains(parent))
    }
}
