//! Bytes to send, in slices that nobody copies: those in no packet yet, and those of a packet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Some bytes in slices.
#[derive(Clone, Debug, Default)]
pub(super) struct Payload {
    first: Bytes,
    more: Vec<Bytes>,
}

impl Payload {
    fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() {
            self.first = bytes;
        } else {
            self.more.push(bytes);
        }
    }

    /// Appends the bytes.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.first);
        for bytes in &self.more {
            out.extend_from_slice(bytes);
        }
    }
}

/// Bytes that are in no packet yet.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    parts: VecDeque<Bytes>,
    len: usize,
}

impl Unsent {
    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds some at the end.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.parts.push_back(bytes);
        }
    }

    /// Takes the first, at most so many; and how many they are.
    pub(super) fn take(&mut self, most: usize) -> (Payload, usize) {
        let mut payload = Payload::default();
        let taken = most.min(self.len);
        let mut left = taken;
        while left > 0
            && let Some(front) = self.parts.front_mut()
        {
            if front.len() <= left {
                left -= front.len();
                payload.push(self.parts.pop_front().unwrap_or_default());
            } else {
                payload.push(front.split_to(left));
                left = 0;
            }
        }
        self.len -= taken;
        (payload, taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_in_order_across_their_slices() {
        let mut unsent = Unsent::default();
        for part in ["abc", "", "defg"] {
            unsent.push(Bytes::from_static(part.as_bytes()));
        }
        let mut take = |most| {
            let (payload, taken) = unsent.take(most);
            let mut bytes = BytesMut::new();
            payload.write(&mut bytes);
            assert_eq!(bytes.len(), taken);
            (String::from_utf8(bytes.to_vec()).unwrap(), unsent.len())
        };
        assert_eq!(take(2), ("ab".to_owned(), 5));
        assert_eq!(take(3), ("cde".to_owned(), 2));
        assert_eq!(take(9), ("fg".to_owned(), 0));
        assert_eq!(take(1), (String::new(), 0));
    }
}
