//! Thousands of torrents and their trackers: a host is asked by few at once, and one that does not
//! answer holds up nobody who asks another. And the numbers of a swarm, asked for without joining it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bitswarm_core::action::SocketSpec;
use bitswarm_core::disk::DiskRequest;
use bitswarm_core::engine::Stopping;
use bitswarm_core::event::NetError;
use bitswarm_core::http::Url;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::testing::{DiskResult, Environment, Loopback, NoFiles, Socket};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::tracker::ScrapeEntry;
use bitswarm_core::{Commands, Config, ConnId, Duration, Engine, Event, Instant, Notice, UnixTime};

const TORRENTS: u32 = 2000;

type Host = Loopback<NoFiles>;

/// Trackers, and what is under way there.
#[derive(Default)]
struct Hosts {
    open: BTreeMap<ConnId, SocketAddr>,
    most: BTreeMap<SocketAddr, usize>,
    dialled: BTreeMap<SocketAddr, usize>,
}

impl Hosts {
    /// Looks at what the engine has begun and ended since.
    fn look(&mut self, host: &mut Host) {
        for conn in host.nodes[0].closed.drain(..) {
            self.open.remove(&conn);
        }
        for (conn, to) in host.nodes[0].dialled.drain(..) {
            self.dial(conn, to);
        }
    }

    fn dial(&mut self, conn: ConnId, to: SocketAddr) {
        self.open.insert(conn, to);
        let now_open = self.open.values().filter(|at| **at == to).count();
        let most = self.most.entry(to).or_default();
        *most = (*most).max(now_open);
        *self.dialled.entry(to).or_default() += 1;
    }

    fn refuse(&mut self, host: &mut Host, conn: ConnId) {
        self.open.remove(&conn);
        host.end(0, conn, Some(NetError::Refused));
        host.settle();
        self.look(host);
    }
}

fn host<E: Environment>(env: E) -> Loopback<E> {
    Loopback::alone(Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1)), env)
}

#[test]
fn a_host_is_asked_by_few_torrents_at_once_and_holds_up_no_other() {
    let mute: SocketAddr = "10.0.0.1:80".parse().expect("valid");
    let other: SocketAddr = "10.0.0.2:80".parse().expect("valid");
    let mut host = host(NoFiles);
    let mut hosts = Hosts::default();
    for n in 0..=TORRENTS {
        let creator = Creator::single_file(format!("file {n}"), 16);
        let metainfo = creator.finish_with_content(&[7; 16]).expect("valid");
        let mut add = AddTorrent::new(metainfo, "/data");
        let tracker = if n < TORRENTS { mute } else { other };
        add.trackers = vec![format!("http://{tracker}/announce")];
        host.nodes[0].engine.add_torrent(host.now, add).expect("new");
        host.settle();
        hosts.look(&mut host);
    }
    assert_eq!(hosts.dialled, BTreeMap::from([(mute, 8), (other, 1)]));

    // Whenever one is refused, the next has its turn, until every torrent has asked.
    while hosts.dialled[&mute] < TORRENTS as usize {
        let open = hosts.open.iter().find(|(_, at)| **at == mute).map(|(conn, _)| *conn);
        let conn = open.expect("somebody asks");
        hosts.refuse(&mut host, conn);
    }
    assert_eq!(hosts.most[&mute], 8);

    // They come back at different times, as each had failed at its own and waits a little more or less.
    while hosts.open.values().any(|at| *at == mute) {
        let conn = *hosts.open.keys().next().expect("some are open");
        hosts.refuse(&mut host, conn);
    }
    let mut busiest = 0;
    for _ in 0..30 {
        let before = hosts.dialled[&mute];
        let second = host.now + Duration::from_secs(1);
        while host.wait(second) {
            host.settle();
            hosts.look(&mut host);
            for conn in std::mem::take(&mut hosts.open).into_keys() {
                hosts.refuse(&mut host, conn);
            }
        }
        host.now = second;
        busiest = busiest.max(hosts.dialled[&mute] - before);
    }
    assert_eq!(hosts.most[&mute], 8);
    assert!(busiest <= TORRENTS as usize / 4, "{busiest} of {TORRENTS} came back in one second");
}

/// A host whose sockets are opened by the test.
struct Unbound;

impl Environment for Unbound {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        NoFiles.disk(request)
    }

    fn bind(&mut self, _: &SocketSpec) -> Option<Result<SocketAddr, NetError>> {
        None
    }
}

fn scraped(host: &mut Loopback<Unbound>) -> Option<Result<Vec<ScrapeEntry>, String>> {
    host.settle();
    host.nodes[0].notices.drain(..).find_map(|notice| match notice {
        Notice::Scraped { swarms, .. } => Some(swarms),
        _ => None,
    })
}

#[test]
fn a_scrape_tells_what_the_tracker_says() {
    let mut host = host(Unbound);
    let now = host.now;
    let url = Url::parse("http://10.0.0.1:80/announce").expect("valid");
    let infohash = InfoHash([b'x'; 20]);
    host.nodes[0].engine.scrape(now, url.clone(), vec![infohash]).expect("not stopping");
    host.settle();
    assert_eq!(host.nodes[0].dialled, [], "what we can listen on is not known yet");
    for (socket, Socket { addr, .. }) in host.nodes[0].sockets.clone() {
        host.happen(0, Event::Bound { socket, result: Ok(addr) });
    }
    host.settle();
    let conn = host.nodes[0].dialled.first().expect("the tracker is asked").0;
    host.connected(0, conn);
    let body = "d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei5e10:incompletei3e10:downloadedi9eeee";
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    host.receive(0, conn, answer.as_bytes());
    let numbers = ScrapeEntry { infohash, complete: 5, incomplete: 3, downloaded: 9 };
    assert_eq!(scraped(&mut host), Some(Ok(vec![numbers])));

    host.nodes[0].engine.scrape(now, url.clone(), vec![infohash]).expect("not stopping");
    host.nodes[0].engine.stop(now);
    assert_eq!(scraped(&mut host), None, "nobody waits for it any more");
    assert_eq!(host.nodes[0].engine.scrape(now, url, vec![infohash]), Err(Stopping));
}
