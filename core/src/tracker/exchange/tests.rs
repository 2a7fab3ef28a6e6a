//! Exchanges with the fetches they start, on ladders of steps and what came of them.

use super::*;
use crate::event::NetError;
use crate::family::Family;
use crate::http::HttpError;
use crate::http::fetch::{self, Fetch, Output};
use crate::piece::{InfoHash, PeerId};
use crate::tracker::announce::{AnnounceEvent, AnnounceRequest};
use bytes::{Bytes, BytesMut};

/// An exchange, its fetch and the world's side of a ladder. Times are in seconds.
struct Ladder {
    exchange: Exchange,
    fetch: Option<Fetch>,
    now: Instant,
    steps: VecDeque<Step>,
}

/// What an exchange or its fetch wants done.
#[derive(PartialEq, Debug)]
enum Step {
    Resolve(Box<str>),
    Connect { to: SocketAddr, tls: Option<Box<str>> },
    Send(Bytes),
    Close,
    Keep,
    Ask { to: SocketAddr, patience: Duration },
    Done(Result<Answer, TrackerError>),
}

fn request(event: Option<AnnounceEvent>) -> Question {
    AnnounceRequest {
        infohash: InfoHash([b'i'; 20]),
        peer_id: PeerId([b'p'; 20]),
        event,
        ..AnnounceRequest::sample()
    }
    .into()
}

fn announce(url: &str) -> Ladder {
    ask(url, request(None))
}

fn ask(url: &str, question: Question) -> Ladder {
    ask_in(Families::BOTH, url, question)
}

fn ask_in(families: Families, url: &str, question: Question) -> Ladder {
    Ladder::new(url, question, families, NamedBy::Torrent)
}

impl Ladder {
    fn new(url: &str, question: Question, families: Families, by: NamedBy) -> Self {
        let (url, now) = (Url::parse(url).unwrap(), Instant::ZERO);
        let exchange = Exchange::new(now, url, question, families, by, "bitswarm/1");
        let mut ladder = Ladder { exchange, fetch: None, now, steps: VecDeque::new() };
        ladder.pump();
        ladder
    }

    /// Passes on what the exchange and its fetch have for each other, and collects the rest.
    fn pump(&mut self) {
        loop {
            if let Some(step) = self.fetch.as_mut().and_then(Fetch::poll_step) {
                self.steps.push_back(match step {
                    fetch::Step::Resolve(host) => Step::Resolve(host),
                    fetch::Step::Connect { to, tls } => Step::Connect { to, tls },
                    fetch::Step::Send(data) => Step::Send(data),
                    fetch::Step::Close => Step::Close,
                    fetch::Step::Keep => Step::Keep,
                });
            } else if let Some(output) = self.fetch.as_mut().and_then(Fetch::poll_output) {
                let from = self.fetch.as_ref().and_then(Fetch::answered_by);
                match output {
                    Output::Requested => {}
                    Output::Response(response) => self.exchange.handle_response(&response, from),
                    Output::Failed(why) => self.exchange.handle_failed(why),
                    other => panic!("{other:?}"),
                }
            } else if let Some(step) = self.exchange.poll_step() {
                match step {
                    super::Step::Fetch(what) => self.fetch = Some(Fetch::new(self.now, *what)),
                    super::Step::TryNext => self.fetch.as_mut().unwrap().try_next(self.now),
                    super::Step::Resolve(host) => self.steps.push_back(Step::Resolve(host)),
                    super::Step::Ask { to, patience } => {
                        self.steps.push_back(Step::Ask { to, patience });
                    }
                    super::Step::Done(result) => self.steps.push_back(Step::Done(result)),
                }
            } else {
                return;
            }
        }
    }

    fn poll_step(&mut self) -> Option<Step> {
        self.pump();
        self.steps.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let fetch = self.fetch.as_ref().and_then(Fetch::poll_timeout);
        fetch.into_iter().chain(self.exchange.poll_timeout()).min()
    }

    fn handle_timeout(&mut self, at: Instant) {
        self.now = at;
        if let Some(fetch) = &mut self.fetch {
            fetch.handle_timeout(at);
        }
        self.exchange.handle_timeout(at);
    }

    fn looked_up(&mut self, result: Result<Vec<IpAddr>, ResolveError>) {
        match &mut self.fetch {
            Some(fetch) => fetch.handle_resolved(Instant::ZERO, result),
            None => self.exchange.handle_resolved(Instant::ZERO, result),
        }
    }

    fn expect(&mut self, step: &Step) {
        assert_eq!(self.poll_step().as_ref(), Some(step));
    }

    fn expect_resolve(&mut self, host: &str) {
        self.expect(&Step::Resolve(host.into()));
    }

    fn expect_connect(&mut self, to: &str) {
        self.expect(&Step::Connect { to: to.parse().unwrap(), tls: None });
    }

    fn expect_send(&mut self) -> String {
        match self.poll_step() {
            Some(Step::Send(data)) => String::from_utf8(data.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn expect_done(&mut self) -> Result<Answer, TrackerError> {
        match self.poll_step() {
            Some(Step::Done(result)) => {
                assert_eq!(self.poll_step(), None);
                assert_eq!(self.poll_timeout(), None);
                result
            }
            other => panic!("{other:?}"),
        }
    }

    fn expect_error(&mut self, error: &TrackerError) {
        assert_eq!(self.expect_done().as_ref(), Err(error));
    }

    fn resolved(&mut self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        self.looked_up(Ok(addresses));
    }

    fn connected(&mut self) {
        self.fetch.as_mut().unwrap().handle_connected(Instant::ZERO);
    }

    fn recv(&mut self, data: &str) {
        self.fetch.as_mut().unwrap().handle_received(Instant::ZERO, BytesMut::from(data));
    }

    fn closed(&mut self, why: Option<NetError>) {
        self.fetch.as_mut().unwrap().handle_closed(Instant::ZERO, why);
    }

    fn timeout(&mut self, at: u64) {
        assert_eq!(self.poll_timeout(), Some(Instant::from_secs(at)));
        self.handle_timeout(Instant::from_secs(at));
    }

    /// Up to where the request is sent to `to`, an address.
    fn up_to_request(&mut self, to: &str) -> String {
        self.expect_connect(to);
        self.connected();
        self.expect_send()
    }
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\n\r\nd8:intervali900e5:peers0:e";

#[test]
fn announce_goes_from_the_name_to_the_answer() {
    let mut ladder = announce("http://t.example:6969/announce?k=v");
    ladder.expect_resolve("t.example");
    ladder.resolved(&["1.1.1.1"]);
    let request = ladder.up_to_request("1.1.1.1:6969");
    assert!(request.starts_with("GET /announce?k=v&info_hash=iiiiiiii"), "{request}");
    assert!(request.contains("\r\nUser-Agent: bitswarm/1\r\n"));
    ladder.recv(ANSWER);
    assert_eq!(ladder.poll_step(), None);
    ladder.closed(None);
    let answer = ladder.expect_done().unwrap().into_announce().unwrap();
    assert_eq!(answer.interval, Duration::from_secs(900));
}

#[test]
fn connection_is_kept_after_a_complete_answer_if_the_tracker_allows_it() {
    let mut ladder = announce("http://1.1.1.1/announce");
    ladder.up_to_request("1.1.1.1:80");
    ladder.recv("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde");
    ladder.expect(&Step::Keep);
    assert!(ladder.expect_done().is_ok());
    let mut closing = announce("http://1.1.1.1/announce");
    let request = closing.up_to_request("1.1.1.1:80");
    assert!(!request.contains("Connection:"), "{request}");
    closing.recv("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nde");
    closing.expect(&Step::Close);
    assert!(closing.expect_done().is_ok());
}

#[test]
fn addresses_are_tried_one_after_another() {
    let mut ladder = announce("http://t.example/announce");
    ladder.expect_resolve("t.example");
    ladder.resolved(&["2606:4700::1", "1.1.1.1", "1.1.1.2"]);
    ladder.expect_connect("[2606:4700::1]:80");
    ladder.closed(Some(NetError::Unreachable));
    ladder.expect_connect("1.1.1.1:80");
    ladder.timeout(10);
    ladder.expect(&Step::Close);
    ladder.expect_connect("1.1.1.2:80");
    ladder.closed(Some(NetError::Refused));
    ladder.expect_error(&TrackerError::Connect(NetError::Refused));
}

#[test]
fn deadline_ends_it_in_any_state() {
    let mut resolving = announce("http://t.example/announce");
    resolving.expect_resolve("t.example");
    resolving.timeout(30);
    resolving.expect_error(&TrackerError::TimedOut);

    let mut waiting = announce("http://1.1.1.1/announce");
    waiting.up_to_request("1.1.1.1:80");
    waiting.recv("HTTP/1.1 200 OK\r\n\r\nd");
    waiting.timeout(30);
    waiting.expect(&Step::Close);
    waiting.expect_error(&TrackerError::TimedOut);
    waiting.recv("e");
    waiting.closed(None);
    assert_eq!(waiting.poll_step(), None);

    let stopped = ask("http://t/announce", request(Some(AnnounceEvent::Stopped)));
    assert_eq!(stopped.poll_timeout(), Some(Instant::from_secs(5)));
}

#[test]
fn redirects_are_followed_five_times() {
    let mut ladder = announce("http://1.1.1.1/announce");
    for number in 0..5 {
        ladder.up_to_request("1.1.1.1:80");
        ladder.recv(&format!("HTTP/1.1 302 Found\r\nLocation: /announce/{number}\r\n\r\n"));
        ladder.expect(&Step::Close);
    }
    let request = ladder.up_to_request("1.1.1.1:80");
    assert!(request.starts_with("GET /announce/4 HTTP"));
    ladder.recv("HTTP/1.1 302 Found\r\nLocation: /announce/5\r\n\r\n");
    ladder.expect(&Step::Close);
    ladder.expect_error(&TrackerError::TooManyRedirects);
}

#[test]
fn redirect_from_public_to_private_is_not_followed() {
    for location in ["http://192.168.1.1/announce", "http://127.0.0.1/announce"] {
        let mut ladder = announce("http://1.1.1.1/announce");
        ladder.up_to_request("1.1.1.1:80");
        ladder.recv(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n"));
        ladder.expect(&Step::Close);
        let ip = Url::parse(location).unwrap();
        let UrlHost::Ip(ip) = *ip.host() else { panic!() };
        ladder.expect_error(&TrackerError::ForbiddenAddress(ip));
    }
    let mut ladder = announce("http://1.1.1.1/announce");
    ladder.up_to_request("1.1.1.1:80");
    ladder.recv("HTTP/1.1 302 Found\r\nLocation: http://inside.example/announce\r\n\r\n");
    ladder.expect(&Step::Close);
    ladder.expect_resolve("inside.example");
    ladder.resolved(&["10.0.0.1", "1.1.1.2"]);
    ladder.expect_connect("1.1.1.2:80");
}

#[test]
fn loopback_is_asked_only_for_announces() {
    announce("http://127.0.0.1:6969/announce").expect_connect("127.0.0.1:6969");
    let ip = "127.0.0.1".parse().unwrap();
    announce("http://127.0.0.1:631/jobs").expect_error(&TrackerError::ForbiddenAddress(ip));
}

#[test]
fn what_the_user_names_is_asked_wherever_it_is_and_its_redirects_as_any() {
    let users = |url: &str| Ladder::new(url, request(None), Families::BOTH, NamedBy::User);
    for (path, ip) in [("0123456789abcdef", "127.0.0.1"), ("announce/key", "[::1]"), ("", "[::1]")]
    {
        users(&format!("http://{ip}:6969/{path}")).expect_connect(&format!("{ip}:6969"));
    }
    let mut named = users("http://localhost:6969/key");
    named.expect_resolve("localhost");
    named.resolved(&["::1"]);
    named.up_to_request("[::1]:6969");
    named.recv("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:631/jobs\r\n\r\n");
    named.expect(&Step::Close);
    named.expect_error(&TrackerError::ForbiddenAddress([127, 0, 0, 1].into()));
}

#[test]
fn https_asks_for_tls_with_the_host_of_the_url_also_after_a_redirect() {
    let secure =
        |to: &str, tls: &str| Step::Connect { to: to.parse().unwrap(), tls: Some(tls.into()) };
    let mut ladder = announce("https://T.example/announce");
    ladder.expect_resolve("t.example");
    ladder.resolved(&["1.1.1.1"]);
    ladder.expect(&secure("1.1.1.1:443", "t.example"));
    let mut ladder = announce("http://1.1.1.1/announce");
    ladder.up_to_request("1.1.1.1:80");
    ladder.recv("HTTP/1.1 301 Moved\r\nLocation: https://[2606:4700::1]:8443/announce\r\n\r\n");
    ladder.expect(&Step::Close);
    ladder.expect(&secure("[2606:4700::1]:8443", "2606:4700::1"));
}

#[test]
fn a_certificate_that_is_not_trusted_is_named() {
    let mut ladder = announce("https://1.1.1.1/announce");
    let tls = Some("1.1.1.1".into());
    ladder.expect(&Step::Connect { to: "1.1.1.1:443".parse().unwrap(), tls });
    ladder.closed(Some(NetError::Certificate));
    ladder.expect_error(&TrackerError::Connect(NetError::Certificate));
}

#[test]
fn http_error_is_one_unless_it_carries_a_refusal() {
    let after = |answer: &str| {
        let mut ladder = announce("http://1.1.1.1/announce");
        ladder.up_to_request("1.1.1.1:80");
        ladder.recv(answer);
        ladder.closed(None);
        ladder.expect_done().unwrap_err()
    };
    assert_eq!(after("HTTP/1.1 404 No\r\n\r\n<html>"), TrackerError::Status(404));
    assert_eq!(after("HTTP/1.1 500 No\r\n\r\nde"), TrackerError::Status(500));
    let refusal = after("HTTP/1.1 403 No\r\n\r\nd14:failure reason2:noe");
    assert_eq!(refusal, TrackerError::Refused { reason: "no".to_owned(), retry: None });
    assert!(matches!(after("HTTP/1.1 200 OK\r\n\r\n<html>"), TrackerError::Malformed(_)));
    assert_eq!(after("HTTP/1.1 200 OK\r\n"), TrackerError::Http(HttpError::UnexpectedEnd));
}

#[test]
fn lookup_that_fails_is_the_error() {
    let mut ladder = announce("http://t.example/announce");
    ladder.expect_resolve("t.example");
    ladder.looked_up(Err(ResolveError::NotFound));
    ladder.expect_error(&TrackerError::Resolve(ResolveError::NotFound));
    let mut empty = announce("http://t.example/announce");
    empty.expect_resolve("t.example");
    empty.resolved(&[]);
    empty.expect_error(&TrackerError::Resolve(ResolveError::NotFound));
}

#[test]
fn scrape_asks_the_scrape_url() {
    let mut ladder = ask("http://1.1.1.1/announce", Question::Scrape(vec![InfoHash([b'i'; 20])]));
    let request = ladder.up_to_request("1.1.1.1:80");
    assert!(request.starts_with("GET /scrape?info_hash=iiiiiiiiiiiiiiiiiiii HTTP"));
    ladder.recv("HTTP/1.1 200 OK\r\n\r\nd5:filesdee");
    ladder.closed(None);
    assert_eq!(ladder.expect_done(), Ok(Answer::Scrape(ScrapeResponse::default())));
    ask("http://1.1.1.1/x", Question::Scrape(vec![])).expect_error(&TrackerError::NoScrape);
}

#[test]
fn udp_tracker_is_asked_at_each_address() {
    let mut ladder = announce("udp://t.example:6969");
    ladder.expect_resolve("t.example");
    ladder.resolved(&["127.0.0.1", "1.1.1.1"]);
    let ask =
        |to: &str, secs| Step::Ask { to: to.parse().unwrap(), patience: Duration::from_secs(secs) };
    ladder.expect(&ask("127.0.0.1:6969", 10));
    ladder.exchange.handle_answer(Instant::from_secs(10), Err(TrackerError::TimedOut));
    ladder.expect(&ask("1.1.1.1:6969", 20));
    let mut answer = AnnounceResponse::new(Duration::from_secs(900));
    let near = ["127.0.0.1:22", "192.168.1.1:80", "[::ffff:10.0.0.1]:5", "2.2.2.2:5"];
    answer.peers = near.map(|peer| peer.parse().unwrap()).to_vec();
    ladder.exchange.handle_answer(Instant::from_secs(11), Ok(Answer::Announce(answer.clone())));
    // What is nearer than the tracker is not believed.
    answer.peers = vec!["2.2.2.2:5".parse().unwrap()];
    answer.answered_by = Some("1.1.1.1".parse().unwrap());
    assert_eq!(ladder.expect_done(), Ok(Answer::Announce(answer)));
}

#[test]
fn only_addresses_of_the_family_are_asked() {
    let names = ["2606:4700::1", "1.1.1.1", "2606:4700::2", "1.1.1.2"];
    for (family, wanted) in [(Family::V4, [1, 3]), (Family::V6, [0, 2])] {
        let at = |index: usize| SocketAddr::new(names[index].parse().unwrap(), 6969);
        let families = Families::only(family);
        let mut http = ask_in(families, "http://t.example:6969/announce", request(None));
        http.expect_resolve("t.example");
        http.resolved(&names);
        for index in wanted {
            http.expect_connect(&at(index).to_string());
            http.closed(Some(NetError::Refused));
        }
        http.expect_error(&TrackerError::Connect(NetError::Refused));
        let mut udp = ask_in(families, "udp://t.example:6969", request(None));
        udp.expect_resolve("t.example");
        udp.resolved(&names);
        for (index, secs) in wanted.into_iter().zip([10, 30]) {
            let patience = Duration::from_secs(secs);
            udp.expect(&Step::Ask { to: at(index), patience });
            udp.exchange.handle_answer(Instant::ZERO, Err(TrackerError::TimedOut));
        }
        udp.expect_error(&TrackerError::TimedOut);
    }
}

#[test]
fn a_host_without_an_address_of_the_family_says_so() {
    for (family, other) in [(Family::V4, "2606:4700::1"), (Family::V6, "1.1.1.1")] {
        for url in ["http://t.example/announce", "https://t.example/announce", "udp://t.example:1"]
        {
            let mut ladder = ask_in(Families::only(family), url, request(None));
            ladder.expect_resolve("t.example");
            ladder.resolved(&[other]);
            ladder.expect_error(&TrackerError::NoAddress(family));
        }
    }
}

#[test]
fn redirect_to_the_other_family_alone_is_followed_there() {
    let families = Families::only(Family::V4);
    let mut ladder = ask_in(families, "http://1.1.1.1/announce", request(None));
    ladder.up_to_request("1.1.1.1:80");
    ladder.recv("HTTP/1.1 302 Found\r\nLocation: http://t.example/announce\r\n\r\n");
    ladder.expect(&Step::Close);
    ladder.expect_resolve("t.example");
    ladder.resolved(&["2606:4700::1"]);
    ladder.expect_connect("[2606:4700::1]:80");
}

#[test]
fn an_address_that_gives_no_trackers_answer_leaves_the_next_its_turn() {
    let bad = [
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", Step::Keep),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<p>", Step::Keep),
        ("SSH-2.0-OpenSSH\r\n\r\n", Step::Close),
    ];
    for (answer, what_then) in bad {
        let mut ladder = announce("http://t.example/announce");
        ladder.expect_resolve("t.example");
        ladder.resolved(&["1.1.1.1", "1.1.1.2"]);
        ladder.up_to_request("1.1.1.1:80");
        ladder.recv(answer);
        ladder.expect(&what_then);
        ladder.up_to_request("1.1.1.2:80");
        ladder.recv(ANSWER);
        ladder.closed(None);
        assert!(ladder.expect_done().is_ok(), "{answer:?}");
    }
    // Broken off, and silent.
    let mut ladder = announce("http://t.example/announce");
    ladder.expect_resolve("t.example");
    ladder.resolved(&["1.1.1.1", "1.1.1.2", "1.1.1.3"]);
    ladder.up_to_request("1.1.1.1:80");
    ladder.closed(Some(NetError::Reset));
    ladder.up_to_request("1.1.1.2:80");
    ladder.timeout(15);
    ladder.expect(&Step::Close);
    ladder.up_to_request("1.1.1.3:80");
    // What a tracker says counts for all of its addresses.
    let mut ladder = announce("http://t.example/announce");
    ladder.expect_resolve("t.example");
    ladder.resolved(&["1.1.1.1", "1.1.1.2"]);
    ladder.up_to_request("1.1.1.1:80");
    ladder.recv("HTTP/1.1 200 OK\r\n\r\nd14:failure reason2:noe");
    ladder.closed(None);
    assert!(matches!(ladder.expect_done(), Err(TrackerError::Refused { .. })));
}

#[test]
fn each_of_many_addresses_has_its_turn_before_the_deadline() {
    let many: Vec<String> = (1..=32).map(|last| format!("1.1.1.{last}")).collect();
    let mut ladder = announce("http://t.example/announce");
    ladder.expect_resolve("t.example");
    ladder.resolved(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tried = Vec::new();
    loop {
        match ladder.poll_step() {
            Some(Step::Connect { to, .. }) => tried.push(to.ip().to_string()),
            Some(Step::Close) => continue,
            Some(Step::Done(result)) => {
                assert!(result.is_err());
                break;
            }
            other => panic!("{other:?}"),
        }
        let at = ladder.poll_timeout().unwrap();
        ladder.handle_timeout(at);
    }
    assert_eq!(tried, many);
}
