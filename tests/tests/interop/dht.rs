//! The DHT with other implementations: torrents that have no tracker, and what the `dht` commands do
//! in networks of our nodes, of libtorrent's, and of both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bitswarm_tests::interop::client::Client::Libtorrent;
use bitswarm_tests::interop::client::{Client, Runtime, Task};
use bitswarm_tests::interop::dht::{Kind, Network};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::{Case, Content, Creator, Lab, Outcome, Torrent, bitswarm};
use serde_json::Value;

const MIO: Client = Client::Bitswarm(Runtime::Mio);
const ASYNC_STD: Client = Client::Bitswarm(Runtime::AsyncStd);

const OURS: &[Kind] = &[Kind::Bitswarm; 5];
const THEIRS: &[Kind] = &[Kind::Libtorrent; 5];
const MIXED: &[Kind] =
    &[Kind::Libtorrent, Kind::Bitswarm, Kind::Libtorrent, Kind::Bitswarm, Kind::Libtorrent];

/// Nobody is there: the torrents of these cases are found otherwise.
const NO_TRACKER: &str = "http://127.0.0.1:1/announce";

pub(crate) fn cases() -> Vec<Case> {
    let lt = [Libtorrent.needs()];
    let magnet = |network, from, to| move |lab: &Lab| magnet_by_dht(lab, network, from, to);
    vec![
        Case::new("dht_of_ours_leads_us_to_us", &[], magnet(OURS, MIO, ASYNC_STD)),
        Case::new("dht_of_libtorrent_leads_us_to_us", &lt, magnet(THEIRS, MIO, MIO)),
        Case::new("dht_of_libtorrent_leads_us_to_libtorrent", &lt, magnet(THEIRS, Libtorrent, MIO)),
        Case::new("dht_of_libtorrent_leads_libtorrent_to_us", &lt, magnet(THEIRS, MIO, Libtorrent)),
        Case::new("dht_of_ours_leads_us_to_libtorrent", &lt, magnet(OURS, Libtorrent, MIO)),
        Case::new("dht_of_ours_leads_libtorrent_to_us", &lt, magnet(OURS, MIO, Libtorrent)),
        Case::new("dht_of_both_leads_us_to_libtorrent", &lt, magnet(MIXED, Libtorrent, MIO)),
        Case::new("dht_of_both_leads_libtorrent_to_us", &lt, magnet(MIXED, MIO, Libtorrent)),
        Case::new("dht_commands_work_on_our_nodes", &[], |lab| commands_work(lab, OURS)),
        Case::new("dht_commands_work_on_nodes_of_libtorrent", &lt, |lab| {
            commands_work(lab, THEIRS)
        }),
        Case::new("dht_commands_fail_with_one_clear_line", &[], commands_fail),
    ]
}

/// A link that names no peer and no tracker is downloaded, by the DHT alone.
fn magnet_by_dht(lab: &Lab, kinds: &[Kind], from: Client, to: Client) -> Outcome {
    let mut network = Network::start(lab, kinds)?;
    let content = Content::single(lab, "trackerless", 3 << 20)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 64 << 10, NO_TRACKER)?;
    let mut seed = from.start(lab, &Task::seed(&torrent).with_dht(network.router()))?;
    let root = lab.make_dir("download")?;
    let task = Task::leech(&torrent, &root).by_magnet("").with_dht(network.router());
    let mut leech = to.start(lab, &task)?;
    until("the download", Duration::from_secs(90), || {
        network.ensure_running()?;
        seed.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    leech.stop()?;
    torrent.content.compare(&root)
}

/// What a `dht` command came to.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The last object that it wrote.
    fn done(&self) -> Outcome<Value> {
        let line = self.stdout.lines().last().ok_or_else(|| self.stderr.clone())?;
        Ok(serde_json::from_str(line)?)
    }

    /// It failed with this code, and all it said is one line with these words.
    fn fails(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains(words), "no {words:?} in {lines:?}");
    }
}

struct Dht<'a> {
    lab: &'a Lab,
    router: SocketAddr,
    /// Where the commands are run.
    bind: String,
}

impl<'a> Dht<'a> {
    fn new(lab: &'a Lab, router: SocketAddr) -> Self {
        Dht { lab, router, bind: lab.seat().ip.to_string() }
    }

    fn run(&self, arguments: &[&str]) -> Outcome<Ran> {
        let mut command = self.command();
        command.args(arguments).args(["--dht-bootstrap", &self.router.to_string()]);
        command.args(["--bind", &self.bind, "--timeout", "20s"]);
        let output = command.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().ok_or("killed")?;
        Ok(Ran { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    fn command(&self) -> Command {
        let mut command = bitswarm::command(self.lab);
        command.arg("dht");
        command
    }

    /// The same with `--json`, which has to go well.
    fn json(&self, arguments: &[&str]) -> Outcome<Value> {
        let ran = self.run(&[arguments, &["--json"]].concat())?;
        match ran.code {
            0 => ran.done(),
            code => Err(format!("{arguments:?}: {code}: {}", ran.stderr).into()),
        }
    }
}

fn commands_work(lab: &Lab, kinds: &[Kind]) -> Outcome {
    let network = Network::start(lab, kinds)?;
    let dht = Dht::new(lab, network.router());

    // Items, short and as long as they may be.
    for value in ["hello", &"long ".repeat(199)] {
        let target = dht.run(&["put", value])?.stdout;
        assert_eq!(dht.run(&["get", target.trim()])?.stdout.trim_end_matches('\n'), value);
    }
    let secret = write(lab, "secret", &"5a".repeat(32))?;
    let signed = |value| dht.json(&["put", value, "--salt", "pepper", "--secret", &secret]);
    let first = signed("first")?;
    let second = signed("second")?;
    assert_eq!((&first["seq"], &second["seq"]), (&1.into(), &2.into()));
    assert_eq!(first["target"], second["target"]);
    let key = second["key"].as_str().ok_or("no key")?;
    let got = dht.json(&["get", "--key", key, "--salt", "pepper"])?;
    assert_eq!((&got["value"], &got["seq"]), (&"second".into(), &2.into()));
    dht.run(&["put", "old", "--salt", "pepper", "--secret", &secret, "--seq", "1"])?
        .fails(6, "a newer item is stored");

    // A swarm of one seed.
    let content = Content::single(lab, "scraped", 100_000)?;
    let torrent = Torrent::create(lab, content, Creator::Bitswarm, 16 << 10, NO_TRACKER)?;
    let hash = torrent.infohash_hex();
    dht.run(&["lookup", &hash])?.fails(6, "knows a peer of this torrent");
    let seed = MIO.start(lab, &Task::seed(&torrent).with_dht(dht.router))?;
    let peers = until("the DHT to know the seed", Duration::from_secs(30), || {
        let ran = dht.run(&["lookup", &hash])?;
        Ok((ran.code == 0).then_some(ran.stdout))
    })?;
    assert_eq!(peers.trim(), seed.seat().addr().to_string());
    for name in [format!("magnet:?xt=urn:btih:{hash}"), path(&torrent.path)] {
        assert_eq!(dht.json(&["lookup", &name])?["peers"], 1, "{name}");
    }
    let count = dht.json(&["scrape", &hash])?;
    assert_eq!((&count["seeds"], &count["downloaders"]), (&1.into(), &0.into()));
    Ok(())
}

fn commands_fail(lab: &Lab) -> Outcome {
    let network = Network::start(lab, &[Kind::Bitswarm, Kind::Bitswarm])?;
    let dht = Dht::new(lab, network.router());
    let unknown = "aa".repeat(20);
    dht.run(&["lookup", &unknown])?.fails(6, "none of 2 nodes");
    dht.run(&["scrape", &unknown])?.fails(6, "none of 2 nodes");
    dht.run(&["get", &unknown])?.fails(6, "none of 2 nodes has the item");
    dht.run(&["get", "--key", &"00".repeat(32)])?.fails(6, "none of 2 nodes has the item");
    dht.run(&["lookup", "aaaa"])?.fails(2, "40 or 64 hexadecimal digits");
    dht.run(&["lookup", "magnet:?dn=x"])?.fails(4, "xt");
    dht.run(&["get"])?.fails(2, "--key");
    dht.run(&["get", &unknown, "--key", &"00".repeat(32)])?.fails(2, "--key");
    dht.run(&["put", &"x".repeat(2000)])?.fails(4, "1000 bytes");
    dht.run(&["put", "i5", "--bencoded"])?.fails(4, "not canonical bencoding");
    dht.run(&["put", "x", "--seq", "1"])?.fails(2, "--secret");
    let secret = write(lab, "no-secret", "zz")?;
    dht.run(&["put", "x", "--secret", &secret])?.fails(4, "64 random hexadecimal digits");
    let nobody = Dht::new(lab, lab.seat().addr());
    nobody.run(&["lookup", &unknown])?.fails(6, "no DHT node answered");
    let failed = dht.command().args(["node", "--bind", "203.0.113.1"]).output()?;
    assert_eq!(failed.status.code(), Some(15), "no such local address");
    Ok(())
}

fn write(lab: &Lab, name: &str, text: &str) -> Outcome<String> {
    let file = lab.path().join(name);
    fs::write(&file, text)?;
    Ok(path(&file))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
