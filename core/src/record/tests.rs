use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::BytesMut;

use super::log::{self, Frame};
use super::*;
use crate::command::{Command, Commands};
use crate::config::{Config, RateLimits};
use crate::event::{Event, NetError};
use crate::http::Url;
use crate::id::Id;
use crate::metainfo::create::Creator;
use crate::piece::InfoHash;
use crate::priority::PieceOrder;
use crate::testing::{Loopback, NoFiles, Node};
use crate::torrent::AddTorrent;
use crate::{Duration, Engine, Instant, UnixTime};

const PEER: &str = "10.0.0.9:6881";

/// A recorded engine that has no files.
fn recorded(seed: u8) -> Loopback<NoFiles> {
    let recorder = Recorder::recording(Config::default(), [seed; 32], Instant::ZERO, UnixTime(1));
    let addr = "10.0.0.1:5000".parse().unwrap();
    let mut net = Loopback::new([Node::recorded(recorder, addr, NoFiles)]);
    net.settle();
    net
}

fn pass(net: &mut Loopback<NoFiles>, secs: u64) {
    net.pass(Duration::from_secs(secs));
}

fn torrent() -> AddTorrent {
    let content = vec![7; 50_000];
    let creator = Creator::single_file("file", content.len() as u64);
    let metainfo = creator.finish_with_content(&content).expect("makes a torrent");
    AddTorrent::new(metainfo, "/downloads")
}

/// Uses every method once; returns the log and what it came to.
fn session(seed: u8) -> (Vec<u8>, Fingerprint) {
    let mut net = recorded(seed);
    let peer: SocketAddr = PEER.parse().unwrap();
    let id = net.nodes[0].engine.add_torrent(net.now, torrent()).expect("adds");
    assert!(net.nodes[0].engine.add_torrent(net.now, torrent()).is_err(), "it is there already");
    pass(&mut net, 1);
    net.nodes[0].engine.add_peers(net.now, id, &[peer]).expect("it lives");
    pass(&mut net, 1);
    let conn = net.take_dialled(0, peer).expect("the user named it");
    net.connected(0, conn);
    assert_eq!(net.sent(0, conn).len(), 68, "a handshake");
    net.receive(0, conn, b"\x13BitTorrent protocol and so on");
    net.end(0, conn, Some(NetError::Reset));
    net.settle();
    net.accept(0, "10.0.0.8:777".parse().unwrap()).expect("has room");
    let (now, engine) = (net.now, &mut net.nodes[0].engine);
    engine.gather_datagrams(now, Id::new(1, 0), 1, &mut BytesMut::new());
    let limits = RateLimits { down_bytes_per_s: Some(5), up_bytes_per_s: None };
    engine.set_limits(now, limits);
    engine.set_torrent_limits(now, id, limits).expect("it lives");
    engine.set_order(now, id, PieceOrder::Sequential).expect("it lives");
    let tracker = Url::parse("http://10.0.0.7/announce?key=0123456789").expect("valid");
    engine.scrape(now, tracker, vec![InfoHash([5; 20])]).expect("it is not stopping");
    engine.pause(now, id).expect("it lives");
    pass(&mut net, 100);
    net.nodes[0].engine.resume(net.now, id).expect("it lives");
    pass(&mut net, 500);
    net.nodes[0].engine.remove_torrent(net.now, id, true).expect("it lives");
    pass(&mut net, 1);
    assert!(net.nodes[0].engine.pause(net.now, id).is_err(), "it is gone");
    net.nodes[0].engine.stop(net.now);
    pass(&mut net, 5);
    let engine = &mut net.nodes[0].engine;
    engine.checkpoint();
    (engine.take_log(), engine.fingerprint().expect("it is recorded"))
}

/// Every frame of a log with its content, the header first.
fn frames(log: &[u8]) -> Vec<&[u8]> {
    let mut rest = &log[10..];
    std::iter::from_fn(|| log::next(&mut rest)).collect()
}

/// A log of the same beginning and other frames.
fn log_of<'a>(log: &[u8], frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut made = log[..10].to_vec();
    for content in frames {
        made.extend((content.len() as u32).to_le_bytes());
        made.extend(content);
    }
    made
}

#[test]
fn a_recording_replays_to_the_same_fingerprint() {
    let (log, fingerprint) = session(1);
    let replayed = replay(&log).expect("replays");
    assert_eq!((replayed.fingerprint, replayed.cut_off), (fingerprint, false));
    assert!(replayed.ended_at >= Instant::from_secs(600));
    assert!(fingerprint.inputs > 30 && fingerprint.actions > 10, "{fingerprint}");
}

#[test]
fn equal_sessions_have_equal_logs_and_others_have_not() {
    assert_eq!(session(1), session(1));
    assert_ne!(session(1).1, session(2).1);
}

#[test]
fn a_log_that_was_cut_off_replays_as_far_as_it_goes() {
    let (log, whole) = session(1);
    let ends: Vec<usize> = frames(&log)
        .iter()
        .scan(10, |end, content| {
            *end += 4 + content.len();
            Some(*end)
        })
        .collect();
    for cut in (ends[0]..log.len()).step_by(7) {
        let replayed = replay(&log[..cut]).expect("replays");
        assert_eq!(replayed.cut_off, !ends.contains(&cut), "cut at {cut}");
        assert!(replayed.fingerprint.inputs <= whole.inputs);
    }
    assert_eq!(replay(&log[..ends[0] - 1]), Err(ReplayError::Damaged { inputs: 0 }));
}

#[test]
fn what_is_no_log_is_refused() {
    let (log, _) = session(1);
    assert_eq!(replay(b"d8:announce"), Err(ReplayError::NotALog));
    assert_eq!(replay(b"d8:announce0:e"), Err(ReplayError::NotALog));
    let mut newer = log.clone();
    newer[8] = 77;
    assert_eq!(replay(&newer), Err(ReplayError::UnknownVersion(77)));
    let mut senseless = frames(&log);
    senseless[5] = &[9, 9, 9];
    let inputs_before = senseless[1..5].iter().filter(|content| content[0] == 0).count() as u64;
    let damaged = ReplayError::Damaged { inputs: inputs_before };
    assert_eq!(replay(&log_of(&log, senseless)), Err(damaged));
}

#[test]
fn a_run_that_diverges_is_located_between_two_checkpoints() {
    let (log, _) = session(1);
    let frames = frames(&log);
    // A limit that was not there: the inputs' hash differs from the next checkpoint on.
    let mut other = Vec::new();
    let input: Input<&Event> = Input::Command(Command::SetLimits(Default::default()));
    let frame = Frame::Input { now: Instant::from_secs(1), input };
    let extra = log::write(&mut other, &frame).expect("encodes").to_vec();
    let at = frames.len() / 2;
    let (before, after) = frames.split_at(at);
    let changed = before.iter().copied().chain([&extra[..]]).chain(after.iter().copied());
    let Err(ReplayError::Diverged { equal_until, different_at, what }) =
        replay(&log_of(&log, changed))
    else {
        panic!("nobody noticed");
    };
    let inputs_before = before[1..].iter().filter(|content| content[0] == 0).count() as u64;
    assert!((equal_until..=different_at).contains(&inputs_before));
    assert!(different_at - equal_until <= 40, "{equal_until}..{different_at}");
    assert_eq!(what, Difference::Answers);
}

#[test]
fn actions_that_differ_are_noticed() {
    let (log, _) = session(1);
    let mut frames = frames(&log);
    let mut header: log::Header = log::read(frames[0]).expect("a header");
    // Another engine, so to speak: it binds other addresses.
    header.config.listen.pop();
    let mut other = Vec::new();
    frames[0] = log::write(&mut other, &header).expect("encodes");
    let Err(ReplayError::Diverged { equal_until, what, .. }) = replay(&log_of(&log, frames)) else {
        panic!("nobody noticed");
    };
    assert_eq!((equal_until, what), (0, Difference::Actions));
}

#[test]
fn a_log_may_be_taken_in_parts() {
    let mut net = recorded(1);
    let mut log = net.nodes[0].engine.take_log();
    net.nodes[0].engine.add_torrent(net.now, torrent()).expect("adds");
    pass(&mut net, 100);
    let engine = &mut net.nodes[0].engine;
    assert!(engine.log_len() > 0);
    log.extend(engine.take_log());
    assert_eq!(engine.log_len(), 0);
    assert_eq!(replay(&log).map(|r| r.fingerprint), Ok(engine.fingerprint().unwrap()));
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_ends_the_recording_but_not_the_session() {
    use std::os::unix::ffi::OsStrExt;
    let mut net = recorded(1);
    let root = PathBuf::from(std::ffi::OsStr::from_bytes(b"/bad\xFFname"));
    net.nodes[0].engine.add_torrent(net.now, AddTorrent { root, ..torrent() }).expect("adds");
    assert!(!net.nodes[0].engine.is_recording() && net.nodes[0].engine.fingerprint().is_none());
    pass(&mut net, 1);
    assert_eq!(net.nodes[0].engine.engine().torrents().count(), 1);
}

#[test]
fn an_engine_that_is_not_recorded_writes_nothing() {
    let engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
    let mut recorder = Recorder::passing(engine);
    recorder.add_torrent(Instant::ZERO, torrent()).expect("adds");
    assert!(recorder.poll_action().is_some());
    assert_eq!((recorder.log_len(), recorder.is_recording()), (0, false));
}
