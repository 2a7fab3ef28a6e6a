//! How a torrent learns what it is, and goes on as if it had been known, with the peers that are
//! connected: translates between [`Acquisition`](crate::torrent::metadata::Acquisition), the peers, what
//! is kept on disk, and the rest.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{DiskDone, DiskError, DiskRequest, StateName};
use crate::extension::metadata::{MetadataMessage, Received};
use crate::infohashes::InfoHashes;
use crate::metainfo::magnet::PeerAddress;
use crate::metainfo::{Magnet, Metainfo};
use crate::notice::TorrentNotice;
use crate::peer::{Peer, PeerSlot};
use crate::peer_source::PeerSource;
use crate::piece::{InfoHash, PieceIndex};
use crate::piece_hash::PieceHash;
use crate::reach::Namer;
use crate::session::Session;
use crate::session::bans::BanReason;
use crate::session::op::{NamedPeer, OpOwner, TorrentOp};
use crate::session::shares::Taken;
use crate::torrent::Torrent;
use crate::torrent::content::NothingChosen;
use crate::torrent::lifecycle::Phase;
use crate::torrent::metadata::layer_fetch::Learnt;
use crate::torrent::metadata::layers::{Due, LateChecks};
use crate::torrent::metadata::{self, Recalled, serve};
use crate::torrent::step::Step;
use crate::tracker::NamedBy;
use crate::wire::extension::Extension;
use crate::wire::message::id;
use crate::wire::{HashRequest, Message, Violation};

/// Pieces found on disk up to which connected peers are sent a message for each; with more they are
/// connected anew, since a bitfield may only be the first message (chosen: 9 KB of messages).
const MOST_HAVES: u32 = 1000;
/// What is said of a link that leads to what is there already.
const DUPLICATE: &str = "the session has this torrent already, under its other infohash";
/// What is said of a link whose two infohashes no torrent has.
const TWO_TORRENTS: &str =
    "its btih and its btmh are of two torrents; use a link with only one of them";

impl Torrent {
    // Before peers are asked.

    /// What a magnet link knows besides the hash: trackers and peers.
    pub(super) fn take_hints(&mut self, session: &mut Session, magnet: &Magnet) {
        let tiers: Vec<Vec<String>> = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
        self.announcing.trackers.add(&tiers, NamedBy::Torrent, session.now);
        for peer in &magnet.peers {
            match peer {
                PeerAddress::Ip(addr) => {
                    self.swarm.addresses.add(*addr, PeerSource::User, session.now);
                }
                PeerAddress::Name(host, port) => {
                    let (source, infohash) = (PeerSource::User, self.identity.primary());
                    let peer = NamedPeer { port: *port, source, namer: Namer::Torrent, infohash };
                    session.resolve(OpOwner::Peer(self.id, peer), host);
                }
            }
        }
    }

    /// Begins by looking whether an earlier session has learnt the metadata, and kept it under this
    /// infohash.
    pub(super) fn load_metadata(&mut self, session: &mut Session, key: InfoHash) {
        self.life.enter(Phase::Loading);
        let name = StateName::Metadata(key);
        self.disk(session, TorrentOp::LoadMetadata(key), DiskRequest::Load { name });
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
        if let Some(other) =
            self.identity.infohashes().short().skip_while(|other| *other != key).nth(1)
            && data.is_empty()
        {
            // It was added by its other infohash alone.
            return self.load_metadata(session, other);
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
            self.save_metadata(session, infohashes, link);
        }
        if !self.life.is_paused() {
            self.open_for_peers(session);
        }
    }

    /// Keeps what is known of it under each of its infohashes: a link to it that is added later may name only one.
    pub(super) fn save_metadata(&mut self, session: &mut Session, names: InfoHashes, data: Bytes) {
        for infohash in names.short() {
            let (name, data) = (StateName::Metadata(infohash), data.clone());
            self.disk(session, TorrentOp::SaveMetadata, DiskRequest::Save { name, data });
        }
    }

    // Peers are asked.

    /// A peer says how long the metadata is.
    pub(super) fn metadata_offered(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        size: Option<u32>,
    ) {
        let (Some(fetch), Some(peer)) = (&mut self.acquisition.fetch, self.swarm.peers.get(slot))
        else {
            return;
        };
        let Some(bytes) = size.filter(|_| peer.wire.extensions.get(Extension::Metadata).is_some())
        else {
            return;
        };
        if !fetch.offered(peer.wire.remote, bytes) {
            let limit = session.config.bounds.metadata_bytes;
            session.notify(self.id, TorrentNotice::MetadataTooLong { bytes, limit });
        }
        self.ask_peers(session);
    }

    /// Sends the requests for metadata, or for layers, that are due.
    pub(super) fn ask_peers(&mut self, session: &mut Session) {
        while let Some(fetch) = &mut self.acquisition.fetch
            && let Some((remote, piece)) = fetch.next_request(session.now)
        {
            let is_it = |peer: &Peer| peer.is_open() && peer.wire.remote == remote;
            let peer = self.swarm.peers.iter_mut().find(|(_, peer)| is_it(peer));
            match peer {
                Some((_, peer)) => {
                    serve::send(peer, &MetadataMessage::Request { piece });
                    session.transport().ask_send(peer.wire.conn);
                }
                None => fetch.remove(remote),
            }
        }
        while let (Some(layers), Some(content)) = (&mut self.acquisition.layers, &self.content)
            && let Some((slot, request)) = layers.next_request(session.now, &content.metainfo)
        {
            match self.swarm.peers.get_mut(slot).filter(|peer| peer.is_open()) {
                Some(peer) => {
                    peer.send(Message::HashRequest(request));
                    session.transport().ask_send(peer.wire.conn);
                }
                None => layers.remove_source(slot),
            }
        }
    }

    /// Peers are late with metadata or with layers, or something else is due with these.
    pub(super) fn poll_acquisition(&mut self, session: &mut Session) {
        match self.acquisition.poll(session.now) {
            Due::GaveUp => return self.metadata_done(session),
            Due::Keep => self.keep_layers(session),
            Due::Nothing => {}
        }
        self.ask_peers(session);
    }

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
                if let (Some(fetch), Some(peer)) =
                    (&mut self.acquisition.fetch, self.swarm.peers.get(slot))
                {
                    fetch.rejected(session.now, peer.wire.remote, piece);
                    self.ask_peers(session);
                }
            }
            MetadataMessage::Data { piece, total_size, data } => {
                return self.metadata_received(session, slot, piece, total_size, &data);
            }
            MetadataMessage::Unknown => {}
        }
        Ok(())
    }

    fn metadata_received(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        piece: u32,
        total_size: Option<u32>,
        data: &[u8],
    ) -> Result<(), Violation> {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        let received = match &mut self.acquisition.fetch {
            Some(fetch) => fetch.received(session.now, peer.wire.remote, piece, total_size, data),
            // It crossed the end of the fetch, or was never asked for.
            None => Received::Unasked,
        };
        match received {
            Received::Accepted => peer.wire.useful_at = session.now,
            Received::Failed(None) => {}
            Received::Unasked => {
                peer.download.unasked_bytes += data.len() as u64;
                if self.swarm.wastes_too_much(slot) {
                    return Err(Violation::Flood { id: id::EXTENDED });
                }
            }
            Received::Failed(Some(liar)) => self.ban(session, liar, BanReason::WrongData),
            Received::Complete(info) => {
                match self.acquisition.complete(info, self.identity.primary()) {
                    Ok(metainfo) => {
                        let infohashes = InfoHashes::of(&metainfo);
                        self.save_metadata(session, infohashes, metainfo.to_bytes());
                        self.learn(session, metainfo);
                    }
                    Err(why) => self.metadata_unusable(session, why),
                }
                return Ok(());
            }
            Received::TwoTorrents => {
                self.metadata_unusable(session, TWO_TORRENTS.to_owned());
                return Ok(());
            }
        }
        self.ask_peers(session);
        Ok(())
    }

    // It is known.

    /// Nothing can be done with what the link describes: every peer would give the same.
    pub(super) fn metadata_unusable(&mut self, session: &mut Session, why: String) {
        self.acquisition.stop();
        session.notify(self.id, TorrentNotice::MetadataUnusable { why });
        self.pause(session);
    }

    /// Another torrent of the session turned out to be the same hybrid: they must not both write to
    /// its files.
    pub(crate) fn yield_to_duplicate(&mut self, session: &mut Session) {
        self.identity.yield_to_other();
        self.withdraw_claims(session);
        self.metadata_unusable(session, DUPLICATE.to_owned());
    }

    /// What the torrent is is known: everything else begins.
    fn learn(&mut self, session: &mut Session, metainfo: Metainfo) {
        if !self.has_chosen_files(session, &metainfo) {
            return;
        }
        self.adopt(Arc::new(metainfo));
        if self.acquisition.layers.as_ref().is_some_and(|layers| layers.is_complete()) {
            self.layers_complete(session);
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
            return self.metadata_done(session);
        }
        self.meet_peers_again(session);
        if !self.life.is_paused() {
            self.open_for_peers(session);
        }
        if let (Some(layers), Some(content)) = (&mut self.acquisition.layers, &self.content) {
            layers.wait(session.now, &content.metainfo);
        }
        self.poll_acquisition(session);
    }

    /// No more than the metadata was wanted, and it is here, with as much of its layers as there is.
    pub(super) fn metadata_done(&mut self, session: &mut Session) {
        self.acquisition.metadata_done();
        if let Some(metainfo) = self.metainfo() {
            session.notify(self.id, metadata::received(metainfo));
        }
        self.pause(session);
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

    /// A peer may know hashes, if the connection is of v2 and it knows what the torrent is.
    pub(super) fn layers_offered(&mut self, session: &mut Session, slot: PeerSlot) {
        let (Some(layers), Some(peer)) = (&mut self.acquisition.layers, self.swarm.peers.get(slot))
        else {
            return;
        };
        let has_some = peer.gossip.has_metadata || !peer.download.has.is_none();
        if peer.is_open() && peer.wire.of_v2 && has_some {
            layers.add_source(session.now, slot);
            self.ask_peers(session);
        }
    }

    /// Has what was learnt kept for the next session, if there is anything new.
    pub(super) fn keep_layers(&mut self, session: &mut Session) {
        let (Some(layers), Some(content)) = (&mut self.acquisition.layers, &self.content) else {
            return;
        };
        if let Some(data) = layers.take_news(&content.metainfo) {
            self.save_metadata(session, self.identity.infohashes(), data);
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
                    self.layers_complete(session);
                }
                self.check_late(session);
                self.fill_pipelines(session, None);
            }
        }
        self.ask_peers(session);
        true
    }

    /// Every layer is known: the metainfo is whole, and kept so.
    fn layers_complete(&mut self, session: &mut Session) {
        let Some(content) = &mut self.content else { return };
        let Some(whole) = self.acquisition.complete_layers(&content.metainfo) else { return };
        let bytes = whole.to_bytes();
        content.metainfo = Arc::new(whole);
        self.upload.drop_trees();
        self.save_metadata(session, self.identity.infohashes(), bytes);
        if self.acquisition.is_metadata_only() && self.life.phase() == Phase::Metadata {
            self.metadata_done(session);
        }
    }

    /// Hashes pieces whose hashes came late.
    pub(super) fn check_late(&mut self, session: &mut Session) {
        while self.life.is_running()
            && let Some(piece) = self.acquisition.late.get_mut().and_then(LateChecks::start_next)
        {
            self.verify_piece(session, piece, TorrentOp::CheckLate(piece));
        }
    }
}
