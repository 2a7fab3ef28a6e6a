//! The command line from outside: the binary is run as a user runs it.

#[cfg(unix)]
mod attributes;
mod bad_torrents;
mod demo;
mod files;
mod hints;
mod life;
mod links;
mod parts;
mod quiet_tracker;
mod sandbox;
mod shells;
mod swarm;
