use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::BytesMut;

use super::log::{self, Frame};
use super::*;
use crate::command::{Command, Commands};
use crate::config::{Config, RateLimits};
use crate::disk::{DiskDone, DiskRequest};
use crate::event::{Event, NetError};
use crate::http::Url;
use crate::id::{ConnId, Id};
use crate::metainfo::create::Creator;
use crate::piece::InfoHash;
use crate::priority::PieceOrder;
use crate::torrent::AddTorrent;
use crate::{Action, Duration, Engine, Instant, Segments, UnixTime};

const PEER: &str = "10.0.0.9:6881";

/// A recorded engine and a host that grants everything and has no files.
struct Host {
    recorder: Recorder,
    now: Instant,
    /// The connection that the engine opened last.
    conn: Option<ConnId>,
}

impl Host {
    fn new(seed: u8) -> Self {
        let recorder =
            Recorder::recording(Config::default(), [seed; 32], Instant::ZERO, UnixTime(1));
        let mut host = Host { recorder, now: Instant::ZERO, conn: None };
        host.drain();
        host
    }

    fn drain(&mut self) {
        while let Some(action) = self.recorder.poll_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::Bind { socket, spec } => {
                self.recorder.handle(now, Event::Bound { socket, result: Ok(spec.addr) });
            }
            Action::Connect { conn, .. } => {
                let local: SocketAddr = "10.0.0.1:5000".parse().unwrap();
                self.conn = Some(conn);
                self.recorder.handle(now, Event::Connected { conn, local });
            }
            Action::Send { conn } => {
                let mut out = Segments::new();
                self.recorder.gather(now, conn, 1 << 16, &mut out);
                self.recorder.handle(now, Event::Sent { conn, bytes: out.len() });
            }
            Action::Disk { op, request } => {
                let done = match request {
                    DiskRequest::Open { spec, .. } => DiskDone::Files(vec![None; spec.files.len()]),
                    DiskRequest::Load { .. } => DiskDone::Loaded(None),
                    _ => DiskDone::Done,
                };
                self.recorder.handle(now, Event::Disk { op, result: Ok(done) });
            }
            _ => {}
        }
    }

    /// Runs from deadline to deadline.
    fn pass(&mut self, secs: u64) {
        let until = self.now + Duration::from_secs(secs);
        self.drain();
        while let Some(at) = self.recorder.poll_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.recorder.handle(at, Event::Timeout);
            self.drain();
        }
        self.now = until;
    }
}

fn torrent() -> AddTorrent {
    let content = vec![7; 50_000];
    let creator = Creator::single_file("file", content.len() as u64);
    let metainfo = creator.finish_with_content(&content).expect("makes a torrent");
    AddTorrent::new(metainfo, "/downloads")
}

/// Uses every method once; returns the log and what it came to.
fn session(seed: u8) -> (Vec<u8>, Fingerprint) {
    let mut host = Host::new(seed);
    let peer = PEER.parse().unwrap();
    let id = host.recorder.add_torrent(host.now, torrent()).expect("adds");
    assert!(host.recorder.add_torrent(host.now, torrent()).is_err(), "it is there already");
    host.pass(1);
    host.recorder.add_peers(host.now, id, &[peer]).expect("it lives");
    host.pass(1);
    let conn = host.conn.expect("the engine connects to a peer that the user named");
    let data = BytesMut::from(&b"\x13BitTorrent protocol and so on"[..]);
    host.recorder.handle(host.now, Event::Received { conn, data });
    host.recorder.handle(host.now, Event::Closed { conn, why: Some(NetError::Reset) });
    let listener = Id::new(0, 0);
    host.recorder.accept(host.now, listener, "10.0.0.8:777".parse().unwrap()).expect("has room");
    let socket = Id::new(1, 0);
    host.recorder.gather_datagrams(host.now, socket, 1, &mut BytesMut::new());
    let limits = RateLimits { down_bytes_per_s: Some(5), up_bytes_per_s: None };
    host.recorder.set_limits(host.now, limits);
    host.recorder.set_torrent_limits(host.now, id, limits).expect("it lives");
    host.recorder.set_order(host.now, id, PieceOrder::Sequential).expect("it lives");
    let tracker = Url::parse("http://10.0.0.7/announce?key=0123456789").expect("valid");
    host.recorder.scrape(host.now, tracker, vec![InfoHash([5; 20])]).expect("it is not stopping");
    host.recorder.pause(host.now, id).expect("it lives");
    host.pass(100);
    host.recorder.resume(host.now, id).expect("it lives");
    host.pass(500);
    host.recorder.remove_torrent(host.now, id, true).expect("it lives");
    host.pass(1);
    assert!(host.recorder.pause(host.now, id).is_err(), "it is gone");
    host.recorder.stop(host.now);
    host.pass(5);
    host.recorder.checkpoint();
    (host.recorder.take_log(), host.recorder.fingerprint().expect("it is recorded"))
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
    let mut host = Host::new(1);
    let mut log = host.recorder.take_log();
    host.recorder.add_torrent(host.now, torrent()).expect("adds");
    host.pass(100);
    assert!(host.recorder.log_len() > 0);
    log.extend(host.recorder.take_log());
    assert_eq!(host.recorder.log_len(), 0);
    assert_eq!(replay(&log).map(|r| r.fingerprint), Ok(host.recorder.fingerprint().unwrap()));
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_ends_the_recording_but_not_the_session() {
    use std::os::unix::ffi::OsStrExt;
    let mut host = Host::new(1);
    let root = PathBuf::from(std::ffi::OsStr::from_bytes(b"/bad\xFFname"));
    host.recorder.add_torrent(host.now, AddTorrent { root, ..torrent() }).expect("adds");
    assert!(!host.recorder.is_recording() && host.recorder.fingerprint().is_none());
    host.pass(1);
    assert_eq!(host.recorder.engine().torrents().count(), 1);
}

#[test]
fn an_engine_that_is_not_recorded_writes_nothing() {
    let engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
    let mut recorder = Recorder::passing(engine);
    recorder.add_torrent(Instant::ZERO, torrent()).expect("adds");
    assert!(recorder.poll_action().is_some());
    assert_eq!((recorder.log_len(), recorder.is_recording()), (0, false));
}
