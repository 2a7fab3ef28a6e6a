//! That one process at a time writes a torrent's data: each says in its session's directory which
//! torrents it works on, and looks at what the others say before it begins.
//!
//! What a process says counts while the lock on its session's directory is held, and so ends with
//! the process, however it ends. One at a time looks and says, behind a gate: a lock on the state
//! directory. All that takes two descriptors, for any number of torrents.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bitswarm_core::piece::InfoHash;

use crate::exit::{Code, Failure};
use crate::state::State;

/// In a session's directory: what it works on, a line each.
const LIST: &str = "torrents";

/// How a process uses a torrent's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Writing it: no other process may use it.
    Write,
    /// Reading it: others may read it too.
    Read,
}

/// Held by who is about to lock torrents; others wait.
#[derive(Debug)]
pub(crate) struct Gate {
    state: State,
    _lock: Option<File>,
}

/// What this process works on.
#[derive(Debug)]
pub(crate) struct TorrentLock {
    /// Where it is said; nowhere without a state directory.
    list: Option<PathBuf>,
    how: Use,
    torrents: BTreeSet<InfoHash>,
}

impl Gate {
    /// Waits until nobody else is about to lock torrents in this state directory.
    pub(crate) fn enter(state: &State) -> Result<Self, Failure> {
        let path = state.dir().join("lock");
        let file = open(&path).map_err(|error| Failure::file("cannot write", &path, &error))?;
        // Some file systems have no locks: better without than not at all.
        let lock = file.lock().is_ok().then_some(file);
        Ok(Gate { state: state.clone(), _lock: lock })
    }

    /// Locks torrents for the session in this directory, whose lock is held, but for those that
    /// another process has.
    pub(crate) fn lock(
        self,
        session: &Path,
        torrents: impl Iterator<Item = InfoHash>,
        how: Use,
    ) -> Result<TorrentLock, Failure> {
        let list = session.join(LIST);
        let mut held = TorrentLock { list: Some(list.clone()), how, torrents: torrents.collect() };
        for other in self.state.sessions().filter(|dir| dir != session && is_alive(dir)) {
            held.leave_to(&other);
        }
        held.write().map_err(|error| Failure::file("cannot write", &list, &error))?;
        Ok(held)
    }

    /// Whether any process has a session here.
    pub(crate) fn is_anybody_at_work(&self) -> bool {
        self.state.sessions().any(|dir| is_alive(&dir))
    }

    /// Whether a process works on a torrent.
    pub(crate) fn is_worked_on(&self, infohash: &InfoHash) -> bool {
        let works_on = |dir: &PathBuf| {
            let list = fs::read_to_string(dir.join(LIST)).unwrap_or_default();
            list.lines().any(|line| line.ends_with(&format!(" {infohash}")))
        };
        self.state.sessions().any(|dir| works_on(&dir) && is_alive(&dir))
    }
}

impl TorrentLock {
    /// A lock that no other process sees.
    pub(crate) fn of_nobody(torrents: impl Iterator<Item = InfoHash>, how: Use) -> Self {
        TorrentLock { list: None, how, torrents: torrents.collect() }
    }

    /// Whether this torrent, called `name`, is ours; why not.
    pub(crate) fn check(&self, infohash: &InfoHash, name: &str) -> Result<(), Failure> {
        if self.torrents.contains(infohash) {
            return Ok(());
        }
        let message = format!(
            "another bitswarm is working on {name} ({infohash}) in the same directory; \
             stop it, or choose another directory"
        );
        Err(Failure::new(Code::File, message))
    }

    /// This torrent is not worked on any more.
    pub(crate) fn release(&mut self, infohash: &InfoHash) {
        if self.torrents.remove(infohash) {
            // If that fails it stays locked until the end.
            let _ = self.write();
        }
    }

    /// Gives up what another session works on, unless both only read it.
    fn leave_to(&mut self, other: &Path) {
        let list = fs::read_to_string(other.join(LIST)).unwrap_or_default();
        let lines = list.lines().filter_map(|line| line.split_once(' '));
        let both_read = |how: &str| how == word(Use::Read) && self.how == Use::Read;
        let taken: BTreeSet<&str> =
            lines.filter(|(how, _)| !both_read(how)).map(|(_, infohash)| infohash).collect();
        self.torrents.retain(|infohash| !taken.contains(&*infohash.to_string()));
    }

    /// The list appears whole.
    fn write(&self) -> io::Result<()> {
        let Some(list) = &self.list else { return Ok(()) };
        let line = |infohash: &InfoHash| format!("{} {infohash}\n", word(self.how));
        let text: String = self.torrents.iter().map(line).collect();
        let unfinished = list.with_extension("new");
        fs::write(&unfinished, text)?;
        fs::rename(&unfinished, list)
    }
}

fn word(how: Use) -> &'static str {
    match how {
        Use::Write => "write",
        Use::Read => "read",
    }
}

/// Whether a session's process lives: the lock of its directory is held.
fn is_alive(session: &Path) -> bool {
    let lock = open(&session.join("lock"));
    lock.is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InfoHash = InfoHash([7; 20]);
    const OTHER: InfoHash = InfoHash([8; 20]);

    struct Process {
        dir: PathBuf,
        _lock: File,
    }

    impl Process {
        fn start(state: &State, number: usize) -> Self {
            let dir = state.session_dirs().nth(number).unwrap();
            fs::create_dir_all(&dir).unwrap();
            let lock = open(&dir.join("lock")).unwrap();
            lock.try_lock().unwrap();
            Process { dir, _lock: lock }
        }

        fn lock(&self, state: &State, torrent: InfoHash, how: Use) -> Result<TorrentLock, Failure> {
            let lock = Gate::enter(state).unwrap().lock(&self.dir, [torrent].into_iter(), how)?;
            lock.check(&torrent, "name").map(|()| lock)
        }
    }

    #[test]
    fn writers_exclude_each_other_and_readers_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Some(dir.path()), Path::new("unused")).unwrap();
        let [a, b, c] = [0, 1, 2].map(|number| Process::start(&state, number));
        a.lock(&state, ONE, Use::Read).unwrap();
        b.lock(&state, ONE, Use::Read).unwrap();
        assert_eq!(c.lock(&state, ONE, Use::Write).unwrap_err().code, Code::File);
        c.lock(&state, OTHER, Use::Write).unwrap();
        drop((a, b));
        let mut lock = c.lock(&state, ONE, Use::Write).unwrap();
        let a = Process::start(&state, 0);
        assert!(a.lock(&state, ONE, Use::Read).is_err());
        lock.release(&ONE);
        a.lock(&state, ONE, Use::Read).unwrap();
    }

    #[test]
    fn what_another_has_is_left_to_it_and_the_rest_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Some(dir.path()), Path::new("unused")).unwrap();
        let [a, b] = [0, 1].map(|number| Process::start(&state, number));
        a.lock(&state, ONE, Use::Write).unwrap();
        let gate = Gate::enter(&state).unwrap();
        let lock = gate.lock(&b.dir, [ONE, OTHER].into_iter(), Use::Write).unwrap();
        assert!(lock.check(&ONE, "one").unwrap_err().to_string().contains("one"));
        lock.check(&OTHER, "other").unwrap();
        assert!(a.lock(&state, OTHER, Use::Read).is_err());
    }

    #[test]
    fn what_a_process_said_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Some(dir.path()), Path::new("unused")).unwrap();
        Process::start(&state, 0).lock(&state, ONE, Use::Write).unwrap();
        // Its list is left; the next that takes the place says what it works on itself.
        Process::start(&state, 1).lock(&state, ONE, Use::Write).unwrap();
        let again = Process::start(&state, 0);
        again.lock(&state, OTHER, Use::Write).unwrap();
        Process::start(&state, 1).lock(&state, ONE, Use::Write).unwrap();
    }
}
