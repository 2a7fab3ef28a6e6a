//! Bytes per second: measuring them and limiting them, without ticks.

mod allowance;
mod bucket;
mod fair_line;
mod meter;

pub use allowance::Allowance;
pub use bucket::TokenBucket;
pub use fair_line::FairLine;
pub use meter::RateMeter;
