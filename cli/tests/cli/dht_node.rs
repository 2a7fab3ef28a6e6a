//! `dht node`: its id and table are kept from run to run, where that can be; without, it runs all the same.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use crate::sandbox::{Running, Sandbox};

const NODE: &str = "dht node --bind 127.0.0.1 --port 0 --dht-bootstrap 127.0.0.1:9";

/// Where the node that just started listens, by its first line.
#[track_caller]
fn address(node: &mut Running) -> String {
    let line = node.line();
    line.strip_prefix("udp://").unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// The id with which a node answers a ping (BEP 5).
#[track_caller]
fn id_of(addr: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    socket.send_to(ping, addr).unwrap();
    let mut packet = [0; 1500];
    // It may ask us something first.
    loop {
        let count = socket.recv(&mut packet).expect("an answer");
        let answer = &packet[..count];
        let marker = b"1:rd2:id20:";
        if let Some(at) = answer.windows(marker.len()).position(|part| part == marker) {
            return answer[at + marker.len()..][..20].to_vec();
        }
    }
}

#[test]
fn a_node_that_has_met_another_keeps_its_id_and_its_table() {
    let sandbox = Sandbox::new();
    let mut other = sandbox.start(&format!("{NODE} --state-dir first"));
    let first = address(&mut other);
    let run = |state: &str, begin_at: &str| {
        let line = format!("dht node --bind 127.0.0.1 --port 0 --json --dht-bootstrap {begin_at}");
        let mut node = sandbox.start(&format!("{line} {state}"));
        let listening = node.wait_for("listening");
        let ready = node.wait_for("ready");
        let id = id_of(listening["addr"].as_str().unwrap());
        node.signal("TERM");
        assert_eq!(node.end(), 0);
        (id, ready["nodes"].as_u64().unwrap())
    };
    let (id, nodes) = run("--state-dir kept", &first);
    assert_eq!(nodes, 1);
    // The next run knows it by its table alone.
    assert_eq!(run("--state-dir kept", "127.0.0.1:9"), (id.clone(), 1));
    for state in ["--state-dir new", ""] {
        assert_ne!(run(state, &first).0, id);
    }
    assert!(sandbox.path("home/.local/state/bitswarm").exists());
}

#[test]
fn a_node_that_can_keep_nothing_says_so_and_runs() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("home"), "no directory").unwrap();
    let mut node = sandbox.start(NODE);
    id_of(&address(&mut node));
    node.signal("TERM");
    assert_eq!(node.end(), 0);
    let said = node.stderr();
    assert!(said.contains("going on without") && said.contains("--state-dir"), "{said}");
    // The place that the user named is meant.
    sandbox.run(&format!("{NODE} --state-dir home/x")).fails(11, &["home/x"]);
}
