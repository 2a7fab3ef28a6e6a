//! Two engines in memory, each with its policy for encryption: what they agree on, that a torrent
//! passes whatever that is, and what an eavesdropper sees.

use std::path::Path;
use std::sync::Arc;

use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::encryption::{Encryption, EncryptionPolicy};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{Creator, Protocol};
use bitswarm_core::testing::{Loopback, NoFiles, Node};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, Duration, Engine, Instant, TorrentNotice, UnixTime};
use bytes::BytesMut;

use EncryptionPolicy::{Allow, Off, Prefer, Require};

const ADDRESSES: [&str; 2] = ["10.0.0.1:6881", "10.0.0.2:6881"];

fn config(encryption: EncryptionPolicy) -> Config {
    Config { encryption, ..Config::default() }
}

fn torrent(protocol: Protocol) -> (Vec<u8>, Arc<Metainfo>) {
    let content: Vec<u8> =
        (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let creator = Creator::single_file("file", content.len() as u64).with_protocol(protocol);
    let metainfo = creator.finish_with_content(&content).expect("makes a torrent");
    (content, Arc::new(metainfo))
}

/// A leech with one policy fetches from a seed with another. How each said they were encrypted.
fn transfer(
    leech: EncryptionPolicy,
    seed: EncryptionPolicy,
    protocol: Protocol,
) -> Option<[Encryption; 2]> {
    let (content, metainfo) = torrent(protocol);
    let node = |at: usize, policy| {
        let engine = Engine::new(config(policy), [at as u8 + 1; 32], Instant::ZERO, UnixTime(1));
        Node::new(engine, ADDRESSES[at].parse().unwrap(), MemoryDisk::new())
    };
    let mut pair = Loopback::new([node(0, seed), node(1, leech)]);
    pair.nodes[0].env.insert("/file", content.clone());
    let add = AddTorrent::new(metainfo.clone(), Path::new("/"));
    pair.nodes[0].engine.add_torrent(pair.now, add).expect("adds");
    let checked = |pair: &Loopback<MemoryDisk>| pair.nodes[0].has_noticed(&TorrentNotice::Finished);
    assert!(pair.run_until(Duration::from_secs(10), checked));
    let mut add = AddTorrent::new(metainfo, Path::new("/"));
    add.peers.push(ADDRESSES[0].parse().unwrap());
    pair.nodes[1].engine.add_torrent(pair.now, add).expect("adds");
    let saved = |pair: &Loopback<MemoryDisk>| pair.nodes[1].has_noticed(&TorrentNotice::Saved);
    if !pair.run_until(Duration::from_secs(5), saved) {
        return None;
    }
    assert_eq!(pair.nodes[1].env.file("/file"), Some(&content[..]));
    Some([0, 1].map(|at| {
        let said = pair.nodes[at].torrent_notices().find_map(|notice| match notice {
            TorrentNotice::PeerConnected { encryption, incoming, .. } => {
                assert_eq!(*incoming, at == 0);
                Some(*encryption)
            }
            _ => None,
        });
        said.expect("they are connected")
    }))
}

#[test]
fn each_pair_of_policies_agrees_or_does_not_and_none_waits_for_a_retry() {
    let none = Some([Encryption::None; 2]);
    let handshake = Some([Encryption::Handshake; 2]);
    let rc4 = Some([Encryption::Rc4; 2]);
    let expected = [
        // Of the seed: off, allow, prefer, require.
        (Off, [none, none, none, None]),
        (Allow, [none, none, none, rc4]),
        (Prefer, [none, handshake, handshake, rc4]),
        (Require, [None, rc4, rc4, rc4]),
    ];
    for (leech, row) in expected {
        for (seed, agreed) in [Off, Allow, Prefer, Require].into_iter().zip(row) {
            assert_eq!(transfer(leech, seed, Protocol::V1), agreed, "{leech:?} to {seed:?}");
        }
    }
}

#[test]
fn torrents_of_v2_and_hybrids_are_named_too() {
    for protocol in [Protocol::V2, Protocol::Hybrid] {
        assert_eq!(transfer(Require, Require, protocol), Some([Encryption::Rc4; 2]));
    }
}

/// An engine alone that seeds, and whoever dials it.
fn seed(policy: EncryptionPolicy) -> Loopback<NoFiles> {
    let (_, metainfo) = torrent(Protocol::V1);
    let engine = Engine::new(config(policy), [1; 32], Instant::ZERO, UnixTime(1));
    let mut host = Loopback::alone(engine, NoFiles);
    host.nodes[0].engine.add_torrent(host.now, AddTorrent::new(metainfo, "/data")).expect("new");
    host.settle();
    host
}

#[test]
fn what_is_no_handshake_is_hung_up_on_within_its_bounds() {
    let listener = |host: &Loopback<NoFiles>| host.nodes[0].listener(ADDRESSES[0].parse().unwrap());
    for (policy, enough) in [(Off, 1), (Allow, 96 + 512 + 20)] {
        let mut host = seed(policy);
        let listener = listener(&host).expect("it listens");
        let from = "9.9.9.9:9".parse().unwrap();
        let conn = host.nodes[0].engine.accept(host.now, listener, from).expect("welcome");
        let mut taken = 0;
        while !host.nodes[0].closed.contains(&conn) {
            let event = bitswarm_core::Event::Received { conn, data: BytesMut::from(&[9][..]) };
            host.nodes[0].engine.handle(host.now, event);
            host.settle();
            taken += 1;
            assert!(taken <= enough, "{policy:?}: more is taken than can be of use");
        }
        assert_eq!(taken, enough);
    }
}
