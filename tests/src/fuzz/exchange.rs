//! One question to one tracker, with what is fetched for it: look-up, addresses, connections,
//! redirects, answers in any order and at any time. It ends exactly once and in time, holds one connection at most, and is never
//! led where a torrent must not lead.
//!
//! The input is a program: a byte for the tracker and the question, then a byte an event with its
//! arguments behind it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::event::{NetError, ResolveError};
use bitswarm_core::family::{Families, Family};
use bitswarm_core::http::fetch::{self, Fetch, Output};
use bitswarm_core::http::{Url, UrlHost, origin};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::tracker::{
    Answer, Exchange, NamedBy, Question, ScrapeResponse, Step, TrackerError,
};

use super::input::Input;
use super::tracker_answer::{check_announce, check_error};
use super::udp_packet::announce;

const TRACKERS: [&str; 8] = [
    "http://tracker.example/announce?k=v",
    "http://8.8.8.8:6969/x/announce",
    "http://127.0.0.1/announce",
    "http://127.0.0.1:631/jobs",
    "http://[2606:4700::1111]/announce",
    "udp://tracker.example:6969/announce",
    "udp://8.8.8.8:6969",
    "https://tracker.example/announce",
];

const ANSWERS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\nd8:intervali900e5:peers0:e",
    "HTTP/1.1 200 OK\r\n\r\nd5:filesdee",
    "HTTP/1.1 302 F\r\nLocation: http://127.0.0.1/announce\r\n\r\n",
    "HTTP/1.1 302 F\r\nLocation: http://10.0.0.1/announce\r\n\r\n",
    "HTTP/1.1 302 F\r\nLocation: http://9.9.9.9/announce\r\n\r\n",
    "HTTP/1.1 302 F\r\nLocation: /jobs\r\n\r\n",
    "HTTP/1.1 302 F\r\nLocation: http://other.example/announce\r\n\r\n",
    "HTTP/1.1 400 Bad\r\n\r\nd14:failure reason2:no8:retry in5:nevere",
];

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let setup = input.byte();
    let tracker = Url::parse(TRACKERS[usize::from(setup & 7)]).expect("it is a URL");
    let question = match setup >> 3 & 1 {
        0 => announce().into(),
        _ => Question::Scrape(vec![InfoHash([1; 20])]),
    };
    let families = match setup >> 4 & 3 {
        0 => Families::only(Family::V4),
        1 => Families::only(Family::V6),
        _ => Families::BOTH,
    };
    let deadline = Instant::ZERO + question.deadline();
    let mut asker = Asker {
        exchange: Exchange::new(
            Instant::ZERO,
            tracker,
            question,
            families,
            NamedBy::Torrent,
            "bitswarm/0",
        ),
        fetch: None,
        now: Instant::ZERO,
        looks_up: false,
        conn: None,
        kept: [None, Some(([8, 8, 8, 8], 80).into())][usize::from(setup >> 6 & 1)],
        asks: false,
        sent_to: None,
        resolved: Vec::new(),
        led_by: None,
        done: false,
    };
    asker.follow();
    while !input.is_empty() {
        asker.step(&mut input);
        asker.follow();
    }
    asker.now = asker.now.max(deadline);
    asker.time_out();
    asker.follow();
    assert!(asker.done && asker.conn.is_none(), "its time is over");
}

struct Asker {
    exchange: Exchange,
    fetch: Option<Fetch>,
    now: Instant,
    looks_up: bool,
    conn: Option<Connection>,
    /// A connection kept from an earlier request.
    kept: Option<SocketAddr>,
    asks: bool,
    /// The address that a request went to.
    sent_to: Option<IpAddr>,
    /// What the last name has for addresses, each of which is tried in turn.
    resolved: Vec<IpAddr>,
    /// The address that led to that name.
    led_by: Option<IpAddr>,
    done: bool,
}

struct Connection {
    to: SocketAddr,
    open: bool,
}

impl Asker {
    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        match input.below(8) {
            0 if self.looks_up => {
                self.looks_up = false;
                let result = addresses(input.byte());
                self.led_by = self.sent_to;
                self.resolved = result.clone().unwrap_or_default();
                match &mut self.fetch {
                    Some(fetch) => fetch.handle_resolved(now, result),
                    None => self.exchange.handle_resolved(now, result),
                }
            }
            1 => {
                if let Some(conn) = self.conn.as_mut().filter(|conn| !conn.open) {
                    conn.open = true;
                    self.fetch.as_mut().expect("it connects").handle_connected(now);
                }
            }
            2 => {
                let answer = ANSWERS[input.below(ANSWERS.len())];
                self.receive(answer.as_bytes());
            }
            3 => {
                let bytes = input.run();
                self.receive(bytes);
            }
            4 => {
                let why = [None, Some(NetError::Reset), Some(NetError::Refused)][input.below(3)];
                if self.conn.take().is_some() {
                    self.fetch.as_mut().expect("it was connected").handle_closed(now, why);
                }
            }
            5 => {
                self.now += Duration::from_secs(u64::from(input.byte() & 15));
                self.time_out();
            }
            6 if self.asks => {
                self.asks = false;
                let result = match input.below(4) {
                    0 => Err(TrackerError::TimedOut),
                    1 => Err(TrackerError::Busy),
                    _ => Ok(Answer::Scrape(ScrapeResponse::default())),
                };
                self.exchange.handle_answer(now, result);
            }
            // What comes unasked is harmless.
            _ => self.time_out(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.conn.as_ref().is_some_and(|conn| conn.open) {
            let fetch = self.fetch.as_mut().expect("it is connected");
            fetch.handle_received(self.now, bytes.into());
        }
    }

    fn time_out(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.handle_timeout(self.now);
        }
        self.exchange.handle_timeout(self.now);
    }

    /// Does what the exchange and its fetch want done.
    fn follow(&mut self) {
        loop {
            if let Some(step) = self.fetch.as_mut().and_then(Fetch::poll_step) {
                assert!(!self.done, "{step:?} after the last step");
                self.fetch_on(step);
            } else if let Some(output) = self.fetch.as_mut().and_then(Fetch::poll_output) {
                match output {
                    Output::Requested => {}
                    Output::Response(response) => {
                        self.exchange.handle_response(&response, None);
                    }
                    Output::Failed(why) => self.exchange.handle_failed(why),
                    other => panic!("{other:?} of a whole body"),
                }
            } else if let Some(step) = self.exchange.poll_step() {
                assert!(!self.done, "{step:?} after the last step");
                self.go_on(step);
            } else {
                break;
            }
        }
        let fetch = self.fetch.as_ref().and_then(Fetch::poll_timeout);
        let deadline = fetch.into_iter().chain(self.exchange.poll_timeout()).min();
        assert_eq!(self.done, deadline.is_none());
        assert!(deadline.is_none_or(|at| at > self.now), "overdue at {:?}: {deadline:?}", self.now);
    }

    fn fetch_on(&mut self, step: fetch::Step) {
        if matches!(step, fetch::Step::Resolve(_) | fetch::Step::Connect { .. })
            && self.begins_on_kept()
        {
            return;
        }
        match step {
            fetch::Step::Resolve(host) => self.look_up(&host),
            fetch::Step::Connect { to, .. } => self.connect(to),
            fetch::Step::Send(bytes) => {
                let conn = self.conn.as_ref().expect("sends on a connection");
                assert!(conn.open);
                let ip = conn.to.ip();
                let harmless =
                    bytes.starts_with(b"GET /announce") || bytes.starts_with(b"GET /scrape");
                assert!(harmless || !ip.is_loopback(), "presses a button at {ip}");
                self.sent_to = Some(ip);
            }
            fetch::Step::Close => assert!(self.conn.take().is_some(), "closes what is not open"),
            fetch::Step::Keep => {
                let kept = self.conn.take().expect("keeps a connection");
                assert!(kept.open);
            }
        }
    }

    /// Once in the life of an exchange there is a kept connection, if the tracker may be asked there.
    fn begins_on_kept(&mut self) -> bool {
        let (Some(to), Some(fetch)) = (self.kept, &mut self.fetch) else { return false };
        let is_there = *fetch.url().host() == UrlHost::Ip(to.ip());
        if !is_there || !fetch.may_use_kept(to.ip()) {
            return false;
        }
        self.kept = None;
        fetch.handle_kept(self.now, to.ip());
        if let Some(from) = self.sent_to {
            assert!(origin::redirect_allowed(from, to.ip()), "{from} leads to {to}");
        }
        self.conn = Some(Connection { to, open: true });
        true
    }

    fn go_on(&mut self, step: Step) {
        match step {
            Step::Fetch(request) => self.fetch = Some(Fetch::new(self.now, *request)),
            Step::TryNext => self.fetch.as_mut().expect("it fetches").try_next(self.now),
            Step::Resolve(host) => self.look_up(&host),
            Step::Ask { patience, .. } => {
                assert!(self.conn.is_none() && !patience.is_zero());
                self.asks = true;
            }
            Step::Done(result) => {
                // The exchange that is over does not wait for its connection to be closed
                // when the other side has closed it.
                self.done = true;
                match result {
                    Ok(Answer::Announce(response)) => check_announce(&response, usize::MAX),
                    Ok(Answer::Scrape(_)) => {}
                    Err(error) => check_error(&error),
                }
            }
        }
    }

    fn look_up(&mut self, host: &str) {
        assert!(host.parse::<IpAddr>().is_err() && self.conn.is_none());
        self.looks_up = true;
    }

    fn connect(&mut self, to: SocketAddr) {
        assert!(self.conn.is_none(), "one connection at a time");
        // To the next address of a name nobody leads but who led to the name.
        let is_next = self.resolved.contains(&to.ip());
        if let Some(from) = if is_next { self.led_by } else { self.sent_to } {
            assert!(origin::redirect_allowed(from, to.ip()), "{from} leads to {to}");
        }
        self.conn = Some(Connection { to, open: false });
    }
}

fn addresses(which: u8) -> Result<Vec<IpAddr>, ResolveError> {
    let global = IpAddr::from([8, 8, 4, 4]);
    let private = IpAddr::from([192, 168, 1, 1]);
    let loopback = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    match which % 7 {
        0 => Ok(vec![global]),
        1 => Ok(vec![private]),
        2 => Ok(vec![loopback]),
        3 => Ok(vec![private, global, loopback]),
        4 => Ok(vec![global; 40]),
        5 => Ok(Vec::new()),
        _ => Err(ResolveError::NotFound),
    }
}
