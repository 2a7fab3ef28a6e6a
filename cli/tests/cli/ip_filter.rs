//! `--ip-filter`: whom there are no dealings with, from files in any format, read again by SIGUSR2.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;

use crate::sandbox::{Running, Sandbox};

const LOCAL: &str = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd --no-pex";

fn with_content() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/content", 3_000_000, 1);
    let made = sandbox.run("create data/content -o t.torrent -q --protocol v1");
    assert_eq!(made.code, 0, "{}", made.stderr);
    sandbox
}

fn seed(sandbox: &Sandbox, options: &str) -> (Running, SocketAddr) {
    let line = format!("seed t.torrent --data data --json {LOCAL} {options}");
    let mut seed = sandbox.start(&line);
    let addr = seed.wait_for("listening")["addr"].as_str().unwrap().parse().unwrap();
    seed.wait_for("checked");
    (seed, addr)
}

#[test]
fn who_is_refused_is_neither_dialled_nor_accepted() {
    let sandbox = with_content();
    fs::write(sandbox.path("others.dat"), "010.0.0.0 - 10.255.255.255 , 100 , x\n").unwrap();
    let p2b = b"\xff\xff\xff\xffP2B\x02all\0\x7f\0\0\0\x7f\xff\xff\xff";
    let file = fs::File::create(sandbox.path("local.p2b.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packed.write_all(p2b).unwrap();
    packed.finish().unwrap();
    let both = "--ip-filter others.dat --ip-filter local.p2b.gz";
    let download = |name: &str, seed: SocketAddr, options: &str| {
        let options = format!("{LOCAL} --json --stall-timeout 2 {options}");
        sandbox.run(&format!("download t.torrent -o {name} --peer {seed} {options}"))
    };
    let (_open, addr) = seed(&sandbox, "--ip-filter others.dat");
    let refused = download("a", addr, both);
    assert_eq!(refused.code, 6, "not dialled: {}", refused.stdout);
    assert!(refused.stdout.contains(r#""event":"ip_filter","ranges":2,"#), "{}", refused.stdout);
    assert!(!refused.stdout.contains("peer_connected"), "{}", refused.stdout);
    let (_closed, refusing) = seed(&sandbox, both);
    assert_eq!(download("b", refusing, "").code, 6, "not accepted");
    assert_eq!(download("c", addr, "--ip-filter others.dat").code, 0);
}

#[test]
fn trackers_are_refused_after_their_names_were_looked_up() {
    let sandbox = with_content();
    fs::write(sandbox.path("local"), "127.0.0.0/8\n::1\n").unwrap();
    for tracker in ["http://localhost:9/announce", "udp://localhost:9", "http://127.0.0.1:9/a"] {
        let options = format!("{LOCAL} --json --stall-timeout 2 --tracker {tracker}");
        let line = format!("download t.torrent -o out --ip-filter local {options}");
        let ended = sandbox.run(&line);
        let failed = ended.stdout.lines().find(|line| line.contains("tracker_failed"));
        let failed = failed.unwrap_or_else(|| panic!("{tracker}: {}", ended.stdout));
        assert!(failed.contains("refused by the IP filter"), "{tracker}: {failed}");
    }
}

#[test]
fn a_list_that_is_read_again_ends_connections() {
    let sandbox = with_content();
    let list = sandbox.path("list");
    fs::write(&list, "10.0.0.1\n").unwrap();
    let (mut seed, addr) = seed(&sandbox, "--ip-filter list");
    let line = format!("download t.torrent -o out --json --down 50K --peer {addr} {LOCAL}");
    let mut download = sandbox.start(&format!("{line} --stall-timeout 3"));
    download.wait_for("peer_connected");
    // A list that is none changes nothing.
    fs::write(&list, "<html>\n").unwrap();
    seed.signal("USR2");
    std::thread::sleep(std::time::Duration::from_secs(1));
    download.wait_for("progress");
    fs::write(&list, "127.0.0.0/8\nnonsense\n10.0.0.0/40\n").unwrap();
    seed.signal("USR2");
    let loaded = seed.wait_for("ip_filter");
    assert_eq!((&loaded["ranges"], &loaded["bad_lines"]), (&1.into(), &2.into()));
    assert_eq!(download.end(), 8, "nothing moves any more: {}", download.stderr());
    seed.signal("TERM");
    assert_eq!(seed.end(), 0);
    let said = seed.stderr();
    for words in [
        "list: line 1: no address, range or network",
        "the IP filter stays as it was",
        "list: line 2: no address, range or network; left out",
        "list: line 3: the length of the prefix is none; left out",
    ] {
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
}

#[test]
fn a_list_that_cannot_be_used_ends_the_run_with_its_code() {
    let sandbox = with_content();
    let run = |list: &str| {
        sandbox.run(&format!("download t.torrent -o out -q {LOCAL} --ip-filter {list}"))
    };
    run("missing").fails(11, &["cannot read missing"]);
    fs::write(sandbox.path("page"), "<!doctype html>\n<p>moved</p>\n").unwrap();
    run("page").fails(4, &["--ip-filter page", "line 1", "no address, range or network"]);
    fs::write(sandbox.path("cut.p2b"), b"\xff\xff\xff\xffP2B\x02name\0\x01").unwrap();
    run("cut.p2b").fails(4, &["cut.p2b", "cut off after 0 ranges"]);
    fs::write(sandbox.path("cut.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    run("cut.gz").fails(4, &["cut.gz", "damaged"]);
}
