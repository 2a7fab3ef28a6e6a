//! Local discovery in a session: its timer and datagrams, and the torrents of the peers that it hears of.
//!
//! What is announced when is decided by [`Lsd`]. Announces begin when it is known where peers reach
//! us; without a listener there are none, and others are heard of all the same.

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::deadline::TimerKey;
use crate::event::Datagram;
use crate::family::Family;
use crate::lsd::{GROUPS, Lsd};
use crate::packet::Packet;
use crate::piece::InfoHash;
use crate::session::Session;
use crate::timer::TimerId;

/// Local discovery and its timer.
#[derive(Debug)]
pub(crate) struct LsdService {
    lsd: Lsd,
    timer: TimerId,
}

impl LsdService {
    /// Local discovery, if the session is to have it.
    pub(crate) fn open(session: &mut Session) -> Option<Self> {
        if !session.config.local_discovery {
            return None;
        }
        let cookie = u64::from_be_bytes(session.random.secret.bytes());
        let timer = session.timers.register(TimerKey::Lsd);
        Some(LsdService { lsd: Lsd::new(cookie, session.now), timer })
    }

    /// A torrent takes part, or does not any more.
    pub(crate) fn set(&mut self, session: &Session, infohash: InfoHash, takes_part: bool) {
        match takes_part {
            true => self.lsd.add(session.now, infohash),
            false => self.lsd.remove(infohash),
        }
    }

    /// The torrents of ours that a peer takes part in, and where it listens.
    pub(crate) fn datagram(
        &mut self,
        session: &Session,
        datagram: &Datagram,
    ) -> Option<(SocketAddr, Vec<InfoHash>)> {
        self.lsd.handle_datagram(session.now, datagram.remote, &datagram.data)
    }

    /// The announces that are due, to each group; sets the timer.
    pub(crate) fn take_datagrams(&mut self, session: &mut Session) -> Vec<Packet> {
        let port = session.sockets.any_listen_port();
        let Some(port) =
            port.filter(|_| session.sockets.are_listeners_known() && !session.stopping)
        else {
            session.timers.cancel(self.timer);
            return Vec::new();
        };
        let mut datagrams = Vec::new();
        while let Some(mut announce) = self.lsd.announce(session.now, port) {
            for remote in GROUPS {
                announce.port =
                    session.sockets.listen_port(Family::of(remote.ip())).unwrap_or(port);
                let data = BytesMut::from(&announce.encode(remote)[..]);
                datagrams.push(Packet { remote, data });
            }
        }
        session.arm(self.timer, self.lsd.poll_timeout());
        datagrams
    }
}
