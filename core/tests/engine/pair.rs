//! Two engines joined in memory: a torrent goes from one to the other, the same way each time.
//!
//! Hashes over all that went into an engine and came out of it are the run's fingerprint.

use std::path::Path;
use std::sync::Arc;

use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::record::{Fingerprint, Recorder, replay};
use bitswarm_core::testing::{Loopback, Node};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, Duration, Instant, Notice, TorrentNotice, UnixTime};

const ADDRESSES: [&str; 2] = ["10.0.0.1:6881", "10.0.0.2:6881"];

/// An engine with its files. It is recorded.
fn node(at: usize) -> Node<MemoryDisk> {
    let seed = [at as u8 + 1; 32];
    let wall = UnixTime(1_700_000_000);
    let engine = Recorder::recording(Config::default(), seed, Instant::ZERO, wall);
    Node::recorded(engine, ADDRESSES[at].parse().unwrap(), MemoryDisk::new())
}

fn run_until(pair: &mut Loopback<MemoryDisk>, done: impl Fn(&Loopback<MemoryDisk>) -> bool) {
    assert!(pair.run_until(Duration::from_secs(3600), done), "not done in an hour");
    assert!(pair.nodes.iter().all(|node| node.dialled.is_empty()), "somebody else is dialled");
}

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn torrent(content: &[u8]) -> Arc<Metainfo> {
    let creator = Creator::single_file("file", content.len() as u64);
    Arc::new(creator.finish_with_content(content).expect("makes a torrent"))
}

/// Node 0 has the content, node 1 fetches it; returns the fingerprints of both.
fn transfer(len: usize) -> Vec<Fingerprint> {
    let content = content(len);
    let metainfo = torrent(&content);
    let mut pair = Loopback::new([0, 1].map(node));
    pair.nodes[0].env.insert("/file", content.clone());
    let seed = AddTorrent::new(metainfo.clone(), Path::new("/"));
    let mut leech = AddTorrent::new(metainfo, Path::new("/"));
    leech.peers.push(ADDRESSES[0].parse().unwrap());
    pair.nodes[0].engine.add_torrent(pair.now, seed).expect("adds");
    run_until(&mut pair, |pair| pair.nodes[0].has_noticed(&TorrentNotice::Finished));
    pair.nodes[1].engine.add_torrent(pair.now, leech).expect("adds");
    run_until(&mut pair, |pair| pair.nodes[1].has_noticed(&TorrentNotice::Saved));
    assert_eq!(pair.nodes[1].env.file("/file"), Some(&content[..]));
    for node in &mut pair.nodes {
        node.engine.stop(pair.now);
    }
    let stopped = |node: &Node<MemoryDisk>| node.notices.contains(&Notice::Stopped);
    run_until(&mut pair, |pair| pair.nodes.iter().all(stopped));
    assert!(pair.nodes.iter().all(|node| node.engine.engine().torrents().next().is_none()));
    pair.nodes.iter_mut().map(|node| replays(&mut node.engine)).collect()
}

/// A fresh engine that is fed a node's recording does the same.
fn replays(engine: &mut Recorder) -> Fingerprint {
    engine.checkpoint();
    let log = engine.take_log();
    let replayed = replay(&log).expect("replays");
    assert_eq!(Some(replayed.fingerprint), engine.fingerprint());
    assert!(!replayed.cut_off && replayed.fingerprint.actions > 0);
    replayed.fingerprint
}

#[test]
fn a_torrent_goes_from_one_engine_to_the_other_the_same_way_twice() {
    assert_eq!(transfer(3_000_000), transfer(3_000_000));
}

#[test]
fn odd_sizes_go_through() {
    for len in [1, 16_383, 16_384, 16_385, 262_144, 262_145] {
        transfer(len);
    }
}
