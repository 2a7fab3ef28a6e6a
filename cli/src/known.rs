//! What resume data says of a torrent in a data directory, for commands that run no engine.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitswarm_core::disk::FileIndex;
use bitswarm_core::infohashes::InfoHashes;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::{InfoHash, PieceIndex};
use bitswarm_core::storage::foreign::{self, Origin};
use bitswarm_core::storage::resume::Resume;
use bitswarm_runtime_common::disk::stat_file;

use crate::exit::Failure;
use crate::replace::{self, Existing};
use crate::state::State;
use crate::torrent_lock::Gate;

/// The names in a data directory of symbolic links that torrents made: what lies behind such a link is
/// not there because the user put it there.
pub(crate) fn links_of_torrents(explicit: Option<&Path>, data: &Path) -> BTreeSet<OsString> {
    let mut made = BTreeSet::new();
    let Ok(data) = data.canonicalize() else { return made };
    let is_link = |entry: io::Result<fs::DirEntry>| {
        entry.and_then(|entry| entry.file_type()).is_ok_and(|kind| kind.is_symlink())
    };
    if !fs::read_dir(&data).is_ok_and(|mut entries| entries.any(is_link)) {
        return made;
    }
    // A torrent's links lie in its folder, so this directory may be one of those.
    for root in data.ancestors() {
        let Some(state) = State::find(explicit, root) else { continue };
        for (path, infohash) in state.all_resume() {
            let resume = fs::read(&path).ok().and_then(|data| Resume::decode(&data, infohash).ok());
            let links = resume.into_iter().flat_map(|resume| resume.links);
            let here =
                links.map(|link| root.join(link)).filter(|link| link.parent() == Some(&data));
            made.extend(here.filter_map(|link| Some(link.file_name()?.to_owned())));
        }
    }
    made
}

/// The newest resume data of a torrent, which nobody works on while this is held.
#[derive(Debug)]
pub(crate) struct Known {
    path: PathBuf,
    infohash: InfoHash,
    resume: Resume,
    /// Keeps others from beginning to work on it.
    _gate: Gate,
}

/// What there is of it.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing that could be used.
    Nothing,
    /// A process works on the torrent, and knows better what is on disk.
    InUse,
    /// That.
    Known(Box<Known>),
}

impl Known {
    /// Looks in the state of a data directory. Makes nothing.
    pub(crate) fn find(explicit: Option<&Path>, data: &Path, metainfo: &Metainfo) -> Found {
        let Some(state) = State::find(explicit, data) else { return Found::Nothing };
        let infohashes = InfoHashes::of(metainfo);
        if state.newest_resume(infohashes.short().collect::<Vec<_>>().into_iter()).is_none() {
            return Found::Nothing;
        }
        let Ok(gate) = Gate::enter(&state) else { return Found::Nothing };
        if infohashes.short().any(|infohash| gate.is_worked_on(&infohash)) {
            return Found::InUse;
        }
        // The session that worked on it may have ended meanwhile.
        let newest = state.newest_resume(infohashes.short().collect::<Vec<_>>().into_iter());
        let known = newest.and_then(|(path, infohash)| {
            let resume = Resume::decode(&fs::read(&path).ok()?, infohash).ok()?;
            let fits = resume.pieces.len() == metainfo.geometry().pieces();
            fits.then_some(Known { path, infohash, resume, _gate: gate })
        });
        known.map_or(Found::Nothing, |known| Found::Known(known.into()))
    }

    /// Whether the file that lies at `place` is one that downloads of this torrent made, or were allowed
    /// to write; not one that has taken its place since.
    pub(crate) fn is_ours(&self, file: FileIndex, place: &Path) -> bool {
        let Resume { ours, .. } = &self.resume;
        let is_ours = |now| foreign::origin(ours, Some(&self.resume), file, &now) == Origin::Ours;
        stat_file(place).is_none_or(is_ours)
    }

    /// Notes that these pieces are not on disk; whether that is news.
    pub(crate) fn forget(&mut self, pieces: &[PieceIndex]) -> Result<bool, Failure> {
        let known = pieces.iter().filter(|piece| self.resume.pieces.clear(**piece)).count();
        if known > 0 {
            let bytes = self.resume.encode(self.infohash);
            replace::write(&self.path, &bytes, Existing::Replace)?;
        }
        Ok(known > 0)
    }
}
