//! A hybrid whose hashes of v1 and v2 are of different content: no peer that sends either is to blame.

use bitswarm_core::TorrentNotice;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Protocol;

use super::scene::{PEER, Sample, Scene};

/// A torrent of one piece whose hash of v1 is of something else.
fn lying() -> Sample {
    let sample = Sample::new(Protocol::Hybrid, 1 << 15, &[(30_000, false)]);
    let mut info = sample.metainfo.info_bytes().to_vec();
    let key = b"6:pieces20:";
    let at = info.windows(key.len()).position(|part| part == key).expect("hashes of v1");
    info[at + key.len()] ^= 1;
    let torrent = [b"d4:info", &info[..], b"12:piece layersdee"].concat();
    let metainfo = Metainfo::parse(&torrent).expect("valid");
    Sample { metainfo, ..sample }
}

#[test]
fn hybrid_that_contradicts_itself_is_stopped_and_its_seeds_are_not_banned() {
    let sample = lying();
    let mut scene = Scene::leech(&sample);
    let seed = scene.greet_seed(&sample, PEER, true);
    scene.serve(&sample, seed);
    let is_banned = |what: &&TorrentNotice| matches!(what, TorrentNotice::PeerBanned { .. });
    assert!(!scene.notices().iter().any(is_banned), "{:?}", scene.notices());
    let is_told = |what: &&TorrentNotice| matches!(what, TorrentNotice::MetadataUnusable { .. });
    assert!(scene.notices().iter().any(is_told), "{:?}", scene.notices());
    assert!(scene.is_closed(seed) && !scene.has_finished());
}
