//! uTP (BEP 29) with other implementations, in both directions. Ours and libtorrent speak nothing else; what
//! Transmission tries by TCP nobody answers.

use std::time::Duration;

use bitswarm_tests::interop::client::Client::{self, Bitswarm, Libtorrent, Transmission};
use bitswarm_tests::interop::client::{Peer, Runtime, Task};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::{
    self, Case, Content, Creator, Lab, Outcome, Torrent, Tracker, Transfer,
};

const MIO: Client = Bitswarm(Runtime::Mio);
const ASYNC_STD: Client = Bitswarm(Runtime::AsyncStd);

pub(crate) fn cases() -> Vec<Case> {
    let lt = [Libtorrent.needs()];
    let tr = [Transmission.needs()];
    vec![
        Case::new("utp_between_us", &[], |lab| passes(lab, MIO, ASYNC_STD)),
        Case::new("utp_from_libtorrent_to_us", &lt, |lab| passes(lab, Libtorrent, MIO)),
        Case::new("utp_from_us_to_libtorrent", &lt, |lab| passes(lab, ASYNC_STD, Libtorrent)),
        Case::new("utp_from_transmission_to_us", &tr, |lab| passes(lab, Transmission, MIO)),
        Case::new("utp_from_us_to_transmission", &tr, |lab| passes(lab, MIO, Transmission)),
        Case::new("utp_where_tcp_is_refused", &[], tcp_is_refused),
        Case::new("utp_is_not_spoken_when_it_is_switched_off", &[], utp_is_off),
    ]
}

fn passes(lab: &Lab, from: Client, to: Client) -> Outcome {
    let (seeds, leeches) = ([from], [to]);
    let transfer = Transfer::new(&seeds, &leeches, Creator::Bitswarm);
    Transfer { over_utp: true, ..transfer }.run(lab, Content::odd_file(lab)?)
}

/// A seed that speaks uTP alone, and one who downloads with the given arguments.
fn download_from_utp_alone(
    lab: &Lab,
    arguments: &[&str],
) -> Outcome<(Torrent, interop::Bitswarm, interop::Bitswarm)> {
    let tracker = Tracker::start(lab)?;
    let content = Content::odd_file(lab)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 64 << 10, &tracker.url())?;
    let seed = interop::Bitswarm::start(lab, &Task::seed(&torrent).over_utp())?;
    let at = seed.seat().addr().to_string();
    let root = lab.make_dir("download")?;
    let arguments: Vec<&str> = ["--peer", &at].iter().chain(arguments).copied().collect();
    let seat = lab.seat();
    let leech =
        interop::Bitswarm::start_with(lab, seat, &Task::leech(&torrent, &root), &arguments)?;
    Ok((torrent, seed, leech))
}

/// Who speaks both reaches one who speaks uTP alone.
fn tcp_is_refused(lab: &Lab) -> Outcome {
    let (_, mut seed, mut leech) = download_from_utp_alone(lab, &[])?;
    until("the download", Duration::from_secs(60), || {
        seed.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    let by_utp =
        |line: &serde_json::Value| line["event"] == "peer_connected" && line["transport"] == "utp";
    assert!(seed.json()?.iter().any(by_utp), "the seed tells of no peer over uTP");
    Ok(())
}

fn utp_is_off(lab: &Lab) -> Outcome {
    let (_, mut seed, mut leech) = download_from_utp_alone(lab, &["--no-utp"])?;
    std::thread::sleep(Duration::from_secs(4));
    seed.process().ensure_running()?;
    assert!(!leech.is_complete()?, "how did it reach the other?");
    Ok(())
}
