//! Errors on stderr, and with `--json` as objects too.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::exit::Failure;
use crate::json;
use crate::output::{Object, say};

/// Whether errors are written as objects too.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether errors are written as objects too: `--json` was given.
pub(crate) fn set_json(json: bool) {
    JSON.store(json, Relaxed);
}

/// The line that a failure gets on stderr, and with `--json` its object, unless it was said already
/// or the results say the same.
pub(crate) fn report(failure: &Failure) {
    if failure.is_said() {
        return;
    }
    say(&format!("bitswarm: {failure}"));
    if JSON.load(Relaxed) && !failure.is_verdict() {
        let object = match failure.torrent() {
            Some(infohash) => json::event("error", infohash),
            None => Object::event("error"),
        };
        let object = object.with("code", failure.code as u8);
        // A stdout that cannot be written is no place to say so.
        let _ = object.with("message", failure.to_string()).print();
    }
}
