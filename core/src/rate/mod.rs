//! Bytes per second: measuring them and limiting them, without ticks.

mod allowance;
mod bucket;
mod by_group;
mod fair_line;
mod meter;
mod per_second;
mod periods;

pub use allowance::Allowance;
pub use bucket::TokenBucket;
pub use by_group::GroupAllowances;
pub use fair_line::FairLine;
pub use meter::RateMeter;
pub use per_second::PerSecond;
pub use periods::Periods;
