//! The tracker's own two doors. Over HTTP: however requests are cut, the same answers come, each a
//! whole response whose body is what was asked for. Over UDP: no answer is longer than its request
//! unless the asker has proved where it is. In both, what is held stays within its bounds.

use std::net::SocketAddr;
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::bencode::{Document, Limits};
use bitswarm_core::http::server::RequestParser;
use bitswarm_core::http::{ClientExchange, Progress, Request, Url};
use bitswarm_core::map::HashKeys;
use bitswarm_core::random::SecretRng;
use bitswarm_core::tracker::packet::{RequestPacket, ResponsePacket};
use bitswarm_core::tracker::server::{HttpConn, Next, ServerConfig, TrackerServer};

use super::input::{Input, cut};

/// Small, so that a fuzzer reaches them.
const CONFIG: ServerConfig = ServerConfig {
    max_swarms: 3,
    max_peers_per_swarm: 4,
    max_peers: 8,
    max_numwant: 5,
    interval: Duration::from_secs(60),
    min_interval: Duration::from_secs(30),
};

/// What separates the connections of an input; each begins with a byte that says whose it is.
const NEXT_CONNECTION: &[u8] = b"NEXT";

/// Requests over HTTP.
pub(super) fn http(data: &[u8]) {
    let seed = data.first().copied().unwrap_or(0);
    let (mut whole, mut portioned, mut bytewise) = (server(), server(), server());
    let mut rest = data;
    let mut now = Instant::ZERO;
    while !rest.is_empty() {
        let mark = rest.windows(NEXT_CONNECTION.len()).position(|bytes| bytes == NEXT_CONNECTION);
        let (this, next) = rest.split_at(mark.unwrap_or(rest.len()));
        rest = next.get(NEXT_CONNECTION.len()..).unwrap_or_default();
        let mut input = Input::new(this);
        let from = client(input.byte());
        let stream = input.rest();
        let answers = converse(&mut whole, now, from, &[stream]);
        assert_eq!(converse(&mut portioned, now, from, &cut(stream, seed)), answers);
        assert_eq!(
            converse(&mut bytewise, now, from, &stream.chunks(1).collect::<Vec<_>>()),
            answers
        );
        check_answers(&answers.0, stream);
        now += Duration::from_secs(7);
    }
    expire(&mut whole, now);
}

/// Requests over UDP: each a byte that says from whom, then a datagram behind its length.
pub(super) fn udp(data: &[u8]) {
    let mut server = server();
    let mut input = Input::new(data);
    let mut now = Instant::ZERO;
    let mut connection = [0; 8];
    while !input.is_empty() {
        let who = input.byte();
        let mut datagram = input.run().to_vec();
        // Nobody guesses a connection id: most use the last one that was given out.
        if who & 0x40 == 0
            && datagram.get(8..12).is_some_and(|action| action != [0; 4])
            && let Some(place) = datagram.get_mut(..8)
        {
            place.copy_from_slice(&connection);
        }
        now += Duration::from_secs(u64::from(who >> 4 & 3) * 25);
        let Some(answer) = server.handle_datagram(now, client(who), &datagram) else { continue };
        let packet = ResponsePacket::parse(&answer).expect("what is answered is a response");
        assert!(answer.len() <= 1400, "it fits any path");
        let request = RequestPacket::parse(&datagram).expect("only requests are answered");
        if let (ResponsePacket::Connect { connection: id, .. }, true) =
            (packet, answer.len() <= datagram.len())
        {
            assert!(matches!(request, RequestPacket::Connect { .. }));
            connection = id.to_be_bytes();
        } else {
            assert_ne!(connection, [0; 8], "without a connection id nothing is told");
        }
        check_bounds(&server);
    }
    expire(&mut server, now);
}

fn server() -> TrackerServer {
    let mut rng = SecretRng::from_seed([5; 32]);
    let keys = HashKeys::draw(&mut rng);
    TrackerServer::new(CONFIG, rng, keys)
}

fn client(who: u8) -> SocketAddr {
    let port = 1000 + u16::from(who & 3);
    match who & 0x0c {
        0 => SocketAddr::from(([198, 51, 100, 1 + (who & 3)], port)),
        4 => SocketAddr::from(([192, 168, 0, 1], port)),
        8 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(who & 3)], port)),
        _ => SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1], port)),
    }
}

/// What the tracker answers to a stream in portions, and whether it hangs up.
fn converse(
    server: &mut TrackerServer,
    now: Instant,
    from: SocketAddr,
    portions: &[&[u8]],
) -> (Vec<u8>, Next) {
    let mut conn = HttpConn::new(now, from);
    let mut out = Vec::new();
    let mut next = Next::Keep;
    for portion in portions {
        next = server.handle_received(now, &mut conn, portion, &mut out);
        check_bounds(server);
        if next == Next::Close {
            break;
        }
    }
    assert!(conn.poll_timeout() > now);
    (out, next)
}

/// One response for each request that was read, whole and with a body that fits.
fn check_answers(mut answers: &[u8], stream: &[u8]) {
    let mut requests = Vec::new();
    let mut parser = RequestParser::default();
    let mut rest = stream;
    while let Ok(Some(request)) = parser.next(&mut rest) {
        assert!(request.target.starts_with('/'));
        requests.push(request);
    }
    let mut targets = requests.iter().map(|request| request.target.as_str());
    while !answers.is_empty() {
        let end = response_end(answers);
        let (answer, rest) = answers.split_at(end);
        answers = rest;
        let url = Url::parse("http://t/").expect("it is a URL");
        let mut exchange = ClientExchange::new(&Request::get(url), Default::default());
        let Ok(Progress::Response(response)) = exchange.handle(answer) else {
            panic!("not one response: {}", answer.escape_ascii());
        };
        let target = targets.next().unwrap_or_default();
        let asks = |path: &str| target.split('?').next() == Some(path);
        if asks("/announce") || asks("/scrape") {
            assert_eq!(response.status, 200);
            let document = Document::parse(&response.body, Limits::MESSAGE).expect("bencoded");
            assert!(document.root().as_dict().is_some());
        }
    }
}

/// Where the first response ends: its head says how long its body is.
fn response_end(answers: &[u8]) -> usize {
    let head = answers.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head ends") + 4;
    let text = std::str::from_utf8(&answers[..head]).expect("a head is text");
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    head + length.expect("it says its length").parse::<usize>().expect("a number")
}

fn check_bounds(server: &TrackerServer) {
    let stats = server.stats();
    assert!(stats.swarms <= CONFIG.max_swarms && stats.peers <= CONFIG.max_peers, "{stats:?}");
    assert!(stats.peers >= stats.swarms, "an empty swarm is forgotten");
    assert_eq!(stats.peers > 0, server.poll_timeout().is_some());
}

/// In time everybody is forgotten.
fn expire(server: &mut TrackerServer, now: Instant) {
    server.handle_timeout(now + CONFIG.interval * 3);
    assert_eq!((server.stats().swarms, server.stats().peers), (0, 0));
}
