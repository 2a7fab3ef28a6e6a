//! Thousands of torrents and their trackers: a host is asked by few at once, and one that does not
//! answer holds up nobody who asks another. And the numbers of a swarm, asked for without joining it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bitswarm_core::disk::{DiskDone, DiskRequest};
use bitswarm_core::engine::Stopping;
use bitswarm_core::event::NetError;
use bitswarm_core::http::Url;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::tracker::ScrapeEntry;
use bitswarm_core::{Action, Config, ConnId, Engine, Event, Instant, Notice, UnixTime};

const TORRENTS: u32 = 2000;

/// Trackers, and what is under way there.
#[derive(Default)]
struct Hosts {
    open: BTreeMap<ConnId, SocketAddr>,
    most: BTreeMap<SocketAddr, usize>,
    dialled: BTreeMap<SocketAddr, usize>,
}

impl Hosts {
    fn dial(&mut self, conn: ConnId, to: SocketAddr) {
        self.open.insert(conn, to);
        let now_open = self.open.values().filter(|at| **at == to).count();
        let most = self.most.entry(to).or_default();
        *most = (*most).max(now_open);
        *self.dialled.entry(to).or_default() += 1;
    }
}

fn drain(engine: &mut Engine, now: Instant, hosts: &mut Hosts) {
    while let Some(action) = engine.poll_action() {
        match action {
            Action::Connect { conn, to, .. } => hosts.dial(conn, to),
            Action::Close { conn, .. } => drop(hosts.open.remove(&conn)),
            Action::Disk { op, request } => {
                let done = match request {
                    DiskRequest::Load { .. } => DiskDone::Loaded(None),
                    DiskRequest::Open { .. } => DiskDone::Files(vec![None]),
                    _ => DiskDone::Done,
                };
                engine.handle(now, Event::Disk { op, result: Ok(done) });
            }
            Action::Bind { socket, spec } => {
                engine.handle(now, Event::Bound { socket, result: Ok(spec.addr) });
            }
            _ => {}
        }
    }
}

#[test]
fn a_host_is_asked_by_few_torrents_at_once_and_holds_up_no_other() {
    let mute: SocketAddr = "10.0.0.1:80".parse().expect("valid");
    let other: SocketAddr = "10.0.0.2:80".parse().expect("valid");
    let mut now = Instant::ZERO;
    let mut engine = Engine::new(Config::default(), [1; 32], now, UnixTime(1));
    let mut hosts = Hosts::default();
    for n in 0..=TORRENTS {
        let creator = Creator::single_file(format!("file {n}"), 16);
        let metainfo = creator.finish_with_content(&[7; 16]).expect("valid");
        let mut add = AddTorrent::new(metainfo, "/data");
        let tracker = if n < TORRENTS { mute } else { other };
        add.trackers = vec![format!("http://{tracker}/announce")];
        engine.add_torrent(now, add).expect("new");
        drain(&mut engine, now, &mut hosts);
    }
    assert_eq!(hosts.dialled, BTreeMap::from([(mute, 8), (other, 1)]));

    // Whenever one is refused, the next has its turn, until every torrent has asked.
    while hosts.dialled[&mute] < TORRENTS as usize {
        let open = hosts.open.iter().find(|(_, at)| **at == mute).map(|(conn, _)| *conn);
        let conn = open.expect("somebody asks");
        hosts.open.remove(&conn);
        engine.handle(now, Event::Closed { conn, why: Some(NetError::Refused) });
        drain(&mut engine, now, &mut hosts);
    }
    assert_eq!(hosts.most[&mute], 8);

    // They come back at different times, as each had failed at its own and waits a little more or less.
    while hosts.open.values().any(|at| *at == mute) {
        let conn = *hosts.open.keys().next().expect("some are open");
        hosts.open.remove(&conn);
        engine.handle(now, Event::Closed { conn, why: Some(NetError::Refused) });
        drain(&mut engine, now, &mut hosts);
    }
    let mut busiest = 0;
    for _ in 0..30 {
        let before = hosts.dialled[&mute];
        let second = now + bitswarm_core::Duration::from_secs(1);
        while let Some(at) = engine.poll_timeout().filter(|at| *at < second) {
            now = now.max(at);
            engine.handle(now, Event::Timeout);
            drain(&mut engine, now, &mut hosts);
            for conn in std::mem::take(&mut hosts.open).into_keys() {
                engine.handle(now, Event::Closed { conn, why: Some(NetError::Refused) });
                drain(&mut engine, now, &mut hosts);
            }
        }
        now = second;
        busiest = busiest.max(hosts.dialled[&mute] - before);
    }
    assert_eq!(hosts.most[&mute], 8);
    assert!(busiest <= TORRENTS as usize / 4, "{busiest} of {TORRENTS} came back in one second");
}

fn scraped(engine: &mut Engine) -> Option<Result<Vec<ScrapeEntry>, String>> {
    std::iter::from_fn(|| engine.poll_action()).find_map(|action| match action {
        Action::Notify(notice) => match *notice {
            Notice::Scraped { swarms, .. } => Some(swarms),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn a_scrape_tells_what_the_tracker_says() {
    let now = Instant::ZERO;
    let mut engine = Engine::new(Config::default(), [1; 32], now, UnixTime(1));
    let url = Url::parse("http://10.0.0.1:80/announce").expect("valid");
    let infohash = InfoHash([b'x'; 20]);
    engine.scrape(now, url.clone(), vec![infohash]).expect("not stopping");
    let connects = |action: &Action| matches!(action, Action::Connect { .. });
    let mut sockets = Vec::new();
    while let Some(action) = engine.poll_action() {
        assert!(!connects(&action), "what we can listen on is not known yet");
        if let Action::Bind { socket, spec } = action {
            sockets.push((socket, spec.addr));
        }
    }
    for (socket, addr) in sockets {
        engine.handle(now, Event::Bound { socket, result: Ok(addr) });
    }
    let conn = std::iter::from_fn(|| engine.poll_action()).find_map(|action| match action {
        Action::Connect { conn, .. } => Some(conn),
        _ => None,
    });
    let conn = conn.expect("the tracker is asked");
    let local = "10.0.0.9:1".parse().expect("valid");
    engine.handle(now, Event::Connected { conn, local });
    let body = "d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei5e10:incompletei3e10:downloadedi9eeee";
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    engine.handle(now, Event::Received { conn, data: answer.as_bytes().into() });
    let numbers = ScrapeEntry { infohash, complete: 5, incomplete: 3, downloaded: 9 };
    assert_eq!(scraped(&mut engine), Some(Ok(vec![numbers])));

    engine.scrape(now, url.clone(), vec![infohash]).expect("not stopping");
    engine.stop(now);
    assert_eq!(scraped(&mut engine), None, "nobody waits for it any more");
    assert_eq!(engine.scrape(now, url, vec![infohash]), Err(Stopping));
}
