//! Incoming peer connections: accepted, heard until their handshake names a torrent, handed to it.
//!
//! The session has one listener for all torrents. A connection stays here while its handshake comes
//! in, for a bounded time, and goes to the torrent as soon as the infohash is known.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

use super::Engine;
use super::incoming::Handshake;
use crate::action::Close;
use crate::choke::AddressGroup;
use crate::id::ConnId;
use crate::places::{Holder, who_yields};
use crate::session::Session;
use crate::transport::{Carrier, Role, StreamEvent};
use crate::wire::handshake::HandshakeDecoder;

impl Engine {
    /// Whether nobody who connects from there is welcome.
    pub(super) fn is_refused(&self, from: SocketAddr) -> bool {
        self.session.stopping
            || self.torrents.is_empty()
            || self.session.streams.is_full_at(from.ip())
            || self.session.bans.is_banned_in_all(from.ip())
    }

    /// A remote peer connects; `None` if it is refused.
    pub(super) fn accept_peer(&mut self, from: SocketAddr, by: Carrier) -> Option<ConnId> {
        if self.is_refused(from) {
            return None;
        }
        if !self.session.streams.may_accept(from.ip()) {
            let yields = self.incoming_who_yields(from.ip())?;
            self.close_silent_conn(yields);
        }
        let deadline = self.session.now + self.session.config.timeouts.handshake;
        let mut transport = self.session.transport();
        let conn = transport.accept(from, by, Role::Incoming);
        transport.set_deadline(conn, deadline);
        let handshake = Handshake {
            decoder: HandshakeDecoder::new(),
            since: self.session.now,
            group: AddressGroup::of(from.ip()),
        };
        self.incoming.handshakes.insert(conn, handshake);
        Some(conn)
    }

    /// Of the connections that have not named a torrent, the one whose place a newcomer may have
    /// (defence 41). O(connections), when there is no place.
    fn incoming_who_yields(&self, newcomer: IpAddr) -> Option<ConnId> {
        let now = self.session.now;
        let newcomer = AddressGroup::of(newcomer);
        let holders = self.session.streams.incoming().filter_map(|key| {
            let &Handshake { group, since, .. } = self.incoming.handshakes.get(&key)?;
            let stage = self.incoming.silent.stage(group, since, newcomer, now);
            Some(Holder { key, group, stage })
        });
        let holders: Vec<_> = holders.collect();
        who_yields(&holders, newcomer, now)
    }

    /// Something happened on a connection that has not named a torrent.
    pub(super) fn incoming_event(&mut self, conn: ConnId, event: StreamEvent) {
        match event {
            StreamEvent::Received(data) => self.handshake_received(conn, data),
            // The handshake timed out.
            StreamEvent::TimedOut => self.close_silent_conn(conn),
            StreamEvent::Closed { .. } => self.silence_over(conn),
            StreamEvent::Opened | StreamEvent::Sent { .. } => {}
        }
    }

    /// Closes the connections that have not named a torrent and come from such an address.
    pub(super) fn close_incoming_where(&mut self, is_meant: impl Fn(&Session, IpAddr) -> bool) {
        let session = &self.session;
        let is_meant = |conn: &ConnId| {
            session.streams.remote(*conn).is_some_and(|remote| is_meant(session, remote.ip()))
        };
        let meant: Vec<ConnId> = session.streams.incoming().filter(is_meant).collect();
        for conn in meant {
            self.close_incoming_conn(conn);
        }
    }

    /// Closes a connection that has said too little for too long.
    fn close_silent_conn(&mut self, conn: ConnId) {
        self.silence_over(conn);
        self.close_incoming_conn(conn);
    }

    /// A connection is over that has not named a torrent.
    fn silence_over(&mut self, conn: ConnId) {
        if let Some(Handshake { group, since, .. }) = self.incoming.handshakes.remove(&conn) {
            self.incoming.silent.over(group, since, self.session.now);
        }
    }

    fn close_incoming_conn(&mut self, conn: ConnId) {
        self.incoming.handshakes.remove(&conn);
        self.session.transport().close(conn, Close::Abort);
    }

    fn handshake_received(&mut self, conn: ConnId, mut data: BytesMut) {
        let Some(handshake) = self.incoming.handshakes.get_mut(&conn) else { return };
        let handshake = &mut handshake.decoder;
        if handshake.push(&mut data).is_err() {
            return self.close_incoming_conn(conn);
        }
        let Some((_, infohash)) = handshake.head() else { return };
        let Some(&id) = self.by_infohash.get(&infohash) else {
            return self.close_incoming_conn(conn);
        };
        // Who encrypts for one torrent means that one.
        let agreed = self.session.streams.skey(conn);
        if agreed.is_some_and(|agreed| self.by_infohash.get(&agreed) != Some(&id)) {
            return self.close_incoming_conn(conn);
        }
        let handshake = self.incoming.handshakes.remove(&conn);
        let (Some(handshake), Some(remote)) = (handshake, self.session.streams.remote(conn)) else {
            return;
        };
        let session = &mut self.session;
        let Some(torrent) = self.torrents.get_mut(id) else { return };
        match torrent.peer_arrived(session, conn, remote, handshake.decoder) {
            Some(slot) => torrent.peer_received(session, slot, data),
            None => session.transport().close(conn, Close::Abort),
        }
        session.asks.settle(id);
    }
}
