//! What ordinary networks have: trackers in either address family, many that are dead, answers with
//! oddities; and what trackers hear of who wants a part only.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::sandbox::{Sandbox, same, skips};

/// Keeps a run to this machine, on a port that the system chooses.
const LOCAL: &str = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd --no-pex";

/// An HTTP tracker that gives each announce the same answer, and keeps what was asked.
pub(crate) struct FakeTracker {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeTracker {
    pub(crate) fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&asked), answer.to_owned());
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 4096];
                let Ok(len) = stream.read(&mut request) else { continue };
                kept.lock().unwrap().push(String::from_utf8_lossy(&request[..len]).into_owned());
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                let _ = stream.write_all((head + &answer).as_bytes());
            }
        });
        FakeTracker { addr, asked }
    }

    /// The values of a key, of each request in turn; empty where it was not there.
    fn values(&self, key: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let value = |request: &String| {
            let (_, rest) = request.split_once(&format!("&{key}="))?;
            rest.split(['&', ' ']).next().map(str::to_owned)
        };
        asked.iter().map(|request| value(request).unwrap_or_default()).collect()
    }
}

/// A sandbox with two files of 100,000 bytes and their torrent, `tree.torrent`.
fn with_tree(options: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/tree/a", 100_000, 1);
    sandbox.write("data/tree/b", 100_000, 2);
    let line = format!("create data/tree -o tree.torrent -q --protocol v1 {options}");
    let made = sandbox.run(&format!("{line} --piece-length 16KiB"));
    assert_eq!(made.code, 0, "{}", made.stderr);
    sandbox
}

fn seed(sandbox: &Sandbox) -> (crate::sandbox::Running, SocketAddr) {
    let mut seed = sandbox.start(&format!("seed tree.torrent --data data --json {LOCAL}"));
    let addr = seed.wait_for("listening")["addr"].as_str().unwrap().parse().unwrap();
    seed.wait_for("checked");
    (seed, addr)
}

#[test]
fn the_tracker_serves_both_families_and_peers_of_either_are_found_over_http_and_udp() {
    let sandbox = with_tree("");
    let line = "tracker --listen 127.0.0.1:0 --listen [::1]:0 --json";
    let mut tracker = sandbox.start(line);
    let mut urls = Vec::new();
    for _ in 0..4 {
        let listening = tracker.wait_for("listening");
        let addr = listening["addr"].as_str().unwrap();
        urls.push(match listening["kind"].as_str().unwrap() {
            "tcp" => format!("http://{addr}/announce"),
            _ => format!("udp://{addr}"),
        });
    }
    assert_eq!(urls.iter().filter(|url| url.contains("[::1]")).count(), 2, "{urls:?}");
    // Each of them alone leads those to each other who share its family.
    for (number, url) in urls.iter().enumerate() {
        let ip = if url.contains("[::1]") { "::1" } else { "127.0.0.1" };
        let here = format!("--bind {ip} --port 0 --no-dht --no-lsd --no-pex --tracker {url}");
        let mut seed = sandbox.start(&format!("seed tree.torrent --data data --json {here}"));
        seed.wait_for("tracker_answered");
        let both = here.replace(&format!("--bind {ip}"), "--bind 127.0.0.1 --bind ::1");
        let line = format!("download tree.torrent -o out{number} -q {both} --stall-timeout 20");
        let ended = sandbox.run(&line);
        assert_eq!(ended.code, 0, "{url}: {}", ended.stderr);
    }
}

#[test]
fn a_peer_that_is_known_at_two_addresses_is_connected_once() {
    let sandbox = Sandbox::new();
    sandbox.write("data/content", 3_000_000, 1);
    assert_eq!(sandbox.run("create data/content -o t.torrent -q --protocol v1").code, 0);
    for other in ["::1", "127.0.0.2"] {
        let here = format!("--bind 127.0.0.1 --bind {other} --no-dht --no-lsd --no-pex --port 0");
        let mut seed = sandbox.start(&format!("seed t.torrent --data data --json {here}"));
        let mut peers = String::new();
        while peers.matches("--peer").count() < 2 {
            let listening = seed.wait_for("listening");
            if listening["kind"] == "tcp" {
                peers += &format!(" --peer {}", listening["addr"].as_str().unwrap());
            }
        }
        assert!(peers.contains(other), "{peers}");
        for run in 0..3 {
            let options = format!("--json --down 2MiB {here}{peers}");
            let ended = sandbox.run(&format!("download t.torrent -o {other}-{run} {options}"));
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            let events: Vec<serde_json::Value> =
                ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let complete = events.iter().find(|event| event["event"] == "complete").unwrap();
            let downloaded = complete["downloaded"].as_u64().unwrap();
            assert!((3_000_000..3_100_000).contains(&downloaded), "{complete}");
            let last = events.iter().rfind(|event| event["state"] == "downloading").unwrap();
            assert_eq!(last["peers"], 1, "{last}");
        }
    }
}

#[test]
fn the_live_tracker_is_asked_however_many_dead_ones_stand_before_it() {
    let (_, dead) = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = gone.local_addr().unwrap();
        (gone, addr)
    };
    let dead: Vec<String> = (0..100).map(|n| format!("-t http://{dead}/announce?{n}")).collect();
    let sandbox = with_tree(&dead.join(" "));
    let (_seed, peer) = seed(&sandbox);
    let (ip, port) = (peer.ip().to_string(), peer.port());
    let answer = format!("d8:intervali900e5:peersld2:ip{}:{ip}4:porti{port}eeee", ip.len());
    let live = FakeTracker::start(&answer);
    // As number 101 of the torrent.
    let url = format!("http://{}/announce", live.addr);
    let edited = sandbox.run(&format!("edit tree.torrent -o more.torrent --add-tracker {url}"));
    assert_eq!(edited.code, 0, "{}", edited.stderr);
    let line = format!("download more.torrent -o one -q {LOCAL} --stall-timeout 20");
    let ended = sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // Beside a hundred others, on loopback, with a passkey for a path.
    let key = format!("http://{}/0123456789abcdef0123456789abcdef", live.addr);
    let line =
        format!("download tree.torrent -o two -q {LOCAL} --stall-timeout 20 --tracker {key}");
    let ended = sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // What is printed can be read again.
    let link = sandbox.run("magnet more.torrent").stdout;
    assert_eq!(link.matches("&tr=").count(), 101);
    let told = sandbox.run_with(["info", "--json", link.trim()]).json();
    assert_eq!(told["trackers"].as_array().unwrap().len(), 101, "{told}");
}

#[test]
fn what_a_link_has_no_room_for_is_told_or_refused_with_its_number() {
    let sandbox = with_tree("");
    let seeds: Vec<String> = (0..4100).map(|n| format!("--web-seed=http://w/{n}")).collect();
    let mut line = vec!["edit", "tree.torrent", "-o", "more.torrent"];
    line.extend(seeds.iter().map(String::as_str));
    let edited = sandbox.run_with(line);
    assert_eq!(edited.code, 0, "{}", edited.stderr);
    let link = sandbox.run("magnet more.torrent");
    assert_eq!((link.code, link.stdout.matches("&ws=").count()), (0, 4096));
    assert!(link.stderr.contains("4096 of 4100 web seeds"), "{}", link.stderr);
    assert_eq!(sandbox.run("magnet tree.torrent").stderr, "");
    let peers: Vec<String> = (1..=4100).map(|n| format!("--peer=192.0.2.1:{n}")).collect();
    let line = ["magnet", "tree.torrent"].into_iter().chain(peers.iter().map(String::as_str));
    sandbox.run_with(line).fails(2, &["4100 peers"]);
    let nodes: Vec<String> = (1..=65).map(|n| format!("--node=192.0.2.1:{n}")).collect();
    let line = ["edit", "tree.torrent"].into_iter().chain(nodes.iter().map(String::as_str));
    assert_eq!(sandbox.run_with(line).code, 0);
    let lint = sandbox.run("lint tree.torrent").stdout;
    assert!(lint.contains("65 DHT nodes, of which 64 are asked"), "{lint}");
}

#[test]
fn a_trackers_odd_answer_is_used_for_what_it_says() {
    let sandbox = with_tree("");
    let (_seed, peer) = seed(&sandbox);
    let port = peer.port();
    // A peer by its name, one that cannot be, and a page's footer after the dictionary.
    let answer = format!(
        "d8:intervali900e5:peersld2:ip3:a b4:porti1eed2:ip9:localhost4:porti{port}eeee\
         <!-- 3 ms -->\r\n"
    );
    let tracker = FakeTracker::start(&answer);
    let url = format!("http://{}/announce", tracker.addr);
    let line =
        format!("download tree.torrent -o out -q {LOCAL} --stall-timeout 20 --tracker {url}");
    let ended = sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for name in ["a", "b"] {
        let [there, here] = ["data", "out"].map(|dir| sandbox.path(&format!("{dir}/tree/{name}")));
        assert!(same(&there, &here), "{name}");
    }
    // The same by the command line, and by a link with oddities of its own.
    let line = format!("download tree.torrent -o two -q {LOCAL} --stall-timeout 20");
    let ended = sandbox.run(&format!("{line} --peer localhost:{port}"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let link = sandbox.run("magnet tree.torrent").stdout;
    let odd = format!(
        "{}&x.pe=localhost:{port}&tr=tracker.example&tr=wss://t.example&ws=none&xl=many&xs=x&so=1-",
        link.trim()
    );
    let mut get = vec!["download", &odd, "-o", "three", "-v", "--stall-timeout", "20"];
    get.extend(LOCAL.split(' '));
    let ended = sandbox.run_with(get);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(same(&sandbox.path("data/tree/b"), &sandbox.path("three/tree/b")));
    for word in ["tr=tracker.example", "tr=wss://t.example", "ws=none"] {
        assert!(ended.stderr.contains(word), "{word} is not told: {}", ended.stderr);
    }
}

#[test]
fn junk_behind_a_torrent_file_does_not_matter_and_leading_zeros_in_v2_do() {
    let sandbox = with_tree("");
    let path = sandbox.path("tree.torrent");
    let good = std::fs::read(&path).unwrap();
    let expected = sandbox.run("info --json tree.torrent").json();
    for junk in ["\n", "\r\n\r\n", "\0\0\0", "<html>"] {
        std::fs::write(&path, [&good[..], junk.as_bytes()].concat()).unwrap();
        assert_eq!(sandbox.run("info --json tree.torrent").json(), expected, "{junk:?}");
        let linted = sandbox.run("lint tree.torrent").stdout;
        assert!(linted.contains(" its end"), "{linted}");
    }
    let made = sandbox.run("create data/tree/a -o v2.torrent -q --protocol v2");
    assert_eq!(made.code, 0, "{}", made.stderr);
    let good = std::fs::read(sandbox.path("v2.torrent")).unwrap();
    let at = good.windows(7).position(|part| part == b"i100000").unwrap();
    let odd = [&good[..=at], b"0", &good[at + 1..]].concat();
    std::fs::write(sandbox.path("v2.torrent"), odd).unwrap();
    sandbox.run("info v2.torrent").fails(4, &["v2.torrent", "leading zeros"]);
}

#[test]
fn a_part_that_is_shared_is_no_completed_torrent_and_its_ratio_counts_what_was_wanted() {
    let sandbox = with_tree("");
    let (_seed, peer) = seed(&sandbox);
    let tracker = FakeTracker::start("d8:intervali5e12:min intervali5ee");
    let url = format!("http://{}/announce", tracker.addr);
    let line = format!("download tree.torrent -o out --json {LOCAL} --tracker {url} --peer {peer}");
    let mut part = sandbox.start(&format!("{line} --files 1 --seed"));
    part.wait_for("complete");
    for _ in 0..2 {
        part.wait_for("tracker_answered");
    }
    part.signal("INT");
    assert_eq!(part.end(), 0);
    let events = tracker.values("event");
    assert!(!events.contains(&"completed".to_owned()), "{events:?}");
    assert!(events.contains(&"paused".to_owned()), "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("stopped"));
    assert!(tracker.values("left").iter().all(|left| left != "0"));

    tracker.asked.lock().unwrap().clear();
    let mut whole = sandbox.start(&format!("{line} --seed"));
    whole.wait_for("complete");
    for _ in 0..2 {
        whole.wait_for("tracker_answered");
    }
    whole.signal("INT");
    assert_eq!(whole.end(), 0);
    let told = tracker.values("event");
    assert_eq!(told.iter().filter(|event| *event == "completed").count(), 1, "{told:?}");

    // A repair later is not another completion.
    tracker.asked.lock().unwrap().clear();
    sandbox.write("out/tree/b", 100_000, 77);
    let mut again = sandbox.start(&format!("{line} --seed"));
    again.wait_for("complete");
    again.wait_for("tracker_answered");
    again.signal("INT");
    assert_eq!(again.end(), 0);
    assert!(!tracker.values("event").contains(&"completed".to_owned()));

    // Seven pieces are wanted of thirteen, and once is enough.
    let line = format!("download tree.torrent -o first --json {LOCAL} --files 1");
    let mut first = sandbox.start(&format!("{line} --peer {peer} --seed-ratio 1"));
    let addr = first.wait_for("listening")["addr"].as_str().unwrap().to_owned();
    first.wait_for("complete");
    let line = format!("download tree.torrent -o second -q {LOCAL} --files 1 --peer {addr}");
    let ended = sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(first.end(), 0);
}

/// `command`, in a namespace of its own where names are as in `hosts`; nothing where that is not
/// permitted.
#[cfg(target_os = "linux")]
fn with_names(
    hosts: &std::path::Path,
    command: &std::process::Command,
) -> Option<std::process::Command> {
    let mount = format!("mount --bind {} /etc/hosts", hosts.display());
    let may = std::process::Command::new("unshare").args(["-m", "sh", "-c", &mount]).output();
    if !may.is_ok_and(|tried| tried.status.success()) {
        return None;
    }
    let mut named = std::process::Command::new("unshare");
    named.args(["-m", "sh", "-c", &format!("{mount} && exec \"$@\"")]).arg("sh");
    named.arg(command.get_program()).args(command.get_args());
    named.current_dir(command.get_current_dir().unwrap());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => named.env(key, value),
            None => named.env_remove(key),
        };
    }
    Some(named)
}

#[cfg(target_os = "linux")]
#[test]
fn peers_that_a_trackers_name_knows_on_its_other_side_are_found() {
    let sandbox = with_tree("");
    let hosts = sandbox.path("hosts");
    std::fs::write(&hosts, "::1 tracker.test\n127.0.0.1 tracker.test localhost\n").unwrap();
    // Two trackers that know nothing of each other, at one port of each family.
    let mut v4 = sandbox.start("tracker --listen 127.0.0.1:0 --json");
    let addr: SocketAddr = v4.wait_for("listening")["addr"].as_str().unwrap().parse().unwrap();
    let port = addr.port();
    let mut v6 = sandbox.start(&format!("tracker --listen [::1]:{port} --json"));
    v6.wait_for("listening");
    let line =
        format!("seed tree.torrent --data data --json {LOCAL} --tracker http://{addr}/announce");
    let mut seed = sandbox.start(&line);
    seed.wait_for("tracker_answered");
    for (number, scheme) in ["http", "udp"].into_iter().enumerate() {
        let url = format!("{scheme}://tracker.test:{port}/announce");
        let line =
            format!("download tree.torrent -o out{number} -q --port 0 --no-dht --no-lsd --no-pex");
        let line = format!("{line} --stall-timeout 20 --tracker {url}");
        let command = sandbox.command(line.split(' '));
        let Some(mut named) = with_names(&hosts, &command) else {
            return skips("names cannot be changed here");
        };
        let output = named.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{url}: {stderr}");
    }
}
