//! The engine as a whole, driven by events: one binary, so that it is linked once.

mod announces;
mod choking;
mod connecting;
mod dht;
mod encryption;
mod families;
mod foreign;
mod hash_requests;
mod hybrid_announces;
mod keep_alive;
mod layers;
mod lost_pieces;
mod pair;
mod partial_seeds;
mod resumed;
mod scripted;
mod slow_disk;
mod tracker_clients;
mod trackerless;
