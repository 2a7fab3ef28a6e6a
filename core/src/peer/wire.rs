//! The connection half of a peer: its address, how far the handshake has come and what it agreed on,
//! the decoder of its bytes and the messages that wait to be sent.

use std::net::SocketAddr;

use crate::id::ConnId;
use crate::peer::offences::Offences;
use crate::peer::words::Words;
use crate::piece::PeerId;
use crate::time::Instant;
use crate::wire::extension::ExtensionIds;
use crate::wire::handshake::HandshakeDecoder;
use crate::wire::{Decoder, Message};

/// Messages waiting for a peer that does not read, in bytes: from here on we do not read from it
/// either (chosen).
const OUTBOX_FULL: usize = 256 * 1024;
/// From here on the peer is dropped (chosen).
const OUTBOX_STUCK: usize = 4 * 1024 * 1024;

/// One peer's connection and what was agreed on it.
#[derive(Debug)]
pub(crate) struct PeerWire {
    pub(crate) conn: ConnId,
    pub(crate) remote: SocketAddr,
    pub(crate) incoming: bool,
    /// Where the peer can be dialled, once that is known; its name in the peer book.
    pub(crate) listens_at: Option<SocketAddr>,
    pub(crate) connected_at: Instant,
    /// When blocks, hashes or metadata last passed, either way; at first, when it came.
    pub(crate) useful_at: Instant,
    /// Bytes of a message that has not come whole.
    pub(crate) half_message: usize,
    pub(crate) state: WireState,
    pub(crate) id: Option<PeerId>,
    /// The peer's name for itself (BEP 10, `v`), made safe to show.
    pub(crate) client: Option<String>,

    /// Whether the connection is one of v2 (BEP 52).
    pub(crate) of_v2: bool,
    /// Whether both sides speak the fast extension (BEP 6).
    pub(crate) fast: bool,
    /// Whether both sides speak the extension protocol (BEP 10).
    pub(crate) extended: bool,
    /// The extensions that the peer understands, with its numbers.
    pub(crate) extensions: ExtensionIds,
    /// Whether the peer downloads nothing (BEP 21).
    pub(crate) upload_only: bool,

    pub(crate) decoder: Decoder,
    /// Messages waiting to be gathered.
    pub(crate) outbox: Words,
    /// What the peer did wrong and was forgiven.
    pub(crate) offences: Offences,
    pub(crate) last_heard: Instant,
    pub(crate) last_spoke: Instant,
}

/// How far the handshake has come.
#[derive(Debug)]
pub(crate) enum WireState {
    /// The connection is being established.
    Connecting,
    /// Waiting for (the rest of) the peer's handshake.
    Handshaking(HandshakeDecoder),
    /// Messages flow.
    Open,
}

/// What the messages that wait for a peer call for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Backlog {
    /// Nothing.
    Fits,
    /// The peer does not read: no more is read from it.
    Full,
    /// The peer will not read any more: it is dropped.
    Stuck,
}

impl PeerWire {
    /// A connection whose handshake is not done, for a torrent of so many pieces.
    pub(crate) fn new(
        conn: ConnId,
        remote: SocketAddr,
        incoming: bool,
        state: WireState,
        pieces: Option<u32>,
        now: Instant,
    ) -> Self {
        let mut decoder = Decoder::new();
        decoder.set_piece_count(pieces);
        PeerWire {
            conn,
            remote,
            incoming,
            listens_at: (!incoming).then_some(remote),
            connected_at: now,
            useful_at: now,
            half_message: 0,
            state,
            id: None,
            client: None,
            of_v2: false,
            fast: false,
            extended: false,
            extensions: ExtensionIds::none(),
            upload_only: false,
            decoder,
            outbox: Words::default(),
            offences: Offences::default(),
            last_heard: now,
            last_spoke: now,
        }
    }

    /// Whether the handshake is done.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, WireState::Open)
    }

    /// Whether the connection is established and the peer's handshake is not complete.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.state, WireState::Handshaking(_))
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: Message) {
        self.outbox.push(message);
    }

    /// Whether too much waits to be sent.
    pub(crate) fn backlog(&self) -> Backlog {
        match self.outbox.len() {
            bytes if bytes <= OUTBOX_FULL => Backlog::Fits,
            bytes if bytes <= OUTBOX_STUCK => Backlog::Full,
            _ => Backlog::Stuck,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::Id;

    #[test]
    fn peer_that_does_not_read_is_not_read_from_and_dropped_in_the_end() {
        let remote = SocketAddr::from(([10, 0, 0, 1], 6881));
        let conn = ConnId::new(0, 0);
        let mut wire = PeerWire::new(conn, remote, true, WireState::Open, None, Instant::ZERO);
        let mut reached = Vec::new();
        while reached.last() != Some(&Backlog::Stuck) {
            wire.send(Message::Bitfield(Bytes::from_static(&[0; 65531])));
            reached.push(wire.backlog());
            reached.dedup();
        }
        assert_eq!(reached, [Backlog::Fits, Backlog::Full, Backlog::Stuck]);
        assert!(wire.outbox.len() <= OUTBOX_STUCK + 65536);
    }
}
