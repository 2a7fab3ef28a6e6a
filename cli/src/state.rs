//! Where resume data lives, and that one process at a time works on a torrent's data.
//!
//! By default the state of downloads into a directory lies under the same path below the XDG state
//! directory, such as `~/.local/state/bitswarm/home/me/Downloads`. So a seeder and a downloader of
//! one torrent on one machine do not disturb each other, as long as their data directories differ.
//!
//! A session wants a state directory to itself, yet several may work on one data directory, each
//! on other torrents. So each takes the first free of the directories `session-0`, `session-1`, ...
//! below, and fetches its torrents' resume data from the others into it.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};

use bitswarm_core::piece::InfoHash;

use crate::exit::{Code, Failure};

/// Most sessions in one data directory at once (chosen).
const MOST_SESSIONS: usize = 100;

/// The state of everything in one data directory.
#[derive(Clone, Debug)]
pub(crate) struct State {
    dir: PathBuf,
}

impl State {
    /// The state of the data directory `data`, which exists; made if it is missing.
    pub(crate) fn open(explicit: Option<&Path>, data: &Path) -> Result<Self, Failure> {
        let dir = match explicit {
            Some(dir) => dir.to_owned(),
            None => {
                let data =
                    data.canonicalize().map_err(|e| Failure::file("cannot use", data, &e))?;
                default_directory(env_dir("XDG_STATE_HOME"), env_dir("HOME"), &data)
            }
        };
        fs::create_dir_all(&dir)
            .map_err(|error| Failure::file("cannot make the state directory", &dir, &error))?;
        Ok(State { dir })
    }

    /// The directories that a session may take, the first free one first.
    pub(crate) fn session_dirs(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..MOST_SESSIONS).map(|number| self.dir.join(format!("session-{number}")))
    }

    /// Moves the newest resume data of a torrent, whose [`Lock`] is held, into a session's
    /// directory.
    pub(crate) fn fetch(&self, infohash: InfoHash, session: &Path) -> io::Result<()> {
        self.fetch_file(&format!("{infohash}.metadata"), session)?;
        self.fetch_file(&format!("{infohash}.resume"), session)
    }

    fn fetch_file(&self, name: &str, session: &Path) -> io::Result<()> {
        let modified = |dir: &PathBuf| fs::metadata(dir.join(name)).and_then(|m| m.modified());
        let newest = self
            .session_dirs()
            .filter_map(|dir| Some((modified(&dir).ok()?, dir)))
            .max_by_key(|(modified, _)| *modified);
        match newest {
            Some((_, dir)) if dir != session => fs::rename(dir.join(name), session.join(name)),
            _ => Ok(()),
        }
    }
}

/// An absolute path from the environment; the XDG specification has relative ones ignored.
fn env_dir(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn default_directory(xdg_state: Option<PathBuf>, home: Option<PathBuf>, data: &Path) -> PathBuf {
    let Some(base) = xdg_state.or_else(|| home.map(|home| home.join(".local/state"))) else {
        return data.join(".bitswarm");
    };
    let below_root = data.components().filter(|part| matches!(part, Component::Normal(_)));
    base.join("bitswarm").join(below_root.collect::<PathBuf>())
}

/// How a process uses a torrent's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Writing it: no other process may use it.
    Write,
    /// Reading it: others may read it too.
    Read,
}

/// Keeps other processes from using a torrent's data in a conflicting way while it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks a torrent in a state directory, or says that another process has it.
    pub(crate) fn take(state: &State, infohash: InfoHash, how: Use) -> Result<Self, Failure> {
        let path = state.dir.join(format!("{infohash}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| Failure::file("cannot write", &path, &error))?;
        let result = match how {
            Use::Write => file.try_lock(),
            Use::Read => file.try_lock_shared(),
        };
        match result {
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                Code::File,
                format!(
                    "another bitswarm is working on torrent {infohash} in the same directory; \
                     stop it, or choose another directory"
                ),
            )),
            // Some file systems have no locks: better without than not at all.
            Err(TryLockError::Error(_)) | Ok(()) => Ok(Lock { _file: file }),
        }
    }
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
            Path::new("/state/bitswarm/home/me/Downloads")
        );
        assert_eq!(
            default_directory(None, home, data),
            Path::new("/home/me/.local/state/bitswarm/home/me/Downloads")
        );
        assert_eq!(default_directory(None, None, data), Path::new("/home/me/Downloads/.bitswarm"));
    }

    #[test]
    fn writers_exclude_each_other_and_readers_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let torrent = InfoHash([7; 20]);
        let state = State::open(Some(dir.path()), Path::new("unused")).unwrap();
        let take = |how| Lock::take(&state, torrent, how);
        let reader = take(Use::Read).unwrap();
        let another = take(Use::Read).unwrap();
        assert_eq!(take(Use::Write).unwrap_err().code, Code::File);
        drop((reader, another));
        let writer = take(Use::Write).unwrap();
        assert!(take(Use::Read).is_err());
        assert!(Lock::take(&state, InfoHash([8; 20]), Use::Write).is_ok());
        drop(writer);
        assert!(take(Use::Write).is_ok());
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
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
        state.fetch(torrent, &dirs[0]).unwrap();
        fs::write(file(0), "old").unwrap();
        age(file(0), 1_000);
        fs::write(file(2), "new").unwrap();
        age(file(2), 2_000);
        state.fetch(torrent, &dirs[0]).unwrap();
        assert_eq!(fs::read(file(0)).unwrap(), b"new");
        assert!(!file(2).exists());
        state.fetch(torrent, &dirs[0]).unwrap();
        assert_eq!(fs::read(file(0)).unwrap(), b"new");
    }
}
