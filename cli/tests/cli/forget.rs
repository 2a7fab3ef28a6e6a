//! What is kept of torrents can be forgotten, by torrent or as a whole, and data never goes with it.

use std::fs;

use crate::sandbox::{Sandbox, same};

const QUIET: &str = "--no-dht --no-lsd --port 0 --bind 127.0.0.1 -q";

/// Two torrents, downloaded into `out` from what is in `data`, as a run that checks it whole.
fn with_state() -> Sandbox {
    let sandbox = Sandbox::new();
    for (name, salt) in [("a", 1), ("b", 2)] {
        sandbox.write(&format!("out/{name}"), 100_000, salt);
        let made = sandbox.run(&format!("create out/{name} -o {name}.torrent -q"));
        assert_eq!(made.code, 0, "{}", made.stderr);
        let ended = sandbox.run(&format!("download {name}.torrent -o out {QUIET}"));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    sandbox
}

/// Whether a run needs no hashing, as it says itself.
fn is_known(sandbox: &Sandbox, name: &str) -> bool {
    let ended = sandbox.run(&format!("download {name}.torrent -o out --json {QUIET}"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let checked = ended.stdout.lines().find(|line| line.contains("\"checked\"")).unwrap();
    checked.contains("\"from_resume\":true")
}

#[test]
fn one_torrent_is_forgotten_and_its_data_and_the_others_stay() {
    let sandbox = with_state();
    fs::copy(sandbox.path("out/a"), sandbox.path("copy")).unwrap();
    let forgotten = sandbox.run("forget a.torrent --data out");
    assert_eq!(forgotten.code, 0, "{}", forgotten.stderr);
    assert!(forgotten.stdout.starts_with("a: forgotten (1 file in "), "{}", forgotten.stdout);
    assert!(same(&sandbox.path("out/a"), &sandbox.path("copy")));
    assert!(is_known(&sandbox, "b"));
    assert!(!is_known(&sandbox, "a"));
    assert!(is_known(&sandbox, "a"), "the run before has seen it");
}

#[test]
fn what_is_not_kept_is_said_and_the_rest_is_forgotten() {
    let sandbox = with_state();
    sandbox.run("forget a.torrent --data out");
    let rest = sandbox.run("forget a.torrent b.torrent missing.torrent --data out");
    assert_eq!((rest.code, rest.stderr.lines().count()), (11, 2), "{}", rest.stderr);
    assert!(rest.stdout.starts_with("b: forgotten"), "{}", rest.stdout);
    sandbox.run("forget a.torrent --data nowhere").fails(11, &["nowhere", "--data"]);
    sandbox.run("forget --data out").fails(2, &["INPUT"]);
    let of_v2 = sandbox.run("info a.torrent --json").json()["infohash_v2"].clone();
    let of_v2 = format!("forget {} --data out", of_v2.as_str().unwrap());
    sandbox.run(&of_v2).fails(11, &["a hybrid goes by that of v1"]);
}

#[test]
fn all_that_is_kept_for_a_directory_is_forgotten() {
    let sandbox = with_state();
    let forgotten = sandbox.run("forget --all --data out --json").json();
    assert_eq!(forgotten["forgotten"], 2);
    assert!(!is_known(&sandbox, "a") && !is_known(&sandbox, "b"));
}

#[test]
fn a_torrent_that_is_worked_on_is_not_forgotten() {
    let sandbox = with_state();
    let mut seed = sandbox.start(&format!("seed a.torrent --data out --json {QUIET}"));
    seed.wait_for("checked");
    sandbox.run("forget a.torrent --data out").fails(11, &["another bitswarm", "a"]);
    sandbox.run("forget --all --data out").fails(11, &["another bitswarm"]);
    seed.signal("TERM");
    assert_eq!(seed.end(), 0);
    assert_eq!(sandbox.run("forget a.torrent --data out").code, 0);
}
