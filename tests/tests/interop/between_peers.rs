//! The harness alone: foreign clients and scripted peers reach each other in it, so a case that
//! fails with our client fails because of our client.

use std::time::Duration;

use bitswarm_tests::interop::client::Client::{Aria2, Libtorrent, Transmission};
use bitswarm_tests::interop::client::{Peer, Task};
use bitswarm_tests::interop::hostile::{Harm, Hostile};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::transfer::Whose;
use bitswarm_tests::interop::wire::Wire;
use bitswarm_tests::interop::{
    Case, Content, Creator, Lab, Need, Outcome, Torrent, Tracker, Transfer, libtorrent,
};

pub(crate) fn cases() -> Vec<Case> {
    let all =
        [Aria2.needs(), Libtorrent.needs(), Transmission.needs(), &[Need::TransmissionCreate]];
    vec![
        Case::new("harness_peers_reach_each_other", &all, peers_reach_each_other),
        Case::new(
            "harness_scripted_peer_is_understood_and_banned_by_libtorrent",
            &[Libtorrent.needs()],
            scripted_peer_is_understood_and_banned,
        ),
    ]
}

fn peers_reach_each_other(lab: &Lab) -> Outcome {
    let tree = || Content::awkward_tree(lab);
    Transfer::new(&[Transmission], &[Aria2], Creator::Transmission).run(lab, tree()?)?;
    let by_udp = Transfer::new(&[Aria2], &[Libtorrent], Creator::Libtorrent);
    Transfer { tracker: Whose::IndependentUdp, ..by_udp }.run(lab, tree()?)?;
    Transfer::new(&[Libtorrent], &[Transmission], Creator::Libtorrent)
        .run(lab, Content::odd_file(lab)?)
}

fn scripted_peer_is_understood_and_banned(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::odd_file(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Libtorrent, 64 << 10, &tracker.url())?;
    let hostile = Hostile::start(lab, &torrent, Harm::CorruptEveryBlock)?;
    tracker.add_peer(torrent.infohash, hostile.seat().addr());
    let root = lab.make_dir("download")?;
    let mut leech = libtorrent::Libtorrent::start(lab, &Task::leech(&torrent, &root))?;
    until("libtorrent to ban the scripted peer", Duration::from_secs(60), || {
        leech.process().ensure_running()?;
        Ok(leech.last("peer_ban"))
    })?;
    assert!(hostile.corrupt_blocks() > 0);

    let honest = libtorrent::Libtorrent::start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, honest.seat().addr());
    // Judged by what is on disk: with every piece there, libtorrent 2.1 has been seen to go on
    // without a word of being finished after hash failures like these.
    until("libtorrent to complete", Duration::from_secs(60), || {
        leech.process().ensure_running()?;
        Ok(torrent.verify(&root).iter().all(|valid| *valid).then_some(()))
    })?;
    leech.stop()?;
    torrent.content.compare(&root)?;

    let mut wire = Wire::connect(lab.seat().ip, honest.seat().addr(), &torrent)?
        .ok_or("the seed does not answer the scripted peer")?;
    let claimed = wire.claimed_pieces(torrent.piece_hashes.len(), Duration::from_secs(2))?;
    assert!(claimed.iter().all(|claimed| *claimed), "the seed claims only {claimed:?}");
    Ok(())
}
