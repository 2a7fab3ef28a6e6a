//! The torrents of one run of download or seed: loaded, and checked against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bitswarm_core::metainfo::{File, Metainfo};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{FilePriority, TorrentSource};

use crate::claim::Use;
use crate::commands::info::{files_json, listed, print_files};
use crate::exit::{Code, Failure};
use crate::input;
use crate::left_out::LeftOut;
use crate::output::{Object, print};
use crate::selection::Selection;

/// Loads every input of a download: torrent files and magnet links. What is named twice counts
/// once; two different torrents of one name are refused as far as their names are known. An input
/// that cannot be used is left out.
pub(crate) fn load_sources(
    inputs: &[PathBuf],
    left_out: &mut LeftOut,
) -> Result<Vec<TorrentSource>, Failure> {
    let is_link = |path: &&PathBuf| path.to_str().is_some_and(input::is_link);
    let (links, files): (Vec<&PathBuf>, Vec<&PathBuf>) = inputs.iter().partition(is_link);
    let files: Vec<PathBuf> = files.into_iter().cloned().collect();
    let torrents = load_all(&files, Use::Write, left_out)?;
    let mut known: BTreeSet<InfoHash> = torrents.iter().map(Metainfo::infohash).collect();
    let mut sources: Vec<TorrentSource> = torrents.into_iter().map(TorrentSource::from).collect();
    for link in links {
        let Some(source) = left_out.keep(input::load_any(link)) else { continue };
        if known.insert(source.infohash()) {
            sources.push(source);
        }
    }
    Ok(sources)
}

/// Loads every torrent file. A torrent named twice counts once; two different ones of one name would
/// write over each other and are refused, unless their data is only read. A file that is no torrent is
/// left out.
pub(crate) fn load_all(
    inputs: &[PathBuf],
    how: Use,
    left_out: &mut LeftOut,
) -> Result<Vec<Metainfo>, Failure> {
    let mut torrents: Vec<Metainfo> = Vec::new();
    let mut names = BTreeMap::new();
    let mut known = BTreeSet::new();
    for path in inputs {
        let Some(metainfo) = left_out.keep(input::load(path)) else { continue };
        if how == Use::Read {
            if known.insert(metainfo.infohash()) {
                torrents.push(metainfo);
            }
            continue;
        }
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
