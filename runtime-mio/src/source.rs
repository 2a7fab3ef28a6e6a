//! The tokens that tell which source is ready.
//!
//! A token holds the slot of an id, without its generation: readiness of a socket that is gone may
//! reach the next one in its slot, and is then spurious, which does no harm (the read or write finds
//! nothing to do).

use mio::Token;

/// Whose readiness an event tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// Another thread has put something in.
    Inbox,
    /// The connection in this slot.
    Connection(usize),
    /// The closed connection in this slot that still sends.
    Lingering(usize),
    /// The listener in this slot.
    Listener(usize),
    /// The datagram socket in this slot.
    Datagrams(usize),
}

/// Kinds of sources that a token tells apart.
const KINDS: usize = 5;

impl Source {
    pub(crate) fn token(self) -> Token {
        let (kind, slot) = match self {
            Source::Inbox => (0, 0),
            Source::Connection(slot) => (1, slot),
            Source::Lingering(slot) => (2, slot),
            Source::Listener(slot) => (3, slot),
            Source::Datagrams(slot) => (4, slot),
        };
        Token(slot * KINDS + kind)
    }

    pub(crate) fn of(token: Token) -> Self {
        let slot = token.0 / KINDS;
        match token.0 % KINDS {
            0 => Source::Inbox,
            1 => Source::Connection(slot),
            2 => Source::Lingering(slot),
            3 => Source::Listener(slot),
            _ => Source::Datagrams(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_names_its_source() {
        for slot in [0, 1, 77, u32::MAX as usize] {
            let sources = [
                Source::Connection(slot),
                Source::Lingering(slot),
                Source::Listener(slot),
                Source::Datagrams(slot),
            ];
            for source in sources {
                assert_eq!(Source::of(source.token()), source);
            }
        }
        assert_eq!(Source::of(Source::Inbox.token()), Source::Inbox);
    }
}
