//! Torrent files that lie: every command that reads one ends in code 4 and one line that says what
//! is wrong with it.

use std::fs;

use crate::sandbox::Sandbox;

/// A torrent of v2 alone with this file tree and whatever else.
fn v2(tree: &str, rest: &str) -> Vec<u8> {
    let info = format!("d9:file tree{tree}12:meta versioni2e4:name1:t12:piece lengthi16384ee");
    format!("d4:info{info}{rest}e").into_bytes()
}

/// A torrent of v1 with these files, of so many bytes together.
fn v1(files: &str, pieces: usize) -> Vec<u8> {
    let hashes = format!("{}:{}", pieces * 20, "a".repeat(pieces * 20));
    format!("d4:infod5:filesl{files}e4:name1:t12:piece lengthi16384e6:pieces{hashes}ee").into()
}

fn bad_torrents() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let root = format!("11:pieces root32:{}", "r".repeat(32));
    let leaf = |name: &str, properties: &str| format!("{}:{name}d0:d{properties}ee", name.len());
    let tree = |entries: &str| format!("d{entries}e");
    let a_file = "d6:lengthi5e4:pathl1:d1:aee";
    let link = |path: &str, target: &str| {
        format!("{a_file}d4:attr1:l6:lengthi0e4:pathl{path}e12:symlink pathl{target}ee")
    };
    let deep = format!("{}d0:d6:lengthi0eee{}", "d1:d".repeat(500), "e".repeat(500));
    let zeros = format!("6:lengthi5e11:pieces root32:{}", "\0".repeat(32));
    let long = tree(&leaf("a", &format!("6:lengthi40000e{root}")));
    let layer = |hashes: usize| {
        let (len, layer) = (hashes * 32, "h".repeat(hashes * 32));
        format!("12:piece layersd32:{}{len}:{layer}e", "r".repeat(32))
    };
    let huge = |length: u64| format!("6:lengthi{length}e{root}");
    let most = huge(i64::MAX.cast_unsigned());
    vec![
        ("deep", v2(&deep, ""), "deep"),
        ("unbalanced", v2("d1:ad0:d6:lengthi0eee", ""), "not a torrent file"),
        ("root-is-file", v2("d0:d6:lengthi0eee", ""), "the tree itself is a file"),
        (
            "file-and-folder",
            v2(&tree("1:ad0:d6:lengthi0ee1:xd0:d6:lengthi0eeee"), ""),
            "a file is a directory too",
        ),
        (
            "twice",
            v2(&tree(&leaf("a", "6:lengthi0e").repeat(2)), ""),
            "names are not sorted, or one is there twice",
        ),
        ("zero-root", v2(&tree(&leaf("a", &zeros)), ""), "is zeros"),
        ("no-root", v2(&tree(&leaf("a", "6:lengthi5e")), ""), "`pieces root` is missing"),
        ("huge", v2(&tree(&(leaf("a", &most) + &leaf("b", &most))), ""), "2^63 bytes"),
        ("many-pieces", v2(&tree(&leaf("a", &huge(1 << 50))), ""), "pieces, more than"),
        ("no-layers", v2(&long, ""), "`piece layers` is missing"),
        ("short-layer", v2(&long, &layer(2)), "64 bytes"),
        ("long-layer", v2(&long, &layer(4)), "128 bytes"),
        ("wrong-layer", v2(&long, &layer(3)), "`piece layers`, file 0"),
        ("padding", v2(&tree(&leaf("a", &format!("4:attr1:p6:lengthi5e{root}"))), ""), "padding"),
        ("link-out", v1(&link("1:l", "2:..6:passwd"), 1), "leads out of the torrent"),
        ("link-absolute", v1(&link("1:l", "4:/etc"), 1), "leads out of the torrent"),
        ("link-over-file", v1(&link("1:d1:a", "1:d"), 1), "where another file is"),
        ("link-over-folder", v1(&link("1:d", "1:d1:a"), 1), "where another file is"),
        (
            "file-beneath-link",
            v1(&(link("1:l", "1:d") + "d6:lengthi5e4:pathl1:l1:xee"), 1),
            "where another file is",
        ),
        ("link-to-nowhere-said", v1(&link("1:l", ""), 1), "without a usable `symlink path`"),
        ("too-few-hashes", v1("d6:lengthi90000e4:pathl1:aee", 1), "piece hashes"),
    ]
}

#[test]
fn torrents_that_lie_end_in_code_4_and_a_reason() {
    let sandbox = Sandbox::new();
    for (name, torrent, reason) in bad_torrents() {
        let file = format!("{name}.torrent");
        fs::write(sandbox.path(&file), torrent).unwrap();
        sandbox.run(&format!("info {file}")).fails(4, &[&file, reason]);
    }
    for command in ["lint", "edit --comment x", "magnet", "verify --data .", "download"] {
        sandbox.run(&format!("{command} link-out.torrent")).fails(4, &["leads out"]);
    }
    assert!(!sandbox.path("t").exists());
}

#[test]
fn files_that_collide_are_kept_apart() {
    let sandbox = Sandbox::new();
    let file = |name: &str| format!("d6:lengthi1e4:pathl{}:{name}ee", name.len());
    let files: String =
        ["README", "readme", "README", "straße", "STRASSE", ".."].map(file).concat();
    fs::write(sandbox.path("twins.torrent"), v1(&files, 1)).unwrap();
    let info = sandbox.run("info twins.torrent --json").json();
    let paths: Vec<&str> =
        info["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["README", "readme.1", "README.2", "straße", "STRASSE.1", "_"]);
    let lint = sandbox.run("lint twins.torrent");
    assert_eq!(lint.code, 4);
    assert!(lint.stdout.contains("a file is stored as readme.1"), "{}", lint.stdout);
}
