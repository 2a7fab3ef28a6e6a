//! One question to one tracker, from its URL to the answer: look up the host, try its addresses,
//! speak HTTP or have the UDP client ask, follow redirects (BEP 3, BEP 15).
//!
//! The machine says what to do in [`Step`]s and is told what came of each. It holds at most one
//! connection, and ends within the question's deadline. Addresses where a torrent must not lead
//! are not asked, at first or after a redirect (defence 29). Only one address answers in the end:
//! a tracker with IPv4 and IPv6 is not told of both our addresses (BEP 7).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::announce::AnnounceResponse;
use super::error::TrackerError;
use super::question::{Answer, Question};
use super::scrape::{ScrapeResponse, scrape_url};
use crate::event::{NetError, ResolveError};
use crate::http::client::Limits;
use crate::http::{
    ClientExchange, Host, HttpError, MAX_REDIRECTS, Progress, Request, Response, Scheme, Url,
    UrlError, origin,
};
use crate::time::{Duration, Instant};

/// Time for one address to react before the next is tried (chosen).
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses of a host that are tried (chosen).
const MAX_ADDRESSES: usize = 16;

/// What the owner of an [`Exchange`] is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Look up this host, then call [`Exchange::handle_resolved`].
    Resolve(Box<str>),
    /// Connect over TCP, then call [`Exchange::handle_connected`] or [`Exchange::handle_closed`].
    Connect(SocketAddr),
    /// Send this on the connection.
    Send(Bytes),
    /// Close the connection, or stop connecting. No more is wanted of it.
    Close,
    /// Ask over UDP ([`UdpTracker::ask`](super::UdpTracker::ask), with this URL and this
    /// question), then call [`Exchange::handle_answer`].
    Ask {
        /// The tracker's address.
        to: SocketAddr,
        /// How long to wait for its answer.
        patience: Duration,
    },
    /// Over; the last step. A connection was closed before, an answer over UDP may be cancelled.
    Done(Result<Answer, TrackerError>),
}

/// A question under way.
#[derive(Debug)]
pub struct Exchange {
    tracker: Url,
    question: Question,
    user_agent: Box<str>,
    deadline: Instant,
    /// What is asked for now: differs from the tracker's URL by the query and by redirects.
    url: Url,
    redirects: u32,
    /// The address that sent us elsewhere.
    redirected_by: Option<IpAddr>,
    /// Addresses not tried yet.
    addresses: VecDeque<SocketAddr>,
    state: State,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
enum State {
    Resolving,
    Connecting { to: SocketAddr, until: Instant },
    Exchanging { with: IpAddr, http: Box<ClientExchange> },
    Asking,
    Done,
}

impl Exchange {
    /// Begins to ask `question` at `tracker`. `user_agent` names us to HTTP servers.
    pub fn new(now: Instant, tracker: Url, question: Question, user_agent: &str) -> Self {
        let mut exchange = Exchange {
            deadline: now + question.deadline(),
            url: tracker.clone(),
            tracker,
            question,
            user_agent: user_agent.into(),
            redirects: 0,
            redirected_by: None,
            addresses: VecDeque::new(),
            state: State::Resolving,
            steps: VecDeque::new(),
        };
        match exchange.request_url() {
            Ok(url) => exchange.go_to(now, url),
            Err(error) => exchange.finish(Err(error)),
        }
        exchange
    }

    /// The tracker's URL.
    pub fn tracker(&self) -> &Url {
        &self.tracker
    }

    /// What is asked.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// What to do next; to be called until it returns `None`, after each input.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to call [`Exchange::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Done => None,
            State::Connecting { until, .. } => Some(until.min(self.deadline)),
            _ => Some(self.deadline),
        }
    }

    /// The host was looked up.
    pub fn handle_resolved(&mut self, now: Instant, result: Result<Vec<IpAddr>, ResolveError>) {
        if !matches!(self.state, State::Resolving) {
            return;
        }
        match result {
            Ok(addresses) => self.handle_addresses(now, &addresses),
            Err(why) => self.finish(Err(TrackerError::Resolve(why))),
        }
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, _now: Instant) {
        let State::Connecting { to, .. } = self.state else { return };
        let request = Request::get(self.url.clone()).header("User-Agent", &self.user_agent);
        let http = Box::new(ClientExchange::new(&request, Limits::default()));
        self.steps.push_back(Step::Send(http.request()));
        self.state = State::Exchanging { with: to.ip(), http };
    }

    /// Bytes came in.
    pub fn handle_received(&mut self, now: Instant, data: &[u8]) {
        let State::Exchanging { with, http } = &mut self.state else { return };
        let with = *with;
        let progress = http.handle(data);
        self.handle_progress(now, with, progress, true);
    }

    /// The connection is over, or could not be established.
    pub fn handle_closed(&mut self, now: Instant, why: Option<NetError>) {
        match &mut self.state {
            State::Connecting { .. } => {
                let why = why.unwrap_or(NetError::UnexpectedEnd);
                self.try_next(now, TrackerError::Connect(why));
            }
            State::Exchanging { with, http } => {
                let with = *with;
                match why {
                    Some(why) => self.end(Err(TrackerError::Disconnected(why))),
                    None => {
                        let progress = http.handle_close();
                        self.handle_progress(now, with, progress, false);
                    }
                }
            }
            State::Resolving | State::Asking | State::Done => {}
        }
    }

    /// The UDP client is done with the question.
    pub fn handle_answer(&mut self, now: Instant, result: Result<Answer, TrackerError>) {
        if !matches!(self.state, State::Asking) {
            return;
        }
        match result {
            Err(TrackerError::TimedOut) => self.try_next(now, TrackerError::TimedOut),
            result => self.end(result),
        }
    }

    /// The time of [`Exchange::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Done => {}
            _ if now >= self.deadline => self.finish(Err(TrackerError::TimedOut)),
            State::Connecting { until, .. } if now >= until => {
                self.steps.push_back(Step::Close);
                self.try_next(now, TrackerError::Connect(NetError::TimedOut));
            }
            _ => {}
        }
    }

    /// What to get over HTTP; the tracker's own URL over UDP.
    fn request_url(&self) -> Result<Url, TrackerError> {
        match (self.tracker.scheme(), &self.question) {
            (Scheme::Https, _) => Err(TrackerError::HttpsUnsupported),
            (Scheme::Udp, _) => Ok(self.tracker.clone()),
            (Scheme::Http, Question::Announce(request)) => Ok(request.to_url(&self.tracker)),
            (Scheme::Http, Question::Scrape(infohashes)) => {
                scrape_url(&self.tracker, infohashes).ok_or(TrackerError::NoScrape)
            }
        }
    }

    /// Makes `url` the one that is asked.
    fn go_to(&mut self, now: Instant, url: Url) {
        self.url = url;
        self.state = State::Resolving;
        match self.url.host().clone() {
            Host::Name(name) => self.steps.push_back(Step::Resolve(name)),
            Host::Ip(ip) => self.handle_addresses(now, &[ip]),
        }
    }

    fn handle_addresses(&mut self, now: Instant, addresses: &[IpAddr]) {
        let port = self.url.port();
        let allowed = addresses.iter().filter(|ip| self.is_allowed(**ip)).take(MAX_ADDRESSES);
        self.addresses = allowed.map(|ip| SocketAddr::new(*ip, port)).collect();
        let error = match addresses.first() {
            Some(first) => TrackerError::ForbiddenAddress(*first),
            None => TrackerError::Resolve(ResolveError::NotFound),
        };
        self.try_next(now, error);
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        let from_here = self.redirected_by.is_none_or(|from| origin::redirect_allowed(from, ip));
        // A packet of BEP 15 means nothing to other services.
        from_here && (self.url.scheme() == Scheme::Udp || origin::tracker_allowed(&self.url, ip))
    }

    /// Turns to the next address; without one, `error` is what came of it all.
    fn try_next(&mut self, now: Instant, error: TrackerError) {
        let Some(to) = self.addresses.pop_front() else {
            return self.end(Err(error));
        };
        if self.url.scheme() != Scheme::Udp {
            self.state = State::Connecting { to, until: now + ADDRESS_TIMEOUT };
            self.steps.push_back(Step::Connect(to));
            return;
        }
        let left = self.deadline.saturating_duration_since(now);
        let patience = if self.addresses.is_empty() { left } else { left.min(ADDRESS_TIMEOUT) };
        self.state = State::Asking;
        self.steps.push_back(Step::Ask { to, patience });
    }

    /// `open` says whether there is still a connection to close.
    fn handle_progress(
        &mut self,
        now: Instant,
        with: IpAddr,
        progress: Result<Progress, HttpError>,
        open: bool,
    ) {
        if open && progress != Ok(Progress::More) {
            self.steps.push_back(Step::Close);
        }
        match progress {
            Ok(Progress::More) => {}
            Ok(Progress::Response(response)) => {
                let result = self.read(&response);
                self.end(result);
            }
            Ok(Progress::Redirect(url)) => self.redirect(now, with, url),
            Err(why) => self.end(Err(TrackerError::Http(why))),
        }
    }

    fn redirect(&mut self, now: Instant, from: IpAddr, to: Url) {
        self.redirects += 1;
        self.redirected_by = Some(from);
        match to.scheme() {
            _ if self.redirects > MAX_REDIRECTS => self.end(Err(TrackerError::TooManyRedirects)),
            Scheme::Http => self.go_to(now, to),
            Scheme::Https => self.end(Err(TrackerError::HttpsUnsupported)),
            Scheme::Udp => {
                let why = HttpError::BadRedirect(UrlError::UnknownScheme);
                self.end(Err(TrackerError::Http(why)));
            }
        }
    }

    fn read(&self, response: &Response) -> Result<Answer, TrackerError> {
        let answer = match self.question {
            Question::Announce(_) => AnnounceResponse::parse(&response.body).map(Answer::Announce),
            Question::Scrape(_) => ScrapeResponse::parse(&response.body).map(Answer::Scrape),
        };
        match answer {
            // Some trackers refuse with an HTTP error around their words.
            Err(TrackerError::Refused { .. }) => answer,
            _ if response.status != 200 => Err(TrackerError::Status(response.status)),
            _ => answer,
        }
    }

    /// Over, with the connection closed if there is one.
    fn finish(&mut self, result: Result<Answer, TrackerError>) {
        if matches!(self.state, State::Connecting { .. } | State::Exchanging { .. }) {
            self.steps.push_back(Step::Close);
        }
        self.end(result);
    }

    /// Over; there is no connection.
    fn end(&mut self, result: Result<Answer, TrackerError>) {
        self.state = State::Done;
        self.steps.push_back(Step::Done(result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::{InfoHash, PeerId};
    use crate::tracker::announce::{AnnounceEvent, AnnounceRequest};

    /// An exchange and the world's side of a ladder. Times are in seconds.
    struct Ladder {
        exchange: Exchange,
    }

    fn request(event: Option<AnnounceEvent>) -> Question {
        AnnounceRequest {
            infohash: InfoHash([b'i'; 20]),
            peer_id: PeerId([b'p'; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event,
            numwant: None,
            key: 0,
            tracker_id: None,
            ip: None,
            compact: true,
        }
        .into()
    }

    fn announce(url: &str) -> Ladder {
        ask(url, request(None))
    }

    fn ask(url: &str, question: Question) -> Ladder {
        let url = Url::parse(url).unwrap();
        Ladder { exchange: Exchange::new(Instant::ZERO, url, question, "bitswarm/1") }
    }

    impl Ladder {
        fn expect(&mut self, step: &Step) {
            assert_eq!(self.exchange.poll_step().as_ref(), Some(step));
        }

        fn expect_resolve(&mut self, host: &str) {
            self.expect(&Step::Resolve(host.into()));
        }

        fn expect_connect(&mut self, to: &str) {
            self.expect(&Step::Connect(to.parse().unwrap()));
        }

        fn expect_send(&mut self) -> String {
            match self.exchange.poll_step() {
                Some(Step::Send(data)) => String::from_utf8(data.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            }
        }

        fn expect_done(&mut self) -> Result<Answer, TrackerError> {
            match self.exchange.poll_step() {
                Some(Step::Done(result)) => {
                    assert_eq!(self.exchange.poll_step(), None);
                    assert_eq!(self.exchange.poll_timeout(), None);
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
            self.exchange.handle_resolved(Instant::ZERO, Ok(addresses));
        }

        fn connected(&mut self) {
            self.exchange.handle_connected(Instant::ZERO);
        }

        fn recv(&mut self, data: &str) {
            self.exchange.handle_received(Instant::ZERO, data.as_bytes());
        }

        fn closed(&mut self, why: Option<NetError>) {
            self.exchange.handle_closed(Instant::ZERO, why);
        }

        fn timeout(&mut self, at: u64) {
            assert_eq!(self.exchange.poll_timeout(), Some(Instant::from_secs(at)));
            self.exchange.handle_timeout(Instant::from_secs(at));
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
        assert_eq!(ladder.exchange.poll_step(), None);
        ladder.closed(None);
        let answer = ladder.expect_done().unwrap().into_announce().unwrap();
        assert_eq!(answer.interval, Duration::from_secs(900));
    }

    #[test]
    fn complete_answer_closes_the_connection() {
        let mut ladder = announce("http://1.1.1.1/announce");
        ladder.up_to_request("1.1.1.1:80");
        ladder.recv("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde");
        ladder.expect(&Step::Close);
        assert!(ladder.expect_done().is_ok());
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
        assert_eq!(waiting.exchange.poll_step(), None);

        let stopped = ask("http://t/announce", request(Some(AnnounceEvent::Stopped)));
        assert_eq!(stopped.exchange.poll_timeout(), Some(Instant::from_secs(5)));
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
            let Host::Ip(ip) = *ip.host() else { panic!() };
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
    fn https_is_not_spoken_yet_and_says_so() {
        announce("https://t.example/announce").expect_error(&TrackerError::HttpsUnsupported);
        let mut ladder = announce("http://1.1.1.1/announce");
        ladder.up_to_request("1.1.1.1:80");
        ladder.recv("HTTP/1.1 301 Moved\r\nLocation: https://1.1.1.1/announce\r\n\r\n");
        ladder.expect(&Step::Close);
        ladder.expect_error(&TrackerError::HttpsUnsupported);
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
        ladder.exchange.handle_resolved(Instant::ZERO, Err(ResolveError::NotFound));
        ladder.expect_error(&TrackerError::Resolve(ResolveError::NotFound));
        let mut empty = announce("http://t.example/announce");
        empty.expect_resolve("t.example");
        empty.resolved(&[]);
        empty.expect_error(&TrackerError::Resolve(ResolveError::NotFound));
    }

    #[test]
    fn scrape_asks_the_scrape_url() {
        let mut ladder =
            ask("http://1.1.1.1/announce", Question::Scrape(vec![InfoHash([b'i'; 20])]));
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
        let ask = |to: &str, secs| Step::Ask {
            to: to.parse().unwrap(),
            patience: Duration::from_secs(secs),
        };
        ladder.expect(&ask("127.0.0.1:6969", 10));
        ladder.exchange.handle_answer(Instant::from_secs(10), Err(TrackerError::TimedOut));
        ladder.expect(&ask("1.1.1.1:6969", 20));
        let answer = Answer::Announce(AnnounceResponse::new(Duration::from_secs(900)));
        ladder.exchange.handle_answer(Instant::from_secs(11), Ok(answer.clone()));
        assert_eq!(ladder.expect_done(), Ok(answer));
    }
}
