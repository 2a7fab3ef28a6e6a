//! The ways to name a torrent, wherever one is taken.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use crate::sandbox::{Ended, Sandbox};

const LOCAL: &str = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd";

/// A sandbox with `data/content` and its torrent, `t.torrent`; its infohashes of v1 and v2.
fn with_torrent() -> (Sandbox, String, String) {
    let sandbox = Sandbox::new();
    sandbox.write("data/content", 100_000, 1);
    assert_eq!(sandbox.run("create data/content -o t.torrent -q").code, 0);
    let info = sandbox.run("info t.torrent --json").json();
    let hash = |field: &str| info[field].as_str().unwrap().to_owned();
    (sandbox, hash("infohash_v1"), hash("infohash_v2"))
}

/// Serves one body at every path that has `torrent` in it; its address.
fn serve(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            let found = String::from_utf8_lossy(&asked).contains("torrent");
            let (status, body) = if found { ("200 OK", &body[..]) } else { ("404 No", &b""[..]) };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

/// Runs with a file on stdin.
fn run_with_stdin(sandbox: &Sandbox, args: &str, stdin: &Path) -> Ended {
    let mut command = sandbox.command(args.split_whitespace());
    command.stdin(Stdio::from(fs::File::open(stdin).unwrap()));
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What each command says of a torrent that `{}` stands for, where it has to be there as a whole.
const WHOLE: [(&str, &str); 8] = [
    ("info {}", "content"),
    ("verify {} --data data -q", "pieces are right"),
    ("magnet {}", "magnet:?xt=urn:btih:"),
    ("lint {}", "nothing to complain about"),
    ("download {} --list", "content"),
    ("seed {} --list", "content"),
    ("metadata {} -o m.torrent --force", "m.torrent: content"),
    ("edit {} -o e.torrent --force --comment x", "the infohash is the same"),
];

#[test]
fn a_web_address_and_stdin_stand_for_the_torrent_they_give() {
    let (sandbox, v1, _) = with_torrent();
    let torrent = sandbox.path("t.torrent");
    let address = format!("{}/t.torrent", serve(fs::read(&torrent).unwrap()));
    for (line, word) in WHOLE {
        let ended = sandbox.run(&line.replace("{}", &address));
        assert_eq!(ended.code, 0, "{line}: {}", ended.stderr);
        assert!(ended.stdout.contains(word), "{line}: {}", ended.stdout);
        let ended = run_with_stdin(&sandbox, &line.replace("{}", "-"), &torrent);
        assert_eq!(ended.code, 0, "{line}: {}", ended.stderr);
        assert!(ended.stdout.contains(word), "{line}: {}", ended.stdout);
    }
    assert_eq!(sandbox.run(&format!("diff {address} t.torrent")).code, 0);
    assert_eq!(run_with_stdin(&sandbox, "diff t.torrent -", &torrent).code, 0);
    let similar = format!("create data/content -o s.torrent -q --similar {address}");
    assert_eq!(sandbox.run(&similar).code, 0);
    let similar = sandbox.run("info s.torrent --json").json()["similar"][0].clone();
    assert_eq!(similar, v1);
    // The whole is there already: it is checked, and that is all.
    let line = format!("download {address} -o data -q {LOCAL}");
    let ended = sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout, "data/content: was complete already\n");
    let mut seed = sandbox.start(&format!("seed {address} --data data --json {LOCAL}"));
    let checked = seed.wait_for("checked");
    assert_eq!(checked["pieces_have"], checked["pieces"]);
    assert!(checked["pieces"].as_u64() > Some(0), "{checked}");
}

#[test]
fn a_web_address_without_a_torrent_is_an_error_in_one_line() {
    let (sandbox, ..) = with_torrent();
    let address = serve(b"<!DOCTYPE html><title>Log in</title>".to_vec());
    sandbox.run(&format!("info {address}/nothing?key=secret")).fails(4, &["404", "key=***"]);
    sandbox.run(&format!("info {address}/torrent?key=secret")).fails(4, &[&address]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    sandbox.run(&format!("info http://{free}/t.torrent")).fails(6, &["connection refused"]);
    sandbox.run("info http:///x").fails(2, &["host"]);
    let line = format!("edit {address}/torrent --comment x");
    sandbox.run(&line).fails(2, &["-o FILE"]);
}

#[test]
fn a_bare_infohash_stands_for_a_link_to_it() {
    let (sandbox, v1, v2) = with_torrent();
    let base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let of_base32 = "00443214c74254b635cf84653a56d7c675be77df";
    for (name, hash) in [(&*v1, &*v1), (base32, of_base32), (&*v2, &*v2)] {
        let info = sandbox.run(&format!("info {name} --json"));
        assert!(info.stdout.contains(hash), "{name}: {} {}", info.stdout, info.stderr);
        let link = sandbox.run(&format!("magnet {name}")).stdout;
        assert!(link.starts_with("magnet:?xt=urn:bt") && link.contains(hash), "{link}");
        let line = format!("download {name} -o out -q --stall-timeout 300ms {LOCAL}");
        sandbox.run(&line).fails(6, &["no peer"]);
        let line = format!("metadata {name} -o m -q --timeout 300ms --bind 127.0.0.1 --no-dht");
        sandbox.run(&line).fails(6, &["no metadata"]);
        let line = format!("scrape {name} --tracker udp://127.0.0.1:1 --timeout 300ms");
        assert_eq!(sandbox.run(&line).code, 6, "{name}");
        let node = "--dht-bootstrap 127.0.0.1:1 --bind 127.0.0.1 --timeout 300ms";
        for command in ["lookup", "scrape"] {
            sandbox.run(&format!("dht {command} {name} {node}")).fails(6, &["no DHT node"]);
        }
        for line in [
            format!("verify {name}"),
            format!("seed {name}"),
            format!("lint {name}"),
            format!("diff {name} t.torrent"),
            format!("edit {name} -o x --comment x"),
        ] {
            sandbox.run(&line).fails(4, &["bitswarm metadata", hash]);
        }
    }
    // A file of that name is a file.
    fs::copy(sandbox.path("t.torrent"), sandbox.path(&v1)).unwrap();
    assert!(sandbox.run(&format!("info {v1}")).stdout.contains("content"));
    sandbox.run(&format!("info {}", &v1[1..])).fails(2, &["40 or 64", "--help"]);
}

#[test]
fn a_peer_that_has_it_gives_what_a_bare_infohash_names() {
    let (sandbox, v1, v2) = with_torrent();
    let mut seed = sandbox.start(&format!("seed t.torrent --data data --json {LOCAL}"));
    let addr = seed.wait_for("listening")["addr"].as_str().unwrap().to_owned();
    for (name, dir) in [(v1, "one"), (v2, "two")] {
        let line = format!("download {name} -o {dir} -q --peer {addr} {LOCAL} --stall-timeout 20s");
        let ended = sandbox.run(&line);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(sandbox.path(dir).join("content").exists());
    }
}

#[test]
fn lists_name_inputs() {
    let (sandbox, ..) = with_torrent();
    sandbox.write("data/more", 50_000, 2);
    assert_eq!(sandbox.run("create data/more -o m.torrent -q").code, 0);
    fs::write(sandbox.path("list"), "# two of them\nt.torrent\n\n  m.torrent\r\n").unwrap();
    for line in ["download -i list --list", "seed --input-file list --list"] {
        let ended = sandbox.run(line);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stdout.contains("content\n") && ended.stdout.contains("more\n"));
    }
    let ended = run_with_stdin(&sandbox, "download m.torrent -i - --list", &sandbox.path("list"));
    assert_eq!(ended.stdout.matches("more").count(), 2, "named twice, and once in its own list");
    fs::write(sandbox.path("list"), "# nothing\n").unwrap();
    sandbox.run("download -i list").fails(2, &["name no torrent"]);
    sandbox.run("download -i nowhere").fails(11, &["nowhere"]);
    sandbox.run("download -i - -").fails(2, &["standard input"]);
}

#[test]
fn data_is_here_by_default_and_may_be_the_folder_itself() {
    let sandbox = Sandbox::new();
    sandbox.write("album/one", 100_000, 1);
    sandbox.write("album/sub/two", 50_000, 2);
    sandbox.write("single", 70_000, 3);
    for name in ["album", "single"] {
        assert_eq!(sandbox.run(&format!("create {name} -q --protocol v1")).code, 0);
    }
    let here = |line: &str, dir: &str| {
        let mut command = sandbox.command(line.split_whitespace());
        command.current_dir(sandbox.path(dir));
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for (line, dir) in [
        ("verify album.torrent -q", ""),
        ("verify album.torrent -q --data album", ""),
        ("verify album.torrent -q --data album/", ""),
        ("verify ../album.torrent -q", "album"),
        ("verify ../../album.torrent -q --data ..", "album/sub"),
        ("verify single.torrent -q --data single", ""),
    ] {
        assert_eq!(here(line, dir), (0, String::new()), "{line}");
    }
    for (line, pieces) in
        [("seed album.torrent --data album", 150_000), ("seed single.torrent", 70_000)]
    {
        let mut seed = sandbox.start(&format!("{line} --json {LOCAL}"));
        assert_eq!(seed.wait_for("added")["total"], pieces);
        let checked = seed.wait_for("checked");
        assert_eq!(checked["pieces_have"], checked["pieces"]);
        seed.signal("TERM");
        assert_eq!(seed.end(), 0);
    }
    fs::create_dir(sandbox.path("other")).unwrap();
    sandbox.run("seed album.torrent --data other").fails(11, &["other/album", "--data"]);
}
