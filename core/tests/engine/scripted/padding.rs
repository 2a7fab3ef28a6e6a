//! Padding (BEP 47, BEP 52) is neither asked for nor counted, wherever it lies; others may ask for it.

use bitswarm_core::Commands;
use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::piece::{BLOCK_LEN, Block, PieceIndex};
use bitswarm_core::time::Duration;
use bitswarm_core::wire::Message;

use super::scene::{PEER, Part, Sample, Scene, full_disk};

/// In pieces of four blocks.
const PIECE: u32 = 4 * BLOCK_LEN;

/// Torrents with padding in all the places where it can be.
fn samples() -> Vec<(&'static str, Sample)> {
    const fn file(length: usize) -> Part {
        (length, false)
    }
    const fn pad(length: usize) -> Part {
        (length, true)
    }
    let v1 = |parts: &[Part]| Sample::new(Protocol::V1, PIECE, parts);
    let files = [file(20_000), file(65_536), file(1), file(0), file(213_000)];
    vec![
        ("v2", Sample::new(Protocol::V2, PIECE, &files)),
        ("hybrid", Sample::new(Protocol::Hybrid, PIECE, &files)),
        ("to the end of a piece", v1(&[file(20_000), pad(45_536), file(70_000)])),
        ("at the end of all", v1(&[file(70_000), pad(40_000)])),
        ("within a block", v1(&[file(100), pad(200), file(30_000)])),
        ("at both ends of a block", v1(&[file(16_300), pad(100), file(50), pad(17_000), file(9)])),
        ("whole blocks amid a piece", v1(&[file(10), pad(40_000), file(40_000)])),
        ("whole pieces", v1(&[file(10), pad(300_000), file(5), pad(200_000)])),
        ("from the first byte on", v1(&[pad(70_000), file(70_000)])),
    ]
}

#[test]
fn padding_is_neither_asked_for_nor_counted() {
    for (name, sample) in samples() {
        for fast in [false, true] {
            let mut scene = Scene::leech(&sample);
            let status = scene.status();
            let stored = sample.stored_len();
            assert_eq!((status.total_bytes, status.wanted_bytes), (stored, stored), "{name}");
            let peer = scene.greet_seed(&sample, PEER, fast);
            let asked = scene.serve(&sample, peer);
            assert!(scene.has_finished(), "{name}");
            for block in &asked {
                let last = block.begin + block.length - 1;
                let ends = [block.begin, last].map(|at| sample.is_stored(block.piece, at));
                assert_eq!(ends, [true, true], "{name}: {block:?} begins or ends with padding");
                assert_eq!(block.begin / BLOCK_LEN, last / BLOCK_LEN, "{name}: {block:?}");
            }
            let status = scene.status();
            assert_eq!((status.done_bytes, status.downloaded_bytes), (stored, stored), "{name}");
            assert_eq!((status.redundant_bytes, status.failed_bytes), (0, 0), "{name}");
            assert_eq!(status.pieces_have, status.pieces, "{name}");
            for (path, data) in &sample.files {
                assert!(scene.disk().file(path) == Some(&data[..]), "{name}: {path} is wrong");
            }
        }
    }
}

#[test]
fn padding_is_not_left_to_download_at_a_tracker() {
    const TRACKER: &str = "50.0.0.7:80";
    for (name, sample) in samples() {
        let mut add = sample.add();
        add.trackers = vec![format!("http://{TRACKER}/announce")];
        let mut scene = Scene::new(add, MemoryDisk::new());
        let asked = scene.announce(TRACKER, b"d8:intervali900e5:peers6:\x32\0\0\x01\x03\xe8e");
        let left = format!("left={}&", sample.stored_len());
        assert!(asked.contains(&left), "{name}: {left} in {asked}");
        let peer = scene.greet_seed(&sample, PEER, true);
        let first = scene.requests(peer);
        first.into_iter().for_each(|block| scene.say(peer, sample.piece(block)));
        scene.serve(&sample, peer);
        // A hybrid is announced by two infohashes.
        let mut completed = String::new();
        while !completed.contains("event=completed") {
            completed = scene.announce(TRACKER, b"d8:intervali900e5:peers0:e");
        }
        let said = ["left=0&".to_owned(), format!("downloaded={}&", sample.stored_len())];
        assert!(said.iter().all(|part| completed.contains(part)), "{name}: {completed}");
    }
}

#[test]
fn padding_that_a_peer_asks_for_is_zeros_and_not_counted_as_uploaded() {
    for (name, sample) in samples() {
        let mut scene = Scene::seed(&sample);
        let peer = scene.arrive(&sample, PEER, true).expect("welcome");
        scene.say(peer, Message::HaveNone);
        scene.say(peer, Message::Interested);
        scene.heard(peer);
        let geometry = sample.metainfo.geometry().clone();
        for piece in geometry.iter() {
            // Whole blocks, as who knows nothing of padding asks for them.
            for begin in (0..geometry.len_of(piece)).step_by(BLOCK_LEN as usize) {
                let length = BLOCK_LEN.min(geometry.len_of(piece) - begin);
                let block = Block { piece, begin, length };
                scene.say(peer, Message::Request(block));
                let heard = scene.heard(peer);
                assert!(heard.contains(&sample.piece(block)), "{name}: {block:?}: {heard:?}");
            }
        }
        assert!(!scene.is_closed(peer));
        assert_eq!(scene.status().uploaded_bytes, sample.stored_len(), "{name}");
        let beyond = Block { piece: PieceIndex(geometry.pieces()), begin: 0, length: 1 };
        scene.say(peer, Message::Request(beyond));
        let heard = scene.heard(peer);
        let is_block = |message: &Message| matches!(message, Message::Piece { .. });
        assert!(!heard.iter().any(is_block), "{name}: outside of the torrent");
    }
}

#[test]
fn padding_is_there_again_after_a_restart_amid_the_download() {
    for (name, sample) in samples() {
        let mut scene = Scene::leech(&sample);
        let peer = scene.greet_seed(&sample, PEER, true);
        // The first piece that something is asked of, and no other.
        let mut asked = scene.requests(peer);
        let first = asked[0].piece;
        while !asked.is_empty() {
            asked.retain(|block| block.piece == first);
            asked.iter().for_each(|block| scene.say(peer, sample.piece(*block)));
            asked = scene.requests(peer);
        }
        scene.wait(Duration::from_secs(10));
        let had = scene.status();
        assert!(had.done_bytes > 0, "{name}");
        scene.ask(|engine, now, _| engine.stop(now));
        scene.wait(Duration::from_secs(10));
        assert!(scene.has_stopped(), "{name}");
        let mut again = Scene::new(sample.add(), scene.into_disk());
        let status = again.status();
        assert_eq!(status.done_bytes, had.done_bytes, "{name}");
        assert_eq!(status.pieces_have, had.pieces_have, "{name}");
        let peers = &[PEER.parse().expect("valid")];
        again.ask(|engine, now, id| engine.add_peers(now, id, peers)).expect("there");
        if !again.has_finished() {
            let peer = again.greet_seed(&sample, PEER, false);
            again.serve(&sample, peer);
        }
        assert!(again.has_finished(), "{name}");
        let both = had.downloaded_bytes + again.status().downloaded_bytes;
        assert_eq!(both, sample.stored_len(), "{name}: nothing is fetched twice");
        // And once more, with everything there.
        let whole = Scene::new(sample.add(), full_disk(&sample));
        assert!(whole.has_finished(), "{name}");
        assert_eq!(whole.status().done_bytes, sample.stored_len(), "{name}");
    }
}

/// Zeros are not what this torrent's padding has: it is not to be had, and nobody is to blame.
#[test]
fn padding_with_a_hash_that_zeros_have_not_is_waited_for_without_a_request() {
    let (_, sample) = samples().swap_remove(7);
    let torrent = sample.metainfo.to_bytes();
    let at = torrent.windows(6).position(|key| key == b"pieces").expect("of v1");
    let mut torrent = torrent.to_vec();
    // The second hash, which is of padding; `6:pieces160:`.
    let digits = torrent[at + 6..].iter().position(|byte| *byte == b':').expect("a string");
    torrent[at + 6 + digits + 1 + 20] ^= 1;
    let metainfo = bitswarm_core::metainfo::Metainfo::parse(&torrent).expect("still valid");
    let sample = Sample { metainfo, ..sample };
    let mut scene = Scene::leech(&sample);
    let peer = scene.greet_seed(&sample, PEER, true);
    let asked = scene.serve(&sample, peer);
    scene.wait(Duration::from_secs(60));
    assert_eq!(asked.len(), 2);
    let status = scene.status();
    assert_eq!(status.pieces_have, status.pieces - 1);
    assert!(!scene.has_finished() && !scene.is_closed(peer));
}
