//! `tracker`: a tracker over HTTP and UDP, in both address families, until stopped.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use bitswarm_core::action::SocketKind;
use bitswarm_core::config::Config;
use bitswarm_core::notice::{Notice, Service};
use bitswarm_core::tracker::server::HeardAnnounce;
use bitswarm_runtime_common::{ClientConfig, interfaces};

use crate::args::Tracker;
use crate::exit::Failure;
use crate::json;
use crate::output::{print, say};
use crate::session::{MustListen, PATIENCE, Session};
use crate::signals::Interrupt;
use crate::units::{Size, counted};

/// Runs until it is told to end. Says where it is reached, once it listens.
pub(crate) fn run(args: &Tracker) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let core = Config {
        listen: Vec::new(),
        tracker_listen: each_once(args.listen.iter().flat_map(|at| with_one_port(&at.0)).collect()),
        tracker_notices: args.reporting.verbose > 0,
        ..Config::default()
    };
    let config = ClientConfig { core, ..ClientConfig::default() };
    let session = Session::start(args.driven.runtime, &config, MustListen::Yes)?;
    let mut told = BTreeSet::new();
    while !interrupt.is_set() {
        match session.next_notice(PATIENCE)? {
            Some(Notice::Listening { kind, addr, service: Service::Tracker }) => {
                let urls = urls(kind, addr);
                if args.reporting.json {
                    json::listening(kind, addr).with("urls", urls).print()?;
                    continue;
                }
                // One address may be reached through two sockets.
                let news = urls.into_iter().filter(|url| told.insert(url.clone()));
                news.collect::<Vec<_>>().iter().try_for_each(|url| print(url))?;
            }
            Some(Notice::TrackerHeard(announce)) => tell(&announce),
            _ => {}
        }
    }
    session.stop();
    Ok(())
}

/// Without those that were named before, or that are at a port of all addresses. A port of the system's
/// choice is another each time.
fn each_once(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let everywhere: Vec<SocketAddr> =
        addrs.iter().filter(|addr| addr.ip().is_unspecified()).copied().collect();
    let is_covered = |addr: &SocketAddr| {
        let is_there = |all: &SocketAddr| {
            all.is_ipv4() == addr.is_ipv4() && all.port() == addr.port() && all != addr
        };
        addr.port() != 0 && everywhere.iter().any(is_there)
    };
    let mut known = BTreeSet::new();
    let is_new = |addr: &SocketAddr| addr.port() == 0 || known.insert(*addr);
    addrs.into_iter().filter(|addr| !is_covered(addr)).filter(is_new).collect()
}

/// Where the system is to choose the port of both families, one that is free in both: others know a
/// tracker by a name and one port.
fn with_one_port(listen: &[SocketAddr]) -> Vec<SocketAddr> {
    const TRIES: usize = 16;
    let at = |port: u16| listen.iter().map(move |addr| SocketAddr::new(addr.ip(), port));
    if listen.len() < 2 || listen.iter().any(|addr| addr.port() != 0) {
        return listen.to_vec();
    }
    let is_free = |port: &u16| {
        // A family that this machine does not have takes no port.
        let is_taken = |error: io::Error| error.kind() == io::ErrorKind::AddrInUse;
        at(*port).all(|addr| {
            let tcp = TcpListener::bind(addr).map(drop);
            let udp = UdpSocket::bind(addr).map(drop);
            !tcp.is_err_and(is_taken) && !udp.is_err_and(is_taken)
        })
    };
    let chosen = |_| Some(TcpListener::bind(listen.first()?).ok()?.local_addr().ok()?.port());
    let port = (0..TRIES).filter_map(chosen).find(is_free);
    port.map_or_else(|| listen.to_vec(), |port| at(port).collect())
}

/// How others reach a socket: of one that listens everywhere, at each address of this machine that
/// is more than the machine's own.
fn urls(kind: SocketKind, addr: SocketAddr) -> Vec<String> {
    let reached: Vec<IpAddr> = match addr.ip().is_unspecified() {
        false => vec![addr.ip()],
        true => {
            let local = interfaces::addresses().unwrap_or_default();
            let family = local.into_iter().filter(|ip| ip.is_ipv4() == addr.is_ipv4());
            let (own, others): (Vec<IpAddr>, Vec<IpAddr>) = family.partition(IpAddr::is_loopback);
            if others.is_empty() { own } else { others }
        }
    };
    let url = |ip| {
        let addr = SocketAddr::new(ip, addr.port());
        match kind {
            SocketKind::TcpListener => format!("http://{addr}/announce"),
            SocketKind::Udp | SocketKind::Multicast => format!("udp://{addr}"),
        }
    };
    reached.into_iter().map(url).collect()
}

/// A line of the log that `-v` asks for.
fn tell(announce: &HeardAnnounce) {
    let HeardAnnounce { peer, infohash, event, left, answer } = announce;
    let event = event.unwrap_or("announce");
    let answer = match answer {
        Ok(peers) => format!("told of {}", counted(*peers, "peer", "peers")),
        Err(why) => format!("refused: {why}"),
    };
    say(&format!("{peer} {event} {infohash}, {} left; {answer}", Size(*left)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_system_chooses_is_the_same_in_both_families() {
        let any = |port| ["0.0.0.0", "::"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        let ports: BTreeSet<u16> = with_one_port(&any(0)).iter().map(SocketAddr::port).collect();
        assert!(ports.len() == 1 && !ports.contains(&0), "{ports:?}");
        // What the user names stays as it is.
        assert_eq!(with_one_port(&any(6969)), any(6969));
        assert_eq!(with_one_port(&any(0)[..1]), any(0)[..1]);
    }

    #[test]
    fn an_address_that_is_named_twice_is_listened_at_once() {
        let addrs = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|addr| addr.parse().unwrap()).collect()
        };
        let twice = "127.0.0.1:6969 127.0.0.1:6969 127.0.0.1:6970 [::1]:6969";
        assert_eq!(each_once(addrs(twice)), addrs("127.0.0.1:6969 127.0.0.1:6970 [::1]:6969"));
        let covered = "127.0.0.1:6969 0.0.0.0:6969 [::1]:6969 0.0.0.0:6969";
        assert_eq!(each_once(addrs(covered)), addrs("0.0.0.0:6969 [::1]:6969"));
        assert_eq!(each_once(addrs("127.0.0.1:0 127.0.0.1:0")).len(), 2);
    }

    #[test]
    fn urls_name_addresses_that_others_can_use() {
        let named = urls(SocketKind::TcpListener, "192.0.2.1:6969".parse().unwrap());
        assert_eq!(named, ["http://192.0.2.1:6969/announce"]);
        let named = urls(SocketKind::Udp, "[::1]:6969".parse().unwrap());
        assert_eq!(named, ["udp://[::1]:6969"]);
        for everywhere in ["0.0.0.0:7", "[::]:7"] {
            for url in urls(SocketKind::Udp, everywhere.parse().unwrap()) {
                let addr: SocketAddr = url.strip_prefix("udp://").unwrap().parse().unwrap();
                assert!(!addr.ip().is_unspecified() && addr.port() == 7, "{url}");
            }
        }
    }
}
