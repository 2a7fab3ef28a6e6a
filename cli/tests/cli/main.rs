//! The command line from outside: the binary is run as a user runs it.

#[cfg(unix)]
mod attributes;
mod bad_torrents;
mod demo;
mod files;
mod hints;
mod links;
mod networks;
mod sandbox;
mod swarm;
