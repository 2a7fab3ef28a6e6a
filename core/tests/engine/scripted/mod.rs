//! One engine among peers and trackers that are played by hand, message by message.

mod bans;
mod claims;
mod contradiction;
mod memory;
mod padding;
mod places;
mod reach;
mod redial;
mod scene;
mod selection;
mod unreadable;
mod violations;
mod wasteful;
