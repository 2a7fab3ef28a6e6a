//! bitswarm's engine: BitTorrent as a state machine that never touches the world.
//!
//! The core consumes [`Event`]s and emits [`Action`]s. It holds no socket, file, clock, thread or
//! random source: a host does what the actions say and hands back what came of it.
//!
//! The whole of it, in memory: one engine has a file, the other fetches it. A host with sockets, a
//! clock and files does no more than this one; the runtimes are such hosts.
//!
//! ```
//! use std::collections::{HashMap, VecDeque};
//! use bitswarm_core::disk::MemoryDisk;
//! use bitswarm_core::metainfo::Creator;
//! use bitswarm_core::torrent::AddTorrent;
//! use bitswarm_core::{Action, Commands, Config, ConnId, Engine, Event, Instant, Segments, SocketId, UnixTime};
//!
//! /// An engine and its world.
//! struct Node {
//!     engine: Engine,
//!     disk: MemoryDisk,
//!     listener: Option<SocketId>,
//!     /// The other end of each connection.
//!     wires: HashMap<ConnId, ConnId>,
//! }
//!
//! /// Does what one engine wants done, and says what happens to which engine by that.
//! fn perform(nodes: &mut [Node; 2], at: usize, now: Instant, action: Action) -> Vec<(usize, Event)> {
//!     let other = 1 - at;
//!     match action {
//!         Action::Bind { socket, spec } => {
//!             // The first is for peers over TCP.
//!             nodes[at].listener.get_or_insert(socket);
//!             vec![(at, Event::Bound { socket, result: Ok(spec.addr) })]
//!         }
//!         Action::Connect { conn, to: local, .. } => {
//!             let listener = nodes[other].listener.expect("it listens");
//!             let theirs = nodes[other].engine.accept(now, listener, local).expect("it accepts");
//!             nodes[at].wires.insert(conn, theirs);
//!             nodes[other].wires.insert(theirs, conn);
//!             vec![(at, Event::Connected { conn, local })]
//!         }
//!         Action::Send { conn } => {
//!             let mut out = Segments::new();
//!             nodes[at].engine.gather(now, conn, 64 * 1024, &mut out);
//!             let (theirs, data) = (nodes[at].wires[&conn], out.take_all());
//!             let sent = Event::Sent { conn, bytes: data.len() };
//!             vec![(at, sent), (other, Event::Received { conn: theirs, data })]
//!         }
//!         Action::Disk { op, request } => {
//!             vec![(at, Event::Disk { op, result: nodes[at].disk.perform(request) })]
//!         }
//!         // Nobody needs to be held back, hung up on, looked up or told here.
//!         _ => vec![],
//!     }
//! }
//!
//! let content = b"hello, swarm".repeat(50_000);
//! let torrent = Creator::single_file("hello", 600_000).finish_with_content(&content)?;
//! let config = Config { listen: vec!["10.0.0.1:6881".parse()?], ..Config::default() };
//! let mut now = Instant::ZERO;
//! let mut nodes = [1, 2].map(|seed| Node {
//!     engine: Engine::new(config.clone(), [seed; 32], now, UnixTime(1_700_000_000)),
//!     disk: MemoryDisk::new(),
//!     listener: None,
//!     wires: HashMap::new(),
//! });
//! nodes[0].disk.insert("/seed/hello", content.clone());
//! nodes[0].engine.add_torrent(now, AddTorrent::new(torrent.clone(), "/seed"))?;
//! let mut leech = AddTorrent::new(torrent, "/leech");
//! leech.peers.push("10.0.0.1:6881".parse()?);
//! nodes[1].engine.add_torrent(now, leech)?;
//!
//! let mut events = VecDeque::new();
//! while nodes[1].disk.file("/leech/hello") != Some(&content[..]) {
//!     for at in [0, 1] {
//!         while let Some(action) = nodes[at].engine.poll_action() {
//!             events.extend(perform(&mut nodes, at, now, action));
//!         }
//!     }
//!     let (at, event) = events.pop_front().unwrap_or_else(|| {
//!         // Nothing is under way: time passes until an engine wants to be looked after.
//!         let deadline = |at: usize| nodes[at].engine.poll_timeout().map(|when| (when, at));
//!         let (when, at) = [0, 1].into_iter().filter_map(deadline).min().expect("one has");
//!         now = when;
//!         (at, Event::Timeout)
//!     });
//!     nodes[at].engine.handle(now, event);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod action;
pub mod bencode;
pub mod bitfield;
pub mod choke;
pub mod command;
pub mod config;
mod deadline;
pub mod dht;
pub mod disk;
pub mod encryption;
pub mod engine;
pub mod event;
pub mod extension;
pub mod family;
pub mod http;
pub mod id;
pub mod infohashes;
pub mod ip_filter;
pub mod lsd;
pub mod map;
pub mod merkle;
pub mod metainfo;
pub mod net_error;
pub mod network;
pub mod notice;
mod outbox;
pub mod packet;
pub mod padding;
pub mod peer;
pub mod peer_source;
pub mod picker;
pub mod piece;
pub mod piece_hash;
pub mod places;
pub mod priority;
pub mod random;
pub mod rate;
pub mod reach;
pub mod record;
pub mod refusals;
pub mod segments;
mod services;
pub mod session;
pub mod socket;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod timer;
pub mod torrent;
pub mod tracker;
mod transport;
pub mod wire;
pub mod work;

pub use action::Action;
pub use command::{Command, Commands};
pub use config::Config;
pub use engine::Engine;
pub use event::Event;
pub use id::{ConnId, OpId, SocketId, StoreId, TorrentId};
pub use notice::{Notice, TorrentNotice};
pub use segments::Segments;
pub use time::{Duration, Instant, UnixTime};
pub use transport::{mse, utp};
