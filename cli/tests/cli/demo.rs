//! The demonstration, which is the whole of it at once.

use std::fs;

use crate::sandbox::{Sandbox, same};

#[test]
fn demo_transfers_everything_and_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run("demo --size 2MiB --json -q");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let told = ended.json();
    assert_eq!(told["identical"], true);
    assert_eq!(told["downloaders"], 3);
    let sent =
        told["sent_by_seeder"].as_u64().unwrap() + told["sent_by_downloaders"].as_u64().unwrap();
    assert!(sent >= 3 * (2 << 20), "{told}");
    assert_eq!(fs::read_dir(sandbox.path("")).unwrap().count(), 0);
}

#[test]
fn demo_keeps_its_files_where_it_was_told_to() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run("demo --size 100K --peers 1 --dir here --runtime async-std");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("the copies are equal to the original"), "{}", ended.stdout);
    let [original, copy] =
        ["here/seeder/demo.bin", "here/downloader-1/demo.bin"].map(|name| sandbox.path(name));
    assert_eq!(fs::metadata(&original).unwrap().len(), 102_400);
    assert!(same(&original, &copy));
    sandbox.run("demo --size 100K --dir here").fails(11, &["here", "not empty"]);
}
