//! The saved tables of the DHT: whatever the file holds, what is read is within bounds and can be
//! asked, is written and read again as the same, and no more than is due follows from it.

use std::net::SocketAddr;
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::dht::{Dht, Saved, Settings};
use bitswarm_core::random::SecretRng;

use crate::sim::bencode::Value as Strict;

/// Contacts that are kept of a family.
const MOST: usize = 400;
/// Datagrams that a node without friends sends in its first ten seconds: of one lookup in each
/// family, which asks a few dozen nodes at most.
const MOST_SENT: usize = 1000;

/// See the module.
pub(super) fn run(data: &[u8]) {
    let saved = Saved::decode(data);
    let (v4, v6): (Vec<_>, Vec<_>) = saved.contacts.iter().copied().partition(|c| c.addr.is_ipv4());
    assert!(v4.len() <= MOST && v6.len() <= MOST);
    assert!(26 * v4.len() + 38 * v6.len() <= data.len(), "contacts out of nothing");
    assert!(saved.contacts.iter().all(|contact| contact.addr.port() != 0));
    let bytes = saved.encode();
    Strict::parse(&bytes).expect("what is written is strict bencoding");
    assert_eq!(Saved::decode(&bytes), saved);
    check_start(saved);
}

/// A node that begins with it keeps its ids and loses nobody whom it does not hear of.
fn check_start(saved: Saved) {
    let settings = Settings { v4: true, v6: true, read_only: false, version: *b"BS00" };
    let mut now = Instant::ZERO;
    let mut dht = Dht::new(settings, SecretRng::from_seed([5; 32]), now);
    dht.load(now, saved.clone());
    for (v6, id) in [false, true].into_iter().zip(saved.ids) {
        assert!(id.is_none_or(|id| dht.id(v6) == Some(id)));
    }
    assert_eq!(dht.save().contacts, saved.contacts);
    dht.begin(now, Vec::new());
    let mut sent = 0;
    while now < Instant::from_secs(10) {
        while let Some(datagram) = dht.poll_transmit() {
            sent += 1;
            let is_of = |addr: SocketAddr| saved.contacts.iter().any(|c| c.addr == addr);
            assert!(is_of(datagram.remote), "nobody else is known");
        }
        while dht.poll_output().is_some() {}
        now += Duration::from_millis(500);
        dht.handle_timeout(now);
    }
    assert!(sent <= MOST_SENT, "{sent} datagrams");
    assert_eq!(dht.save().contacts, saved.contacts, "nobody was heard of");
}
