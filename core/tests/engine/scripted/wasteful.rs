//! Peers that waste what they send, or are odd: the only source stays usable, and floods are bounded.

use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::piece::{Block, PieceIndex};
use bitswarm_core::time::Duration;
use bitswarm_core::wire::Message;
use bitswarm_core::{ConnId, TorrentNotice};

use super::scene::{PEER, Sample, Scene, addr};

const OTHER: &str = "50.0.1.2:2000";
/// Long enough for every bound on waste to matter.
const LENGTH: usize = 6 << 20;
const MIB: u64 = 1 << 20;

/// What a peer sends besides what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waste {
    /// Each block so often more.
    Copies(usize),
    /// A block that it was never asked for with each.
    OfFirstPiece,
    /// Each block once more, but not all of it.
    Halves,
}

/// Answers what a peer is asked for at one time; how many blocks that were.
fn serve_once(scene: &mut Scene, sample: &Sample, conn: ConnId, waste: Option<Waste>) -> usize {
    let asked = scene.requests(conn);
    for block in &asked {
        scene.say(conn, sample.piece(*block));
        match waste {
            None => {}
            Some(Waste::Copies(count)) => {
                (0..count).for_each(|_| scene.say(conn, sample.piece(*block)));
            }
            Some(Waste::OfFirstPiece) => {
                let first = Block { piece: PieceIndex(0), begin: 0, length: 16_384 };
                scene.say(conn, sample.piece(first));
            }
            Some(Waste::Halves) => {
                scene.say(conn, sample.piece(Block { length: block.length / 2, ..*block }));
            }
        }
    }
    asked.len()
}

#[test]
fn a_lone_seed_that_wastes_what_it_sends_is_used_to_the_end() {
    let sample = Sample::plain(LENGTH);
    for waste in [Waste::Copies(1), Waste::Copies(4), Waste::OfFirstPiece, Waste::Halves] {
        for fast in [false, true] {
            let mut scene = Scene::leech(&sample);
            let peer = scene.greet_seed(&sample, PEER, fast);
            while serve_once(&mut scene, &sample, peer, Some(waste)) > 0 {}
            assert!(scene.has_finished(), "{waste:?}, fast: {fast}");
            let status = scene.status();
            let needed = status.downloaded_bytes - status.redundant_bytes;
            assert_eq!(needed, sample.stored_len(), "{waste:?}, fast: {fast}");
            let banned =
                |notice: &TorrentNotice| matches!(notice, TorrentNotice::PeerBanned { .. });
            assert!(!scene.notices().into_iter().any(banned));
        }
    }
}

#[test]
fn a_peer_that_wastes_is_asked_for_little_while_another_is_there_and_for_all_when_that_is_gone() {
    let sample = Sample::plain(LENGTH);
    let mut add = sample.add();
    add.peers = vec![addr(PEER), addr(OTHER)];
    let mut scene = Scene::new(add, MemoryDisk::new());
    let wasteful = scene.greet_seed(&sample, PEER, true);
    let good = scene.greet_seed(&sample, OTHER, true);
    let (mut of_wasteful, mut of_good, mut most_at_once) = (0, 0, 0);
    let mut waiting = std::collections::VecDeque::new();
    while of_good < 100 {
        waiting.extend(scene.requests(good));
        most_at_once = most_at_once.max(waiting.len());
        // It is not so fast that it would be done before the other has wasted much.
        for block in waiting.drain(..waiting.len().min(2)) {
            scene.say(good, sample.piece(block));
            of_good += 1;
        }
        let at_once = serve_once(&mut scene, &sample, wasteful, Some(Waste::Copies(1)));
        // What it was asked for before it had wasted much does not count.
        assert!(at_once <= 1 || of_wasteful < 40, "{at_once} at once after {of_wasteful}");
        of_wasteful += at_once;
        scene.wait(Duration::from_millis(20));
    }
    assert!(most_at_once > 1, "the other is asked for more");
    assert!(!scene.is_closed(wasteful));
    scene.ended(good, None);
    while serve_once(&mut scene, &sample, wasteful, Some(Waste::Copies(1))) > 0 {}
    assert!(scene.has_finished());
}

/// A block that nobody asked for, again and again.
fn flood(scene: &mut Scene, sample: &Sample, conn: ConnId) -> u64 {
    let block = Block { piece: PieceIndex(3), begin: 0, length: 16_384 };
    let mut bytes = 0;
    while !scene.is_closed(conn) && bytes < 100 * MIB {
        scene.say(conn, sample.piece(block));
        bytes += u64::from(block.length);
    }
    bytes
}

#[test]
fn a_flood_is_bounded_by_bytes_and_a_new_connection_is_no_new_allowance() {
    let sample = Sample::plain(LENGTH);
    let mut scene = Scene::leech(&sample);
    let peer = scene.greet(&sample, PEER, true);
    let first = flood(&mut scene, &sample, peer);
    assert!((4 * MIB..5 * MIB).contains(&first), "{first} bytes");
    let wait = scene.dialled_after_ms(PEER, Duration::from_secs(300));
    assert!(wait.is_some_and(|wait| wait >= 1000), "dialled after {wait:?} ms");
    let peer = scene.greet(&sample, PEER, true);
    let second = flood(&mut scene, &sample, peer);
    assert!(second < 100_000, "{second} bytes");
    let from = PEER.replace("1000", "1001");
    let peer = scene.arrive(&sample, &from, true).expect("accepted");
    let third = flood(&mut scene, &sample, peer);
    assert!(third < 100_000, "{third} bytes from another port");
}

#[test]
fn more_than_each_block_twice_is_too_much_only_while_there_are_others() {
    let sample = Sample::plain(3 * LENGTH);
    let mut add = sample.add();
    add.peers = vec![addr(PEER), addr(OTHER)];
    let mut scene = Scene::new(add, MemoryDisk::new());
    let wasteful = scene.greet_seed(&sample, PEER, true);
    let good = scene.greet_seed(&sample, OTHER, true);
    while !scene.is_closed(wasteful) {
        assert!(!scene.has_finished(), "it was kept for all of it");
        serve_once(&mut scene, &sample, wasteful, Some(Waste::Copies(50)));
        // The other one is there and slow.
        let asked = scene.requests(good);
        asked.iter().take(1).for_each(|block| scene.say(good, sample.piece(*block)));
    }
    // The good one leaves: who wasted is dialled at once, and used.
    scene.ended(good, None);
    assert_eq!(scene.dialled_after_ms(PEER, Duration::from_secs(60)), Some(0));
    let again = scene.greet_seed(&sample, PEER, true);
    while serve_once(&mut scene, &sample, again, Some(Waste::Copies(1))) > 0 {}
    assert!(scene.has_finished());
}

/// Each message is against some rule, none of them is against sense.
#[test]
fn an_odd_seed_is_used() {
    let sample = Sample::plain(LENGTH);
    let pieces = sample.metainfo.geometry().pieces();
    let block = |piece, begin, length| Block { piece: PieceIndex(piece), begin, length };
    let extended = |id, payload: &'static [u8]| Message::Extended { id, payload: payload.into() };
    let odd = [
        Message::KeepAlive,
        Message::Unchoke,
        Message::Unchoke,
        Message::Have(PieceIndex(1)),
        Message::Have(PieceIndex(1)),
        Message::Have(PieceIndex(pieces)),
        Message::HaveAll,
        Message::Bitfield(bitswarm_core::bitfield::Bitfield::full(pieces).to_bytes().into()),
        Message::Suggest(PieceIndex(pieces + 3)),
        Message::AllowedFast(PieceIndex(0)),
        Message::Reject(block(0, 0, 16_384)),
        Message::Reject(block(9_999_999, 1, 7)),
        Message::Cancel(block(0, 0, 16_384)),
        Message::Request(block(0, 0, 0)),
        Message::Request(block(0, 0, 1 << 20)),
        Message::Request(block(pieces, 0, 16_384)),
        Message::NotInterested,
        extended(0, b"no dictionary"),
        extended(2, b"no dictionary either"),
        extended(77, b""),
    ];
    for fast in [false, true] {
        let mut scene = Scene::leech(&sample);
        let peer = scene.greet(&sample, PEER, fast);
        // It offered no fast extension, and says what it has in its words all the same.
        scene.say(peer, Message::HaveAll);
        scene.say(peer, Message::Unchoke);
        for message in &odd {
            scene.say(peer, message.clone());
            assert!(!scene.is_closed(peer), "fast: {fast}, {message:?}");
        }
        scene.serve(&sample, peer);
        // What was rejected without cause comes late.
        scene.wait(Duration::from_secs(30));
        scene.serve(&sample, peer);
        assert!(scene.has_finished(), "fast: {fast}");
    }
}

#[test]
fn a_peer_that_says_nothing_but_nonsense_is_dropped_after_a_while() {
    let sample = Sample::plain(LENGTH);
    let mut scene = Scene::leech(&sample);
    let peer = scene.greet(&sample, PEER, true);
    let nonsense = Message::Have(PieceIndex(u32::MAX));
    let mut said = 0;
    while !scene.is_closed(peer) && said < 100_000 {
        scene.say(peer, nonsense.clone());
        said += 1;
    }
    assert!(said < 1000, "{said} messages");
}
