//! The simulator: whole swarms of the production engine in one thread, on virtual time.
//!
//! A run depends on its seed alone. The engine is driven through its public face by the same kind
//! of loop as a runtime's; everything around it is a machine of the simulator.

pub mod bencode;
pub mod check;
pub mod conduct;
pub mod content;
pub mod dice;
pub mod disk;
pub mod experiment;
pub mod host;
pub mod merkle;
pub mod mse;
pub mod network;
pub mod peer_wire;
pub mod queue;
pub mod resolver;
pub mod scripted;
pub mod storm;
pub mod trace;
pub mod world;
