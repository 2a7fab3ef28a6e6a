//! What benchmarks share: a counting allocator, two engines back to back, a session of many torrents,
//! and charts.

pub mod chart;
pub mod counting_alloc;
pub mod pair;
pub mod session;
