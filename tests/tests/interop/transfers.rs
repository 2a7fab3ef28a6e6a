//! Our client and the others in both directions; the result is compared byte by byte.

use std::time::Duration;

use bitswarm_tests::interop::client::Client::{Aria2, Bitswarm, Libtorrent, Transmission};
use bitswarm_tests::interop::client::{Client, Peer, Task};
use bitswarm_tests::interop::process::Signal;
use bitswarm_tests::interop::transfer::Whose;
use bitswarm_tests::interop::{
    Case, Content, Creator, Lab, Outcome, Torrent, Tracker, Transfer, bitswarm,
};

const OURS: &[Client] = &[Bitswarm];
const FOREIGN: &[Client] = &[Transmission, Aria2, Libtorrent];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = one_file().into_iter().chain(many_files()).chain(large()).collect();
    cases.push(Case::new(
        "download_from_named_peer_without_a_tracker",
        &[],
        download_from_named_peer_without_a_tracker,
    ));
    cases.push(Case::new(
        "tracker_hears_started_completed_and_stopped",
        &[],
        tracker_hears_started_completed_and_stopped,
    ));
    cases
}

fn case(
    name: &'static str,
    transfer: Transfer<'static>,
    content: fn(&Lab) -> Outcome<Content>,
) -> Case {
    let needs = transfer.needs();
    Case::new(name, &[&needs], move |lab| transfer.run(lab, content(lab)?))
}

/// One file: each client alone, and all at once, both ways.
fn one_file() -> Vec<Case> {
    let get = |from| Transfer::new(from, OURS, Creator::Transmission);
    let give = |to| Transfer::new(OURS, to, Creator::Bitswarm);
    let one = Content::odd_file;
    vec![
        case("download_from_bitswarm", give(OURS), one),
        case("download_from_transmission", get(&[Transmission]), one),
        case("download_from_aria2", get(&[Aria2]), one),
        case("download_from_libtorrent", get(&[Libtorrent]), one),
        case("download_from_all_three_at_once", get(FOREIGN), one),
        case("seed_to_transmission", give(&[Transmission]), one),
        case("seed_to_aria2", give(&[Aria2]), one),
        case("seed_to_libtorrent", give(&[Libtorrent]), one),
        case("seed_to_all_three_at_once", give(FOREIGN), one),
    ]
}

/// A tree with empty files, odd sizes and names outside ASCII: each client both ways, with
/// torrents of every creator and with our own tracker. (aria2 asks UDP trackers only through its
/// DHT, which is off.)
fn many_files() -> Vec<Case> {
    let tree = Content::awkward_tree;
    let transfer = |from, to, creator, tracker| Transfer {
        piece_length: 32 << 10,
        tracker,
        ..Transfer::new(from, to, creator)
    };
    use Whose::{BitswarmHttp, BitswarmUdp, Independent, IndependentUdp};
    vec![
        case(
            "download_tree_from_transmission",
            transfer(&[Transmission], OURS, Creator::Bitswarm, BitswarmUdp),
            tree,
        ),
        case(
            "download_tree_from_aria2",
            transfer(&[Aria2], OURS, Creator::Transmission, BitswarmHttp),
            tree,
        ),
        case(
            "download_tree_from_libtorrent",
            transfer(&[Libtorrent], OURS, Creator::Libtorrent, IndependentUdp),
            tree,
        ),
        case(
            "download_tree_of_hybrid_torrent_with_pad_files",
            transfer(&[Libtorrent], OURS, Creator::LibtorrentHybrid, BitswarmHttp),
            tree,
        ),
        case(
            "seed_tree_to_transmission",
            transfer(OURS, &[Transmission], Creator::Transmission, BitswarmUdp),
            tree,
        ),
        case(
            "seed_tree_to_aria2",
            transfer(OURS, &[Aria2], Creator::Libtorrent, BitswarmHttp),
            tree,
        ),
        case(
            "seed_tree_to_libtorrent",
            transfer(OURS, &[Libtorrent], Creator::Bitswarm, Independent),
            tree,
        ),
        case(
            "our_tracker_serves_foreign_clients",
            transfer(&[Libtorrent], &[Aria2, Transmission], Creator::Libtorrent, BitswarmHttp),
            tree,
        ),
        case(
            "our_udp_tracker_serves_foreign_clients",
            transfer(&[Libtorrent], &[Transmission], Creator::Libtorrent, BitswarmUdp),
            tree,
        ),
    ]
}

/// 1 GiB in pieces of 1 MiB, once each way.
fn large() -> Vec<Case> {
    let gibibyte = |lab: &Lab| Content::single(lab, "gibibyte", 1 << 30);
    let transfer = |from, to| Transfer {
        piece_length: 1 << 20,
        within: Duration::from_secs(300),
        ..Transfer::new(from, to, Creator::Libtorrent)
    };
    vec![
        case("download_gibibyte_from_libtorrent", transfer(&[Libtorrent], OURS), gibibyte),
        case("seed_gibibyte_to_libtorrent", transfer(OURS, &[Libtorrent]), gibibyte),
    ]
}

fn download_from_named_peer_without_a_tracker(lab: &Lab) -> Outcome {
    // Nobody listens there.
    let dead = format!("http://{}/announce", lab.seat().addr());
    let torrent = Torrent::create(lab, Content::odd_file(lab)?, Creator::Bitswarm, 1 << 17, &dead)?;
    let seed = Client::any_seed().start(lab, &Task::seed(&torrent))?;
    let root = lab.make_dir("download")?;
    let task = Task::leech(&torrent, &root);
    let peer = seed.seat().addr().to_string();
    let mut ours = bitswarm::Bitswarm::start_with(lab, lab.seat(), &task, &["--peer", &peer])?;
    assert_eq!(ours.process().exit_code(Duration::from_secs(60))?, 0);
    torrent.content.compare(&root)
}

fn tracker_hears_started_completed_and_stopped(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::odd_file(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let total = torrent.total();
    let mut seed = bitswarm::Bitswarm::start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let root = lab.make_dir("download")?;
    let mut leech = bitswarm::Bitswarm::start(lab, &Task::leech(&torrent, &root))?;
    assert_eq!(leech.process().exit_code(Duration::from_secs(60))?, 0);
    seed.process().signal(Signal::INT)?;
    assert_eq!(seed.process().exit_code(Duration::from_secs(10))?, 0, "a seed stopped by Ctrl-C");

    let told = |port| -> Vec<(String, Option<u64>)> {
        let history = tracker.history(port).into_iter().filter(|told| !told.event.is_empty());
        history.map(|told| (told.event, told.left)).collect()
    };
    let event = |name: &str, left| (name.to_owned(), Some(left));
    let whole = [event("started", total), event("completed", 0), event("stopped", 0)];
    assert_eq!(told(leech.seat().port), whole);
    assert_eq!(told(seed.seat().port), [event("started", 0), event("stopped", 0)]);

    let leech_history = tracker.history(leech.seat().port);
    let last = leech_history.last().ok_or("no announce")?;
    assert!(last.downloaded >= Some(total), "{last:?}");
    for told in leech_history {
        assert_eq!(told.infohash, torrent.infohash);
        assert_eq!(told.peer.ip(), leech.seat().ip, "announces come from the bound address");
        assert!(told.compact);
    }
    let seed_history = tracker.history(seed.seat().port);
    assert!(seed_history.last().ok_or("no announce")?.uploaded >= Some(total));
    Ok(())
}
