//! download, seed and tracker: how they end, and what passes between two of them on loopback.

use std::fs;
use std::net::TcpListener;

use crate::sandbox::{Running, Sandbox, same};

/// Keeps a run to this machine, on a port that the system chooses.
pub(crate) const LOCAL: &str = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd --no-pex";

/// The address at which a run with `--json` listens for peers.
#[track_caller]
pub(crate) fn address(running: &mut Running) -> String {
    running.wait_for("listening")["addr"].as_str().unwrap().to_owned()
}

/// A sandbox with `data/content` and its torrent, `content.torrent`.
pub(crate) fn with_content(len: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/content", len, 1);
    let made = sandbox.run("create data/content -o content.torrent -q --piece-length 16KiB");
    assert_eq!(made.code, 0, "{}", made.stderr);
    sandbox
}

#[test]
fn a_seed_and_a_download_pass_a_file_from_one_to_the_other() {
    let sandbox = with_content(1_000_001);
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let line = format!("download content.torrent -o out --peer {addr} {LOCAL}");
    let ended = sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.starts_with("out/content: complete"), "{}", ended.stdout);
    assert!(same(&sandbox.path("data/content"), &sandbox.path("out/content")));

    let again = sandbox.run(&line);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(again.stdout, "out/content: was complete already\n");

    for (options, transport, encryption) in [
        ("", "tcp", "handshake"),
        ("--encryption off", "tcp", "none"),
        ("--encryption require", "tcp", "rc4"),
        ("--no-tcp", "utp", "handshake"),
    ] {
        let out = format!("{transport}-{encryption}");
        let line = format!("download content.torrent -o {out} --peer {addr} {LOCAL} {options} -v");
        let told = sandbox.run(&line).stderr;
        let words = format!("transport={transport} encryption={encryption}");
        let line = told.lines().find(|line| line.contains("peer connected"));
        assert!(line.is_some_and(|line| line.contains(&words) && line.contains(&addr)), "{told}");
    }

    seed.signal("TERM");
    assert_eq!(seed.end(), 0, "a seed that is told to stop has done its work");
}

#[test]
fn what_is_shared_is_downloaded_by_its_link_and_its_torrent_can_be_had() {
    let sandbox = with_content(1_000_001);
    let mut share = sandbox.start(&format!("share data --json {LOCAL}"));
    let link = share.wait_for("magnet")["link"].as_str().unwrap().to_owned();
    let addr = address(&mut share);
    let named = format!("{link}&x.pe={addr}");
    let mut get = vec!["download", &named, "-o", "out"];
    get.extend(LOCAL.split(' '));
    let ended = sandbox.run_with(&get);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.starts_with("out/data: complete"), "{}", ended.stdout);
    assert!(same(&sandbox.path("data/content"), &sandbox.path("out/data/content")));

    let local = ["--bind", "127.0.0.1", "--port", "0", "--no-dht"];
    let ended = sandbox.run_with(["metadata", &named, "-o", "t.torrent"].iter().chain(&local));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let bytes = fs::read(sandbox.path("t.torrent")).unwrap();
    let on_stdout = sandbox.command(["metadata", &named, "-o", "-", "-q"]).args(local).output();
    assert_eq!(on_stdout.unwrap().stdout, bytes);
    let both = sandbox.run_with(["metadata", &named, "-o", "-", "--json"].iter().chain(&local));
    assert_eq!(both.code, 2, "{}", both.stderr);
    let verified = sandbox.run("verify t.torrent --data out -q");
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let alone =
        [&["metadata", &link, "-o", "x.torrent", "-q", "--timeout", "1s"][..], &local].concat();
    sandbox.run_with(alone).fails(6, &["no metadata after 1 s"]);
}

#[test]
fn a_download_with_a_sharing_goal_goes_on_until_it_is_reached() {
    let sandbox = with_content(100_000);
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let line =
        format!("download content.torrent -o out --json --peer {addr} --seed-ratio 1 {LOCAL}");
    let mut first = sandbox.start(&line);
    let addr = address(&mut first);
    first.wait_for("complete");
    seed.signal("INT");
    assert_eq!(seed.end(), 0);
    let second = sandbox.run(&format!("download content.torrent -o two --peer {addr} -q {LOCAL}"));
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_eq!(first.end(), 0);
    assert!(same(&sandbox.path("data/content"), &sandbox.path("two/content")));
}

#[test]
fn only_the_files_chosen_are_fetched() {
    let sandbox = Sandbox::new();
    for (number, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        sandbox.write(&format!("data/tree/{name}"), 200_000, number);
    }
    let made = sandbox.run("create data/tree -o tree.torrent -q --piece-length 16KiB");
    assert_eq!(made.code, 0, "{}", made.stderr);
    let list = sandbox.run("download tree.torrent --list").stdout;
    assert!(list.contains("     3     195 KiB  c"), "{list}");
    let mut seed = sandbox.start(&format!("seed tree.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let line = format!("download tree.torrent -o out -q --peer {addr} {LOCAL}");
    let ended = sandbox.run(&format!("{line} --files 1,3"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for name in ["a", "c"] {
        let [there, here] = ["data", "out"].map(|dir| sandbox.path(&format!("{dir}/tree/{name}")));
        assert!(same(&there, &here), "{name}");
    }
    // The piece that d shares with c comes with c; of the rest nothing does.
    let [d_there, d_here] = ["data", "out"].map(|dir| sandbox.path(&format!("{dir}/tree/d")));
    let whole = fs::read(&d_there).unwrap();
    assert!(fs::read(&d_here).map_or(true, |here| here != whole));

    sandbox.run(&format!("{line} --files 5")).fails(2, &["no file 5 in tree", "--list"]);
    sandbox.run(&format!("{line} x.torrent --files 1")).fails(11, &["x.torrent"]);
}

#[test]
fn seed_without_data_says_what_is_wrong() {
    let sandbox = with_content(100_000);
    let seed = |data: &str| sandbox.run(&format!("seed content.torrent --data {data} -q {LOCAL}"));
    seed("nowhere").fails(11, &["nowhere"]);
    fs::create_dir(sandbox.path("elsewhere")).unwrap();
    seed("elsewhere").fails(11, &["elsewhere/content", "--data"]);
    sandbox.write("other/content", 100_000, 77);
    seed("other").fails(13, &["other/content", "bitswarm verify"]);
}

#[test]
fn seed_of_part_of_the_data_shares_that_part_and_changes_nothing() {
    let sandbox = with_content(100_000);
    let path = sandbox.path("data/content");
    let mut changed = fs::read(&path).unwrap();
    changed[99_999] ^= 1;
    fs::write(&path, &changed).unwrap();
    let mut seed = sandbox.start(&format!("seed content.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let checked = seed.wait_for("checked");
    assert_eq!((checked["pieces_have"].as_u64(), checked["pieces"].as_u64()), (Some(6), Some(7)));
    let line = format!("download content.torrent -o out -q --peer {addr} {LOCAL}");
    sandbox.run(&format!("{line} --stall-timeout 1")).fails(8, &["1 s", "again"]);
    let got = fs::read(sandbox.path("out/content")).unwrap();
    assert_eq!(got[..6 * 16_384], changed[..6 * 16_384]);
    seed.signal("TERM");
    assert_eq!(seed.wait_for("stopped")["complete"], false);
    assert_eq!(seed.end(), 0);
    assert_eq!(fs::read(&path).unwrap(), changed, "seed writes nothing");
}

#[test]
fn a_download_that_nobody_helps_ends_by_its_stall_timeout_or_by_hand() {
    let sandbox = with_content(100_000);
    let line = format!("download content.torrent -o out {LOCAL}");
    sandbox.run(&format!("{line} -q --stall-timeout 500ms")).fails(6, &["no peer", "--peer"]);
    for signal in ["INT", "TERM"] {
        let mut running = sandbox.start(&format!("{line} --json"));
        running.wait_for("checked");
        running.signal(signal);
        assert_eq!(running.wait_for("stopped")["complete"], false);
        assert_eq!(running.end(), 7, "work is unfinished");
    }
}

#[test]
fn a_taken_port_ends_in_code_15() {
    let sandbox = with_content(1_000);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let options = format!("--bind 127.0.0.1 --port {} -q", addr.port());
    let place = addr.to_string();
    sandbox.run(&format!("download content.torrent -o out {options}")).fails(15, &[&place]);
    sandbox.run(&format!("seed content.torrent --data data {options}")).fails(15, &[&place]);
    sandbox.run(&format!("tracker --listen {addr}")).fails(15, &[&place, "another port"]);
    sandbox.run("tracker --listen 192.0.2.1:80").fails(15, &["192.0.2.1"]);
}

#[test]
fn tracker_says_where_it_listens_and_ends_well() {
    let sandbox = Sandbox::new();
    let mut tracker = sandbox.start("tracker --listen 127.0.0.1:0");
    let (http, udp) = (tracker.line(), tracker.line());
    let addr = http.strip_prefix("http://").unwrap().strip_suffix("/announce").unwrap();
    assert_eq!(udp, format!("udp://{addr}"));
    tracker.signal("TERM");
    assert_eq!(tracker.end(), 0);
}

#[test]
fn tracker_is_reached_at_what_it_prints_and_logs_who_announces() {
    let sandbox = with_content(100_000);
    let mut tracker = sandbox.start("tracker --listen :0 -v");
    let url = tracker.line();
    assert!(!url.contains("0.0.0.0") && !url.contains("[::]"), "{url}");
    let line = format!("seed content.torrent --data data --json --tracker {url} --port 0");
    let mut seed = sandbox.start(&format!("{line} --no-dht --no-lsd"));
    let answered = seed.wait_for("tracker_answered");
    assert_eq!(answered["url"].as_str(), Some(&*url));
    seed.signal("TERM");
    assert_eq!(seed.end(), 0);
    tracker.signal("TERM");
    assert_eq!(tracker.end(), 0);
    let log = tracker.stderr();
    for event in [" started ", " stopped "] {
        assert_eq!(log.matches(event).count(), 2, "of each infohash: {log}");
    }
}

#[test]
fn places_that_cannot_be_written_end_in_code_11() {
    let sandbox = with_content(1_000);
    sandbox.write("file", 10, 1);
    sandbox.run("download content.torrent -o file").fails(11, &["file"]);
    sandbox.run("download content.torrent -o out --state-dir file/x").fails(11, &["file/x"]);
    sandbox.run("download content.torrent -o out --record nowhere/log").fails(11, &["nowhere/log"]);
    // A directory in the place of the torrent's file.
    fs::create_dir_all(sandbox.path("out/content")).unwrap();
    let line = format!("download content.torrent -o out -q {LOCAL}");
    sandbox.run(&line).fails(11, &["out/content"]);
}

#[test]
fn one_download_at_a_time_works_on_a_torrent_and_others_beside_it() {
    let sandbox = with_content(1_000);
    sandbox.write("more/other", 1_000, 2);
    assert_eq!(sandbox.run("create more/other -o other.torrent -q").code, 0);
    let mut first = sandbox.start(&format!("download content.torrent -o out --json {LOCAL}"));
    first.wait_for("checked");
    let line = format!("download content.torrent -o out -q {LOCAL}");
    sandbox.run(&line).fails(11, &["another bitswarm"]);
    let mut beside = sandbox.start(&format!("download other.torrent -o out --json {LOCAL}"));
    beside.wait_for("checked");
    let mut elsewhere = sandbox.start(&format!("download content.torrent -o two --json {LOCAL}"));
    elsewhere.wait_for("checked");
}

#[test]
fn torrents_of_one_name_are_not_downloaded_into_one_directory() {
    let sandbox = with_content(1_000);
    sandbox.write("more/content", 1_000, 2);
    assert_eq!(sandbox.run("create more/content -o other.torrent -q").code, 0);
    let line =
        format!("download content.torrent other.torrent -o out -q --stall-timeout 1 {LOCAL}");
    let ended = sandbox.run(&line);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    for word in ["content.torrent", "other.torrent", "another directory"] {
        assert!(lines[0].contains(word), "{word}: {}", ended.stderr);
    }
    // The first of them was begun; nobody has it.
    assert!(lines.len() == 2 && ended.code != 0, "{}", ended.stderr);
    sandbox.write("more/third", 1_000, 2);
    assert_eq!(sandbox.run("create more/third -o third.torrent -q").code, 0);
    sandbox.run("download content.torrent third.torrent --files 1").fails(2, &["one by one"]);
}

#[test]
fn two_torrents_of_one_folder_are_shared_side_by_side() {
    let sandbox = with_content(100_000);
    let made = sandbox.run("create data/content -o v1.torrent -q --protocol v1");
    assert_eq!(made.code, 0, "{}", made.stderr);
    let both = "content.torrent v1.torrent content.torrent";
    let mut seed = sandbox.start(&format!("seed {both} --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    for torrent in ["content", "v1"] {
        let line = format!("download {torrent}.torrent -o {torrent} -q --peer {addr} {LOCAL}");
        let ended = sandbox.run(&line);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(same(&sandbox.path("data/content"), &sandbox.path(torrent).join("content")));
    }
}

#[test]
fn a_peer_that_has_no_address_ends_in_code_6() {
    let sandbox = with_content(1_000);
    let line = format!("download content.torrent -o out -q --peer no-such-host.invalid:1 {LOCAL}");
    sandbox.run(&line).fails(6, &["no-such-host.invalid"]);
}

#[test]
fn peers_find_each_other_through_our_tracker() {
    let sandbox = with_content(300_000);
    let mut tracker = sandbox.start("tracker --listen 127.0.0.1:0");
    for url in [tracker.line(), tracker.line()] {
        let dir = url.split(':').next().unwrap();
        let seed = format!("seed content.torrent --data data --json --tracker {url} {LOCAL}");
        let mut seed = sandbox.start(&seed);
        seed.wait_for("tracker_answered");
        let line = format!("download content.torrent -o {dir} -q --tracker {url} {LOCAL}");
        let ended = sandbox.run(&format!("{line} --stall-timeout 20"));
        assert_eq!(ended.code, 0, "{url}: {}", ended.stderr);
        assert!(same(&sandbox.path("data/content"), &sandbox.path(dir).join("content")));
        seed.signal("TERM");
        assert_eq!(seed.end(), 0);
    }
}

#[test]
fn a_tracker_that_cannot_be_asked_is_named_without_its_key() {
    let sandbox = with_content(1_000);
    let url = "http://no-such-host.invalid/announce?key=secret";
    let line = format!("download content.torrent -o out -q --tracker {url} {LOCAL}");
    let ended = sandbox.run(&format!("{line} --stall-timeout 2"));
    ended.fails(6, &["no-such-host.invalid", "--peer"]);
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[test]
fn a_tracker_that_knows_nobody_leaves_a_download_stalled() {
    let sandbox = with_content(1_000);
    let mut tracker = sandbox.start("tracker --listen 127.0.0.1:0");
    let url = tracker.line();
    let line = format!("download content.torrent -o out -q --tracker {url} {LOCAL}");
    sandbox.run(&format!("{line} --stall-timeout 2")).fails(8, &["2 s"]);
}
