//! One peer of a torrent: choke and interest both ways, what it has, what we asked of it and it of
//! us, and the messages waiting to be sent.
//!
//! Holds state and keeps it consistent; what to request, whom to unchoke and what a block is good
//! for is decided by the torrent's picker, choker and assembly.

pub(crate) mod early;
pub(crate) mod hash_uploads;
pub(crate) mod offences;
pub mod pipeline;
mod reqq;
pub(crate) mod upload;
pub(crate) mod waste;

use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::bitfield::Bitfield;
use crate::choke::accounts::Account;
use crate::config::Config;
use crate::extension::metadata::MetadataUploads;
use crate::extension::pex::{PexIn, PexOut};
use crate::id::{ConnId, id_type};
use crate::peer::early::EarlyPieces;
use crate::peer::hash_uploads::HashUploads;
use crate::peer::offences::Offences;
use crate::peer::pipeline::Pipeline;
use crate::peer::upload::UploadQueue;
use crate::peer::waste::Waste;
use crate::picker::PeerKey;
use crate::piece::{Block, PeerId, PieceIndex};
use crate::rate::RateMeter;
use crate::segments::Segments;
use crate::time::Instant;
use crate::wire::extension::ExtensionIds;
use crate::wire::handshake::HandshakeDecoder;
use crate::wire::{Decoder, Message};

id_type!(
    /// One peer of one torrent.
    pub(crate) PeerSlot
);

impl PeerSlot {
    /// The peer's name in the picker: its slot, since everything of a peer is released before its
    /// slot is given to another.
    pub(crate) fn key(self) -> PeerKey {
        PeerKey(crate::id::Id::index(self))
    }
}

/// Allowed-fast and suggested pieces remembered of a peer (chosen; BEP 6 has sets of 10).
const FAST_PIECES: usize = 32;

/// A remote client we are connected to.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) conn: ConnId,
    pub(crate) remote: SocketAddr,
    pub(crate) incoming: bool,
    /// Where it can be dialled, once that is known; its name in the peer book.
    pub(crate) listens_at: Option<SocketAddr>,
    pub(crate) connected_at: Instant,
    pub(crate) phase: Phase,
    pub(crate) id: Option<PeerId>,
    /// Its name for itself (BEP 10, `v`), made safe to show.
    pub(crate) client: Option<String>,

    /// Whether the connection is one of v2 (BEP 52).
    pub(crate) of_v2: bool,
    /// Whether both sides speak the fast extension (BEP 6).
    pub(crate) fast: bool,
    /// Whether both sides speak the extension protocol (BEP 10).
    pub(crate) extended: bool,
    /// The extensions it understands, with its numbers.
    pub(crate) extensions: ExtensionIds,
    /// Whether it said that it knows what the torrent is (BEP 9).
    pub(crate) has_metadata: bool,
    /// What it wants of the metadata.
    pub(crate) metadata_uploads: MetadataUploads,
    /// What it wants of the hashes.
    pub(crate) hash_uploads: HashUploads,
    /// Whom it was told that we are connected to, and what it told us.
    pub(crate) pex_out: PexOut,
    pub(crate) pex_in: PexIn,
    /// It wants nothing (BEP 21).
    pub(crate) upload_only: bool,

    pub(crate) am_choking: bool,
    /// Whether the outbox holds a choke.
    pub(crate) choke_waits: bool,
    pub(crate) am_interested: bool,
    pub(crate) peer_choking: bool,
    pub(crate) peer_interested: bool,

    /// What it said to have while nobody here knew how many pieces there are.
    pub(crate) early: EarlyPieces,
    pub(crate) has: Bitfield,
    /// Whether a bitfield, have-all, have-none or have has come: no bitfield may follow.
    pub(crate) told_pieces: bool,
    /// Whether the picker counts it as a seed rather than piece by piece.
    pub(crate) counted_as_seed: bool,
    /// Pieces it has that we still want.
    pub(crate) interesting: u32,

    pub(crate) decoder: Decoder,
    pub(crate) pipeline: Pipeline,
    /// Pieces it lets us fetch while it chokes us.
    pub(crate) allowed_to_us: SmallVec<[PieceIndex; 4]>,
    /// Pieces it may fetch while we choke it.
    pub(crate) allowed_by_us: SmallVec<[PieceIndex; 4]>,
    pub(crate) suggested: SmallVec<[PieceIndex; 4]>,
    /// Whether it ever suggested a piece: then it counts who has what, though it has everything.
    pub(crate) suggests: bool,
    pub(crate) uploads: UploadQueue,
    /// Whether it waits in the session's line for the read-ahead budget.
    pub(crate) waits_to_read: bool,
    /// Messages waiting to be gathered.
    pub(crate) outbox: Segments,
    /// Requests that follow the outbox: until they are handed out, a choke or a cancel takes them
    /// back.
    pub(crate) asking: Vec<Block>,

    pub(crate) down: RateMeter,
    pub(crate) up: RateMeter,
    pub(crate) downloaded: u64,
    pub(crate) uploaded: u64,
    pub(crate) uploaded_since_unchoke: u64,
    /// What passed between us and its address on earlier connections.
    pub(crate) before: Account,
    /// Bytes that we did not ask for: of blocks, metadata and hashes.
    pub(crate) unasked_bytes: u64,
    /// What it did wrong and was forgiven.
    pub(crate) offences: Offences,
    /// Since when we do not choke it, or when we last did not.
    pub(crate) unchoked_at: Option<Instant>,
    pub(crate) optimistic: bool,
    pub(crate) last_heard: Instant,
    pub(crate) last_spoke: Instant,
}

/// How far the handshake has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The connection is being established.
    Connecting,
    /// Waiting for (the rest of) its handshake.
    Handshaking(HandshakeDecoder),
    /// Messages flow.
    Open,
}

impl Peer {
    pub(crate) fn new(
        conn: ConnId,
        remote: SocketAddr,
        incoming: bool,
        phase: Phase,
        pieces: Option<u32>,
        now: Instant,
        config: &Config,
    ) -> Self {
        let mut decoder = Decoder::new();
        decoder.set_piece_count(pieces);
        Peer {
            conn,
            remote,
            incoming,
            listens_at: (!incoming).then_some(remote),
            connected_at: now,
            phase,
            id: None,
            client: None,
            of_v2: false,
            fast: false,
            extended: false,
            extensions: ExtensionIds::none(),
            has_metadata: false,
            metadata_uploads: MetadataUploads::default(),
            hash_uploads: HashUploads::default(),
            pex_out: PexOut::default(),
            pex_in: PexIn::default(),
            upload_only: false,
            am_choking: true,
            choke_waits: false,
            am_interested: false,
            peer_choking: true,
            peer_interested: false,
            early: EarlyPieces::new(config.bounds.metadata_bytes),
            has: Bitfield::new(pieces.unwrap_or(0)),
            told_pieces: false,
            counted_as_seed: false,
            interesting: 0,
            decoder,
            pipeline: Pipeline::new(config.bounds.own_requests, config.timeouts.snub),
            allowed_to_us: SmallVec::new(),
            allowed_by_us: SmallVec::new(),
            suggested: SmallVec::new(),
            suggests: false,
            uploads: UploadQueue::default(),
            waits_to_read: false,
            outbox: Segments::new(),
            asking: Vec::new(),
            down: RateMeter::default(),
            up: RateMeter::default(),
            downloaded: 0,
            uploaded: 0,
            uploaded_since_unchoke: 0,
            before: Account::default(),
            unasked_bytes: 0,
            offences: Offences::default(),
            unchoked_at: None,
            optimistic: false,
            last_heard: now,
            last_spoke: now,
        }
    }

    /// The same, from a known address: it goes on where it was.
    pub(crate) fn resuming(self, before: Account) -> Self {
        Peer { before, unchoked_at: before.unchoked_at, ..self }
    }

    /// What passed on this connection.
    pub(crate) fn account(&self) -> Account {
        let (uploaded, downloaded) = (self.uploaded, self.downloaded);
        let wasted = self.unasked_bytes;
        Account { uploaded, downloaded, wasted, unchoked_at: self.unchoked_at }
    }

    /// What it sent of use and in vain, earlier connections with its address included.
    pub(crate) fn waste(&self) -> Waste {
        let account = self.before.plus(self.account());
        Waste { wasted: account.wasted, useful: account.downloaded }
    }

    /// Whether what we want could be had of it now.
    pub(crate) fn is_source(&self) -> bool {
        self.is_open() && !self.peer_choking && self.interesting > 0
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether it has everything, or wants nothing.
    pub(crate) fn is_seed(&self) -> bool {
        self.upload_only || self.has_everything()
    }

    /// Whether it has every piece.
    pub(crate) fn has_everything(&self) -> bool {
        self.told_pieces && self.has.is_all()
    }

    /// Whether anything waits to be gathered.
    pub(crate) fn has_to_send(&self) -> bool {
        self.has_words() || self.metadata_uploads.is_ready() || self.has_uploads()
    }

    /// Whether blocks or hashes wait to be gathered, which a rate limit may hold up.
    pub(crate) fn has_uploads(&self) -> bool {
        self.uploads.is_ready() || self.hash_uploads.is_ready()
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: Message) {
        message.encode(&mut self.outbox);
    }

    /// Tells it that we do or do not want what it has, if that is news.
    pub(crate) fn set_interest(&mut self, interested: bool) -> bool {
        if self.am_interested == interested || !self.is_open() {
            return false;
        }
        self.am_interested = interested;
        self.send(if interested { Message::Interested } else { Message::NotInterested });
        true
    }

    /// Lets it download, if it could not.
    pub(crate) fn unchoke(&mut self, now: Instant) {
        if self.am_choking {
            self.am_choking = false;
            self.unchoked_at = Some(now);
            self.uploaded_since_unchoke = 0;
            self.send(Message::Unchoke);
        }
    }

    /// Stops letting it download. Its requests are dropped, and rejected one by one if it speaks
    /// the fast extension, but for pieces of its allowed-fast set (BEP 6).
    pub(crate) fn choke(&mut self) {
        if self.am_choking {
            return;
        }
        self.am_choking = true;
        self.optimistic = false;
        self.choke_waits = true;
        self.send(Message::Choke);
        let dropped: Vec<Block> = self.uploads.clear().collect();
        for block in dropped {
            if !self.fast {
                continue;
            }
            if self.allowed_by_us.contains(&block.piece) {
                self.uploads.push(block);
            } else {
                self.send(Message::Reject(block));
            }
        }
    }

    /// Whether there is anything to say.
    pub(crate) fn has_words(&self) -> bool {
        !self.outbox.is_empty() || !self.asking.is_empty()
    }

    /// Takes back a request that was not handed out yet; whether there was one.
    pub(crate) fn unask(&mut self, block: Block) -> bool {
        let before = self.asking.len();
        self.asking.retain(|asked| *asked != block);
        self.asking.len() < before
    }

    /// A request has ended. If it ended before it was handed out, it is not handed out any more.
    pub(crate) fn request_ended(&mut self, block: Block) {
        if self.pipeline.unsent() < self.asking.len() {
            self.unask(block);
        }
    }

    /// Whether it may be asked for blocks now; while choked, for allowed-fast pieces only.
    pub(crate) fn can_request(&self) -> bool {
        self.am_interested && (!self.peer_choking || !self.allowed_to_us.is_empty())
    }

    /// Remembers a piece it lets us fetch while choked.
    pub(crate) fn allow(&mut self, piece: PieceIndex) {
        if self.allowed_to_us.len() < FAST_PIECES && !self.allowed_to_us.contains(&piece) {
            self.allowed_to_us.push(piece);
        }
    }

    /// Remembers a piece it suggests: it has it in memory.
    pub(crate) fn suggest(&mut self, piece: PieceIndex) {
        if self.suggested.len() == FAST_PIECES {
            self.suggested.remove(0);
        }
        self.suggests = true;
        self.suggested.push(piece);
    }
}
