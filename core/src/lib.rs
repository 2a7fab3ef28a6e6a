//! bitswarm's engine: BitTorrent as a state machine that never touches the world.
//!
//! The core consumes [`Event`]s and emits [`Action`]s. It holds no socket, file, clock, thread or
//! random source: a runtime does what the actions say and hands back what came of it.

#![forbid(unsafe_code)]

pub mod action;
pub mod bencode;
pub mod bitfield;
pub mod choke;
pub mod config;
pub mod disk;
pub mod engine;
pub mod event;
pub mod extension;
pub mod http;
pub mod id;
pub mod map;
pub mod metainfo;
pub mod notice;
pub mod peer;
pub mod picker;
pub mod piece;
pub mod random;
pub mod rate;
pub mod record;
pub mod segments;
pub mod session;
pub mod storage;
pub mod time;
pub mod timer;
pub mod torrent;
pub mod tracker;
pub mod wire;

pub use action::Action;
pub use config::Config;
pub use engine::Engine;
pub use event::Event;
pub use id::{ConnId, OpId, SocketId, StoreId, TorrentId};
pub use notice::{Notice, TorrentNotice};
pub use segments::Segments;
pub use time::{Duration, Instant, UnixTime};
