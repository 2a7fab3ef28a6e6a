//! Files of others where the torrent's belong: none is written, and nothing is begun beside one.

use bitswarm_core::disk::{DiskErrorKind, DiskRequest, MemoryDisk};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::torrent::{AddTorrent, FilePriority, TorrentState};
use bitswarm_core::{
    Commands, Config, Duration, Engine, Instant, TorrentId, TorrentNotice, UnixTime,
};

const PIECE: usize = 16_384;

/// Content of which no two pieces are the same, and none is zeros.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / PIECE + at % 251 + 1) as u8).collect()
}

/// A torrent of files with these lengths, `album/0`, `album/1`, ...
fn album(protocol: Protocol, lengths: &[usize]) -> (Metainfo, Vec<Vec<u8>>) {
    let all = content(lengths.iter().sum());
    let mut rest = &all[..];
    let files = lengths.iter().map(|len| {
        let (file, after) = rest.split_at(*len);
        rest = after;
        file.to_vec()
    });
    let files: Vec<Vec<u8>> = files.collect();
    let new = |(name, len): (usize, &usize)| NewFile::new(vec![name.to_string()], *len as u64);
    let listed: Vec<NewFile> = lengths.iter().enumerate().map(new).collect();
    let mut creator = Creator::folder("album", listed).with_protocol(protocol);
    creator.piece_length = PIECE as u32;
    let metainfo = creator.finish_with_content(&all).expect("valid");
    (metainfo, files)
}

/// A disk, and what was asked of it, in words.
struct Watched {
    disk: MemoryDisk,
    asked: Vec<String>,
}

impl Environment for Watched {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        self.asked.push(match &request {
            DiskRequest::Prepare { files, .. } => {
                format!("prepare {:?}", files.iter().map(|file| file.0).collect::<Vec<_>>())
            }
            DiskRequest::Save { .. } => "save".to_owned(),
            DiskRequest::Verify(_) => "verify".to_owned(),
            DiskRequest::Look { .. } => "look".to_owned(),
            DiskRequest::Reuse { .. } => "reuse".to_owned(),
            _ => "other".to_owned(),
        });
        Some(self.disk.perform(request))
    }
}

struct Host(Loopback<Watched>);

impl Host {
    fn new(disk: MemoryDisk) -> Self {
        let engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
        Host(Loopback::alone(engine, Watched { disk, asked: Vec::new() }))
    }

    fn add(&mut self, add: AddTorrent) -> TorrentId {
        let id = self.0.nodes[0].engine.add_torrent(self.0.now, add).expect("new");
        self.settle();
        id
    }

    /// Lets it do what it has to do within a minute.
    fn settle(&mut self) {
        self.0.pass(Duration::from_secs(60));
    }

    fn resume(&mut self, id: TorrentId) {
        self.0.nodes[0].engine.resume(self.0.now, id).expect("there");
    }

    fn remove(&mut self, id: TorrentId) {
        self.0.nodes[0].engine.remove_torrent(self.0.now, id, true).expect("there");
    }

    fn disk(&mut self) -> &mut MemoryDisk {
        &mut self.0.nodes[0].env.disk
    }

    fn asked(&self) -> &[String] {
        &self.0.nodes[0].env.asked
    }

    fn file(&self, path: &str) -> Option<&[u8]> {
        self.0.nodes[0].env.disk.file(path)
    }

    fn heard(&self, what: &TorrentNotice) -> bool {
        self.0.nodes[0].has_noticed(what)
    }

    fn state(&self, id: TorrentId) -> TorrentState {
        self.0.nodes[0].engine.engine().status(self.0.now, id).expect("there").state
    }

    /// Whether it has tried to reach a peer.
    fn has_dialled(&self) -> bool {
        let node = &self.0.nodes[0];
        !node.dialled.is_empty() || !node.closed.is_empty()
    }

    fn has_asked(&self, what: &str) -> bool {
        self.asked().iter().any(|asked| asked.starts_with(what))
    }

    /// Why the torrent was refused, if it was.
    fn refused(&self) -> Option<String> {
        self.0.nodes[0].torrent_notices().find_map(|what| match what {
            TorrentNotice::DiskFailed { error } if error.kind == DiskErrorKind::Foreign => {
                Some(error.to_string())
            }
            _ => None,
        })
    }
}

/// A peer that nobody can reach: whether the engine tries shows that the torrent was begun.
fn add(metainfo: &Metainfo) -> AddTorrent {
    let mut add = AddTorrent::new(metainfo.clone(), "/d");
    add.peers = vec![([50, 0, 0, 1], 1).into()];
    add
}

/// Adds the torrent where these files are.
fn with(metainfo: &Metainfo, files: &[(usize, &[u8])]) -> Host {
    let mut disk = MemoryDisk::new();
    for (name, data) in files {
        disk.insert(format!("/d/album/{name}"), *data);
    }
    let mut host = Host::new(disk);
    host.add(add(metainfo));
    host
}

#[test]
fn nothing_is_begun_beside_a_file_of_somebody_else() {
    for protocol in [Protocol::V1, Protocol::V2, Protocol::Hybrid] {
        let (metainfo, _) = album(protocol, &[3 * PIECE, 2 * PIECE]);
        let host = with(&metainfo, &[(1, b"my thesis")]);
        let why = host.refused().expect("it would be overwritten");
        assert!(why.starts_with("/d/album/1: "), "{why}");
        assert_eq!(host.file("/d/album/1"), Some(&b"my thesis"[..]));
        assert_eq!(host.file("/d/album/0"), None, "{protocol:?}: it was begun");
        for what in ["prepare", "save", "reuse"] {
            assert!(!host.has_asked(what), "{protocol:?}: {:?}", host.asked());
        }
        assert!(!host.has_dialled(), "{protocol:?}");
    }
}

#[test]
fn what_another_client_downloaded_in_part_is_gone_on_with() {
    let (metainfo, files) = album(Protocol::V1, &[3 * PIECE, 2 * PIECE]);
    let mut part = files[0].clone();
    part[PIECE..2 * PIECE].fill(0);
    let host = with(&metainfo, &[(0, &part)]);
    assert_eq!(host.refused(), None);
    assert!(host.has_dialled());
    let short = with(&metainfo, &[(0, &files[0][..PIECE])]);
    assert_eq!(short.refused(), None);
}

#[test]
fn files_that_prove_nothing_or_something_else_are_refused() {
    let (metainfo, files) = album(Protocol::V1, &[3 * PIECE, 2 * PIECE]);
    let mut one_wrong = files[0].clone();
    one_wrong[5] ^= 1;
    let long = [&files[0][..], b"and my notes"].concat();
    let cases: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("short", b"my thesis"),
        ("zeros", &[0; 3 * PIECE]),
        ("one piece of something else", &one_wrong),
        ("longer", &long),
        ("all of something else", &[7; 3 * PIECE]),
    ];
    for (name, data) in cases {
        let host = with(&metainfo, &[(0, data)]);
        assert!(host.refused().is_some(), "{name}");
        assert_eq!(host.file("/d/album/0"), Some(data), "{name}");
    }
}

#[test]
fn a_zero_piece_of_the_content_proves_nothing() {
    let mut creator = Creator::single_file("album", 2 * PIECE as u64);
    creator.piece_length = PIECE as u32;
    let all = [&[0; PIECE][..], &content(PIECE)].concat();
    let metainfo = creator.finish_with_content(&all).expect("valid");
    let mut disk = MemoryDisk::new();
    disk.insert("/d/album", vec![0; 2 * PIECE]);
    let mut host = Host::new(disk);
    host.add(add(&metainfo));
    assert!(host.refused().is_some());
}

#[test]
fn files_too_small_for_a_piece_of_their_own_are_judged_by_the_whole() {
    let (metainfo, files) = album(Protocol::V1, &[100, 200, 300]);
    let whole: Vec<(usize, &[u8])> =
        files.iter().enumerate().map(|(name, data)| (name, &data[..])).collect();
    assert_eq!(with(&metainfo, &whole).refused(), None, "they need not be written");
    let host = with(&metainfo, &whole[..2]);
    assert!(host.refused().is_some(), "no piece shows whose they are");
    assert_eq!(host.file("/d/album/2"), None);
}

#[test]
fn a_file_that_need_not_be_written_may_be_anything() {
    let (metainfo, _) = album(Protocol::V1, &[3 * PIECE, 2 * PIECE]);
    let mut disk = MemoryDisk::new();
    disk.insert("/d/album/1", *b"my thesis");
    let mut host = Host::new(disk);
    let files = vec![FilePriority::Normal, FilePriority::Skip];
    host.add(AddTorrent { files, ..add(&metainfo) });
    assert_eq!(host.refused(), None);
    assert!(host.has_asked("prepare [0]"), "{:?}", host.asked());
    assert_eq!(host.file("/d/album/1"), Some(&b"my thesis"[..]));
}

#[test]
fn the_user_may_have_it_overwritten() {
    let (metainfo, _) = album(Protocol::V1, &[3 * PIECE]);
    let mut disk = MemoryDisk::new();
    disk.insert("/d/album/0", vec![9; 4 * PIECE]);
    let mut host = Host::new(disk);
    host.add(AddTorrent { overwrite: true, ..add(&metainfo) });
    assert_eq!(host.refused(), None);
    assert_eq!(host.file("/d/album/0").map(<[u8]>::len), Some(3 * PIECE), "it was too long");
}

#[test]
fn resume_data_names_the_files_before_they_are_made() {
    let (metainfo, _) = album(Protocol::V1, &[3 * PIECE, 0]);
    let mut host = with(&metainfo, &[]);
    let place = |what: &str| host.asked().iter().position(|asked| asked.starts_with(what));
    assert!(place("save") < place("prepare"), "{:?}", host.asked());
    // Whatever kills it now: the next session knows the empty files that were made.
    let mut next = Host::new(std::mem::take(host.disk()));
    next.add(add(&metainfo));
    assert_eq!(next.refused(), None);
    // Without that they would be anybody's.
    let mut disk = MemoryDisk::new();
    for name in ["0", "1"] {
        disk.insert(format!("/d/album/{name}"), Vec::new());
    }
    let mut stranger = Host::new(disk);
    stranger.add(add(&metainfo));
    assert!(stranger.refused().is_some());
}

#[test]
fn two_torrents_do_not_write_one_file() {
    let (first, _) = album(Protocol::V1, &[3 * PIECE]);
    let (second, _) = album(Protocol::V2, &[3 * PIECE]);
    let mut host = Host::new(MemoryDisk::new());
    let id = host.add(add(&first));
    let other = host.add(add(&second));
    let why = host.refused().expect("the first writes it");
    assert!(why.contains("another torrent"), "{why}");
    assert_eq!(host.state(other), TorrentState::DiskFailed);
    host.remove(id);
    host.settle();
    host.resume(other);
    host.settle();
    assert_eq!(host.state(other), TorrentState::Downloading);
}

#[test]
fn resuming_looks_again() {
    let (metainfo, files) = album(Protocol::V1, &[3 * PIECE]);
    let mut disk = MemoryDisk::new();
    disk.insert("/d/album/0", *b"my thesis");
    let mut host = Host::new(disk);
    let id = host.add(add(&metainfo));
    assert_eq!(host.state(id), TorrentState::DiskFailed);
    host.resume(id);
    host.settle();
    let refusals =
        host.0.nodes[0].torrent_notices().filter(|w| matches!(w, TorrentNotice::DiskFailed { .. }));
    assert_eq!(refusals.count(), 2, "it is there still");
    host.disk().insert("/d/album/0", files[0].clone());
    host.resume(id);
    host.settle();
    assert_eq!(host.state(id), TorrentState::Seeding);
    assert!(host.heard(&TorrentNotice::Saved));
}

#[test]
fn a_refused_torrent_ends_and_leaves_the_file() {
    let (metainfo, _) = album(Protocol::V1, &[3 * PIECE]);
    let mut disk = MemoryDisk::new();
    disk.insert("/d/album/0", *b"my thesis");
    let mut host = Host::new(disk);
    let id = host.add(add(&metainfo));
    host.remove(id);
    host.settle();
    assert!(host.heard(&TorrentNotice::Removed));
    assert_eq!(host.file("/d/album/0"), Some(&b"my thesis"[..]));
}

#[test]
fn files_that_are_whole_are_not_opened_to_be_written() {
    let (metainfo, files) = album(Protocol::V1, &[2 * PIECE, 0]);
    let host = with(&metainfo, &[(0, &files[0]), (1, b"")]);
    assert!(host.heard(&TorrentNotice::Saved));
    assert!(!host.has_asked("prepare"), "{:?}", host.asked());
    let lacking = with(&metainfo, &[(0, &files[0])]);
    assert!(lacking.has_asked("prepare [1]"), "{:?}", lacking.asked());
    assert_eq!(lacking.file("/d/album/1"), Some(&b""[..]));
    assert!(lacking.heard(&TorrentNotice::Saved));
}

#[test]
fn what_changes_before_it_is_said_to_be_complete_is_hashed_again() {
    let (metainfo, files) = album(Protocol::V1, &[2 * PIECE]);
    let mut host = with(&metainfo, &[]);
    // The file comes whole, behind the engine's back, and the engine is told to look at all of it.
    host.disk().insert("/d/album/0", files[0].clone());
    let mut next = Host::new(std::mem::take(host.disk()));
    next.add(AddTorrent { recheck: true, ..add(&metainfo) });
    let place = |what: &str| next.asked().iter().rposition(|asked| asked == what);
    assert!(next.heard(&TorrentNotice::Saved));
    assert!(place("save") < place("look"), "{:?}", next.asked());
}
