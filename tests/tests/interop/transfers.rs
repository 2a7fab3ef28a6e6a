//! Our client and the others in both directions; the result is compared byte by byte.

use std::time::Duration;

use bitswarm_tests::interop::client::Client::{Aria2, Bitswarm, Libtorrent, Transmission};
use bitswarm_tests::interop::client::{Client, Peer, Runtime, Task};
use bitswarm_tests::interop::content::compare_files;
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::transfer::Whose;
use bitswarm_tests::interop::{
    Case, Content, Creator, Lab, Outcome, Process, Torrent, Tracker, Transfer, bitswarm,
};

const FOREIGN: &[Client] = &[Transmission, Aria2, Libtorrent];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = large();
    for runtime in Runtime::ALL {
        cases.extend(one_file(runtime));
        cases.extend(many_files(runtime));
    }
    cases.extend(thousands_of_files());
    cases.extend(between_runtimes());
    cases.extend(tracker_for_others());
    cases.push(Case::new(
        "download_from_named_peer_without_a_tracker",
        &[],
        download_from_named_peer_without_a_tracker,
    ));
    cases.push(Case::new("two_torrents_at_once_in_one_process", &[], two_torrents_at_once));
    cases.push(Case::new(
        "download_goes_on_with_another_seed_when_the_first_is_gone",
        &[],
        download_goes_on_with_another_seed,
    ));
    cases
}

/// What a runtime is called in the name of a case.
fn name_of(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Mio => "mio",
        Runtime::AsyncStd => "async_std",
    }
}

/// Our client on a runtime.
fn ours(runtime: Runtime) -> &'static [Client] {
    match runtime {
        Runtime::Mio => &[Bitswarm(Runtime::Mio)],
        Runtime::AsyncStd => &[Bitswarm(Runtime::AsyncStd)],
    }
}

fn case(
    name: impl Into<String>,
    transfer: Transfer<'static>,
    content: fn(&Lab) -> Outcome<Content>,
) -> Case {
    let needs = transfer.needs();
    Case::new(name, &[&needs], move |lab| transfer.run(lab, content(lab)?))
}

/// One file: each client alone, and all at once, both ways.
fn one_file(runtime: Runtime) -> Vec<Case> {
    let get = |from| Transfer::new(from, ours(runtime), Creator::Transmission);
    let give = |to| Transfer::new(ours(runtime), to, Creator::Bitswarm);
    let case = |what: &str, transfer| {
        case(format!("{what}_on_{}", name_of(runtime)), transfer, Content::odd_file)
    };
    vec![
        case("download_from_transmission", get(&[Transmission])),
        case("download_from_aria2", get(&[Aria2])),
        case("download_from_libtorrent", get(&[Libtorrent])),
        case("download_from_all_three_at_once", get(FOREIGN)),
        case("seed_to_transmission", give(&[Transmission])),
        case("seed_to_aria2", give(&[Aria2])),
        case("seed_to_libtorrent", give(&[Libtorrent])),
        case("seed_to_all_three_at_once", give(FOREIGN)),
    ]
}

/// A tree with empty files, odd sizes and names outside ASCII: each client both ways, with
/// torrents of every creator and with our own tracker. (aria2 asks UDP trackers only through its
/// DHT, which is off.)
fn many_files(runtime: Runtime) -> Vec<Case> {
    use Whose::{BitswarmHttp, BitswarmUdp, Independent, IndependentUdp};
    let case = |what: &str, from, to, creator, tracker| {
        let transfer =
            Transfer { piece_length: 32 << 10, tracker, ..Transfer::new(from, to, creator) };
        case(format!("{what}_on_{}", name_of(runtime)), transfer, Content::awkward_tree)
    };
    let get = |what, from, creator, tracker| case(what, from, ours(runtime), creator, tracker);
    let give = |what, to, creator, tracker| case(what, ours(runtime), to, creator, tracker);
    vec![
        get("download_tree_from_transmission", &[Transmission], Creator::Bitswarm, BitswarmUdp),
        get("download_tree_from_aria2", &[Aria2], Creator::Transmission, BitswarmHttp),
        get("download_tree_from_libtorrent", &[Libtorrent], Creator::Libtorrent, IndependentUdp),
        get(
            "download_tree_of_hybrid_torrent_with_pad_files",
            &[Libtorrent],
            Creator::LibtorrentHybrid,
            BitswarmHttp,
        ),
        get(
            "download_tree_of_v2_from_libtorrent",
            &[Libtorrent],
            Creator::LibtorrentV2,
            BitswarmHttp,
        ),
        give("seed_tree_of_v2_to_libtorrent", &[Libtorrent], Creator::BitswarmV2, Independent),
        // Transmission 3.00 reads no hybrids, and aria2 1.36 takes them for another torrent, whoever
        // makes them: neither knows empty keys.
        give(
            "seed_tree_of_hybrid_to_libtorrent",
            &[Libtorrent],
            Creator::BitswarmHybrid,
            BitswarmHttp,
        ),
        give("seed_tree_to_transmission", &[Transmission], Creator::Transmission, BitswarmUdp),
        give("seed_tree_to_aria2", &[Aria2], Creator::Libtorrent, BitswarmHttp),
        give("seed_tree_to_libtorrent", &[Libtorrent], Creator::Bitswarm, Independent),
    ]
}

/// Thousands of files in torrents of v2, where each begins with a piece of its own, both ways.
fn thousands_of_files() -> Vec<Case> {
    let case = |what: &str, from, to, creator| {
        let transfer = Transfer {
            piece_length: 16 << 10,
            within: Duration::from_secs(300),
            ..Transfer::new(from, to, creator)
        };
        case(format!("{what}_thousands_of_files"), transfer, Content::thousands_of_files)
    };
    let (lt, us): (&[Client], _) = (&[Libtorrent], ours(Runtime::Mio));
    vec![
        case("download_v2_of", lt, us, Creator::LibtorrentV2),
        case("download_hybrid_of", lt, us, Creator::LibtorrentHybrid),
        case("seed_v2_of", us, lt, Creator::BitswarmV2),
        case("seed_hybrid_of", us, lt, Creator::BitswarmHybrid),
    ]
}

/// Each of our runtimes from each.
fn between_runtimes() -> Vec<Case> {
    let pairs = Runtime::ALL.into_iter().flat_map(|from| Runtime::ALL.map(|to| (from, to)));
    let case = |(from, to): (Runtime, Runtime)| {
        let name = format!("download_from_bitswarm_on_{}_on_{}", name_of(from), name_of(to));
        let transfer = Transfer::new(ours(from), ours(to), Creator::Bitswarm);
        case(name, transfer, Content::odd_file)
    };
    pairs.map(case).collect()
}

/// Foreign clients that meet at our tracker.
fn tracker_for_others() -> Vec<Case> {
    let transfer = |to, tracker| Transfer {
        piece_length: 32 << 10,
        tracker,
        ..Transfer::new(&[Libtorrent], to, Creator::Libtorrent)
    };
    vec![
        case(
            "our_tracker_serves_foreign_clients",
            transfer(&[Aria2, Transmission], Whose::BitswarmHttp),
            Content::awkward_tree,
        ),
        case(
            "our_udp_tracker_serves_foreign_clients",
            transfer(&[Transmission], Whose::BitswarmUdp),
            Content::awkward_tree,
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
        case(
            "download_gibibyte_from_libtorrent",
            transfer(&[Libtorrent], ours(Runtime::Mio)),
            gibibyte,
        ),
        case("seed_gibibyte_to_libtorrent", transfer(ours(Runtime::Mio), &[Libtorrent]), gibibyte),
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

fn two_torrents_at_once(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let create =
        |content| Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url());
    let first = create(Content::odd_file(lab)?)?;
    let second = create(Content::awkward_tree(lab)?)?;
    let seat = lab.seat();
    let mut seed = bitswarm::command(lab);
    // Each torrent is looked for under its own name in one directory.
    let data = lab.make_dir("data")?;
    for torrent in [&first, &second] {
        std::fs::rename(torrent.content.path(), data.join(torrent.content.name()))?;
    }
    seed.arg("seed").args([&first.path, &second.path]).arg("--data").arg(&data);
    let mut seed = Process::spawn(lab, "seed-two", seed.args(bitswarm::quiet_network(seat)))?;

    let root = lab.make_dir("download")?;
    let mut leech = bitswarm::command(lab);
    leech.arg("download").args([&first.path, &second.path]).arg("-o").arg(&root);
    let mut leech = Process::spawn(lab, "two", leech.args(bitswarm::quiet_network(lab.seat())))?;
    assert_eq!(leech.exit_code(Duration::from_secs(60))?, 0);
    seed.ensure_running()?;
    for torrent in [&first, &second] {
        assert!(torrent.verify(&root).iter().all(|valid| *valid));
        for (path, _) in torrent.content.files() {
            compare_files(&data.join(path), &root.join(path))?;
        }
    }
    Ok(())
}

fn download_goes_on_with_another_seed(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "file.bin", 12_345_678)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 16, &tracker.url())?;
    let mut first = Client::any_seed().start(lab, &Task::seed(&torrent).up(2_000_000))?;
    tracker.add_peer(torrent.infohash, first.seat().addr());
    let root = lab.make_dir("download")?;
    let mut ours = bitswarm::Bitswarm::start(lab, &Task::leech(&torrent, &root))?;
    until("a third of the download", Duration::from_secs(60), || {
        let valid = torrent.verify(&root).iter().filter(|valid| **valid).count();
        Ok((valid > torrent.piece_hashes.len() / 3).then_some(()))
    })?;
    first.process().kill();
    assert!(!ours.is_complete()?, "the first seed was gone too late");

    let second = Client::any_seed().start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, second.seat().addr());
    assert_eq!(ours.process().exit_code(Duration::from_secs(60))?, 0);
    torrent.content.compare(&root)
}
