//! Opening connections: what the limits hold back waits without a timer.

use std::net::SocketAddr;

use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::testing::{Loopback, NoFiles};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, Engine, Instant, UnixTime};

#[test]
fn an_engine_with_more_addresses_than_half_open_slots_does_not_spin() {
    let engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
    let mut host = Loopback::alone(engine, NoFiles);
    let content = vec![7; 40_000];
    let creator = Creator::single_file("file", content.len() as u64);
    let metainfo = creator.finish_with_content(&content).expect("valid");
    let mut add = AddTorrent::new(metainfo, "/data");
    let half_open = host.nodes[0].engine.engine().config().connections.half_open;
    add.peers = (0..=half_open as u8).map(|host| SocketAddr::from(([50, 0, host, 1], 1))).collect();
    host.nodes[0].engine.add_torrent(Instant::ZERO, add).expect("new");
    host.settle();
    assert_eq!(host.nodes[0].dialled.len(), half_open, "one address has to wait");
    let next = host.nodes[0].engine.poll_timeout().expect("connects time out");
    assert!(next > Instant::ZERO, "a timer is due at once, though nothing can be done");
}
