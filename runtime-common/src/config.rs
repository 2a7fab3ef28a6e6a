//! What an application decides before a session starts, and why it may not start.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bitswarm_core::Config;

use crate::disk::StateDirError;

/// Everything a session is started with. The default keeps no state and listens on port 6881.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Settings and bounds of the engine.
    pub core: Config,
    /// Where resume data is kept. `None`: none is kept, and every torrent is checked when added.
    /// One session at a time can use a directory.
    pub state_dir: Option<PathBuf>,
    /// Hosts of HTTPS trackers whose certificates are not checked, by name or address. Anybody on
    /// the way to such a tracker can read and forge what goes to and fro.
    pub insecure_trackers: Vec<String>,
    /// Threads that read, hash and write. `None`: one a processor, at least two.
    pub disk_threads: Option<NonZeroUsize>,
    /// Files kept open at once.
    pub open_files: usize,
    /// The seed of all randomness. `None`: from the system, as it should be outside of tests.
    pub seed: Option<[u8; 32]>,
    /// Write every input of the engine to this file, to be replayed later. The file holds all that
    /// was received and is as large.
    pub record: Option<PathBuf>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            core: Config::default(),
            state_dir: None,
            insecure_trackers: Vec::new(),
            disk_threads: None,
            open_files: 128,
            seed: None,
            record: None,
        }
    }
}

impl ClientConfig {
    /// How many disk threads that is on this machine.
    pub(crate) fn disk_thread_count(&self) -> usize {
        let processors =
            || std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2);
        self.disk_threads.map_or_else(processors, NonZeroUsize::get)
    }
}

/// Why a session did not start.
#[derive(Debug)]
pub enum StartError {
    /// The state directory cannot be used.
    State(StateDirError),
    /// The recording cannot be written.
    Record(PathBuf, io::Error),
    /// The system gave no randomness.
    Random(getrandom::Error),
    /// The system gave no thread, or no way to wait for sockets.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::State(error) => write!(f, "{error}"),
            StartError::Record(path, error) => {
                write!(f, "{}: cannot write the recording: {error}", path.display())
            }
            StartError::Random(error) => write!(f, "the system gave no randomness: {error}"),
            StartError::System(error) => {
                write!(f, "the system has no threads or descriptors left: {error}")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<StateDirError> for StartError {
    fn from(error: StateDirError) -> Self {
        StartError::State(error)
    }
}
