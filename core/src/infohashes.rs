//! The infohashes of one torrent: that of v1, that of v2, or, of a hybrid, both (BEP 52).
//!
//! Handshakes, trackers, the DHT and local discovery have room for 20 bytes: there the infohash of
//! v2 is truncated. A magnet link may know only one of a hybrid's two.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::metainfo::{Magnet, Metainfo};
use crate::piece::{InfoHash, InfoHashV2};

/// The infohashes of a torrent, as far as they are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InfoHashes {
    /// The SHA-1 of the info dictionary, if it is one of v1 or a hybrid.
    pub v1: Option<InfoHash>,
    /// The SHA2-256 of the info dictionary, if it is one of v2 or a hybrid.
    pub v2: Option<InfoHashV2>,
}

/// How an info dictionary answers to infohashes that are known beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// It has all of them.
    All,
    /// It has one of two: they are of two torrents.
    One,
    /// It has none.
    Nothing,
}

impl InfoHashes {
    /// Those of a torrent that is known.
    pub fn of(metainfo: &Metainfo) -> Self {
        InfoHashes { v1: metainfo.infohash_v1(), v2: metainfo.infohash_v2() }
    }

    /// Those that a magnet link names.
    pub fn named_by(magnet: &Magnet) -> Self {
        let v1 = (!magnet.is_v2_only()).then_some(magnet.infohash);
        InfoHashes { v1, v2: magnet.v2 }
    }

    /// That of v2, truncated.
    pub fn v2_short(&self) -> Option<InfoHash> {
        self.v2.map(|v2| v2.truncated())
    }

    /// Both in their short form, that of v1 first.
    pub fn short(&self) -> impl Iterator<Item = InfoHash> + use<> {
        self.v1.into_iter().chain(self.v2_short())
    }

    /// Whether `other` has all that is known here.
    pub fn are_of(&self, other: &InfoHashes) -> bool {
        (self.v1.is_none() || self.v1 == other.v1) && (self.v2.is_none() || self.v2 == other.v2)
    }
}

/// Takes the bytes of an info dictionary and tells whether it has the infohashes that it should.
#[derive(Clone, Debug)]
pub struct InfoHasher {
    v1: Option<(InfoHash, Sha1)>,
    v2: Option<(InfoHashV2, Sha256)>,
}

impl InfoHasher {
    /// For a dictionary that is to have these infohashes.
    pub fn new(expected: &InfoHashes) -> Self {
        InfoHasher {
            v1: expected.v1.map(|hash| (hash, Sha1::new())),
            v2: expected.v2.map(|hash| (hash, Sha256::new())),
        }
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some((_, sha1)) = &mut self.v1 {
            sha1.update(bytes);
        }
        if let Some((_, sha256)) = &mut self.v2 {
            sha256.update(bytes);
        }
    }

    /// Whether it was the dictionary.
    pub fn finish(self) -> Match {
        let v1 = self.v1.map(|(hash, sha1)| hash.0 == <[u8; 20]>::from(sha1.finalize()));
        let v2 = self.v2.map(|(hash, sha256)| hash.0 == <[u8; 32]>::from(sha256.finalize()));
        match (v1, v2) {
            (Some(true), Some(true)) | (Some(true), None) | (None, Some(true)) => Match::All,
            (Some(true), Some(false)) | (Some(false), Some(true)) => Match::One,
            _ => Match::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"d4:name1:xe";

    fn hashes() -> InfoHashes {
        InfoHashes {
            v1: Some(InfoHash(Sha1::digest(INFO).into())),
            v2: Some(InfoHashV2(Sha256::digest(INFO).into())),
        }
    }

    fn told(expected: InfoHashes) -> Match {
        let mut hasher = InfoHasher::new(&expected);
        INFO.chunks(4).for_each(|part| hasher.update(part));
        hasher.finish()
    }

    #[test]
    fn an_info_dictionary_must_have_every_hash_that_is_known() {
        let (v1, v2) = (hashes().v1, hashes().v2);
        let (other_v1, other_v2) = (Some(InfoHash([1; 20])), Some(InfoHashV2([1; 32])));
        let told = |v1, v2| told(InfoHashes { v1, v2 });
        assert_eq!([told(v1, v2), told(v1, None), told(None, v2)], [Match::All; 3]);
        assert_eq!([told(v1, other_v2), told(other_v1, v2)], [Match::One; 2]);
        assert_eq!([told(other_v1, other_v2), told(None, other_v2)], [Match::Nothing; 2]);
        assert_eq!(told(None, None), Match::Nothing);
    }

    #[test]
    fn a_torrent_is_recognised_by_what_is_known_of_it() {
        let all = hashes();
        let v1_only = InfoHashes { v2: None, ..all };
        let v2_only = InfoHashes { v1: None, ..all };
        assert!(all.are_of(&all) && v1_only.are_of(&all) && v2_only.are_of(&all));
        assert!(!all.are_of(&v1_only) && !v1_only.are_of(&v2_only));
        assert_eq!(all.short().count(), 2);
        assert_eq!(v2_only.short().next(), v2_only.v2_short());
    }
}
