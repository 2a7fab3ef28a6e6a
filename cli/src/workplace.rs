//! The beginning of every transfer: a state directory, a session in it, and the lock on its torrents.
//!
//! Where no state can be kept, a transfer goes on without, unless the user named the directory: it can
//! do all but resume without hashing, and keep another process from working on the same torrent.

use std::path::Path;

use bitswarm_core::config::Config;
use bitswarm_core::piece::InfoHash;

use crate::args::Transfer;
use crate::exit::Failure;
use crate::ip_filter::IpLists;
use crate::progress::Progress;
use crate::session::{Session, TransferFailure, core_config};
use crate::state::{Fetcher, State};
use crate::torrent_lock::{Gate, TorrentLock, Use};

/// A session that may work on its torrents.
#[derive(Debug)]
pub(crate) struct Workplace {
    pub(crate) session: Session,
    pub(crate) lock: TorrentLock,
    /// What earlier sessions kept of torrents.
    pub(crate) kept: Option<Fetcher>,
}

impl Workplace {
    /// Starts a session for torrents whose data lies in the directory `data`, and locks them.
    pub(crate) fn enter(
        transfer: &Transfer,
        down: Option<u64>,
        data: &Path,
        torrents: impl Iterator<Item = InfoHash> + Clone,
        how: Use,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let lists = IpLists::new(&transfer.network.ip_filter, transfer.reporting.json);
        let core = Config { ip_filter: lists.load(progress)?, ..core_config(transfer, down) };
        let explicit = transfer.state_dir.as_deref();
        let entered = with_state(transfer, core.clone(), explicit, data, torrents.clone(), how);
        let failure = match entered {
            Ok(entered) => return Ok(entered),
            Err(TransferFailure::State(failure)) if explicit.is_none() => failure,
            Err(TransferFailure::State(failure) | TransferFailure::Other(failure)) => {
                return Err(failure);
            }
        };
        progress.say(&format!(
            "{failure}; going on without: the next run hashes everything again \
             (--state-dir names another place)"
        ));
        match Session::for_transfer(transfer, core, None) {
            Ok((session, _)) => {
                Ok(Workplace { session, lock: TorrentLock::of_nobody(torrents, how), kept: None })
            }
            Err(TransferFailure::State(failure) | TransferFailure::Other(failure)) => Err(failure),
        }
    }
}

fn with_state(
    transfer: &Transfer,
    core: Config,
    explicit: Option<&Path>,
    data: &Path,
    torrents: impl Iterator<Item = InfoHash>,
    how: Use,
) -> Result<Workplace, TransferFailure> {
    let state = State::open(explicit, data).map_err(TransferFailure::State)?;
    let gate = Gate::enter(&state).map_err(TransferFailure::State)?;
    let (session, dir) = Session::for_transfer(transfer, core, Some(&state))?;
    let dir = dir.expect("a session with state has a directory");
    let lock = gate.lock(&dir, torrents, how).map_err(TransferFailure::State)?;
    let kept = Some(state.fetcher(&dir));
    Ok(Workplace { session, lock, kept })
}
