//! Torrents made by us have the very `info` that libtorrent makes of the same content with the same
//! options, so that both are one swarm; and libtorrent reads what it does not make well itself.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bitswarm_tests::interop::bencode::Value;
use bitswarm_tests::interop::{
    Case, Content, Creator, Lab, Outcome, Process, Torrent, bitswarm, libtorrent,
};

/// Longest one run of either program may take.
const AT_ONCE: Duration = Duration::from_secs(300);

const PIECE_LENGTHS: [u64; 3] = [1 << 14, 1 << 16, 1 << 20];

/// Lengths around those of blocks and pieces.
const LENGTHS: [u64; 8] =
    [1, 16_383, 16_384, 16_385, 65_536, 65_537, 3 * 65_536, (1 << 20) + 70_001];

pub(crate) fn cases() -> Vec<Case> {
    let needs = [Creator::Libtorrent.needs()];
    let mut cases = Vec::new();
    for protocol in ["v1", "v2", "hybrid"] {
        let name = |what: &str| format!("info_of_{what}_is_that_of_libtorrent_for_{protocol}");
        cases.push(Case::new(name("one_file"), &needs, move |lab| one_file(lab, protocol)));
        cases.push(Case::new(name("folders"), &needs, move |lab| folders(lab, protocol)));
    }
    cases.push(Case::new("info_of_links_is_that_of_libtorrent", &needs, links));
    cases.push(Case::new(
        "libtorrent_reads_hybrids_in_the_order_of_their_tree",
        &needs,
        tree_order,
    ));
    cases.push(Case::new("what_libtorrent_makes_verifies_here", &needs, theirs_verifies));
    cases
}

fn one_file(lab: &Lab, protocol: &'static str) -> Outcome {
    for length in LENGTHS {
        let content = Content::single(lab, "one file.bin", length)?;
        for piece_length in PIECE_LENGTHS {
            same_info(lab, &content.path(), piece_length, protocol, &[])?;
        }
    }
    Ok(())
}

fn folders(lab: &Lab, protocol: &'static str) -> Outcome {
    let many: Vec<String> = (0..300).map(|n| format!("{:02}/{:03}", n % 7, n)).collect();
    let many: Vec<(&str, u64)> =
        many.iter().zip(0..).map(|(path, n)| (path.as_str(), n * 97 % 40_000)).collect();
    let trees: [&[(&str, u64)]; 6] = [
        &[("alone", 70_000)],
        &[("a", 5), ("b", 1), ("c", 16_384)],
        &[("a", 0), ("b", 65_536), ("c", 0), ("d", 65_537), ("e", 0)],
        &[("big", 1 << 20), ("d/e/f/g", 16_385), ("d/e/h", 1), ("z", 131_072)],
        &[("twin", 70_000), ("x/twin", 70_000)],
        &many,
    ];
    let mut contents = vec![Content::awkward_tree(lab)?];
    for files in trees {
        contents.push(Content::make(lab, "tree", files)?);
    }
    // The same bytes twice: one root, one layer.
    let twins = contents[5].path();
    fs::copy(twins.join("twin"), twins.join("x/twin"))?;
    fs::set_permissions(contents[4].path().join("z"), fs::Permissions::from_mode(0o755))?;
    for content in contents {
        for piece_length in PIECE_LENGTHS {
            same_info(lab, &content.path(), piece_length, protocol, &[])?;
        }
    }
    Ok(())
}

fn links(lab: &Lab) -> Outcome {
    let content = Content::make(lab, "tree", &[("bin/run", 20_000), ("z", 5)])?;
    symlink("bin/run", content.path().join("a-link"))?;
    symlink("../z", content.path().join("bin/up"))?;
    for protocol in ["v2", "hybrid"] {
        same_info(lab, &content.path(), 1 << 14, protocol, &["symlinks"])?;
    }
    Ok(())
}

/// Both make a torrent of it; the bytes of `info` are the same. Ours, without a tracker.
pub(crate) fn same_info(
    lab: &Lab,
    path: &Path,
    piece_length: u64,
    protocol: &str,
    options: &[&str],
) -> Outcome<PathBuf> {
    let dir = lab.make_dir("made")?;
    let (ours, theirs) = (dir.join("ours.torrent"), dir.join("theirs.info"));
    let mut create = bitswarm::command(lab);
    create.arg("create").arg(path).arg("-o").arg(&ours).args([
        "--protocol",
        protocol,
        "--quiet",
        "--force",
    ]);
    create.args(["--piece-length", &piece_length.to_string()]);
    create.args(options.iter().map(|option| format!("--{option}")));
    run(lab, &create)?;
    let mut info = libtorrent::script();
    info.arg("info").arg(path).arg(&theirs).args([&piece_length.to_string(), protocol]);
    run(lab, info.args(options))?;
    let path = ours;
    let (ours, theirs) = (fs::read(&path)?, fs::read(theirs)?);
    let span = Value::parse(&ours)?.span("info").ok_or("no info")?;
    if ours[span.clone()] != theirs {
        let (ours, theirs) = (ours[span].escape_ascii(), theirs.escape_ascii());
        let what = format!("{} with pieces of {piece_length}, {protocol}", path.display());
        return Err(format!("{what}: ours\n{ours}\ntheirs\n{theirs}").into());
    }
    Ok(path)
}

/// Runs a command that must end well; what it printed.
fn run(lab: &Lab, command: &Command) -> Outcome<String> {
    let mut process = Process::spawn(lab, "create", command)?;
    match process.exit_code(AT_ONCE)? {
        0 => Ok(process.stdout()),
        code => Err(format!("{command:?}: exit code {code}: {}", process.stderr()).into()),
    }
}

fn tree_order(lab: &Lab) -> Outcome {
    // As paths, `sub.x` comes before `sub/b`; in a file tree after it. libtorrent 2.1 orders by
    // paths when it makes such a torrent, and then refuses what it made.
    let content = Content::make(lab, "tree", &[("sub.x", 40_000), ("sub/b", 5), ("sub-c/d", 7)])?;
    let path = lab.make_dir("made")?.join("ours.torrent");
    let mut create = bitswarm::command(lab);
    create.arg("create").arg(content.path()).arg("-o").arg(&path).args(["--quiet", "--force"]);
    run(lab, create.args(["--piece-length", "16K"]))?;
    let said = run(lab, libtorrent::script().arg("load").arg(&path))?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    assert_eq!(said["event"], "loaded", "{said}");
    assert_eq!(said["files"], serde_json::json!(["tree/sub/b", "tree/sub-c/d", "tree/sub.x"]));
    let mut info = bitswarm::command(lab);
    let ours = run(lab, info.arg("info").arg(&path).arg("--json"))?;
    let ours: serde_json::Value = serde_json::from_str(&ours)?;
    assert_eq!((&said["v1"], &said["v2"]), (&ours["infohash_v1"], &ours["infohash_v2"]));
    Ok(())
}

fn theirs_verifies(lab: &Lab) -> Outcome {
    let dead = "http://127.0.0.1:1/announce";
    for content in [Content::awkward_tree(lab)?, Content::odd_file(lab)?] {
        let torrent =
            Torrent::create(lab, content.clone(), Creator::LibtorrentHybrid, 1 << 15, dead)?;
        for protocol in ["v1", "v2", "hybrid"] {
            let mut verify = bitswarm::command(lab);
            verify.arg("verify").arg(&torrent.path).arg("--data").arg(content.root());
            run(lab, verify.args(["--quiet", "--protocol", protocol]))?;
        }
    }
    Ok(())
}
