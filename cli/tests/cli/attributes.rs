//! What BEP 47 says of files beside their content: links, executables, hidden files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::json;

use crate::sandbox::Sandbox;

/// `data/tree` with an executable, a hidden file, a link to the first and a link to that.
fn with_tree() -> Sandbox {
    let sandbox = Sandbox::new();
    let run = sandbox.write("data/tree/bin/run", 100_000, 1);
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("data/tree/.rc", 10, 2);
    symlink("bin/run", sandbox.path("data/tree/link")).unwrap();
    symlink("../link", sandbox.path("data/tree/bin/again")).unwrap();
    sandbox
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o100 != 0
}

#[test]
fn links_executables_and_hidden_files_are_recorded_if_asked() {
    let sandbox = with_tree();
    symlink("/etc/passwd", sandbox.path("data/tree/out")).unwrap();
    let made = sandbox.run("create data/tree --symlinks --mark-hidden");
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("tree/out: a symbolic link to nothing"), "{}", made.stderr);
    let info = sandbox.run("info tree.torrent --json").json();
    let link = |path: &str, target: &str| json!({ "path": path, "target": target });
    assert_eq!(info["links"], json!([link("bin/again", "link"), link("link", "bin/run")]));
    let marks: Vec<_> = info["files"].as_array().unwrap().iter().collect();
    let marks: Vec<_> =
        marks.iter().map(|f| (&f["path"], &f["executable"], &f["hidden"])).collect();
    let (yes, no) = (&json!(true), &json!(false));
    assert_eq!(marks, [(&json!(".rc"), no, yes), (&json!("bin/run"), yes, no)]);
    let shown = sandbox.run("info tree.torrent").stdout;
    assert!(shown.contains("bin/run  (executable)"), "{shown}");
    assert!(shown.contains(".rc  (hidden)") && shown.contains("bin/again -> link"), "{shown}");

    let plain = sandbox.run("create data/tree -o plain.torrent");
    assert_eq!(plain.stderr.matches("leaving out").count(), 3, "{}", plain.stderr);
    assert!(plain.stderr.contains("tree/link: a symbolic link (--symlinks"), "{}", plain.stderr);
    let info = sandbox.run("info plain.torrent --json").json();
    assert_eq!((&info["links"], &info["files"][0]["hidden"]), (&json!([]), no));
    let diff = sandbox.run("diff tree.torrent plain.torrent --json");
    diff.fails(13, &["3 files"]);
    let file = |path: &str, difference: &str| json!({ "path": path, "difference": difference });
    let expected =
        [file(".rc", "hidden"), file("bin/again", "only_in_a"), file("link", "only_in_a")];
    assert_eq!(diff.json()["files"], json!(expected));
}

#[test]
fn links_and_executables_are_made_by_a_download_and_checked_by_verify() {
    let sandbox = with_tree();
    for protocol in ["v1", "v2", "hybrid"] {
        let line =
            format!("create data/tree -o t.torrent -q --force --symlinks --protocol {protocol}");
        assert_eq!(sandbox.run(&line).code, 0);
        let local = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd --no-pex";
        let mut seed = sandbox.start(&format!("seed t.torrent --data data --json {local}"));
        let addr = seed.wait_for("listening")["addr"].as_str().unwrap().to_owned();
        let line = format!("download t.torrent -o {protocol} -q --peer {addr} {local}");
        let ended = sandbox.run(&line);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let made = |path: &str| sandbox.path(&format!("{protocol}/tree/{path}"));
        assert_eq!(fs::read_link(made("link")).unwrap(), Path::new("bin/run"));
        assert_eq!(fs::read_link(made("bin/again")).unwrap(), Path::new("../link"));
        assert!(is_executable(&made("bin/run")) && !is_executable(&made(".rc")));
        let verify = || sandbox.run(&format!("verify t.torrent --data {protocol} -q --json"));
        assert_eq!(verify().code, 0);

        // What is gone is made again by the next download, though the content is all there.
        fs::remove_file(made("link")).unwrap();
        fs::set_permissions(made("bin/run"), fs::Permissions::from_mode(0o444)).unwrap();
        let missing = verify();
        missing.fails(13, &["1 of 4 files"]);
        assert_eq!(missing.json()["files"][3]["status"], "missing");
        assert_eq!(sandbox.run(&line).code, 0);
        assert!(is_executable(&made("bin/run")));
        assert_eq!(verify().code, 0);

        fs::remove_file(made("link")).unwrap();
        symlink("/etc/passwd", made("link")).unwrap();
        assert_eq!(verify().json()["files"][3]["status"], "wrong_link");
        assert_eq!(sandbox.run(&line).code, 0);
        assert_eq!(fs::read_link(made("link")).unwrap(), Path::new("/etc/passwd"), "not ours");
        seed.signal("TERM");
        assert_eq!(seed.end(), 0);
    }
}
