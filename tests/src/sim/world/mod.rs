//! The world: hosts on a network, one clock, one queue of what is due, one trace of what happened.
//!
//! [`World::step`] takes the next entry off the queue, hands it to whom it concerns, and follows
//! what comes of it until nothing is left to do at that instant. Invariants broken on the way are
//! collected; [`World::run_until`] ends with the first of them, or when what was waited for does
//! not come in time. A failure names the seed.

mod cx;
mod failure;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitswarm_core::Commands;
use bitswarm_core::config::Config;
use bitswarm_core::encryption::EncryptionPolicy;
use bitswarm_core::id::TorrentId;
use bitswarm_core::ip_filter::IpFilter;
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::record::Recorder;
use bitswarm_core::time::{Duration, Instant};
use bitswarm_core::torrent::{AddTorrent, TorrentSource, TorrentState, TorrentStatus};

use crate::sim::conduct::Conduct;
use crate::sim::content::Content;
use crate::sim::host::EngineHost;
use crate::sim::network::{Death, EndId, HostId, Link, NetEvent, Network, Output, Timer};
use crate::sim::queue::Queue;
use crate::sim::resolver::Resolver;
use crate::sim::scripted::{Script, ScriptHost};
use crate::sim::trace::{Fingerprint, Trace};
pub use cx::{Cx, Wake};
pub use failure::{Failure, Kind, Violation};

/// Port on which every host listens for peers.
pub const PEER_PORT: u16 = 6881;

/// Directory under which every host keeps its torrents.
pub const ROOT: &str = "/data";

/// Names the file for the log of a failed run.
const LOG_VARIABLE: &str = "SIM_LOG";

/// Steps between two looks at what is waited for (chosen: looking costs more than a step).
const STEPS_PER_LOOK: u32 = 16;

/// Hosts, network, names and time.
#[derive(Debug)]
pub struct World {
    seed: u64,
    queue: Queue<Due>,
    net: Network,
    resolver: Resolver,
    trace: Trace,
    conduct: Conduct,
    nodes: Vec<Node>,
    violations: Vec<Violation>,
    steps: u64,
    /// The file for the log of a failed run.
    log_to: Option<PathBuf>,
    /// Whether engines that start from now on are recorded.
    pub recording: bool,
}

/// What the world waits for.
#[derive(Debug)]
enum Due {
    Network(Timer),
    Wake { host: HostId, incarnation: u32, wake: Wake },
}

#[derive(Debug)]
enum Node {
    Engine(Box<EngineNode>),
    Script(Box<ScriptHost>),
}

#[derive(Debug)]
struct EngineNode {
    host: EngineHost,
    name: String,
    torrents: Vec<Torrent>,
}

/// A torrent that a host has, to give it to the next engine there again.
#[derive(Debug)]
struct Torrent {
    add: AddTorrent,
    content: Arc<Content>,
    id: TorrentId,
}

/// Most entries taken off the queue in one run (chosen: a hundred times what a long run takes).
const MOST_STEPS: u64 = 200_000_000;

impl World {
    /// Nothing in it yet. With the environment variable `SIM_LOG` set, a world that ends in a
    /// panic writes its readable log to the file of that name.
    pub fn new(seed: u64) -> Self {
        World {
            seed,
            queue: Queue::new(),
            net: Network::new(seed),
            resolver: Resolver::new(seed),
            trace: Trace::new(std::env::var_os(LOG_VARIABLE).is_some()),
            conduct: Conduct::default(),
            nodes: Vec::new(),
            violations: Vec::new(),
            steps: 0,
            log_to: std::env::var_os(LOG_VARIABLE).map(PathBuf::from),
            recording: false,
        }
    }

    /// Keeps a readable log from now on; [`World::save_log`] writes it to this file.
    pub fn keep_log(&mut self, path: PathBuf) {
        self.trace = Trace::new(true);
        self.log_to = Some(path);
    }

    /// The readable log; empty unless one is kept.
    pub fn log(&self) -> &str {
        self.trace.log()
    }

    /// Writes the readable log to its file, if one is kept.
    pub fn save_log(&self) {
        if let Some(path) = &self.log_to
            && let Err(why) = std::fs::write(path, self.log())
        {
            eprintln!("the log could not be written to {}: {why}", path.display());
        }
    }

    /// The seed that decides everything here.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.queue.now()
    }

    /// The network, to disturb it.
    pub fn net(&mut self) -> &mut Network {
        &mut self.net
    }

    /// The names, to change them.
    pub fn resolver(&mut self) -> &mut Resolver {
        &mut self.resolver
    }

    /// The hash over everything that happened.
    pub fn fingerprint(&self) -> Fingerprint {
        self.trace.fingerprint()
    }

    /// The hash over what the engines did, whatever form it was asked in.
    pub fn conduct(&self) -> Fingerprint {
        self.conduct.fingerprint()
    }

    /// Adds a host and starts an engine on it.
    pub fn add_engine(&mut self, name: &str, link: Link, edit: impl FnOnce(&mut Config)) -> HostId {
        let id = self.add_host(link);
        let mut config = Config {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], PEER_PORT))],
            encryption: EncryptionPolicy::Off,
            ..Config::default()
        };
        edit(&mut config);
        let host = EngineHost::new(self.seed, id, name, config);
        let node = EngineNode { host, name: name.to_owned(), torrents: Vec::new() };
        self.nodes.push(Node::Engine(Box::new(node)));
        let record = self.recording;
        self.act(id, |node, cx| node.host.start(cx, record));
        id
    }

    /// Adds a host that does what a script says.
    pub fn add_script(&mut self, name: &str, link: Link, script: Box<dyn Script>) -> HostId {
        let id = self.add_host(link);
        self.nodes.push(Node::Script(Box::new(ScriptHost::new(id, name, script))));
        let (node, mut cx) = self.split(id);
        if let Node::Script(host) = node {
            host.start(&mut cx);
        }
        self.follow();
        id
    }

    fn add_host(&mut self, link: Link) -> HostId {
        let number = self.nodes.len() as u32;
        let [_, high, low, _] = (number << 8).to_be_bytes();
        // A network of its own for each host, so that bounds per address range do not interfere.
        self.net.add_host(link, [IpAddr::from([50, high, low, 10])])
    }

    /// The address at which a host listens for peers.
    pub fn addr(&self, host: HostId) -> SocketAddr {
        SocketAddr::new(self.net.ip(host), PEER_PORT)
    }

    /// Whether a host can be dialled.
    pub fn accepts(&self, host: HostId) -> bool {
        self.net.link(host).accepts
    }

    /// Gives a host a torrent, kept under [`ROOT`]; `edit` changes how.
    ///
    /// # Panics
    /// If the engine refuses it.
    pub fn add_torrent(
        &mut self,
        host: HostId,
        content: &Arc<Content>,
        edit: impl FnOnce(&mut AddTorrent),
    ) -> TorrentId {
        let mut add = AddTorrent::new(content.metainfo(&[]), ROOT);
        edit(&mut add);
        let by_link = matches!(add.source, TorrentSource::Magnet(_));
        self.node_mut(host).host.user_names(&add.peers);
        self.node_mut(host).host.watch(content.clone(), PathBuf::from(ROOT), by_link);
        let again = add.clone();
        let id = self.call(host, "add_torrent", |engine, now| engine.add_torrent(now, add));
        let id = id.unwrap_or_else(|why| panic!("the torrent was refused: {why:?}"));
        let content = content.clone();
        self.node_mut(host).torrents.push(Torrent { add: again, content, id });
        id
    }

    /// Puts all of a torrent on a host's disk.
    pub fn plant(&mut self, host: HostId, content: &Content) {
        content.plant(&mut self.node_mut(host).host.disk, Path::new(ROOT));
    }

    /// Calls a method of a host's engine, as its application would.
    pub fn call<T>(
        &mut self,
        host: HostId,
        name: &'static str,
        call: impl FnOnce(&mut Recorder, Instant) -> T,
    ) -> T {
        self.act(host, |node, cx| node.host.call(cx, name, call))
    }

    /// The user of a host's engine has another IP filter.
    pub fn set_ip_filter(&mut self, host: HostId, filter: &Arc<IpFilter>) {
        self.act(host, |node, cx| node.host.set_ip_filter(cx, filter));
    }

    /// A host's engine is gone in the middle of whatever it did.
    pub fn crash(&mut self, host: HostId, death: Death) {
        self.act(host, |node, cx| node.host.crash(cx, death));
    }

    /// A host stands still for a while, as a machine does that is suspended: nothing is handed to
    /// its engine until it wakes up; then everything is, late.
    pub fn sleep(&mut self, host: HostId, time: Duration) {
        self.act(host, |node, cx| node.host.sleep(cx, time));
    }

    /// A host that sleeps wakes up now.
    pub fn awaken(&mut self, host: HostId) {
        self.act(host, |node, cx| node.host.awaken(cx));
    }

    /// Somebody in a host's local network says this to all.
    pub fn overhear(&mut self, host: HostId, from: SocketAddr, data: &[u8]) {
        self.act(host, |node, cx| node.host.overhear(cx, from, data));
    }

    /// An end of a stream that the host holds, if it holds any; `pick` chooses among so many.
    pub fn some_end(&self, host: HostId, pick: impl FnOnce(usize) -> usize) -> Option<EndId> {
        let ends = self.net.ends_of(host);
        (!ends.is_empty()).then(|| ends[pick(ends.len())])
    }

    /// What is wrong with connections of a host when nobody wants anything any more; `judged`
    /// says which remote hosts count.
    pub fn unrest(&self, host: HostId, judged: impl Fn(HostId) -> bool) -> Option<String> {
        let node = &self.node(host).host;
        node.unrest(|end| self.net.host_of(end.other()).is_some_and(&judged))
    }

    /// Starts an engine on a host whose engine is gone, and gives it the torrents again.
    pub fn restart(&mut self, host: HostId) {
        let now = self.now();
        self.net.power_on(now, host);
        let record = self.recording;
        self.act(host, |node, cx| {
            node.host.start(cx, record);
            for torrent in &mut node.torrents {
                let add = torrent.add.clone();
                let id =
                    node.host.call(cx, "add_torrent", |engine, now| engine.add_torrent(now, add));
                torrent.id = id.expect("the engine took it before");
            }
        });
    }

    /// Takes the next entry off the queue and follows what comes of it. False if there is none.
    pub fn step(&mut self) -> bool {
        let Some(due) = self.queue.pop() else { return false };
        self.steps += 1;
        match due {
            Due::Network(timer) => self.net.handle_timer(self.queue.now(), timer),
            Due::Wake { host, incarnation, wake } => {
                let (node, mut cx) = self.split(host);
                match node {
                    Node::Engine(node) => node.host.wake(&mut cx, incarnation, wake),
                    Node::Script(script) => script.wake(&mut cx, wake),
                }
            }
        }
        self.follow();
        true
    }

    /// Runs until `done`, at most until `deadline`; fails at the first broken invariant.
    pub fn run_until(
        &mut self,
        deadline: Instant,
        mut done: impl FnMut(&World) -> bool,
    ) -> Result<(), Failure> {
        loop {
            if done(self) {
                return self.check();
            }
            for _ in 0..STEPS_PER_LOOK {
                if self.queue.next_at().is_none_or(|at| at > deadline) {
                    self.check()?;
                    if done(self) {
                        return Ok(());
                    }
                    self.queue.idle_until(deadline);
                    return Err(self.failure(Kind::Liveness, self.overview()));
                }
                self.step();
            }
            self.check()?;
        }
    }

    /// Runs for a while; fails at the first broken invariant.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        let deadline = self.now() + time;
        while self.queue.next_at().is_some_and(|at| at <= deadline) {
            self.step();
            self.check()?;
        }
        self.queue.idle_until(deadline);
        Ok(())
    }

    /// Fails if an invariant was broken.
    pub fn check(&self) -> Result<(), Failure> {
        if self.steps > MOST_STEPS {
            return Err(self.failure(Kind::Liveness, "the run does not end".to_owned()));
        }
        let Some(first) = self.violations.first() else { return Ok(()) };
        let what = format!("{} {}", self.name(first.host), first.what);
        Err(Failure { kind: Kind::Safety, seed: self.seed, at: first.at, what })
    }

    /// What the run came to so far, as a failure.
    pub fn failure(&self, kind: Kind, what: String) -> Failure {
        Failure { kind, seed: self.seed, at: self.now(), what }
    }

    /// A host's name.
    pub fn name(&self, host: HostId) -> &str {
        match &self.nodes[host.0 as usize] {
            Node::Engine(node) => &node.name,
            Node::Script(script) => script.name(),
        }
    }

    /// A host that has an engine.
    ///
    /// # Panics
    /// If it has a script.
    pub fn engine_host(&self, host: HostId) -> &EngineHost {
        match &self.nodes[host.0 as usize] {
            Node::Engine(node) => &node.host,
            Node::Script(script) => panic!("{} has no engine", script.name()),
        }
    }

    /// A host that has an engine, to change its disk or its manners.
    ///
    /// # Panics
    /// If it has a script.
    pub fn engine_host_mut(&mut self, host: HostId) -> &mut EngineHost {
        &mut self.node_mut(host).host
    }

    /// The script of a host, to look at.
    ///
    /// # Panics
    /// If the host does not have such a script.
    pub fn script<S: Script>(&self, host: HostId) -> &S {
        let Node::Script(node) = &self.nodes[host.0 as usize] else {
            panic!("{} has no script", self.name(host));
        };
        let script: &dyn Any = node.script();
        script.downcast_ref().expect("a script of the kind asked for")
    }

    /// All hosts that have an engine.
    pub fn engine_hosts(&self) -> impl Iterator<Item = (HostId, &EngineHost)> {
        (0..).map(HostId).zip(&self.nodes).filter_map(|(id, node)| match node {
            Node::Engine(node) => Some((id, &node.host)),
            Node::Script(_) => None,
        })
    }

    /// How a host's first torrent stands, if its engine runs.
    pub fn status(&self, host: HostId) -> Option<TorrentStatus> {
        let node = self.node(host);
        let torrent = node.torrents.first()?;
        node.host.engine()?.status(node.host.local(self.now()), torrent.id)
    }

    /// Whether the engine that runs on the host now says that its first torrent is complete.
    pub fn is_complete(&self, host: HostId) -> bool {
        let seeding = |status: TorrentStatus| status.state == TorrentState::Seeding;
        self.status(host).is_some_and(seeding)
    }

    /// The id of a host's first torrent in the engine that runs there now.
    ///
    /// # Panics
    /// If it has none.
    pub fn torrent_id(&self, host: HostId) -> TorrentId {
        self.node(host).torrents[0].id
    }

    /// Whether the host's disk holds all its torrents that somebody has, bit for bit.
    pub fn has_all_bytes(&self, host: HostId) -> bool {
        let node = self.node(host);
        let right =
            |torrent: &Torrent| torrent.content.is_on_disk(&node.host.disk, Path::new(ROOT));
        let mut torrents = node.torrents.iter().filter(|torrent| !torrent.content.is_hollow());
        !node.torrents.is_empty() && torrents.all(right)
    }

    /// Whether the engine that runs on the host now has said that its first torrent is finished.
    pub fn has_finished(&self, host: HostId) -> bool {
        self.notices(host).any(|what| *what == TorrentNotice::Finished)
    }

    /// What the engine that runs on the host now has said about torrents.
    pub fn notices(&self, host: HostId) -> impl Iterator<Item = &TorrentNotice> {
        self.engine_host(host).notices().iter().filter_map(|(_, notice)| match notice {
            Notice::Torrent { what, .. } => Some(what),
            _ => None,
        })
    }

    /// Whether the engine on the host has said that it has stopped.
    pub fn has_stopped(&self, host: HostId) -> bool {
        self.engine_host(host).notices().iter().any(|(_, notice)| *notice == Notice::Stopped)
    }

    /// Inputs to all engines so far.
    pub fn inputs(&self) -> u64 {
        self.engine_hosts().map(|(_, host)| host.counts().inputs).sum()
    }

    /// One line about each engine's first torrent.
    pub fn overview(&self) -> String {
        let mut text = String::from("not in time:");
        for (id, _) in self.engine_hosts() {
            let Some(status) = self.status(id) else { continue };
            text += &format!(
                "\n  {:<12} {:?} {}/{} bytes, {} peers, {} unchoke us, {} ({:?})",
                self.name(id),
                status.state,
                status.done_bytes,
                status.wanted_bytes,
                status.peers,
                status.unchoked_us,
                status.bottleneck.word(),
                status.disk_error,
            );
        }
        text
    }

    fn node(&self, host: HostId) -> &EngineNode {
        match &self.nodes[host.0 as usize] {
            Node::Engine(node) => node,
            Node::Script(script) => panic!("{} has no engine", script.name()),
        }
    }

    fn node_mut(&mut self, host: HostId) -> &mut EngineNode {
        match &mut self.nodes[host.0 as usize] {
            Node::Engine(node) => node,
            Node::Script(script) => panic!("{} has no engine", script.name()),
        }
    }

    /// A host and all that it acts on.
    fn split(&mut self, host: HostId) -> (&mut Node, Cx<'_>) {
        let cx = Cx {
            queue: &mut self.queue,
            trace: &mut self.trace,
            conduct: &mut self.conduct,
            violations: &mut self.violations,
            net: &mut self.net,
            resolver: &mut self.resolver,
        };
        (&mut self.nodes[host.0 as usize], cx)
    }

    /// An engine's host acts, and what comes of it is followed.
    fn act<T>(&mut self, host: HostId, act: impl FnOnce(&mut EngineNode, &mut Cx<'_>) -> T) -> T {
        let (node, mut cx) = self.split(host);
        let Node::Engine(node) = node else { panic!("{host:?} has no engine") };
        let result = act(node, &mut cx);
        self.follow();
        result
    }

    /// Hands out what the network has brought about, until there is no more.
    fn follow(&mut self) {
        while let Some(output) = self.net.poll() {
            match output {
                Output::Wake(at, timer) => self.queue.push(at, Due::Network(timer)),
                Output::Event(host, event) => self.deliver(host, event),
            }
        }
    }

    fn deliver(&mut self, host: HostId, event: NetEvent) {
        let (node, mut cx) = self.split(host);
        match node {
            Node::Engine(node) => node.host.network(&mut cx, event),
            Node::Script(script) => script.network(&mut cx, event),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the world of seed {} ended at {:?}", self.seed, self.now());
            self.save_log();
        }
    }
}
