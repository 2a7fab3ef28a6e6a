//! The engine as a runtime drives it.
//!
//! The recorder is the one way to the engine's state, and this stores what it has recorded.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bitswarm_core::record::Recorder;
use bitswarm_core::torrent::TorrentStatus;
use bitswarm_core::{Engine, Instant, TorrentId, UnixTime};

use crate::config::{ClientConfig, StartError};

/// An engine, recorded or not.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) engine: Recorder,
    /// Where the recording goes.
    log: Option<Log>,
    log_failure: LogFailure,
}

/// Why the recording ended before the session, if it did.
pub(crate) type LogFailure = Arc<OnceLock<io::Error>>;

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
}

impl Recorded {
    pub(crate) fn new(
        config: &ClientConfig,
        seed: [u8; 32],
        now: Instant,
        wall: UnixTime,
        log_failure: LogFailure,
    ) -> Result<Self, StartError> {
        let core = config.core.clone();
        let Some(path) = config.record.clone() else {
            let engine = Recorder::passing(Engine::new(core, seed, now, wall));
            return Ok(Recorded { engine, log: None, log_failure });
        };
        match File::create(&path) {
            Ok(file) => {
                let engine = Recorder::recording(core, seed, now, wall);
                Ok(Recorded { engine, log: Some(Log { path, file }), log_failure })
            }
            Err(error) => Err(StartError::Record(path, error)),
        }
    }

    /// Stores what was recorded so far. A recording that cannot be stored ends where it is.
    pub(crate) fn store_log(&mut self) {
        if self.engine.log_len() == 0 {
            return;
        }
        let written = self.engine.take_log();
        let Some(log) = &mut self.log else { return };
        if let Err(error) = log.file.write_all(&written) {
            tracing::warn!(path = %log.path.display(), %error, "the recording ends here");
            self.log = None;
            let _ = self.log_failure.set(error);
        }
    }

    /// Ends the recording.
    pub(crate) fn finish_log(&mut self) {
        self.engine.checkpoint();
        self.store_log();
        self.log = None;
    }

    pub(crate) fn statuses(
        &self,
        now: Instant,
        after: Option<TorrentId>,
        most: usize,
    ) -> Vec<TorrentStatus> {
        let engine = self.engine.engine();
        // Their order is that of their ids.
        let ids = engine.torrents().filter(|id| after.is_none_or(|after| *id > after));
        ids.filter_map(|id| engine.status(now, id)).take(most).collect()
    }
}
