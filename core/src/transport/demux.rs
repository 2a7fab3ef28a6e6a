//! Which protocol a datagram belongs to, by its first byte.
//!
//! Peers, DHT nodes and trackers send to the same socket. A KRPC message (BEP 5) is a bencoded
//! dictionary and begins with `d`; a response of a UDP tracker (BEP 15) begins with a four-byte
//! action below 256, thus with 0.

/// The protocol of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// KRPC, for our DHT node.
    Dht,
    /// Anything else: only responses of UDP trackers are expected.
    Tracker,
}

/// The protocol of a datagram with this payload.
pub(crate) fn protocol(data: &[u8]) -> Protocol {
    match data.first() {
        Some(b'd') => Protocol::Dht,
        _ => Protocol::Tracker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_for_the_dht_and_an_action_for_the_tracker_client() {
        assert_eq!(protocol(b"d1:t2:aa1:y1:qe"), Protocol::Dht);
        assert_eq!(protocol(&[0, 0, 0, 1, 0, 0, 0, 7]), Protocol::Tracker);
        assert_eq!(protocol(b""), Protocol::Tracker);
    }
}
