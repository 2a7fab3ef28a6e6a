//! What a node keeps for others: peers and items, bounded and expiring.

pub mod bloom;
pub mod item;
pub mod items;
pub mod peers;
