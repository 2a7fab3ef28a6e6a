//! More clients of the embedded tracker than places: who only connects keeps nobody out (defence 41).

use std::net::SocketAddr;

use bitswarm_core::testing::{Loopback, NoFiles};
use bitswarm_core::time::Duration;
use bitswarm_core::{Config, ConnId, Engine, Instant, UnixTime};

const PLACES: usize = 1000;

fn tracker() -> Loopback<NoFiles> {
    let tracker_listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
    let config = Config { listen: Vec::new(), tracker_listen, ..Config::default() };
    let engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
    let mut host = Loopback::alone(engine, NoFiles);
    host.settle();
    host
}

fn connect(host: &mut Loopback<NoFiles>, number: usize, addresses: usize) -> Option<ConnId> {
    let [.., high, low] = (number % addresses).to_be_bytes();
    host.accept(0, SocketAddr::from(([60, 1, high, low], 2000 + number as u16)))
}

fn newcomer(host: &mut Loopback<NoFiles>) -> Option<ConnId> {
    host.accept(0, SocketAddr::from(([70, 0, 0, 1], 5000)))
}

fn ask(host: &mut Loopback<NoFiles>, conn: ConnId) -> bool {
    let hash = "%11".repeat(20);
    let text = format!(
        "GET /announce?info_hash={hash}&peer_id={}&port=7&left=1&uploaded=0&downloaded=0 HTTP/1.1\r\n\
         Host: t\r\n\r\n",
        "a".repeat(20)
    );
    host.receive(0, conn, text.as_bytes());
    host.settle();
    let answer = host.sent(0, conn);
    answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn silent_clients_yield_within_seconds() {
    let mut host = tracker();
    for number in 0..PLACES {
        assert!(connect(&mut host, number, PLACES).is_some());
    }
    assert_eq!(newcomer(&mut host), None, "they have come this moment");
    for _ in 0..5 {
        host.pass(Duration::from_secs(1));
        if let Some(conn) = newcomer(&mut host) {
            assert!(ask(&mut host, conn));
            return;
        }
    }
    panic!("no place for a newcomer");
}

#[test]
fn silent_clients_from_few_addresses_yield_at_once_and_who_asks_keeps_its_place() {
    let mut host = tracker();
    let honest: Vec<ConnId> = (0..400).filter_map(|n| connect(&mut host, n, 400)).collect();
    // The tracker asks clients to close when it is crowded: those that it has room for stay.
    let asked = honest.iter().filter(|conn| ask(&mut host, **conn)).count();
    assert_eq!(asked, 400);
    for round in 0..3 {
        for number in 0..2 * PLACES {
            let from = SocketAddr::from(([66, 0, 0, (number % 3) as u8], 3000 + number as u16));
            let _ = host.accept(0, from);
        }
        assert!(newcomer(&mut host).is_some(), "round {round}");
        host.pass(Duration::from_secs(4));
    }
    assert!(honest.iter().all(|conn| !host.nodes[0].closed.contains(conn)));
}
