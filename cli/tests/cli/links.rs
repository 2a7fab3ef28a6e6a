//! Magnet links and what goes with them on the command line: what is wrong is said in one line, and
//! before anybody is asked.

use std::net::UdpSocket;

use crate::sandbox::Sandbox;

const LINK: &str = "magnet:?xt=urn:btih:67e7ff5acf8589fc00f8b3c82cc32cdb3e35482c";
const ALONE: &str = "--bind 127.0.0.1 --port 0 --no-dht --timeout 1s";

#[test]
fn what_is_wrong_with_a_link_is_said_by_whoever_takes_links() {
    let sandbox = Sandbox::new();
    for command in ["info", "download", "metadata -o x.torrent", "dht lookup", "scrape"] {
        let run = |link: &str| sandbox.run(&format!("{command} {link}"));
        run("magnet:xt=urn:btih:67").fails(4, &["magnet:?"]);
        run("magnet:?dn=x").fails(4, &["xt="]);
        run("magnet:?xt=urn:btih:67").fails(4, &["40 hexadecimal"]);
        run(&format!("{LINK}&so=5-2")).fails(4, &["so="]);
    }
    for command in ["seed --data .", "verify --data .", "magnet", "lint"] {
        sandbox.run(&format!("{command} {LINK}")).fails(4, &["bitswarm metadata"]);
    }
}

#[test]
fn metadata_that_cannot_be_written_is_not_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.run(&format!("metadata {LINK} -o nowhere/x.torrent")).fails(11, &["nowhere/x.torrent"]);
}

#[test]
fn why_there_are_no_peers_is_said() {
    let sandbox = Sandbox::new();
    let ask = |options: &str| sandbox.run(&format!("metadata {LINK} -o x -q {ALONE} {options}"));
    ask("").fails(6, &["no tracker"]);
    ask("--peer 127.0.0.1:9").fails(6, &["none can be reached"]);
}

#[test]
fn an_exception_from_checking_certificates_names_a_host() {
    let sandbox = Sandbox::new();
    for host in ["https://t.example/", "t.example:443", "t.example/x", "*"] {
        let line = format!("scrape {LINK} --tracker-insecure {host}");
        sandbox.run(&line).fails(2, &["host alone"]);
    }
    for host in ["t.example", "192.0.2.1", "[2001:db8::1]", "2001:db8::1"] {
        // It gets as far as the next thing that is missing.
        let line = format!("scrape {LINK} --tracker-insecure {host}");
        sandbox.run(&line).fails(2, &["names no tracker"]);
    }
}

#[test]
fn a_tracker_that_says_nothing_is_not_waited_for_longer_than_asked() {
    let sandbox = Sandbox::new();
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}/announce", mute.local_addr().unwrap());
    let line = format!("scrape {LINK} --tracker {url} --bind 127.0.0.1 --timeout 500ms");
    let ran = sandbox.run(&line);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("{url}: no answer within 0.5 s\n")), "{}", ran.stderr);
}
