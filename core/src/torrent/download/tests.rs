//! The download with plain sources: no engine, no session, no connection.

use bytes::Bytes;

use super::*;
use crate::bitfield::Bitfield;
use crate::config::Config;
use crate::merkle::HashRange;
use crate::peer::PeerDownload;
use crate::picker::PeerKey;
use crate::piece::{BLOCK_LEN, Geometry, PieceIndex};
use crate::piece_hash::PieceRoot;
use crate::random::PolicyRng;
use crate::time::Duration;
use crate::torrent::step::PieceStep;
use crate::wire::HashRequest;

const NOW: Instant = Instant::from_secs(100);
const PIECES: u32 = 4;
/// Four blocks in each piece.
const PIECE_LEN: u32 = 4 * BLOCK_LEN;
const TERMS: Terms = Terms { limit: usize::MAX, is_wasteful: false };
const PIECE: PieceIndex = PieceIndex(0);

/// A source of blocks, and what it sends.
struct Plain {
    key: Source,
    address: SocketAddr,
    state: SourceState,
    lies_in_block: Option<u32>,
}

impl Plain {
    /// A seed that lets us download.
    fn seed(number: u32, download: &mut Download) -> Self {
        let mut plain = Plain {
            key: Source::of(PeerKey(number)),
            address: SocketAddr::from(([10, 0, 0, number as u8 + 1], 6881)),
            state: PeerDownload::new(Some(PIECES), &Config::default()),
            lies_in_block: None,
        };
        download.source_here(&plain.state);
        download.has_pieces(plain.key, &mut plain.state, Bitfield::full(PIECES));
        plain.state.am_interested = true;
        download.unchoked(plain.key, &mut plain.state);
        plain
    }

    /// Requests what the pipeline takes; the blocks that go out.
    fn request(&mut self, download: &mut Download, now: Instant) -> Vec<Block> {
        let sent = download.want(now, self.key, &mut self.state, TERMS, || 0, &mut Vec::new());
        let asking = std::mem::take(&mut self.state.asking);
        assert_eq!(asking.len(), sent);
        self.state.pipeline.gathered(now);
        asking
    }

    fn send(&mut self, download: &mut Download, block: Block, now: Instant) -> Arrival {
        let lies = self.lies_in_block == Some(block.number());
        let byte = if lies { 0xff } else { block.number() as u8 };
        let data = Bytes::from(vec![byte; block.length as usize]);
        let counted = u64::from(block.length);
        let state = &mut self.state;
        download.block(now, self.key, self.address, state, (block, counted), data.into())
    }

    /// Sends all that is requested, as long as something is; the pieces that got complete.
    fn serve(&mut self, download: &mut Download, pieces: usize) -> Vec<PieceIndex> {
        let mut complete = Vec::new();
        while complete.len() < pieces {
            let blocks = self.request(download, NOW);
            assert!(!blocks.is_empty(), "the source is asked");
            for block in blocks {
                if let Arrival::Kept(kept) = self.send(download, block, NOW)
                    && kept.completes_piece
                {
                    complete.push(block.piece);
                }
            }
        }
        complete
    }
}

fn download() -> Download {
    let geometry = Geometry::new(u64::from(PIECES * PIECE_LEN), PIECE_LEN).expect("within limits");
    Download::new(Picker::new(geometry, PolicyRng::from_seed([7; 32])))
}

fn block(piece: PieceIndex, number: u32) -> Block {
    Block { piece, begin: number * BLOCK_LEN, length: BLOCK_LEN }
}

fn kept(arrival: Arrival) -> Kept {
    match arrival {
        Arrival::Kept(kept) => kept,
        other => panic!("{other:?}"),
    }
}

/// The blocks of one piece from `first` for the even ones and `second` for the odd ones.
fn fill_from_both(
    download: &mut Download,
    piece: PieceIndex,
    first: &mut Plain,
    second: &mut Plain,
) {
    for number in 0..4 {
        let from = if number % 2 == 0 { &mut *first } else { &mut *second };
        from.state.pipeline.sent(block(piece, number), NOW);
        kept(from.send(download, block(piece, number), NOW));
    }
}

#[test]
fn pieces_are_requested_received_and_verified_until_all_are_there() {
    let mut download = download();
    let mut seed = Plain::seed(0, &mut download);
    while !download.picker.is_finished() {
        for piece in seed.serve(&mut download, 1) {
            assert_eq!(download.bytes_of(piece).iter().map(Bytes::len).sum::<usize>(), 65536);
            let held = download.held_bytes();
            let passed = download.passed(piece).expect("not known to be right yet");
            assert_eq!(passed.freed, 65536);
            assert_eq!(download.held_bytes(), held - 65536);
            assert!(passed.liars.is_empty());
            assert!(download.passed(piece).is_none(), "the second verdict is no news");
        }
    }
    assert_eq!(seed.state.downloaded, u64::from(PIECES * PIECE_LEN));
    assert!(seed.request(&mut download, NOW).is_empty());
}

#[test]
fn block_that_was_not_requested_is_counted_as_waste() {
    let mut download = download();
    let mut seed = Plain::seed(0, &mut download);
    let arrival = seed.send(&mut download, block(PIECE, 0), NOW);
    assert!(matches!(arrival, Arrival::Unrequested));
    assert_eq!((seed.state.unasked_bytes, seed.state.downloaded), (u64::from(BLOCK_LEN), 0));
    assert_eq!(download.held_bytes(), 0);
}

#[test]
fn blocks_of_a_source_that_chokes_or_leaves_are_free_for_others() {
    for leaves in [false, true] {
        let mut download = download();
        let mut first = Plain::seed(0, &mut download);
        let mut second = Plain::seed(1, &mut download);
        let blocks = first.request(&mut download, NOW);
        let free = match leaves {
            true => download.source_gone(first.key, &mut first.state, true),
            false => download.choked(first.key, &mut first.state, false),
        };
        assert!(free && first.state.pipeline.is_empty());
        let again = second.request(&mut download, NOW);
        assert!(blocks.iter().any(|block| again.contains(block)), "{blocks:?} {again:?}");
    }
}

#[test]
fn choke_with_the_fast_extension_leaves_requests_that_were_sent() {
    let mut download = download();
    let mut seed = Plain::seed(0, &mut download);
    let sent = seed.request(&mut download, NOW);
    download.choked(seed.key, &mut seed.state, true);
    assert_eq!(seed.state.pipeline.len(), sent.len(), "each will be answered");
    assert!(download.rejected(NOW, seed.key, &mut seed.state, sent[0]));
    assert_eq!(seed.state.pipeline.len(), sent.len() - 1);
    assert!(seed.request(&mut download, NOW).is_empty(), "while choked");
}

#[test]
fn late_block_goes_to_another_source_and_is_cancelled_when_it_comes_from_there() {
    let mut download = download();
    let mut slow = Plain::seed(0, &mut download);
    let mut fast = Plain::seed(1, &mut download);
    let blocks = slow.request(&mut download, NOW);
    let later = NOW + Duration::from_secs(20);
    assert!(download.overdue(later, slow.key, &mut slow.state, true), "free for others");
    let late = blocks[0];
    let mut asked = Vec::new();
    while !asked.contains(&late) {
        asked = fast.request(&mut download, later);
        assert!(!asked.is_empty());
        if !asked.contains(&late) {
            let wait = asked.split_off(0);
            wait.into_iter().for_each(|block| drop(fast.send(&mut download, block, later)));
        }
    }
    let kept = kept(fast.send(&mut download, late, later));
    assert_eq!(kept.cancel.as_slice(), [slow.key]);
    assert!(download.cancel(slow.key, &mut slow.state, late, false), "it was sent to the source");
    assert!(!slow.state.pipeline.contains(late));
    assert!(download.underfilled(None).contains(&slow.key));
    assert!(!download.underfilled(Some(slow.key)).contains(&slow.key));
}

#[test]
fn lost_piece_is_not_requested_and_its_requests_are_void() {
    let mut download = download();
    let mut seed = Plain::seed(0, &mut download);
    let piece = seed.request(&mut download, NOW)[0].piece;
    assert!(download.lost_piece(seed.key, &mut seed.state, piece, false));
    assert!(seed.state.pipeline.blocks_of(piece).is_empty());
    assert_eq!(seed.state.interesting, PIECES - 1);
    let again = seed.request(&mut download, NOW);
    assert!(!again.is_empty() && again.iter().all(|block| block.piece != piece));
}

#[test]
fn wasteful_source_gets_one_request_at_a_time() {
    let mut download = download();
    let mut seed = Plain::seed(0, &mut download);
    let terms = Terms { limit: usize::MAX, is_wasteful: true };
    assert_eq!(download.want(NOW, seed.key, &mut seed.state, terms, || 0, &mut Vec::new()), 1);
    assert_eq!(download.want(NOW, seed.key, &mut seed.state, terms, || 0, &mut Vec::new()), 0);
}

#[test]
fn local_source_completes_pieces_without_being_asked_and_is_never_blamed() {
    let mut download = download();
    for number in 0..4 {
        let data = Bytes::from(vec![0xee; BLOCK_LEN as usize]);
        let kept = download.keep(Source::LOCAL, None, block(PIECE, number), data.into());
        assert_eq!(kept.expect("missing").completes_piece, number == 3);
    }
    assert_eq!(download.failed(PIECE).liar, None);
    download.forget(PIECE);
    assert_eq!(download.held_bytes(), 0);
}

#[test]
fn source_that_sent_all_of_a_wrong_piece_is_named_at_once() {
    let mut download = download();
    let mut liar = Plain::seed(0, &mut download);
    liar.lies_in_block = Some(2);
    let piece = liar.serve(&mut download, 1)[0];
    assert_eq!(download.failed(piece).liar, Some(liar.address));
}

/// Whether the suspect piece is to be resolved now, and what it frees requested.
fn resolves(download: &Download) -> bool {
    let steps = download.resolve_due(NOW);
    matches!(steps[..], [Step::Piece(PIECE, PieceStep::Resolve), .., Step::Fill])
}

#[test]
fn leaf_hashes_name_the_liar_and_only_the_wrong_block_is_fetched_again() {
    let mut download = download();
    let mut honest = Plain::seed(0, &mut download);
    let mut liar = Plain::seed(1, &mut download);
    liar.lies_in_block = Some(1);
    fill_from_both(&mut download, PIECE, &mut honest, &mut liar);
    let failed = download.failed(PIECE);
    assert_eq!(failed.liar, None, "either may have lied");
    let range = HashRange { base_layer: 0, index: 0, length: 4, proof_layers: 1 };
    let request = HashRequest { root: [9; 32], range };
    let leaves = (vec![request], &[honest.key][..]);
    let suspected = download.suspect(NOW, PIECE, failed.digests, true, leaves);
    assert!(suspected.is_held);
    assert_eq!(suspected.ask, [(honest.key, request)]);
    assert!(download.resolve_due(NOW).is_empty());
    assert!(download.leaves_answered(liar.key, &request).is_none(), "it was not asked");
    let pieces = download.leaves_answered(honest.key, &request).expect("it was asked");
    assert_eq!(pieces.as_slice(), [PIECE]);
    let right = [0u8, 1, 2, 3].map(|byte| smart_ban::digest([&vec![byte; BLOCK_LEN as usize][..]]));
    let root = PieceRoot { hash: [0; 32], layer: 2, length: PIECE_LEN };
    assert_eq!(download.judge(PIECE, &root, 0, &right), [liar.address]);
    assert!(resolves(&download));
    let resolved = download.resolve(PIECE).expect("suspect");
    assert_eq!((resolved.failed_bytes, resolved.freed), (16384, 16384));
    assert!(!resolved.starts_anew);
    assert_eq!(download.picker.blocks_left(PIECE), 1);
}

#[test]
fn suspect_piece_without_an_answer_starts_anew() {
    let mut download = download();
    let mut first = Plain::seed(0, &mut download);
    let mut second = Plain::seed(1, &mut download);
    fill_from_both(&mut download, PIECE, &mut first, &mut second);
    let failed = download.failed(PIECE);
    let range = HashRange { base_layer: 0, index: 0, length: 4, proof_layers: 1 };
    let request = HashRequest { root: [9; 32], range };
    let leaves = (vec![request], &[first.key][..]);
    assert!(download.suspect(NOW, PIECE, failed.digests, true, leaves).is_held);
    assert!(download.suspects.contains(PIECE) && !resolves(&download));
    download.leaf_source_gone(first.key);
    assert!(resolves(&download), "no source is left to answer");
    let resolved = download.resolve(PIECE).expect("suspect");
    assert!(resolved.starts_anew);
    assert_eq!(download.held_bytes(), 0);
    assert_eq!(download.picker.blocks_left(PIECE), 4);
}

#[test]
fn without_memory_for_its_blocks_a_failed_piece_is_not_held() {
    let mut download = download();
    let mut first = Plain::seed(0, &mut download);
    let mut second = Plain::seed(1, &mut download);
    fill_from_both(&mut download, PIECE, &mut first, &mut second);
    let failed = download.failed(PIECE);
    let range = HashRange { base_layer: 0, index: 0, length: 4, proof_layers: 1 };
    let request = HashRequest { root: [9; 32], range };
    let leaves = (vec![request], &[first.key][..]);
    let suspected = download.suspect(NOW, PIECE, failed.digests, false, leaves);
    assert!(!suspected.is_held);
    assert_eq!(suspected.ask.len(), 1, "the answer tells who lied");
    assert!(!download.suspects.contains(PIECE));
}

#[test]
fn rate_limit_bounds_the_requests_at_each_source_and_leaves_one_to_each() {
    let limit = |limit, of| Terms::new(Share { limit, of }, false).limit;
    assert_eq!(limit(None, 5), usize::MAX);
    assert_eq!(limit(Some(1 << 20), 2), 96, "three seconds' worth for both");
    assert_eq!(limit(Some(10), 40), 1);
}

#[test]
fn failed_piece_comes_to_who_has_waited_longest_though_others_connect_anew() {
    let mut download = download();
    (1..PIECES).for_each(|piece| download.picker.mark_have(PieceIndex(piece)));
    let mut liar = Plain::seed(9, &mut download);
    for number in 0..4 {
        liar.state.pipeline.sent(block(PIECE, number), NOW);
        kept(liar.send(&mut download, block(PIECE, number), NOW));
    }
    download.failed(PIECE);
    download.forget(PIECE);
    download.source_gone(liar.key, &mut liar.state, true);
    // Those in the first slots let us download and send nothing. One is asked at once, and another comes in
    // its place whenever it is late.
    let mut silent: Vec<Plain> = (0..3).map(|number| Plain::seed(number, &mut download)).collect();
    let mut honest = Plain::seed(8, &mut download);
    let mut now = NOW;
    for _ in 0..5 {
        for source in download.underfilled(None) {
            if source == honest.key {
                if !honest.request(&mut download, now).is_empty() {
                    return;
                }
            } else if let Some(peer) = silent.iter_mut().find(|peer| peer.key == source) {
                peer.request(&mut download, now);
            }
        }
        now += Duration::from_secs(11);
        for (number, peer) in silent.iter_mut().enumerate() {
            if download.overdue(now, peer.key, &mut peer.state, true) {
                download.source_gone(peer.key, &mut peer.state, true);
                *peer = Plain::seed(number as u32, &mut download);
            }
        }
    }
    panic!("the honest source is never asked");
}
