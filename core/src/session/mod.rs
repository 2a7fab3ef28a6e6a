//! What all torrents of an engine share: identity, outbox, connections, operations, timers, limits.
//!
//! Torrents and services are handed `&mut Session` and push what they want done into its outbox at
//! the moment they want it, so the order of actions is the order of causes.

pub mod bans;
pub(crate) mod dht_link;
mod dials;
pub(crate) mod op;
pub(crate) mod rates;
pub(crate) mod shares;
pub(crate) mod similar_files;
pub(crate) mod violations;
pub(crate) mod writers;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::action::Action;
use crate::config::Config;
use crate::deadline::TimerKey;
use crate::disk::DiskRequest;
use crate::id::PeerSlot;
use crate::id::{ConnId, OpId, Slab, TorrentId};
use crate::map::HashKeys;
use crate::notice::{Notice, TorrentNotice};
use crate::outbox::Outbox;
use crate::packet::Packet;
use crate::piece::PeerId;
use crate::random::{PolicyRng, SecretRng};
use crate::session::bans::Bans;
use crate::session::dht_link::DhtLink;
use crate::session::dials::Dials;
use crate::session::op::OpOwner;
use crate::session::rates::RateGate;
use crate::session::shares::Shares;
use crate::session::similar_files::SimilarFiles;
use crate::session::violations::Violations;
use crate::session::writers::Writers;
use crate::time::{Instant, UnixTime};
use crate::timer::{TimerId, TimerWheel};
use crate::transport::sockets::Sockets;
use crate::transport::{Dial, ReadPause, Streams, Transport};
use crate::wire::Violation;

/// What all torrents of an engine share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: Config,
    /// The time of the input being handled.
    pub(crate) now: Instant,
    /// Wall time at [`Instant::ZERO`].
    pub(crate) born: UnixTime,
    pub(crate) peer_id: PeerId,
    /// Tells our announces apart from others' behind the same address (BEP 7, `key`).
    pub(crate) announce_key: u32,
    /// Torrents that stop announcing: what they have under way is given up.
    pub(crate) leaving: Vec<TorrentId>,
    /// Our IPv4 and IPv6 address as trackers see them (BEP 24).
    pub(crate) external: [Option<IpAddr>; 2],
    pub(crate) policy: PolicyRng,
    pub(crate) secret: SecretRng,
    pub(crate) hash_keys: HashKeys,

    pub(crate) outbox: Outbox,
    pub(crate) timers: TimerWheel<TimerKey>,
    pub(crate) ops: Slab<OpId, OpOwner>,
    pub(crate) streams: Streams,
    pub(crate) sockets: Sockets,
    pub(crate) bans: Bans<TorrentId>,

    /// Upload allowance and those who wait for it.
    pub(crate) upload: RateGate,
    /// Download allowance and those who wait for it.
    pub(crate) download: RateGate,

    /// How often we have dialled lately, and whom.
    pub(crate) dials: Dials,
    /// What the peers of each address had of us lately.
    pub(crate) shares: Shares,
    /// Bytes of peers' messages that have not come whole.
    pub(crate) half_messages: usize,

    /// Bytes handed to the disk and not yet written.
    pub(crate) write_backlog: usize,
    /// Connections not read from until the disk has caught up.
    waiting_for_disk: Vec<ConnId>,
    /// Bytes read for peers, or being read, and not yet sent.
    pub(crate) read_ahead: usize,
    /// Peers whose requests wait for that to shrink, first come first served.
    pub(crate) read_waiters: VecDeque<(TorrentId, PeerSlot)>,
    /// Bytes of blocks held for incomplete pieces.
    pub(crate) assembly_bytes: usize,
    /// Hashes of checks under way.
    pub(crate) checks_running: usize,
    /// Torrents that wait to hash what is on disk.
    pub(crate) check_queue: VecDeque<TorrentId>,
    /// Torrents that want to open connections, first come first served.
    pub(crate) connect_queue: VecDeque<TorrentId>,
    pub(crate) connect_queued: BTreeSet<TorrentId>,
    /// Torrents that the present input concerned: their timers are set at its end.
    pub(crate) touched: Vec<TorrentId>,
    /// Whether [`Command::Stop`](crate::Command::Stop) was given.
    pub(crate) stopping: bool,
    violations: Violations,
    /// Files that torrents have whole, for others that lack them.
    pub(crate) similar_files: SimilarFiles,
    /// Files that torrents write.
    pub(crate) writers: Writers,
    /// What torrents know of the DHT, and want it to do.
    pub(crate) dht: DhtLink,
}

/// Of what may be read ahead, this part is for choked peers (chosen).
const CHOKED_PART: usize = 4;

impl Session {
    pub(crate) fn new(config: Config, seed: [u8; 32], now: Instant, wall: UnixTime) -> Self {
        let mut secret = SecretRng::from_seed(seed);
        let policy = secret.fork_policy();
        let hash_keys = HashKeys::draw(&mut secret);
        let mut id = [0; 20];
        id[..8].copy_from_slice(&config.peer_id_prefix);
        id[8..].copy_from_slice(&secret.bytes::<12>());
        let mut outbox = Outbox::default();
        let announce_key = secret.next_u32();
        let mut timers = TimerWheel::new();
        let upload_timer = timers.register(TimerKey::UploadRate);
        let download_timer = timers.register(TimerKey::DownloadRate);
        Session {
            now,
            born: UnixTime(wall.0.saturating_sub(now.as_nanos() / 1_000_000_000)),
            peer_id: PeerId(id),
            announce_key,
            leaving: Vec::new(),
            external: [None; 2],
            policy,
            secret,
            hash_keys,
            sockets: Sockets::open(&config, &mut outbox),
            outbox,
            ops: Slab::new(),
            streams: Streams::new(config.connections, Dial::new(&config), hash_keys),
            bans: Bans::new(config.bounds.bans),
            upload: RateGate::new(config.limits.up_bytes_per_s, now, upload_timer),
            download: RateGate::new(config.limits.down_bytes_per_s, now, download_timer),
            timers,
            dials: Dials::default(),
            shares: Shares::new(),
            half_messages: 0,
            write_backlog: 0,
            waiting_for_disk: Vec::new(),
            read_ahead: 0,
            read_waiters: VecDeque::new(),
            assembly_bytes: 0,
            checks_running: 0,
            check_queue: VecDeque::new(),
            connect_queue: VecDeque::new(),
            connect_queued: BTreeSet::new(),
            touched: Vec::new(),
            stopping: false,
            violations: Violations::default(),
            similar_files: SimilarFiles::default(),
            writers: Writers::default(),
            dht: DhtLink::default(),
            config,
        }
    }

    /// Wall time now.
    pub(crate) fn wall(&self) -> UnixTime {
        UnixTime(self.born.0.saturating_add(self.now.as_nanos() / 1_000_000_000))
    }

    pub(crate) fn notify(&mut self, id: TorrentId, what: TorrentNotice) {
        self.outbox.notify(Notice::Torrent { id, what });
    }

    /// A peer broke the protocol.
    pub(crate) fn notify_violation(
        &mut self,
        id: TorrentId,
        addr: SocketAddr,
        violation: Violation,
        disconnected: bool,
    ) {
        if let Some(untold) = self.violations.tell(self.now) {
            let what = TorrentNotice::PeerViolated { addr, violation, disconnected, untold };
            self.notify(id, what);
        }
    }

    /// Starts a disk request.
    pub(crate) fn disk(&mut self, owner: OpOwner, request: DiskRequest) -> OpId {
        let op = self.ops.insert(owner);
        self.outbox.push(Action::Disk { op, request });
        op
    }

    /// Starts a name look-up.
    pub(crate) fn resolve(&mut self, owner: OpOwner, host: &str) -> OpId {
        let op = self.ops.insert(owner);
        let via = self.config.names;
        self.outbox.push(Action::Resolve { op, host: host.into(), via });
        op
    }

    // Streams.

    /// The streams, to act on them.
    pub(crate) fn transport(&mut self) -> Transport<'_> {
        Transport {
            streams: &mut self.streams,
            timers: &mut self.timers,
            outbox: &mut self.outbox,
            now: self.now,
        }
    }

    /// Queues packets of ours, each for the socket of its address family.
    pub(crate) fn send_datagrams(&mut self, packets: impl IntoIterator<Item = Packet>) {
        self.sockets.send_all(&mut self.outbox, packets);
    }

    // Backpressure.

    /// Stops reading from a connection while the disk is behind.
    pub(crate) fn hold_for_disk(&mut self, id: ConnId) {
        if self.write_backlog > self.config.bounds.write_backlog_bytes {
            self.waiting_for_disk.push(id);
            self.transport().pause_reading(id, ReadPause::Disk);
        }
    }

    /// Bytes handed to the disk are written, or given up.
    pub(crate) fn backlog_done(&mut self, bytes: usize) {
        self.write_backlog -= bytes;
        if self.write_backlog <= self.config.bounds.write_backlog_bytes / 2 {
            for id in std::mem::take(&mut self.waiting_for_disk) {
                self.transport().resume_reading(id, ReadPause::Disk);
            }
        }
    }

    /// Whether more may be read for peers.
    pub(crate) fn may_read_ahead(&self) -> bool {
        self.read_ahead < self.config.bounds.read_ahead_bytes
    }

    /// Whether more may be read for peers that we choke: they have a small part of what may be read ahead,
    /// so that those who do not take it hold up nobody (defence 45).
    pub(crate) fn may_read_for_choked(&self) -> bool {
        self.read_ahead < self.config.bounds.read_ahead_bytes / CHOKED_PART
    }

    /// Whether the disk holds up the transfer.
    pub(crate) fn disk_is_behind(&self) -> bool {
        !self.waiting_for_disk.is_empty()
    }

    // Rate limits.

    /// Sets or clears a timer.
    pub(crate) fn arm(&mut self, timer: TimerId, at: Option<Instant>) {
        match at {
            Some(at) => self.timers.set(timer, at),
            None => self.timers.cancel(timer),
        }
    }

    /// Lets those go who wait for the session's upload allowance.
    pub(crate) fn wake_uploads(&mut self) {
        for id in self.upload.let_go(self.now) {
            self.transport().resume_sending(id);
        }
        self.arm(self.upload.timer, self.upload.next_at(self.now));
    }

    /// Lets those go who wait for the session's download allowance.
    pub(crate) fn wake_downloads(&mut self) {
        for id in self.download.let_go(self.now) {
            self.transport().resume_reading(id, ReadPause::Rate);
        }
        self.arm(self.download.timer, self.download.next_at(self.now));
    }

    /// A torrent wants to open connections.
    pub(crate) fn queue_connects(&mut self, id: TorrentId) {
        if self.connect_queued.insert(id) {
            self.connect_queue.push_back(id);
        }
    }

    /// Whether another outgoing peer connection may be opened.
    pub(crate) fn may_connect(&self) -> bool {
        !self.stopping && self.streams.may_connect()
    }
}
