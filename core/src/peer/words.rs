//! What waits to be said to a peer: our handshake, then messages.

use crate::segments::Segments;
use crate::wire::{HANDSHAKE_LEN, Message};

/// Messages that wait to be gathered.
#[derive(Debug, Default)]
pub(crate) struct Words {
    queue: Segments,
    /// Whether the first of them is our handshake.
    greets: bool,
}

impl Words {
    /// Queues our handshake, before anything else.
    pub(crate) fn greet(&mut self, handshake: &[u8; HANDSHAKE_LEN]) {
        self.queue.put(handshake);
        self.greets = true;
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: Message) {
        message.encode(&mut self.queue);
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Moves all of it to `out`; if it begins with our handshake and that is to go alone, only that. Whether
    /// something was left behind for that reason.
    pub(crate) fn take(&mut self, greets_alone: impl FnOnce() -> bool, out: &mut Segments) -> bool {
        let is_alone = std::mem::take(&mut self.greets) && greets_alone();
        match is_alone {
            true => out.append_first(&mut self.queue, HANDSHAKE_LEN),
            false => out.append(&mut self.queue),
        }
        is_alone
    }

    /// All of it in one buffer.
    #[cfg(test)]
    pub(crate) fn take_all(&mut self) -> bytes::BytesMut {
        let mut out = Segments::new();
        self.take(|| false, &mut out);
        out.take_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_goes_alone_where_it_is_to_and_once() {
        for greets_alone in [false, true] {
            let (mut words, mut out) = (Words::default(), Segments::new());
            words.greet(&[7; HANDSHAKE_LEN]);
            words.push(Message::Choke);
            assert_eq!(words.take(|| greets_alone, &mut out), greets_alone);
            let first = if greets_alone { HANDSHAKE_LEN } else { HANDSHAKE_LEN + 5 };
            assert_eq!((out.len(), words.is_empty()), (first, !greets_alone));
            assert!(!words.take(|| greets_alone, &mut out));
            assert_eq!((out.len(), words.len()), (HANDSHAKE_LEN + 5, 0));
        }
    }
}
