//! Fetches, on ladders of steps and what came of them.

use super::*;
use crate::family::{Families, Family};
use crate::http::reach::Purpose;

/// A fetch and the world's side of a ladder. Times are in seconds.
struct Ladder {
    fetch: Fetch,
    now: Instant,
}

fn fetch(url: &str, body: Body) -> Ladder {
    let request = FetchRequest {
        url: Url::parse(url).unwrap(),
        body,
        user_agent: "bitswarm/1".into(),
        reach: Reach::new(Purpose::Tracker, Families::BOTH, false),
        patience: Duration::from_secs(30),
        limits: Limits { head: 1000, body: 1000 },
    };
    Ladder { fetch: Fetch::new(Instant::ZERO, request), now: Instant::ZERO }
}

fn range(from: u64, to: u64) -> Ladder {
    let mut ladder = fetch("http://1.1.1.1/f", Body::Range(from..to));
    ladder.expect_connect("1.1.1.1:80");
    ladder.connected();
    let request = ladder.expect_send();
    assert!(request.contains(&format!("\r\nRange: bytes={from}-{}\r\n", to - 1)), "{request}");
    assert!(request.contains("\r\nAccept-Encoding: identity\r\n"), "{request}");
    ladder
}

impl Ladder {
    fn expect(&mut self, step: &Step) {
        assert_eq!(self.fetch.poll_step().as_ref(), Some(step));
    }

    fn expect_connect(&mut self, to: &str) {
        self.expect(&Step::Connect { to: to.parse().unwrap(), tls: None });
    }

    fn expect_send(&mut self) -> String {
        match self.fetch.poll_step() {
            Some(Step::Send(data)) => String::from_utf8(data.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn resolved(&mut self, found: &[&str]) {
        let found = found.iter().map(|ip| ip.parse().unwrap()).collect();
        self.fetch.handle_resolved(self.now, Ok(found));
    }

    fn connected(&mut self) {
        self.fetch.handle_connected(self.now);
        assert_eq!(self.fetch.poll_output(), Some(Output::Requested));
    }

    fn recv(&mut self, data: &str) {
        self.fetch.handle_received(self.now, BytesMut::from(data));
    }

    fn closed(&mut self, why: Option<NetError>) {
        self.fetch.handle_closed(self.now, why);
    }

    /// The body parts given out since this was last asked, and what follows them.
    fn body(&mut self) -> (Vec<u8>, Option<Output>) {
        let mut body = Vec::new();
        loop {
            match self.fetch.poll_output() {
                Some(Output::Body(part)) => body.extend_from_slice(&part),
                other => return (body, other),
            }
        }
    }

    fn expect_served(&mut self) -> Option<Served> {
        match self.fetch.poll_output() {
            Some(Output::Head { served, .. }) => served,
            other => panic!("{other:?}"),
        }
    }

    fn expect_failed(&mut self, why: FetchError) {
        assert_eq!(self.body().1, Some(Output::Failed(why)));
        assert_eq!(self.fetch.poll_timeout(), None);
        assert_eq!(self.fetch.poll_step(), None);
    }
}

const PART: &str = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-109/500\r\n";

#[test]
fn a_range_is_given_as_it_comes() {
    let mut ladder = range(100, 110);
    ladder.recv(PART);
    assert_eq!(ladder.fetch.poll_output(), None);
    ladder.recv("Content-Length: 10\r\n\r\n0123");
    let part = Served::Part { range: 100..110, total: Some(500) };
    assert_eq!(ladder.expect_served(), Some(part));
    assert_eq!(ladder.body(), (b"0123".to_vec(), None));
    ladder.recv("4567");
    assert_eq!(ladder.body(), (b"4567".to_vec(), None));
    ladder.recv("89");
    assert_eq!(ladder.body(), (b"89".to_vec(), Some(Output::End)));
    ladder.expect(&Step::Keep);
    assert_eq!(ladder.fetch.poll_timeout(), None);
}

#[test]
fn a_range_in_chunks_holds_no_framing() {
    let mut ladder = range(100, 110);
    ladder.recv(PART);
    ladder.recv("Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;x\r\n4567");
    ladder.recv("89\r");
    ladder.recv("\n0\r\n\r\n");
    ladder.expect_served();
    assert_eq!(ladder.body(), (b"0123456789".to_vec(), Some(Output::End)));
}

#[test]
fn a_range_must_have_the_length_it_says() {
    for (body, why) in [("0123456789x", HttpError::BadRange), ("01234", HttpError::UnexpectedEnd)] {
        let mut ladder = range(100, 110);
        ladder.recv(PART);
        ladder.recv("\r\n");
        ladder.recv(body);
        ladder.closed(None);
        ladder.expect_served();
        ladder.fetch.steps.clear();
        ladder.expect_failed(FetchError::Http(why));
    }
}

#[test]
fn a_server_that_gives_no_ranges_says_so_by_its_status() {
    let mut whole = range(100, 110);
    whole.recv("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nxx");
    assert_eq!(whole.expect_served(), Some(Served::Whole));
    assert_eq!(whole.body(), (b"xx".to_vec(), None));
    let mut none = range(100, 110);
    none.recv("HTTP/1.1 416 No\r\nContent-Range: bytes */50\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(none.expect_served(), Some(Served::Unsatisfiable { total: Some(50) }));
    assert_eq!(none.body().1, Some(Output::End));
    let mut missing = range(100, 110);
    missing.recv("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(missing.expect_served(), None);
}

#[test]
fn another_part_or_a_coding_fails_before_a_byte_is_given() {
    for (head, why) in [
        ("HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/500\r\n\r\n", HttpError::BadRange),
        (
            "HTTP/1.1 206 P\r\nContent-Range: bytes 100-109/500\r\nContent-Encoding: gzip\r\n\r\n",
            HttpError::UnknownContentCoding,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", HttpError::BodyTooLong(1000)),
    ] {
        let mut ladder = range(100, 110);
        ladder.recv(head);
        ladder.recv("0123456789");
        ladder.expect(&Step::Close);
        ladder.expect_failed(FetchError::Http(why));
    }
}

#[test]
fn a_range_that_breaks_off_is_not_begun_again_elsewhere() {
    let mut ladder = fetch("http://s.example/f", Body::Range(100..110));
    ladder.expect(&Step::Resolve("s.example".into()));
    ladder.resolved(&["1.1.1.1", "1.1.1.2"]);
    ladder.expect_connect("1.1.1.1:80");
    ladder.connected();
    ladder.expect_send();
    ladder.closed(Some(NetError::Reset));
    ladder.expect_connect("1.1.1.2:80");
    ladder.connected();
    ladder.expect_send();
    ladder.recv(PART);
    ladder.recv("\r\n0123");
    ladder.closed(Some(NetError::Reset));
    ladder.expect_served();
    ladder.expect_failed(FetchError::Disconnected(NetError::Reset));
}

#[test]
fn a_range_may_take_long_while_bytes_come() {
    let mut ladder = range(100, 110);
    ladder.recv(PART);
    ladder.recv("\r\n");
    for secs in [20, 40, 60] {
        ladder.now = Instant::from_secs(secs);
        ladder.fetch.handle_timeout(ladder.now);
        ladder.recv("x");
        assert_eq!(ladder.fetch.poll_timeout(), Some(Instant::from_secs(secs + 30)));
    }
    ladder.expect_served();
    assert_eq!(ladder.body(), (b"xxx".to_vec(), None));
    ladder.fetch.handle_timeout(Instant::from_secs(90));
    ladder.expect(&Step::Close);
    ladder.expect_failed(FetchError::TimedOut);
}

#[test]
fn a_whole_body_is_bounded_and_given_at_once() {
    let whole = || {
        let mut ladder = fetch("http://1.1.1.1/announce", Body::Whole);
        ladder.expect_connect("1.1.1.1:80");
        ladder.connected();
        assert!(ladder.expect_send().contains("\r\nAccept-Encoding: gzip\r\n"));
        ladder
    };
    let mut fits = whole();
    fits.recv("HTTP/1.1 200 OK\r\n\r\nab");
    fits.recv("cd");
    assert_eq!(fits.fetch.poll_output(), None);
    fits.closed(None);
    let Some(Output::Response(response)) = fits.fetch.poll_output() else { panic!() };
    assert_eq!((response.status, &response.body[..]), (200, &b"abcd"[..]));
    let mut long = whole();
    long.recv("HTTP/1.1 200 OK\r\n\r\n");
    long.recv(&"x".repeat(1001));
    long.expect(&Step::Close);
    long.expect_failed(FetchError::Http(HttpError::BodyTooLong(1000)));
}

#[test]
fn the_owner_may_refuse_a_response_and_have_the_next_address_tried() {
    let mut ladder = fetch("http://s.example/announce", Body::Whole);
    ladder.expect(&Step::Resolve("s.example".into()));
    ladder.resolved(&["1.1.1.1", "1.1.1.2"]);
    for ip in ["1.1.1.1", "1.1.1.2"] {
        ladder.expect_connect(&format!("{ip}:80"));
        ladder.connected();
        ladder.expect_send();
        ladder.recv("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        ladder.expect(&Step::Keep);
        assert!(matches!(ladder.fetch.poll_output(), Some(Output::Response(_))));
        ladder.fetch.try_next(ladder.now);
    }
    ladder.expect_failed(FetchError::NoMoreAddresses);
}

/// A fetch that would look its host up, and is given a kept connection instead.
fn on_kept() -> Ladder {
    let mut ladder = fetch("http://s.example/announce", Body::Whole);
    ladder.expect(&Step::Resolve("s.example".into()));
    let ip = [1, 1, 1, 1].into();
    assert!(ladder.fetch.may_use_kept(ip));
    ladder.fetch.handle_kept(ladder.now, ip);
    assert_eq!(ladder.fetch.poll_output(), Some(Output::Requested));
    ladder.expect_send();
    assert!(!ladder.fetch.may_use_kept(ip));
    ladder
}

impl Ladder {
    /// It looks the host up and connects, and does not begin on a kept connection again.
    fn expect_anew(&mut self) {
        self.expect(&Step::Resolve("s.example".into()));
        assert!(!self.fetch.may_use_kept([1, 1, 1, 1].into()));
        self.resolved(&["1.1.1.1"]);
        self.expect_connect("1.1.1.1:80");
        self.connected();
        self.expect_send();
        self.recv("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(self.fetch.poll_output(), Some(Output::Response(_))));
        self.expect(&Step::Keep);
        self.fetch.try_next(self.now);
        self.expect_failed(FetchError::NoMoreAddresses);
    }
}

#[test]
fn a_response_on_a_kept_connection_is_one_and_the_connection_is_kept_again() {
    let mut ladder = on_kept();
    ladder.recv("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    ladder.expect(&Step::Keep);
    assert!(matches!(ladder.fetch.poll_output(), Some(Output::Response(_))));
    assert_eq!(ladder.fetch.poll_timeout(), None);
}

#[test]
fn without_a_response_on_a_kept_connection_the_fetch_begins_anew() {
    for why in [None, Some(NetError::Reset)] {
        let mut ended = on_kept();
        ended.closed(why);
        ended.expect_anew();
    }
    let mut silent = on_kept();
    silent.now = Instant::from_secs(15);
    assert_eq!(silent.fetch.poll_timeout(), Some(silent.now));
    silent.fetch.handle_timeout(silent.now);
    silent.expect(&Step::Close);
    silent.expect_anew();
    let mut garbage = on_kept();
    garbage.recv("SSH-2.0-OpenSSH\r\n");
    garbage.expect(&Step::Close);
    garbage.expect_anew();
    let mut refused = on_kept();
    refused.recv("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    refused.expect(&Step::Keep);
    assert!(matches!(refused.fetch.poll_output(), Some(Output::Response(_))));
    refused.fetch.try_next(refused.now);
    refused.expect_anew();
}

#[test]
fn a_range_that_breaks_off_on_a_kept_connection_has_failed() {
    let mut ladder = fetch("http://1.1.1.1/f", Body::Range(100..110));
    ladder.expect_connect("1.1.1.1:80");
    ladder.fetch.handle_kept(ladder.now, [1, 1, 1, 1].into());
    ladder.recv(PART);
    ladder.recv("\r\n0123");
    ladder.closed(None);
    assert_eq!(ladder.fetch.poll_output(), Some(Output::Requested));
    ladder.expect_served();
    ladder.expect_send();
    ladder.expect_failed(FetchError::Http(HttpError::UnexpectedEnd));
}

#[test]
fn a_kept_connection_is_used_only_where_the_fetch_may_go() {
    let kept = |families, url: &str, ip: IpAddr| {
        let mut ladder = fetch(url, Body::Whole);
        ladder.fetch.request.reach = Reach::new(Purpose::Tracker, families, false);
        ladder.fetch.may_use_kept(ip)
    };
    let (v4, v6): (IpAddr, IpAddr) = ([1, 1, 1, 1].into(), "2606:4700::1".parse().unwrap());
    let announce = "http://s.example/announce";
    assert!(kept(Families::only(Family::V4), announce, v4));
    assert!(!kept(Families::only(Family::V4), announce, v6));
    assert!(kept(Families::BOTH, announce, [127, 0, 0, 1].into()));
    assert!(!kept(Families::BOTH, "http://s.example/jobs", [127, 0, 0, 1].into()));
}

#[test]
fn a_redirect_may_lead_to_a_kept_connection_but_not_into_the_network() {
    let mut ladder = on_kept();
    ladder.recv("HTTP/1.1 302 Found\r\nLocation: http://t.example/announce\r\n\r\n");
    ladder.expect(&Step::Close);
    ladder.expect(&Step::Resolve("t.example".into()));
    assert_eq!(ladder.fetch.url().host().to_tls_name(), "t.example".into());
    assert!(ladder.fetch.may_use_kept([1, 1, 1, 2].into()));
    assert!(!ladder.fetch.may_use_kept([10, 0, 0, 1].into()));
}
