//! Files that another torrent of the session has (BEP 38): they are not fetched again.

use std::fs;
use std::sync::Arc;

use bitswarm_core::metainfo::create::{NewFile, Protocol};
use bitswarm_core::metainfo::{Creator, Metainfo};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{TorrentId, TorrentNotice};

use super::Runtime;
use super::harness::beside_others;
use super::session::Session;

const SHARED_LEN: usize = 1_000_001;

fn content(salt: u8, len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ salt).collect()
}

/// A torrent of `shared` and one more file, and a torrent of the first under another name, in
/// other pieces.
fn torrents() -> [Arc<Metainfo>; 2] {
    let (shared, more) = (content(0, SHARED_LEN), content(1, 70_000));
    let files = [NewFile::new(["more"], 70_000), NewFile::new(["shared"], SHARED_LEN as u64)];
    let mut both = Creator::folder("both", files).with_protocol(Protocol::Hybrid);
    both.piece_length = 32 << 10;
    let mut one = Creator::single_file("one", SHARED_LEN as u64).with_protocol(Protocol::V2);
    one.piece_length = 128 << 10;
    let both = both.finish_with_content(&[more, shared.clone()].concat()).unwrap();
    [Arc::new(both), Arc::new(one.finish_with_content(&shared).unwrap())]
}

fn put_files(session: &Session) {
    let dir = session.root().join("both");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("more"), content(1, 70_000)).unwrap();
    fs::write(dir.join("shared"), content(0, SHARED_LEN)).unwrap();
}

fn add(session: &Session, torrent: &Arc<Metainfo>) -> TorrentId {
    session.client.add_torrent(AddTorrent::new(torrent.clone(), session.root())).unwrap()
}

/// There is no peer at all. The second torrent comes when the first is known to be whole, and at
/// the same time, before that is known.
pub fn file_that_another_torrent_has_is_not_fetched(runtime: Runtime) {
    let _turn = beside_others();
    for at_once in [false, true] {
        let [both, one] = torrents();
        let mut session = Session::start(runtime);
        put_files(&session);
        let first = add(&session, &both);
        if !at_once {
            session.wait_for_torrent(|what| *what == TorrentNotice::Finished);
        }
        let second = add(&session, &one);
        session.wait_until(second, |status| status.pieces_have == one.geometry().pieces());
        session.wait_until(first, |status| status.pieces_have == both.geometry().pieces());
        assert_eq!(session.status(second).downloaded_bytes, 0);
        assert!(fs::read(session.root().join("one")).unwrap() == content(0, SHARED_LEN));
        // It is its own file: what becomes of it does the other no harm.
        session.client.remove_torrent(second, true).unwrap();
        session.wait_for_torrent(|what| *what == TorrentNotice::Removed);
        let shared = fs::read(session.root().join("both/shared")).unwrap();
        assert!(shared == content(0, SHARED_LEN) && !session.root().join("one").exists());
        session.stop();
    }
}

/// The model was damaged behind our back: of the copy no more is taken than what is right.
pub fn copy_that_is_wrong_is_found_out(runtime: Runtime) {
    let _turn = beside_others();
    let [both, one] = torrents();
    let mut session = Session::start(runtime);
    put_files(&session);
    add(&session, &both);
    // Until it is saved the files are looked at once more, and the damage would not pass unseen.
    session.wait_for_torrent(|what| *what == TorrentNotice::Saved);
    let mut damaged = content(0, SHARED_LEN);
    damaged[500_000] ^= 1;
    fs::write(session.root().join("both/shared"), damaged).unwrap();
    let second = add(&session, &one);
    let pieces = one.geometry().pieces();
    session.wait_for_torrent(
        |what| matches!(what, TorrentNotice::Checked { have, .. } if *have == pieces - 1),
    );
    assert_eq!(session.status(second).pieces_have, pieces - 1);
    session.stop();
}
