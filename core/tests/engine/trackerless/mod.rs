//! Engines whose torrents have no tracker: peers find each other through the DHT alone, or by local
//! discovery alone, and private torrents do not.

mod host;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bitswarm_core::action::SocketKind;
use bitswarm_core::config::DhtConfig;
use bitswarm_core::dht::store::item::Item;
use bitswarm_core::dht::{DhtRequest, DhtRequestId, DhtResult, NodeId};
use bitswarm_core::disk::StateName;
use bitswarm_core::event::Datagram;
use bitswarm_core::lsd::GROUPS;
use bitswarm_core::lsd::message::Announce;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::testing::{Flight, Loopback};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{
    Commands, Config, Duration, Engine, Event, Instant, Notice, TorrentNotice, UnixTime,
};

use host::{Machine, Means, Net, addr, node, other_addr, replays, within};

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn torrent(private: bool) -> Arc<Metainfo> {
    let mut creator = Creator::single_file("file", content().len() as u64);
    creator.private = private;
    Arc::new(creator.finish_with_content(&content()).expect("makes a torrent"))
}

/// Node 1 has the content, node 2 wants it, node 0 is a node of the DHT and nothing else.
fn with_torrent(metainfo: &Arc<Metainfo>) -> Net {
    by(Means::Dht, metainfo)
}

fn by(means: Means, metainfo: &Arc<Metainfo>) -> Net {
    let mut net = host::net(3, means);
    net.nodes[1].env.disk.insert("/file", content());
    for at in [1, 2] {
        let add = AddTorrent::new(metainfo.clone(), Path::new("/"));
        net.nodes[at].engine.add_torrent(net.now, add).expect("adds");
    }
    net
}

fn result(net: &mut Net, at: usize, id: DhtRequestId) -> DhtResult {
    let done = |notice: &Notice| match notice {
        Notice::DhtDone { request, result } if *request == id => Some(*result.clone()),
        _ => None,
    };
    assert!(within(net, 60, |net| net.nodes[at].notices.iter().any(|n| done(n).is_some())));
    net.nodes[at].notices.iter().find_map(done).expect("it is done")
}

fn request(net: &mut Net, at: usize, request: DhtRequest) -> DhtResult {
    let now = net.now;
    let id = net.nodes[at].engine.dht_request(now, request).expect("it is on");
    result(net, at, id)
}

#[test]
fn a_torrent_without_trackers_is_downloaded_from_a_peer_found_in_the_dht() {
    let mut net = with_torrent(&torrent(false));
    assert!(within(&mut net, 120, |net| net.nodes[2].has_noticed(&TorrentNotice::Saved)));
    assert_eq!(net.nodes[2].env.disk.file("/file"), Some(&content()[..]));
    let found = |notice: &Notice| {
        matches!(notice, Notice::Torrent { what: TorrentNotice::DhtAnswered { .. }, .. })
    };
    assert!(net.nodes[2].notices.iter().any(found));
    for at in 0..3 {
        let now = net.now;
        net.nodes[at].engine.stop(now);
    }
    let stopped = |net: &Net| net.nodes.iter().all(|n| n.notices.contains(&Notice::Stopped));
    assert!(within(&mut net, 2, stopped), "the saved table does not hold up the end");
    net.nodes.iter_mut().for_each(replays);
}

#[test]
fn a_private_torrent_is_never_told_of() {
    let metainfo = torrent(true);
    let mut net = with_torrent(&metainfo);
    let id = net.nodes[2].engine.engine().torrents().next().expect("it is there");
    assert!(!within(&mut net, 3600, |net| net.nodes[2].has_noticed(&TorrentNotice::Finished)));
    // The DHT itself is on, also when the two are told of each other.
    let now = net.now;
    net.nodes[2].engine.add_peers(now, id, &[addr(1)]).expect("it is there");
    assert!(within(&mut net, 60, |net| net.nodes[2].has_noticed(&TorrentNotice::Saved)));
    let infohash = metainfo.infohash().0;
    for node in &net.nodes {
        assert!(node.engine.engine().dht_stats().is_some_and(|stats| stats.nodes == 2));
        assert!(!node.env.sent.is_empty());
        let tells = |data: &[u8]| data.windows(20).any(|window| window == infohash);
        assert!(!node.env.sent.iter().any(|datagram| tells(&datagram.data)));
    }
    for at in [1, 2] {
        // The last of the reserved bits of the handshake says that there is a node (BEP 5).
        assert_eq!(net.nodes[at].env.said[27] & 1, 0);
    }
}

#[test]
fn peers_tell_each_other_of_their_nodes() {
    let mut net = with_torrent(&torrent(false));
    let id = net.nodes[2].engine.engine().torrents().next().expect("it is there");
    let now = net.now;
    net.nodes[2].engine.add_peers(now, id, &[addr(1)]).expect("it is there");
    assert!(within(&mut net, 60, |net| net.nodes[2].has_noticed(&TorrentNotice::Saved)));
    for at in [1, 2] {
        assert_eq!(net.nodes[at].env.said[27] & 1, 1);
        let port = [0, 0, 0, 3, 9, 0x1a, 0xe1];
        assert!(net.nodes[at].env.said.windows(7).any(|window| window == port));
    }
}

#[test]
fn users_put_get_and_look_up() {
    let mut net = host::net(4, Means::Dht);
    assert!(!within(&mut net, 20, |_| false));
    let item = Item::immutable(&b"5:hello"[..]).expect("a string");
    let put = request(&mut net, 1, DhtRequest::Put { item: (&item).into(), cas: None });
    assert_eq!(put.stored, 3);
    let target = item.target();
    let got = request(&mut net, 2, DhtRequest::Get { target, salt: Vec::new() });
    assert_eq!(got.item, Some(item));
    let infohash = NodeId([7; 20]);
    let (announce, enough) = (None, None);
    let peers = DhtRequest::Peers { infohash, no_seeds: false, announce, enough };
    let looked_up = request(&mut net, 3, peers);
    assert_eq!((looked_up.answered, looked_up.peers), (3, vec![]));
}

#[test]
fn the_table_is_saved_at_the_end_and_used_at_the_next_start() {
    let mut net = host::net(4, Means::Dht);
    assert!(!within(&mut net, 30, |_| false));
    let now = net.now;
    net.nodes[2].engine.stop(now);
    assert!(within(&mut net, 2, |net| net.nodes[2].notices.contains(&Notice::Stopped)));
    assert!(net.nodes[2].env.has_saved(StateName::Dht(0)).is_some());
    // The bootstrap node is away when it comes back.
    net.nodes[0].engine.stop(now);
    within(&mut net, 2, |_| false);
    let disk = net.nodes[2].env.disk.clone();
    net.replace(2, node(2, Means::Dht, disk, net.now));
    let ready = |net: &Net| {
        let known = |n: &Notice| matches!(n, Notice::DhtReady { nodes } if *nodes >= 2);
        net.nodes[2].notices.iter().any(known)
    };
    assert!(within(&mut net, 30, ready));
}

/// What a message says under a key of a bencoded dictionary, if it is so many bytes.
fn value<'a>(sent: &'a Flight, key: &str, len: usize) -> Option<&'a [u8]> {
    let key = format!("{}:{key}{len}:", key.len()).into_bytes();
    let at = sent.data.windows(key.len()).position(|window| window == key)? + key.len();
    sent.data.get(at..at + len)
}

fn says(sent: &Flight, word: &str) -> bool {
    sent.data.windows(word.len()).any(|window| window == word.as_bytes())
}

/// BEP 45, "node behavior".
#[test]
fn a_host_with_two_addresses_is_two_nodes() {
    let mut net = by(Means::MultihomedDht, &torrent(false));
    assert!(!within(&mut net, 60, |_| false));
    let homes = [addr(2), other_addr(2)];
    let sent =
        |from: SocketAddr| net.nodes[2].env.sent.iter().filter(move |sent| sent.from == from);

    // Each has one id, far from the other's.
    let ids = homes.map(|home| {
        let mut ids: Vec<&[u8]> = sent(home).filter_map(|sent| value(sent, "id", 20)).collect();
        ids.dedup();
        let [id] = ids[..] else { panic!("{home} has {} ids", ids.len()) };
        id.to_vec()
    });
    let common = ids[0].iter().zip(&ids[1]).take_while(|(a, b)| a == b).count();
    assert!(common < 2, "{ids:?}");

    // Each answers what it was asked, with the transaction id of the question; also the other one.
    for home in homes {
        let ids = |sent: Vec<&Flight>| {
            let mut ids: Vec<Vec<u8>> =
                sent.into_iter().filter_map(|sent| value(sent, "t", 4)).map(Vec::from).collect();
            ids.sort_unstable();
            ids
        };
        let all = net.nodes.iter().flat_map(|node| &node.env.sent);
        let asked = ids(all.filter(|s| s.to == home && says(s, "1:y1:q")).collect());
        let answered = ids(sent(home).filter(|s| says(s, "1:y1:r")).collect());
        assert!(!asked.is_empty());
        assert_eq!(answered, asked, "{home}");
    }

    // Each announces with its own token, and they do not ask for the same at one time.
    let infohash = torrent(false).infohash();
    let asks = |sent: &&Flight| {
        says(sent, "9:get_peers") && value(sent, "info_hash", 20) == Some(&infohash.0[..])
    };
    let asked: Vec<&Flight> = net.nodes[2].env.sent.iter().filter(asks).collect();
    let runs: Vec<&[&Flight]> = asked.chunk_by(|one, next| one.from == next.from).collect();
    assert!(homes.iter().all(|home| runs.iter().any(|run| run[0].from == *home)));
    for run in runs {
        let whole = |at: usize| run.iter().any(|sent| sent.to == addr(at));
        assert!(whole(0) && whole(1), "a lookup is not cut by the other's");
    }
    let infohash = NodeId::from(infohash);
    let (announce, enough) = (None, None);
    let found =
        request(&mut net, 0, DhtRequest::Peers { infohash, no_seeds: false, announce, enough });
    let stored: Vec<SocketAddr> = found.peers.into_iter().filter(|p| homes.contains(p)).collect();
    assert_eq!(stored.len(), 2, "{stored:?}");

    // Each keeps its table.
    let now = net.now;
    net.nodes[2].engine.stop(now);
    assert!(within(&mut net, 2, |net| net.nodes[2].notices.contains(&Notice::Stopped)));
    let tables = [0, 1].map(|node| net.nodes[2].env.has_saved(StateName::Dht(node)));
    assert!(tables[0].is_some() && tables[1].is_some() && tables[0] != tables[1]);
    replays(&mut net.nodes[2]);
}

/// A socket on all addresses of a machine: an answer leaves from the one that was asked, and what is no
/// answer from wherever the system likes.
#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
    let dht = Some(DhtConfig { bootstrap: Vec::new(), ..DhtConfig::default() });
    let config = Config { listen, dht, ..Config::default() };
    let engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
    let mut net = Loopback::alone(engine, Machine::default());
    net.run_until(Duration::from_secs(5), |_| false);
    let mut sockets = net.nodes[0].sockets.iter();
    let socket = *sockets.find(|(_, socket)| socket.kind == SocketKind::Udp).expect("bound").0;
    let remote = SocketAddr::from(([20, 0, 0, 1], 5000));
    for asked in [addr(3).ip(), addr(4).ip()] {
        net.nodes[0].env.sent.clear();
        let data = b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:xx1:y1:qe"[..].into();
        let (local, received) = (Some(asked), net.now);
        let batch = vec![Datagram { remote, local, received, data }];
        net.happen(0, Event::Datagrams { socket, batch });
        net.settle();
        let answers = net.nodes[0].env.sent.iter().filter(|sent| says(sent, "1:y1:r"));
        let from: Vec<SocketAddr> = answers.map(|sent| sent.from).collect();
        assert_eq!(from, [SocketAddr::new(asked, 6881)]);
    }
}

/// The announces that a node sent: when is not known here.
fn announces(net: &Net, at: usize) -> usize {
    net.nodes[at].env.sent.iter().filter(|datagram| datagram.to == GROUPS[0]).count()
}

#[test]
fn peers_in_the_same_network_find_each_other() {
    let mut net = by(Means::LocalDiscovery, &torrent(false));
    assert!(within(&mut net, 2, |net| net.nodes[2].has_noticed(&TorrentNotice::Finished)));
    assert_eq!(net.nodes[2].env.disk.file("/file"), Some(&content()[..]));
    assert_eq!([0, 1, 2].map(|at| announces(&net, at)), [0, 1, 1], "node 0 has no torrent");
    within(&mut net, 602, |_| false);
    assert_eq!([1, 2].map(|at| announces(&net, at)), [3, 3], "every five minutes");
    for at in 0..3 {
        let now = net.now;
        net.nodes[at].engine.stop(now);
    }
    let stopped = |net: &Net| net.nodes.iter().all(|n| n.notices.contains(&Notice::Stopped));
    assert!(within(&mut net, 2, stopped));
    net.nodes.iter_mut().for_each(replays);
}

#[test]
fn a_private_torrent_is_not_announced_in_the_network_nor_heard_of() {
    let metainfo = torrent(true);
    let mut net = by(Means::LocalDiscovery, &metainfo);
    // Somebody announces it all the same.
    let infohashes = vec![metainfo.infohash()];
    let announce = Announce { port: 6881, infohashes, cookie: None }.encode(GROUPS[0]);
    let remote = SocketAddr::new(addr(1).ip(), 6771);
    within(&mut net, 1, |_| false);
    let mut sockets = net.nodes[2].sockets.iter();
    let group = sockets.find(|(_, socket)| socket.addr == GROUPS[0]).map(|(id, _)| *id);
    net.datagram(2, group.expect("it has joined"), remote, &announce);
    assert!(!within(&mut net, 3600, |net| net.nodes[2].has_noticed(&TorrentNotice::Finished)));
    assert_eq!([1, 2].map(|at| announces(&net, at)), [0, 0]);
    assert_eq!(net.nodes[2].env.said, [], "it was not even dialled");
}

#[test]
fn a_torrent_that_is_paused_or_gone_is_not_announced() {
    let mut net = by(Means::LocalDiscovery, &torrent(false));
    assert!(within(&mut net, 2, |net| net.nodes[2].has_noticed(&TorrentNotice::Finished)));
    let id = |net: &Net, at: usize| net.nodes[at].engine.engine().torrents().next().expect("there");
    let (now, one, two) = (net.now, id(&net, 1), id(&net, 2));
    net.nodes[1].engine.pause(now, one).expect("it is there");
    net.nodes[2].engine.remove_torrent(now, two, false).expect("it is there");
    within(&mut net, 3600, |_| false);
    assert_eq!([1, 2].map(|at| announces(&net, at)), [1, 1]);
    let now = net.now;
    net.nodes[1].engine.resume(now, one).expect("it is there");
    within(&mut net, 10, |_| false);
    assert_eq!(announces(&net, 1), 2);
}
