//! The DHT's place in a session: its datagrams, timer and saved table, and whose wish is whose.
//!
//! What the DHT does is decided by [`Dht`]; here bytes and times find their way to it, host names
//! are looked up for it, and what it finds goes to the torrent or the user who wished for it. It
//! begins when the sockets are open, the saved table is read and the bootstrap hosts are looked up
//! as far as that is possible.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::config::DhtConfig;
use crate::dht::{Dht, Outcome, Output, Saved, Settings, Stats, Wish, WishId};
use crate::disk::{DiskDone, DiskError, DiskRequest, StateName};
use crate::event::{Datagram, ResolveError};
use crate::id::TorrentId;
use crate::session::Session;
use crate::session::conn::TimerKey;
use crate::session::op::{DhtOp, OpOwner};
use crate::timer::TimerId;

/// What torrents need to know of the DHT, and want it to do.
#[derive(Debug, Default)]
pub(crate) struct DhtLink {
    /// Whether there is one, and it has looked around.
    pub(crate) ready: bool,
    /// Whether peers are told of our node (BEP 5, `port` message).
    pub(crate) told: bool,
    /// Grows with the number of nodes while these are few: it is worth announcing again.
    pub(crate) growth: usize,
    /// Addresses where peers say that they have a node.
    pub(crate) met: Vec<SocketAddr>,
    /// Hosts that torrents name as nodes.
    pub(crate) hosts: Vec<(String, u16)>,
    /// Wishes nobody waits for any more.
    pub(crate) forgotten: Vec<WishId>,
}

/// The DHT and its errands.
#[derive(Debug)]
pub(crate) struct DhtHost {
    dht: Dht,
    timer: TimerId,
    stage: Stage,
    routers: Vec<SocketAddr>,
    /// Host names being looked up.
    resolving: usize,
    /// Whether the saved table is being read or written.
    disk_busy: bool,
    wishes: BTreeMap<WishId, Owner>,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It waits for sockets, table and addresses.
    Preparing,
    Running,
    /// The session stops.
    Stopped,
}

/// Who wished for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Torrent(TorrentId),
    User,
}

/// What came out for somebody.
#[derive(Debug)]
pub(crate) enum Found {
    /// Peers for a torrent.
    Peers(TorrentId, Vec<SocketAddr>),
    /// A torrent's wish is done.
    Done(TorrentId, Box<Outcome>),
    /// A user's wish is done.
    UserDone(WishId, Box<Outcome>),
    /// The DHT looks after wishes now.
    Ready { nodes: usize },
    /// Others see us at this address.
    ExternalAddress(IpAddr),
}

impl DhtHost {
    /// A node, if the session is to run one.
    pub(crate) fn open(session: &mut Session) -> Option<Self> {
        let config: DhtConfig = session.config.dht.clone()?;
        let listens = |v4: bool| session.config.listen.iter().any(|addr| addr.is_ipv4() == v4);
        let settings = Settings {
            v4: listens(true) || session.config.listen.is_empty(),
            v6: listens(false),
            read_only: config.read_only,
            version: config.version,
        };
        session.dht.told = !config.read_only;
        let dht = Dht::new(settings, session.secret.fork(), session.now);
        let timer = session.timers.register(TimerKey::Dht);
        let mut host = DhtHost {
            dht,
            timer,
            stage: Stage::Preparing,
            routers: Vec::new(),
            resolving: 0,
            disk_busy: true,
            wishes: BTreeMap::new(),
        };
        let request = DiskRequest::Load { name: StateName::Dht };
        session.disk(OpOwner::Dht(DhtOp::Load), request);
        for (name, port) in config.bootstrap {
            host.look_up(session, &name, DhtOp::Router(port));
        }
        Some(host)
    }

    /// How much it holds.
    pub(crate) fn stats(&self, session: &Session) -> Stats {
        self.dht.stats(session.now)
    }

    /// Whether nothing of it is under way that a stop has to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        !self.disk_busy
    }

    /// The session stops: what is known is saved.
    pub(crate) fn stop(&mut self, session: &mut Session) {
        if self.stage == Stage::Running {
            self.save(session);
        }
        self.stage = Stage::Stopped;
        session.dht.ready = false;
        session.timers.cancel(self.timer);
    }

    /// A torrent wishes for something.
    pub(crate) fn wish_of_torrent(
        &mut self,
        session: &Session,
        torrent: TorrentId,
        wish: Wish,
    ) -> Option<WishId> {
        let id = self.dht.wish(session.now, wish)?;
        self.wishes.insert(id, Owner::Torrent(torrent));
        Some(id)
    }

    /// The user wishes for something.
    pub(crate) fn wish_of_user(&mut self, session: &Session, wish: Wish) -> Option<WishId> {
        if self.stage == Stage::Stopped {
            return None;
        }
        let id = self.dht.wish(session.now, wish)?;
        self.wishes.insert(id, Owner::User);
        Some(id)
    }

    // What happened.

    /// A datagram came in. False: it is none of the DHT's.
    pub(crate) fn datagram(&mut self, session: &Session, datagram: &Datagram) -> bool {
        if self.stage == Stage::Stopped {
            return datagram.data.first() == Some(&b'd');
        }
        self.dht.handle_datagram(session.now, datagram.remote, &datagram.data)
    }

    pub(crate) fn timeout(&mut self, session: &Session) {
        self.dht.handle_timeout(session.now);
    }

    /// The saved table was read or written, or could not be. Without it the bootstrap hosts do.
    pub(crate) fn disk_done(
        &mut self,
        session: &Session,
        op: DhtOp,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        self.disk_busy = false;
        if let (DhtOp::Load, Ok(DiskDone::Loaded(Some(data)))) = (op, result) {
            self.dht.load(session.now, Saved::decode(&data));
        }
    }

    /// A host name was looked up.
    pub(crate) fn resolved(
        &mut self,
        session: &Session,
        op: DhtOp,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let addrs = result.unwrap_or_default();
        match op {
            DhtOp::Router(port) => {
                self.resolving -= 1;
                self.routers.extend(addrs.into_iter().map(|ip| SocketAddr::new(ip, port)));
            }
            DhtOp::Named(port) => {
                for ip in addrs {
                    self.dht.meet(session.now, SocketAddr::new(ip, port));
                }
            }
            DhtOp::Load | DhtOp::Save => {}
        }
    }

    // What follows.

    /// Begins if everything is there; `open` says in which families a socket is.
    pub(crate) fn begin_if_ready(&mut self, session: &Session, open: impl Fn(bool) -> bool) {
        let waits = session.listeners_pending > 0 || self.disk_busy || self.resolving > 0;
        if self.stage != Stage::Preparing || waits {
            return;
        }
        self.stage = Stage::Running;
        for v6 in [false, true] {
            if !open(v6) {
                self.dht.leave(v6);
            }
        }
        self.dht.begin(session.now, std::mem::take(&mut self.routers));
    }

    /// Does what torrents want done.
    pub(crate) fn run_errands(&mut self, session: &mut Session) {
        for addr in std::mem::take(&mut session.dht.met) {
            self.dht.meet(session.now, addr);
        }
        for (name, port) in std::mem::take(&mut session.dht.hosts) {
            self.look_up(session, &name, DhtOp::Named(port));
        }
        for wish in std::mem::take(&mut session.dht.forgotten) {
            self.wishes.remove(&wish);
            self.dht.forget(wish);
        }
    }

    /// What was found, in order.
    pub(crate) fn poll_found(&mut self, session: &mut Session) -> Option<Found> {
        while let Some(output) = self.dht.poll_output() {
            match output {
                Output::Ready { nodes } => {
                    session.dht.ready = true;
                    return Some(Found::Ready { nodes });
                }
                Output::Peers { wish, peers } => {
                    if let Some(Owner::Torrent(id)) = self.wishes.get(&wish) {
                        return Some(Found::Peers(*id, peers));
                    }
                }
                Output::Done { wish, outcome } => match self.wishes.remove(&wish) {
                    Some(Owner::Torrent(id)) => return Some(Found::Done(id, outcome)),
                    Some(Owner::User) => return Some(Found::UserDone(wish, outcome)),
                    None => {}
                },
                Output::ExternalAddress(ip) => return Some(Found::ExternalAddress(ip)),
                Output::SaveDue => self.save(session),
            }
        }
        None
    }

    /// The datagrams to send.
    pub(crate) fn take_datagrams(&mut self) -> Vec<Datagram> {
        std::iter::from_fn(|| self.dht.poll_transmit()).collect()
    }

    /// Sets the timer, and says whether the network has grown from very small.
    pub(crate) fn rearm(&mut self, session: &mut Session) -> bool {
        if self.stage != Stage::Stopped {
            session.arm(self.timer, self.dht.poll_timeout());
        }
        let grown = self.dht.nodes().min(GROWING);
        let has_grown = session.dht.ready && grown > session.dht.growth;
        session.dht.growth = session.dht.growth.max(grown);
        has_grown
    }

    fn save(&mut self, session: &mut Session) {
        let saved = self.dht.save();
        if self.disk_busy || saved.contacts.is_empty() {
            return;
        }
        self.disk_busy = true;
        let data = Bytes::from(saved.encode());
        let request = DiskRequest::Save { name: StateName::Dht, data };
        session.disk(OpOwner::Dht(DhtOp::Save), request);
    }

    fn look_up(&mut self, session: &mut Session, name: &str, op: DhtOp) {
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        self.resolving += usize::from(matches!(op, DhtOp::Router(_)));
        match literal {
            Ok(ip) => self.resolved(session, op, Ok(vec![ip])),
            Err(_) => {
                session.resolve(OpOwner::Dht(op), name);
            }
        }
    }
}

/// Nodes up to which each more is worth announcing to again (BEP 5: K, the nodes that keep a
/// peer).
const GROWING: usize = crate::dht::table::K;
