//! Local discovery with other implementations: peers that have neither tracker nor DHT find each other
//! in their network.

use std::process::Command;
use std::time::Duration;

use bitswarm_tests::interop::client::Client::Libtorrent;
use bitswarm_tests::interop::client::{Client, Peer, Runtime, Task};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::{
    Bitswarm, Case, Content, Creator, Lab, Netns, Outcome, Process, Torrent, bitswarm,
};

const MIO: Client = Client::Bitswarm(Runtime::Mio);
const ASYNC_STD: Client = Client::Bitswarm(Runtime::AsyncStd);

/// Nobody is there: the torrents of these cases are found otherwise.
const NO_TRACKER: &str = "http://127.0.0.1:1/announce";

pub(crate) fn cases() -> Vec<Case> {
    let lt = [Libtorrent.needs()];
    vec![
        Case::new("lsd_leads_us_to_us", &[], |lab| lsd_leads(lab, MIO, ASYNC_STD)),
        Case::new("lsd_leads_us_to_us_on_the_other_runtime", &[], |lab| {
            lsd_leads(lab, ASYNC_STD, MIO)
        }),
        Case::new("lsd_leads_us_to_libtorrent", &lt, |lab| lsd_leads(lab, Libtorrent, MIO)),
        Case::new("lsd_leads_libtorrent_to_us", &lt, |lab| lsd_leads(lab, MIO, Libtorrent)),
        Case::new("lsd_over_link_local_addresses_of_ipv6", &[Netns::NEEDS], lsd_over_link_local),
        Case::new("lsd_is_not_used_when_it_is_switched_off", &[], lsd_is_off),
    ]
}

/// A link that names no peer and no tracker is downloaded, by local discovery alone.
fn lsd_leads(lab: &Lab, from: Client, to: Client) -> Outcome {
    let content = Content::single(lab, "local", 3 << 20)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 64 << 10, NO_TRACKER)?;
    let mut seed = from.start(lab, &Task::seed(&torrent).with_lsd())?;
    let root = lab.make_dir("download")?;
    let mut leech = to.start(lab, &Task::leech(&torrent, &root).by_magnet("").with_lsd())?;
    until("the download", Duration::from_secs(40), || {
        seed.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    leech.stop()?;
    torrent.content.compare(&root)
}

fn lsd_is_off(lab: &Lab) -> Outcome {
    let content = Content::single(lab, "silent", 100_000)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 64 << 10, NO_TRACKER)?;
    let mut seed = Bitswarm::start(lab, &Task::seed(&torrent))?;
    let root = lab.make_dir("download")?;
    let mut leech = MIO.start(lab, &Task::leech(&torrent, &root).by_magnet("").with_lsd())?;
    std::thread::sleep(Duration::from_secs(3));
    seed.process().ensure_running()?;
    assert!(!leech.is_complete()?, "whom did it find?");
    Ok(())
}

/// Two machines on a cable, with no address but those that IPv6 gives by itself.
fn lsd_over_link_local(lab: &Lab) -> Outcome {
    let content = Content::single(lab, "near", 3 << 20)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 64 << 10, NO_TRACKER)?;
    let link = format!("magnet:?xt=urn:btih:{}", torrent.infohash_hex());
    let [here, there] = Netns::pair(lab)?;
    for netns in [&here, &there] {
        // Addresses are of use at once, not after a second of asking whether they are taken.
        let mut no_dad = Command::new("sh");
        no_dad.args(["-c", "echo 0 > /proc/sys/net/ipv6/conf/cable/accept_dad"]);
        netns.run(lab, &no_dad)?;
        netns.ip(lab, &["link", "set", "cable", "up"])?;
    }
    for netns in [&here, &there] {
        let mut has_address = Command::new("sh");
        has_address.args(["-c", "until ip addr show cable | grep -q fe80; do sleep 0.1; done"]);
        netns.run(lab, &has_address)?;
    }
    let root = lab.make_dir("download")?;
    let options = ["--no-dht", "--no-pex", "--port", "7001", "--json"];
    let mut seed = bitswarm::command(lab);
    seed.arg("seed").arg(&torrent.path).arg("--data").arg(torrent.content.root()).args(options);
    let mut seed = Process::spawn(lab, "seed", &here.enter(&seed))?;
    let mut leech = bitswarm::command(lab);
    leech.arg("download").arg(&link).arg("-o").arg(&root).args(options);
    let mut leech = Process::spawn(lab, "leech", &there.enter(&leech))?;
    assert_eq!(leech.exit_code(Duration::from_secs(40))?, 0);
    seed.ensure_running()?;
    torrent.content.compare(&root)
}
