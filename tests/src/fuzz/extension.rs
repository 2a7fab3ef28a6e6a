//! Extension handshakes (BEP 10): any payload is refused or read within bounds, and what was read
//! is written as strict bencoding and read again as the same. Two of them in a row, with a zero
//! byte between, add up as BEP 10 says.

use bitswarm_core::wire::{Extension, ExtensionHandshake, ExtensionIds};

use crate::sim::bencode::Value as Strict;

/// Most characters of a client's name that are kept.
const MOST_CHARS: usize = 64;

/// See the module.
pub(super) fn run(data: &[u8]) {
    let second = data.iter().position(|byte| *byte == 0).map(|at| &data[at + 1..]);
    let mut ids = ExtensionIds::none();
    for payload in [Some(data), second].into_iter().flatten() {
        let Ok(handshake) = ExtensionHandshake::decode(payload) else { continue };
        check(&handshake);
        let before = ids;
        ids.update(&handshake.ids);
        for extension in Extension::ALL {
            let named = handshake.ids.get(extension);
            let now = ids.get(extension);
            assert!(
                now == named
                    || (named.is_none() && (now.is_none() || now == before.get(extension)))
            );
        }
    }
}

fn check(handshake: &ExtensionHandshake) {
    if let Some(client) = &handshake.client {
        assert!(!client.is_empty() && client.chars().count() <= MOST_CHARS, "{client:?}");
        assert!(!client.contains(char::is_control), "{client:?}");
    }
    assert!(handshake.port != Some(0) && handshake.max_requests != Some(0));
    assert!(handshake.metadata_size != Some(0));
    let bytes = handshake.encode();
    Strict::parse(&bytes).expect("what is written is strict bencoding");
    assert_eq!(ExtensionHandshake::decode(&bytes).as_ref(), Ok(handshake));
}
