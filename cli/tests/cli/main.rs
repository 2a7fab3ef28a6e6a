//! The command line from outside: the binary is run as a user runs it.

#[cfg(unix)]
mod attributes;
mod bad_torrents;
mod config;
#[cfg(unix)]
mod data;
mod demo;
mod dht_node;
mod files;
mod forget;
mod hints;
mod https;
mod inputs;
#[cfg(unix)]
mod ip_filter;
mod life;
mod links;
mod networks;
mod parts;
#[cfg(target_os = "linux")]
mod progress;
mod quiet_tracker;
mod replay;
mod sandbox;
mod selection;
mod shells;
mod swarm;
#[cfg(target_os = "linux")]
mod terminal;
