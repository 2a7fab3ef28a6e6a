//! The user's data: what is not the torrent's stays, what was changed is found, what is replaced keeps
//! its mode, and nothing is opened or made that need not be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::sandbox::{Ended, Running, Sandbox, same};

const LOCAL: &str = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd --no-pex";

/// `data/album` with two files, its torrent, and a seed of it.
struct Scene {
    sandbox: Sandbox,
    seed: Option<Running>,
    addr: String,
}

impl Scene {
    fn new(options: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("data/album/a.flac", 100_000, 1);
        sandbox.write("data/album/notes.txt", 70_000, 2);
        let line = format!("create data/album -o album.torrent -q --piece-length 16KiB {options}");
        assert_eq!(sandbox.run(&line).code, 0);
        Scene { sandbox, seed: None, addr: String::new() }
    }

    fn seeded(options: &str) -> Self {
        let mut scene = Self::new(options);
        let line = format!("seed album.torrent --data data --json --state-dir seed {LOCAL}");
        let mut seed = scene.sandbox.start(&line);
        scene.addr = seed.wait_for("listening")["addr"].as_str().unwrap().to_owned();
        scene.seed = Some(seed);
        scene
    }

    fn download(&self, options: &str) -> Ended {
        let peer =
            if self.addr.is_empty() { String::new() } else { format!("--peer {}", self.addr) };
        let line = format!("download album.torrent -o d -q {peer} {LOCAL} {options}");
        self.sandbox.run(&line)
    }

    fn verify(&self) -> Ended {
        self.sandbox.run("verify album.torrent --data d -q")
    }

    #[track_caller]
    fn is_whole(&self) {
        for name in ["a.flac", "notes.txt"] {
            let [from, to] = ["data", "d"].map(|d| self.sandbox.path(&format!("{d}/album/{name}")));
            assert!(same(&from, &to), "{name}");
        }
        assert_eq!(self.verify().code, 0);
    }
}

#[test]
fn a_file_of_the_users_own_stays_and_nothing_is_begun_beside_it() {
    for options in ["--protocol v1", "--protocol v2", "--protocol hybrid"] {
        let scene = Scene::seeded(options);
        let notes = scene.sandbox.path("d/album/notes.txt");
        for thesis in [b"my thesis".to_vec(), vec![7; 200_000], Vec::new(), vec![0; 70_000]] {
            fs::create_dir_all(scene.sandbox.path("d/album")).unwrap();
            fs::write(&notes, &thesis).unwrap();
            scene.download("").fails(11, &["d/album/notes.txt", "--overwrite"]);
            assert_eq!(fs::read(&notes).unwrap(), thesis);
            assert!(!scene.sandbox.path("d/album/a.flac").exists(), "{options}: it was begun");
        }
        let ended = scene.download("--overwrite");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        scene.is_whole();
    }
}

#[test]
fn another_clients_partial_download_is_gone_on_with() {
    let scene = Scene::seeded("");
    fs::create_dir_all(scene.sandbox.path("d/album")).unwrap();
    let mut part = fs::read(scene.sandbox.path("data/album/a.flac")).unwrap();
    part[20_000..90_000].fill(0);
    part[16_384..20_000].fill(0);
    fs::write(scene.sandbox.path("d/album/a.flac"), &part[..95_000]).unwrap();
    let ended = scene.download("");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    scene.is_whole();
}

#[test]
fn a_file_with_other_names_is_not_written() {
    let scene = Scene::seeded("");
    fs::create_dir_all(scene.sandbox.path("d/album")).unwrap();
    let mut part = fs::read(scene.sandbox.path("data/album/a.flac")).unwrap();
    part[49_152..].fill(0);
    let backup = scene.sandbox.path("backup");
    fs::write(&backup, &part).unwrap();
    fs::hard_link(&backup, scene.sandbox.path("d/album/a.flac")).unwrap();
    scene.download("").fails(11, &["a.flac", "hard links"]);
    assert_eq!(fs::read(&backup).unwrap(), part);
    fs::remove_file(&backup).unwrap();
    assert_eq!(scene.download("").code, 0);
    scene.is_whole();
}

#[test]
fn whoever_is_killed_early_goes_on_later() {
    let scene = Scene::new("");
    let line = format!("download album.torrent -o d --json {LOCAL}");
    let mut first = scene.sandbox.start(&line);
    first.wait_for("checked");
    while !scene.sandbox.path("d/album/notes.txt").exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    first.signal("KILL");
    drop(first);
    let ended = scene.download("--stall-timeout 200ms");
    assert_eq!(ended.code, 6, "nobody has it, and nothing keeps us out: {}", ended.stderr);
}

/// What verify may say, and what was done to the data for it.
type Damage = (&'static str, fn(&Path));

#[test]
fn a_file_that_could_not_be_made_is_nobodys() {
    let scene = Scene::seeded("");
    let path = |name: &str| scene.sandbox.path(&format!("d/album/{name}"));
    // One of two places is taken: the run ends, and the other file may be there or not.
    let blocks: [fn(&Path); 2] =
        [|place| symlink("elsewhere", place).unwrap(), |place| fs::create_dir_all(place).unwrap()];
    for block in blocks {
        fs::create_dir_all(scene.sandbox.path("d/album")).unwrap();
        block(&path("notes.txt"));
        scene.download("").fails(11, &["notes.txt", "something else is in its place"]);
        fs::remove_dir_all(scene.sandbox.path("d")).unwrap();
        // What the user puts there afterwards is the user's.
        fs::create_dir_all(scene.sandbox.path("d/album")).unwrap();
        for name in ["a.flac", "notes.txt"] {
            fs::write(path(name), "my thesis").unwrap();
            scene.download("").fails(11, &[name, "--overwrite"]);
            assert_eq!(fs::read(path(name)).unwrap(), b"my thesis");
            fs::remove_file(path(name)).unwrap();
        }
        fs::remove_dir_all(scene.sandbox.path("d")).unwrap();
    }
}

#[test]
fn download_repairs_what_verify_complains_about() {
    let damages: [Damage; 7] = [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("too_short", |path| {
            File::options().write(true).open(path).unwrap().set_len(50_000).unwrap();
        }),
        ("too_long", |path| {
            let mut data = fs::read(path).unwrap();
            data.push(b'!');
            fs::write(path, data).unwrap();
        }),
        ("differs", |path| change(path, 3)),
        // Size and time are kept.
        ("differs", |path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            change(path, 40_000);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }),
        // As an editor does it.
        ("differs", |path| {
            let mut data = fs::read(path).unwrap();
            data[20_000] ^= 1;
            let new = path.with_extension("new");
            fs::write(&new, data).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("differs", |path| {
            let mut data = fs::read(path).unwrap();
            data[..16_384].fill(0);
            fs::write(path, data).unwrap();
        }),
    ];
    let scene = Scene::seeded("");
    assert_eq!(scene.download("").code, 0);
    for (number, (word, damage)) in damages.into_iter().enumerate() {
        damage(&scene.sandbox.path("d/album/a.flac"));
        // Also without being told by verify.
        if number % 2 == 0 {
            let found = scene.sandbox.run("verify album.torrent --data d --json");
            assert_eq!(found.code, 13);
            assert_eq!(found.json()["files"][0]["status"], word, "{}", found.stdout);
            assert!(
                found.stderr.contains("bitswarm download album.torrent -o d fetches"),
                "{}",
                found.stderr
            );
        }
        let ended = scene.download("");
        assert_eq!(ended.code, 0, "damage {number}: {}", ended.stderr);
        scene.is_whole();
    }
}

fn change(path: &Path, at: usize) {
    let mut data = fs::read(path).unwrap();
    data[at] ^= 1;
    fs::write(path, data).unwrap();
}

/// A change that nothing tells: by hand in the resume data, whose record is made to fit the file.
#[test]
fn a_change_that_shows_nowhere_is_found_by_check_and_told_by_verify() {
    for how in ["--check", "verify"] {
        let scene = Scene::seeded("");
        assert_eq!(scene.download("").code, 0);
        let path = scene.sandbox.path("d/album/a.flac");
        change(&path, 3);
        // Resume data is made to believe in the file as it is.
        let state = scene.sandbox.path("home/.local/state/bitswarm");
        rewrite_stats(&state, &path);
        assert_eq!(scene.download("").code, 0, "it is believed");
        assert_eq!(scene.sandbox.run("seed album.torrent --data d --list").code, 0);
        match how {
            "verify" => {
                assert_eq!(scene.verify().code, 13);
                assert_eq!(scene.download("").code, 0);
            }
            _ => assert_eq!(scene.download("--check").code, 0),
        }
        scene.is_whole();
    }
}

/// Has the newest resume data record the file `a.flac` as it is now.
fn rewrite_stats(state: &Path, path: &Path) {
    use bitswarm_core::piece::InfoHash;
    use bitswarm_core::storage::resume::Resume;

    let resume = find_resume(state).expect("a download was here");
    let name = resume.file_stem().unwrap().to_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&name[2 * at..2 * at + 2], 16).unwrap();
    let infohash = InfoHash(std::array::from_fn(byte));
    let mut known = Resume::decode(&fs::read(&resume).unwrap(), infohash).unwrap();
    let now = fs::metadata(path).unwrap();
    let nanos = |seconds: i64, nanos: i64| seconds * 1_000_000_000 + nanos;
    let file = known.files[0].as_mut().unwrap();
    file.modified_ns = nanos(now.mtime(), now.mtime_nsec());
    file.changed_ns = nanos(now.ctime(), now.ctime_nsec());
    fs::write(&resume, known.encode(infohash)).unwrap();
}

fn find_resume(dir: &Path) -> Option<std::path::PathBuf> {
    fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        let is_it = path.extension().is_some_and(|extension| extension == "resume");
        if is_it { Some(path) } else { find_resume(&path) }
    })
}

#[test]
fn a_lost_state_directory_costs_a_check_and_nothing_else() {
    let scene = Scene::seeded("");
    assert_eq!(scene.download("").code, 0);
    fs::remove_dir_all(scene.sandbox.path("home")).unwrap();
    assert_eq!(scene.download("").code, 0);
    scene.is_whole();
}

#[test]
fn a_home_that_cannot_be_written_is_told_and_gone_on_without() {
    let scene = Scene::seeded("");
    fs::write(scene.sandbox.path("home"), "a file").unwrap();
    let line = format!("download album.torrent -o d --peer {} {LOCAL}", scene.addr);
    let ended = scene.sandbox.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("--state-dir"), "{}", ended.stderr);
    scene.is_whole();
    scene.download("--state-dir home/x").fails(11, &["home/x"]);
}

#[test]
fn a_whole_tree_that_may_only_be_read_is_shared() {
    let scene = Scene::new("");
    let sandbox = &scene.sandbox;
    fs::write(sandbox.path("data/album/empty"), "").unwrap();
    let made = sandbox.run("create data/album -o album.torrent -q --force");
    assert_eq!(made.code, 0, "{}", made.stderr);
    let all = ["data/album/a.flac", "data/album/notes.txt", "data/album/empty"];
    let set = |dirs: u32, files: u32| {
        let set = |path: &str, mode| {
            fs::set_permissions(sandbox.path(path), Permissions::from_mode(mode)).unwrap();
        };
        all.iter().for_each(|path| set(path, files));
        ["data/album", "data"].iter().for_each(|path| set(path, dirs));
    };
    set(0o555, 0o444);
    let mut command = Command::new("setpriv");
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let plain = sandbox.command(
        format!("download album.torrent -o data --seed-ratio 0 {LOCAL}").split_whitespace(),
    );
    if is_root {
        // Root writes everywhere unless it gives that up.
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(plain.get_program());
        command.args(plain.get_args()).current_dir(plain.get_current_dir().unwrap());
        command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    } else {
        command = plain;
    }
    let output = command.output().unwrap();
    set(0o755, 0o644);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
}

#[test]
fn files_that_the_user_names_are_replaced_only_by_force() {
    let scene = Scene::new("");
    let sandbox = &scene.sandbox;
    let before = fs::read(sandbox.path("album.torrent")).unwrap();
    fs::write(sandbox.path("other"), "mine").unwrap();
    let link = "magnet:?xt=urn:btih:67e7ff5acf8589fc00f8b3c82cc32cdb3e35482c";
    let local = "--bind 127.0.0.1 --port 0 --no-dht --timeout 200ms";
    for line in [
        "create data/album -o other".to_owned(),
        "create data/album -o album.torrent".to_owned(),
        "edit album.torrent --comment x -o other".to_owned(),
        format!("metadata {link} -o other {local}"),
        format!("download album.torrent -o d --record other {LOCAL}"),
        format!("seed album.torrent --data data --record other {LOCAL}"),
    ] {
        sandbox.run(&line).fails(11, &["exists", "--force"]);
        assert_eq!(fs::read(sandbox.path("other")).unwrap(), b"mine", "{line}");
        assert_eq!(fs::read(sandbox.path("album.torrent")).unwrap(), before, "{line}");
    }
    assert_eq!(sandbox.run("create data/album -o other -q --force").code, 0);
    assert_eq!(sandbox.run("create data/album -o other -q --dry-run").code, 0);
    // In the working directory, under its own name.
    assert_eq!(sandbox.run("create data/album -q --force").code, 0);
    sandbox.run("create data/album -q").fails(11, &["album.torrent", "--force"]);
}

#[test]
fn edit_keeps_mode_and_link() {
    let scene = Scene::new("");
    let sandbox = &scene.sandbox;
    let torrent = sandbox.path("album.torrent");
    fs::set_permissions(&torrent, Permissions::from_mode(0o600)).unwrap();
    symlink("album.torrent", sandbox.path("link.torrent")).unwrap();
    assert_eq!(sandbox.run("edit link.torrent --comment changed").code, 0);
    assert_eq!(fs::metadata(&torrent).unwrap().mode() & 0o777, 0o600);
    assert!(sandbox.path("link.torrent").is_symlink());
    assert_eq!(sandbox.run("info album.torrent --json").json()["comment"], "changed");
    let long = sandbox.path(&"n".repeat(255));
    fs::rename(&torrent, &long).unwrap();
    let named = ["edit", long.to_str().unwrap(), "--comment", "again"];
    assert_eq!(sandbox.run_with(named).code, 0);
}

#[test]
fn a_long_name_is_cut_for_its_torrent() {
    let sandbox = Sandbox::new();
    let name = format!("{}ü", "n".repeat(245));
    sandbox.write(&name, 10, 1);
    assert_eq!(sandbox.run_with(["create", &name, "-q"]).code, 0);
    assert!(sandbox.path(&format!("{}ü.torrent", "n".repeat(245))).exists());
    let longer = format!("{}ü", "n".repeat(252));
    sandbox.write(&longer, 10, 1);
    assert_eq!(sandbox.run_with(["create", &longer, "-q"]).code, 0);
    assert!(sandbox.path(&format!("{}.torrent", "n".repeat(247))).exists());
}

#[test]
fn a_folder_behind_the_users_own_link_is_the_torrents() {
    for target in ["../elsewhere/music", "real", "/absolute"] {
        let scene = Scene::seeded("");
        let sandbox = &scene.sandbox;
        fs::create_dir(sandbox.path("d")).unwrap();
        let target = match target {
            "/absolute" => sandbox.path("absolute"),
            _ => target.into(),
        };
        let real = sandbox.path("d").join(&target);
        fs::create_dir_all(&real).unwrap();
        symlink(&target, sandbox.path("d/album")).unwrap();
        assert_eq!(scene.download("").code, 0);
        scene.is_whole();
        assert!(sandbox.path("d/album").is_symlink() && real.join("a.flac").is_file());
        let made = sandbox.run("create d/album -o again.torrent -q --piece-length 16KiB");
        assert_eq!(made.code, 0, "{}", made.stderr);
        let hash =
            |name: &str| sandbox.run(&format!("info {name} --json")).json()["infohash_v2"].clone();
        assert_eq!(hash("again.torrent"), hash("album.torrent"));
        let line = format!("seed album.torrent --data d --json --state-dir s {LOCAL}");
        let mut seed = sandbox.start(&line);
        let checked = seed.wait_for("checked");
        assert_eq!(checked["pieces_have"], checked["pieces"]);
    }
}

#[test]
fn a_link_that_a_torrent_made_is_not_followed() {
    let sandbox = Sandbox::new();
    sandbox.write("data/outer/real/file", 50_000, 1);
    symlink("real", sandbox.path("data/outer/inner")).unwrap();
    assert_eq!(sandbox.run("create data/outer -o outer.torrent -q --symlinks").code, 0);
    sandbox.write("more/inner/file", 50_000, 2);
    assert_eq!(sandbox.run("create more/inner -o inner.torrent -q").code, 0);
    let line = format!("seed outer.torrent --data data --json --state-dir seed {LOCAL}");
    let mut seed = sandbox.start(&line);
    let addr = seed.wait_for("listening")["addr"].as_str().unwrap().to_owned();
    let get = sandbox.run(&format!("download outer.torrent -o d -q --peer {addr} {LOCAL}"));
    assert_eq!(get.code, 0, "{}", get.stderr);
    assert!(sandbox.path("d/outer/inner").is_symlink());
    // Another torrent has the link's name, in the first one's folder.
    let line = format!("download inner.torrent -o d/outer -q --overwrite {LOCAL}");
    sandbox.run(&line).fails(11, &["d/outer/inner"]);
    assert!(same(&sandbox.path("data/outer/real/file"), &sandbox.path("d/outer/real/file")));
}

#[test]
fn every_file_that_create_takes_is_found_again() {
    let sandbox = Sandbox::new();
    for (number, name) in [
        "zero\u{200b}width",
        "\u{feff}bom",
        "soft\u{ad}hyphen",
        " space ",
        "emoji 👩\u{200d}🚀",
        "what?",
    ]
    .into_iter()
    .enumerate()
    {
        sandbox.write(&format!("data/tree\u{2060}/{name}"), 20_000, number as u64);
    }
    for protocol in ["v1", "v2", "hybrid"] {
        let tree = "data/tree\u{2060}";
        let made =
            sandbox.run_with(["create", tree, "-o", "t", "-q", "--force", "--protocol", protocol]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        let verified = sandbox.run("verify t --data data -q");
        assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
        let mut seed = sandbox.start(&format!("seed t --data data --json {LOCAL}"));
        let checked = seed.wait_for("checked");
        assert_eq!(checked["pieces_have"], checked["pieces"], "{protocol}");
    }
}

#[test]
fn verify_names_the_way_that_repairs_what_it_complains_about() {
    let scene = Scene::seeded("");
    let album = scene.sandbox.path("d/album");
    let notes = album.join("notes.txt");
    let says = |code: i32, word: &str, not: &str| {
        let ended = scene.verify();
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(ended.stderr.contains(word) && !ended.stderr.contains(not), "{}", ended.stderr);
    };
    assert_eq!(scene.download("").code, 0);
    // One of ours was changed in its place.
    fs::write(&notes, vec![7; 70_000]).unwrap();
    says(13, "bitswarm download album.torrent -o d fetches", "--overwrite");
    assert_eq!(scene.download("").code, 0);
    scene.is_whole();
    // Another has taken its place, as editors save files.
    fs::write(album.join("new"), vec![7; 70_000]).unwrap();
    fs::rename(album.join("new"), &notes).unwrap();
    says(13, "--overwrite", "--check");
    scene.download("").fails(11, &["notes.txt"]);
    assert_eq!(scene.download("--overwrite").code, 0);
    scene.is_whole();
    // A directory in its place, and a link that leads nowhere in the place of all.
    fs::remove_file(&notes).unwrap();
    fs::create_dir(&notes).unwrap();
    says(13, "move album/notes.txt away", "--overwrite");
    scene.download("").fails(11, &["notes.txt"]);
    fs::rename(&album, scene.sandbox.path("moved")).unwrap();
    symlink("nowhere", &album).unwrap();
    says(13, "move album away", "--overwrite");
    scene.download("").fails(11, &["d/album"]);
    fs::remove_file(&album).unwrap();
    says(13, "bitswarm download album.torrent -o d fetches what is missing", "--overwrite");
    assert_eq!(scene.download("").code, 0);
    scene.is_whole();
}
