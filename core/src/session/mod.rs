//! What all torrents of an engine share: identity, outbox, connections, operations, timers, limits.
//!
//! Torrents and services are handed `&mut Session` and push what they want done into its outbox at
//! the moment they want it, so the order of actions is the order of causes.

pub(crate) mod asks;
pub mod bans;
pub(crate) mod budgets;
pub(crate) mod dht_link;
mod dials;
pub(crate) mod half_messages;
pub(crate) mod op;
mod own;
mod ports;
mod quotas;
pub(crate) mod rates;
pub(crate) mod shares;
pub(crate) mod similar_files;
pub(crate) mod violations;
pub(crate) mod writers;

use std::net::{IpAddr, SocketAddr};

use crate::action::Action;
use crate::config::Config;
use crate::deadline::TimerKey;
use crate::disk::DiskRequest;
use crate::id::{ConnId, OpId, Slab, TorrentId};
use crate::map::HashKeys;
use crate::net_error::NetError;
use crate::notice::{Notice, TorrentNotice};
use crate::outbox::Outbox;
use crate::packet::Packet;
use crate::random::{PolicyRng, SecretRng};
use crate::session::asks::Asks;
use crate::session::bans::Bans;
use crate::session::budgets::{Budgets, Queues};
use crate::session::dht_link::DhtLink;
use crate::session::op::{Held, OpOwner};
use crate::session::own::OwnIdentity;
use crate::session::quotas::Quotas;
use crate::session::rates::RateGate;
use crate::session::similar_files::SimilarFiles;
use crate::session::writers::Writers;
use crate::time::{Instant, UnixTime};
use crate::timer::{TimerId, TimerWheel};
use crate::transport::sockets::Sockets;
use crate::transport::{Dial, ReadPause, Streams, Transport, UtpStreams};
use crate::wire::Violation;

/// What all torrents of an engine share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: Config,
    /// The time of the input being handled.
    pub(crate) now: Instant,
    /// Wall time at [`Instant::ZERO`].
    pub(crate) born: UnixTime,
    pub(crate) own: OwnIdentity,
    pub(crate) random: Randomness,

    pub(crate) outbox: Outbox,
    pub(crate) timers: TimerWheel<TimerKey>,
    pub(crate) ops: Slab<OpId, OpOwner>,
    pub(crate) streams: Streams,
    pub(crate) sockets: Sockets,
    pub(crate) bans: Bans<TorrentId>,

    /// Upload allowance and the connections that wait for it.
    pub(crate) upload: RateGate,
    /// Download allowance and the connections that wait for it.
    pub(crate) download: RateGate,

    pub(crate) quotas: Quotas,
    pub(crate) budgets: Budgets,
    pub(crate) queues: Queues,
    pub(crate) asks: Asks,
    /// Whether [`Command::Stop`](crate::Command::Stop) was given.
    pub(crate) stopping: bool,
    pub(crate) files: SharedFiles,
    /// What torrents know of the DHT.
    pub(crate) dht: DhtLink,
}

/// The generators of a session, and the keys of its hash maps.
#[derive(Debug)]
pub(crate) struct Randomness {
    pub(crate) policy: PolicyRng,
    pub(crate) secret: SecretRng,
    pub(crate) hash_keys: HashKeys,
}

/// What torrents know of each other's files.
#[derive(Debug, Default)]
pub(crate) struct SharedFiles {
    /// Files that torrents have whole, for others that lack them.
    pub(crate) similar: SimilarFiles,
    /// Files that torrents write.
    pub(crate) writers: Writers,
}

impl Session {
    pub(crate) fn new(config: Config, seed: [u8; 32], now: Instant, wall: UnixTime) -> Self {
        let mut secret = SecretRng::from_seed(seed);
        let policy = secret.fork_policy();
        let hash_keys = HashKeys::draw(&mut secret);
        let own = OwnIdentity::draw(config.peer_id_prefix, &mut secret);
        let mut outbox = Outbox::default();
        let mse_secrets = secret.fork();
        let mut timers = TimerWheel::new();
        let upload_timer = timers.register(TimerKey::UploadRate);
        let download_timer = timers.register(TimerKey::DownloadRate);
        let utp = config
            .transports
            .utp
            .then(|| Box::new(UtpStreams::new(timers.register(TimerKey::Utp), secret.fork())));
        let agreements_timer = timers.register(TimerKey::KeyAgreements);
        Session {
            now,
            born: UnixTime(wall.0.saturating_sub(now.as_nanos() / 1_000_000_000)),
            own,
            random: Randomness { policy, secret, hash_keys },
            sockets: Sockets::open(&config, &mut outbox),
            outbox,
            ops: Slab::new(),
            streams: Streams::new(
                config.connections,
                Dial::new(&config),
                utp,
                (config.encryption, mse_secrets),
                hash_keys,
                agreements_timer,
            ),
            bans: Bans::new(config.bounds.bans),
            upload: RateGate::new(config.limits.up_bytes_per_s, now, upload_timer),
            download: RateGate::new(config.limits.down_bytes_per_s, now, download_timer),
            timers,
            quotas: Quotas::new(),
            budgets: Budgets::new(&config.bounds),
            queues: Queues::default(),
            asks: Asks::default(),
            stopping: false,
            files: SharedFiles::default(),
            dht: DhtLink::default(),
            config,
        }
    }

    /// Wall time now.
    pub(crate) fn wall(&self) -> UnixTime {
        UnixTime(self.born.0.saturating_add(self.now.as_nanos() / 1_000_000_000))
    }

    /// Whether the IP filter refuses an address.
    pub(crate) fn is_filtered(&self, ip: IpAddr) -> bool {
        self.config.ip_filter.as_ref().is_some_and(|filter| filter.refuses(ip))
    }

    /// Why nothing may be asked at this address now, if nothing may: the IP filter refuses it, or strangers
    /// choose it and had too many ports of that host tried.
    pub(crate) fn refusal(&mut self, to: SocketAddr, is_of_strangers: bool) -> Option<NetError> {
        if self.is_filtered(to.ip()) {
            return Some(NetError::Filtered);
        }
        let may_try = !is_of_strangers || self.quotas.ports.admit(self.now, to);
        (!may_try).then_some(NetError::Denied)
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
        if let Some(not_shown) = self.quotas.violations.admit(self.now) {
            let what = TorrentNotice::PeerViolated { addr, violation, disconnected, not_shown };
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
    pub(crate) fn hold_for_disk(&mut self, conn: ConnId) {
        if self.budgets.hold_for_disk(conn) {
            self.transport().pause_reading(conn, ReadPause::Disk);
        }
    }

    /// A request to the disk that held this is done, or given up.
    pub(crate) fn release(&mut self, held: Held) {
        for conn in self.budgets.end(held) {
            self.transport().resume_reading(conn, ReadPause::Disk);
        }
    }

    // Rate limits.

    /// Sets or clears a timer.
    pub(crate) fn arm(&mut self, timer: TimerId, at: Option<Instant>) {
        match at {
            Some(at) => self.timers.set(timer, at),
            None => self.timers.cancel(timer),
        }
    }

    /// Lets connections go that wait for the session's upload allowance.
    pub(crate) fn wake_uploads(&mut self) {
        for id in self.upload.let_go(self.now) {
            self.transport().resume_sending(id);
        }
        self.arm(self.upload.timer, self.upload.next_at(self.now));
    }

    /// Lets connections go that wait for the session's download allowance.
    pub(crate) fn wake_downloads(&mut self) {
        for id in self.download.let_go(self.now) {
            self.transport().resume_reading(id, ReadPause::Rate);
        }
        self.arm(self.download.timer, self.download.next_at(self.now));
    }

    /// Whether peers are told that we have a DHT node (BEP 5, `port` message).
    pub(crate) fn offers_dht_node(&self) -> bool {
        self.dht.is_announced && self.sockets.any_listen_port().is_some()
    }

    /// Whether another outgoing peer connection may be opened.
    pub(crate) fn may_connect(&self) -> bool {
        !self.stopping && self.streams.may_connect()
    }
}
