//! The torrents of one run of download or seed: loaded, and checked against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{FilePriority, TorrentSource};

use crate::commands::info::{files_json, print_files};
use crate::exit::{Code, Failure};
use crate::input;
use crate::output::{Object, print};
use crate::selection::Selection;

/// Loads every input of a download: torrent files and magnet links. What is named twice counts
/// once; two different torrents of one name are refused as far as their names are known.
pub(crate) fn load_sources(inputs: &[PathBuf]) -> Result<Vec<TorrentSource>, Failure> {
    let is_link = |path: &&PathBuf| path.to_str().is_some_and(input::is_link);
    let (links, files): (Vec<&PathBuf>, Vec<&PathBuf>) = inputs.iter().partition(is_link);
    let files: Vec<PathBuf> = files.into_iter().cloned().collect();
    let torrents = load_all(&files)?;
    let mut known: BTreeSet<InfoHash> = torrents.iter().map(Metainfo::infohash).collect();
    let mut sources: Vec<TorrentSource> = torrents.into_iter().map(TorrentSource::from).collect();
    for link in links {
        let source = input::load_any(link)?;
        if known.insert(source.infohash()) {
            sources.push(source);
        }
    }
    Ok(sources)
}

/// Loads every torrent file. A torrent named twice counts once; two different ones of one name would
/// write over each other and are refused.
pub(crate) fn load_all(inputs: &[PathBuf]) -> Result<Vec<Metainfo>, Failure> {
    let mut torrents: Vec<Metainfo> = Vec::new();
    let mut names = BTreeMap::new();
    for path in inputs {
        let metainfo = input::load(path)?;
        // As file systems compare that do not tell case apart.
        let name = metainfo.name().to_lowercase();
        match names.insert(name, (path, metainfo.infohash())) {
            None => torrents.push(metainfo),
            Some((_, infohash)) if infohash == metainfo.infohash() => {}
            Some((other, _)) => {
                let (a, b, name) = (other.display(), path.display(), metainfo.name());
                return Err(Failure::new(
                    Code::Usage,
                    format!("{a} and {b} are both called {name}; give each its own directory"),
                ));
            }
        }
    }
    Ok(torrents)
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
