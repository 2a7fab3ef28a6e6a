//! The other end of a connection, written by hand: comes with the hostile cases.
