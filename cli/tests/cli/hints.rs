//! Torrents that share files (BEP 38): what a torrent file says of it, and what a download makes
//! of it.

use std::fs;

use serde_json::json;

use crate::sandbox::{Sandbox, same};

#[test]
fn hints_are_written_shown_and_edited() {
    let sandbox = Sandbox::new();
    sandbox.write("one", 100_000, 1);
    sandbox.torrent("one", "--date none");
    let one = sandbox.run("info one.torrent --json").json()["infohash_v1"].clone();
    let hash = "00112233445566778899aabbccddeeff00112233";
    let line = format!(
        "create one -o two.torrent -q --similar one.torrent --similar {hash} \
         --collection com.example.a --collection com.example.b"
    );
    assert_eq!(sandbox.run(&line).code, 0);
    let info = || sandbox.run("info two.torrent --json").json();
    assert_eq!(info()["similar"], json!([one, hash]));
    assert_eq!(info()["collections"], json!(["com.example.a", "com.example.b"]));
    assert_ne!(info()["infohash_v1"], one, "hints that create writes are part of the infohash");
    let shown = sandbox.run("info two.torrent").stdout;
    assert!(shown.contains("com.example.b") && shown.contains(hash), "{shown}");

    let before = info();
    let edit = "edit two.torrent --collection com.example.c --similar";
    let longer = format!("{hash}{}", &hash[..24]);
    let edited = sandbox.run(&format!("{edit} {longer}"));
    assert!(edited.stdout.contains("the infohash is the same"), "{}", edited.stderr);
    assert_eq!(info()["infohash_v1"], before["infohash_v1"]);
    assert_eq!(info()["collections"].as_array().unwrap().len(), 3);
    assert_eq!(info()["similar"], json!([one, hash]), "v2 is known by its first 20 bytes");
    assert_eq!(sandbox.run("edit two.torrent --no-similar --no-collections").code, 0);
    assert_eq!(info()["collections"], before["collections"], "what is in info stays");
    sandbox.run(&format!("{edit} missing.torrent")).fails(11, &["missing.torrent"]);
    let lint = sandbox.run("lint two.torrent").stdout;
    assert!(lint.contains("nothing to complain about"), "{lint}");
}

#[test]
fn a_download_takes_from_another_torrent_what_that_has() {
    let sandbox = Sandbox::new();
    let shared = sandbox.write("out/both/shared", 300_000, 1);
    sandbox.write("out/both/more", 70_000, 2);
    sandbox.write("one", 0, 0);
    fs::copy(&shared, sandbox.path("one")).unwrap();
    assert_eq!(sandbox.run("create out/both -o both.torrent -q").code, 0);
    sandbox.torrent("one", "--protocol v2 --piece-length 128KiB");
    let local = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd --stall-timeout 20s";
    let ended = sandbox.run(&format!("download both.torrent one.torrent -o out -q {local}"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(same(&shared, &sandbox.path("out/one")));
    // A seed writes nothing, whatever another torrent has.
    fs::remove_file(sandbox.path("out/one")).unwrap();
    let mut seed = sandbox.start(
        "seed both.torrent one.torrent --data out --json --bind 127.0.0.1 --port 0 --no-dht --no-lsd",
    );
    seed.wait_for("checked");
    seed.signal("TERM");
    seed.end();
    assert!(!sandbox.path("out/one").exists());
}
