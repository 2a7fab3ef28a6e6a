//! One bad part of several: it fails with a line that names it, the rest goes on, and the code tells
//! at the end.

use std::fs;

use crate::sandbox::{Ended, Sandbox, same};
use crate::swarm::{LOCAL, address};

/// Two torrents, `a.torrent` and `b.torrent`, of `data/a` and `data/b`, and files that are none.
fn two() -> Sandbox {
    let sandbox = Sandbox::new();
    for (salt, name) in [(1, "a"), (2, "b")] {
        sandbox.write(&format!("data/{name}"), 200_000, salt);
        let made = sandbox.run(&format!("create data/{name} -o {name}.torrent -q"));
        assert_eq!(made.code, 0, "{}", made.stderr);
    }
    fs::write(sandbox.path("page.torrent"), "<!DOCTYPE html><html>").unwrap();
    sandbox
}

/// It ended in this code, and each of `named` has one line of its own on stderr.
#[track_caller]
fn tells(ended: &Ended, code: i32, named: &[&str]) {
    assert_eq!(ended.code, code, "{}", ended.stderr);
    let failures: Vec<&str> =
        ended.stderr.lines().filter(|line| line.starts_with("bitswarm: ")).collect();
    assert_eq!(failures.len(), named.len(), "{}", ended.stderr);
    for (line, name) in failures.iter().zip(named) {
        assert!(line.contains(name), "{name} in {line}");
    }
}

#[test]
fn of_several_downloads_one_that_fails_does_not_end_the_others() {
    let sandbox = two();
    let mut seed = sandbox.start(&format!("seed a.torrent b.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let download = |line: &str| sandbox.run(&format!("{line} --peer {addr} {LOCAL}"));
    let fetched = |dir: &str| same(&sandbox.path("data/b"), &sandbox.path(dir).join("b"));

    // What lies in the way of one torrent's file.
    fs::create_dir_all(sandbox.path("one/a")).unwrap();
    tells(&download("download a.torrent b.torrent -o one"), 11, &["one/a"]);
    assert!(fetched("one"));
    // An input that is no torrent, one that is missing, a link that is none.
    let line = "download page.torrent missing.torrent magnet:?xt=urn:btih:00 b.torrent -o two -q";
    tells(&download(line), 4, &["page.torrent", "missing.torrent", "40 hexadecimal"]);
    assert!(fetched("two"));
    // One that another process has.
    let mut other = sandbox.start(&format!("download a.torrent -o three --json {LOCAL}"));
    other.wait_for("checked");
    tells(&download("download a.torrent b.torrent -o three -q"), 11, &["a ("]);
    assert!(fetched("three"));
    // Peers that are not found, values that name no peer and no tracker.
    let line = "download b.torrent -o four -q --peer no-such-host.invalid:1";
    tells(&download(line), 6, &["no-such-host.invalid"]);
    assert!(fetched("four"));
    let line = "download b.torrent -o six -q --peer nowhere --peer ::1:5 --tracker ftp://x \
                --tracker http:/y --dht-bootstrap z";
    let named = ["\"nowhere\"", "\"::1:5\"", "\"ftp://x\"", "\"http:/y\"", "\"z\""];
    tells(&download(line), 2, &named);
    assert!(fetched("six"));
    // Two torrents of one name: the first is fetched.
    sandbox.write("more/b", 100_000, 3);
    assert_eq!(sandbox.run("create more/b -o c.torrent -q").code, 0);
    let line = "download b.torrent c.torrent a.torrent -o seven -q";
    tells(&download(line), 2, &["c.torrent is called b as b.torrent is"]);
    assert!(fetched("seven") && sandbox.path("seven/a").exists());
    // With --json it is an event, which names the torrent.
    fs::create_dir_all(sandbox.path("five/a")).unwrap();
    let ended = download("download a.torrent b.torrent missing.torrent -o five --json");
    let errors: Vec<serde_json::Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|object| object["event"] == "error")
        .collect();
    assert_eq!(errors.len(), 2, "{}", ended.stdout);
    assert_eq!((errors[0]["code"].as_u64(), errors[1]["code"].as_u64()), (Some(11), Some(11)));
    assert!(errors[0]["message"].as_str().unwrap().contains("missing.torrent"));
    assert!(errors[1]["infohash_v1"].is_string(), "{}", errors[1]);
}

#[test]
fn of_several_seeds_one_that_fails_does_not_end_the_others() {
    let sandbox = two();
    sandbox.write("some/b", 200_000, 2);
    let line = "seed page.torrent a.torrent b.torrent --data some --json";
    let mut seed = sandbox.start(&format!("{line} {LOCAL}"));
    let addr = address(&mut seed);
    let ended = sandbox.run(&format!("download b.torrent -o out -q --peer {addr} {LOCAL}"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    seed.signal("TERM");
    assert_eq!(seed.end(), 4, "the first that failed was no torrent");
    tells(&sandbox.run("seed page.torrent missing.torrent --data some"), 4, &["page", "missing"]);
}

#[test]
fn of_several_inputs_the_others_are_listed_and_judged() {
    let sandbox = two();
    let ended = sandbox.run("lint a.torrent page.torrent b.torrent missing.torrent");
    tells(&ended, 4, &["page.torrent", "missing.torrent"]);
    assert!(ended.stdout.contains("a.torrent:") && ended.stdout.contains("b.torrent:"));
    for command in ["download", "seed --data data"] {
        let ended = sandbox.run(&format!("{command} missing.torrent b.torrent --list"));
        tells(&ended, 11, &["missing.torrent"]);
        assert!(ended.stdout.contains("  b"), "{}", ended.stdout);
    }
}

#[test]
fn of_several_addresses_one_that_cannot_be_used_leaves_the_others() {
    let sandbox = two();
    // These are nobody's (RFC 5737).
    let binds = "--bind 203.0.113.1 --bind 127.0.0.1 --port 0 --no-dht --no-lsd";
    let mut seed = sandbox.start(&format!("seed a.torrent --data data --json {binds}"));
    let addr = address(&mut seed);
    let ended = sandbox.run(&format!("download a.torrent -o out -q --peer {addr} {LOCAL}"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    seed.signal("TERM");
    assert_eq!(seed.end(), 15);
    // Connections are made from the other one.
    let mut seed = sandbox.start(&format!("seed a.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let line = format!("download a.torrent -o two -q --peer {addr} --stall-timeout 20s {binds}");
    tells(&sandbox.run(&line), 15, &["203.0.113.1"]);
    assert!(same(&sandbox.path("data/a"), &sandbox.path("two/a")));
    let binds = "--bind 203.0.113.1 --bind 198.51.100.1 --port 0 --no-dht --no-lsd -q";
    let ended = sandbox.run(&format!("seed a.torrent --data data {binds}"));
    assert_eq!(ended.code, 15, "{}", ended.stderr);
}

#[cfg(unix)]
#[test]
fn of_several_files_those_that_can_be_read_are_verified() {
    use std::os::unix::fs::symlink;
    let sandbox = Sandbox::new();
    for (salt, name) in [(1, "a"), (2, "b")] {
        sandbox.write(&format!("data/tree/{name}"), 100_000, salt);
    }
    let made = sandbox.run("create data/tree -o tree.torrent -q");
    assert_eq!(made.code, 0, "{}", made.stderr);
    // Root may read whatever has a mode: a directory that leads into itself nobody can.
    fs::remove_file(sandbox.path("data/tree/a")).unwrap();
    symlink("a", sandbox.path("data/tree/a")).unwrap();
    sandbox.write("data/tree/b", 100_000, 3);
    let ended = sandbox.run("verify tree.torrent --data data");
    assert!(ended.stdout.contains("tree/b: differs"), "{}", ended.stdout);
    assert!(ended.stdout.contains("tree/a: "), "{}", ended.stdout);
    assert!([11, 13].contains(&ended.code), "{}", ended.stderr);
}
