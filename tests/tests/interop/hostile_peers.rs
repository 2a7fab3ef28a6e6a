//! Peers that lie, next to an honest one: the download completes, the liar is banned if it can be
//! proved, and the honest one never is.

use std::collections::BTreeSet;
use std::time::Duration;

use bitswarm_tests::interop::client::{Client, Peer, Task};
use bitswarm_tests::interop::hostile::{Harm, Hostile};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::{Bitswarm, Case, Content, Creator, Lab, Outcome, Torrent, Tracker};
use serde_json::Value;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("corrupting_seeder_is_banned_and_the_honest_is_not", &[], |lab| {
            corrupting_seeder_is_banned(lab, Harm::CorruptEveryBlock)
        }),
        Case::new("seeder_corrupting_some_blocks_is_banned_and_the_honest_is_not", &[], |lab| {
            corrupting_seeder_is_banned(lab, Harm::CorruptFirstBlocks)
        }),
        Case::new("misbehaving_peers_do_not_stop_a_download", &[], misbehaving_peers),
    ]
}

fn corrupting_seeder_is_banned(lab: &Lab, harm: Harm) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "wanted.bin", 12_345_678)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 17, &tracker.url())?;
    let liar = Hostile::start(lab, &torrent, harm)?;
    tracker.add_peer(torrent.infohash, liar.seat().addr());
    // Slow enough that the liar is asked too.
    let honest = Client::any_seed().start(lab, &Task::seed(&torrent).up(1_500_000))?;
    tracker.add_peer(torrent.infohash, honest.seat().addr());

    let root = lab.make_dir("download")?;
    let task = Task::leech(&torrent, &root);
    let seat = lab.seat();
    let mut ours = Bitswarm::start_with(lab, seat, &task, &["--seed"])?;
    let banned = until("the liar to be banned", Duration::from_secs(60), || {
        ours.process().ensure_running()?;
        let banned = banned_addresses(&ours)?;
        Ok((!banned.is_empty()).then_some(banned))
    })?;
    assert!(liar.corrupt_blocks() > 0, "banned before it did anything");
    let only_the_liar = BTreeSet::from([liar.seat().ip.to_string()]);
    assert_eq!(banned, only_the_liar);
    // Behind one address may be many people: a ban is of one port until another has offended, too.
    assert!(liar.is_welcome_at(seat)?, "another peer at the liar's address is banned with it");

    until("the download to complete", Duration::from_secs(60), || {
        ours.process().ensure_running()?;
        Ok(torrent.verify(&root).iter().all(|valid| *valid).then_some(()))
    })?;
    assert_eq!(banned_addresses(&ours)?, only_the_liar);
    let at = liar.seat().addr().to_string();
    let meets_it = |line: &Value| line["event"] == "peer_connected" && line["addr"] == at.as_str();
    let met = ours.json()?.iter().filter(|line| meets_it(line)).count();
    assert_eq!(met, 1, "the liar is dialled again after its ban");
    ours.stop()?;
    torrent.content.compare(&root)
}

/// Everything that can go wrong on the wire at once, and one honest seed.
fn misbehaving_peers(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "wanted.bin", 12_345_678)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 17, &tracker.url())?;
    let harms = [
        Harm::HugeMessage,
        Harm::Garbage,
        Harm::HaveOutOfRange,
        Harm::Silence,
        Harm::UnrequestedBlocks,
        Harm::CorruptFirstBlocks,
    ];
    let mut hostile = Vec::new();
    for harm in harms {
        let peer = Hostile::start(lab, &torrent, harm)?;
        tracker.add_peer(torrent.infohash, peer.seat().addr());
        hostile.push((harm, peer));
    }
    let honest = Client::any_seed().start(lab, &Task::seed(&torrent).up(1_500_000))?;
    tracker.add_peer(torrent.infohash, honest.seat().addr());

    let root = lab.make_dir("download")?;
    let mut ours = Bitswarm::start(lab, &Task::leech(&torrent, &root))?;
    assert_eq!(ours.process().exit_code(Duration::from_secs(120))?, 0);
    torrent.content.compare(&root)?;
    for (harm, peer) in &hostile {
        assert!(peer.handshakes() > 0, "{harm:?} was never met");
    }
    let honest = honest.seat().ip.to_string();
    assert!(!banned_addresses(&ours)?.contains(&honest), "the honest seed was banned");
    Ok(())
}

/// The addresses, without ports, that our client says it has banned.
fn banned_addresses(ours: &Bitswarm) -> Outcome<BTreeSet<String>> {
    let lines = ours.json()?;
    let banned = lines.iter().filter(|line| line["event"] == "peer_banned");
    banned
        .map(|line| {
            let addr = line["addr"].as_str().ok_or("a ban without an address")?;
            Ok(addr.rsplit_once(':').map_or(addr, |(ip, _)| ip).to_owned())
        })
        .collect()
}
