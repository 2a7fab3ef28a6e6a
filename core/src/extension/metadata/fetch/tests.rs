use quickcheck::quickcheck;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::*;
use crate::piece::{InfoHash, InfoHashV2};

const LIMIT: u32 = 1 << 20;

fn peer(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 6881))
}

fn at(seconds: u64) -> Instant {
    Instant::from_secs(seconds)
}

/// Metadata of this many bytes, and a fetch of it.
fn fetch(len: usize) -> (Vec<u8>, MetadataFetch) {
    let metadata: Vec<u8> = (0..len).map(|n| (n * 7 + n / 251) as u8).collect();
    let expected = InfoHashes { v1: Some(InfoHash(Sha1::digest(&metadata).into())), v2: None };
    (metadata, MetadataFetch::new(expected, LIMIT))
}

fn requests(fetch: &mut MetadataFetch, now: Instant) -> Vec<(SocketAddr, u32)> {
    std::iter::from_fn(|| fetch.next_request(now)).collect()
}

fn slice(metadata: &[u8], piece: u32) -> &[u8] {
    let start = (piece * METADATA_PIECE_LEN) as usize;
    &metadata[start..metadata.len().min(start + METADATA_PIECE_LEN as usize)]
}

/// Answers a request as an honest peer does.
fn honest(
    fetch: &mut MetadataFetch,
    metadata: &[u8],
    now: Instant,
    (peer, piece): (SocketAddr, u32),
) -> Received {
    fetch.received(now, peer, piece, Some(metadata.len() as u32), slice(metadata, piece))
}

#[test]
fn one_peer_gives_everything() {
    let (metadata, mut fetch) = fetch(40_000);
    assert!(fetch.offered(peer(1), 40_000));
    let asked = requests(&mut fetch, at(1));
    assert_eq!(asked, [(peer(1), 0), (peer(1), 1), (peer(1), 2)]);
    assert_eq!(honest(&mut fetch, &metadata, at(1), asked[2]), Received::Accepted);
    assert_eq!(honest(&mut fetch, &metadata, at(1), asked[0]), Received::Accepted);
    let progress = fetch.progress();
    assert_eq!((progress.received_bytes, progress.size_bytes), (40_000 - 16_384, 40_000));
    let complete = honest(&mut fetch, &metadata, at(1), asked[1]);
    assert_eq!(complete, Received::Complete(metadata.into()));
}

#[test]
fn pieces_are_asked_side_by_side() {
    let (_, mut fetch) = fetch(100_000);
    for number in 1..=3 {
        fetch.offered(peer(number), 100_000);
    }
    let asked = requests(&mut fetch, at(1));
    let of = |number| asked.iter().filter(|(p, _)| *p == peer(number)).count();
    assert_eq!([of(1), of(2), of(3)], [3, 2, 2]);
    let pieces: BTreeSet<u32> = asked.iter().map(|(_, piece)| *piece).collect();
    assert_eq!(pieces.len(), 7);
}

#[test]
fn an_idle_peer_is_asked_for_what_another_owes() {
    let (metadata, mut fetch) = fetch(100);
    fetch.offered(peer(1), 100);
    assert_eq!(requests(&mut fetch, at(1)), [(peer(1), 0)]);
    fetch.offered(peer(2), 100);
    fetch.offered(peer(3), 100);
    assert_eq!(requests(&mut fetch, at(1)), [(peer(2), 0)], "of two at most");
    let complete = honest(&mut fetch, &metadata, at(1), (peer(2), 0));
    assert_eq!(complete, Received::Complete(metadata.into()));
}

#[test]
fn impossible_sizes_are_not_believed() {
    let (_, mut fetch) = fetch(100);
    for size in [0, LIMIT + 1, 1 << 31, u32::MAX] {
        assert!(!fetch.offered(peer(1), size), "{size}");
    }
    assert_eq!(fetch.next_request(at(1)), None);
    assert!(fetch.offered(peer(1), LIMIT));
    assert!(!fetch.offered(peer(1), 0), "it changes its mind");
    assert_eq!((fetch.next_request(at(1)), fetch.poll_timeout(at(1))), (None, None));
}

#[test]
fn a_lone_liar_is_proved_one() {
    let (metadata, mut fetch) = fetch(100);
    fetch.offered(peer(1), 100);
    requests(&mut fetch, at(1));
    let wrong = fetch.received(at(1), peer(1), 0, Some(100), &[0; 100]);
    assert_eq!(wrong, Received::Failed(Some(peer(1))));
    assert_eq!(fetch.next_request(at(1)), None);
    fetch.offered(peer(2), 100);
    assert_eq!(requests(&mut fetch, at(1)), [(peer(2), 0)]);
    let complete = honest(&mut fetch, &metadata, at(1), (peer(2), 0));
    assert_eq!(complete, Received::Complete(metadata.into()));
}

#[test]
fn a_liar_among_several_is_found_by_asking_each_alone() {
    let (metadata, mut fetch) = fetch(60_000);
    for number in 1..=3 {
        fetch.offered(peer(number), 60_000);
    }
    let liar = peer(2);
    let mut banned = Vec::new();
    let mut complete = None;
    for _ in 0..10 {
        for (who, piece) in requests(&mut fetch, at(1)) {
            let answer = if who == liar {
                let wrong = vec![9; slice(&metadata, piece).len()];
                fetch.received(at(1), who, piece, None, &wrong)
            } else {
                honest(&mut fetch, &metadata, at(1), (who, piece))
            };
            match answer {
                Received::Failed(who) => banned.extend(who),
                Received::Complete(bytes) => complete = Some(bytes),
                Received::Accepted => {}
                Received::Unasked => panic!("all was asked for"),
                Received::TwoTorrents => panic!("one hash is known"),
            }
        }
        if complete.is_some() {
            break;
        }
    }
    assert_eq!(complete, Some(metadata.into()));
    assert!(banned.iter().all(|who| *who == liar), "{banned:?}");
}

#[test]
fn who_is_late_or_rejects_waits_while_others_are_asked() {
    let (metadata, mut fetch) = fetch(100);
    fetch.offered(peer(1), 100);
    assert_eq!(requests(&mut fetch, at(1)), [(peer(1), 0)]);
    assert_eq!(fetch.poll_timeout(at(1)), Some(at(6)));
    fetch.handle_timeout(at(6));
    assert_eq!(fetch.next_request(at(6)), None);
    assert_eq!(fetch.poll_timeout(at(6)), Some(at(11)), "then it is asked again");
    fetch.offered(peer(2), 100);
    assert_eq!(requests(&mut fetch, at(7)), [(peer(2), 0)]);
    fetch.rejected(at(7), peer(2), 0);
    assert_eq!(fetch.next_request(at(7)), None);
    assert_eq!(requests(&mut fetch, at(11)), [(peer(1), 0)]);
    fetch.handle_timeout(at(16));
    let late = honest(&mut fetch, &metadata, at(17), (peer(1), 0));
    assert_eq!(late, Received::Complete(metadata.into()), "better late than never");
}

#[test]
fn a_wrong_size_of_many_does_not_hide_the_right_one_of_one() {
    let (metadata, mut fetch) = fetch(100);
    for number in 1..=50 {
        fetch.offered(peer(number), 200);
    }
    fetch.offered(peer(51), 100);
    let asked = requests(&mut fetch, at(1));
    assert!(asked.contains(&(peer(51), 0)));
    let complete = honest(&mut fetch, &metadata, at(1), (peer(51), 0));
    assert_eq!(complete, Received::Complete(metadata.into()));
}

#[test]
fn what_was_not_asked_for_and_what_does_not_fit_is_not_kept() {
    let (metadata, mut fetch) = fetch(20_000);
    assert_eq!(honest(&mut fetch, &metadata, at(1), (peer(1), 0)), Received::Unasked);
    fetch.offered(peer(1), 20_000);
    requests(&mut fetch, at(1));
    let unasked = fetch.received(at(1), peer(1), u32::MAX, None, b"x");
    assert_eq!(unasked, Received::Unasked);
    let short = fetch.received(at(1), peer(1), 0, None, b"x");
    assert_eq!((short, fetch.progress().received_bytes), (Received::Accepted, 0));
    assert_eq!(fetch.next_request(at(1)), None, "it has to wait");
    let other_size = fetch.received(at(1), peer(1), 1, Some(20_001), slice(&metadata, 1));
    assert_eq!((other_size, fetch.progress().received_bytes), (Received::Accepted, 0));
}

#[test]
fn what_is_held_is_bounded_whatever_is_claimed_and_sent() {
    let (_, mut fetch) = fetch(100);
    let claim = |number: u8| LIMIT - u32::from(number);
    for second in 1..40 {
        for number in 1..=30 {
            // Some change what they claim all the time.
            let other = if number > 15 { second as u8 } else { 0 };
            fetch.offered(peer(number), claim(number.wrapping_add(other)));
        }
        for (who, piece) in requests(&mut fetch, at(second)) {
            let size = fetch.sources[&who].size;
            // The last piece never comes.
            if piece < 60 {
                let data = vec![1; piece_len(size, piece).expect("asked") as usize];
                fetch.received(at(second), who, piece, None, &data);
            }
        }
        fetch.handle_timeout(at(second));
        let held: usize =
            fetch.attempts.iter().flat_map(|a| a.pieces.values()).map(|p| p.data.len()).sum();
        assert!(held <= 2 * LIMIT as usize, "{held}");
        assert!(fetch.attempts.len() <= 30 + LEFT_ATTEMPTS);
    }
}

#[test]
fn however_many_liars_drip_the_honest_peer_is_asked_at_once() {
    let (metadata, mut fetch) = fetch(100_000);
    for number in 1..=40 {
        // Of two sizes, of many sizes, and of the right one.
        let size = [200_000, 300_000, 400_000 + u32::from(number), 100_000][number as usize % 4];
        fetch.offered(peer(number), size);
    }
    let mut owed = Vec::new();
    for second in 1..120 {
        if second == 30 {
            fetch.offered(peer(250), 100_000);
        }
        let asked = requests(&mut fetch, at(second));
        let (of_honest, of_liars): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(who, _)| *who == peer(250));
        owed.extend(of_liars);
        for request in of_honest {
            if let Received::Complete(bytes) = honest(&mut fetch, &metadata, at(second), request) {
                assert_eq!(bytes, metadata);
                assert!(second <= 90, "after {second} s");
                return;
            }
        }
        // Each liar sends a piece just in time.
        if second % 4 == 0 {
            let mut served = BTreeSet::new();
            owed.retain(|&(who, piece)| {
                if !served.insert(who) {
                    return true;
                }
                let Some(size) = fetch.sources.get(&who).map(|source| source.size) else {
                    return false;
                };
                let Some(len) = piece_len(size, piece) else { return false };
                fetch.received(at(second), who, piece, None, &vec![9; len as usize]);
                false
            });
        }
        fetch.handle_timeout(at(second));
    }
    panic!("the honest peer was not asked for all");
}

/// How a peer behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Manner {
    Honest,
    Lies,
    Stalls,
    Rejects,
    OtherSize,
    Leaves,
}

quickcheck! {
    /// One honest peer among any others ends the fetch, and nobody honest is called a liar.
    fn one_honest_peer_suffices(manners: Vec<u8>, len: u16, order: Vec<u8>) -> bool {
        use Manner::*;
        let (metadata, mut fetch) = fetch(usize::from(len) + 1);
        let size = metadata.len() as u32;
        let all = [Honest, Lies, Stalls, Rejects, OtherSize, Leaves];
        let mut manners: Vec<Manner> =
            manners.iter().take(30).map(|m| all[usize::from(*m) % all.len()]).collect();
        manners.push(Honest);
        let manner = |who: SocketAddr| manners[manners.iter().enumerate()
            .position(|(n, _)| peer(n as u8) == who).expect("known")];
        for (number, manner) in manners.iter().enumerate() {
            let claimed = if *manner == OtherSize { size + 5 } else { size };
            fetch.offered(peer(number as u8), claimed);
        }
        let mut now = at(1);
        let mut order = order.into_iter().cycle();
        for _ in 0..2000 {
            let mut asked = requests(&mut fetch, now);
            while !asked.is_empty() {
                let next = order.next().map_or(0, usize::from) % asked.len();
                let (who, piece) = asked.swap_remove(next);
                let wrong = |size| vec![1; piece_len(size, piece).expect("asked") as usize];
                let answer = match manner(who) {
                    Honest => honest(&mut fetch, &metadata, now, (who, piece)),
                    Lies => fetch.received(now, who, piece, None, &wrong(size)),
                    OtherSize => fetch.received(now, who, piece, None, &wrong(size + 5)),
                    Rejects => { fetch.rejected(now, who, piece); Received::Accepted }
                    Leaves => { fetch.remove(who); Received::Accepted }
                    Stalls => Received::Accepted,
                };
                match answer {
                    Received::Complete(bytes) => return bytes == metadata,
                    Received::Failed(Some(liar)) if manner(liar) == Honest => return false,
                    _ => {}
                }
            }
            match fetch.poll_timeout(now) {
                Some(next) if next > now => now = next,
                Some(_) => return false,
                None => {}
            }
            fetch.handle_timeout(now);
        }
        false
    }
}

#[test]
fn metadata_with_both_hashes_is_complete_and_with_one_of_them_of_another_torrent() {
    let metadata = vec![7; 100];
    let v1 = InfoHash(Sha1::digest(&metadata).into());
    let v2 = InfoHashV2(Sha256::digest(&metadata).into());
    let came = |v1, v2| {
        let mut fetch = MetadataFetch::new(InfoHashes { v1, v2 }, LIMIT);
        assert!(fetch.offered(peer(1), 100));
        assert_eq!(requests(&mut fetch, at(0)), [(peer(1), 0)]);
        fetch.received(at(1), peer(1), 0, Some(100), &metadata)
    };
    for (v1, v2) in [(Some(v1), Some(v2)), (None, Some(v2)), (Some(v1), None)] {
        assert_eq!(came(v1, v2), Received::Complete(metadata.clone().into()));
    }
    assert_eq!(came(Some(v1), Some(InfoHashV2([1; 32]))), Received::TwoTorrents);
    assert_eq!(came(Some(InfoHash([1; 20])), Some(v2)), Received::TwoTorrents);
    assert_eq!(came(None, Some(InfoHashV2([1; 32]))), Received::Failed(Some(peer(1))));
}

#[test]
fn who_comes_anew_each_time_is_not_asked_before_who_waits() {
    let (metadata, mut fetch) = fetch(100);
    // Two at a time are asked for the only piece. These have the lowest addresses, and connect again when
    // they are about to be late.
    let mut now = 1;
    for number in [1, 2, 3] {
        fetch.offered(peer(number), 100);
    }
    fetch.offered(peer(200), 100);
    let mut asked = requests(&mut fetch, at(now));
    for _ in 0..4 {
        if asked.iter().any(|(asked, _)| *asked == peer(200)) {
            let complete = honest(&mut fetch, &metadata, at(now), (peer(200), 0));
            assert_eq!(complete, Received::Complete(metadata.into()));
            return;
        }
        now += 4;
        for number in [1, 2, 3] {
            fetch.remove(peer(number));
            fetch.offered(peer(number), 100);
        }
        asked = requests(&mut fetch, at(now));
    }
    panic!("the honest peer is never asked");
}
