//! The command line from outside: the binary is run as a user runs it.

#[cfg(unix)]
mod attributes;
mod bad_torrents;
mod config;
mod demo;
mod files;
mod hints;
mod inputs;
mod links;
#[cfg(target_os = "linux")]
mod progress;
mod replay;
mod sandbox;
mod swarm;
#[cfg(target_os = "linux")]
mod terminal;
