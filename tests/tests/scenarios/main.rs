//! Named scenarios: one kind of trouble each, on the production engine, in virtual time.
//!
//! A failure names its seed; `SIM_LOG=file` keeps the readable log of the run that failed.

mod crashes;
mod data;
mod disk;
mod encryption;
mod fairness;
mod foreign;
mod limits;
mod odd_sources;
mod peers;
mod protocol_v2;
mod requests;
mod scene;
mod stop;
mod storms;
mod trackers;
