//! The command line from outside: the binary is run as a user runs it.

mod demo;
mod files;
mod sandbox;
mod swarm;
