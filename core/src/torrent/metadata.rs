//! From a magnet link to a torrent: the metadata is asked of peers, verified, kept over a restart,
//! and then everything goes on as if it had been known, with the peers that are connected. And the
//! other way round: peers that ask for it get it.
//!
//! Whom to ask and believe is decided by [`MetadataFetch`].

use std::sync::Arc;

use bytes::Bytes;

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskError, DiskRequest, StateName};
use crate::extension::metadata::{
    METADATA_PIECE_LEN, MetadataFetch, MetadataMessage, Received, piece_len,
};
use crate::infohashes::InfoHashes;
use crate::metainfo::magnet::PeerAddress;
use crate::metainfo::{Magnet, Metainfo, PathRules};
use crate::notice::TorrentNotice;
use crate::peer::early::EarlyPieces;
use crate::peer::{Peer, PeerSlot};
use crate::piece::{InfoHash, PieceIndex};
use crate::segments::Segments;
use crate::session::Session;
use crate::session::bans::BanReason;
use crate::session::op::TorrentOp;
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::content::NothingChosen;
use crate::torrent::kept;
use crate::torrent::lifecycle::Phase;
use crate::torrent::peer_book::PeerSource;
use crate::tracker::NamedBy;
use crate::wire::extension::Extension;
use crate::wire::{Message, Violation};

/// Pieces found on disk up to which connected peers are told of each; with more they are connected
/// anew, since a bitfield may only be the first message (chosen: 9 KB of messages).
const HAVES_TOLD: u32 = 1000;
/// What is said of a link that leads to what is there already.
const TWINS: &str = "the session has this torrent already, under its other infohash";
/// What is said of a link whose two infohashes no torrent has.
const TWO_TORRENTS: &str =
    "its btih and its btmh are of two torrents; use a link with only one of them";

impl Torrent {
    // Before peers are asked.

    /// What a magnet link knows besides the hash: trackers and peers.
    pub(super) fn take_hints(&mut self, session: &mut Session, magnet: &Magnet) {
        let tiers: Vec<Vec<String>> = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
        self.announcer.add_trackers(&tiers, NamedBy::Torrent, session.now);
        for peer in &magnet.peers {
            match peer {
                PeerAddress::Ip(addr) => {
                    self.book.add(*addr, PeerSource::User, session.now);
                }
                PeerAddress::Name(host, port) => {
                    self.look_up_peer(
                        session,
                        PeerSource::User,
                        self.identity.primary(),
                        (host, *port),
                    );
                }
            }
        }
    }

    /// Begins by looking whether an earlier session has learnt the metadata.
    pub(super) fn find_metadata(&mut self, session: &mut Session) {
        self.life.enter(Phase::Loading);
        let first = self.identity.resume_key();
        self.load_metadata(session, first);
    }

    fn load_metadata(&mut self, session: &mut Session, key: InfoHash) {
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
        if let Some(other) = self.infohashes().skip_while(|other| *other != key).nth(1)
            && data.is_empty()
        {
            // It was added by its other infohash alone.
            return self.load_metadata(session, other);
        }
        let (data, hashes) = kept::parts(data);
        let known = Metainfo::from_kept(data.clone(), PathRules::HOST).ok();
        let is_it = |known: &Metainfo| self.identity.may_be(&InfoHashes::of(known));
        if let Some(metainfo) = known.filter(is_it) {
            self.announcer.add_trackers(metainfo.trackers(), NamedBy::Torrent, session.now);
            self.kept_hashes = hashes;
            return self.learn(session, metainfo);
        }
        let link = std::str::from_utf8(&data).ok().and_then(|text| text.parse::<Magnet>().ok());
        let is_it = |link: &Magnet| self.identity.may_be(&InfoHashes::named_by(link));
        if let Some(link) = link.filter(is_it) {
            self.take_hints(session, &link);
        }
        self.life.enter(Phase::Metadata);
        let limit = session.config.bounds.metadata_bytes;
        self.metadata = Some(Box::new(MetadataFetch::new(self.identity.infohashes(), limit)));
        if let Some(magnet) = &self.magnet {
            let text = magnet.to_string();
            self.save_metadata(session, self.identity.infohashes(), text.into());
        }
        if !self.life.is_paused() {
            self.open_for_peers(session);
        }
    }

    /// Keeps what is known of it under each of its infohashes: whoever adds it again may know only one.
    pub(super) fn save_metadata(&mut self, session: &mut Session, names: InfoHashes, data: Bytes) {
        for infohash in names.short() {
            let (name, data) = (StateName::Metadata(infohash), data.clone());
            self.disk(session, TorrentOp::SaveMetadata, DiskRequest::Save { name, data });
        }
    }

    /// What is known is saved. If not, it is asked for again after a restart, nothing worse.
    pub(super) fn metadata_saved(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if let Err(error) = result {
            session.notify(self.id, TorrentNotice::DiskFailed { error: *error });
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
        let (Some(fetch), Some(peer)) = (&mut self.metadata, self.peers.get(slot)) else { return };
        let Some(bytes) = size.filter(|_| peer.wire.extensions.get(Extension::Metadata).is_some())
        else {
            return;
        };
        if !fetch.offered(peer.wire.remote, bytes) {
            let limit = session.config.bounds.metadata_bytes;
            session.notify(self.id, TorrentNotice::MetadataTooLong { bytes, limit });
        }
        self.ask_for_metadata(session);
    }

    /// Sends the requests that are due.
    fn ask_for_metadata(&mut self, session: &mut Session) {
        while let Some(fetch) = &mut self.metadata
            && let Some((remote, piece)) = fetch.next_request(session.now)
        {
            let peer = self.peers.iter_mut().find(|(_, peer)| peer.wire.remote == remote);
            match peer {
                Some((_, peer)) if peer.is_open() => {
                    send_metadata(peer, &MetadataMessage::Request { piece });
                    session.ask_send(peer.wire.conn);
                }
                _ => fetch.remove(remote),
            }
        }
    }

    /// When peers that are late with metadata are given up for a while, or asked again.
    pub(super) fn metadata_due_at(&self, session: &Session) -> Option<Instant> {
        self.metadata.as_ref()?.poll_timeout(session.now)
    }

    pub(super) fn mind_metadata(&mut self, session: &mut Session) {
        if let Some(fetch) = &mut self.metadata {
            fetch.handle_timeout(session.now);
        }
        self.ask_for_metadata(session);
    }

    /// A peer leaves.
    pub(super) fn metadata_source_gone(&mut self, session: &mut Session, peer: &Peer) {
        if let Some(fetch) = &mut self.metadata {
            fetch.remove(peer.wire.remote);
            self.ask_for_metadata(session);
        }
    }

    /// A peer asks for metadata, sends some, or does not.
    pub(super) fn metadata_message(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        payload: &Bytes,
    ) -> Result<(), Violation> {
        match MetadataMessage::decode(payload)? {
            MetadataMessage::Request { piece } => self.metadata_requested(session, slot, piece),
            MetadataMessage::Reject { piece } => {
                if let (Some(fetch), Some(peer)) = (&mut self.metadata, self.peers.get(slot)) {
                    fetch.rejected(session.now, peer.wire.remote, piece);
                    self.ask_for_metadata(session);
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
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        let received = match &mut self.metadata {
            Some(fetch) => fetch.received(session.now, peer.wire.remote, piece, total_size, data),
            // It crossed the end of the fetch, or was never asked for.
            None => Received::Unasked,
        };
        match received {
            Received::Accepted | Received::Failed(None) => {}
            Received::Unasked => {
                peer.download.unasked_bytes += data.len() as u64;
                if self.wastes_too_much(slot) {
                    return Err(Violation::Flood { id: crate::wire::message::id::EXTENDED });
                }
            }
            Received::Failed(Some(liar)) => self.ban(session, liar, BanReason::WrongData),
            Received::Complete(info) => {
                self.metadata_complete(session, info);
                return Ok(());
            }
            Received::TwoTorrents => {
                self.metadata_unusable(session, TWO_TORRENTS.to_owned());
                return Ok(());
            }
        }
        self.ask_for_metadata(session);
        Ok(())
    }

    // It is known.

    fn metadata_complete(&mut self, session: &mut Session, info: Bytes) {
        self.metadata = None;
        let magnet =
            self.magnet.clone().unwrap_or_else(|| Magnet::new(self.identity.primary()).into());
        match Metainfo::from_info(info, &magnet) {
            Ok(metainfo) => {
                self.save_metadata(session, InfoHashes::of(&metainfo), metainfo.to_bytes());
                self.learn(session, metainfo);
            }
            Err(error) => self.metadata_unusable(session, error.to_string()),
        }
    }

    /// Nothing can be done with what the link describes: every peer would give the same.
    fn metadata_unusable(&mut self, session: &mut Session, why: String) {
        self.metadata = None;
        session.notify(self.id, TorrentNotice::MetadataUnusable { why });
        self.pause(session);
    }

    /// Another torrent of the session turned out to be the same hybrid: they must not both write to
    /// its files.
    pub(crate) fn yield_to_duplicate(&mut self, session: &mut Session) {
        self.identity.yield_to_other();
        self.withdraw_claims(session);
        self.metadata_unusable(session, TWINS.to_owned());
    }

    /// What the torrent is is known: everything else begins.
    fn learn(&mut self, session: &mut Session, metainfo: Metainfo) {
        if !self.has_chosen_files(session, &metainfo) {
            return;
        }
        self.adopt(Arc::new(metainfo));
        if self.recalls_all_layers() {
            self.layers_complete(session);
        }
        self.leave_discovered_peers(session);
        if !self.metadata_only {
            self.tell_metadata(session);
            self.meet_peers_again(session);
            return self.find_resume_data(session);
        }
        self.life.enter(Phase::Metadata);
        if self.layers.is_none() {
            return self.metadata_done(session);
        }
        self.meet_peers_again(session);
        if !self.life.is_paused() {
            self.open_for_peers(session);
        }
        self.wait_for_layers(session);
    }

    /// Tells what the torrent turned out to be.
    fn tell_metadata(&self, session: &mut Session) {
        let Some(metainfo) = self.metainfo() else { return };
        session.notify(
            self.id,
            TorrentNotice::MetadataReceived {
                name: metainfo.name().to_owned(),
                total_bytes: metainfo.geometry().data_len(),
                pieces: metainfo.geometry().pieces(),
            },
        );
    }

    /// No more than the metadata was wanted, and it is here, with as much of its layers as there is.
    pub(super) fn metadata_done(&mut self, session: &mut Session) {
        self.metadata_only = false;
        self.tell_metadata(session);
        self.pause(session);
    }

    /// The connected peers are told that we have the metadata, and what they said to have counts.
    fn meet_peers_again(&mut self, session: &mut Session) {
        let pieces = self.pieces();
        let slots: Vec<PeerSlot> = self.peers.keys().collect();
        for slot in slots {
            let Some(peer) = self.peers.get_mut(slot) else { continue };
            peer.wire.decoder.set_piece_count(Some(pieces));
            peer.download.has = Bitfield::new(pieces);
            peer.download.counted_as_seed = false;
            peer.download.allowed_to_us.retain(|piece| piece.0 < pieces);
            let nothing = EarlyPieces::new(session.config.bounds.metadata_bytes);
            let early = std::mem::replace(&mut peer.download.early, nothing);
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
                    self.tell_extensions(session, slot);
                }
                Err(violation) => self.violated(session, slot, violation),
            }
            self.flush_outbox(session, slot);
        }
    }

    /// The check is done: those who have waited for it are told what is here, and asked.
    pub(super) fn go_on_with_peers(&mut self, session: &mut Session) {
        if self.peers.is_empty() {
            return;
        }
        if self.download.picker.have().count() > HAVES_TOLD {
            return self.drop_all_peers(session);
        }
        let slots: Vec<PeerSlot> = self.peers.keys().collect();
        for slot in slots {
            let Some(peer) = self.peers.get_mut(slot) else { continue };
            if !peer.is_open() {
                continue;
            }
            let have = self.download.picker.have().iter();
            let news: Vec<PieceIndex> =
                have.filter(|piece| !peer.download.has.has(*piece)).collect();
            news.into_iter().for_each(|piece| peer.send(Message::Have(piece)));
            self.download.recount(slot.into(), &mut peer.download);
            self.mind_interest(slot);
            self.part_if_both_seed(session, slot);
            self.after_input(session, slot);
        }
        self.decide_chokes(session);
    }

    /// Whether the torrent has any of the files that are chosen. If not, it is left alone.
    fn has_chosen_files(&mut self, session: &mut Session, metainfo: &Metainfo) -> bool {
        let by_link = self.magnet.as_ref().and_then(|magnet| magnet.select.as_ref());
        let (false, Err(nothing)) = (self.metadata_only, self.choices.check(metainfo, by_link))
        else {
            return true;
        };
        let NothingChosen { selected, by_link } = nothing;
        let files = metainfo.file_count();
        self.metadata = None;
        self.life.enter(Phase::Metadata);
        session.notify(self.id, TorrentNotice::NothingSelected { selected, by_link, files });
        self.pause(session);
        false
    }

    // Peers ask us.

    fn metadata_requested(&mut self, session: &mut Session, slot: PeerSlot, piece: u32) {
        let len = self.metainfo().map_or(0, |metainfo| metainfo.info_bytes().len());
        let pieces = u32::try_from(len).unwrap_or(0).div_ceil(METADATA_PIECE_LEN);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.gossip.metadata_uploads.request(session.now, piece, pieces) {
            send_metadata(peer, &MetadataMessage::Reject { piece });
        }
        session.ask_send(peer.wire.conn);
    }
}

/// Hands out the metadata that a peer is to get, until `out` is `limit` bytes long; how many bytes.
pub(super) fn gather_metadata(
    peer: &mut Peer,
    metainfo: &Metainfo,
    limit: usize,
    out: &mut Segments,
) -> usize {
    let before = out.len();
    let Some(id) = peer.wire.extensions.get(Extension::Metadata) else { return 0 };
    let info = metainfo.info_bytes();
    let size = u32::try_from(info.len()).unwrap_or(u32::MAX);
    while out.len() < limit
        && let Some(piece) = peer.gossip.metadata_uploads.pop()
    {
        let Some(len) = piece_len(size, piece) else { continue };
        let start = (piece * METADATA_PIECE_LEN) as usize;
        let data = info.slice(start..start + len as usize);
        let message = MetadataMessage::Data { piece, total_size: Some(size), data };
        Message::Extended { id, payload: message.encode() }.encode(out);
    }
    out.len() - before
}

/// Queues a message, if the peer understands it.
fn send_metadata(peer: &mut Peer, message: &MetadataMessage) {
    if let Some(id) = peer.wire.extensions.get(Extension::Metadata) {
        peer.send(Message::Extended { id, payload: message.encode() });
    }
}
