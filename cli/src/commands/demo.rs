//! `demo`: the whole of it on this machine, without a network.
//!
//! Makes content and a torrent, starts the embedded tracker, a seeder and several downloaders, each
//! an engine with sockets of its own on loopback, and compares what arrives byte by byte. They find
//! each other through the tracker only.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitswarm_core::TorrentId;
use bitswarm_core::action::SocketKind;
use bitswarm_core::config::Config;
use bitswarm_core::disk::{StoreFile, StoreSpec};
use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::metainfo::{Creator, Metainfo};
use bitswarm_core::notice::{Notice, Service, TorrentNotice};
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};
use bitswarm_runtime_common::ClientConfig;

use crate::args::{Demo, Runtime};
use crate::commands::demo_place::Temporary;
use crate::exit::{Code, Failure};
use crate::goals::disk_failure;
use crate::hashing::hash;
use crate::output::{Object, print};
use crate::progress::{Activity, Facts, Progress, Task};
use crate::session::{MustListen, Session, make_dir};
use crate::signals::Interrupt;
use crate::status_line::facts;
use crate::units::{Rate, Size, Span, counted};

/// The file that is shared.
const NAME: &str = "demo.bin";

/// Longest wait for something to happen on loopback (chosen: far more than a slow machine needs).
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of content between two looks at signals (chosen: some milliseconds).
const LOOK_EVERY: u64 = 1 << 20;

/// Between two looks at a session (chosen).
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs the demonstration and says what came of it.
pub(crate) fn run(args: &Demo) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let progress = Progress::new(args.reporting, args.painting);
    let place = Place::new(args.dir.as_deref())?;
    let root = place.path();

    progress.say(&format!("making {} of random content in {}", Size(args.size), root.display()));
    let original = root.join("seeder").join(NAME);
    make_dir(&root.join("seeder"))?;
    let mut task = progress.task("content");
    let mut look = |done, rate| {
        task.set(|| Facts::work(done, args.size, format!("making, {rate}")));
        progress.refresh();
        !interrupt.is_set()
    };
    let written = write_content(&original, args.size, &mut look)
        .map_err(|error| Failure::file("cannot write", &original, &error))?;
    if !written {
        return Err(Failure::interrupted("the demonstration was not over"));
    }
    drop(task);

    let runtime = args.driven.runtime;
    let tracker = Session::start(runtime, &config(Service::Tracker), MustListen::No)?;
    let addrs = wait_for_tracker(&tracker)?;
    let urls: Vec<String> = addrs.iter().map(|addr| format!("http://{addr}/announce")).collect();
    progress.say(&format!("tracker at {}", urls.join(" and ")));
    let metainfo = make_torrent(root, args.size, &urls, &progress, &interrupt)?;

    let start = |label: &str, dir: &Path| Node::start(runtime, label, dir, &metainfo, &progress);
    let mut nodes = vec![start("seeder", &root.join("seeder"))?];
    if let Err(failure) = until_all_complete(&mut nodes, &progress, &interrupt) {
        nodes.into_iter().for_each(Node::stop);
        tracker.stop();
        return Err(failure);
    }
    let began = Instant::now();
    for number in 1..=args.peers {
        let label = format!("downloader {number}");
        let dir = root.join(format!("downloader-{number}"));
        make_dir(&dir)?;
        nodes.push(start(&label, &dir)?);
    }
    let result = until_all_complete(&mut nodes, &progress, &interrupt);
    let took = began.elapsed();
    let uploaded: Vec<u64> =
        nodes.iter().map(|node| node.last.as_ref().map_or(0, |s| s.uploaded_bytes)).collect();
    let dirs: Vec<PathBuf> = nodes.iter().map(|node| node.dir.clone()).collect();
    nodes.into_iter().for_each(Node::stop);
    tracker.stop();
    result?;

    for dir in &dirs {
        let copy = dir.join(NAME);
        if !is_same(&original, &copy)? {
            let message = format!("{} is not what was shared; please report this", copy.display());
            return Err(Failure::new(Code::Mismatch, message));
        }
    }
    report(args, took, &uploaded)?;
    if let Place::Kept(dir) = &place {
        progress.say(&format!("the files are in {}", dir.display()));
    }
    Ok(())
}

/// Where the files of the demonstration lie.
enum Place {
    /// In a temporary directory, which goes with this.
    Temporary(Temporary),
    /// Where the user wants to find them.
    Kept(PathBuf),
}

impl Place {
    fn new(dir: Option<&Path>) -> Result<Self, Failure> {
        let Some(dir) = dir else {
            return Temporary::new().map(Place::Temporary);
        };
        make_dir(dir)?;
        let mut entries = fs::read_dir(dir).map_err(|e| Failure::file("cannot read", dir, &e))?;
        if entries.next().is_some() {
            let message = format!("{} is not empty; name a new directory", dir.display());
            return Err(Failure::new(Code::File, message));
        }
        Ok(Place::Kept(dir.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Place::Temporary(temporary) => temporary.path(),
            Place::Kept(dir) => dir,
        }
    }
}

/// Content that no two pieces have in common: an xorshift generator's output. `look` is told now and
/// then how many bytes are written, and how fast; whether all was written, which it decides.
fn write_content(
    path: &Path,
    size: u64,
    look: &mut dyn FnMut(u64, Rate) -> bool,
) -> std::io::Result<bool> {
    let began = Instant::now();
    let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut left = size;
    while left > 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bytes = state.to_le_bytes();
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        file.write_all(&bytes[..length])?;
        left -= length as u64;
        let done = size - left;
        if done.is_multiple_of(LOOK_EVERY) && !look(done, Rate::mean(done, began.elapsed())) {
            return Ok(false);
        }
    }
    file.flush()?;
    Ok(true)
}

/// An engine on loopback, in both address families, on ports that the system chooses.
fn config(service: Service) -> ClientConfig {
    let any_port = vec![
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ];
    let (listen, tracker_listen) = match service {
        Service::Peers => (any_port, Vec::new()),
        Service::Tracker => (Vec::new(), any_port),
    };
    let core = Config { listen, tracker_listen, ..Config::default() };
    ClientConfig { core, ..ClientConfig::default() }
}

/// The addresses of the tracker's HTTP server: one of each family that this machine has.
fn wait_for_tracker(session: &Session) -> Result<Vec<SocketAddr>, Failure> {
    let (mut open, mut failed) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while open.len() + failed.len() < 2 && Instant::now() < deadline {
        match session.next_notice(LOOK_INTERVAL)? {
            Some(Notice::Listening {
                service: Service::Tracker,
                kind: SocketKind::TcpListener,
                addr,
            }) => open.push(addr),
            Some(Notice::ListenFailed {
                service: Service::Tracker,
                kind: SocketKind::TcpListener,
                addr,
                why,
            }) => failed.push(format!("cannot listen on {addr}: {why}")),
            _ => {}
        }
    }
    if open.is_empty() {
        failed.push("the tracker does not begin to listen; run with -v".to_owned());
        return Err(Failure::new(Code::Listen, failed.remove(0)));
    }
    Ok(open)
}

fn make_torrent(
    root: &Path,
    size: u64,
    trackers: &[String],
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Metainfo, Failure> {
    let mut creator = Creator::single_file(NAME, size);
    creator.trackers = vec![trackers.to_vec()];
    let refused = |error| Failure::new(Code::Unknown, format!("cannot make a torrent: {error}"));
    let layout = creator.layout().map_err(refused)?;
    let file = StoreFile { path: NAME.into(), length: size, executable: false };
    let spec = StoreSpec {
        root: root.join("seeder"),
        files: vec![file],
        links: Vec::new(),
        follow_top_link: false,
    };
    let mut hashes = Vec::new();
    for result in hash("hashing", spec, &layout, Protocol::V1, progress, interrupt)? {
        let digest = result.map_err(|e| Failure::new(Code::File, format!("cannot read {e}")))?;
        hashes.extend(digest.v1.into_iter().flatten());
    }
    let metainfo = creator.finish(&hashes).map_err(refused)?;
    let path = root.join("demo.torrent");
    fs::write(&path, metainfo.to_bytes())
        .map_err(|error| Failure::file("cannot write", &path, &error))?;
    Ok(metainfo)
}

/// One engine with its torrent.
struct Node {
    dir: PathBuf,
    session: Session,
    id: TorrentId,
    task: Task,
    is_complete: bool,
    last: Option<TorrentStatus>,
}

impl Node {
    fn start(
        runtime: Runtime,
        label: &str,
        dir: &Path,
        metainfo: &Metainfo,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let session = Session::start(runtime, &config(Service::Peers), MustListen::No)?;
        let id = session.add(AddTorrent::new(metainfo.clone(), dir))?;
        let task = progress.task(label);
        Ok(Node { dir: dir.to_owned(), session, id, task, is_complete: false, last: None })
    }

    /// Hears what it has to tell, waiting at most `patience` for it.
    fn hear(&mut self, mut patience: Duration) -> Result<(), Failure> {
        while let Some(notice) = self.session.next_notice(patience)? {
            patience = Duration::ZERO;
            match notice {
                Notice::Torrent { what: TorrentNotice::Saved, .. } => self.is_complete = true,
                Notice::Torrent { what: TorrentNotice::DiskFailed { error }, .. } => {
                    return Err(disk_failure(&error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Shows how it stands; how many bytes it has received.
    fn look(&mut self) -> u64 {
        let status = self.session.status(self.id);
        if let Some(status) = &status {
            self.task.set(|| facts(status, None));
            self.last = Some(status.clone());
        }
        status.map_or(0, |status| status.downloaded_bytes)
    }

    fn stop(mut self) {
        if let Some(status) = &self.last {
            let (down, up) = (Size(status.downloaded_bytes), Size(status.uploaded_bytes));
            let Facts { done, total, .. } = facts(status, None);
            let note = format!("received {down}, sent {up}");
            let activity = Activity::Resting;
            self.task.finish(Facts { activity, done, total, note, ..Facts::default() });
        }
        self.session.stop();
    }
}

/// Follows all nodes until each has everything, flushed to disk.
fn until_all_complete(
    nodes: &mut [Node],
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut received = 0;
    let mut moved_at = Instant::now();
    loop {
        if interrupt.is_set() {
            return Err(Failure::interrupted("the demonstration was not over"));
        }
        // One is waited for at a time; what the others have to tell is heard right after.
        let mut patience = LOOK_INTERVAL;
        for node in nodes.iter_mut() {
            let wait = if node.is_complete { Duration::ZERO } else { patience };
            node.hear(wait)?;
            patience -= wait.min(patience);
        }
        let sum = nodes.iter_mut().map(Node::look).sum();
        progress.refresh();
        if nodes.iter().all(|node| node.is_complete) {
            return Ok(());
        }
        if sum > received {
            received = sum;
            moved_at = Instant::now();
        }
        if moved_at.elapsed() > PATIENCE {
            let message = format!("nothing has moved for {}; please report this", Span(PATIENCE));
            return Err(Failure::new(Code::Stalled, message));
        }
    }
}

/// Whether two files have the same bytes.
fn is_same(a: &Path, b: &Path) -> Result<bool, Failure> {
    let open = |path: &Path| File::open(path).map_err(|e| Failure::file("cannot read", path, &e));
    let mut files = [(open(a)?, a), (open(b)?, b)];
    let mut chunks = [Vec::new(), Vec::new()];
    loop {
        for ((file, path), chunk) in files.iter_mut().zip(&mut chunks) {
            chunk.clear();
            file.take(1 << 20)
                .read_to_end(chunk)
                .map_err(|error| Failure::file("cannot read", path, &error))?;
        }
        if chunks[0] != chunks[1] {
            return Ok(false);
        }
        if chunks[0].is_empty() {
            return Ok(true);
        }
    }
}

/// What came of it. `uploaded` begins with the seeder.
fn report(args: &Demo, took: Duration, uploaded: &[u64]) -> Result<(), Failure> {
    let by_seeder = uploaded.first().copied().unwrap_or(0);
    let by_others: u64 = uploaded.iter().skip(1).sum();
    if args.reporting.json {
        return Object::event("demo")
            .with("size", args.size)
            .with("downloaders", args.peers)
            .with("seconds", took.as_secs_f64())
            .with("sent_by_seeder", by_seeder)
            .with("sent_by_downloaders", by_others)
            .with("identical", true)
            .print();
    }
    let everyone = counted(args.peers, "downloader has", "downloaders have");
    print(&format!(
        "{everyone} all {} after {} ({} in all)",
        Size(args.size),
        Span(took),
        Rate::mean(args.size * u64::from(args.peers), took),
    ))?;
    let (seeder, others) = (Size(by_seeder), Size(by_others));
    match args.peers {
        1 => print(&format!("the seeder sent {seeder}"))?,
        _ => print(&format!("the seeder sent {seeder}, the downloaders sent each other {others}"))?,
    }
    print("every byte was compared: the copies are equal to the original")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_its_size_and_files_compare_by_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let mut looks = 0;
        let mut look = |_, _| {
            looks += 1;
            true
        };
        assert!(write_content(&a, 3_000_001, &mut look).unwrap());
        assert!(write_content(&b, 3_000_001, &mut look).unwrap());
        assert_eq!(looks, 4);
        assert!(!write_content(&dir.path().join("c"), 3_000_001, &mut |_, _| false).unwrap());
        assert_eq!(fs::metadata(&a).unwrap().len(), 3_000_001);
        assert!(is_same(&a, &b).unwrap());
        let mut bytes = fs::read(&b).unwrap();
        bytes[3_000_000] ^= 1;
        fs::write(&b, &bytes).unwrap();
        assert!(!is_same(&a, &b).unwrap());
        fs::write(&b, &bytes[..3_000_000]).unwrap();
        assert!(!is_same(&a, &b).unwrap());
    }

    #[test]
    fn a_directory_with_files_of_the_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "").unwrap();
        assert_eq!(Place::new(Some(dir.path())).err().unwrap().code, Code::File);
        assert!(Place::new(Some(&dir.path().join("new"))).is_ok());
    }
}
