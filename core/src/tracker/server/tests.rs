//! The tracker and its clients, joined in memory.

use std::net::SocketAddr;

use quickcheck::quickcheck;

use super::*;
use crate::family::Families;
use crate::http::fetch::{self, Fetch, Output};
use crate::piece::{InfoHash, PeerId};
use crate::time::Duration;
use crate::tracker::exchange::{Exchange, Step};
use crate::tracker::packet::{RequestPacket, ResponsePacket};
use crate::tracker::{Announce, Heard, NamedBy, TrackerList};
use crate::tracker::{AnnounceEvent, AnnounceResponse, Answer, Question, TrackerError, UdpTracker};
use crate::{http::Url, random::PolicyRng};

fn server(config: ServerConfig) -> TrackerServer {
    let mut rng = SecretRng::from_seed([5; 32]);
    let keys = HashKeys::draw(&mut rng);
    TrackerServer::new(config, rng, keys)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn request(peer: u8, left: u64, event: Option<AnnounceEvent>) -> AnnounceRequest {
    AnnounceRequest {
        infohash: InfoHash(*b"\0&=% +\xff.....hash...."),
        peer_id: PeerId([peer; 20]),
        port: 7000 + u16::from(peer),
        left,
        event,
        ..AnnounceRequest::sample()
    }
}

/// Sends bytes in pieces of `cut`; what comes back.
fn http(server: &mut TrackerServer, from: SocketAddr, data: &[u8], cut: usize) -> (Vec<u8>, Next) {
    let mut conn = HttpConn::new(Instant::ZERO, from);
    let mut out = Vec::new();
    let mut next = Next::Keep;
    for part in data.chunks(cut.max(1)) {
        next = server.handle_received(Instant::ZERO, &mut conn, part, &mut out);
    }
    (out, next)
}

/// Asks over HTTP with the real client.
fn ask_http(
    server: &mut TrackerServer,
    from: SocketAddr,
    question: Question,
) -> Result<Answer, TrackerError> {
    let url = Url::parse("http://10.9.9.9:6969/announce").unwrap();
    let (now, by) = (Instant::ZERO, NamedBy::Torrent);
    let mut exchange = Exchange::new(now, url, question, Families::BOTH, by, "test");
    let Some(Step::Fetch(request)) = exchange.poll_step() else { panic!("it asks over HTTP") };
    let mut fetch = Fetch::new(now, *request);
    let mut conn = HttpConn::new(now, from);
    while let Some(step) = fetch.poll_step() {
        match step {
            fetch::Step::Connect { to, .. } => {
                assert_eq!(to, addr("10.9.9.9:6969"));
                fetch.handle_connected(now);
            }
            fetch::Step::Send(data) => {
                let mut out = Vec::new();
                for part in data.chunks(7) {
                    server.handle_received(now, &mut conn, part, &mut out);
                }
                for part in out.chunks(11) {
                    fetch.handle_received(now, part.into());
                }
            }
            fetch::Step::Close | fetch::Step::Keep => {}
            other => panic!("{other:?}"),
        }
    }
    while let Some(output) = fetch.poll_output() {
        if let Output::Response(response) = output {
            exchange.handle_response(&response, fetch.answered_by());
        }
    }
    match exchange.poll_step() {
        Some(Step::Done(result)) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connection_may_be_closed_after_its_next_response() {
    let mut server = server(ServerConfig::default());
    let mut conn = HttpConn::new(Instant::ZERO, addr("10.0.0.1:5000"));
    let mut ask = |conn: &mut HttpConn| {
        let mut out = Vec::new();
        let data = b"GET /scrape HTTP/1.1\r\nHost: t\r\n\r\n";
        let next = server.handle_received(Instant::ZERO, conn, data, &mut out);
        (next, String::from_utf8_lossy(&out).to_ascii_lowercase().contains("connection: close"))
    };
    assert_eq!(ask(&mut conn), (Next::Keep, false));
    conn.close_after_next();
    assert_eq!(ask(&mut conn), (Next::Close, true));
}

/// Asks over UDP with the real client.
fn ask_udp(
    server: &mut TrackerServer,
    from: SocketAddr,
    question: Question,
) -> Result<Answer, TrackerError> {
    let mut client = UdpTracker::new(SecretRng::from_seed([from.ip().is_ipv4().into(); 32]));
    let url = Url::parse("udp://t:6969/announce").unwrap();
    let to = if from.is_ipv4() { addr("10.9.9.9:6969") } else { addr("[2606::9]:6969") };
    let patience = question.deadline();
    client.ask(Instant::ZERO, (), to, &url, question, patience);
    while let Some(datagram) = client.poll_transmit() {
        let answer = server.handle_datagram(Instant::ZERO, from, &datagram.data).unwrap();
        assert!(client.handle_datagram(Instant::ZERO, datagram.remote, &answer));
    }
    client.poll_output().expect("an answer").1
}

fn peers(answer: Result<Answer, TrackerError>) -> Vec<String> {
    let mut peers: Vec<_> = announced(answer).peers.iter().map(ToString::to_string).collect();
    peers.sort();
    peers
}

fn announced(answer: Result<Answer, TrackerError>) -> AnnounceResponse {
    answer.unwrap().into_announce().unwrap()
}

#[test]
fn clients_over_http_and_udp_find_each_other() {
    let mut server = server(ServerConfig::default());
    let started = Some(AnnounceEvent::Started);
    let first = ask_http(&mut server, addr("1.1.1.1:1"), request(1, 0, started).into());
    let first = announced(first);
    assert!(first.peers.is_empty());
    assert_eq!(first.external_ip, Some(addr("1.1.1.1:1").ip()));
    assert_eq!(first.interval, Duration::from_secs(1800));
    assert_eq!(first.min_interval, Some(Duration::from_secs(60)));
    let second = ask_udp(&mut server, addr("1.1.1.2:1"), request(2, 9, started).into());
    assert_eq!(peers(second), ["1.1.1.1:7001"]);
    let v6 = ask_http(&mut server, addr("[2606::3]:1"), request(3, 9, started).into());
    assert_eq!(peers(v6), ["1.1.1.1:7001", "1.1.1.2:7002"]);
    let v6 = ask_udp(&mut server, addr("[2606::4]:1"), request(4, 9, started).into());
    assert_eq!(peers(v6), ["[2606::3]:7003"]);
    let long = AnnounceRequest { compact: false, ..request(5, 9, started) };
    let long = ask_http(&mut server, addr("1.1.1.5:1"), long.into());
    let everyone = ["1.1.1.1:7001", "1.1.1.2:7002", "[2606::3]:7003", "[2606::4]:7004"];
    assert_eq!(peers(long), everyone);
    for scrape in [ask_http, ask_udp] {
        let infohash = request(1, 0, None).infohash;
        let question = Question::Scrape(vec![infohash]);
        let Ok(Answer::Scrape(answer)) = scrape(&mut server, addr("1.1.1.9:1"), question) else {
            panic!()
        };
        let entry = answer.get(infohash).unwrap();
        assert_eq!((entry.complete, entry.incomplete, entry.downloaded), (1, 4, 0));
    }
}

#[test]
fn list_of_trackers_goes_through_a_whole_life() {
    let mut server = server(ServerConfig::default());
    let tiers = [vec!["http://10.9.9.9:6969/announce".to_owned()]];
    let mut list = TrackerList::new(&tiers, PolicyRng::from_seed([1; 32]));
    let mut left = 5;
    let mut announce = |list: &mut TrackerList, now: Instant, left: u64| {
        let families = Families::BOTH;
        let Announce { tracker, event, .. } = list.poll(now, false, families).expect("it is due");
        let answer = ask_http(&mut server, addr("1.1.1.1:1"), request(1, left, event).into());
        let answer = Ok(announced(answer));
        assert_eq!(list.handle_result(now, tracker, &answer), Heard::News);
        server.stats().peers
    };
    assert_eq!(announce(&mut list, Instant::ZERO, left), 1);
    left = 0;
    list.complete(Instant::from_secs(10));
    assert_eq!(announce(&mut list, Instant::from_secs(10), left), 1);
    list.stop(Instant::from_secs(20));
    assert_eq!(announce(&mut list, Instant::from_secs(20), left), 0);
    assert!(list.is_stopped());
}

#[test]
fn wrong_announces_are_told_why() {
    let mut server = server(ServerConfig { max_swarms: 0, ..ServerConfig::default() });
    let full = ask_http(&mut server, addr("1.1.1.1:1"), request(1, 1, None).into());
    let full_udp = ask_udp(&mut server, addr("1.1.1.1:1"), request(1, 1, None).into());
    assert!(matches!(&full, Err(TrackerError::Refused { reason, .. }) if reason.contains("full")));
    assert_eq!(full, full_udp);
    let (out, next) = http(&mut server, addr("1.1.1.1:1"), b"GET /announce HTTP/1.1\r\n\r\n", 99);
    assert!(out.ends_with(b"d14:failure reason20:info_hash is missinge"));
    assert_eq!(next, Next::Keep);
}

#[test]
fn other_paths_and_methods_are_refused_clearly() {
    let mut server = server(ServerConfig::default());
    let mut status = |data: &[u8]| {
        let (out, next) = http(&mut server, addr("1.1.1.1:1"), data, 99);
        (String::from_utf8(out[9..12].to_vec()).unwrap(), next)
    };
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), ("404".to_owned(), Next::Keep));
    assert_eq!(status(b"GET /stats HTTP/1.0\r\n\r\n"), ("200".to_owned(), Next::Close));
    assert_eq!(status(b"POST /announce HTTP/1.1\r\n\r\n"), ("405".to_owned(), Next::Close));
    assert_eq!(status(b"hello\r\n\r\n"), ("400".to_owned(), Next::Close));
}

#[test]
fn requests_of_a_connection_are_bounded() {
    let mut server = server(ServerConfig::default());
    let many = b"GET /stats HTTP/1.1\r\n\r\n".repeat(100);
    let (out, next) = http(&mut server, addr("1.1.1.1:1"), &many, 1000);
    let answers = out.windows(8).filter(|window| window == b"HTTP/1.1").count();
    assert_eq!((answers, next), (32, Next::Close));
}

#[test]
fn request_that_drips_does_not_extend_its_time() {
    let mut server = server(ServerConfig::default());
    let mut conn = HttpConn::new(Instant::ZERO, addr("1.1.1.1:1"));
    let deadline = conn.poll_timeout();
    let mut out = Vec::new();
    server.handle_received(Instant::from_secs(5), &mut conn, b"GET /sta", &mut out);
    assert_eq!(conn.poll_timeout(), deadline);
    server.handle_received(Instant::from_secs(6), &mut conn, b"ts HTTP/1.1\n\n", &mut out);
    assert!(conn.poll_timeout() > deadline);
}

#[test]
fn without_a_connection_id_nothing_is_answered() {
    let mut server = server(ServerConfig::default());
    let mut data = Vec::new();
    let request = Box::new(request(1, 1, None));
    RequestPacket::Announce { connection: 1, transaction: 2, request }.encode(&mut data);
    assert_eq!(server.handle_datagram(Instant::ZERO, addr("1.1.1.1:1"), &data), None);
    data.clear();
    let infohashes = vec![InfoHash([0; 20]); 74];
    RequestPacket::Scrape { connection: 1, transaction: 2, infohashes }.encode(&mut data);
    assert_eq!(server.handle_datagram(Instant::ZERO, addr("1.1.1.1:1"), &data), None);
    assert_eq!(server.stats().announces, 0);
}

#[test]
fn udp_answer_fits_a_packet() {
    let mut server = server(ServerConfig { max_numwant: 1000, ..ServerConfig::default() });
    for family in ["1.1.1.1:1", "[2606::1]:1"] {
        for port in 1..=300 {
            let request = AnnounceRequest { port, ..request(1, 1, None) };
            server.announce(Instant::ZERO, addr(family), &request).unwrap();
        }
        let connect = {
            let mut data = Vec::new();
            RequestPacket::Connect { transaction: 1 }.encode(&mut data);
            server.handle_datagram(Instant::ZERO, addr(family), &data).unwrap()
        };
        let Some(ResponsePacket::Connect { connection, .. }) = ResponsePacket::parse(&connect)
        else {
            panic!()
        };
        let mut data = Vec::new();
        let request = Box::new(AnnounceRequest { numwant: Some(1000), ..request(1, 1, None) });
        RequestPacket::Announce { connection, transaction: 2, request }.encode(&mut data);
        let answer = server.handle_datagram(Instant::ZERO, addr(family), &data).unwrap();
        assert!((1300..1400).contains(&answer.len()), "{}", answer.len());
    }
}

quickcheck! {
    fn any_cut_of_requests_gives_the_same_answers(cut: u8) -> bool {
        let query = request(1, 1, None).to_query();
        let data = format!(
            "GET /announce?{query} HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\nGET /stats HTTP/1.0\r\n\r\n"
        );
        let whole = http(&mut server(ServerConfig::default()), addr("1.1.1.1:1"), data.as_bytes(), 9999);
        let cut = usize::from(cut);
        whole == http(&mut server(ServerConfig::default()), addr("1.1.1.1:1"), data.as_bytes(), cut)
    }

    fn arbitrary_bytes_do_not_panic_and_are_never_amplified(data: Vec<u8>, action: u8) -> bool {
        let mut server = server(ServerConfig::default());
        let from = addr("1.1.1.1:1");
        http(&mut server, from, &data, 3);
        let query = [b"GET /announce?info_hash=", &data[..], b" HTTP/1.1\r\n\r\n"].concat();
        http(&mut server, from, &query, 99);
        let framed = [&[0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, action % 4][..], &data].concat();
        [data, framed].iter().all(|data| {
            let answer = server.handle_datagram(Instant::ZERO, from, data);
            answer.is_none_or(|answer| answer.len() <= data.len())
        })
    }
}
