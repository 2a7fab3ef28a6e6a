//! uTP alone: compiled of its folder, time and random, and run over a network of its own.

#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]

#[path = "../../src/random.rs"]
mod random;
#[path = "../../src/time.rs"]
mod time;
#[path = "../../src/transport/utp/mod.rs"]
mod utp;

mod goodput;
mod hostile;
mod network;
mod transfer;
