//! Where resume data lives.
//!
//! By default the state of downloads into a directory lies under the same path below the XDG state
//! directory, such as `~/.local/state/bitswarm/home/me/Downloads`. So a seeder and a downloader of
//! one torrent on one machine do not disturb each other, as long as their data directories differ.
//!
//! A session wants a state directory to itself, yet several may work on one data directory, each
//! on other torrents. So each takes the first free of the directories `session-0`, `session-1`, ...
//! below, and fetches its torrents' resume data from the others into it.

use std::env;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use bitswarm_core::piece::InfoHash;

use crate::args::parse_hex;
use crate::exit::{Code, Failure};

/// Most sessions in one data directory at once (chosen).
pub(crate) const MOST_SESSIONS: usize = 100;

/// The state of everything in one data directory.
#[derive(Clone, Debug)]
pub(crate) struct State {
    dir: PathBuf,
}

impl State {
    /// The state of the data directory `data`, which exists; made if it is missing.
    pub(crate) fn open(explicit: Option<&Path>, data: &Path) -> Result<Self, Failure> {
        let dir = place(explicit, data)?;
        fs::create_dir_all(&dir)
            .map_err(|error| Failure::file("cannot keep state in", &dir, &error))?;
        Ok(State { dir })
    }

    /// The same if there is any.
    pub(crate) fn find(explicit: Option<&Path>, data: &Path) -> Option<Self> {
        let dir = place(explicit, data).ok()?;
        dir.is_dir().then_some(State { dir })
    }

    /// The newest resume data of a torrent, kept under one of these infohashes.
    pub(crate) fn newest_resume(
        &self,
        infohashes: impl Iterator<Item = InfoHash> + Clone,
    ) -> Option<(PathBuf, InfoHash)> {
        let dirs = self.sessions();
        let files = dirs.flat_map(|dir| {
            let path = |infohash| (dir.join(format!("{infohash}.resume")), infohash);
            infohashes.clone().map(path).collect::<Vec<_>>()
        });
        let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        let there = files.filter_map(|file| Some((modified(&file.0)?, file)));
        there.max_by_key(|(modified, _)| *modified).map(|(_, file)| file)
    }

    /// The directories that a session may take, the first free one first.
    pub(crate) fn session_dirs(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..MOST_SESSIONS).map(|number| self.dir.join(format!("session-{number}")))
    }

    /// Those of them that are there, of any session.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.session_dirs().filter(|dir| dir.is_dir())
    }

    /// All resume data, with the infohash that it is kept under.
    pub(crate) fn all_resume(&self) -> impl Iterator<Item = (PathBuf, InfoHash)> + '_ {
        let files = self.sessions().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        files.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((entry.path(), InfoHash(parse_hex(name.strip_suffix(".resume")?).ok()?)))
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// To move resume data into the directory of a session.
    pub(crate) fn fetcher(&self, session: &Path) -> Fetcher {
        let others = self.sessions().filter(|dir| dir != session).collect();
        Fetcher { session: session.to_owned(), others }
    }
}

/// Moves resume data from the directories of other sessions into that of one.
#[derive(Debug)]
pub(crate) struct Fetcher {
    session: PathBuf,
    others: Vec<PathBuf>,
}

impl Fetcher {
    /// Moves the newest data of a locked torrent, if that is not here already. Without it a
    /// torrent is checked in full: slower, and as good.
    pub(crate) fn fetch(&self, infohash: InfoHash) {
        for kind in ["metadata", "resume"] {
            let _ = self.fetch_file(&format!("{infohash}.{kind}"));
        }
    }

    fn fetch_file(&self, name: &str) -> io::Result<()> {
        let modified = |dir: &Path| fs::metadata(dir.join(name)).and_then(|m| m.modified()).ok();
        let there = self.others.iter().filter_map(|dir| Some((modified(dir)?, dir)));
        match there.max_by_key(|(modified, _)| *modified) {
            Some((newest, dir)) if Some(newest) > modified(&self.session) => {
                fs::rename(dir.join(name), self.session.join(name))
            }
            _ => Ok(()),
        }
    }
}

fn place(explicit: Option<&Path>, data: &Path) -> Result<PathBuf, Failure> {
    if let Some(dir) = explicit {
        return Ok(dir.to_owned());
    }
    let data = data.canonicalize().map_err(|e| Failure::file("cannot use", data, &e))?;
    let home = env::home_dir().filter(|home| home.is_absolute());
    default_directory(env_dir("XDG_STATE_HOME"), home, &data).ok_or_else(|| {
        // Never in the data directory: what a torrent can write there would be believed.
        let why = "cannot keep state: there is neither HOME nor XDG_STATE_HOME; name --state-dir";
        Failure::new(Code::File, why)
    })
}

/// An absolute path from the environment; the XDG specification has relative ones ignored.
fn env_dir(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn default_directory(
    xdg_state: Option<PathBuf>,
    home: Option<PathBuf>,
    data: &Path,
) -> Option<PathBuf> {
    let base = xdg_state.or_else(|| home.map(|home| home.join(".local/state")))?;
    let below_root = data.components().filter(|part| matches!(part, Component::Normal(_)));
    Some(base.join("bitswarm").join(below_root.collect::<PathBuf>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_directory_lies_under_its_own_path() {
        let data = Path::new("/home/me/Downloads");
        let home = Some(PathBuf::from("/home/me"));
        assert_eq!(
            default_directory(Some("/state".into()), home.clone(), data),
            Some("/state/bitswarm/home/me/Downloads".into())
        );
        assert_eq!(
            default_directory(None, home, data),
            Some("/home/me/.local/state/bitswarm/home/me/Downloads".into())
        );
        assert_eq!(default_directory(None, None, data), None, "not among the data");
    }

    #[test]
    fn the_newest_resume_data_moves_to_the_session_that_wants_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Some(dir.path()), Path::new("unused")).unwrap();
        let dirs: Vec<PathBuf> = state.session_dirs().take(3).collect();
        let torrent = InfoHash([7; 20]);
        let file = |number: usize| dirs[number].join(format!("{torrent}.resume"));
        let age = |path: PathBuf, seconds| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
        state.fetcher(&dirs[0]).fetch(torrent);
        fs::write(file(0), "old").unwrap();
        age(file(0), 1_000);
        fs::write(file(2), "new").unwrap();
        age(file(2), 2_000);
        state.fetcher(&dirs[0]).fetch(torrent);
        assert_eq!(fs::read(file(0)).unwrap(), b"new");
        assert!(!file(2).exists());
        state.fetcher(&dirs[0]).fetch(torrent);
        assert_eq!(fs::read(file(0)).unwrap(), b"new");
    }
}
