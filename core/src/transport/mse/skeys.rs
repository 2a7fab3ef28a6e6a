//! Which torrent a peer means: it names it by a hash of its infohash, so one look-up tells.

use sha1::{Digest, Sha1};

use crate::map::{HashKeys, Map};
use crate::piece::InfoHash;

/// The infohashes that peers may name, by what they are named by.
#[derive(Clone, Debug)]
pub struct Skeys {
    by_hash: Map<[u8; 20], InfoHash>,
}

impl Skeys {
    /// None.
    pub fn new(hash_keys: HashKeys) -> Self {
        Skeys { by_hash: Map::with_hasher(hash_keys) }
    }

    /// An infohash (of v2: cut short) may be named from now on.
    pub fn insert(&mut self, infohash: InfoHash) {
        self.by_hash.insert(hash(infohash), infohash);
    }

    /// It may not any more.
    pub fn remove(&mut self, infohash: InfoHash) {
        self.by_hash.remove(&hash(infohash));
    }

    /// The infohash that has this hash.
    pub(super) fn get(&self, hash: &[u8; 20]) -> Option<InfoHash> {
        self.by_hash.get(hash).copied()
    }
}

/// What an infohash is named by: `HASH("req2", SKEY)`.
pub(super) fn hash(infohash: InfoHash) -> [u8; 20] {
    Sha1::new().chain_update(b"req2").chain_update(infohash.0).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SecretRng;

    #[test]
    fn an_infohash_is_found_by_its_hash_until_it_is_removed() {
        let mut skeys = Skeys::new(HashKeys::draw(&mut SecretRng::from_seed([1; 32])));
        let (one, other) = (InfoHash([1; 20]), InfoHash([2; 20]));
        skeys.insert(one);
        assert_eq!(skeys.get(&hash(one)), Some(one));
        assert_eq!(skeys.get(&hash(other)), None);
        assert_eq!(skeys.get(&one.0), None, "the infohash itself is not said");
        skeys.remove(one);
        assert_eq!(skeys.get(&hash(one)), None);
    }
}
