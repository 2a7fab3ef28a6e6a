use std::sync::OnceLock;

use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};

use super::*;
use crate::merkle::HashTree;
use crate::metainfo::Magnet;
use crate::metainfo::create::{Creator, NewFile, Protocol};

const PIECE: u64 = 1 << 14;

fn at(seconds: u64) -> Instant {
    Instant::from_secs(seconds)
}

/// Files of 1100, 1, 2 and 5 pieces, of which the last two have the same content as another two;
/// and the same as peers tell it, without layers.
fn torrent() -> &'static (Metainfo, Metainfo) {
    static TORRENT: OnceLock<(Metainfo, Metainfo)> = OnceLock::new();
    TORRENT.get_or_init(|| {
        let pieces = [1100_u64, 1, 2, 5, 2, 5];
        let file = |(at, count): (usize, &u64)| NewFile::new([format!("{at}")], count * PIECE);
        let creator = Creator::folder("t", pieces.iter().enumerate().map(file));
        let mut creator = creator.with_protocol(Protocol::V2);
        creator.piece_length = 1 << 14;
        let bytes = |&count: &u64| {
            (0..count).flat_map(move |n| (n * 10 + count).to_be_bytes().repeat(1 << 11))
        };
        let content: Vec<u8> = pieces.iter().flat_map(bytes).collect();
        let whole = creator.finish_with_content(&content).expect("valid");
        let bare = Metainfo::from_info(whole.info_bytes(), &Magnet::of(&whole)).expect("valid");
        (whole, bare)
    })
}

fn fetch(peers: impl IntoIterator<Item = u8>) -> LayerFetch<u8> {
    let mut fetch = LayerFetch::new(&torrent().1, |_| true).expect("layers are missing");
    for peer in peers {
        fetch.add(at(0), peer);
    }
    fetch
}

/// The right answer.
fn answer(request: &HashRequest) -> Vec<u8> {
    let (whole, _) = torrent();
    let file = (0..whole.files().len()).find(|file| whole.pieces_root(*file) == Some(request.root));
    let file = file.expect("one of its files");
    let shape = whole.tree_shape(file).expect("of v2");
    let layer = whole.piece_layer(file).expect("it has one");
    let tree = HashTree::new(shape, shape.piece_layer(), layer).expect("it fits");
    tree.answer(&request.range).expect("allowed").into_flattened()
}

fn requests(fetch: &mut LayerFetch<u8>, now: Instant) -> Vec<(u8, HashRequest)> {
    std::iter::from_fn(|| fetch.next_request(now, &torrent().1)).collect()
}

fn give(fetch: &mut LayerFetch<u8>, now: Instant, (peer, request): &(u8, HashRequest)) -> Learnt {
    fetch.received(now, &torrent().1, *peer, request, &answer(request))
}

/// All is known, and right.
fn is_right(fetch: &LayerFetch<u8>) -> bool {
    let (whole, bare) = torrent();
    let known = bare.with_layers(fetch.layers(bare)).expect("verified");
    fetch.is_complete()
        && known.has_piece_layers()
        && whole.geometry().iter().all(|piece| {
            let long = whole.file_of_piece(piece).is_some_and(|(file, _)| {
                whole.tree_shape(file).is_some_and(|shape| shape.has_piece_layer())
            });
            let right = whole.piece_hash_v2(piece);
            known.piece_hash_v2(piece) == right
                && fetch.piece_hash(bare, piece) == right.filter(|_| long)
        })
}

#[test]
fn runs_are_spread_over_peers_and_each_is_asked_for_once() {
    let mut fetch = fetch([1, 2]);
    let asked = requests(&mut fetch, at(0));
    assert_eq!(asked.len(), 5, "three runs of the long file, and one of each root");
    assert!(asked.iter().filter(|(peer, _)| *peer == 1).count().abs_diff(2) <= 1);
    let lengths: Vec<u32> = asked.iter().map(|(_, request)| request.range.length).collect();
    assert_eq!(lengths, [512, 512, 512, 2, 8]);
    let mut pieces = Vec::new();
    for request in &asked {
        let Learnt::Pieces(ranges) = give(&mut fetch, at(1), request) else { panic!("not right") };
        pieces.extend(ranges);
    }
    pieces.sort_unstable_by_key(|range| range.start);
    // Those of files with the same content are learnt together; a file of one piece has none.
    let expected = [0..512, 512..1024, 1024..1100, 1101..1103, 1103..1108, 1108..1110, 1110..1115];
    assert_eq!(pieces, expected);
    assert!(is_right(&fetch));
    assert_eq!(fetch.poll_timeout(at(1)), None);
}

#[test]
fn files_that_are_not_wanted_come_last() {
    let mut fetch = LayerFetch::new(&torrent().1, |file| file == 3).expect("layers are missing");
    fetch.add(at(0), 1);
    let lengths: Vec<u32> =
        requests(&mut fetch, at(0)).iter().map(|(_, request)| request.range.length).collect();
    assert_eq!(lengths, [8, 512, 512, 512], "no more than four at once");
}

#[test]
fn what_is_rejected_late_or_left_is_asked_of_another() {
    let mut fetch = fetch([1]);
    let asked = requests(&mut fetch, at(0));
    assert_eq!(asked.len(), 4);
    fetch.add(at(0), 2);
    assert_eq!(requests(&mut fetch, at(0)).len(), 1);
    fetch.rejected(at(1), &torrent().1, 1, &asked[0].1);
    assert_eq!(requests(&mut fetch, at(1)), [(2, asked[0].1)]);
    // The first owes three answers, the second two; then the first leaves.
    let learnt = give(&mut fetch, at(2), &(2, asked[0].1));
    let Learnt::Pieces(pieces) = learnt else { panic!("{learnt:?}") };
    assert_eq!((pieces.len(), pieces.first()), (1, Some(&(0..512))));
    fetch.remove(1);
    let again: Vec<HashRequest> =
        requests(&mut fetch, at(3)).into_iter().map(|(_, request)| request).collect();
    assert_eq!(again, [asked[1].1, asked[2].1, asked[3].1]);
    // It is silent: after a while nothing is expected of it, but welcome all the same.
    assert_eq!(fetch.poll_timeout(at(3)), Some(at(2) + PATIENCE));
    let late = at(2) + PATIENCE;
    fetch.handle_timeout(late);
    assert_eq!(requests(&mut fetch, late), []);
    assert!(matches!(give(&mut fetch, late, &(2, asked[1].1)), Learnt::Pieces(_)));
    assert_eq!(give(&mut fetch, late, &(2, asked[1].1)), Learnt::Unasked);
    assert_eq!(give(&mut fetch, late, &(3, asked[2].1)), Learnt::Unasked);
}

#[test]
fn a_peer_that_rejects_everything_waits_longer_each_time() {
    let mut fetch = fetch([1]);
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..3 {
        let asked = std::iter::from_fn(|| {
            let next = requests(&mut fetch, now);
            next.iter().for_each(|(peer, request)| {
                fetch.rejected(now, &torrent().1, *peer, request);
            });
            (!next.is_empty()).then_some(next.len())
        });
        assert_eq!(asked.sum::<usize>(), 5, "each run once in a round");
        let again = fetch.poll_timeout(now).expect("it waits");
        waits.push((again - now).as_secs());
        now = again;
        fetch.handle_timeout(now);
    }
    assert_eq!(waits, [5, 10, 20]);
}

#[test]
fn hashes_that_do_not_make_the_root_are_a_lie_and_are_not_kept() {
    let mut fetch = fetch([1]);
    let asked = requests(&mut fetch, at(0));
    for (nth, request) in asked.iter().enumerate() {
        let mut wrong = answer(&request.1);
        match nth {
            0 => wrong[40] ^= 1,
            1 => *wrong.last_mut().expect("has hashes") ^= 1,
            2 => wrong.truncate(wrong.len() - 32),
            _ => wrong.clear(),
        }
        let learnt = fetch.received(at(0), &torrent().1, 1, &request.1, &wrong);
        assert_eq!(learnt, Learnt::Wrong, "{nth}");
    }
    assert!(!fetch.is_complete() && fetch.known.is_empty());
    assert_eq!(fetch.missing.len(), 5);
}

#[test]
fn what_was_never_asked_for_is_not_taken() {
    let mut fetch = fetch([1]);
    let asked = requests(&mut fetch, at(0));
    let (_, request) = asked[0];
    let range = HashRange { length: 256, ..request.range };
    let shorter = HashRequest { range, ..request };
    let unknown = HashRequest { root: [9; 32], ..request };
    for other in [shorter, unknown] {
        let learnt = fetch.received(at(0), &torrent().1, 1, &other, &[0; 64]);
        assert_eq!(learnt, Learnt::Unasked);
        fetch.rejected(at(0), &torrent().1, 1, &other);
    }
    assert_eq!(fetch.sources[&1].asked.len(), PIPELINE);
}

#[test]
fn a_torrent_with_its_layers_needs_nothing() {
    assert!(LayerFetch::<u8>::new(&torrent().0, |_| true).is_none());
}

/// How a peer answers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Manner {
    Honest,
    Rejects,
    Lies,
    Stalls,
    Leaves,
}

impl Arbitrary for Manner {
    fn arbitrary(g: &mut Gen) -> Self {
        use Manner::{Honest, Leaves, Lies, Rejects, Stalls};
        *g.choose(&[Honest, Rejects, Lies, Stalls, Leaves]).expect("some")
    }
}

quickcheck! {
    fn one_honest_peer_suffices_and_none_but_liars_are_blamed(
        manners: Vec<Manner>, coins: Vec<bool>
    ) -> TestResult {
        let manners: Vec<Manner> = manners.into_iter().take(8).chain([Manner::Honest]).collect();
        let mut fetch = fetch(0..manners.len() as u8);
        let mut coins = coins.into_iter().chain([true]).cycle();
        let mut now = at(0);
        for _ in 0..200 {
            for (peer, request) in requests(&mut fetch, now) {
                let manner = match manners[usize::from(peer)] {
                    // No peer misbehaves always.
                    Manner::Honest => Manner::Honest,
                    manner => if coins.next() == Some(true) { manner } else { Manner::Honest },
                };
                match manner {
                    Manner::Honest => {
                        let learnt = give(&mut fetch, now, &(peer, request));
                        if matches!(learnt, Learnt::Wrong) {
                            return TestResult::failed();
                        }
                    }
                    Manner::Rejects => fetch.rejected(now, &torrent().1, peer, &request),
                    Manner::Lies => {
                        let wrong = vec![7; answer(&request).len()];
                        let learnt = fetch.received(now, &torrent().1, peer, &request, &wrong);
                        // After a leave its answers count for nothing.
                        if !matches!(learnt, Learnt::Wrong | Learnt::Unasked | Learnt::Nothing) {
                            return TestResult::failed();
                        }
                        fetch.remove(peer);
                    }
                    Manner::Stalls => {}
                    Manner::Leaves => fetch.remove(peer),
                }
            }
            if fetch.is_complete() {
                return TestResult::from_bool(is_right(&fetch));
            }
            if let Some(next) = fetch.poll_timeout(now) {
                now = now.max(next);
                fetch.handle_timeout(now);
            }
        }
        TestResult::failed()
    }
}

#[test]
fn what_was_known_is_recalled_if_it_is_right() {
    let bare = &torrent().1;
    let mut first = fetch([1]);
    let asked = requests(&mut first, at(0));
    // The last run of the long file, which has filling, and a short file.
    for request in [&asked[2], &asked[3]] {
        assert!(matches!(give(&mut first, at(0), request), Learnt::Pieces(_)));
    }
    let known: Vec<(HashRequest, Bytes)> = first.answers(bare).collect();
    assert_eq!(known.len(), 2);
    assert!(known.iter().all(|(request, hashes)| *hashes == answer(request)));
    let mut second = fetch([1]);
    for (request, hashes) in &known {
        let mut wrong = hashes.to_vec();
        wrong[5] ^= 1;
        assert!(!second.recall(bare, request, &wrong));
        assert!(!second.recall(bare, request, &hashes[32..]));
        assert!(second.recall(bare, request, hashes));
    }
    let asked = requests(&mut second, at(0));
    assert_eq!(asked.len(), 3);
    for request in &asked {
        give(&mut second, at(1), request);
    }
    assert!(is_right(&second));
}

#[test]
fn strangers_that_come_anew_and_say_nothing_keep_nobody_from_its_turn() {
    let mut fetch = fetch([200]);
    // Ahead of it by name, and others each time.
    for round in 0..20_u8 {
        let now = at(u64::from(round) * 10);
        let strangers = (0..5).map(|number| (round % 2) * 5 + number);
        strangers.for_each(|stranger| {
            fetch.remove(stranger);
            fetch.add(now, stranger);
        });
        fetch.handle_timeout(now);
        if requests(&mut fetch, now).iter().any(|(peer, _)| *peer == 200) {
            assert!(round < 2, "after {round} rounds");
            return;
        }
    }
    panic!("never asked");
}
