//! One transfer of 64 MiB between two engines in memory, for an instruction counter.
//!
//! `.ci/instructions` runs it under callgrind, which counts what `measured_transfer` does and
//! nothing else. Clocks and loads of machines do not enter into that figure: it moves only when the
//! code does (or the compiler), and so it can fail a build where a time could not.

use std::process::ExitCode;

use bitswarm_benches::pair::{Hashing, Pair, Torrent};

const LENGTH: usize = 64 << 20;
const PIECE_LENGTH: u32 = 1 << 20;

fn main() -> ExitCode {
    let torrent = Torrent::unhashed(LENGTH, PIECE_LENGTH);
    let mut pair = Pair::new(&torrent, Hashing::Off);
    measured_transfer(&mut pair);
    println!("{} blocks", torrent.blocks());
    ExitCode::SUCCESS
}

/// Never inlined: the counter finds it by its name.
#[inline(never)]
fn measured_transfer(pair: &mut Pair) {
    pair.run();
}
