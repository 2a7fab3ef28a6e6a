//! From a magnet link to what the torrent is: the metadata is asked of peers, verified, kept over a
//! restart; and then the piece layers of v2 that metadata from peers lacks.
//!
//! | file | what is decided there |
//! |---|---|
//! | `layer_fetch` | whom to ask for which piece layers |
//! | `layers` | when they are kept and given up, and which pieces wait for them |
//! | `saved_metadata` | the form in which both are kept |
//! | `serve` | metadata for peers that ask |
//!
//! Whom to ask for metadata, and whom to believe, [`MetadataFetch`] decides. `torrent/learning.rs`
//! translates between these, the peers and the rest of the torrent.

pub mod layer_fetch;
pub(super) mod layers;
mod saved_metadata;
pub(super) mod serve;

use std::mem;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::bitfield::Bitfield;
use crate::disk::{DiskRequest, StateName};
use crate::extension::metadata::{MetadataFetch, Received};
use crate::infohashes::InfoHashes;
use crate::metainfo::{FileRanges, Magnet, Metainfo, PathRules};
use crate::notice::TorrentNotice;
use crate::peer::PeerSlot;
use crate::piece::{InfoHash, PieceIndex};
use crate::piece_hash::PieceHash;
use crate::session::op::TorrentOp;
use crate::time::Instant;
use crate::torrent::content::Content;
use crate::torrent::lazy::Lazy;
use crate::torrent::lifecycle::Phase;
use crate::torrent::metadata::layers::{LateChecks, Layers};
use crate::torrent::step::{MetadataStep, Step};
use crate::wire::HashRequest;

/// What is said of a link whose two infohashes no torrent has.
const TWO_TORRENTS: &str =
    "its btih and its btmh are of two torrents; use a link with only one of them";

/// What is known of a torrent before all of it is, and how the rest is learnt.
#[derive(Debug)]
pub(super) struct Acquisition {
    /// Where to learn what it is.
    magnet: Option<Box<Magnet>>,
    /// While peers are asked what it is.
    pub(super) fetch: Option<Box<MetadataFetch>>,
    /// While piece layers of v2 are missing.
    pub(super) layers: Option<Box<Layers>>,
    /// What an earlier session knew of these layers, until it is looked at.
    kept_hashes: Bytes,
    /// The pieces that wait for their hashes.
    pub(super) late: Lazy<LateChecks>,
    metadata_only: bool,
}

/// What an earlier session has kept.
#[derive(Debug)]
pub(super) enum Recalled {
    /// All of it.
    Metainfo(Box<Metainfo>),
    /// A link, which may name other trackers and peers than ours.
    Link(Box<Magnet>),
    /// Nothing that is of use.
    Nothing,
}

/// What is requested of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// This piece of the metadata, of the peer at this address.
    Metadata(SocketAddr, u32),
    /// Hashes of a layer.
    Hashes(PeerSlot, HashRequest),
}

/// Of what use a piece of the metadata is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// It is kept.
    Some,
    /// It was not asked for.
    Unasked,
    /// It was the last, or wrong.
    None,
}

impl Acquisition {
    /// Of a torrent of which a magnet link is known, or all.
    pub(super) fn new(magnet: Option<Box<Magnet>>, metadata_only: bool) -> Self {
        Acquisition {
            magnet,
            fetch: None,
            layers: None,
            kept_hashes: Bytes::new(),
            late: Lazy::default(),
            metadata_only,
        }
    }

    /// The link that it was added by.
    pub(super) fn magnet(&self) -> Option<&Magnet> {
        self.magnet.as_deref()
    }

    /// The files that this link chooses.
    pub(super) fn chosen_by_link(&self) -> Option<&FileRanges> {
        self.magnet.as_ref()?.select.as_ref()
    }

    /// Whether no more than the metadata is wanted.
    pub(super) fn is_metadata_only(&self) -> bool {
        self.metadata_only
    }

    /// No more than that was wanted, and it is here: if the torrent goes on, it is with all of it.
    pub(super) fn metadata_done(&mut self) {
        self.metadata_only = false;
    }

    /// Whether peers are asked what it is, or for the layers where no more than that is wanted.
    pub(super) fn asks_peers(&self) -> bool {
        self.fetch.is_some() || (self.metadata_only && self.layers.is_some())
    }

    /// When peers that are late are given up for a while, or asked again, or something else is due.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        let metadata = self.fetch.as_ref().and_then(|fetch| fetch.poll_timeout(now));
        let layers = self.layers.as_ref().and_then(|layers| layers.due_at(now));
        metadata.into_iter().chain(layers).min()
    }

    /// Some time has passed, or a peer has left: what is due.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Step> {
        if let Some(fetch) = &mut self.fetch {
            fetch.handle_timeout(now);
        }
        let due = self.layers.as_mut().map_or(vec![MetadataStep::Ask], |layers| layers.poll(now));
        due.into_iter().map(Step::Metadata).collect()
    }

    /// A connection ends, and with it its peer leaves, if `remote` names one: others are asked.
    pub(super) fn source_gone(&mut self, peer: PeerSlot, remote: Option<SocketAddr>) {
        if let (Some(fetch), Some(remote)) = (&mut self.fetch, remote) {
            fetch.remove(remote);
        }
        if let Some(layers) = &mut self.layers {
            layers.remove_source(peer);
        }
    }

    /// What an earlier session has kept of the torrent that has these infohashes.
    pub(super) fn recall(&mut self, kept: Bytes, infohashes: &InfoHashes) -> Recalled {
        let (data, hashes) = saved_metadata::parts(kept);
        let known = Metainfo::from_kept(data.clone(), PathRules::HOST).ok();
        if let Some(metainfo) = known.filter(|known| infohashes.are_of(&InfoHashes::of(known))) {
            self.kept_hashes = hashes;
            return Recalled::Metainfo(Box::new(metainfo));
        }
        let link = std::str::from_utf8(&data).ok().and_then(|text| text.parse::<Magnet>().ok());
        match link.filter(|link| infohashes.are_of(&InfoHashes::named_by(link))) {
            Some(link) => Recalled::Link(Box::new(link)),
            None => Recalled::Nothing,
        }
    }

    /// Peers are asked from now on what it is. The link, to be kept until that is known.
    pub(super) fn begin(&mut self, infohashes: InfoHashes, limit: u32) -> Option<Bytes> {
        self.fetch = Some(Box::new(MetadataFetch::new(infohashes, limit)));
        self.magnet.as_ref().map(|magnet| magnet.to_string().into())
    }

    /// A peer says how long the metadata is. `is_too_long`: whether it has said too much before, which is shown
    /// once.
    pub(super) fn offered(
        &mut self,
        remote: SocketAddr,
        bytes: u32,
        limit: u32,
        is_too_long: &mut bool,
    ) -> Vec<Step> {
        let Some(fetch) = &mut self.fetch else { return Vec::new() };
        if fetch.is_offered(remote, bytes) {
            // Repeated: nothing follows.
            return Vec::new();
        }
        let was_source = fetch.is_source(remote);
        let is_source = fetch.offered(remote, bytes);
        let is_news = !is_source && !mem::replace(is_too_long, true);
        let notice = TorrentNotice::MetadataTooLong { bytes, limit };
        let notify = is_news.then_some(Step::Notify(notice));
        // What a source owed that is none any more is asked of others.
        let asks = is_source || was_source || is_news;
        let ask = asks.then_some(Step::Metadata(MetadataStep::Ask));
        notify.into_iter().chain(ask).collect()
    }

    /// A peer may know hashes.
    pub(super) fn layers_offered(&mut self, now: Instant, slot: PeerSlot) -> Option<Step> {
        let is_new = self.layers.as_mut()?.add_source(now, slot);
        is_new.then_some(Step::Metadata(MetadataStep::Ask))
    }

    /// Requests what is due. `send` says whether the peer is there.
    pub(super) fn request(
        &mut self,
        now: Instant,
        metainfo: Option<&Metainfo>,
        mut send: impl FnMut(Wanted) -> bool,
    ) {
        while let Some(fetch) = &mut self.fetch
            && let Some((remote, piece)) = fetch.next_request(now)
        {
            if !send(Wanted::Metadata(remote, piece)) {
                fetch.remove(remote);
            }
        }
        while let (Some(layers), Some(metainfo)) = (&mut self.layers, metainfo)
            && let Some((slot, request)) = layers.next_request(now, metainfo)
        {
            if !send(Wanted::Hashes(slot, request)) {
                layers.remove_source(slot);
            }
        }
    }

    /// A peer does not send a piece of the metadata.
    pub(super) fn rejected(&mut self, now: Instant, peer: SocketAddr, piece: u32) -> Option<Step> {
        let owed = self.fetch.as_mut()?.rejected(now, peer, piece);
        owed.then_some(Step::Metadata(MetadataStep::Ask))
    }

    /// A peer sent a piece of the metadata: of what use it is, and what follows.
    pub(super) fn received(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        (piece, total_size, data): (u32, Option<u32>, &[u8]),
        primary: InfoHash,
    ) -> (Use, Vec<Step>) {
        let ask = Step::Metadata(MetadataStep::Ask);
        let unusable = |why| vec![Step::Metadata(MetadataStep::Unusable(why))];
        let received = match &mut self.fetch {
            Some(fetch) => fetch.received(now, peer, piece, total_size, data),
            // It crossed the end of the fetch, or was never asked for.
            None => Received::Unasked,
        };
        match received {
            Received::Accepted => (Use::Some, vec![ask]),
            // Nothing follows, however much of it comes.
            Received::Unasked => (Use::Unasked, Vec::new()),
            Received::Failed(liar) => {
                (Use::None, liar.map(Step::Ban).into_iter().chain([ask]).collect())
            }
            Received::Complete(info) => match self.complete(info, primary) {
                Ok(metainfo) => {
                    let mut steps = save(InfoHashes::of(&metainfo), &metainfo.to_bytes());
                    steps.push(Step::Metadata(MetadataStep::Learn(Box::new(metainfo))));
                    (Use::None, steps)
                }
                Err(why) => (Use::None, unusable(why)),
            },
            Received::TwoTorrents => (Use::None, unusable(TWO_TORRENTS.to_owned())),
        }
    }

    /// What was learnt of the layers is kept for the next session, if there is anything new.
    pub(super) fn keep_layers(&mut self, metainfo: &Metainfo, infohashes: InfoHashes) -> Vec<Step> {
        let news = self.layers.as_mut().and_then(|layers| layers.take_news(metainfo));
        news.map_or_else(Vec::new, |data| save(infohashes, &data))
    }

    /// Peers are not asked any more.
    pub(super) fn stop(&mut self) {
        self.fetch = None;
    }

    /// The metadata is complete and has its infohash. Why nothing can be done with it, if so: every peer
    /// would give the same.
    pub(super) fn complete(&mut self, info: Bytes, primary: InfoHash) -> Result<Metainfo, String> {
        self.fetch = None;
        let by_hash;
        let magnet = match &self.magnet {
            Some(magnet) => magnet,
            None => {
                by_hash = Box::new(Magnet::new(primary));
                &by_hash
            }
        };
        Metainfo::from_info(info, magnet).map_err(|error| error.to_string())
    }

    /// It is known what the torrent is: looks for the layers that are missing. The pieces that cannot be
    /// fetched without them.
    pub(super) fn find_layers(&mut self, content: &Content) -> Vec<PieceIndex> {
        let kept = std::mem::take(&mut self.kept_hashes);
        let Some(layers) = Layers::missing(content, &kept) else { return Vec::new() };
        self.layers = Some(Box::new(layers));
        let lacks_hash = |piece: &PieceIndex| self.piece_hash(&content.metainfo, *piece).is_none();
        content.geometry().iter().filter(lacks_hash).collect()
    }

    /// What a piece must hash to, as far as that is known.
    pub(super) fn piece_hash(&self, metainfo: &Metainfo, piece: PieceIndex) -> Option<PieceHash> {
        let layers = self.layers.as_ref();
        let node = layers.and_then(|layers| layers.piece_hash(metainfo, piece));
        metainfo.expected_hash_with(piece, node)
    }

    /// Leaves those pieces out of a check that have no hash yet, and says which they are: they are hashed
    /// when it is known.
    pub(super) fn leave_out(
        &mut self,
        metainfo: &Metainfo,
        check: &mut Bitfield,
    ) -> Vec<PieceIndex> {
        if self.layers.is_none() {
            return Vec::new();
        }
        let lacks_hash = |piece: &PieceIndex| self.piece_hash(metainfo, *piece).is_none();
        let pieces: Vec<PieceIndex> = check.iter().filter(lacks_hash).collect();
        for piece in &pieces {
            check.clear(*piece);
            self.late.make().add(*piece);
        }
        pieces
    }

    /// The hash of a piece is known; whether the piece may be on disk, and is to be hashed first.
    pub(super) fn hash_learnt(&mut self, piece: PieceIndex) -> bool {
        self.late.get_mut().is_some_and(|late| late.hash_learnt(piece))
    }

    /// The metainfo with all of its layers, once they are known; they are not asked for any more.
    pub(super) fn complete_layers(&mut self, metainfo: &Metainfo) -> Option<Metainfo> {
        let whole = self.layers.as_ref()?.whole(metainfo)?;
        self.layers = None;
        Some(whole)
    }
}

/// Looks whether an earlier session has learnt the metadata, and kept it under this infohash.
pub(super) fn load(key: InfoHash) -> [Step; 2] {
    let load = DiskRequest::Load { name: StateName::Metadata(key) };
    [Step::Enter(Phase::Loading), Step::Disk(TorrentOp::LoadMetadata(key), load)]
}

/// Keeps what is known of a torrent under each of its infohashes: a link to it that is added later may name
/// only one.
pub(super) fn save(infohashes: InfoHashes, data: &Bytes) -> Vec<Step> {
    let save = |infohash| {
        let name = StateName::Metadata(infohash);
        let request = DiskRequest::Save { name, data: data.clone() };
        Step::Disk(TorrentOp::SaveMetadata, request)
    };
    infohashes.short().map(save).collect()
}

/// What is said of a torrent when it is known what it is.
pub(super) fn received(metainfo: &Metainfo) -> TorrentNotice {
    TorrentNotice::MetadataReceived {
        name: metainfo.name().to_owned(),
        total_bytes: metainfo.geometry().data_len(),
        pieces: metainfo.geometry().pieces(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::create::{Creator, Protocol};
    use crate::torrent::content::Choices;
    use crate::torrent::{AddTorrent, TorrentSource};

    fn of_v2() -> Metainfo {
        let torrent = Creator::single_file("name", 100_000).with_protocol(Protocol::V2);
        torrent.finish_with_content(&[7; 100_000]).expect("valid")
    }

    fn link(metainfo: &Metainfo) -> Magnet {
        let v2 = metainfo.infohash_v2().map(|v2| v2.to_string()).expect("of v2");
        format!("magnet:?xt=urn:btmh:1220{v2}&so=0&dn=shown").parse().expect("valid")
    }

    fn of_link(metainfo: &Metainfo) -> Acquisition {
        Acquisition::new(Some(Box::new(link(metainfo))), false)
    }

    #[test]
    fn what_was_kept_is_used_if_it_is_this_torrents() {
        let metainfo = of_v2();
        let infohashes = InfoHashes::of(&metainfo);
        let other = InfoHashes { v1: Some(InfoHash([1; 20])), v2: None };
        let mut acquisition = of_link(&metainfo);
        let kept = metainfo.to_bytes();
        let recalled = acquisition.recall(kept.clone(), &infohashes);
        assert!(matches!(recalled, Recalled::Metainfo(known) if known.name() == "name"));
        assert!(matches!(acquisition.recall(kept, &other), Recalled::Nothing));
        let text = Bytes::from(link(&metainfo).to_string());
        assert!(matches!(acquisition.recall(text.clone(), &infohashes), Recalled::Link(_)));
        assert!(matches!(acquisition.recall(text, &other), Recalled::Nothing));
        assert!(matches!(acquisition.recall(Bytes::new(), &infohashes), Recalled::Nothing));
    }

    #[test]
    fn peers_are_asked_until_the_metadata_is_here_and_the_link_is_kept_meanwhile() {
        let metainfo = of_v2();
        let mut acquisition = of_link(&metainfo);
        assert!(!acquisition.asks_peers());
        let kept = acquisition.begin(InfoHashes::of(&metainfo), 1 << 20).expect("there is a link");
        assert_eq!(kept, link(&metainfo).to_string());
        assert!(acquisition.asks_peers() && acquisition.chosen_by_link().is_some());
        let info = metainfo.info_bytes().clone();
        let learnt = acquisition.complete(info, metainfo.infohash()).expect("valid");
        assert_eq!(learnt.name(), "name");
        assert!(!acquisition.asks_peers());
        let unusable = acquisition.complete(Bytes::from_static(b"de"), metainfo.infohash());
        assert!(unusable.is_err(), "an empty dictionary is no torrent");
    }

    #[test]
    fn pieces_without_a_hash_wait_for_their_layer() {
        let known = of_v2();
        let mut acquisition = of_link(&known);
        let learnt = acquisition.complete(known.info_bytes().clone(), known.infohash());
        let mut add = AddTorrent::new(learnt.expect("valid"), "root");
        let TorrentSource::Metainfo(metainfo) = add.source.clone() else { panic!("a metainfo") };
        let choices = Choices::of(&mut add);
        let content = Content::new(metainfo, choices, None);
        let pieces = content.geometry().pieces();
        assert_eq!(acquisition.find_layers(&content).len(), pieces as usize);
        assert!(acquisition.piece_hash(&content.metainfo, PieceIndex(0)).is_none());
        assert!(acquisition.piece_hash(&known, PieceIndex(0)).is_some(), "it has its layers");
        assert!(acquisition.complete_layers(&content.metainfo).is_none(), "no hash is known");
        let mut only = Acquisition { metadata_only: true, ..acquisition };
        assert!(only.asks_peers(), "layers are part of the metadata");
        only.metadata_done();
        assert!(!only.asks_peers() && !only.is_metadata_only());
    }

    /// What is requested now, of peers that are all there.
    fn requests(acquisition: &mut Acquisition) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        acquisition.request(Instant::ZERO, None, |what| {
            wanted.push(what);
            true
        });
        wanted
    }

    #[test]
    fn metadata_that_a_peer_offers_is_requested_kept_and_learnt() {
        let metainfo = of_v2();
        let mut acquisition = of_link(&metainfo);
        acquisition.begin(InfoHashes::of(&metainfo), 1 << 20);
        let info = metainfo.info_bytes().clone();
        let len = info.len() as u32;
        let remote = SocketAddr::from(([50, 0, 0, 1], 6881));
        assert!(requests(&mut acquisition).is_empty(), "no peer has said that it has it");
        let mut offered = || acquisition.offered(remote, len, 1 << 20, &mut false);
        let steps = offered();
        assert!(matches!(steps[..], [Step::Metadata(MetadataStep::Ask)]), "{steps:?}");
        assert!(offered().is_empty(), "it is known");
        assert_eq!(requests(&mut acquisition), [Wanted::Metadata(remote, 0)]);
        let sent = (0, Some(len), &info[..]);
        let (is_of_use, steps) =
            acquisition.received(Instant::ZERO, remote, sent, metainfo.infohash());
        assert_eq!(is_of_use, Use::None);
        let [Step::Disk(TorrentOp::SaveMetadata, save), Step::Metadata(learn)] = &steps[..] else {
            panic!("{steps:?}");
        };
        let MetadataStep::Learn(learnt) = learn else { panic!("{learn:?}") };
        assert_eq!(learnt.name(), "name");
        let name = StateName::Metadata(metainfo.infohash());
        assert!(matches!(save, DiskRequest::Save { name: kept, .. } if *kept == name));
        let (is_of_use, _) = acquisition.received(Instant::ZERO, remote, sent, metainfo.infohash());
        assert_eq!(is_of_use, Use::Unasked, "it is known");
    }

    #[test]
    fn metadata_that_is_too_long_is_shown_and_of_a_peer_that_is_gone_none_is_requested() {
        let metainfo = of_v2();
        let mut acquisition = of_link(&metainfo);
        let remote = SocketAddr::from(([50, 0, 0, 1], 6881));
        let mut is_too_long = false;
        let mut offered = |acquisition: &mut Acquisition, len| {
            acquisition.offered(remote, len, 10, &mut is_too_long)
        };
        assert!(offered(&mut acquisition, 7).is_empty(), "none is looked for");
        acquisition.begin(InfoHashes::of(&metainfo), 10);
        let steps = offered(&mut acquisition, 11);
        let is_said = matches!(
            steps[..],
            [
                Step::Notify(TorrentNotice::MetadataTooLong { bytes: 11, limit: 10 }),
                Step::Metadata(MetadataStep::Ask)
            ]
        );
        assert!(is_said, "{steps:?}");
        assert!(offered(&mut acquisition, 12).is_empty(), "it is said once");
        assert_eq!(offered(&mut acquisition, 9).len(), 1);
        let steps = offered(&mut acquisition, 11);
        let asks = matches!(steps[..], [Step::Metadata(MetadataStep::Ask)]);
        assert!(asks, "others are asked for what it owed: {steps:?}");
        assert_eq!(offered(&mut acquisition, 9).len(), 1);
        let mut asked = 0;
        acquisition.request(Instant::ZERO, None, |_| {
            asked += 1;
            false
        });
        assert_eq!(asked, 1);
        assert!(requests(&mut acquisition).is_empty(), "it has no other source");
    }
}
