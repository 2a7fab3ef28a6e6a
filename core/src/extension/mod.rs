//! Extensions of the peer protocol (BEP 10), each a machine of its own: the info dictionary from
//! peers, peer exchange, pieces that a peer no longer has.
//!
//! Which extensions there are and how they are agreed on is in [`wire::extension`]; here is what
//! their messages say and what follows from them. The torrent passes messages in and out.
//!
//! [`wire::extension`]: crate::wire::extension

pub mod dont_have;
pub mod metadata;
pub mod pex;
