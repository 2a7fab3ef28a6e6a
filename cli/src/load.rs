//! The torrents of one run of download or seed: loaded, and checked against each other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{FilePriority, TorrentSource};

use crate::describe::{files_json, print_files};
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::input;
use crate::left_out::LeftOut;
use crate::output::{Object, print};
use crate::selection::Selection;

/// Loads every input of a download, whatever names a torrent. What is named twice counts once; of two
/// different torrents of one name, which would write over each other, the second is left out, as far as
/// their names are known. So is an input that cannot be used.
pub(crate) fn load_sources(
    inputs: &[PathBuf],
    reach: &Reach,
    left_out: &mut LeftOut,
) -> Vec<TorrentSource> {
    let loaded = load_each(inputs, reach, left_out);
    let mut names = BTreeMap::new();
    let mut is_free = |input: &PathBuf, source: &TorrentSource| {
        let Some(metainfo) = source.metainfo() else { return true };
        // As file systems compare that do not tell case apart.
        match names.entry(metainfo.name().to_lowercase()) {
            Entry::Vacant(entry) => {
                entry.insert(input.clone());
                true
            }
            Entry::Occupied(entry) => {
                let (a, b, name) = (entry.get().display(), input.display(), metainfo.name());
                let message = format!(
                    "{b} is called {name} as {a} is, and would be written over it; leaving it out, \
                     give it another directory"
                );
                left_out.add(Failure::new(Code::Usage, message).about(source.infohash()));
                false
            }
        }
    };
    loaded
        .into_iter()
        .filter(|(input, source)| is_free(input, source))
        .map(|(_, source)| source)
        .collect()
}

/// Loads every input of which the data is only read, so that torrents may share it. Each has to be known
/// as a whole; one that is not, or cannot be used, is left out.
pub(crate) fn load_all(inputs: &[PathBuf], reach: &Reach, left_out: &mut LeftOut) -> Vec<Metainfo> {
    let loaded = load_each(inputs, reach, left_out);
    loaded.into_iter().filter_map(|(_, source)| left_out.keep(input::whole(source))).collect()
}

/// Each torrent once, whole ones first: a link to one of them has nothing to add.
fn load_each<'a>(
    inputs: &'a [PathBuf],
    reach: &Reach,
    left_out: &mut LeftOut,
) -> Vec<(&'a PathBuf, TorrentSource)> {
    let mut load = |input: &'a PathBuf| {
        left_out.keep(input::load_any_within(input, reach)).map(|source| (input, source))
    };
    let mut loaded: Vec<_> = inputs.iter().filter_map(&mut load).collect();
    loaded.sort_by_key(|(_, source)| source.metainfo().is_none());
    let mut known: BTreeSet<InfoHash> = BTreeSet::new();
    loaded.retain(|(_, source)| known.insert(source.infohash()));
    loaded
}

/// A priority for each file of the torrent that has a number: [`FilePriority::Normal`] for what is
/// selected. Empty when everything is.
pub(crate) fn priorities(
    metainfo: &Metainfo,
    selection: Option<&Selection>,
) -> Result<Vec<FilePriority>, Failure> {
    let Some(selection) = selection else { return Ok(Vec::new()) };
    let count = metainfo.file_count();
    if selection.largest() as usize > count {
        let (largest, name) = (selection.largest(), metainfo.name());
        return Err(Failure::new(
            Code::Usage,
            format!("there is no file {largest} in {name}, which has {count}; see --list"),
        ));
    }
    let priority = |number: u32| match selection.contains(number) {
        true => FilePriority::Normal,
        false => FilePriority::Skip,
    };
    Ok((1..).take(count).map(priority).collect())
}

/// What `--list` prints: the files of each torrent with their numbers.
pub(crate) fn list(torrents: &[Metainfo], json: bool) -> Result<(), Failure> {
    for metainfo in torrents {
        if json {
            Object::new()
                .with("name", metainfo.name())
                .with("infohash_v1", metainfo.infohash().to_string())
                .with("files", files_json(metainfo))
                .print()?;
        } else {
            print(metainfo.name())?;
            print_files(metainfo)?;
        }
    }
    Ok(())
}

/// Where a torrent lies in `root`: its file or its folder.
pub(crate) fn place(metainfo: &Metainfo, root: &Path) -> PathBuf {
    root.join(metainfo.name())
}

/// The directory in which the torrent's file or folder lies under its name: `data`, or the one that
/// has `data` in it if that is the file or folder itself.
pub(crate) fn root_of(metainfo: &Metainfo, data: &Path) -> PathBuf {
    if place(metainfo, data).symlink_metadata().is_ok() {
        return data.to_owned();
    }
    let is_folder = metainfo
        .store_spec(Path::new(""))
        .files
        .iter()
        .any(|file| file.path.components().count() > 1);
    let is_of_its_kind = if is_folder { data.is_dir() } else { data.is_file() };
    // Its own name counts before that of what a link leads to.
    let itself = |path: &Path| path.file_name().is_some_and(|name| name == metainfo.name());
    let above = |path: &Path| path.parent().map(Path::to_owned);
    let found = match is_of_its_kind {
        true if itself(data) => above(data),
        true => data.canonicalize().ok().filter(|real| itself(real)).and_then(|real| above(&real)),
        false => None,
    };
    match found {
        Some(root) if root.as_os_str().is_empty() => PathBuf::from("."),
        Some(root) => root,
        None => data.to_owned(),
    }
}
