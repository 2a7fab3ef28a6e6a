//! The life of a session and its torrents, as applications see it.

use bitswarm_core::{Notice, TorrentNotice};
use bitswarm_runtime_common::{ClientError, STOP_TIMEOUT, StartError};

use super::Runtime;
use super::harness::beside_others;
use super::sample::Sample;
use super::session::{Session, config};

/// Resume data of an orderly end is taken at the next start.
pub fn session_that_starts_again_resumes_without_hashing(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut session = Session::start(runtime);
    session.seed(&sample);
    let mut session = Session::start_in(runtime, session.stop(), |_| {});
    session.add(&sample);
    let checked = session.wait_for_torrent(|what| matches!(what, TorrentNotice::Checked { .. }));
    assert_eq!(checked, TorrentNotice::Checked { have: 16, pieces: 16, from_resume: true });
    session.stop();
}

/// The life of a torrent by calls.
pub fn torrent_is_paused_resumed_and_removed_with_its_files(runtime: Runtime) {
    let _turn = beside_others();
    let mut session = Session::start(runtime);
    let sample = Sample::new(300_000);
    let id = session.seed(&sample);
    session.client.pause(id).unwrap();
    session.wait_for_torrent(|what| *what == TorrentNotice::Paused);
    session.client.resume(id).unwrap();
    session.wait_for_torrent(|what| *what == TorrentNotice::Resumed);
    session.client.remove_torrent(id, true).unwrap();
    session.wait_for_torrent(|what| *what == TorrentNotice::Removed);
    assert!(!session.root().join(&sample.name).exists());
    assert_eq!(session.client.pause(id), Err(ClientError::NoSuchTorrent(id)));
    session.stop();
}

/// A handle that outlives its session answers.
pub fn calls_after_the_end_say_so(runtime: Runtime) {
    let _turn = beside_others();
    let mut session = Session::start(runtime);
    let id = session.seed(&Sample::new(100_000));
    let client = session.client.clone();
    session.stop();
    assert!(client.is_stopped());
    assert_eq!(client.pause(id), Err(ClientError::Stopped));
    assert!(client.status(id).is_none());
    assert!(client.statuses().is_empty());
    assert_eq!(client.notices().next_notice(), None);
    assert_eq!(client.stop(STOP_TIMEOUT), Ok(()));
}

/// Handles are counted.
pub fn session_ends_by_itself_when_the_last_handle_is_dropped(runtime: Runtime) {
    let _turn = beside_others();
    let Session { client, notices, .. } = Session::start(runtime);
    let other = client.clone();
    drop(client);
    assert!(other.statuses().is_empty() && !other.is_stopped());
    drop(other);
    assert_eq!(notices.last(), Some(Notice::Stopped));
}

/// A state directory is for one session at a time.
pub fn second_session_with_the_same_state_is_refused(runtime: Runtime) {
    let _turn = beside_others();
    let session = Session::start(runtime);
    let refused = (runtime.start)(&config(&session.dir)).map(drop);
    assert!(matches!(refused, Err(StartError::State(_))), "{refused:?}");
    let dir = session.stop();
    Session::start_in(runtime, dir, |_| {}).stop();
}
