//! Magnet links and peer exchange with other clients: the metadata comes from peers, both ways.

use std::path::Path;
use std::time::{Duration, Instant};

use bitswarm_tests::interop::client::Client::{Aria2, Libtorrent, Transmission};
use bitswarm_tests::interop::client::{Client, Peer, Runtime, Task};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::transfer::Whose;
use bitswarm_tests::interop::{
    Case, Content, Creator, Lab, Outcome, Torrent, Tracker, Transfer, bitswarm, libtorrent,
};

const BITSWARM: Client = Client::Bitswarm(Runtime::Mio);
const OURS: &[Client] = &[BITSWARM];
const FOREIGN: &[Client] = &[Transmission, Aria2, Libtorrent];

pub(crate) fn cases() -> Vec<Case> {
    let get =
        |from| Transfer { by_magnet: true, ..Transfer::new(from, OURS, Creator::Transmission) };
    let give = |to| Transfer { by_magnet: true, ..Transfer::new(OURS, to, Creator::Bitswarm) };
    let by_udp = |transfer| Transfer { tracker: Whose::BitswarmUdp, ..transfer };
    let lt = [Libtorrent.needs()];
    vec![
        case("magnet_from_bitswarm", by_udp(give(OURS))),
        case("magnet_from_transmission", get(&[Transmission])),
        case("magnet_from_aria2", get(&[Aria2])),
        case("magnet_from_libtorrent", get(&[Libtorrent])),
        case("magnet_from_all_three_at_once", get(FOREIGN)),
        case("magnet_to_transmission", give(&[Transmission])),
        case("magnet_to_aria2", give(&[Aria2])),
        case("magnet_to_libtorrent", give(&[Libtorrent])),
        Case::new("magnet_of_v2_to_libtorrent", &lt, |lab| {
            v2_link_is_served(lab, Creator::BitswarmV2)
        }),
        Case::new("magnet_of_v2_of_a_hybrid_to_libtorrent", &lt, |lab| {
            v2_link_is_served(lab, Creator::BitswarmHybrid)
        }),
        Case::new("magnet_of_v2_from_bitswarm", &[], |lab| {
            v2_link_is_followed(lab, BITSWARM, Creator::BitswarmV2, Link::V2)
        }),
        Case::new("magnet_of_v2_from_libtorrent", &lt, |lab| {
            v2_link_is_followed(lab, Libtorrent, Creator::LibtorrentV2, Link::V2)
        }),
        Case::new("magnet_of_v2_of_a_hybrid_from_libtorrent", &lt, |lab| {
            v2_link_is_followed(lab, Libtorrent, Creator::LibtorrentHybrid, Link::V2)
        }),
        Case::new("magnet_of_v1_of_a_v2_hybrid_from_libtorrent", &lt, |lab| {
            v2_link_is_followed(lab, Libtorrent, Creator::LibtorrentHybrid, Link::V1)
        }),
        Case::new("magnet_of_v1_and_v2_of_a_hybrid_from_libtorrent", &lt, |lab| {
            v2_link_is_followed(lab, Libtorrent, Creator::BitswarmHybrid, Link::Both)
        }),
        Case::new("metadata_command_writes_the_piece_layers_of_v2", &lt, metadata_of_v2_is_whole),
        Case::new("magnet_takes_less_than_a_second", &[], magnet_takes_less_than_a_second),
        Case::new("metadata_command_writes_the_torrent", &[], metadata_command_writes_the_torrent),
        Case::new("shared_path_is_downloaded_by_its_link", &[], shared_path_is_downloaded),
        Case::new("magnet_is_taken_up_again_after_a_kill", &[], magnet_is_taken_up_again),
        Case::new("pex_from_libtorrent_leads_us_to_a_seed", &lt, |lab| {
            pex_leads_to_a_seed(lab, Libtorrent, BITSWARM)
        }),
        Case::new("pex_from_us_leads_libtorrent_to_a_seed", &lt, |lab| {
            pex_leads_to_a_seed(lab, BITSWARM, Libtorrent)
        }),
    ]
}

fn case(name: &'static str, transfer: Transfer<'static>) -> Case {
    let needs = transfer.needs();
    Case::new(name, &[&needs], move |lab| transfer.run(lab, Content::awkward_tree(lab)?))
}

/// Which infohashes of a hybrid a link names.
#[derive(Clone, Copy, PartialEq)]
enum Link {
    V1,
    V2,
    Both,
}

/// Files of which one has a layer of two runs, some a layer of one, some none.
fn content_of_v2(lab: &Lab) -> Outcome<Content> {
    let files = [
        ("a byte.bin", 1),
        ("a piece.bin", 32 << 10),
        ("empty.bin", 0),
        ("large/611 pieces.bin", 20_000_001),
        ("large/three pieces.bin", 65_537),
        ("large/two pieces.bin", 40_000),
    ];
    Content::make(lab, "v2", &files)
}

/// We know a link and a peer: metadata and piece layers come from it, then the content.
fn v2_link_is_followed(lab: &Lab, from: Client, creator: Creator, link: Link) -> Outcome {
    let content = content_of_v2(lab)?;
    let torrent = Torrent::create(lab, content, creator, 32 << 10, "http://127.0.0.1:1/a")?;
    let mut seed = from.start(lab, &Task::seed(&torrent))?;
    let root = lab.make_dir("download")?;
    let peer = format!("&x.pe={}", seed.seat().addr());
    let task = Task::leech(&torrent, &root);
    let task = match link {
        Link::V1 => task.by_magnet(&peer),
        Link::V2 => task.by_magnet_of_v2(&peer),
        Link::Both => {
            let of_v2 = task.clone().by_magnet_of_v2("");
            let xt = of_v2.magnet.as_deref().and_then(|link| link.strip_prefix("magnet:?"));
            task.by_magnet(&format!("&{}{peer}", xt.ok_or("no link")?))
        }
    };
    let mut leech = BITSWARM.start(lab, &task)?;
    until("the download", Duration::from_secs(60), || {
        seed.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    leech.stop()?;
    torrent.content.compare(&root)
}

/// `bitswarm metadata` of a link with the hash of v2 alone writes a .torrent file that has the piece
/// layers: libtorrent takes it, and so do we.
fn metadata_of_v2_is_whole(lab: &Lab) -> Outcome {
    let content = content_of_v2(lab)?;
    let torrent =
        Torrent::create(lab, content, Creator::BitswarmV2, 32 << 10, "http://127.0.0.1:1/a")?;
    let seed = Libtorrent.start(lab, &Task::seed(&torrent))?;
    let peer = format!("&x.pe={}", seed.seat().addr());
    let link = Task::leech(&torrent, lab.path()).by_magnet_of_v2(&peer);
    let out = lab.path().join("fetched.torrent");
    let seat = lab.seat();
    let mut command = bitswarm::command(lab);
    command.arg("metadata").arg(link.source()).arg("-o").arg(&out);
    command.args(["--timeout", "20s", "--no-dht"]);
    command.args(["--bind", &seat.ip.to_string(), "--port", &seat.port.to_string()]);
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let verify = bitswarm::command(lab)
        .arg("verify")
        .arg(&out)
        .arg("--data")
        .arg(torrent.content.root())
        .output()?;
    if !verify.status.success() {
        return Err(String::from_utf8_lossy(&verify.stderr).into_owned().into());
    }
    let loaded = libtorrent::script().arg("load").arg(&out).output()?;
    let said: serde_json::Value = serde_json::from_slice(&loaded.stdout)?;
    let hash = torrent.infohash_v2.ok_or("no v2")?;
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(said["event"], "loaded", "{said}");
    assert_eq!(said["v2"], hash);
    Ok(())
}

/// libtorrent knows nothing but the infohash of v2: it gets the metadata, which has no piece layers,
/// and then those by hash requests (BEP 52), of the large file in two parts, each with its proof.
fn v2_link_is_served(lab: &Lab, creator: Creator) -> Outcome {
    let content = content_of_v2(lab)?;
    let torrent = Torrent::create(lab, content, creator, 32 << 10, "http://127.0.0.1:1/a")?;
    let mut seed = BITSWARM.start(lab, &Task::seed(&torrent))?;
    let root = lab.make_dir("download")?;
    let task =
        Task::leech(&torrent, &root).by_magnet_of_v2(&format!("&x.pe={}", seed.seat().addr()));
    let mut leech = libtorrent::Libtorrent::start(lab, &task.telling_hashes())?;
    until("the download", Duration::from_secs(60), || {
        seed.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    leech.stop()?;
    // It could do without, and compare the whole tree with its root in the end.
    let (hashes, rejects) = (leech.count("hashes"), leech.count("hash_reject"));
    println!("libtorrent got {hashes} messages with hashes and {rejects} rejects");
    if hashes < 4 {
        return Err(format!("{hashes} messages with hashes for four runs").into());
    }
    torrent.content.compare(&root)
}

/// 16 MiB from one peer that a tracker in the link knows: nothing waits for a tick.
fn magnet_takes_less_than_a_second(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "sixteen", 16 << 20)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 256 << 10, &tracker.url())?;
    let mut seed = BITSWARM.start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let root = lab.make_dir("download")?;
        let escaped = tracker.url().replace(':', "%3A").replace('/', "%2F");
        let task = Task::leech(&torrent, &root).by_magnet(&format!("&tr={escaped}"));
        let began = Instant::now();
        let mut leech = BITSWARM.start(lab, &task)?;
        until("the download", Duration::from_secs(30), || {
            seed.process().ensure_running()?;
            Ok(leech.is_complete()?.then_some(()))
        })?;
        fastest = fastest.min(began.elapsed());
        torrent.content.compare(&root)?;
    }
    println!("16 MiB by magnet link, process and all: {fastest:?}");
    match fastest < Duration::from_secs(1) {
        true => Ok(()),
        false => Err(format!("it took {fastest:?}").into()),
    }
}

/// `bitswarm metadata` gives a .torrent file that describes the same.
fn metadata_command_writes_the_torrent(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::awkward_tree(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 32 << 10, &tracker.url())?;
    let seed = BITSWARM.start(lab, &Task::seed(&torrent))?;
    let link =
        Task::leech(&torrent, lab.path()).by_magnet(&format!("&x.pe={}", seed.seat().addr()));
    let out = lab.path().join("fetched.torrent");
    let seat = lab.seat();
    let mut command = bitswarm::command(lab);
    command.arg("metadata").arg(link.source()).arg("-o").arg(&out).args([
        "--timeout",
        "20s",
        "--no-dht",
    ]);
    command.args(["--bind", &seat.ip.to_string(), "--port", &seat.port.to_string()]);
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let info = |path: &Path| -> Outcome<serde_json::Value> {
        let output = bitswarm::command(lab).args(["info", "--json"]).arg(path).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let (fetched, original) = (info(&out)?, info(&torrent.path)?);
    for key in ["name", "infohash_v1", "pieces", "total_size", "files"] {
        assert_eq!(fetched[key], original[key], "{key}");
    }
    Ok(())
}

/// `bitswarm share` prints a link by which the content can be had.
fn shared_path_is_downloaded(lab: &Lab) -> Outcome {
    let content = Content::awkward_tree(lab)?;
    let torrent =
        Torrent::create(lab, content, Creator::Bitswarm, 32 << 10, "http://127.0.0.1:1/a")?;
    let path = torrent.content.path();
    let seat = lab.seat();
    let mut command = bitswarm::command(lab);
    command.arg("share").arg(&path).args(bitswarm::quiet_network(seat));
    let mut share = bitswarm_tests::interop::Process::spawn(lab, "bitswarm-share", &command)?;
    let link = until("the link", Duration::from_secs(20), || {
        share.ensure_running()?;
        Ok(share.stdout().lines().find(|line| line.starts_with("magnet:?")).map(str::to_owned))
    })?;
    let root = lab.make_dir("download")?;
    let mut task = Task::leech(&torrent, &root);
    task.magnet = Some(link);
    let mut leech = BITSWARM.start(lab, &task)?;
    until("the download", Duration::from_secs(30), || Ok(leech.is_complete()?.then_some(())))?;
    torrent.content.compare(&root)
}

/// A magnet download that is killed goes on without asking for the metadata again.
fn magnet_is_taken_up_again(lab: &Lab) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "killed", 8 << 20)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 64 << 10, &tracker.url())?;
    let seed = BITSWARM.start(lab, &Task::seed(&torrent).up(2_000_000))?;
    let root = lab.make_dir("download")?;
    let link = format!("&x.pe={}", seed.seat().addr());
    let task = Task::leech(&torrent, &root).by_magnet(&link);
    let seat = lab.seat();
    let mut leech = bitswarm::Bitswarm::start_with(lab, seat, &task, &[])?;
    until("the metadata", Duration::from_secs(20), || {
        Ok(leech.json()?.iter().find(|line| line["event"] == "metadata").map(drop))
    })?;
    leech.process().signal(bitswarm_tests::interop::process::Signal::KILL)?;
    leech.process().wait(Duration::from_secs(5))?;
    let mut again = bitswarm::Bitswarm::start_with(lab, seat, &task, &[])?;
    until("the download", Duration::from_secs(60), || Ok(again.is_complete()?.then_some(())))?;
    torrent.content.compare(&root)
}

/// A peer that sends next to nothing tells another, by peer exchange alone, of a seed.
fn pex_leads_to_a_seed(lab: &Lab, between: Client, learns: Client) -> Outcome {
    let tracker = Tracker::start(lab)?;
    let content = Content::single(lab, "exchanged", 4 << 20)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 64 << 10, &tracker.url())?;
    let mut seed = BITSWARM.start(lab, &Task::seed(&torrent).with_pex())?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let elsewhere = lab.make_dir("between")?;
    let task = Task::leech(&torrent, &elsewhere).with_pex().up(5_000);
    // It goes on when it is complete, as seeds do, at the same pace.
    let mut broker: Box<dyn Peer> = match between {
        Client::Bitswarm(_) => {
            Box::new(bitswarm::Bitswarm::start_with(lab, lab.seat(), &task, &["--seed"])?)
        }
        _ => between.start(lab, &task)?,
    };
    let root = lab.make_dir("download")?;
    let link = format!("&x.pe={}", broker.seat().addr());
    let task = Task::leech(&torrent, &root).by_magnet(&link).with_pex();
    let mut leech = learns.start(lab, &task)?;
    until("the download", Duration::from_secs(150), || {
        seed.process().ensure_running()?;
        broker.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    torrent.content.compare(&root)
}
