//! Files are chosen by one numbering, whether by priorities, by number or by a magnet link (BEP 53).

use bitswarm_core::disk::{DiskRequest, MemoryDisk, StateName};
use bitswarm_core::engine::AddTorrentError;
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::metainfo::{File, Magnet, Metainfo};
use bitswarm_core::torrent::{AddTorrent, FilePriority, TorrentState};
use bitswarm_core::{Commands, Config, Engine, Instant, TorrentNotice, UnixTime};

use super::scene::{PEER, Sample, Scene, full_disk};

const PIECE: u32 = 1 << 15;
/// The file of each torrent that is chosen, by its number from 0, and how long it is.
const CHOSEN: usize = 2;
const LENGTH: u64 = 700;

/// Torrents of the same files: the chosen one is third among those that are stored.
fn samples() -> Vec<Sample> {
    let file = |length| (length, false);
    let plain = [file(40_000), file(9), file(700), file(50_000)];
    let pad = |length| (length, true);
    let padded =
        [file(40_000), pad(25_536), file(9), pad(32_759), file(700), pad(32_068), file(50_000)];
    vec![
        Sample::new(Protocol::V1, PIECE, &plain),
        Sample::new(Protocol::V1, PIECE, &padded),
        Sample::new(Protocol::V2, PIECE, &plain),
        Sample::new(Protocol::Hybrid, PIECE, &plain),
    ]
}

/// A magnet link to a torrent that an earlier session has met.
fn linked(sample: &Sample, select: &str) -> (AddTorrent, MemoryDisk) {
    let mut magnet = Magnet::of(&sample.metainfo);
    magnet.select = Some(select.parse().expect("file numbers"));
    let mut disk = MemoryDisk::new();
    let (name, data) = (StateName::Metadata(sample.infohash()), sample.metainfo.to_bytes());
    disk.perform(DiskRequest::Save { name, data }).expect("saved");
    (AddTorrent::new(magnet, "/data"), disk)
}

#[test]
fn a_number_names_the_same_file_however_it_is_given() {
    for sample in samples() {
        let metainfo = &sample.metainfo;
        let chosen = metainfo.numbered_files().nth(CHOSEN).expect("there");
        assert_eq!((metainfo.file_count(), chosen.length()), (4, LENGTH));
        let mut by_priority = sample.add();
        by_priority.files = vec![FilePriority::Skip; 4];
        by_priority.files[CHOSEN] = FilePriority::High;
        let mut by_number = sample.add();
        by_number.only = Some("2".parse().expect("a number"));
        let by_link = linked(&sample, "2,7");
        let ways = [(by_priority, MemoryDisk::new()), (by_number, MemoryDisk::new()), by_link];
        for (mut add, disk) in ways {
            add.peers = vec![PEER.parse().expect("an address")];
            let mut scene = Scene::new(add, disk);
            let peer = scene.greet_seed(&sample, PEER, true);
            scene.serve(&sample, peer);
            assert!(scene.has_finished(), "{metainfo:?}");
            let (path, data) = &sample.files[CHOSEN];
            assert!(scene.disk().file(path) == Some(&data[..]), "{metainfo:?}: {path}");
            // Small neighbours come with its pieces.
            let is_other = |(other, data): &&(String, Vec<u8>)| other != path && data.len() > 9;
            let others = sample.files.iter().filter(is_other);
            for (other, data) in others {
                assert!(scene.disk().file(other) != Some(&data[..]), "{metainfo:?}: {other}");
            }
        }
    }
}

/// Links (BEP 47) have no numbers, wherever they stand in the list.
#[test]
fn links_are_not_counted() {
    let link = NewFile { link: Some(vec!["b".into()]), ..NewFile::new(["a"], 0) };
    let files = [link, NewFile::new(["b"], 3), NewFile::new(["c"], 5)];
    for protocol in [Protocol::V1, Protocol::V2, Protocol::Hybrid] {
        let creator = Creator::folder("t", files.clone()).with_protocol(protocol);
        let metainfo = creator.finish_with_content(&[7; 8]).expect("valid");
        let numbered: Vec<&str> = metainfo.numbered_files().map(File::path).collect();
        assert_eq!(numbered, ["b", "c"], "{protocol:?}");
        let spec = metainfo.store_spec("/data".as_ref());
        assert_eq!(spec.files.len(), metainfo.file_count());
    }
}

fn add(add: AddTorrent) -> Result<(), AddTorrentError> {
    let mut engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
    engine.add_torrent(Instant::ZERO, add).map(drop)
}

#[test]
fn a_choice_of_nothing_is_refused_when_the_torrent_is_added() {
    for sample in samples() {
        let nothing = Err(AddTorrentError::NothingSelected { files: Some(4) });
        let skipped = AddTorrent { files: vec![FilePriority::Skip; 4], ..sample.add() };
        assert_eq!(add(skipped), nothing);
        let beyond = AddTorrent { only: "4-99".parse().ok(), ..sample.add() };
        assert_eq!(add(beyond), nothing);
        let partly = AddTorrent { only: "3-99".parse().ok(), ..sample.add() };
        assert_eq!(add(partly), Ok(()), "there is one");
        let count = sample.metainfo.files().len();
        if count != 4 {
            let as_listed = AddTorrent { files: vec![FilePriority::Low; count], ..sample.add() };
            let wrong = AddTorrentError::WrongFileCount { given: count, files: 4 };
            assert_eq!(add(as_listed), Err(wrong), "padding has no priority");
        }
    }
    let error = AddTorrentError::NothingSelected { files: Some(4) };
    assert!(error.to_string().contains("nothing is selected"), "{error}");
}

#[test]
fn a_link_that_selects_none_of_the_files_fetches_none_and_says_so() {
    for sample in samples() {
        for by_link in [true, false] {
            let (mut add, disk) = linked(&sample, if by_link { "4,9" } else { "0" });
            add.only = (!by_link).then(|| "4,9".parse().expect("numbers"));
            add.peers = vec![PEER.parse().expect("an address")];
            let scene = Scene::new(add, disk);
            let notice =
                TorrentNotice::NothingSelected { selected: "4,9".to_owned(), by_link, files: 4 };
            assert!(scene.notices().contains(&&notice), "{:?}", scene.notices());
            assert_eq!(scene.status().state, TorrentState::Paused);
            assert!(sample.files.iter().all(|(path, _)| scene.disk().file(path).is_none()));
        }
    }
}

#[test]
fn what_is_only_shared_wants_nothing() {
    for sample in samples() {
        let share = AddTorrent { share_only: true, ..sample.add() };
        let scene = Scene::new(share.clone(), full_disk(&sample));
        let status = scene.status();
        assert_eq!((status.wanted_bytes, status.pieces_have), (0, status.pieces));
        let nothing = Scene::new(share, MemoryDisk::new());
        assert!(nothing.has_finished(), "nothing is waited for");
        assert!(sample.files.iter().all(|(path, _)| nothing.disk().file(path).is_none()));
    }
}

/// The same content, with and without padding, has the same numbers.
#[test]
fn numbers_do_not_depend_on_padding() {
    let paths =
        |metainfo: &Metainfo| metainfo.numbered_files().map(File::length).collect::<Vec<_>>();
    let samples = samples();
    assert!(samples.iter().all(|sample| paths(&sample.metainfo) == paths(&samples[0].metainfo)));
}
