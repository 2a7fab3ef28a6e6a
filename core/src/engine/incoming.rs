//! Incoming peer connections, until their handshake names a torrent of ours.
//!
//! The session has one listener for all torrents. A connection stays here while its handshake comes
//! in, for a bounded time, and goes to the torrent as soon as the infohash is known.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::Engine;
use crate::action::Close;
use crate::id::ConnId;
use crate::map::{HashKeys, Map};
use crate::transport::{Role, StreamEvent};
use crate::wire::handshake::HandshakeDecoder;

/// The handshakes that come in.
#[derive(Debug)]
pub(super) struct Incoming {
    handshakes: Map<ConnId, HandshakeDecoder>,
}

impl Incoming {
    pub(super) fn new(hash_keys: HashKeys) -> Self {
        Incoming { handshakes: Map::with_hasher(hash_keys) }
    }
}

impl Engine {
    /// A remote peer connects; `None` if it is refused.
    pub(super) fn accept_peer(&mut self, from: SocketAddr) -> Option<ConnId> {
        let is_refused = self.session.stopping
            || self.torrents.is_empty()
            || !self.session.streams.may_accept(from.ip())
            || self.session.is_banned(from);
        if is_refused {
            return None;
        }
        let deadline = self.session.now + self.session.config.timeouts.handshake;
        let mut transport = self.session.transport();
        let conn = transport.accept(from, Role::Incoming);
        transport.set_deadline(conn, deadline);
        self.incoming.handshakes.insert(conn, HandshakeDecoder::new());
        Some(conn)
    }

    /// Something happened on a connection that has not named a torrent.
    pub(super) fn incoming_event(&mut self, conn: ConnId, event: StreamEvent) {
        match event {
            StreamEvent::Received(data) => self.handshake_received(conn, data),
            // The handshake timed out.
            StreamEvent::TimedOut => self.close_incoming_conn(conn),
            StreamEvent::Closed(_) => drop(self.incoming.handshakes.remove(&conn)),
            StreamEvent::Opened | StreamEvent::Sent { .. } => {}
        }
    }

    /// Closes all connections that have not named a torrent.
    pub(super) fn close_incoming(&mut self) {
        let all: Vec<ConnId> = self.session.streams.incoming().collect();
        for conn in all {
            self.close_incoming_conn(conn);
        }
    }

    fn close_incoming_conn(&mut self, conn: ConnId) {
        self.incoming.handshakes.remove(&conn);
        self.session.transport().close(conn, Close::Abort);
    }

    fn handshake_received(&mut self, conn: ConnId, mut data: BytesMut) {
        let Some(handshake) = self.incoming.handshakes.get_mut(&conn) else { return };
        if handshake.push(&mut data).is_err() {
            return self.close_incoming_conn(conn);
        }
        let Some((_, infohash)) = handshake.head() else { return };
        let Some(&id) = self.by_infohash.get(&infohash) else {
            return self.close_incoming_conn(conn);
        };
        let handshake = self.incoming.handshakes.remove(&conn);
        let (Some(handshake), Some(remote)) = (handshake, self.session.streams.remote(conn)) else {
            return;
        };
        let session = &mut self.session;
        let Some(torrent) = self.torrents.get_mut(id) else { return };
        match torrent.peer_arrived(session, conn, remote, handshake) {
            Some(slot) => torrent.peer_received(session, slot, data),
            None => session.transport().close(conn, Close::Abort),
        }
        session.touched.push(id);
    }
}
