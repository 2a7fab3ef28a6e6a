//! What trees of v2 and hybrids have besides plain files (BEP 47), and what is in them that is large or
//! has odd lengths, to and from libtorrent; and leaf hashes (BEP 52), asked for and given.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitswarm_tests::interop::client::Client::Libtorrent;
use bitswarm_tests::interop::client::{Client, Peer as _, Runtime, Task};
use bitswarm_tests::interop::content::compare_files;
use bitswarm_tests::interop::hostile::{Harm, Hostile};
use bitswarm_tests::interop::lab::until;
use bitswarm_tests::interop::{
    Case, Content, Creator, Lab, Outcome, Process, Torrent, Tracker, bitswarm, libtorrent,
};

const BITSWARM: Client = Client::Bitswarm(Runtime::Mio);

pub(crate) fn cases() -> Vec<Case> {
    let lt = [Libtorrent.needs()];
    let mut cases = Vec::new();
    for (name, protocol) in [("v2", "v2"), ("hybrids", "hybrid")] {
        for (direction, from, to) in
            [("to_libtorrent", BITSWARM, Libtorrent), ("from_libtorrent", Libtorrent, BITSWARM)]
        {
            cases.push(Case::new(
                format!("links_attributes_and_odd_lengths_of_{name}_{direction}"),
                &lt,
                move |lab| attributes(lab, protocol, from, to),
            ));
            cases.push(Case::new(
                format!("three_thousand_files_of_{name}_{direction}"),
                &lt,
                move |lab| many_files(lab, protocol, from, to),
            ));
        }
        cases.push(Case::new(
            format!("sparse_file_of_gigabytes_in_{name}_is_read_alike_by_libtorrent"),
            &lt,
            move |lab| sparse(lab, protocol),
        ));
    }
    cases.push(Case::new("libtorrent_tells_us_which_block_is_wrong", &lt, leaves_from_libtorrent));
    for (name, encryption) in [("", "off"), ("_encrypted", "require")] {
        let name = format!("we_tell_libtorrent_which_block_is_wrong{name}");
        cases.push(Case::new(name, &lt, move |lab| leaves_to_libtorrent(lab, encryption)));
    }
    cases
}

/// A hybrid of long pieces and a peer that spoils the first block of each.
fn spoilt(lab: &Lab, tracker: &Tracker) -> Outcome<(Torrent, Hostile)> {
    let content = Content::single(lab, "wanted.bin", 20_000_000)?;
    let url = tracker.url();
    let torrent = Torrent::create(lab, content, Creator::BitswarmHybrid, 1 << 20, &url)?;
    let liar = Hostile::start(lab, &torrent, Harm::CorruptFirstBlocks)?;
    tracker.add_peer(torrent.infohash, liar.seat().addr());
    Ok((torrent, liar))
}

/// A piece fails that libtorrent and a liar sent together: libtorrent is asked for its leaf hashes. Whoever
/// sent a piece alone is known without them, so there is more than one try.
fn leaves_from_libtorrent(lab: &Lab) -> Outcome {
    for _ in 0..4 {
        if leaves_told_by_libtorrent(lab)? > 0 {
            return Ok(());
        }
    }
    Err("libtorrent told us of no block in four downloads".into())
}

/// How many answers with leaf hashes we get from libtorrent in a download.
fn leaves_told_by_libtorrent(lab: &Lab) -> Outcome<usize> {
    let tracker = Tracker::start(lab)?;
    let (torrent, liar) = spoilt(lab, &tracker)?;
    let task = Task::seed(&torrent).up(1_500_000).telling_hashes();
    let seed = libtorrent::Libtorrent::start(lab, &task)?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let root = lab.make_dir("download")?;
    let mut leech = BITSWARM.start(lab, &Task::leech(&torrent, &root))?;
    until("the download", Duration::from_secs(90), || Ok(leech.is_complete()?.then_some(())))?;
    torrent.content.compare(&root)?;
    let (asked, given) = (seed.count("hash_request"), seed.count("hashes_sent"));
    println!(
        "{} wrong blocks; libtorrent was asked {asked} times, and told {given} times",
        liar.corrupt_blocks()
    );
    Ok(given)
}

/// The other way round: libtorrent asks us. What it asks it may ask of the liar alone, so it has more
/// than one try.
fn leaves_to_libtorrent(lab: &Lab, encryption: &'static str) -> Outcome {
    for _ in 0..4 {
        if leaves_told_to_libtorrent(lab, encryption)? > 0 {
            return Ok(());
        }
    }
    Err("libtorrent was told of no block in four downloads".into())
}

/// How many answers with leaf hashes libtorrent gets in a download.
fn leaves_told_to_libtorrent(lab: &Lab, encryption: &'static str) -> Outcome<usize> {
    let tracker = Tracker::start(lab)?;
    let (torrent, liar) = spoilt(lab, &tracker)?;
    let task = Task::seed(&torrent).up(1_500_000);
    // Over MSE libtorrent 2.0 goes over to v2 only if the infohash is that of v2, not by the reserved
    // bit, and of who speaks v1 it asks no hashes: we dial it again, by v2.
    let options = ["--encryption", encryption];
    let seed = bitswarm::Bitswarm::start_with(lab, lab.seat(), &task, &options)?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let root = lab.make_dir("download")?;
    let task = Task::leech(&torrent, &root).telling_hashes();
    let mut leech = libtorrent::Libtorrent::start(lab, &task)?;
    until("the download", Duration::from_secs(90), || Ok(leech.is_complete()?.then_some(())))?;
    torrent.content.compare(&root)?;
    let (asked, told) = (leech.count("hash_request_sent"), leech.count("hashes"));
    let rejected = leech.count("hash_reject");
    println!(
        "{} wrong blocks; libtorrent asked {asked} times, was told {told} times and refused {rejected}",
        liar.corrupt_blocks()
    );
    Ok(told)
}

/// Makes a torrent with our own program and further options.
fn create(
    lab: &Lab,
    content: Content,
    protocol: &str,
    tracker: &str,
    options: &[&str],
) -> Outcome<Torrent> {
    let path = lab.make_dir("torrent")?.join("made.torrent");
    let mut create = bitswarm::command(lab);
    create.arg("create").arg(content.path()).arg("-o").arg(&path).args(["--quiet", "--force"]);
    create.args(["--protocol", protocol, "--tracker", tracker]).args(options);
    run(lab, create)?;
    Torrent::read(path, content)
}

/// Runs a command that must end well; what it printed.
fn run(lab: &Lab, command: std::process::Command) -> Outcome<String> {
    let mut process = Process::spawn(lab, "command", &command)?;
    match process.exit_code(Duration::from_secs(300))? {
        0 => Ok(process.stdout()),
        code => Err(format!("{command:?}: exit code {code}: {}", process.stderr()).into()),
    }
}

fn attributes(lab: &Lab, protocol: &'static str, from: Client, to: Client) -> Outcome {
    let files = [
        (".hidden/.file", 777),
        ("bin/run", 20_000),
        ("empty", 0),
        ("one byte", 1),
        ("pieces and a byte", 4 * 32_768 + 1),
        ("pieces less a byte", 2 * 32_768 - 1),
        ("whole pieces", 3 * 32_768),
    ];
    let content = Content::make(lab, "tree", &files)?;
    fs::set_permissions(content.path().join("bin/run"), Permissions::from_mode(0o755))?;
    let links = [("a link", "bin/run"), ("bin/up", "../one byte"), (".hidden/to", "../bin/run")];
    for (link, target) in links {
        symlink(target, content.path().join(link))?;
    }
    let options = ["--symlinks", "--piece-length", "32KiB"];
    let tree = transfer(lab, content, protocol, &options, from, to)?.join("tree");
    for (link, target) in links {
        let made = fs::read_link(tree.join(link)).map_err(|error| format!("{link}: {error}"))?;
        if made != Path::new(target) {
            return Err(format!("{link} leads to {}", made.display()).into());
        }
    }
    for (path, _) in files {
        let mode = fs::metadata(tree.join(path))?.permissions().mode();
        assert_eq!(mode & 0o100 != 0, path == "bin/run", "{path}: {mode:o}");
    }
    Ok(())
}

/// Most end amid a block, some are empty, and a few have several pieces.
fn many_files(lab: &Lab, protocol: &'static str, from: Client, to: Client) -> Outcome {
    let paths: Vec<String> = (0..3_000).map(|n| format!("{:02}/{:04}", n % 41, n)).collect();
    let files: Vec<(&str, u64)> =
        paths.iter().zip(0..).map(|(path, n)| (path.as_str(), n * 97 % 40_000)).collect();
    let content = Content::make(lab, "tree", &files)?;
    transfer(lab, content, protocol, &["--piece-length", "16KiB"], from, to).map(drop)
}

/// We make a torrent of it, one shares it and the other gets all of it; where that lies then.
fn transfer(
    lab: &Lab,
    content: Content,
    protocol: &'static str,
    options: &[&str],
    from: Client,
    to: Client,
) -> Outcome<PathBuf> {
    let tracker = Tracker::start(lab)?;
    let torrent = create(lab, content, protocol, &tracker.url(), options)?;
    let root = lab.make_dir("download")?;
    let mut seed = from.start(lab, &Task::seed(&torrent))?;
    tracker.add_peer(torrent.infohash, seed.seat().addr());
    let mut leech = to.start(lab, &Task::leech(&torrent, &root))?;
    until("the download", Duration::from_secs(90), || {
        seed.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    leech.stop()?;
    for (path, _) in torrent.content.files() {
        compare_files(&torrent.content.root().join(path), &root.join(path))?;
    }
    Ok(root)
}

/// 4 GiB of which next to nothing is on disk, and a file that begins beyond the first 2^32 bytes:
/// both make the same torrent of it, libtorrent finds it whole, and we get the second file from there.
fn sparse(lab: &Lab, protocol: &'static str) -> Outcome {
    const LENGTH: u64 = (4 << 30) + 12_345;
    let content = Content::make(lab, "large", &[("a sparse", 0), ("z", 100_000)])?;
    let sparse = File::options().write(true).open(content.path().join("a sparse"))?;
    sparse.set_len(LENGTH)?;
    for at in [0, (2 << 30) - 7, (4 << 30) - 1, LENGTH - 14] {
        sparse.write_all_at(b"here and there", at)?;
    }
    let made = super::create::same_info(lab, &content.path(), 16 << 20, protocol, &[])?;
    let torrent = Torrent::read(made, content)?;
    // It looks at everything before it gives anything.
    let mut seed = Libtorrent.start(lab, &Task::seed(&torrent))?;
    let peer = seed.seat().addr().to_string();
    let root = lab.make_dir("download")?;
    let (task, only) = (Task::leech(&torrent, &root), ["--files", "2", "--peer", &peer]);
    let mut leech = bitswarm::Bitswarm::start_with(lab, lab.seat(), &task, &only)?;
    until("the second file", Duration::from_secs(300), || {
        seed.process().ensure_running()?;
        Ok(leech.is_complete()?.then_some(()))
    })?;
    compare_files(&torrent.content.path().join("z"), &root.join("large/z"))
}
