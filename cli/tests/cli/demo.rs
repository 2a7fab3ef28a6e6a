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

#[test]
fn demo_says_how_far_its_content_is_and_leaves_nothing_when_it_is_interrupted() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["demo", "--size", "20GiB"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(stderr).map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("content: ")).unwrap();
    assert!(line.contains("of 20.0 GiB making, "), "{line}");
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(fs::read_dir(sandbox.path("")).unwrap().count(), 0);
}
