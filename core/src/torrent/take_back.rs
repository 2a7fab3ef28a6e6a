//! Requests that a peer will not answer: their blocks go back to the picker, for others to be asked.

use crate::peer::pipeline::Standing;
use crate::peer::{Peer, PeerSlot};
use crate::picker::Picker;
use crate::piece::{Block, PieceIndex};
use crate::torrent::late::LateBlocks;

/// Takes back the requests that a peer never heard of, and so will not answer, but for those for pieces
/// for which they stand. Whether others may be asked for any of it.
pub(super) fn take_back_unsent(
    picker: &mut Picker,
    late: &mut LateBlocks,
    slot: PeerSlot,
    peer: &mut Peer,
    stands: impl Fn(&Peer, PieceIndex) -> bool,
) -> bool {
    let mut any = false;
    for block in std::mem::take(&mut peer.download.asking) {
        if stands(peer, block.piece) {
            peer.download.asking.push(block);
        } else if let Some(standing) = peer.download.pipeline.rejected(block) {
            any |= give_back(picker, late, slot, block, standing);
        }
    }
    any
}

/// Ends all requests to a peer and gives back what was awaited; whether there was any.
pub(super) fn void_requests(
    picker: &mut Picker,
    late: &mut LateBlocks,
    slot: PeerSlot,
    peer: &mut Peer,
) -> bool {
    let ended = peer.download.pipeline.clear();
    ended.fold(false, |any, (block, standing)| give_back(picker, late, slot, block, standing) | any)
}

/// A request will not be answered; whether it was awaited, so that others may be asked.
fn give_back(
    picker: &mut Picker,
    late: &mut LateBlocks,
    slot: PeerSlot,
    block: Block,
    standing: Standing,
) -> bool {
    match standing {
        Standing::Awaited => picker.release(slot.key(), block),
        Standing::Late => late.remove(block, slot),
        Standing::Cancelled => {}
    }
    standing == Standing::Awaited
}
