//! What torrents ask of the engine beyond actions: one queue, in the order of their causes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::dht::DhtRequestId;
use crate::id::TorrentId;

/// Something that the engine is to do for a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// Look after it: announces that are due, its timer, its end.
    Settle,
    /// End the announces under way that it does not wait for any more.
    EndAnnounces,
    /// Copy the files that it waited for another torrent to have.
    CopyFiles,
    /// Look for files that another torrent has whole now.
    LookForFiles,
    /// Ask whether a DHT node is where a peer says.
    MeetNode(Box<SocketAddr>),
    /// Look up the host and port that it names as a DHT node.
    LookUpNode(Box<(String, u16)>),
    /// Let peers go whose half messages are too much, of whichever torrent.
    FreeHalfMessages,
    /// Drop whom bans in all torrents hit, of whichever torrent.
    DropBanned,
    /// End its request to the DHT.
    EndRequest(DhtRequestId),
}

/// What is asked and not yet done.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    queue: VecDeque<(TorrentId, Ask)>,
}

impl Asks {
    /// Asks for something, after all that was asked before.
    pub(crate) fn push(&mut self, id: TorrentId, ask: Ask) {
        self.queue.push_back((id, ask));
    }

    /// The same for several.
    pub(crate) fn extend(&mut self, asks: impl IntoIterator<Item = (TorrentId, Ask)>) {
        self.queue.extend(asks);
    }

    /// An input concerned a torrent.
    pub(crate) fn settle(&mut self, id: TorrentId) {
        let is_last = matches!(self.queue.back(), Some((last, Ask::Settle)) if *last == id);
        if !is_last {
            self.push(id, Ask::Settle);
        }
    }

    /// What to do next.
    pub(crate) fn pop(&mut self) -> Option<(TorrentId, Ask)> {
        self.queue.pop_front()
    }

    /// Whether nothing is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn asks_come_in_order_and_one_that_is_last_is_not_repeated() {
        let (a, b) = (TorrentId::new(1, 0), TorrentId::new(0, 0));
        let mut asks = Asks::default();
        asks.settle(a);
        asks.settle(a);
        asks.push(b, Ask::EndAnnounces);
        asks.settle(b);
        asks.settle(a);
        let order: Vec<_> = std::iter::from_fn(|| asks.pop()).collect();
        let wanted = [(a, Ask::Settle), (b, Ask::EndAnnounces), (b, Ask::Settle), (a, Ask::Settle)];
        assert_eq!(order, wanted);
        assert!(asks.is_empty());
    }
}
