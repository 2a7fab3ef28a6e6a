//! One file a command. Each takes its arguments and ends well or with a `Failure`.

pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod demo;
mod demo_place;
pub(crate) mod dht;
pub(crate) mod diff;
pub(crate) mod download;
pub(crate) mod edit;
pub(crate) mod forget;
pub(crate) mod info;
pub(crate) mod lint;
pub(crate) mod magnet;
pub(crate) mod metadata;
pub(crate) mod replay;
pub(crate) mod scrape;
pub(crate) mod scripts;
pub(crate) mod seed;
pub(crate) mod share;
pub(crate) mod tracker;
pub(crate) mod verify;
