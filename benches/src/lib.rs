//! What benchmarks share: a counting allocator, and two engines back to back.

pub mod counting_alloc;
pub mod pair;
