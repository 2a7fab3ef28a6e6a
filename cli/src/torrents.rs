//! The torrents of one run of download or seed: loaded, and checked against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bitswarm_core::metainfo::{File, Metainfo};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{FilePriority, TorrentSource};

use crate::commands::info::{files_json, listed, print_files};
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::input;
use crate::output::{Object, print};
use crate::selection::Selection;

/// Loads every input of a download, whatever names a torrent. What is named twice counts once; two
/// different torrents of one name would write over each other and are refused, as far as their
/// names are known.
pub(crate) fn load_sources<'a>(
    inputs: &'a [PathBuf],
    reach: &Reach,
) -> Result<Vec<TorrentSource>, Failure> {
    let load =
        |input: &'a PathBuf| input::load_any_within(input, reach).map(|source| (input, source));
    let mut loaded: Vec<_> = inputs.iter().map(load).collect::<Result<_, _>>()?;
    // Whole torrents first: a link to one of them has nothing to add.
    loaded.sort_by_key(|(_, source)| source.metainfo().is_none());
    let mut known: BTreeSet<InfoHash> = BTreeSet::new();
    let mut names = BTreeMap::new();
    let mut sources = Vec::new();
    for (input, source) in loaded {
        if !known.insert(source.infohash()) {
            continue;
        }
        if let Some(metainfo) = source.metainfo() {
            // As file systems compare that do not tell case apart.
            let name = metainfo.name().to_lowercase();
            if let Some(other) = names.insert(name, input) {
                let (a, b, name) = (other.display(), input.display(), metainfo.name());
                return Err(Failure::new(
                    Code::Usage,
                    format!("{a} and {b} are both called {name}; give each its own directory"),
                ));
            }
        }
        sources.push(source);
    }
    Ok(sources)
}

/// The same, of which each has to be known as a whole.
pub(crate) fn load_all(inputs: &[PathBuf], reach: &Reach) -> Result<Vec<Metainfo>, Failure> {
    load_sources(inputs, reach)?.into_iter().map(input::whole).collect()
}

/// A priority for each file of the torrent, in its own order: [`FilePriority::Normal`] for what is
/// selected. Empty when everything is.
pub(crate) fn priorities(
    metainfo: &Metainfo,
    selection: Option<&Selection>,
) -> Result<Vec<FilePriority>, Failure> {
    let Some(selection) = selection else { return Ok(Vec::new()) };
    let count = listed(metainfo).count();
    if selection.largest() as usize > count {
        let (largest, name) = (selection.largest(), metainfo.name());
        return Err(Failure::new(
            Code::Usage,
            format!("there is no file {largest} in {name}, which has {count}; see --list"),
        ));
    }
    let mut numbers = 1..;
    let priority = |stored: bool| match stored.then(|| numbers.next()).flatten() {
        Some(number) if selection.contains(number) => FilePriority::Normal,
        _ => FilePriority::Skip,
    };
    Ok(metainfo.files().iter().map(File::is_stored).map(priority).collect())
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
