//! The router: hands what happened on a stream or came in as a datagram to its owner.

use super::Engine;
use crate::event::Datagram;
use crate::id::{ConnId, SocketId};
use crate::segments::Segments;
use crate::services::fetches::FetchOwner;
use crate::session::Session;
use crate::transport::demux::{self, Protocol};
use crate::transport::sockets::SocketRole;
use crate::transport::{Delivery, Fill, Role, StreamEvent};

impl Engine {
    /// Hands an event of a stream to its owner.
    pub(super) fn deliver(&mut self, delivery: Option<Delivery>) {
        let Some(Delivery { conn, role, event }) = delivery else { return };
        match role {
            Role::Incoming => self.incoming_event(conn, event),
            Role::Peer(torrent, slot) => self.route(torrent, |torrent, session| match event {
                StreamEvent::Opened => torrent.peer_connected(session, slot),
                StreamEvent::Received(data) => torrent.peer_received(session, slot, data),
                StreamEvent::Sent { all } => torrent.peer_sent(session, slot, all),
                StreamEvent::Closed { why, heard } => {
                    torrent.peer_closed(session, slot, why, heard);
                }
                StreamEvent::TimedOut => torrent.peer_timeout(session, slot),
            }),
            Role::Fetch(id) => {
                let owner = self.fetches.handle_stream(&mut self.session, id, conn, event);
                self.fetched(owner);
            }
            Role::TrackerClient(id) => {
                if let Some(tracker) = &mut self.tracker {
                    tracker.handle_stream(&mut self.session, id, event);
                }
            }
        }
    }

    /// Gathers what is to be sent on a stream: what sets it up, and what its owner hands out.
    pub(super) fn pull(&mut self, conn: ConnId, limit: usize, out: &mut Segments) {
        match self.session.streams.fill(conn, out) {
            Some(Fill::Direct(role)) => {
                let before = out.len();
                self.fill(role, limit, out);
                self.session.streams.filled(conn, out.len() - before);
            }
            Some(Fill::Sealed(role)) => {
                let mut clear = Segments::new();
                self.fill(role, limit, &mut clear);
                self.session.streams.seal(conn, &mut clear, out);
            }
            None => {}
        }
    }

    /// Has the owner of a stream hand out what is to be sent.
    fn fill(&mut self, role: Role, limit: usize, out: &mut Segments) {
        match role {
            Role::Incoming => {}
            Role::Peer(torrent, slot) => {
                if let Some(torrent) = self.torrents.get_mut(torrent) {
                    torrent.gather(&mut self.session, slot, limit, out);
                }
            }
            Role::Fetch(id) => self.fetches.gather(id, out),
            Role::TrackerClient(id) => {
                if let Some(tracker) = &mut self.tracker {
                    tracker.gather(id, out);
                }
            }
        }
    }

    /// Has the owner of a fetch take what there is for it.
    pub(super) fn fetched(&mut self, owner: Option<FetchOwner>) {
        match owner {
            Some(FetchOwner::Tracker(id)) => {
                self.trackers.fetched(&mut self.session, &mut self.fetches, id);
            }
            None => {}
        }
    }

    /// Hands datagrams to those whose protocol they speak.
    pub(super) fn datagrams(&mut self, socket: SocketId, mut batch: Vec<Datagram>) {
        self.drop_refused(&mut batch);
        match self.session.sockets.role(socket) {
            Some(SocketRole::PeersUdp) => {
                let at = self.session.sockets.node_address(socket);
                for datagram in batch {
                    match (demux::protocol(&datagram.data), &mut self.dht, at) {
                        (Protocol::Dht, Some(dht), Some(at)) => {
                            dht.datagram(&self.session, at, &datagram);
                        }
                        (Protocol::Dht, ..) => {}
                        (Protocol::Utp, ..) => self.utp_datagram(socket, &datagram),
                        (Protocol::Tracker, ..) => {
                            self.trackers.datagram(&mut self.session, &mut self.fetches, &datagram);
                        }
                    }
                }
            }
            Some(SocketRole::TrackerUdp) => {
                if let Some(tracker) = &mut self.tracker {
                    for datagram in batch {
                        let Some(answer) = tracker.datagram(&mut self.session, &datagram) else {
                            continue;
                        };
                        let source = datagram.local;
                        let Session { sockets, outbox, .. } = &mut self.session;
                        sockets.send_from(outbox, socket, answer, source);
                    }
                }
            }
            Some(SocketRole::LocalDiscovery) => self.heard_in_network(&batch),
            Some(SocketRole::Peers | SocketRole::Tracker) | None => {}
        }
    }
}
