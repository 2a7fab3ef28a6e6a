//! What the engine hears on a connection, from one who may say anything: there are no rules for it, but
//! for what the engine then has to do and may do.

use std::collections::BTreeMap;

use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::piece::{InfoHash, PieceIndex};
use bitswarm_core::time::Instant;

use super::Conn;
use crate::sim::bencode::Value;
use crate::sim::check::private::offered_pex_id;
use crate::sim::check::{Settings, Tally, Watched, named};
use crate::sim::content::{Content, Kind};
use crate::sim::peer_wire::{HashRun, Item, Msg, Run};

impl Conn {
    /// The engine hears this from the remote, who may say anything.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        item: Item<'_>,
        settings: Settings,
        torrents: &mut BTreeMap<InfoHash, Watched>,
        tally: &mut Tally,
    ) {
        let message = match item {
            Item::Hello(hello) => {
                self.them.hello = Some(hello);
                self.torrent = named(torrents, InfoHash(hello.infohash));
                if let Some(watched) = self.torrent.and_then(|torrent| torrents.get(&torrent)) {
                    self.them.has = Bitfield::new(watched.content.pieces());
                    tally.v2_conns += u64::from(self.of_v2(watched));
                }
                return;
            }
            Item::Msg(message) => message,
        };
        let fast = self.fast();
        let Some(watched) = self.torrent.and_then(|infohash| torrents.get_mut(&infohash)) else {
            return;
        };
        if let Msg::Extended { id: 0, payload } = &message {
            self.their_pex_id = offered_pex_id(payload).or(self.their_pex_id);
        }
        let them = &mut self.them;
        let just_asked = them.just_asked.take();
        them.messages +=
            u64::from(!matches!(message, Msg::Extended { .. } | Msg::KeepAlive | Msg::Unknown(_)));
        match message {
            Msg::Choke => {
                them.choking = true;
                if !fast {
                    for (run, request) in std::mem::take(&mut self.requests) {
                        watched.miss(run);
                        if !request.cancelled {
                            self.answered.insert(run);
                        }
                    }
                }
            }
            Msg::Unchoke => them.choking = false,
            Msg::Interested => them.interested = true,
            Msg::NotInterested => them.interested = false,
            Msg::Have(piece) => drop(them.has.set(PieceIndex(piece))),
            Msg::Bitfield(bits) => {
                if let Ok(has) = Bitfield::from_bytes(bits, watched.content.pieces()) {
                    them.has = has;
                }
            }
            Msg::HaveAll => them.has = Bitfield::full(watched.content.pieces()),
            Msg::AllowedFast(piece) => drop(them.allowed_fast.insert(piece)),
            Msg::Piece { piece, begin, data } => {
                let run = Run { piece, begin, length: data.len() as u32 };
                // What is no block of the torrent is nothing.
                let is_block = watched.content.run(piece, begin, run.length).is_some();
                let stored = watched.content.stored_in(piece, begin, run.length);
                let bytes = if is_block { u64::from(stored) } else { 0 };
                tally.blocks_received += u64::from(is_block);
                tally.payload_received += bytes;
                self.payload_received += bytes;
                if let Some(request) = self.requests.remove(&run) {
                    watched.settle(run);
                    self.end_silence(now, settings);
                    if !request.cancelled {
                        self.answered.insert(run);
                    }
                }
            }
            Msg::Reject(run) => {
                if let Some(request) = self.requests.remove(&run) {
                    watched.miss(run);
                    if !request.cancelled {
                        self.answered.insert(run);
                    }
                }
            }
            Msg::Request(run) => {
                *self.owed.entry(run).or_default() += 1;
                them.just_asked = Some(run);
            }
            Msg::Cancel(run) if !fast => drop(self.owed.remove(&run)),
            Msg::HashRequest(run) => {
                self.hashes.asked_by_them(now, run);
                // A hybrid from a magnet link may be known by the hashes of v1 alone.
                let has_layers = watched.is_given || watched.content.kind() != Kind::Hybrid;
                if let Some(block) = just_asked.filter(|_| has_layers && !settings.disk_fails)
                    && is_of_leaves(&watched.content, &run, block)
                    && watched.content.pieces_of_leaves(&run).all(|piece| self.us.has.has(piece))
                {
                    self.hashes.asked_with_block(run, block);
                }
            }
            Msg::Hashes { run, hashes } => {
                self.hashes.answered_by_them(run);
                match watched.content.proves(&run, hashes) {
                    true => tally.hashes_proven += 1,
                    false => tally.hashes_wrong += 1,
                }
            }
            Msg::HashReject(run) => self.hashes.answered_by_them(run),
            // Later it comes too late for what is on its way.
            Msg::Extended { id: 0, payload }
                if them.choking && them.allowed_fast.is_empty() && self.their_queue.is_none() =>
            {
                let reqq = Value::parse(payload).ok().and_then(|dict| dict.get("reqq")?.as_int());
                self.their_queue = reqq.and_then(|reqq| usize::try_from(reqq).ok());
            }
            _ => {}
        }
    }
}

/// Whether these are leaf hashes, that of a block among them.
fn is_of_leaves(content: &Content, run: &HashRun, block: Run) -> bool {
    let leaf = content.leaf_at(block.piece, block.begin);
    leaf.is_some_and(|(tree, leaf)| tree.has_leaf(run, leaf))
}
