//! Bytes per second: measuring them and limiting them, without ticks.

mod bucket;
mod meter;

pub use bucket::TokenBucket;
pub use meter::RateMeter;
