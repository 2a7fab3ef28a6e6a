//! How a scripted peer behaves: what it has, gives, lies about and asks for.

use std::net::SocketAddr;

use bitswarm_core::time::Duration;

use super::Hashes;
use crate::sim::content::Content;

/// What a peer does.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Whom it dials at the start.
    pub dial: Vec<SocketAddr>,
    /// After which time it dials again whom it lost, or who refused it.
    pub redial: Duration,
    /// Whether it has everything from the start, or nothing.
    pub seed: bool,
    /// Offers the fast extension (BEP 6).
    pub fast: bool,
    /// Offers the extension protocol (BEP 10).
    pub extended: bool,
    /// Which blocks it sends with wrong bytes.
    pub corrupt: Corrupt,
    /// How often it sends each block that it is asked for.
    pub copies: u32,
    /// Whom it lets download.
    pub unchoke: Unchoke,
    /// A seeder says in its bitfield that it lacks a piece, and has it later; and then says it again.
    pub lazy: bool,
    /// After so many blocks it takes requests and never answers.
    pub stall_after: Option<u64>,
    /// After so many blocks it is gone: streams are reset, dialling it is in vain.
    pub vanish_after: Option<u64>,
    /// Requests outstanding at one remote; 0: it never asks for anything.
    pub pipeline: usize,
    /// What it does with the metadata.
    pub metadata: Metadata,
    /// Its first so many pieces are gone as soon as it was greeted, and it says so (BEP 54).
    pub loses: u32,
    /// Which versions it knows of a torrent that is made for both.
    pub dialect: Dialect,
    /// What it does with requests for hashes on a connection of v2.
    pub hashes: Hashes,
    /// Whether it encrypts.
    pub encryption: Encryption,
    /// Whether it asks for all piece layers, and for leaves of what the other side has.
    pub asks_hashes: bool,
}

/// What a peer does with the metadata (BEP 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// It does not know the extension.
    No,
    /// Gives it to those who ask.
    Gives,
    /// Sends bytes of the right length that are wrong.
    Garbage,
    /// Never answers.
    Stalls,
    /// Rejects every request.
    Rejects,
    /// Claims this size, and gives as much of what it has as there is.
    Claims(i64),
    /// Sends pieces of it without being asked, this often, and with each answer.
    Floods(u32),
}

/// Which versions a peer knows of a torrent that is made for both (BEP 52, "upgrade path").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// v1: it knows one infohash, and padding is content.
    V1,
    /// v2: it knows the other infohash, and no padding.
    V2,
    /// It dials with the infohash of v1, and upgrades.
    Both,
}

/// Whether a peer encrypts its connections (MSE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It knows of none, and nobody is to try.
    Off,
    /// It knows of none, and hangs up on it.
    Refuses,
    /// It takes whatever whoever dials it prefers, and dials without.
    Takes,
    /// It dials with and without, in turns, and takes either.
    Prefers,
    /// Nothing goes without it. A torrent that is made for both versions it knows by the infohash that it was
    /// encrypted for: it does not upgrade (as libtorrent does not).
    Requires,
}

/// Which blocks are sent with wrong bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corrupt {
    /// None.
    Never,
    /// All.
    Always,
    /// The first of each piece.
    FirstOfPiece,
    /// Those of every second piece, beginning with this one.
    EverySecondPiece(u32),
    /// So many of 1000, drawn for each.
    PerMille(u32),
}

/// Who may download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchoke {
    /// Everybody who is interested.
    Always,
    /// Nobody.
    Never,
    /// Everybody and nobody, in turns of this length.
    Flap(Duration),
}

impl Dialect {
    /// Bytes of a piece to ask for: who knows v2 knows of no padding.
    pub(super) fn wants(self, content: &Content, piece: u32) -> u32 {
        match self {
            Dialect::V1 => content.piece(piece).len() as u32,
            Dialect::V2 | Dialect::Both => content.stored_len(piece),
        }
    }
}

impl Behaviour {
    /// A seeder that does everything right.
    pub fn seeder() -> Self {
        Behaviour {
            dial: Vec::new(),
            redial: Duration::from_secs(45),
            seed: true,
            fast: true,
            extended: true,
            corrupt: Corrupt::Never,
            copies: 1,
            unchoke: Unchoke::Always,
            lazy: false,
            stall_after: None,
            vanish_after: None,
            pipeline: 0,
            metadata: Metadata::No,
            loses: 0,
            dialect: Dialect::Both,
            hashes: Hashes::Gives,
            encryption: Encryption::Off,
            asks_hashes: false,
        }
    }

    /// A leecher that does everything right, and shares what it has.
    pub fn leecher(dial: Vec<SocketAddr>) -> Self {
        Behaviour { dial, seed: false, pipeline: 16, ..Self::seeder() }
    }
}
