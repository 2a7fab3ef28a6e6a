//! Bytes per second: measuring them and limiting them, without ticks.

mod allowance;
mod bucket;
mod meter;

pub use allowance::Allowance;
pub use bucket::TokenBucket;
pub use meter::RateMeter;
