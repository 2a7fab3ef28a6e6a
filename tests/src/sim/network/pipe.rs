//! One direction of a stream: bytes that wait for the uplink, travel, and have arrived.

use std::collections::VecDeque;

use bitswarm_core::time::Instant;
use bytes::{Buf, BufMut, Bytes, BytesMut};

#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) bytes: ByteQueue,
    /// Of `bytes`, from the front: at the reader, on the way, waiting for the uplink.
    pub(super) arrived: usize,
    pub(super) travelling: usize,
    pub(super) queued: usize,
    /// The writer was told that there is no room.
    pub(super) starved: bool,
    /// The pipe waits for the uplink.
    pub(super) in_ring: bool,
    pub(super) finish: Finish,
    /// Nothing may arrive before this: packets of a stream do not overtake each other.
    pub(super) last_arrival: Instant,
    pub(super) stalled: Option<Instant>,
    /// The reader does not want to read.
    pub(super) paused: bool,
    /// The reader's bytes are held back to be merged.
    pub(super) held: bool,
    pub(super) over: Option<Over>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    #[default]
    No,
    Asked,
    Sent,
}

/// How a pipe ended, as it arrived at the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Fin,
    Reset,
}

impl Pipe {
    /// Bytes that the window lets go.
    pub(super) fn sendable(&self, window: usize) -> usize {
        self.queued.min(window.saturating_sub(self.travelling + self.arrived))
    }

    pub(super) fn can_send(&self, window: usize) -> bool {
        self.sendable(window) > 0 || (self.queued == 0 && self.finish == Finish::Asked)
    }

    pub(super) fn drop_queued(&mut self) {
        self.bytes.drop_back(self.queued);
        self.queued = 0;
    }
}

/// A queue of bytes in runs.
#[derive(Debug, Default)]
pub(super) struct ByteQueue {
    pub(super) parts: VecDeque<Bytes>,
}

impl ByteQueue {
    pub(super) fn push(&mut self, part: Bytes) {
        self.parts.push_back(part);
    }

    /// The first `length` bytes, copied.
    pub(super) fn take(&mut self, length: usize) -> BytesMut {
        let mut taken = BytesMut::with_capacity(length);
        while taken.len() < length {
            let Some(first) = self.parts.front_mut() else { break };
            let part = first.split_to(first.len().min(length - taken.len()));
            taken.put_slice(&part);
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
        taken
    }

    pub(super) fn skip(&mut self, mut length: usize) {
        while length > 0 {
            let Some(first) = self.parts.front_mut() else { break };
            let part = first.len().min(length);
            first.advance(part);
            length -= part;
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
    }

    pub(super) fn drop_back(&mut self, mut length: usize) {
        while length > 0 {
            let Some(last) = self.parts.back_mut() else { break };
            let part = last.len().min(length);
            last.truncate(last.len() - part);
            length -= part;
            if last.is_empty() {
                self.parts.pop_back();
            }
        }
    }
}
