//! A session of the runtime under test.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bitswarm_core::action::SocketKind;
use bitswarm_core::disk::DiskError;
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};
use bitswarm_core::{Notice, TorrentId, TorrentNotice};
use bitswarm_runtime_common::{Client, ClientConfig, Notices};
use tempfile::TempDir;

use super::Runtime;
use super::sample::Sample;

/// Longest wait for what comes some time.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// A session with a directory for its files, and one for its state.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) notices: Notices,
    pub(super) dir: TempDir,
    /// Where it listens, in the order of its configuration.
    pub(super) addrs: Vec<SocketAddr>,
}

impl Session {
    pub(super) fn start(runtime: Runtime) -> Self {
        Self::with(runtime, |_| {})
    }

    /// One with another configuration.
    pub(super) fn with(runtime: Runtime, adjust: impl FnOnce(&mut ClientConfig)) -> Self {
        Self::start_in(runtime, tempfile::tempdir().unwrap(), adjust)
    }

    pub(super) fn start_in(
        runtime: Runtime,
        dir: TempDir,
        adjust: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let mut config = config(&dir);
        adjust(&mut config);
        let listeners = config.core.listen.len();
        let (client, notices) = (runtime.start)(&config).unwrap();
        let mut session = Session { client, notices, dir, addrs: Vec::new() };
        for _ in 0..listeners {
            let addr = session.wait_for(|notice| match notice {
                Notice::Listening { addr, kind: SocketKind::TcpListener, .. } => Some(*addr),
                Notice::ListenFailed { .. } => panic!("{notice:?}"),
                _ => None,
            });
            session.addrs.push(addr);
        }
        session
    }

    /// Where it listens first.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// Where its files are.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// Where it is recorded, if it is.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(super) fn add(&self, sample: &Sample) -> TorrentId {
        self.client.add_torrent(AddTorrent::new(sample.metainfo.clone(), self.root())).unwrap()
    }

    /// Adds a torrent whose file is there.
    pub(super) fn seed(&mut self, sample: &Sample) -> TorrentId {
        sample.write_to(&self.root());
        let id = self.add(sample);
        let pieces = sample.pieces() as u32;
        self.wait_for_torrent(|what| match what {
            TorrentNotice::Checked { have, .. } => *have == pieces,
            _ => false,
        });
        id
    }

    /// Adds a torrent that `from` has.
    pub(super) fn fetch(&self, sample: &Sample, from: SocketAddr) -> TorrentId {
        let id = self.add(sample);
        self.client.add_peers(id, vec![from]).unwrap();
        id
    }

    /// Waits for the end of one download, and looks at what came.
    pub(super) fn finish(&mut self, sample: &Sample) {
        self.wait_for_torrent(|what| *what == TorrentNotice::Finished);
        sample.assert_in(&self.root());
    }

    pub(super) fn status(&self, id: TorrentId) -> TorrentStatus {
        self.client.status(id).expect("the torrent is there")
    }

    /// Waits until a torrent stands as wanted.
    pub(super) fn wait_until(&self, id: TorrentId, wanted: impl Fn(&TorrentStatus) -> bool) {
        let deadline = Instant::now() + LONG;
        while !wanted(&self.status(id)) {
            assert!(Instant::now() < deadline, "{:#?}", self.status(id));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Notice) -> Option<T>) -> T {
        let deadline = Instant::now() + LONG;
        let mut heard = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(notice) = self.notices.next_timeout(left) else { panic!("only: {heard:#?}") };
            if let Some(found) = wanted(&notice) {
                return found;
            }
            heard.push(notice);
        }
    }

    pub(super) fn wait_for_torrent(
        &mut self,
        mut wanted: impl FnMut(&TorrentNotice) -> bool,
    ) -> TorrentNotice {
        self.wait_for(|notice| match notice {
            Notice::Torrent { what, .. } if wanted(what) => Some(what.clone()),
            _ => None,
        })
    }

    pub(super) fn wait_for_disk_failure(&mut self) -> DiskError {
        self.wait_for(|notice| match notice {
            Notice::Torrent { what: TorrentNotice::DiskFailed { error }, .. } => {
                Some(error.clone())
            }
            _ => None,
        })
    }

    /// Ends it in order; how long that took. (That it is soon, the cases of `stop` look at.)
    pub(super) fn stop_timed(self) -> (TempDir, Duration) {
        let began = Instant::now();
        assert_eq!(self.client.stop(LONG), Ok(()));
        let took = began.elapsed();
        assert_eq!(self.notices.last(), Some(Notice::Stopped));
        (self.dir, took)
    }

    /// The same; the directory that is left.
    pub(super) fn stop(self) -> TempDir {
        self.stop_timed().0
    }

    /// Ends it; what was recorded.
    pub(super) fn stop_and_take_log(self) -> Vec<u8> {
        let log = self.log();
        let _dir = self.stop();
        fs::read(log).unwrap()
    }
}

/// Listens on loopback and keeps its state in `dir`.
pub(super) fn config(dir: &TempDir) -> ClientConfig {
    let state_dir = Some(dir.path().join("state"));
    let mut config = ClientConfig { state_dir, ..ClientConfig::default() };
    config.core.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config
}

/// Records the session in its directory.
pub(super) fn recorded(config: &mut ClientConfig) {
    let state = config.state_dir.as_ref().expect("one of ours");
    config.record = Some(state.with_file_name("log"));
}
