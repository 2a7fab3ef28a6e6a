//! bitswarm on async-std: one task that owns the engine and the sockets, worker threads for the disk
//! and for name resolution.
//!
//! async-std is discontinued upstream in favour of smol. With the feature `smol` there is
//! `start_on_smol` beside [`start`], and nothing else about the session changes; a new application
//! better begins with that. Both are named in one file, `rt.rs`.
//!
//! [`start`] is all there is to it: applications then use the [`Client`], which is the same with
//! every runtime. One session seeds, another downloads from it:
//!
//! ```
//! use bitswarm_core::metainfo::Creator;
//! use bitswarm_core::torrent::AddTorrent;
//! use bitswarm_core::{Notice, TorrentNotice};
//! use bitswarm_runtime_async_std::{ClientConfig, STOP_TIMEOUT, start};
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

mod ready;
mod rt;
mod sockets;
mod task;

use std::sync::Arc;

use bitswarm_runtime_common::launch;
pub use bitswarm_runtime_common::{
    Client, ClientConfig, ClientError, Notices, STOP_TIMEOUT, StartError, StoppedEarly,
};

use crate::ready::Ready;
use crate::task::Driving;

/// Starts a session: a driver task of async-std on a thread of its own.
///
/// The stream of notices that is returned misses nothing, the sockets' opening included.
pub fn start(config: &ClientConfig) -> Result<(Client, Notices), StartError> {
    let ready = Arc::new(Ready::default());
    let wake = Arc::clone(&ready);
    launch(config, wake, |host| rt::block_on_async_std(Driving::new(host, ready).run()))
}

/// Starts a session as [`start`] does, with a driver task of smol.
#[cfg(feature = "smol")]
pub fn start_on_smol(config: &ClientConfig) -> Result<(Client, Notices), StartError> {
    let ready = Arc::new(Ready::default());
    let wake = Arc::clone(&ready);
    launch(config, wake, |host| rt::block_on_smol(Driving::new(host, ready).run()))
}
