//! Recordings and what becomes of them when they are played.

use std::fs;

use crate::sandbox::Sandbox;

/// A sandbox with `log`, the recording of a download that was interrupted.
fn with_recording() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/content", 300_000, 1);
    assert_eq!(sandbox.run("create data/content -o t.torrent -q").code, 0);
    let local = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd";
    let mut seed = sandbox.start(&format!("seed t.torrent --data data --json {local}"));
    let addr = seed.wait_for("listening")["addr"].as_str().unwrap().to_owned();
    let line = format!("download t.torrent -o out -q --record log --peer {addr} {local}");
    let ended = sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    sandbox
}

#[test]
fn a_recording_plays_and_its_fingerprint_is_printed() {
    let sandbox = with_recording();
    let played = sandbox.run("replay log");
    assert_eq!(played.code, 0, "{}", played.stderr);
    assert!(played.stdout.starts_with("log: the engine does the same again; fingerprint "));
    assert_eq!(sandbox.run("replay log").stdout, played.stdout, "each time the same");
    let object = sandbox.run("replay log --json").json();
    assert_eq!((&object["same"], &object["cut_off"]), (&true.into(), &false.into()));
    assert!(object["inputs"].as_u64().unwrap() > 20, "{object}");
    assert!(played.stdout.contains(object["fingerprint"].as_str().unwrap()));

    // Without its last bytes it plays as far as it goes.
    let log = fs::read(sandbox.path("log")).unwrap();
    fs::write(sandbox.path("cut"), &log[..log.len() - 3]).unwrap();
    let cut = sandbox.run("replay cut");
    assert_eq!(cut.code, 0, "{}", cut.stderr);
    assert!(cut.stderr.contains("cut off"), "{}", cut.stderr);
}

#[test]
fn a_recording_that_another_engine_made_is_said_to_part() {
    let sandbox = with_recording();
    let mut log = fs::read(sandbox.path("log")).unwrap();
    // The last frame is a checkpoint: what it claims is changed.
    *log.last_mut().unwrap() ^= 1;
    fs::write(sandbox.path("other"), &log).unwrap();
    sandbox.run("replay other").fails(13, &["other: ", "up to input", "parts from the log"]);
    let object = sandbox.run("replay other --json -q");
    assert_eq!(object.code, 13);
    let object = object.json();
    assert_eq!(object["same"], false);
    assert!(object["equal_until"].as_u64() < object["different_at"].as_u64(), "{object}");

    sandbox.write("noise", 1000, 3);
    sandbox.run("replay noise").fails(4, &["noise", "--record"]);
    sandbox.run("replay nowhere").fails(11, &["nowhere"]);
}
