//! Addresses that mean this host or its network, named by strangers: nobody is sent there.

use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::metainfo::Magnet;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::Message;
use bitswarm_core::wire::extension::Extension;

use super::scene::{PEER, Sample, Scene};

#[test]
fn trackers_of_a_link_that_mean_this_host_in_any_form_are_asked_for_announces_alone() {
    let asked = |tracker: &str| {
        let sample = Sample::plain(1 << 16);
        let link = format!("magnet:?xt=urn:btih:{}&tr={tracker}", sample.infohash());
        let magnet: Magnet = link.parse().expect("a link");
        let scene = Scene::new(AddTorrent::new(magnet, "/data"), MemoryDisk::new());
        !scene.dialled().is_empty()
    };
    for host in [
        "0.0.0.0",
        "[::]",
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "192.168.1.1",
        "169.254.169.254",
        "[fe80::1]",
    ] {
        assert!(!asked(&format!("http://{host}:631/any/path?x=1")), "{host}");
    }
    assert!(!asked("http://0.0.0.0:631/announce") && !asked("http://[::]:631/announce"));
    assert!(asked("http://192.168.1.1:631/announce") && asked("http://50.0.0.7:80/any"));
}

#[test]
fn peer_names_neither_ports_of_the_system_nor_addresses_nearer_than_itself() {
    let sample = Sample::plain(1 << 20);
    let mut scene = Scene::leech(&sample);
    let peer = scene.greet_seed(&sample, PEER, true);
    let named: [([u8; 4], u16); 5] = [
        ([51, 0, 0, 1], 22),
        ([192, 168, 1, 1], 6881),
        ([127, 0, 0, 1], 6881),
        ([0, 0, 0, 0], 6881),
        ([51, 0, 0, 2], 6881),
    ];
    let mut payload = b"d5:added30:".to_vec();
    for (ip, port) in named {
        payload.extend(ip);
        payload.extend(port.to_be_bytes());
    }
    payload.push(b'e');
    let id = Extension::PeerExchange.our_id();
    scene.say(peer, Message::Extended { id, payload: payload.into() });
    let dialled: Vec<String> = scene.dialled().iter().map(|(_, to)| to.to_string()).collect();
    assert_eq!(dialled, ["51.0.0.2:6881"]);
}

/// Whom a link's reader dials in half a minute, if everybody refuses.
fn dialled_for(hints: &str) -> Vec<String> {
    let sample = Sample::plain(1 << 16);
    let link = format!("magnet:?xt=urn:btih:{}{hints}", sample.infohash());
    let magnet: Magnet = link.parse().expect("a link");
    let mut scene = Scene::new(AddTorrent::new(magnet, "/data"), MemoryDisk::new());
    let mut dialled = Vec::new();
    for _ in 0..290 {
        while let Some(&(_, to)) = scene.dialled().first() {
            let conn = scene.take_dialled(&to.to_string()).expect("it is dialled");
            scene.refused(conn);
            dialled.push(to.to_string());
        }
        scene.wait(Duration::from_millis(100));
    }
    dialled
}

#[test]
fn trackers_of_a_link_at_every_port_of_a_host_make_no_scan() {
    let trackers: String =
        (1..200).map(|port| format!("&tr=http://50.0.0.7:{port}/announce")).collect();
    let mut ports = dialled_for(&(trackers + "&tr=http://50.0.0.8/announce"));
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 9, "{ports:?}");
    assert!(ports.contains(&"50.0.0.8:80".to_owned()), "other hosts are asked meanwhile");
}

#[test]
fn peers_of_a_link_make_no_scan_and_are_no_services_of_our_network() {
    let peers: String = (2000..2200).map(|port| format!("&x.pe=50.0.0.7:{port}")).collect();
    let dialled = dialled_for(&(peers + "&x.pe=192.168.1.1:22&x.pe=192.168.1.1:6881"));
    let at = |host: &str| dialled.iter().filter(|to| to.starts_with(host)).count();
    assert!((8..=24).contains(&at("50.0.0.7:")), "{dialled:?}");
    assert!(at("192.168.1.1:22") == 0 && at("192.168.1.1:6881") > 0, "{dialled:?}");
}
