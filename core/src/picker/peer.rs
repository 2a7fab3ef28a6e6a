//! A peer as the picker knows it: a number and how fast it sends.

/// Most peers that a block is requested of at once in the end game (chosen: a second one saves the
/// wait, a third one the unlucky, further ones cost more than they save).
pub const MAX_REQUESTERS: usize = 3;

/// A peer, by a small number that the caller hands out: the picker keeps an array of this size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerKey(pub u32);

impl PeerKey {
    /// No peer: what is received from elsewhere, such as a file of another torrent. It is never picked
    /// for.
    pub const NO_PEER: PeerKey = PeerKey(u32::MAX);
}

/// How fast a peer sends, compared with the torrent's others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Pace {
    /// A piece would take it too long: it joins other slow peers in theirs.
    Slow,
    /// As most, or unknown.
    #[default]
    Medium,
    /// It shall not wait for others: slower ones join its pieces only when nothing else is left.
    Fast,
}
