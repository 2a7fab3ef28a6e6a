//! Swarms, by example and against a naive model.

use super::*;
use crate::piece::PeerId;
use crate::random::SecretRng;
use crate::time::Duration;
use quickcheck::quickcheck;

const HASH: InfoHash = InfoHash([1; 20]);

fn swarms(config: ServerConfig) -> Swarms {
    let mut rng = SecretRng::from_seed([1; 32]);
    let keys = HashKeys::draw(&mut rng);
    Swarms::new(config, rng.fork_policy(), keys)
}

fn request(port: u16, left: u64, event: Option<AnnounceEvent>) -> AnnounceRequest {
    AnnounceRequest { infohash: HASH, port, left, event, ..AnnounceRequest::sample() }
}

fn leech(port: u16) -> AnnounceRequest {
    request(port, 1, None)
}

fn seed(port: u16) -> AnnounceRequest {
    request(port, 0, None)
}

fn announce(swarms: &mut Swarms, at: u64, ip: &str, request: &AnnounceRequest) -> AnnounceReply {
    let from = SocketAddr::new(ip.parse().unwrap(), 40_000);
    swarms.announce(Instant::from_secs(at), from, request).unwrap()
}

fn named(reply: &AnnounceReply) -> Vec<String> {
    let mut peers: Vec<_> = reply.peers.iter().map(|peer| peer.addr.to_string()).collect();
    peers.sort();
    peers
}

#[test]
fn peers_hear_of_each_other_but_not_of_themselves() {
    let mut swarms = swarms(ServerConfig::default());
    assert!(named(&announce(&mut swarms, 0, "1.1.1.1", &leech(1))).is_empty());
    let second = announce(&mut swarms, 0, "1.1.1.2", &leech(2));
    assert_eq!(named(&second), ["1.1.1.1:1"]);
    assert_eq!((second.complete, second.incomplete), (0, 2));
    let first = announce(&mut swarms, 1, "1.1.1.1", &leech(1));
    assert_eq!(named(&first), ["1.1.1.2:2"]);
    assert_eq!(first.interval, Duration::from_secs(1800));
}

#[test]
fn a_host_that_announces_in_both_families_is_one_peer_and_not_its_own() {
    let mut swarms = swarms(ServerConfig::default());
    let keyed = |request| AnnounceRequest { key: 9, peer_id: PeerId([3; 20]), ..request };
    announce(&mut swarms, 0, "1.1.1.1", &keyed(leech(1)));
    let reply = announce(&mut swarms, 0, "2001:db8::1", &keyed(leech(1)));
    assert_eq!(named(&reply), [""; 0]);
    assert_eq!((reply.complete, reply.incomplete), (0, 1));
    // Others hear of both its addresses, and it is one seed that completed once.
    let other = announce(&mut swarms, 1, "1.1.1.2", &leech(2));
    assert_eq!(named(&other), ["1.1.1.1:1", "[2001:db8::1]:1"]);
    for from in ["1.1.1.1", "2001:db8::1"] {
        let completed = keyed(request(1, 0, Some(AnnounceEvent::Completed)));
        let reply = announce(&mut swarms, 2, from, &completed);
        assert_eq!((reply.complete, reply.incomplete, reply.downloaded), (1, 1, 1));
    }
    let stopped = keyed(request(1, 0, Some(AnnounceEvent::Stopped)));
    let reply = announce(&mut swarms, 3, "2001:db8::1", &stopped);
    assert_eq!((reply.complete, reply.incomplete), (1, 1));
    let reply = announce(&mut swarms, 3, "1.1.1.1", &stopped);
    assert_eq!((reply.complete, reply.incomplete), (0, 1));
}

#[test]
fn seeds_are_not_named_to_seeds() {
    let mut swarms = swarms(ServerConfig::default());
    announce(&mut swarms, 0, "1.1.1.1", &seed(1));
    announce(&mut swarms, 0, "1.1.1.3", &leech(3));
    let reply = announce(&mut swarms, 0, "1.1.1.2", &seed(2));
    assert_eq!(named(&reply), ["1.1.1.3:3"]);
    let reply = announce(&mut swarms, 0, "1.1.1.3", &leech(3));
    assert_eq!(named(&reply), ["1.1.1.1:1", "1.1.1.2:2"]);
}

#[test]
fn completed_moves_a_leech_to_the_seeds_and_counts_once() {
    let mut swarms = swarms(ServerConfig::default());
    announce(&mut swarms, 0, "1.1.1.1", &leech(1));
    for _ in 0..2 {
        let completed = request(1, 0, Some(AnnounceEvent::Completed));
        let reply = announce(&mut swarms, 1, "1.1.1.1", &completed);
        assert_eq!((reply.complete, reply.incomplete, reply.downloaded), (1, 0, 1));
    }
    let forged = request(9, 0, Some(AnnounceEvent::Completed));
    assert_eq!(announce(&mut swarms, 1, "1.1.1.9", &forged).downloaded, 1);
}

#[test]
fn stopped_removes_the_peer_and_the_empty_swarm() {
    let mut swarms = swarms(ServerConfig::default());
    announce(&mut swarms, 0, "1.1.1.1", &leech(1));
    announce(&mut swarms, 0, "1.1.1.2", &leech(2));
    let stopped = request(1, 1, Some(AnnounceEvent::Stopped));
    let reply = announce(&mut swarms, 1, "1.1.1.1", &stopped);
    assert!(reply.peers.is_empty());
    assert_eq!(reply.incomplete, 1);
    let stopped = request(2, 1, Some(AnnounceEvent::Stopped));
    announce(&mut swarms, 1, "1.1.1.2", &stopped);
    assert_eq!((swarms.stats().swarms, swarms.stats().peers), (0, 0));
    assert_eq!(swarms.poll_timeout(), None);
    announce(&mut swarms, 1, "1.1.1.2", &stopped);
}

#[test]
fn silent_peers_expire_after_two_intervals() {
    let mut swarms = swarms(ServerConfig::default());
    announce(&mut swarms, 0, "1.1.1.1", &leech(1));
    announce(&mut swarms, 100, "1.1.1.2", &leech(2));
    announce(&mut swarms, 200, "1.1.1.1", &leech(1));
    assert_eq!(swarms.poll_timeout(), Some(Instant::from_secs(3700)));
    swarms.expire(Instant::from_secs(3699));
    assert_eq!(swarms.stats().peers, 2);
    swarms.expire(Instant::from_secs(3700));
    assert_eq!(swarms.stats().peers, 1);
    assert_eq!(swarms.poll_timeout(), Some(Instant::from_secs(3800)));
    swarms.expire(Instant::from_secs(3800));
    assert_eq!(swarms.stats().swarms, 0);
}

#[test]
fn full_swarm_forgets_its_oldest_and_a_full_tracker_the_oldest_of_all() {
    let config = ServerConfig { max_peers_per_swarm: 2, max_peers: 3, ..ServerConfig::default() };
    let mut swarms = swarms(config);
    let other = AnnounceRequest { infohash: InfoHash([9; 20]), ..leech(7) };
    announce(&mut swarms, 0, "1.1.1.7", &other);
    for port in 1..=3 {
        announce(&mut swarms, port.into(), &format!("1.1.1.{port}"), &leech(port));
    }
    let reply = announce(&mut swarms, 3, "1.1.1.3", &leech(3));
    assert_eq!(named(&reply), ["1.1.1.2:2"]);
    assert_eq!(swarms.stats().peers, 3);
    let third = AnnounceRequest { infohash: InfoHash([8; 20]), ..leech(8) };
    announce(&mut swarms, 4, "1.1.1.8", &third);
    assert_eq!(swarms.stats(), Stats { swarms: 2, peers: 3, announces: 6 });
    assert_eq!(swarms.scrape(InfoHash([9; 20])), None);
}

#[test]
fn swarms_past_the_bound_are_refused_and_known_ones_are_not() {
    let mut swarms = swarms(ServerConfig { max_swarms: 1, ..ServerConfig::default() });
    announce(&mut swarms, 0, "1.1.1.1", &leech(1));
    let other = AnnounceRequest { infohash: InfoHash([9; 20]), ..leech(7) };
    let from = "1.1.1.1:9".parse().unwrap();
    assert_eq!(swarms.announce(Instant::ZERO, from, &other), Err(Refusal::Full));
    announce(&mut swarms, 0, "1.1.1.2", &leech(1));
}

#[test]
fn one_host_with_many_ports_or_torrents_crowds_out_nobody() {
    let config = ServerConfig {
        max_peers_per_swarm: 100,
        max_peers: 1000,
        max_swarms: 400,
        ..ServerConfig::default()
    };
    let mut swarms = swarms(config);
    for host in 0..60 {
        announce(&mut swarms, 0, &format!("1.1.2.{host}"), &leech(1));
    }
    for port in 1..=5000 {
        announce(&mut swarms, 1, "6.6.6.6", &leech(port));
    }
    let honest = |swarms: &Swarms| {
        let members = swarms.swarms[&HASH].members.keys();
        members.filter(|addr| addr.ip().to_string().starts_with("1.1.2.")).count()
    };
    assert_eq!((honest(&swarms), swarms.swarms[&HASH].members.len()), (60, 100));
    // The same with torrents, from three addresses: a newcomer's finds a place, and theirs are refused.
    let of = |number: u32, port| {
        let mut infohash = InfoHash([7; 20]);
        infohash.0[..4].copy_from_slice(&number.to_be_bytes());
        AnnounceRequest { infohash, ..leech(port) }
    };
    for number in 0..2000 {
        for host in 1..=3 {
            let from = SocketAddr::new(format!("6.6.6.{host}").parse().unwrap(), 40_000);
            let _ = swarms.announce(Instant::from_secs(2), from, &of(number, 1));
        }
    }
    assert!(swarms.stats().swarms > 200);
    for number in 5000..5100 {
        let host = format!("1.2.{}.1", number - 5000);
        announce(&mut swarms, 3, &host, &of(number, 1));
    }
    let kept = (5000..5100).filter(|number| swarms.scrape(of(*number, 1).infohash).is_some());
    assert_eq!((kept.count(), honest(&swarms)), (100, 60));
    assert!(swarms.stats().swarms <= 400 && swarms.stats().peers <= 1000);
    assert_eq!(swarms.order.len(), swarms.swarms.len());
}

#[test]
fn peer_that_accepts_no_connections_is_answered_but_not_listed() {
    let mut swarms = swarms(ServerConfig::default());
    announce(&mut swarms, 0, "1.1.1.1", &leech(1));
    assert_eq!(named(&announce(&mut swarms, 0, "1.1.1.2", &leech(0))), ["1.1.1.1:1"]);
    assert_eq!(swarms.stats().peers, 1);
}

#[test]
fn ip_parameter_counts_only_from_a_private_network() {
    let mut swarms = swarms(ServerConfig::default());
    let spoofed = AnnounceRequest { ip: Some("8.8.8.8".parse().unwrap()), ..leech(1) };
    announce(&mut swarms, 0, "1.1.1.1", &spoofed);
    announce(&mut swarms, 0, "::ffff:127.0.0.1", &spoofed);
    let bad = AnnounceRequest { ip: Some("0.0.0.0".parse().unwrap()), ..leech(2) };
    announce(&mut swarms, 0, "10.0.0.1", &bad);
    let reply = announce(&mut swarms, 0, "1.1.1.9", &leech(9));
    assert_eq!(named(&reply), ["1.1.1.1:1", "10.0.0.1:2", "8.8.8.8:1"]);
}

#[test]
fn own_family_comes_first_and_numwant_is_kept() {
    let mut swarms = swarms(ServerConfig { max_numwant: 8, ..ServerConfig::default() });
    for port in 1..=5 {
        announce(&mut swarms, 0, "1.1.1.1", &leech(port));
        announce(&mut swarms, 0, "2606:4700::1", &seed(port));
    }
    let want = |numwant| AnnounceRequest { numwant: Some(numwant), ..leech(9) };
    let five = announce(&mut swarms, 0, "2606:4700::9", &want(5));
    assert!(five.peers.len() == 5 && five.peers.iter().all(|peer| peer.addr.is_ipv6()));
    let five = announce(&mut swarms, 0, "1.1.1.9", &want(5));
    assert!(five.peers.len() == 5 && five.peers.iter().all(|peer| peer.addr.is_ipv4()));
    let most = announce(&mut swarms, 0, "1.1.1.9", &want(1_000_000));
    assert_eq!(most.peers.len(), 8);
    assert!(announce(&mut swarms, 0, "1.1.1.9", &want(0)).peers.is_empty());
}

#[test]
fn every_peer_is_named_to_someone() {
    let mut swarms = swarms(ServerConfig { max_numwant: 10, ..ServerConfig::default() });
    for port in 1..=200 {
        announce(&mut swarms, 0, "1.1.1.1", &leech(port));
    }
    let mut heard = BTreeSet::new();
    for _ in 0..200 {
        let reply = announce(&mut swarms, 0, "1.1.1.2", &leech(1));
        assert_eq!(reply.peers.len(), 10);
        heard.extend(reply.peers.iter().map(|peer| peer.addr));
    }
    assert_eq!(heard.len(), 200);
}

quickcheck! {
    fn indices_drawn_are_different_and_in_range(len: u8, count: u8) -> bool {
        let (len, count) = (usize::from(len), usize::from(count));
        let drawn = draw_indices(&mut PolicyRng::from_seed([1; 32]), len, count);
        let set: BTreeSet<_> = drawn.iter().copied().collect();
        set.len() == drawn.len() && drawn.len() == count.min(len) && set.iter().all(|i| *i < len)
    }

    /// Against a naive model: a list of (peer, swarm, seed, expiry).
    fn counts_are_those_of_a_naive_model(steps: Vec<(u8, u8, u8, u8)>) -> bool {
        let config = ServerConfig {
            max_swarms: 3, max_peers_per_swarm: 4, max_peers: 8,
            interval: Duration::from_secs(50), ..ServerConfig::default()
        };
        let mut swarms = swarms(config);
        let mut model: Vec<(u16, u8, bool, u64)> = Vec::new();
        let mut now = 0;
        for (port, swarm, kind, wait) in steps {
            now += u64::from(wait % 16);
            let (port, swarm) = (u16::from(port % 6) + 1, swarm % 5);
            let (stopped, is_seed) = (kind % 5 == 0, kind % 2 == 0);
            let event = stopped.then_some(AnnounceEvent::Stopped);
            let infohash = InfoHash([swarm; 20]);
            let asked = AnnounceRequest { infohash, ..request(port, u64::from(!is_seed), event) };
            let from = "1.1.1.1:9".parse().unwrap();
            let result = swarms.announce(Instant::from_secs(now), from, &asked);

            model.retain(|peer| peer.3 > now);
            let mut ids: Vec<u8> = model.iter().map(|peer| peer.1).collect();
            ids.sort_unstable();
            ids.dedup();
            if !stopped && !ids.contains(&swarm) && ids.len() >= 3 {
                assert_eq!(result, Err(Refusal::Full));
                continue;
            }
            let known = model.iter().position(|peer| (peer.0, peer.1) == (port, swarm));
            if let Some(known) = known {
                model.remove(known);
            } else if !stopped {
                let mut of_swarm = (0..model.len()).filter(|at| model[*at].1 == swarm);
                let oldest = of_swarm.clone().min_by_key(|at| (model[*at].3, model[*at].0));
                if of_swarm.by_ref().count() >= 4 {
                    model.remove(oldest.unwrap());
                } else if model.len() >= 8 {
                    let oldest = (0..model.len())
                        .min_by_key(|at| (model[*at].3, model[*at].1, model[*at].0));
                    model.remove(oldest.unwrap());
                }
            }
            if !stopped {
                model.push((port, swarm, is_seed, now + 100));
            }
            let reply = result.unwrap();
            let of_swarm = model.iter().filter(|peer| peer.1 == swarm);
            let seeds = of_swarm.clone().filter(|peer| peer.2).count();
            assert_eq!(reply.complete as usize, seeds);
            assert_eq!(reply.incomplete as usize, of_swarm.count() - seeds);
            assert_eq!(swarms.stats().peers, model.len());
            assert_eq!(swarms.expiry.len(), swarms.swarms.len());
        }
        true
    }
}
