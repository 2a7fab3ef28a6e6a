//! A connection to a tracker is kept for further requests, for a short time; one that turns out to be
//! broken costs a request nothing but the time until that shows.

use std::net::SocketAddr;

use bitswarm_core::http::Url;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::testing::{Loopback, NoFiles};
use bitswarm_core::{Commands, Config, ConnId, Duration, Engine, Instant, Notice, UnixTime};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nd5:filesdee";

/// An engine and the tracker that it asks, which the test plays.
struct World {
    host: Loopback<NoFiles>,
}

impl World {
    fn new() -> Self {
        let engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
        let mut host = Loopback::alone(engine, NoFiles);
        host.settle();
        World { host }
    }

    fn ask(&mut self, tracker: &str) {
        let url = Url::parse(&format!("http://{tracker}/announce")).expect("valid");
        let engine = &mut self.host.nodes[0].engine;
        engine.scrape(self.host.now, url, vec![InfoHash([b'x'; 20])]).expect("not stopping");
        self.host.settle();
    }

    /// The connection that the engine begins, which is then there.
    fn connect(&mut self, tracker: &str) -> ConnId {
        let to: SocketAddr = tracker.parse().expect("valid");
        let conn = self.host.take_dialled(0, to).expect("it connects");
        self.host.connected(0, conn);
        self.host.settle();
        conn
    }

    fn answer(&mut self, conn: ConnId, answer: &[u8]) {
        let request = self.host.sent(0, conn);
        assert!(request.starts_with(b"GET /scrape?"), "{}", request.escape_ascii());
        self.host.receive(0, conn, answer);
        self.host.settle();
    }

    /// How many requests were answered since this was last asked.
    fn answered(&mut self) -> usize {
        let notices = self.host.nodes[0].notices.drain(..);
        notices.filter(|notice| matches!(notice, Notice::Scraped { swarms: Ok(_), .. })).count()
    }

    fn has_closed(&self, conn: ConnId) -> bool {
        self.host.nodes[0].closed.contains(&conn)
    }

    /// A connection that is kept after one answer.
    fn kept(&mut self) -> ConnId {
        self.ask(TRACKER);
        let conn = self.connect(TRACKER);
        self.answer(conn, ANSWER);
        assert_eq!(self.answered(), 1);
        assert!(!self.has_closed(conn));
        conn
    }
}

const TRACKER: &str = "10.0.0.1:80";

#[test]
fn further_requests_go_over_the_connection_of_the_first() {
    let mut world = World::new();
    let conn = world.kept();
    for _ in 0..3 {
        world.ask(TRACKER);
        assert!(world.host.nodes[0].dialled.is_empty());
        world.answer(conn, ANSWER);
        assert_eq!(world.answered(), 1);
    }
    // Another port is another origin, and two at once need two connections.
    world.ask("10.0.0.1:81");
    world.connect("10.0.0.1:81");
    world.ask(TRACKER);
    world.ask(TRACKER);
    let second = world.connect(TRACKER);
    world.answer(conn, ANSWER);
    world.answer(second, ANSWER);
    assert_eq!(world.answered(), 2);
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    let mut world = World::new();
    let conn = world.kept();
    world.host.pass(Duration::from_secs(19));
    assert!(!world.has_closed(conn));
    world.host.pass(Duration::from_secs(2));
    assert!(world.has_closed(conn));
    world.ask(TRACKER);
    world.connect(TRACKER);
}

#[test]
fn a_tracker_that_says_it_closes_is_taken_at_its_word() {
    let mut world = World::new();
    world.ask(TRACKER);
    let conn = world.connect(TRACKER);
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 11\r\n\r\nd5:filesdee";
    world.answer(conn, answer);
    assert_eq!(world.answered(), 1);
    assert!(world.has_closed(conn));
}

#[test]
fn a_request_whose_kept_connection_ends_is_made_again_on_another() {
    let mut world = World::new();
    let conn = world.kept();
    world.ask(TRACKER);
    world.host.end(0, conn, None);
    world.host.settle();
    let fresh = world.connect(TRACKER);
    world.answer(fresh, ANSWER);
    assert_eq!(world.answered(), 1);
    // And one that ends while it is idle is not used at all.
    world.host.end(0, fresh, None);
    world.host.settle();
    world.ask(TRACKER);
    world.connect(TRACKER);
}

#[test]
fn a_request_on_a_silent_connection_is_made_again_in_time() {
    let mut world = World::new();
    let conn = world.kept();
    world.ask(TRACKER);
    world.host.pass(Duration::from_secs(16));
    assert!(world.has_closed(conn));
    let fresh = world.connect(TRACKER);
    world.answer(fresh, ANSWER);
    assert_eq!(world.answered(), 1);
}

#[test]
fn what_comes_on_an_idle_connection_closes_it() {
    let mut world = World::new();
    let conn = world.kept();
    world.host.receive(0, conn, ANSWER);
    world.host.settle();
    assert!(world.has_closed(conn));
    assert_eq!(world.answered(), 0);
}

#[test]
fn a_connection_whose_request_was_not_sent_is_not_kept() {
    let mut world = World::new();
    world.ask(TRACKER);
    let conn = world.connect(TRACKER);
    world.host.receive(0, conn, ANSWER);
    world.host.settle();
    assert_eq!(world.answered(), 1);
    assert!(world.has_closed(conn));
}

#[test]
fn the_end_of_the_session_closes_what_is_kept() {
    let mut world = World::new();
    let conn = world.kept();
    world.host.nodes[0].engine.stop(world.host.now);
    world.host.settle();
    assert!(world.host.nodes[0].notices.contains(&Notice::Stopped));
    assert!(world.has_closed(conn));
}
