//! Metadata that one address is given, however often it connects (defence 39): ten times all of it in a
//! minute.

use std::collections::{BTreeMap, VecDeque};

use bitswarm_core::time::{Duration, Instant};

/// How often an address may have all of it in a minute; twice in one that begins at any time.
const TIMES: u64 = 2 * 10;
const MINUTE: Duration = Duration::from_secs(60);
/// What a message has besides, and what was queued before a minute began (chosen).
const SLACK: u64 = 128 << 10;

/// What each of many was given in the last minute. `K` names them.
#[derive(Debug)]
pub struct Given<K> {
    /// Bytes of the metadata of all torrents.
    all: u64,
    by: BTreeMap<K, VecDeque<(Instant, u64)>>,
}

impl<K> Default for Given<K> {
    fn default() -> Self {
        Given { all: 0, by: BTreeMap::new() }
    }
}

impl<K: Ord> Given<K> {
    /// The engine has another torrent, with so many bytes of metadata.
    pub fn add_torrent(&mut self, bytes: usize) {
        self.all += bytes as u64;
    }

    /// So many bytes of metadata go to one.
    pub fn add(&mut self, now: Instant, to: K, bytes: u64) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        let latest = self.by.entry(to).or_default();
        while latest.front().is_some_and(|(at, _)| now - *at >= MINUTE) {
            latest.pop_front();
        }
        latest.push_back((now, bytes));
        let given: u64 = latest.iter().map(|(_, bytes)| bytes).sum();
        match given > self.all * TIMES + SLACK {
            true => Err(format!("gives one address {given} bytes of metadata in a minute")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_may_have_so_much_in_a_minute() {
        let mut given = Given::default();
        given.add_torrent(10_000);
        let at = Instant::from_secs;
        for minute in 0..5 {
            assert_eq!(given.add(at(60 * minute), 'a', 200_000 + SLACK), Ok(()));
        }
        assert!(given.add(at(299), 'a', 1).is_err());
        assert_eq!(given.add(at(299), 'b', 1), Ok(()));
    }
}
