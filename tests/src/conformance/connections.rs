//! Peers that refuse, say nothing, hang, vanish; and many of them.

use std::fs;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bitswarm_core::action::SocketKind;
use bitswarm_core::socket::Names;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Notice, TorrentNotice};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::SockRef;

use bitswarm_runtime_common::ClientConfig;

use super::Runtime;
use super::harness::{alone, beside_others};
use super::sample::Sample;
use super::scripted::{
    BlackHole, accept, become_unchoked, connect, fetch_block, listen, reset, serve, wait_for_end,
};
use super::session::{LONG, Session};
use crate::interop::wire::{self, Message, Wire};

/// A peer that refuses and one that accepts and says nothing do not keep a download from its seed,
/// and the session still ends in time.
pub fn refusing_and_silent_peers_do_not_stop_a_download(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let (_silent, silent_addr) = listen();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut leech = Session::start(runtime);
    let id = leech.add(&sample);
    leech.client.add_peers(id, vec![refusing, silent_addr, seed.addr()]).unwrap();
    leech.finish(&sample);
    leech.stop();
    seed.stop();
}

/// Four addresses where connecting hangs, two places for those who connect: the seed comes last,
/// when the first two are given up.
pub fn hanging_connects_end_in_time_and_make_room(runtime: Runtime) {
    const GIVEN_UP: Duration = Duration::from_secs(1);
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let holes: Vec<_> = (0..4).map(|_| BlackHole::new()).collect();
    let mut leech = Session::with(runtime, |config| {
        config.core.connections.half_open = 2;
        config.core.timeouts.connect = GIVEN_UP;
    });
    let id = leech.add(&sample);
    let began = Instant::now();
    leech.client.add_peers(id, holes.iter().map(|hole| hole.addr).collect()).unwrap();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(leech.status(id).peers, 0);
    leech.client.add_peers(id, vec![seed.addr()]).unwrap();
    leech.finish(&sample);
    assert!(began.elapsed() >= GIVEN_UP, "no connect hung");
    leech.stop();
    seed.stop();
}

/// One seed ends the connection in the middle of a block, one resets it; a third makes up for both.
pub fn seed_vanishing_in_mid_block_is_made_up_for(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let (vanished, vanishing) = mpsc::channel();
    let vanish = |resets: bool| {
        let (listener, addr) = listen();
        let (sample, vanished) = (sample.clone(), vanished.clone());
        let thread = thread::spawn(move || {
            let mut wire = accept(&listener, &sample);
            send_half_a_block(&mut wire, &sample);
            if resets {
                reset(wire);
            }
            vanished.send(()).unwrap();
        });
        (thread, addr)
    };
    let (ending, resetting) = (vanish(false), vanish(true));
    let mut leech = Session::start(runtime);
    let id = leech.add(&sample);
    leech.client.add_peers(id, vec![ending.1, resetting.1]).unwrap();
    for _ in 0..2 {
        vanishing.recv_timeout(LONG).expect("both are asked for blocks");
    }
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    leech.client.add_peers(id, vec![seed.addr()]).unwrap();
    leech.finish(&sample);
    assert_eq!(leech.status(id).failed_bytes, 0);
    leech.stop();
    seed.stop();
    ending.0.join().unwrap();
    resetting.0.join().unwrap();
}

fn send_half_a_block(wire: &mut Wire, sample: &Sample) {
    wire.send(&sample.everything()).unwrap();
    loop {
        match wire.receive().unwrap() {
            Message::Interested => wire.send(&Message::Unchoke).unwrap(),
            Message::Request(piece, begin, len) => {
                let head = [&[7][..], &piece.to_be_bytes(), &begin.to_be_bytes()].concat();
                wire.send_raw(&[&(9 + len).to_be_bytes()[..], &head].concat()).unwrap();
                return wire.send_raw(sample.block(piece, begin, len / 2)).unwrap();
            }
            _ => {}
        }
    }
}

/// Leeches come, ask for much, and are gone while it is on its way to them; one that stays gets
/// everything.
pub fn leech_vanishing_in_mid_block_harms_nobody(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(4 << 20);
    let mut seed = Session::start(runtime);
    let id = seed.seed(&sample);
    let mut stays = connect(seed.addr(), &sample);
    become_unchoked(&mut stays);
    for round in 0..10 {
        let mut vanishes = connect(seed.addr(), &sample);
        become_unchoked(&mut vanishes);
        for piece in 0..sample.pieces() as u32 {
            for block in 0..4 {
                vanishes.send(&Message::Request(piece, block << 14, 1 << 14)).unwrap();
            }
        }
        // In the middle of the first block.
        vanishes.receive().unwrap();
        match round % 2 {
            0 => reset(vanishes),
            _ => drop(vanishes),
        }
        fetch_block(&mut stays, &sample, round, 0, 1 << 14);
    }
    seed.wait_until(id, |status| status.peers == 1);
    drop(stays);
    let mut leech = Session::start(runtime);
    leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    leech.stop();
    seed.stop();
}

/// The session's configuration names the address that its connections come from.
pub fn connections_come_from_the_address_that_was_chosen(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let (listener, addr) = listen();
    // All of 127/8 is this machine's on Linux.
    let chosen = [127, 0, 0, 9].into();
    let leech = Session::with(runtime, |config| config.core.bind = vec![chosen]);
    leech.fetch(&sample, addr);
    let (_stream, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), chosen);
    leech.stop();
}

/// Everything goes through one network device: through loopback there is a transfer, through one that is
/// not there is nothing.
pub fn everything_goes_through_the_device_that_was_chosen(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let through = |device: &'static str| {
        move |config: &mut ClientConfig| config.core.device = Some(device.into())
    };
    let mut seed = Session::with(runtime, through("lo"));
    seed.seed(&sample);
    let mut leech = Session::with(runtime, through("lo"));
    leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    leech.stop();
    let mut nowhere = Session::with(runtime, |config| {
        through("none-such")(config);
        config.core.listen.clear();
    });
    nowhere.wait_for(|notice| matches!(notice, Notice::ListenFailed { .. }).then_some(()));
    let id = nowhere.fetch(&sample, seed.addr());
    nowhere.wait_for_torrent(|what| matches!(what, TorrentNotice::Checked { .. }));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(nowhere.status(id).peers, 0);
    nowhere.stop();
    seed.stop();
}

/// Names are not looked up where that is refused, and a tracker with an address is asked all the same.
pub fn names_are_not_looked_up_where_that_is_refused(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let (listener, addr) = listen();
    let mut leech = Session::with(runtime, |config| config.core.names = Names::Refuse);
    let mut add = AddTorrent::new(sample.metainfo.clone(), leech.root());
    let url = |host: &str| format!("http://{host}:{}/announce", addr.port());
    add.trackers = vec![url("localhost"), url("127.0.0.1")];
    leech.client.add_torrent(add).unwrap();
    leech.wait_for_torrent(|what| match what {
        TorrentNotice::TrackerFailed { url, why } => {
            assert!(url.contains("localhost") && why.contains("not looked up"), "{what:?}");
            true
        }
        _ => false,
    });
    listener.accept().unwrap();
    leech.stop();
}

/// A peer says that it is interested, and ends its stream with that. A poller that tells of the bytes and
/// not of the end leaves the connection open for minutes.
pub fn peer_that_ends_its_stream_at_once_is_let_go(runtime: Runtime) {
    const SOON: Duration = Duration::from_millis(1500);
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    for round in 0..20 {
        let mut peer = connect(seed.addr(), &sample);
        peer.send(&Message::Interested).unwrap();
        peer.stream().shutdown(Shutdown::Write).unwrap();
        assert!(wait_for_end(peer.stream(), SOON).is_some(), "round {round}");
    }
    seed.stop();
}

/// The system ends the listener behind the session's back: the session says so, and goes on.
pub fn listener_that_is_lost_is_told_of(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let mut leech = Session::start(runtime);
    let addr = leech.addr();
    end_listener(addr);
    leech.wait_for(|notice| match notice {
        Notice::ListenFailed { kind: SocketKind::TcpListener, addr: lost, .. } => {
            (*lost == addr).then_some(())
        }
        _ => None,
    });
    leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    leech.stop();
    seed.stop();
}

/// Shuts down the listener at this address, which is one of this process.
fn end_listener(addr: SocketAddr) {
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers.collect::<Vec<i32>>() {
        let Ok(descriptor) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let socket = SockRef::from(&descriptor);
        let is_at =
            |socket: &SockRef<'_>| socket.local_addr().is_ok_and(|at| at.as_socket() == Some(addr));
        if socket.is_listener().unwrap_or(false) && is_at(&socket) {
            return socket.shutdown(Shutdown::Both).unwrap();
        }
    }
    panic!("no listener at {addr}");
}

/// Half of them dial in, half are dialled. Each has one piece that nobody else has.
pub fn two_hundred_connections_are_served(runtime: Runtime) {
    const PEERS: usize = 200;
    const PIECE: usize = 16 << 10;
    let _turn = alone(runtime);
    let sample = Sample::numbered(0, PEERS * PIECE, PIECE as u32);
    let mut leech = Session::with(runtime, |config| {
        config.core.connections.torrent = PEERS;
        config.core.connections.handshaking = PEERS;
    });
    let id = leech.add(&sample);
    leech.wait_for_torrent(|what| matches!(what, TorrentNotice::Checked { .. }));
    let addr = leech.addr();
    let mut threads = Vec::new();
    let mut dialled = Vec::new();
    for piece in 0..PEERS {
        let sample = sample.clone();
        let only = wire::bitfield(PEERS, |at| at == piece);
        let give = move |mut wire: Wire, sample: &Sample| {
            wire.send(&only).unwrap();
            serve(&mut wire, sample);
        };
        threads.push(if piece % 2 == 0 {
            let (listener, addr) = listen();
            dialled.push(addr);
            thread::spawn(move || give(accept(&listener, &sample), &sample))
        } else {
            thread::spawn(move || give(connect(addr, &sample), &sample))
        });
    }
    leech.client.add_peers(id, dialled).unwrap();
    leech.finish(&sample);
    assert_eq!(leech.status(id).peers, PEERS);
    leech.stop();
    for thread in threads {
        thread.join().unwrap();
    }
}
