//! What a peer says to have, said again and again: it costs us little, and no answer each time.

use bitswarm_core::ConnId;
use bitswarm_core::piece::PieceIndex;
use bitswarm_core::segments::Segments;
use bitswarm_core::wire::Message;
use bitswarm_core::wire::extension::Extension;

use super::scene::{PEER, Sample, Scene};

const PAIRS: u32 = 2_000;

fn encode(messages: impl IntoIterator<Item = Message>) -> Vec<u8> {
    let mut out = Segments::new();
    messages.into_iter().for_each(|message| message.encode(&mut out));
    out.take_all().to_vec()
}

/// Answers the requests among these messages, and all that follow.
fn serve_all(
    scene: &mut Scene,
    sample: &Sample,
    seed: ConnId,
    said: &[Message],
) -> Vec<PieceIndex> {
    let mut served = Vec::new();
    for message in said {
        if let Message::Request(block) = message {
            scene.say(seed, sample.piece(*block));
            served.push(block.piece);
        }
    }
    served.extend(scene.serve(sample, seed).into_iter().map(|block| block.piece));
    served
}

#[test]
fn claims_about_the_whole_torrent_count_once_and_the_seed_stays_a_source() {
    let sample = Sample::plain(1 << 20);
    let mut scene = Scene::leech(&sample);
    let seed = scene.greet_seed(&sample, PEER, true);
    let mut said = scene.heard(seed);
    let before = said.len();
    let flood = (0..PAIRS).flat_map(|_| [Message::HaveNone, Message::HaveAll]);
    scene.receive(seed, &encode(flood));
    said.extend(scene.heard(seed));
    let is_interest =
        |said: &&Message| matches!(said, Message::Interested | Message::NotInterested);
    let interest = said[before..].iter().filter(is_interest).count();
    assert!(interest <= 2, "{interest} changes of mind");
    // `Have none` was the last that counted. What it says of single pieces counts as ever.
    let haves = sample.metainfo.geometry().iter().map(Message::Have);
    scene.receive(seed, &encode(haves));
    serve_all(&mut scene, &sample, seed, &said);
    assert!(scene.has_finished());
}

#[test]
fn seed_that_lost_pieces_and_has_them_again_is_asked_for_all() {
    let sample = Sample::plain(1 << 20);
    let mut scene = Scene::leech(&sample);
    let seed = scene.greet_seed(&sample, PEER, true);
    let id = Extension::DontHave.our_id();
    let lost = |piece: u32| Message::Extended { id, payload: piece.to_be_bytes().to_vec().into() };
    let pieces = sample.metainfo.geometry().pieces();
    let said = scene.heard(seed);
    let flood = (0..PAIRS).flat_map(|at| {
        let piece = at % pieces;
        [lost(piece), Message::Have(PieceIndex(piece))]
    });
    scene.receive(seed, &encode(flood));
    scene.receive(seed, &encode((0..pieces / 2).map(lost)));
    let before = said.iter().filter(|said| matches!(said, Message::Request(_))).count();
    let new = serve_all(&mut scene, &sample, seed, &said).split_off(before);
    assert!(new.iter().all(|piece| piece.0 >= pieces / 2) && !scene.has_finished());
    let haves = sample.metainfo.geometry().iter().map(Message::Have);
    scene.receive(seed, &encode(haves));
    serve_all(&mut scene, &sample, seed, &[]);
    assert!(scene.has_finished());
}
