//! What every runtime must pass: whole sessions over loopback with real sockets and files.
//!
//! Each case is a function of the runtime's `start` and uses nothing else of it;
//! [`conformance!`](crate::conformance!) makes tests of all of them for one runtime.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitswarm_core::metainfo::{Creator, Metainfo};
use bitswarm_core::record::replay;
use bitswarm_core::torrent::{AddTorrent, TorrentState};
use bitswarm_core::{Notice, TorrentId, TorrentNotice};
use bitswarm_runtime_common::{
    Client, ClientConfig, ClientError, Events, STOP_TIMEOUT, StartError,
};
use tempfile::TempDir;

mod held;

use held::Held;

/// A runtime.
pub type Start = fn(&ClientConfig) -> Result<(Client, Events), StartError>;

const LONG: Duration = Duration::from_secs(60);

/// Descriptors, threads and turns are counted: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// One file of that content.
fn torrent(data: &[u8]) -> Arc<Metainfo> {
    let mut new = Creator::single_file("file", data.len() as u64);
    new.piece_length = 64 * 1024;
    Arc::new(new.finish_with_content(data).unwrap())
}

/// A session with a directory for its files, and one for its state.
struct Session {
    client: Client,
    events: Events,
    dir: TempDir,
    addr: SocketAddr,
}

impl Session {
    fn start(start: Start) -> Self {
        Self::start_in(start, tempfile::tempdir().unwrap())
    }

    fn start_in(start: Start, dir: TempDir) -> Self {
        let (client, events) = start(&config(dir.path())).unwrap();
        let mut session =
            Session { client, events, dir, addr: SocketAddr::from(([127, 0, 0, 1], 0)) };
        session.addr = session.wait_for(|notice| match notice {
            Notice::Listening { addr, .. } => Some(*addr),
            _ => None,
        });
        session
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("files")
    }

    fn add(&self, torrent: &Arc<Metainfo>) -> TorrentId {
        self.client.add_torrent(AddTorrent::new(Arc::clone(torrent), self.root())).unwrap()
    }

    fn seed(&mut self, torrent: &Arc<Metainfo>, data: &[u8]) -> TorrentId {
        fs::create_dir_all(self.root()).unwrap();
        fs::write(self.root().join("file"), data).unwrap();
        let id = self.add(torrent);
        self.wait_for_torrent(|what| matches!(what, TorrentNotice::Checked { .. }));
        id
    }

    fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Notice) -> Option<T>) -> T {
        let deadline = Instant::now() + LONG;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let notice = self.events.next_timeout(left).expect("the notice comes");
            if let Some(found) = wanted(&notice) {
                return found;
            }
        }
    }

    fn wait_for_torrent(
        &mut self,
        mut wanted: impl FnMut(&TorrentNotice) -> bool,
    ) -> TorrentNotice {
        self.wait_for(|notice| match notice {
            Notice::Torrent { what, .. } if wanted(what) => Some(what.clone()),
            _ => None,
        })
    }

    fn stop(self) -> TempDir {
        let began = Instant::now();
        assert_eq!(self.client.stop(STOP_TIMEOUT), Ok(()));
        assert!(began.elapsed() < STOP_TIMEOUT);
        assert_eq!(self.events.last(), Some(Notice::Stopped));
        self.dir
    }
}

fn config(dir: &Path) -> ClientConfig {
    let mut config = ClientConfig { state_dir: Some(dir.join("state")), ..ClientConfig::default() };
    config.core.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config
}

/// 20 MiB from one session to another; no descriptor and no thread stays.
pub fn file_goes_from_seed_to_leech_whole_and_nothing_is_left_open(start: Start) {
    let _alone = alone();
    // What a runtime starts once for the whole process is there from now on.
    Session::start(start).stop();
    let before = Held::now();
    let data = content((20 << 20) + 12_345);
    let torrent = torrent(&data);
    let mut seed = Session::start(start);
    seed.seed(&torrent, &data);
    let mut leech = Session::start(start);
    let id = leech.add(&torrent);
    leech.client.add_peers(id, vec![seed.addr]).unwrap();
    leech.wait_for_torrent(|what| *what == TorrentNotice::Finished);
    let status = leech.client.status(id).unwrap();
    assert_eq!(status.state, TorrentState::Seeding);
    assert_eq!(status.downloaded_bytes, data.len() as u64);
    leech.wait_for_torrent(|what| *what == TorrentNotice::Saved);
    assert!(fs::read(leech.root().join("file")).unwrap() == data);
    leech.stop();
    seed.stop();
    before.assert_again();
}

/// Resume data of an orderly end is taken at the next start.
pub fn session_that_starts_again_resumes_without_hashing(start: Start) {
    let _alone = alone();
    let data = content(1 << 20);
    let torrent = torrent(&data);
    let mut session = Session::start(start);
    session.seed(&torrent, &data);
    let mut session = Session::start_in(start, session.stop());
    session.add(&torrent);
    let checked = session.wait_for_torrent(|what| matches!(what, TorrentNotice::Checked { .. }));
    assert_eq!(checked, TorrentNotice::Checked { have: 16, pieces: 16, from_resume: true });
    session.stop();
}

/// Turns are counted over two idle seconds.
pub fn session_with_nothing_to_do_takes_no_turns(start: Start) {
    let _alone = alone();
    let mut session = Session::start(start);
    let data = content(1 << 20);
    session.seed(&torrent(&data), &data);
    std::thread::sleep(Duration::from_millis(200));
    let before = session.client.turns();
    std::thread::sleep(Duration::from_secs(2));
    let turns = session.client.turns() - before;
    assert!(turns <= 2, "{turns} turns");
    session.stop();
}

/// A handle that outlives its session answers.
pub fn calls_after_the_end_say_so(start: Start) {
    let _alone = alone();
    let mut session = Session::start(start);
    let data = content(100_000);
    let torrent = torrent(&data);
    let id = session.seed(&torrent, &data);
    let client = session.client.clone();
    session.stop();
    assert!(client.is_stopped());
    assert_eq!(client.pause(id), Err(ClientError::Stopped));
    assert!(client.status(id).is_none());
    assert!(client.statuses().is_empty());
    assert_eq!(client.events().next_notice(), None);
    assert_eq!(client.stop(STOP_TIMEOUT), Ok(()));
}

/// Handles are counted.
pub fn session_ends_by_itself_when_the_last_handle_is_dropped(start: Start) {
    let _alone = alone();
    let Session { client, events, .. } = Session::start(start);
    let other = client.clone();
    drop(client);
    assert!(other.statuses().is_empty() && !other.is_stopped());
    drop(other);
    assert_eq!(events.last(), Some(Notice::Stopped));
}

/// A state directory is for one session at a time.
pub fn second_session_with_the_same_state_is_refused(start: Start) {
    let _alone = alone();
    let session = Session::start(start);
    let refused = start(&config(session.dir.path())).map(drop);
    assert!(matches!(refused, Err(StartError::State(_))), "{refused:?}");
    let dir = session.stop();
    let (client, _events) = start(&config(dir.path())).unwrap();
    client.stop(STOP_TIMEOUT).unwrap();
}

/// The life of a torrent by calls.
pub fn torrent_is_paused_resumed_and_removed_with_its_files(start: Start) {
    let _alone = alone();
    let mut session = Session::start(start);
    let data = content(300_000);
    let torrent = torrent(&data);
    let id = session.seed(&torrent, &data);
    session.client.pause(id).unwrap();
    session.wait_for_torrent(|what| *what == TorrentNotice::Paused);
    session.client.resume(id).unwrap();
    session.wait_for_torrent(|what| *what == TorrentNotice::Resumed);
    session.client.remove_torrent(id, true).unwrap();
    session.wait_for_torrent(|what| *what == TorrentNotice::Removed);
    assert!(!session.root().join("file").exists());
    assert_eq!(session.client.pause(id), Err(ClientError::NoSuchTorrent(id)));
    session.stop();
}

/// What was recorded is all that the engine knew.
pub fn recorded_session_replays_to_the_same_fingerprint(start: Start) {
    let _alone = alone();
    let data = content(2 << 20);
    let torrent = torrent(&data);
    let mut seed = Session::start(start);
    seed.seed(&torrent, &data);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut config = config(dir.path());
    config.record = Some(log.clone());
    let (client, mut events) = start(&config).unwrap();
    let mut add = AddTorrent::new(torrent, dir.path().join("files"));
    add.peers.push(seed.addr);
    client.add_torrent(add).unwrap();
    let finished =
        |notice: &Notice| matches!(notice, Notice::Torrent { what: TorrentNotice::Finished, .. });
    assert!(events.any(|notice| finished(&notice)));
    client.stop(STOP_TIMEOUT).unwrap();
    seed.stop();
    let replayed = replay(&fs::read(log).unwrap()).unwrap();
    assert!(!replayed.cut_off, "{replayed:?}");
    assert!(replayed.fingerprint.inputs > 32, "{replayed:?}");
}

/// A peer that refuses and one that accepts and says nothing do not keep a download from its seed,
/// and the session still ends in time.
pub fn refusing_and_silent_peers_do_not_stop_a_download(start: Start) {
    let _alone = alone();
    let data = content(1 << 20);
    let torrent = torrent(&data);
    let mut seed = Session::start(start);
    seed.seed(&torrent, &data);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut leech = Session::start(start);
    let id = leech.add(&torrent);
    let peers = vec![refusing, silent.local_addr().unwrap(), seed.addr];
    leech.client.add_peers(id, peers).unwrap();
    leech.wait_for_torrent(|what| *what == TorrentNotice::Finished);
    leech.stop();
    seed.stop();
}

/// Makes tests of every case for the runtime whose `start` is given, in a module of that name.
#[macro_export]
macro_rules! conformance {
    ($runtime:ident, $start:path) => {
        mod $runtime {
            $crate::conformance_cases! { $start;
                file_goes_from_seed_to_leech_whole_and_nothing_is_left_open
                session_that_starts_again_resumes_without_hashing
                session_with_nothing_to_do_takes_no_turns
                calls_after_the_end_say_so
                session_ends_by_itself_when_the_last_handle_is_dropped
                second_session_with_the_same_state_is_refused
                torrent_is_paused_resumed_and_removed_with_its_files
                recorded_session_replays_to_the_same_fingerprint
                refusing_and_silent_peers_do_not_stop_a_download
            }
        }
    };
}

/// One test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($start:path; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case($start);
            }
        )*
    };
}
