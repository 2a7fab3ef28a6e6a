//! How a torrent learns what it is, and goes on as if it had been known, with the peers that are
//! connected: translates between [`Acquisition`](crate::torrent::metadata::Acquisition), the peers, what
//! is kept on disk, and the rest.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{DiskDone, DiskError};
use crate::extension::metadata::MetadataMessage;
use crate::metainfo::magnet::{MAX_ENTRIES, PeerAddress};
use crate::metainfo::{Magnet, Metainfo};
use crate::notice::TorrentNotice;
use crate::peer::{Peer, PeerSlot};
use crate::peer_source::PeerSource;
use crate::piece::{InfoHash, PieceIndex};
use crate::piece_hash::PieceHash;
use crate::reach::{Namer, may_dial};
use crate::session::Session;
use crate::session::op::{NamedPeer, OpOwner, TorrentOp};
use crate::session::shares::Taken;
use crate::torrent::Torrent;
use crate::torrent::announcing::trackers::names_to_look_up;
use crate::torrent::content::NothingChosen;
use crate::torrent::lifecycle::Phase;
use crate::torrent::metadata::layer_fetch::Learnt;
use crate::torrent::metadata::layers::LateChecks;
use crate::torrent::metadata::{self, Recalled, Use, Wanted, serve};
use crate::torrent::step::{MetadataStep, Step};
use crate::tracker::NamedBy;
use crate::wire::message::id;
use crate::wire::{HashRequest, Message, Violation};

/// Pieces found on disk up to which connected peers are sent a message for each; with more they are
/// connected anew, since a bitfield may only be the first message (chosen: 9 KB of messages).
const MOST_HAVES: u32 = 1000;
/// What is said of a link that leads to what is there already.
const DUPLICATE: &str = "the session has this torrent already, under its other infohash";

impl Torrent {
    // Before peers are asked.

    /// What a magnet link knows besides the hash: trackers and peers.
    pub(super) fn take_hints(&mut self, session: &mut Session, magnet: &Magnet) {
        let tiers: Vec<Vec<String>> = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
        self.announcing.trackers.add(&tiers, NamedBy::Torrent, session.now);
        let mut names = Vec::new();
        for peer in magnet.peers.iter().take(MAX_ENTRIES) {
            match peer {
                PeerAddress::Ip(addr) if may_dial(*addr, Namer::Torrent) => {
                    self.swarm.addresses.add(*addr, PeerSource::Link, session.now);
                }
                PeerAddress::Ip(_) => {}
                PeerAddress::Name(host, port) => names.push((host.clone(), *port)),
            }
        }
        for (host, port) in names_to_look_up(names, &mut self.policy) {
            let (source, infohash) = (PeerSource::Link, self.identity.primary());
            let peer = NamedPeer { port, source, namer: Namer::Torrent, infohash };
            session.resolve(OpOwner::Peer(self.id, peer), &host);
        }
    }

    /// What an earlier session knew is here, or there is nothing.
    pub(super) fn metadata_loaded(
        &mut self,
        session: &mut Session,
        key: InfoHash,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if self.life.phase() != Phase::Loading {
            return;
        }
        let data = match result {
            Ok(DiskDone::Loaded(Some(data))) => data,
            _ => Bytes::new(),
        };
        if let Some(other) = self.infohashes().skip_while(|other| *other != key).nth(1)
            && data.is_empty()
        {
            // It was added by its other infohash alone.
            return self.perform(session, metadata::load(other));
        }
        match self.acquisition.recall(data, &self.identity.infohashes()) {
            Recalled::Metainfo(metainfo) => {
                let (urls, by) = (metainfo.trackers(), NamedBy::Torrent);
                self.announcing.trackers.add(urls, by, session.now);
                return self.learn(session, *metainfo);
            }
            Recalled::Link(link) => self.take_hints(session, &link),
            Recalled::Nothing => {}
        }
        self.life.enter(Phase::Metadata);
        let limit = session.config.bounds.metadata_bytes;
        let infohashes = self.identity.infohashes();
        if let Some(link) = self.acquisition.begin(infohashes, limit) {
            self.perform(session, metadata::save(infohashes, &link));
        }
        if !self.life.is_paused() {
            self.open_for_peers(session);
        }
    }

    // Peers are asked.

    /// A peer asks for metadata, sends some, or does not.
    pub(super) fn metadata_message(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        payload: &Bytes,
    ) -> Result<(), Violation> {
        match MetadataMessage::decode(payload)? {
            MetadataMessage::Request { piece } => {
                let metainfo = self.content.as_ref().map(|content| &*content.metainfo);
                if let Some(peer) = self.swarm.peers.get_mut(slot) {
                    let (of, now, by) =
                        ((Taken::Metadata, self.id), session.now, peer.wire.remote.ip());
                    let allows = |most| session.quotas.shares.take(now, of, by, 1, most);
                    serve::requested(peer, now, metainfo, piece, allows);
                    session.transport().ask_send(peer.wire.conn);
                }
            }
            MetadataMessage::Reject { piece } => {
                let remote = self.swarm.remote_of(slot);
                let rejected = |remote| self.acquisition.rejected(session.now, remote, piece);
                let step = remote.and_then(rejected);
                self.perform(session, step);
            }
            MetadataMessage::Data { piece, total_size, data } => {
                let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
                let (remote, primary) = (peer.wire.remote, self.identity.primary());
                let sent = (piece, total_size, &data[..]);
                let (is_of_use, steps) =
                    self.acquisition.received(session.now, remote, sent, primary);
                match is_of_use {
                    Use::Some => peer.wire.useful_at = session.now,
                    Use::Unasked => {
                        peer.download.unasked_bytes += data.len() as u64;
                        if self.swarm.wastes_too_much(slot) {
                            return Err(Violation::Flood { id: id::EXTENDED });
                        }
                    }
                    Use::None => {}
                }
                self.perform(session, steps);
            }
            MetadataMessage::Unknown => {}
        }
        Ok(())
    }

    // It is known.

    /// Another torrent of the session turned out to be the same hybrid: they must not both write to
    /// its files.
    pub(crate) fn yield_to_duplicate(&mut self, session: &mut Session) {
        self.identity.yield_to_other();
        self.withdraw_claims(session);
        let unusable = MetadataStep::Unusable(DUPLICATE.to_owned());
        self.perform_metadata_step(session, unusable);
    }

    /// What the torrent is is known: everything else begins.
    pub(super) fn learn(&mut self, session: &mut Session, metainfo: Metainfo) {
        if !self.has_chosen_files(session, &metainfo) {
            return;
        }
        self.adopt(Arc::new(metainfo));
        if self.acquisition.layers.as_ref().is_some_and(|layers| layers.is_complete()) {
            self.perform_metadata_step(session, MetadataStep::LayersComplete);
        }
        self.leave_discovered_peers(session);
        if !self.acquisition.is_metadata_only() {
            if let Some(metainfo) = self.metainfo() {
                session.notify(self.id, metadata::received(metainfo));
            }
            self.meet_peers_again(session);
            return self.find_resume_data(session);
        }
        self.life.enter(Phase::Metadata);
        if self.acquisition.layers.is_none() {
            return self.perform_metadata_step(session, MetadataStep::Done);
        }
        self.meet_peers_again(session);
        if !self.life.is_paused() {
            self.open_for_peers(session);
        }
        if let (Some(layers), Some(content)) = (&mut self.acquisition.layers, &self.content) {
            layers.wait(session.now, &content.metainfo);
        }
        let steps = self.acquisition.poll(session.now);
        self.perform(session, steps);
    }

    /// The connected peers are told that we have the metadata, and what they said to have counts.
    fn meet_peers_again(&mut self, session: &mut Session) {
        let pieces = self.pieces();
        for slot in self.swarm.slots() {
            let Some(peer) = self.swarm.peers.get_mut(slot) else { continue };
            let early = peer.metadata_learnt(pieces, session.config.bounds.metadata_bytes);
            if !peer.is_open() {
                continue;
            }
            self.download.source_here(&peer.download);
            let outcome = match early.judge(pieces) {
                Ok(Some(has)) => self.peer_pieces(session, slot, has),
                Ok(None) => Ok(()),
                Err(violation) => Err(violation),
            };
            match outcome {
                Ok(()) => {
                    self.layers_offered(session, slot);
                    self.send_extended_handshake(session, slot);
                }
                Err(violation) => self.disconnect_for(session, slot, violation),
            }
            self.flush_outbox(session, slot);
        }
    }

    /// The check is done: peers that have waited for it are sent what is here, and blocks are requested of them.
    pub(super) fn go_on_with_peers(&mut self, session: &mut Session) {
        if self.swarm.peers.is_empty() {
            return;
        }
        if self.download.have().count() > MOST_HAVES {
            return self.drop_all_peers(session);
        }
        for slot in self.swarm.slots() {
            let Some(peer) = self.swarm.peers.get_mut(slot) else { continue };
            if !peer.is_open() {
                continue;
            }
            peer.send_haves(self.download.have());
            self.download.recount(slot.into(), &mut peer.download);
            self.swarm.update_interest(slot, self.wants_pieces());
            self.disconnect_if_both_seeds(session, slot);
            self.after_input(session, slot);
        }
        self.decide_chokes(session);
    }

    /// Whether the torrent has any of the files that are chosen. If not, it is left alone.
    fn has_chosen_files(&mut self, session: &mut Session, metainfo: &Metainfo) -> bool {
        let by_link = self.acquisition.chosen_by_link();
        let counts = !self.acquisition.is_metadata_only();
        let choices = self.choices.as_ref().filter(|_| counts);
        let Some(Err(nothing)) = choices.map(|choices| choices.check(metainfo, by_link)) else {
            return true;
        };
        let NothingChosen { selected, by_link } = nothing;
        let files = metainfo.file_count();
        self.acquisition.stop();
        self.life.enter(Phase::Metadata);
        session.notify(self.id, TorrentNotice::NothingSelected { selected, by_link, files });
        self.pause(session);
        false
    }

    // Piece layers.

    /// What a piece must hash to, as far as that is known.
    pub(super) fn piece_hash(&self, piece: PieceIndex) -> Option<PieceHash> {
        self.acquisition.piece_hash(self.metainfo()?, piece)
    }

    /// A peer may know hashes.
    pub(super) fn layers_offered(&mut self, session: &mut Session, slot: PeerSlot) {
        if self.swarm.peers.get(slot).is_some_and(Peer::may_know_hashes) {
            let step = self.acquisition.layers_offered(session.now, slot);
            self.perform(session, step);
        }
    }

    /// A peer sent hashes. False: they are no part of a layer that it was asked for.
    pub(super) fn layer_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        hashes: &[u8],
    ) -> bool {
        let (Some(layers), Some(content)) = (&mut self.acquisition.layers, &self.content) else {
            return false;
        };
        let learnt = layers.received(session.now, &content.metainfo, slot, (request, hashes));
        let is_whole = layers.is_complete();
        match learnt {
            Learnt::Unasked => return false,
            Learnt::Nothing => {}
            Learnt::Wrong => self.perform(session, self.swarm.remote_of(slot).map(Step::Ban)),
            Learnt::Pieces(ranges) => {
                // A piece that is not on disk may be fetched, others are hashed first.
                for piece in ranges.into_iter().flatten().map(PieceIndex) {
                    if !self.acquisition.hash_learnt(piece) {
                        self.download.let_go(piece);
                    }
                }
                if is_whole {
                    self.perform_metadata_step(session, MetadataStep::LayersComplete);
                }
                self.perform(session, [Step::Metadata(MetadataStep::CheckLate), Step::Fill]);
            }
        }
        self.perform_metadata_step(session, MetadataStep::Ask);
        true
    }

    /// Carries out a step on the way to knowing what the torrent is.
    pub(super) fn perform_metadata_step(&mut self, session: &mut Session, step: MetadataStep) {
        match step {
            MetadataStep::Ask => {
                let (swarm, content) = (&mut self.swarm, self.content.as_deref());
                let metainfo = content.map(|content| &*content.metainfo);
                self.acquisition.request(session.now, metainfo, |what| {
                    let conn = match what {
                        Wanted::Metadata(remote, piece) => swarm.open_peer_at(remote).map(|peer| {
                            serve::send(peer, &MetadataMessage::Request { piece });
                            peer.wire.conn
                        }),
                        Wanted::Hashes(slot, request) => {
                            let peer = swarm.peers.get_mut(slot).filter(|peer| peer.is_open());
                            peer.map(|peer| {
                                peer.send(Message::HashRequest(request));
                                peer.wire.conn
                            })
                        }
                    };
                    conn.inspect(|conn| session.transport().ask_send(*conn)).is_some()
                });
            }
            MetadataStep::Learn(metainfo) => self.learn(session, *metainfo),
            MetadataStep::Unusable(why) => {
                self.acquisition.stop();
                session.notify(self.id, TorrentNotice::MetadataUnusable { why });
                self.pause(session);
            }
            MetadataStep::KeepLayers => {
                let Some(content) = &self.content else { return };
                let infohashes = self.identity.infohashes();
                let steps = self.acquisition.keep_layers(&content.metainfo, infohashes);
                self.perform(session, steps);
            }
            MetadataStep::LayersComplete => {
                let Some(content) = &mut self.content else { return };
                let whole = self.acquisition.complete_layers(&content.metainfo);
                let Some(whole) = whole else { return };
                let bytes = whole.to_bytes();
                content.metainfo = Arc::new(whole);
                self.upload.drop_trees();
                self.perform(session, metadata::save(self.identity.infohashes(), &bytes));
                if self.acquisition.is_metadata_only() && self.life.phase() == Phase::Metadata {
                    self.perform_metadata_step(session, MetadataStep::Done);
                }
            }
            MetadataStep::Done => {
                self.acquisition.metadata_done();
                if let Some(metainfo) = self.metainfo() {
                    session.notify(self.id, metadata::received(metainfo));
                }
                self.pause(session);
            }
            MetadataStep::CheckLate => {
                while self.life.is_running()
                    && let Some(piece) =
                        self.acquisition.late.get_mut().and_then(LateChecks::start_next)
                {
                    self.verify_piece(session, piece, TorrentOp::CheckLate(piece));
                }
            }
        }
    }
}
