//! Listeners and peers of the standard library, without an engine.

use std::io::Read;
use std::net::TcpStream as Peer;
use std::process::Command;

use bitswarm_core::action::SocketKind;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::super::test_poller::{MODES, Mode, TestPoller};
use super::*;

struct Bench {
    poller: TestPoller,
    listeners: Listeners<Socket>,
    id: SocketId,
    addr: SocketAddr,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let mut poller = TestPoller::new(mode);
        let mut listeners = Listeners::new();
        let id = SocketId::new(0, 0);
        let addr = "127.0.0.1:0".parse().unwrap();
        let spec = SocketSpec { kind: SocketKind::TcpListener, addr, bind: None };
        let addr = listeners.open(&mut poller, id, &spec).unwrap();
        Bench { poller, listeners, id, addr }
    }

    /// Polls once, and accepts what can be accepted at `now`.
    fn accept_all(&mut self, now: Instant) -> Vec<Socket> {
        for (source, readiness) in self.poller.wait(Duration::from_millis(20)) {
            assert!(source == Source::Listener(0) && readiness.readable);
            self.listeners.note(0);
        }
        let mut accepted = Vec::new();
        for id in self.listeners.ready(now) {
            assert_eq!(id, self.id);
            while let Some((stream, _)) = self.listeners.accept(&mut self.poller, id, now).unwrap()
            {
                accepted.push(stream);
            }
        }
        accepted
    }
}

#[test]
fn every_connection_that_waits_is_accepted() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        for _ in 0..2 {
            let _peers: Vec<_> = (0..10).map(|_| Peer::connect(bench.addr).unwrap()).collect();
            assert_eq!(bench.accept_all(Instant::ZERO).len(), 10);
            assert!(!bench.listeners.is_any_ready());
        }
        bench.listeners.close(bench.id);
        assert!(Peer::connect(bench.addr).is_err());
    }
}

/// Limits are the whole process's, so this one needs a process of its own.
#[test]
fn without_descriptors_connections_are_turned_away_and_later_accepted_again() {
    const CHILD: &str = "BITSWARM_TEST_WITHOUT_DESCRIPTORS";
    if std::env::var_os(CHILD).is_some() {
        return MODES.into_iter().for_each(without_descriptors);
    }
    let name = "without_descriptors_connections_are_turned_away_and_later_accepted_again";
    let path = format!("sockets::listeners::tests::{name}");
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args([&path, "--exact", "--nocapture"]).env(CHILD, "1");
    let output = child.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

fn without_descriptors(mode: Mode) {
    let mut bench = Bench::new(mode);
    let mut peers: Vec<_> = (0..5).map(|_| Peer::connect(bench.addr).unwrap()).collect();
    let mut limit = getrlimit(Resource::Nofile);
    let roomy = limit.current;
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(bench.accept_all(Instant::ZERO).is_empty());
    // They are not left hanging.
    for peer in &mut peers {
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ended = peer.read(&mut [0; 8]);
        let hung = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        assert!(!ended.as_ref().is_err_and(hung), "{ended:?}");
    }
    let rest = bench.listeners.deadline().expect("accepting rests");
    assert!(!bench.listeners.is_any_ready());
    drop(files);
    limit.current = roomy;
    setrlimit(Resource::Nofile, limit).unwrap();
    let _peer = Peer::connect(bench.addr).unwrap();
    assert!(bench.accept_all(Instant::ZERO).is_empty(), "it still rests");
    assert_eq!(bench.accept_all(rest).len(), 1);
    assert!(bench.listeners.reserve.is_some());
}

#[test]
fn listener_that_no_longer_listens_is_lost() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        assert!(bench.accept_all(Instant::ZERO).is_empty());
        let listener = &bench.listeners.table.get_mut(bench.id).unwrap().socket;
        listener.shutdown(std::net::Shutdown::Both).unwrap();
        for _ in bench.poller.wait(Duration::from_secs(20)) {
            bench.listeners.note(0);
        }
        let accepted = bench.listeners.accept(&mut bench.poller, bench.id, Instant::ZERO);
        assert!(accepted.is_err());
        assert!(
            !bench.listeners.is_any_ready() && bench.listeners.table.get_mut(bench.id).is_none()
        );
    }
}
