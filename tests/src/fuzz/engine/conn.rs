//! One connection of an engine under a fuzzer: what the host owes it, and what both sides have said
//! as far as the simulator's reader understands it.

use super::setup::CONTENT;
use crate::sim::peer_wire::{Item, Msg, Reader, Run};

#[derive(Default)]
pub(super) struct Conn {
    pub(super) open: bool,
    /// TLS was asked for.
    pub(super) securing: bool,
    /// Bytes wait to be gathered.
    pub(super) due: bool,
    /// Bytes gathered and not reported as sent.
    pub(super) unreported: usize,
    pub(super) incoming: Reader,
    /// What came in can be understood by the checker: it judges what goes out.
    pub(super) understood: bool,
    pub(super) begun: bool,
    pub(super) is_peer: bool,
    pub(super) outgoing: Reader,
    pub(super) torrent: usize,
    /// Blocks that the engine wants of this peer.
    pub(super) wants: Vec<Run>,
}

impl Conn {
    /// What comes in. The checker's reader gives up at what the engine may skip.
    pub(super) fn listen(&mut self, bytes: &[u8]) {
        self.incoming.feed(bytes);
        while self.understood {
            match self.incoming.try_next() {
                Ok(Some(Item::Hello(hello))) => self.set_torrent(hello.infohash),
                // The checker counts against it what was asked for before it was known.
                Ok(Some(Item::Msg(Msg::Extended { id: 0, payload }))) => {
                    self.understood = !payload.windows(4).any(|bytes| bytes == b"reqq");
                }
                Ok(Some(Item::Msg(_))) => {}
                Ok(None) => return,
                Err(_) => self.understood = false,
            }
        }
    }

    /// What goes out: the peer protocol in its right form, or something else.
    pub(super) fn speak(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        if !std::mem::replace(&mut self.begun, true) {
            self.is_peer = *first == 0x13;
        }
        if !self.is_peer {
            return;
        }
        let mut reader = std::mem::take(&mut self.outgoing);
        reader.feed(bytes);
        while let Some(item) = reader.try_next().expect("what goes out can be read") {
            match item {
                Item::Hello(hello) => self.set_torrent(hello.infohash),
                Item::Msg(Msg::Request(run)) => self.wants.push(run),
                Item::Msg(Msg::Cancel(run)) => self.wants.retain(|other| *other != run),
                Item::Msg(_) => {}
            }
        }
        self.outgoing = reader;
        let excess = self.wants.len().saturating_sub(32);
        self.wants.drain(..excess);
    }

    fn set_torrent(&mut self, infohash: [u8; 20]) {
        let known = CONTENT.iter().position(|content| content.infohash().0 == infohash);
        self.torrent = known.unwrap_or(0);
    }
}
