//! The sockets on their own: no engine, no session.

use super::*;

struct World {
    sockets: Sockets,
    outbox: Outbox,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Sockets that were asked for with these listeners.
fn world(listen: &[&str], adjust: impl FnOnce(&mut Config)) -> World {
    let listen = listen.iter().map(|text| addr(text)).collect();
    let mut config = Config { listen, ..Config::default() };
    adjust(&mut config);
    let mut outbox = Outbox::default();
    World { sockets: Sockets::open(&config, &mut outbox), outbox }
}

impl World {
    /// What the host is asked to do since this was last called: sockets to open, in short.
    fn bound(&mut self) -> Vec<(SocketId, String)> {
        let bind = |action| match action {
            Action::Bind { socket, spec } => {
                Some((socket, format!("{:?} {}", spec.kind, spec.addr)))
            }
            _ => None,
        };
        self.actions().into_iter().filter_map(bind).collect()
    }

    /// What the host is asked to do, beside passing on notices.
    fn actions(&mut self) -> Vec<Action> {
        let actions = std::iter::from_fn(|| self.outbox.pop());
        actions.filter(|action| !matches!(action, Action::Notify(_))).collect()
    }

    fn open(&mut self, socket: SocketId, at: &str) {
        self.sockets.bound(&mut self.outbox, socket, Ok(addr(at)));
    }

    fn fail(&mut self, socket: SocketId, why: NetError) {
        self.sockets.bound(&mut self.outbox, socket, Err(why));
    }

    /// A UDP socket that is open.
    fn udp() -> (World, SocketId) {
        let mut world = world(&[], |_| {});
        let socket = world.bound()[0].0;
        world.open(socket, "0.0.0.0:5000");
        world.actions();
        (world, socket)
    }

    fn send(&mut self, socket: SocketId, to: &str, data: &[u8]) {
        let packet = Packet { remote: addr(to), data: data.into() };
        self.sockets.send(&mut self.outbox, socket, packet);
    }

    fn gather(
        &mut self,
        socket: SocketId,
        segments: usize,
    ) -> Option<(SocketAddr, usize, Vec<u8>)> {
        let mut out = BytesMut::new();
        let transmit = self.sockets.gather(socket, segments, &mut out)?;
        Some((transmit.destination, transmit.segment_size, out.to_vec()))
    }
}

#[test]
fn a_listener_decides_the_port_of_its_datagram_socket() {
    let mut world = world(&["10.0.0.1:0"], |_| {});
    let bound = world.bound();
    assert_eq!(bound[0].1, "TcpListener 10.0.0.1:0");
    assert!(!world.sockets.are_listeners_known());
    world.open(bound[0].0, "10.0.0.1:7000");
    assert_eq!(world.bound()[0].1, "Udp 10.0.0.1:7000");
    let sockets = &world.sockets;
    assert!(sockets.are_listeners_known() && sockets.has_one_port());
    assert_eq!(
        (sockets.listen_port(Family::V4), sockets.listen_port(Family::V6)),
        (Some(7000), None)
    );
    assert_eq!(sockets.families(), Families::only(Family::V4));
}

#[test]
fn a_port_that_is_taken_is_tried_once_as_any_port_if_that_is_allowed() {
    for listen_fallback in [false, true] {
        let mut world = world(&["10.0.0.1:80"], |config| config.listen_fallback = listen_fallback);
        let socket = world.bound()[0].0;
        world.fail(socket, NetError::AddrInUse);
        let again = world.bound();
        assert_eq!(again.len(), usize::from(listen_fallback));
        assert_eq!(world.sockets.are_listeners_known(), !listen_fallback);
        for (same, what) in again {
            assert_eq!((same, &*what), (socket, "TcpListener 10.0.0.1:0"));
            world.fail(socket, NetError::AddrInUse);
            assert_eq!(world.bound(), []);
        }
        assert!(world.sockets.are_listeners_known());
        assert_eq!(world.sockets.any_listen_port(), None);
    }
}

#[test]
fn a_family_without_an_address_is_not_spoken_and_without_any_both_are() {
    let mut world = world(&["0.0.0.0:1", "[::]:1"], |_| {});
    assert_eq!(world.sockets.families(), Families::BOTH);
    let bound = world.bound();
    world.fail(bound[1].0, NetError::AddrNotAvailable);
    assert_eq!(world.sockets.families(), Families::only(Family::V4));
    world.fail(bound[0].0, NetError::AddrNotAvailable);
    assert_eq!(world.sockets.families(), Families::BOTH);
}

#[test]
fn packets_of_equal_length_to_one_destination_go_together() {
    let (mut world, socket) = World::udp();
    for (to, data) in [("1.1.1.1:1", "abc"), ("1.1.1.1:1", "def"), ("1.1.1.1:1", "g")] {
        world.send(socket, to, data.as_bytes());
    }
    world.send(socket, "1.1.1.1:1", b"hij");
    world.send(socket, "2.2.2.2:2", b"klm");
    let asked = world.actions();
    assert!(matches!(asked[..], [Action::SendDatagrams { .. }]), "once: {asked:?}");
    let (one, two) = (addr("1.1.1.1:1"), addr("2.2.2.2:2"));
    assert_eq!(
        world.gather(socket, 8),
        Some((one, 3, b"abcdefg".to_vec())),
        "a shorter one ends it"
    );
    assert_eq!(world.gather(socket, 8), Some((one, 3, b"hij".to_vec())));
    assert_eq!(world.gather(socket, 8), Some((two, 3, b"klm".to_vec())));
    assert_eq!(world.gather(socket, 8), None);
}

#[test]
fn no_more_packets_go_together_than_the_host_can_send() {
    let (mut world, socket) = World::udp();
    for _ in 0..3 {
        world.send(socket, "1.1.1.1:1", b"abc");
    }
    let lengths = [(); 3].map(|()| world.gather(socket, 2).map(|(_, _, data)| data.len()));
    assert_eq!(lengths, [Some(6), Some(3), None]);
}

#[test]
fn packets_wait_for_their_socket_and_past_the_bound_they_are_dropped() {
    let mut world = world(&[], |_| {});
    let socket = world.bound()[0].0;
    for _ in 0..QUEUE_LEN + 5 {
        world.send(socket, "1.1.1.1:1", b"x");
    }
    assert!(world.actions().is_empty(), "it is not open");
    world.open(socket, "0.0.0.0:5000");
    assert!(matches!(world.actions()[..], [Action::SendDatagrams { .. }]));
    let sent = std::iter::from_fn(|| world.gather(socket, 1)).count();
    assert_eq!(sent, QUEUE_LEN);
}
