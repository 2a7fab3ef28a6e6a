//! Magnet links to torrents of v2 (BEP 52): engines joined in memory, of which some know no more than
//! an infohash. Metadata, piece layers and content go from one to the other; one that gives wrong
//! hashes is banned, and nobody else.
//!
//! And what of it is kept, and found again.

mod world;

use std::path::Path;

use bitswarm_core::disk::{DiskDone, DiskErrorKind, DiskRequest, StateName};
use bitswarm_core::infohashes::InfoHashes;
use bitswarm_core::metainfo::create::{Creator, Protocol};
use bitswarm_core::metainfo::{Magnet, Metainfo};
use bitswarm_core::storage::resume::Resume;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::{AddTorrent, TorrentSource, TorrentState};
use bitswarm_core::{Commands, Instant, TorrentNotice};

use world::{FILES, PIECE, World, addr, content, link, torrent};

#[test]
fn a_link_with_the_hash_of_v2_alone_becomes_a_download() {
    for protocol in [Protocol::V2, Protocol::Hybrid] {
        let metainfo = torrent(protocol);
        let mut world = World::new(2);
        world.seed(0, &metainfo);
        let link = link(&metainfo, false, true);
        let id = world.leech(1, link.clone(), &[0], |_| {});
        world.run_until(|world| world.heard(1, &TorrentNotice::Saved));
        assert!(world.has_content(1));
        assert!(world.banned(1).is_empty());
        assert_eq!(world.nodes[1].env.asked, 4, "three runs and one");
        let known = world.nodes[1].engine.engine().metainfo(id).expect("known");
        assert!(known.has_piece_layers());
        assert_eq!(known.info_bytes(), metainfo.info_bytes());
        assert!(world.kept(1, &link).has_piece_layers());
    }
}

#[test]
fn a_hybrid_is_joined_by_either_hash_and_by_both() {
    let metainfo = torrent(Protocol::Hybrid);
    for (v1, v2) in [(true, false), (false, true), (true, true)] {
        let mut world = World::new(2);
        world.seed(0, &metainfo);
        world.leech(1, link(&metainfo, v1, v2), &[0], |_| {});
        world.run_until(|world| world.heard(1, &TorrentNotice::Finished));
        assert!(world.has_content(1), "v1 {v1}, v2 {v2}");
    }
}

#[test]
fn two_who_know_a_hybrid_by_different_hashes_find_to_each_other() {
    let metainfo = torrent(Protocol::Hybrid);
    let mut world = World::new(3);
    world.seed(0, &metainfo);
    // The second has it by v1, and dials the third, which knows no more than the hash of v2.
    world.leech(1, link(&metainfo, true, false), &[0], |_| {});
    world.run_until(|world| world.heard(1, &TorrentNotice::Finished));
    world.leech(2, link(&metainfo, false, true), &[], |_| {});
    let torrent = world.nodes[1].engine.engine().torrents().next().expect("one");
    let now = world.now;
    world.nodes[1].engine.add_peers(now, torrent, &[addr(2)]).expect("there");
    world.run_until(|world| world.heard(2, &TorrentNotice::Finished));
    assert!(world.has_content(2));
}

#[test]
fn hashes_of_two_torrents_in_one_link_are_refused() {
    let (hybrid, other) = (torrent(Protocol::Hybrid), torrent(Protocol::V2));
    let mut world = World::new(2);
    world.seed(0, &hybrid);
    let mixed = Magnet { v2: other.infohash_v2(), ..Magnet::new(hybrid.infohash()) };
    let id = world.leech(1, mixed, &[0], |_| {});
    let why = |notice: &TorrentNotice| match notice {
        TorrentNotice::MetadataUnusable { why } => Some(why.clone()),
        _ => None,
    };
    world.run_until(|world| world.nodes[1].torrent_notices().any(|notice| why(notice).is_some()));
    let why: Vec<String> = world.nodes[1].torrent_notices().filter_map(why).collect();
    assert!(why[0].contains("two torrents"), "{why:?}");
    assert!(world.banned(1).is_empty(), "its peer told the truth");
    let status = world.nodes[1].engine.engine().status(world.now, id).expect("there");
    assert_eq!(status.state, TorrentState::Paused);
}

#[test]
fn a_peer_that_gives_wrong_hashes_is_banned_and_another_is_asked() {
    let metainfo = torrent(Protocol::V2);
    let mut world = World::new(3);
    world.nodes[0].env.lies = true;
    world.seed(0, &metainfo);
    world.leech(2, link(&metainfo, false, true), &[0], |_| {});
    world.run_until(|world| !world.banned(2).is_empty());
    assert_eq!(world.banned(2), [addr(0)]);
    assert!(!world.heard(2, &TorrentNotice::Finished));
    world.seed(1, &metainfo);
    let torrent = world.nodes[2].engine.engine().torrents().next().expect("one");
    let now = world.now;
    world.nodes[2].engine.add_peers(now, torrent, &[addr(1)]).expect("there");
    world.run_until(|world| world.heard(2, &TorrentNotice::Finished));
    assert!(world.has_content(2));
    assert_eq!(world.banned(2), [addr(0)]);
}

#[test]
fn without_hashes_files_of_one_piece_go_on() {
    let metainfo = torrent(Protocol::V2);
    let mut world = World::new(2);
    world.nodes[0].env.lies = true;
    world.seed(0, &metainfo);
    let torrent = world.leech(1, link(&metainfo, false, true), &[0], |add| {
        // The file of one piece.
        add.only = Some("1".parse().expect("a file"));
    });
    world
        .run_until(|world| world.heard(1, &TorrentNotice::Finished) || !world.banned(1).is_empty());
    let status = world.nodes[1].engine.engine().status(world.now, torrent).expect("there");
    assert!(status.pieces_have <= 1, "a piece without a hash cannot be had");
    assert_eq!(world.nodes[1].env.disk.file("/t/long"), None);
}

#[test]
fn layers_are_kept_over_a_restart_and_what_is_on_disk_needs_no_peer() {
    let metainfo = torrent(Protocol::V2);
    let link = link(&metainfo, false, true);
    let mut world = World::new(2);
    world.seed(0, &metainfo);
    world.leech(1, link.clone(), &[0], |_| {});
    world.run_until(|world| world.heard(1, &TorrentNotice::Saved));
    world.restart(1);
    // Everything is hashed again, which takes the layers.
    let id = world.leech(1, link, &[], |add| add.recheck = true);
    world.run_until(|world| world.heard(1, &TorrentNotice::Finished));
    assert_eq!(world.nodes[1].env.asked, 0);
    let status = world.nodes[1].engine.engine().status(world.now, id).expect("there");
    assert_eq!(status.downloaded_bytes, 0);
}

/// A session ends, in order or not, when half of the layers are known: the next asks for the others.
#[test]
fn layers_that_are_known_in_part_are_kept_over_a_restart() {
    for protocol in [Protocol::V2, Protocol::Hybrid] {
        for in_order in [false, true] {
            let metainfo = torrent(protocol);
            let link = link(&metainfo, false, true);
            let mut world = World::new(2);
            world.seed(0, &metainfo);
            (world.nodes[0].env.lies, world.nodes[0].env.truths) = (true, 2);
            world.leech(1, link.clone(), &[0], |_| {});
            world.run_until(|world| !world.banned(1).is_empty());
            if in_order {
                let now = world.now;
                world.nodes[1].engine.stop(now);
                world.run_until(|world| world.nodes[1].engine.engine().torrents().next().is_none());
            } else {
                let later = world.now + Duration::from_secs(6);
                world.run_until(|world| world.now >= later);
            }
            world.restart(1);
            world.nodes[0].env.lies = false;
            world.leech(1, link, &[0], |_| {});
            world.run_until(|world| world.heard(1, &TorrentNotice::Saved));
            assert!(world.has_content(1));
            assert_eq!(
                world.nodes[1].env.asked, 2,
                "{protocol:?}: two of the four runs were known"
            );
            let kept = world.kept(1, &Magnet::new_v2(metainfo.infohash_v2().expect("of v2")));
            assert!(kept.has_piece_layers());
        }
    }
}

/// However a hybrid was added, what is kept of it is found however it is added the next time.
#[test]
fn the_state_of_a_hybrid_is_found_under_each_of_its_names() {
    let metainfo = torrent(Protocol::Hybrid);
    let links = [(true, false), (false, true), (true, true)];
    let links = links.map(|(v1, v2)| link(&metainfo, v1, v2));
    for first in &links {
        let mut world = World::new(2);
        world.seed(0, &metainfo);
        world.leech(1, first.clone(), &[0], |_| {});
        world.run_until(|world| world.heard(1, &TorrentNotice::Saved));
        let sources = links.iter().map(|link| TorrentSource::from(link.clone()));
        for source in sources.chain([TorrentSource::from(metainfo.clone())]) {
            world.restart(1);
            let add = AddTorrent::new(source, Path::new("/"));
            let now = world.now;
            world.nodes[1].engine.add_torrent(now, add).expect("new");
            let whole = TorrentNotice::Checked { have: 1104, pieces: 1104, from_resume: true };
            world.run_until(|world| world.heard(1, &whole));
        }
        // Gone for good, nothing is left of it.
        let id = world.nodes[1].engine.engine().torrents().next().expect("one");
        let now = world.now;
        world.nodes[1].engine.remove_torrent(now, id, false).expect("there");
        world.run_until(|world| world.heard(1, &TorrentNotice::Removed));
        for infohash in InfoHashes::of(&metainfo).short() {
            for name in [StateName::Resume(infohash), StateName::Metadata(infohash)] {
                let loaded = world.nodes[1].env.disk.perform(DiskRequest::Load { name });
                assert_eq!(loaded, Ok(DiskDone::Loaded(None)), "{name:?}");
            }
        }
    }
}

/// Earlier versions kept the resume data of a hybrid under its infohash of v2 if it was added by that.
#[test]
fn resume_data_that_was_kept_under_the_other_infohash_is_found() {
    let metainfo = torrent(Protocol::Hybrid);
    let [v1, v2] = InfoHashes::of(&metainfo).short().collect::<Vec<_>>()[..] else { panic!() };
    let mut world = World::new(2);
    world.seed(0, &metainfo);
    world.run_until(|world| world.heard(0, &TorrentNotice::Saved));
    let mut perform = |request| world.nodes[0].env.disk.perform(request).expect("done");
    let name = StateName::Resume(v1);
    let DiskDone::Loaded(Some(data)) = perform(DiskRequest::Load { name }) else { panic!() };
    let data = Resume::decode(&data, v1).expect("valid").encode(v2);
    perform(DiskRequest::Save { name: StateName::Resume(v2), data });
    perform(DiskRequest::Forget { name });
    world.restart(0);
    let add = AddTorrent::new(metainfo, Path::new("/"));
    let now = world.now;
    world.nodes[0].engine.add_torrent(now, add).expect("new");
    let whole = TorrentNotice::Checked { have: 1104, pieces: 1104, from_resume: true };
    world.run_until(|world| world.heard(0, &whole));
}

/// The long file alone, in other pieces and under another name.
fn other_torrent() -> (Metainfo, Vec<u8>) {
    let mut long = content();
    long.truncate(FILES[0].1);
    let mut creator = Creator::single_file("b", long.len() as u64).with_protocol(Protocol::V2);
    creator.piece_length = 1 << 17;
    (creator.finish_with_content(&long).expect("valid"), long)
}

/// A torrent without peers waits; another that has one of its files is added later, or fetches it.
#[test]
fn a_file_that_another_torrent_gets_whole_later_is_taken_from_there() {
    for protocol in [Protocol::V2, Protocol::Hybrid] {
        for is_fetched in [false, true] {
            let (other, long) = other_torrent();
            let mut world = World::new(2);
            let first = AddTorrent::new(torrent(protocol), Path::new("/"));
            let first = world.nodes[1].engine.add_torrent(Instant::ZERO, first).expect("new");
            let is_checked =
                |notice: &TorrentNotice| matches!(notice, TorrentNotice::Checked { .. });
            world.run_until(|world| world.nodes[1].torrent_notices().any(is_checked));
            let mut add = AddTorrent::new(other.clone(), Path::new("/"));
            let seed = usize::from(!is_fetched);
            world.nodes[seed].env.disk.insert("/b", long.clone());
            let now = world.now;
            if is_fetched {
                world.nodes[0].engine.add_torrent(now, add.clone()).expect("new");
                add.peers = vec![addr(0)];
            }
            world.nodes[1].engine.add_torrent(now, add).expect("new");
            let have = |world: &World| {
                world.nodes[1].engine.engine().status(world.now, first).expect("there").pieces_have
            };
            world.run_until(|world| have(world) == 1100);
            let status = world.nodes[1].engine.engine().status(world.now, first).expect("there");
            assert_eq!(status.downloaded_bytes, 0);
            assert_eq!(world.nodes[1].env.disk.file("/t/long"), Some(&long[..]), "{protocol:?}");
        }
    }
}

#[test]
fn of_a_file_that_was_damaged_elsewhere_only_what_is_right_is_taken() {
    let (other, mut long) = other_torrent();
    let mut world = World::new(1);
    let mut first = AddTorrent::new(torrent(Protocol::V2), Path::new("/"));
    first.paused = true;
    let first = world.nodes[0].engine.add_torrent(Instant::ZERO, first).expect("new");
    world.nodes[0].env.disk.insert("/b", long.clone());
    let add = AddTorrent::new(other, Path::new("/"));
    world.nodes[0].engine.add_torrent(Instant::ZERO, add).expect("new");
    world.run_until(|world| world.heard(0, &TorrentNotice::Finished));
    long[7 * PIECE] ^= 1;
    world.nodes[0].env.disk.insert("/b", long);
    let now = world.now;
    world.nodes[0].engine.resume(now, first).expect("there");
    let have = |world: &World| {
        world.nodes[0].engine.engine().status(world.now, first).expect("there").pieces_have
    };
    world.run_until(|world| have(world) == 1099);
    assert!(world.banned(0).is_empty());
}

#[test]
fn what_is_on_disk_already_is_hashed_when_its_hashes_are_known() {
    let metainfo = torrent(Protocol::V2);
    let mut world = World::new(2);
    world.seed(0, &metainfo);
    let mut long = content();
    long.truncate(FILES[0].1);
    long[700 * PIECE..701 * PIECE].fill(0);
    world.nodes[1].env.disk.insert("/t/long", long);
    let id = world.leech(1, link(&metainfo, false, true), &[0], |_| {});
    world.run_until(|world| world.heard(1, &TorrentNotice::Saved));
    assert!(world.has_content(1));
    let status = world.nodes[1].engine.engine().status(world.now, id).expect("there");
    let fetched = (PIECE + FILES[1].1 + FILES[2].1) as u64;
    assert_eq!(status.downloaded_bytes, fetched, "the piece that is missing, and the other files");
}

#[test]
fn a_file_of_somebody_else_is_not_written_though_its_hashes_are_known_late() {
    let metainfo = torrent(Protocol::V2);
    let mut world = World::new(2);
    world.seed(0, &metainfo);
    let mut long = content();
    long.truncate(FILES[0].1);
    long[700 * PIECE] ^= 1;
    world.nodes[1].env.disk.insert("/t/long", long.clone());
    let id = world.leech(1, link(&metainfo, false, true), &[0], |_| {});
    let is_refused = |notice: &TorrentNotice| matches!(notice, TorrentNotice::DiskFailed { error } if error.kind == DiskErrorKind::Foreign);
    world.run_until(|world| world.nodes[1].torrent_notices().any(is_refused));
    assert_eq!(world.nodes[1].env.disk.file("/t/long"), Some(&long[..]));
    assert_eq!(world.nodes[1].env.disk.file(format!("/t/{}", FILES[1].0)), None, "it was begun");
    let status = world.nodes[1].engine.engine().status(world.now, id).expect("there");
    assert_eq!((status.state, status.downloaded_bytes), (TorrentState::DiskFailed, 0));
}

#[test]
fn metadata_alone_comes_with_its_layers() {
    for (protocol, v1) in
        [(Protocol::V2, false), (Protocol::Hybrid, false), (Protocol::Hybrid, true)]
    {
        let metainfo = torrent(protocol);
        let mut world = World::new(2);
        world.seed(0, &metainfo);
        let id = world.leech(1, link(&metainfo, v1, true), &[0], |add| add.metadata_only = true);
        let is_told = |notice: &TorrentNotice| {
            matches!(notice, TorrentNotice::MetadataReceived { pieces: 1104, .. })
        };
        world.run_until(|world| world.nodes[1].torrent_notices().any(is_told));
        let known = world.nodes[1].engine.engine().metainfo(id).expect("known");
        assert!(Metainfo::parse(&known.to_bytes()).expect("a torrent file").has_piece_layers());
        let status = world.nodes[1].engine.engine().status(world.now, id).expect("there");
        assert_eq!((status.state, status.downloaded_bytes), (TorrentState::Paused, 0));
        // It goes on when it is resumed.
        let now = world.now;
        world.nodes[1].engine.resume(now, id).expect("there");
        world.run_until(|world| world.heard(1, &TorrentNotice::Finished));
        assert!(world.has_content(1));
    }
}

/// A piece of 64 blocks from two peers, one of which sends a wrong block: leaf hashes tell whose it
/// was before the piece is fetched again.
#[test]
fn leaf_hashes_tell_who_sent_the_wrong_block() {
    let content = vec![7; 1 << 20];
    let mut creator = Creator::single_file("f", 2 << 20).with_protocol(Protocol::V2);
    creator.piece_length = 1 << 20;
    let metainfo = creator.finish_with_content(&content.repeat(2)).expect("valid");
    let mut world = World::new(3);
    world.nodes[1].env.spoils = true;
    for at in [0, 1] {
        world.nodes[at].env.disk.insert("/f", content.repeat(2));
        let add = AddTorrent::new(metainfo.clone(), Path::new("/"));
        world.nodes[at].engine.add_torrent(Instant::ZERO, add).expect("new");
        world.run_until(|world| world.heard(at, &TorrentNotice::Finished));
    }
    // One piece is here, so that both peers send parts of the other.
    let mut half = content.clone();
    half.resize(2 << 20, 0);
    world.nodes[2].env.disk.insert("/f", half);
    let mut add = AddTorrent::new(metainfo, Path::new("/"));
    add.peers = vec![addr(0), addr(1)];
    let now = world.now;
    let id = world.nodes[2].engine.add_torrent(now, add).expect("new");
    world.run_until(|world| !world.banned(2).is_empty());
    assert_eq!(world.banned(2), [addr(1)]);
    assert_eq!(world.nodes[2].env.asked, 2);
    let status = world.nodes[2].engine.engine().status(world.now, id).expect("there");
    assert_eq!((status.pieces_have, status.failed_bytes), (1, 1 << 14), "one block");
    world.run_until(|world| world.heard(2, &TorrentNotice::Finished));
    assert_eq!(world.banned(2), [addr(1)]);
    assert_eq!(world.nodes[2].env.disk.file("/f"), Some(&content.repeat(2)[..]));
}

#[test]
fn a_hybrid_that_the_session_has_under_its_other_hash_is_not_downloaded_twice() {
    let metainfo = torrent(Protocol::Hybrid);
    let mut world = World::new(2);
    world.seed(0, &metainfo);
    world.leech(1, link(&metainfo, true, false), &[0], |add| add.paused = true);
    let second = world.leech(1, link(&metainfo, false, true), &[0], |_| {});
    let first = world.nodes[1].engine.engine().torrents().next().expect("two");
    assert_ne!(first, second);
    let is_told = |notice: &TorrentNotice| matches!(notice, TorrentNotice::MetadataUnusable { why } if why.contains("already"));
    world.run_until(|world| world.nodes[1].torrent_notices().any(is_told));
    let now = world.now;
    world.nodes[1].engine.resume(now, first).expect("there");
    world.run_until(|world| world.heard(1, &TorrentNotice::Finished));
    let states = [first, second]
        .map(|id| world.nodes[1].engine.engine().status(world.now, id).expect("there").state);
    assert!(states.contains(&TorrentState::Seeding) && states.contains(&TorrentState::Paused));
}
