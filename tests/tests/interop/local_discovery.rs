//! Local discovery with other implementations: peers that have neither tracker nor DHT find each other
//! in their network.

use std::time::Duration;

use bitswarm_tests::interop::client::Client::Libtorrent;
use bitswarm_tests::interop::client::{Client, Peer, Runtime, Task};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::{Bitswarm, Case, Content, Creator, Lab, Outcome, Torrent};

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
