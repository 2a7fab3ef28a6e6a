//! What is chosen of a torrent, and a choice of nothing.

use crate::sandbox::{Sandbox, same};
use crate::swarm::{LOCAL, address};

/// `data/tree` with three files, its torrent and its link.
fn tree() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    for (salt, name) in [(1, "a"), (2, "b"), (3, "c")] {
        sandbox.write(&format!("data/tree/{name}"), 60_000, salt);
    }
    assert_eq!(sandbox.run("create data/tree -o tree.torrent -q").code, 0);
    let link = sandbox.run("magnet tree.torrent").stdout.trim().to_owned();
    (sandbox, link)
}

#[test]
fn a_choice_of_nothing_has_its_code_and_ends_nothing_else() {
    let (sandbox, link) = tree();
    let mut seed = sandbox.start(&format!("seed tree.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    let download = |args: &str| sandbox.run(&format!("download {args} --peer {addr} {LOCAL} -q"));
    // The link chooses: it is an input that cannot be used.
    download(&format!("{link}&so=3 -o a")).fails(4, &["so=3", "it has 3", "--files"]);
    download(&format!("{link}&so=7-,9 -o a")).fails(4, &["so=7-"]);
    // The user chooses: that makes no sense.
    download(&format!("{link} --files 4 -o b")).fails(2, &["--files", "it has 3"]);
    download(&format!("{link} --files 5- -o b")).fails(2, &["--files", "it has 3"]);
    download("tree.torrent --files 4 -o c").fails(2, &["no file 4", "has 3"]);
    download("tree.torrent --files 4- -o c").fails(2, &["no file 4", "has 3"]);
    download("tree.torrent --files 0 -o c").fails(2, &["1,3-5"]);
    // An empty choice in a link is none, and the user's outranks the link's.
    let ended = download(&format!("{link}&so= -o d"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(sandbox.path("d/tree/c").exists());
    let ended = download(&format!("{link}&so=9 --files 2 -o e"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(same(&sandbox.path("data/tree/b"), &sandbox.path("e/tree/b")));
    // Others are fetched.
    sandbox.write("data/other", 60_000, 4);
    assert_eq!(sandbox.run("create data/other -o other.torrent -q").code, 0);
    let mut other = sandbox.start(&format!("seed other.torrent --data data --json {LOCAL}"));
    let second = address(&mut other);
    let ended = download(&format!("{link}&so=9 other.torrent -o f --peer {second}"));
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(same(&sandbox.path("data/other"), &sandbox.path("f/other")));
}

#[test]
fn a_choice_without_an_end_goes_to_the_last_file_and_is_read_as_it_is_shown() {
    let (sandbox, link) = tree();
    let shown = sandbox.run(&format!("info {link}&so=1-")).stdout;
    assert!(shown.contains("only files      2- (so=1-)\n"), "{shown}");
    let mut seed = sandbox.start(&format!("seed tree.torrent --data data --json {LOCAL}"));
    let addr = address(&mut seed);
    for (number, args) in [(0, format!("{link}&so=1-")), (1, "tree.torrent --files 2-".into())] {
        let ended = sandbox.run(&format!("download {args} -o {number} -q --peer {addr} {LOCAL}"));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let file = |name: &str| sandbox.path(&format!("{number}/tree/{name}"));
        for name in ["b", "c"] {
            assert!(same(&sandbox.path("data/tree").join(name), &file(name)), "{args}");
        }
        assert!(!file("a").exists(), "{args}");
    }
}
