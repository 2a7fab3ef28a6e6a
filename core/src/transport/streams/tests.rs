//! The table of streams on its own: no engine, no session.

use super::*;
use crate::config::Config;
use crate::id::PeerSlot;
use crate::id::{Id, TorrentId};
use crate::random::SecretRng;
use crate::transport::mse::key_exchange::PrivateKey;
use crate::transport::mse::{Handshake, Methods, Skeys, Step};

/// The table with timers and an outbox of its own.
struct World {
    streams: Streams,
    timers: TimerWheel<TimerKey>,
    outbox: Outbox,
    now: Instant,
}

fn peer() -> Role {
    Role::Peer(TorrentId::new(0, 0), PeerSlot::new(0, 0))
}

impl World {
    fn new() -> Self {
        Self::with(EncryptionPolicy::Off)
    }

    fn with(policy: EncryptionPolicy) -> Self {
        let limits = ConnectionLimits {
            session: 4,
            torrent: 4,
            half_open: 2,
            per_address: 2,
            handshaking: 2,
        };
        let mut secrets = SecretRng::from_seed([7; 32]);
        let hash_keys = HashKeys::draw(&mut secrets);
        let (dial, policy) = (Dial::new(&Config::default()), (policy, secrets));
        let mut timers = TimerWheel::new();
        let timer = timers.register(TimerKey::KeyAgreements);
        World {
            streams: Streams::new(limits, dial, None, policy, hash_keys, timer),
            timers,
            outbox: Outbox::default(),
            now: Instant::from_secs(1),
        }
    }

    fn transport(&mut self) -> Transport<'_> {
        let World { streams, timers, outbox, now } = self;
        Transport { streams, timers, outbox, now: *now }
    }

    fn connect(&mut self, to: &str) -> ConnId {
        self.transport().connect(to.parse().unwrap(), Setup::Plain, peer())
    }

    fn accept(&mut self, from: &str) -> ConnId {
        self.transport().accept(from.parse().unwrap(), Carrier::Tcp, Role::Incoming)
    }

    fn fill(&mut self, conn: ConnId) -> Option<Fill> {
        self.streams.fill(conn, &mut Segments::new())
    }

    fn close(&mut self, conn: ConnId) {
        self.transport().close(conn, Close::Abort);
    }

    /// What the host is asked to do since this was last called, in short.
    fn actions(&mut self) -> Vec<String> {
        let short = |action| match action {
            Action::Connect { to, .. } => format!("connect {to}"),
            Action::Secure { host, .. } => format!("secure {host}"),
            Action::Send { .. } => "send".to_owned(),
            Action::Read { on, .. } => format!("read {on}"),
            Action::Close { how, .. } => format!("close {how:?}"),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| self.outbox.pop()).map(short).collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn half_open_connections_are_bounded_until_they_open_or_end() {
    let mut world = World::new();
    let first = world.connect("1.1.1.1:1");
    let second = world.connect("1.1.1.2:1");
    assert!(!world.streams.may_connect());
    let opened = world.transport().handle_connected(first).unwrap();
    assert!(matches!(opened.event, StreamEvent::Opened));
    assert_eq!((opened.conn, opened.role), (first, peer()));
    assert!(world.streams.may_connect());
    world.connect("1.1.1.3:1");
    assert!(!world.streams.may_connect());
    let why = Some(NetError::Refused);
    let closed = world.transport().handle_closed(second, why);
    assert!(matches!(
        closed,
        Some(Delivery { event: StreamEvent::Closed { why: Some(_), .. }, .. })
    ));
    assert!(world.streams.may_connect());
    assert_eq!(world.actions(), ["connect 1.1.1.1:1", "connect 1.1.1.2:1", "connect 1.1.1.3:1"]);
}

#[test]
fn connections_of_the_session_and_of_an_address_are_bounded() {
    let mut world = World::new();
    let first = world.accept("1.1.1.1:1");
    world.transport().assign(first, peer());
    world.accept("1.1.1.1:2");
    assert!(!world.streams.may_accept(ip("1.1.1.1")), "two of that address");
    assert!(world.streams.is_full_at(ip("1.1.1.1")));
    assert!(world.streams.may_accept(ip("1.1.1.2")));
    world.close(first);
    assert!(world.streams.may_accept(ip("1.1.1.1")));
    for port in 1..=3 {
        let conn = world.accept(&format!("127.0.0.1:{port}"));
        world.transport().assign(conn, peer());
    }
    assert!(!world.streams.is_full_at(ip("127.0.0.1")), "loopback is exempt");
    assert!(!world.streams.may_accept(ip("1.1.1.2")), "four in the session");
    assert!(!world.streams.may_connect());
}

#[test]
fn connections_that_have_not_named_a_torrent_are_bounded() {
    let mut world = World::new();
    let first = world.accept("1.1.1.1:1");
    let second = world.accept("1.1.1.2:1");
    assert!(!world.streams.may_accept(ip("1.1.1.3")));
    world.transport().assign(first, peer());
    assert!(world.streams.may_accept(ip("1.1.1.3")));
    assert_eq!(world.streams.incoming().collect::<Vec<_>>(), [second]);
    assert_eq!(world.streams.remote(second), Some("1.1.1.2:1".parse().unwrap()));
}

#[test]
fn what_is_no_peer_counts_against_no_limit() {
    let mut world = World::new();
    for port in 1..=9 {
        let to = SocketAddr::new(ip("1.1.1.1"), port);
        let role = Role::TrackerClient(Id::new(0, 0));
        let conn = world.transport().connect(to, Setup::Plain, role);
        assert!(world.transport().handle_connected(conn).is_some());
        world.transport().accept(to, Carrier::Tcp, role);
    }
    assert!(world.streams.may_accept(ip("1.1.1.1")) && world.streams.may_connect());
}

#[test]
fn a_stream_over_tls_is_open_when_both_sides_agree() {
    let mut world = World::new();
    let role = Role::TrackerClient(Id::new(0, 0));
    let to = SocketAddr::new(ip("1.1.1.1"), 1);
    let conn = world.transport().connect(to, Setup::Tls("t.example".into()), role);
    assert!(world.transport().handle_secured(conn).is_none(), "it was not asked for");
    assert!(world.transport().handle_connected(conn).is_none(), "there is more to come");
    assert_eq!(world.actions(), ["connect 1.1.1.1:1", "secure t.example"]);
    let opened = world.transport().handle_secured(conn);
    assert!(matches!(opened, Some(Delivery { event: StreamEvent::Opened, .. })));
    assert!(world.transport().handle_secured(conn).is_none(), "once");
}

#[test]
fn one_send_is_out_until_all_that_was_gathered_is_sent() {
    let mut world = World::new();
    let conn = world.connect("1.1.1.1:1");
    world.transport().ask_send(conn);
    assert_eq!(world.actions(), ["connect 1.1.1.1:1"], "nothing before it is open");
    world.transport().handle_connected(conn);
    world.transport().ask_send(conn);
    world.transport().ask_send(conn);
    assert_eq!(world.actions(), ["send"]);
    assert_eq!(world.fill(conn), Some(Fill::Direct(peer())));
    world.streams.filled(conn, 10);
    assert!(world.streams.is_sending(conn));
    world.transport().ask_send(conn);
    let sent = |world: &mut World, bytes| match world.transport().handle_sent(conn, bytes) {
        Some(Delivery { event: StreamEvent::Sent { all }, .. }) => all,
        other => panic!("{other:?}"),
    };
    assert!(!sent(&mut world, 4));
    world.transport().ask_send(conn);
    assert_eq!(world.actions(), [""; 0], "the host is still sending");
    assert!(sent(&mut world, 6));
    world.transport().ask_send(conn);
    assert_eq!(world.actions(), ["send"]);
}

#[test]
fn reading_is_on_when_no_reason_against_it_is_left() {
    let mut world = World::new();
    let conn = world.accept("1.1.1.1:1");
    world.transport().pause_reading(conn, ReadPause::Disk);
    world.transport().pause_reading(conn, ReadPause::Rate);
    world.transport().pause_reading(conn, ReadPause::Rate);
    assert!(!world.streams.is_reading(conn));
    world.transport().resume_reading(conn, ReadPause::Rate);
    world.transport().resume_reading(conn, ReadPause::Output);
    assert_eq!(world.actions(), ["read false"]);
    world.transport().resume_reading(conn, ReadPause::Disk);
    world.transport().resume_reading(conn, ReadPause::Disk);
    assert_eq!(world.actions(), ["read true"]);
    assert!(world.streams.is_reading(conn));
}

#[test]
fn one_that_waits_for_upload_allowance_joins_the_line_once() {
    let mut world = World::new();
    let conn = world.accept("1.1.1.1:1");
    assert!(world.streams.pause_sending(conn));
    assert!(!world.streams.pause_sending(conn));
    assert!(world.streams.is_send_paused(conn));
    world.transport().resume_sending(conn);
    assert!(!world.streams.is_send_paused(conn));
    assert_eq!(world.actions(), ["send"]);
}

#[test]
fn a_deadline_moves_forward_and_not_into_the_past() {
    let mut world = World::new();
    let conn = world.accept("1.1.1.1:1");
    let timer = world.streams.table.get(conn).unwrap().timer;
    let fires_at = |world: &World| world.timers.deadline(timer).unwrap();
    let secs = Instant::from_secs;
    world.transport().set_deadline(conn, secs(100));
    world.transport().set_deadline_sooner(conn, secs(200));
    assert_eq!(fires_at(&world), secs(100));
    world.transport().set_deadline_sooner(conn, secs(50));
    assert_eq!(fires_at(&world), secs(50));
    world.transport().set_deadline_sooner(conn, Instant::ZERO);
    assert_eq!(fires_at(&world), world.now + AFTER_TIMEOUT);
    assert_eq!(world.timers.pop(secs(2)), Some(TimerKey::Conn(conn)));
    assert!(matches!(
        world.streams.handle_timeout(conn),
        Some(Delivery { role: Role::Incoming, event: StreamEvent::TimedOut, .. })
    ));
}

#[test]
fn nothing_comes_of_a_stream_that_is_gone() {
    let mut world = World::new();
    let conn = world.accept("1.1.1.1:1");
    world.transport().set_deadline(conn, Instant::from_secs(5));
    world.transport().close(conn, Close::Flush);
    assert_eq!(world.actions(), ["close Flush"]);
    assert_eq!(world.timers.next(), None);
    let mut transport = world.transport();
    transport.close(conn, Close::Abort);
    transport.ask_send(conn);
    transport.pause_reading(conn, ReadPause::Disk);
    transport.resume_sending(conn);
    transport.set_deadline(conn, Instant::from_secs(5));
    transport.assign(conn, peer());
    assert!(transport.handle_closed(conn, None).is_none());
    assert!(world.transport().handle_connected(conn).is_none());
    assert!(world.transport().handle_received(conn, BytesMut::from(&b"x"[..])).is_none());
    assert!(world.transport().handle_sent(conn, 1).is_none());
    assert!(world.streams.handle_timeout(conn).is_none());
    assert_eq!(world.fill(conn), None);
    assert!(world.streams.is_reading(conn) && !world.streams.is_sending(conn));
    assert_eq!(world.actions(), [""; 0]);
    assert_eq!(world.timers.next(), None);
    assert!(world.streams.per_address.is_empty());
}

#[test]
fn what_a_handshake_has_to_say_waits_for_nobody_to_ask() {
    const TORRENT: InfoHash = InfoHash([7; 20]);
    let mut world = World::with(EncryptionPolicy::Allow);
    world.streams.add_infohash(TORRENT);
    let conn = world.accept("1.1.1.1:1");
    let mut secrets = SecretRng::from_seed([8; 32]);
    let mut peer = Handshake::dial(TORRENT, Methods::BOTH, PrivateKey::new([3; 20]), &mut secrets);
    let skeys = Skeys::new(HashKeys::draw(&mut secrets));
    let key = BytesMut::from(&peer.take_output()[..]);
    assert!(world.transport().handle_received(conn, key).is_none());
    let mut out = Segments::new();
    assert_eq!(world.streams.fill(conn, &mut out), None);
    let answer = out.take_all();
    peer.receive(BytesMut::from(&answer[..]), &skeys).expect("a key");
    peer.offer(&[], &mut secrets).expect("its turn");
    // The peer is faster than the report of what was sent to it, and has nothing to say itself yet.
    let offer = BytesMut::from(&peer.take_output()[..]);
    assert!(world.transport().handle_received(conn, offer).is_none());
    assert_eq!(world.actions(), ["send"], "for the key");
    world.transport().handle_sent(conn, answer.len());
    assert_eq!(world.actions(), ["send"]);
    let mut out = Segments::new();
    world.streams.fill(conn, &mut out);
    let step = peer.receive(BytesMut::from(&out.take_all()[..]), &skeys);
    assert_eq!(step, Ok(Step::Done));
}

#[test]
fn a_peer_that_shows_no_key_is_not_heard() {
    const GREETING: &[u8] = b"\x13BitTorrent protocol\0\0";
    for (said, heard) in [(&[1; 95][..], false), (GREETING, false), (&[1; 96], true)] {
        let mut world = World::with(EncryptionPolicy::Prefer);
        let to = "1.1.1.1:1".parse().unwrap();
        let conn = world.transport().connect(to, Setup::Mse(InfoHash([7; 20])), peer());
        world.transport().handle_connected(conn);
        let refused = world.transport().handle_received(conn, BytesMut::from(said));
        let closed = refused.or_else(|| world.transport().handle_closed(conn, None));
        match closed.expect("it ends").event {
            StreamEvent::Closed { heard: was, .. } => assert_eq!(was, heard, "{}", said.len()),
            other => panic!("{other:?}"),
        }
    }
}
