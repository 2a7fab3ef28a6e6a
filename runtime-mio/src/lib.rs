//! bitswarm on mio: one event loop that owns the engine and the sockets, worker threads for the
//! disk and for name resolution.
//!
//! [`start`] is all there is to it: applications then use the [`Client`], which is the same with
//! every runtime. One session seeds, another downloads from it:
//!
//! ```
//! use bitswarm_core::metainfo::Creator;
//! use bitswarm_core::torrent::AddTorrent;
//! use bitswarm_core::{Notice, TorrentNotice};
//! use bitswarm_runtime_mio::{ClientConfig, STOP_TIMEOUT, start};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let (here, there) = (dir.path().join("here"), dir.path().join("there"));
//! # std::fs::create_dir(&here)?;
//! let content = b"hello, swarm".repeat(10_000);
//! std::fs::write(here.join("hello"), &content)?;
//! let torrent = Creator::single_file("hello", 120_000).finish_with_content(&content)?;
//! let mut config = ClientConfig::default();
//! config.core.listen = vec!["127.0.0.1:0".parse()?];
//!
//! let (seed, mut notices) = start(&config)?;
//! let listening = notices.find_map(|notice| match notice {
//!     Notice::Listening { addr, .. } => Some(addr),
//!     _ => None,
//! });
//! seed.add_torrent(AddTorrent::new(torrent.clone(), here))?;
//!
//! let (leech, mut notices) = start(&config)?;
//! let id = leech.add_torrent(AddTorrent::new(torrent, &there))?;
//! leech.add_peers(id, listening.into_iter().collect())?;
//! let finished = |notice: &Notice| {
//!     matches!(notice, Notice::Torrent { what: TorrentNotice::Finished, .. })
//! };
//! notices.find(finished).ok_or("the session ended early")?;
//! assert_eq!(std::fs::read(there.join("hello"))?, content);
//! leech.stop(STOP_TIMEOUT)?;
//! seed.stop(STOP_TIMEOUT)?;
//! # Ok(())
//! # }
//! ```

mod event_loop;
mod registry;

use std::sync::Arc;

pub use bitswarm_runtime_common::{
    Client, ClientConfig, ClientError, Notices, STOP_TIMEOUT, StartError, StoppedEarly,
};
use bitswarm_runtime_common::{Wake, launch};
use mio::{Poll, Waker};

use crate::registry::{Sockets, WAKER};

/// Starts a session on a thread of its own.
///
/// The stream of notices that is returned misses nothing, the sockets' opening included.
pub fn start(config: &ClientConfig) -> Result<(Client, Notices), StartError> {
    let poll = Poll::new().map_err(StartError::System)?;
    let sockets = poll.registry().try_clone().map(Sockets).map_err(StartError::System)?;
    let waker = Waker::new(poll.registry(), WAKER).map_err(StartError::System)?;
    launch(config, Arc::new(PollWaker(waker)), |host| event_loop::run(poll, sockets, host))
}

struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::debug!(%error, "the event loop was not woken");
        }
    }
}
