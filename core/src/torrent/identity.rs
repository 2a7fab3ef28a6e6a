//! By which infohashes a torrent is known, and whether it is one that the session has already.
//!
//! A hybrid has two infohashes (BEP 52); of a magnet link perhaps only one of them is known, or there
//! are two that belong to two torrents. What the metadata says is final.

use crate::infohashes::InfoHashes;
use crate::metainfo::Metainfo;
use crate::piece::InfoHash;
use crate::torrent::TorrentSource;
use crate::wire::handshake::Handshake;

/// The infohashes of one torrent.
#[derive(Debug)]
pub(super) struct Identity {
    /// The one that it was added by; one of `infohashes`, cut short.
    primary: InfoHash,
    infohashes: InfoHashes,
    /// Whether there is another one since a moment ago.
    is_newly_hybrid: bool,
    /// Whether a peer that we dialled answered with an infohash that is none of these.
    v2_unconfirmed: bool,
    /// Whether the session has it twice, and what is kept of it is the other's.
    is_duplicate: bool,
}

impl Identity {
    /// What `source` says of it.
    pub(super) fn of(source: &TorrentSource) -> Self {
        let mut identity = Identity {
            primary: source.infohash(),
            infohashes: source.infohashes(),
            is_newly_hybrid: false,
            v2_unconfirmed: false,
            is_duplicate: false,
        };
        identity.is_newly_hybrid = identity.other().is_some();
        identity
    }

    /// The one that it was added by.
    pub(super) fn primary(&self) -> InfoHash {
        self.primary
    }

    /// All that are known.
    pub(super) fn infohashes(&self) -> InfoHashes {
        self.infohashes
    }

    /// The other infohash of a hybrid, as far as it is known.
    pub(super) fn other(&self) -> Option<InfoHash> {
        self.infohashes.short().find(|infohash| *infohash != self.primary)
    }

    /// The other infohash, once: when it has become known.
    pub(super) fn take_news(&mut self) -> Option<InfoHash> {
        if std::mem::take(&mut self.is_newly_hybrid) { self.other() } else { None }
    }

    /// Whether the other infohash has become known and is not taken yet.
    pub(super) fn has_news(&self) -> bool {
        self.is_newly_hybrid
    }

    /// Under which infohash its resume data is kept: that of v1, if it has one. Once it is known what
    /// it is, that does not depend on how it was added.
    pub(super) fn resume_key(&self) -> InfoHash {
        self.infohashes.short().next().unwrap_or(self.primary)
    }

    /// Its metadata is known: these are its infohashes.
    pub(super) fn learn(&mut self, metainfo: &Metainfo) {
        let infohashes = InfoHashes::of(metainfo);
        self.is_newly_hybrid |= std::mem::replace(&mut self.infohashes, infohashes) != infohashes;
    }

    /// Whether an infohash, cut short, is one of its own.
    pub(super) fn matches(&self, infohash: InfoHash) -> bool {
        self.is_v2(infohash) || Some(infohash) == self.infohashes.v1
    }

    /// Whether an infohash is its own of v2, cut short.
    pub(super) fn is_v2(&self, infohash: InfoHash) -> bool {
        Some(infohash) == self.infohashes.v2_short()
    }

    /// Whether it has an infohash of v1 and one of v2.
    pub(super) fn is_hybrid(&self) -> bool {
        self.infohashes.v1.is_some() && self.infohashes.v2.is_some()
    }

    /// Whether a peer that has answered with this handshake knows the torrent by v2, too, and is connected by
    /// v1 (BEP 52, "upgrade path").
    pub(super) fn could_upgrade(&self, theirs: &Handshake) -> bool {
        self.is_hybrid() && theirs.reserved.v2() && !self.is_v2(theirs.infohash)
    }

    /// With which infohash a peer is greeted, which is known to be in the swarm of v2 or not.
    pub(super) fn for_handshake(&self, by_v2: bool) -> InfoHash {
        let (v1, v2) = (self.infohashes.v1, self.infohashes.v2_short());
        let first = if self.is_hybrid() && by_v2 { v2 } else { v1 };
        first.or(v2).unwrap_or(self.primary)
    }

    /// Whether peers are told that we know v2 as well; `is_known`: its metadata is. A link whose two
    /// infohashes are perhaps of two torrents is one of v1 to peers until then.
    pub(super) fn offers_v2(&self, is_known: bool) -> bool {
        self.is_hybrid() && (is_known || !self.v2_unconfirmed)
    }

    /// A peer that we dialled answered with an infohash that is none of these: perhaps the link has
    /// those of two torrents.
    pub(super) fn answered_by_another(&mut self) {
        self.v2_unconfirmed = true;
    }

    /// Whether the session has it under another id, which writes and saves.
    pub(super) fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }

    /// The session has it under another id.
    pub(super) fn yield_to_other(&mut self) {
        self.is_duplicate = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::create::{Creator, Protocol};
    use crate::metainfo::{Magnet, PathRules};

    fn hybrid() -> Metainfo {
        let torrent = Creator::single_file("name", 20_000).with_protocol(Protocol::Hybrid);
        let made = torrent.finish_with_content(&[7; 20_000]).expect("valid");
        Metainfo::from_bytes(made.to_bytes(), PathRules::HOST).expect("valid")
    }

    fn of_v1() -> Identity {
        let v1 = hybrid().infohash_v1().expect("hybrid");
        Identity::of(&TorrentSource::Magnet(Box::new(Magnet::new(v1))))
    }

    #[test]
    fn the_second_infohash_is_news_once_whether_it_is_known_from_the_start_or_learnt() {
        let known = hybrid();
        let mut at_once = Identity::of(&TorrentSource::from(known.clone()));
        assert_eq!(at_once.take_news(), at_once.other());
        assert!(at_once.other().is_some() && at_once.take_news().is_none());

        let mut later = of_v1();
        assert!(!later.has_news() && later.take_news().is_none() && !later.is_hybrid());
        later.learn(&known);
        assert!(later.has_news() && later.is_hybrid());
        assert_eq!(later.take_news(), known.infohash_v2().map(|v2| v2.truncated()));
        later.learn(&known);
        assert!(!later.has_news(), "what was known already is no news");
    }

    #[test]
    fn a_hybrid_answers_to_both_and_is_kept_under_that_of_v1() {
        let known = hybrid();
        let (v1, v2) = (known.infohash_v1(), known.infohash_v2().map(|v2| v2.truncated()));
        let (Some(v1), Some(v2)) = (v1, v2) else { panic!("a hybrid has both") };
        let mut added_by_v2 = Identity { primary: v2, ..of_v1() };
        added_by_v2.learn(&known);
        assert_eq!((added_by_v2.primary(), added_by_v2.other()), (v2, Some(v1)));
        assert_eq!(added_by_v2.resume_key(), v1);
        assert!(added_by_v2.matches(v1) && added_by_v2.matches(v2));
        assert!(!added_by_v2.matches(InfoHash([9; 20])));
        assert_eq!([true, false].map(|by_v2| added_by_v2.for_handshake(by_v2)), [v2, v1]);
        assert_eq!(of_v1().for_handshake(true), v1, "of one alone there is no choice");
    }

    #[test]
    fn after_an_answer_of_another_torrent_v2_is_not_offered_until_the_metadata_is_known() {
        let mut identity = Identity::of(&TorrentSource::from(hybrid()));
        assert!(identity.offers_v2(false));
        identity.answered_by_another();
        assert!(!identity.offers_v2(false) && identity.offers_v2(true));
        assert!(!of_v1().offers_v2(true));
    }
}
