//! Opening connections: what the limits hold back waits without a timer.

use std::net::SocketAddr;

use bitswarm_core::disk::{DiskDone, DiskRequest};
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Action, Config, Engine, Event, Instant, UnixTime};

#[test]
fn an_engine_with_more_addresses_than_half_open_slots_does_not_spin() {
    let mut engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
    let content = vec![7; 40_000];
    let creator = Creator::single_file("file", content.len() as u64);
    let metainfo = creator.finish_with_content(&content).expect("valid");
    let mut add = AddTorrent::new(metainfo, "/data");
    let half_open = engine.config().connections.half_open;
    add.peers = (0..=half_open as u8).map(|host| SocketAddr::from(([50, 0, host, 1], 1))).collect();
    engine.add_torrent(Instant::ZERO, add).expect("new");
    let mut dialled = 0;
    while let Some(action) = engine.poll_action() {
        match action {
            Action::Connect { .. } => dialled += 1,
            Action::Disk { op, request } => {
                let done = match request {
                    DiskRequest::Load { .. } => DiskDone::Loaded(None),
                    DiskRequest::Open { .. } => DiskDone::Files(vec![None]),
                    _ => DiskDone::Done,
                };
                engine.handle(Instant::ZERO, Event::Disk { op, result: Ok(done) });
            }
            Action::Bind { socket, spec } => {
                engine.handle(Instant::ZERO, Event::Bound { socket, result: Ok(spec.addr) });
            }
            _ => {}
        }
    }
    assert_eq!(dialled, half_open, "one address has to wait");
    let next = engine.poll_timeout().expect("connects time out");
    assert!(next > Instant::ZERO, "a timer is due at once, though nothing can be done");
}
