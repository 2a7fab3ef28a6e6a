//! The commands that work on files alone: create, info, verify, completions, man; and usage errors.

use std::fs;

use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn usage_errors_are_one_line_and_end_in_code_2() {
    let sandbox = Sandbox::new();
    for line in [
        "frobnicate",
        "download",
        "download x.torrent --down fast",
        "download x.torrent --down 0",
        "download x.torrent --files 0",
        "download x.torrent --seed-ratio -1",
        "download x.torrent --runtime tokio",
        "info x.torrent --jsn",
        "create x -o y --piece-length 1000",
        "tracker --listen somewhere",
        "man frobnicate",
    ] {
        let ended = sandbox.run(line);
        ended.fails(2, &["--help"]);
        assert_eq!(ended.stdout, "", "{line}");
    }
    assert_eq!(sandbox.run("").code, 2);
}

#[test]
fn help_and_version_are_results() {
    let sandbox = Sandbox::new();
    for line in ["--help", "--version", "download --help", "help seed"] {
        let ended = sandbox.run(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{line}");
        assert!(!ended.stdout.is_empty());
    }
}

#[test]
fn a_magnet_link_is_printed_and_read() {
    let sandbox = Sandbox::new();
    sandbox.write("content", 20_000, 1);
    sandbox.run("create content -o t.torrent -q -t http://a/announce -t udp://b:1");
    let infohash = sandbox.run("info t.torrent --json").json()["infohash_v1"].clone();
    let printed = sandbox.run("magnet t.torrent --peer [::1]:5 --peer a.example:6");
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let link = printed.stdout.trim();
    let said = sandbox.run_with(["info", link, "--json"]).json();
    assert_eq!(said["infohash_v1"], infohash);
    assert_eq!(said["name"], "content");
    assert_eq!(said["trackers"], json!(["http://a/announce", "udp://b:1"]));
    assert_eq!(said["peers"], json!(["[::1]:5", "a.example:6"]));
    sandbox.run_with(["verify", link, "--data", "."]).fails(4, &["bitswarm metadata"]);
    sandbox.run_with(["download", link, "--list"]).fails(2, &["bitswarm metadata"]);
    sandbox.run_with(["magnet", link]).fails(4, &["torrent file is needed"]);
}

#[test]
fn info_says_what_create_was_told() {
    let sandbox = Sandbox::new();
    sandbox.write("tree/b/ü 文.bin", 70_000, 1);
    sandbox.write("tree/a.bin", 40_000, 2);
    sandbox.write("tree/empty", 0, 3);
    let created = sandbox.run_with([
        "create",
        "tree",
        "-o",
        "t.torrent",
        "-t",
        "http://a/announce",
        "--tracker",
        "udp://b:1",
        "--piece-length",
        "32KiB",
        "--private",
        "--comment",
        "two words",
        "--created-by",
        "me",
        "--date",
        "951782400",
        "--protocol",
        "v1",
        "--json",
    ]);
    assert_eq!(created.code, 0, "{}", created.stderr);
    let file = |path: &str, length: u64| {
        json!({
            "path": path,
            "length": length,
            "pieces_root": null,
            "executable": false,
            "hidden": false,
        })
    };
    let info = sandbox.run("info t.torrent --json").json();
    let mut expected = created.json();
    assert_eq!(expected.as_object_mut().unwrap().remove("path"), Some(json!("t.torrent")));
    assert_eq!(info, expected);
    assert_eq!(info["v"], 1);
    assert_eq!(info["name"], "tree");
    assert_eq!(info["infohash_v1"].as_str().unwrap().len(), 40);
    assert_eq!(info["infohash_v2"], json!(null));
    assert_eq!(info["piece_length"], 32_768);
    assert_eq!(info["pieces"], 4);
    assert_eq!(info["total_size"], 110_000);
    assert_eq!(
        info["files"],
        json!([file("a.bin", 40_000), file("b/ü 文.bin", 70_000), file("empty", 0),])
    );
    assert_eq!(info["private"], true);
    assert_eq!(info["trackers"], json!([["http://a/announce"], ["udp://b:1"]]));
    assert_eq!(info["comment"], "two words");
    assert_eq!(info["created_by"], "me");
    assert_eq!(info["creation_date"], 951_782_400);

    let shown = sandbox.run("info t.torrent").stdout;
    for part in ["tree", "b/ü 文.bin", "udp://b:1", "two words", "2000-02-29 00:00:00 UTC"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn create_gives_the_same_torrent_for_the_same_content() {
    let sandbox = Sandbox::new();
    sandbox.write("one.bin", 100_000, 1);
    let make = |name: &str| {
        let line = format!("create one.bin -o {name} --date none --created-by none -q");
        assert_eq!(sandbox.run(&line).code, 0);
        fs::read(sandbox.path(name)).unwrap()
    };
    let first = make("first.torrent");
    assert_eq!(first, make("second.torrent"));
    assert!(!String::from_utf8_lossy(&first).contains("creation date"));
    assert!(!String::from_utf8_lossy(&first).contains("created by"));
    let names: Vec<_> = fs::read_dir(sandbox.path("")).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(names.len(), 3, "nothing else is left: {names:?}");
}

#[test]
fn torrents_of_each_protocol_are_made_shown_and_verified() {
    let sandbox = Sandbox::new();
    let a = sandbox.write("tree/a", 70_000, 1);
    sandbox.write("tree/b/c", 5, 2);
    sandbox.write("tree/empty", 0, 3);
    for (protocol, v1, v2) in [("v1", true, false), ("v2", false, true), ("hybrid", true, true)] {
        let line = format!("create tree -o {protocol}.torrent --protocol {protocol} -l 32K -q");
        assert_eq!(sandbox.run(&line).code, 0);
        let info = sandbox.run(&format!("info {protocol}.torrent --json")).json();
        assert_eq!(info["infohash_v1"].is_string(), v1, "{protocol}");
        assert_eq!(info["infohash_v2"].is_string(), v2, "{protocol}");
        assert_eq!(info["meta_version"], if v2 { 2 } else { 1 });
        assert_eq!(info["files"][0]["pieces_root"].is_string(), v2);
        assert_eq!(info["files"][2]["pieces_root"], json!(null));
        assert_eq!(info["total_size"], 70_005);
        let link = sandbox.run(&format!("magnet {protocol}.torrent")).stdout;
        assert_eq!((link.contains("urn:btih:"), link.contains("urn:btmh:1220")), (v1, v2));
        let said = sandbox.run_with(["info", link.trim(), "--json"]).json();
        assert_eq!(said["infohash_v1"], info["infohash_v1"]);
        assert_eq!(said["infohash_v2"], info["infohash_v2"]);

        let verify = format!("verify {protocol}.torrent --data . -q --json");
        let verified = sandbox.run(&verify);
        assert_eq!((verified.code, &verified.json()["ok"]), (0, &json!(true)), "{protocol}");
        let original = fs::read(&a).unwrap();
        let mut changed = original.clone();
        changed[40_000] ^= 1;
        fs::write(&a, &changed).unwrap();
        let verified = sandbox.run(&verify);
        assert_eq!(verified.code, 13);
        assert_eq!(verified.json()["files"][0]["status"], "differs");
        assert_eq!(verified.json()["files"][0]["bad_runs"], json!([[1, 1]]));
        assert_eq!(verified.json()["contradictions"], 0);
        fs::write(&a, &original).unwrap();
    }
    let same = |a: &str, b: &str, key: &str| {
        let of = |name| sandbox.run(&format!("info {name}.torrent --json")).json()[key].clone();
        assert_eq!(of(a), of(b), "{key}");
    };
    same("v2", "hybrid", "files");
    for protocol in ["v1", "v2", "hybrid"] {
        let line = format!("verify hybrid.torrent --data . -q --protocol {protocol}");
        assert_eq!(sandbox.run(&line).code, 0);
    }
    sandbox.run("verify v1.torrent --data . -q --protocol v2").fails(4, &["no hashes of v2"]);
    sandbox.run("verify v2.torrent --data . -q --protocol v1").fails(4, &["no hashes of v1"]);
    let link = sandbox.run("magnet v2.torrent").stdout;
    // Nobody has its metadata, which is another matter than a link that cannot be read.
    let alone = ["--bind", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd", "-q"];
    let download = ["download", link.trim(), "-o", "x", "--stall-timeout", "500ms"];
    sandbox.run_with(download.into_iter().chain(alone)).fails(6, &["no peer"]);
}

#[test]
fn create_takes_what_it_is_told_to_take() {
    let sandbox = Sandbox::new();
    for name in ["a.flac", "b.txt", ".hidden", "disc/c.flac", "disc/.x/d.flac", "disc/e.log"] {
        sandbox.write(&format!("tree/{name}"), 10, 1);
    }
    let files = |options: &str| -> Vec<String> {
        let said = sandbox.run(&format!("create tree --dry-run --json {options}"));
        assert_eq!(said.code, 0, "{}", said.stderr);
        let files = said.json()["files"].as_array().unwrap().clone();
        files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(files("").len(), 6);
    assert_eq!(files("--include *.flac"), ["a.flac", "disc/.x/d.flac", "disc/c.flac"]);
    assert_eq!(files("--include *.flac --no-hidden"), ["a.flac", "disc/c.flac"]);
    assert_eq!(files("--include disc --exclude *.log"), ["disc/.x/d.flac", "disc/c.flac"]);
    assert_eq!(files("--exclude disc/** --exclude .*"), ["a.flac", "b.txt"]);
    sandbox.run("create tree --dry-run --include *.nothing").fails(4, &["no file"]);
    sandbox.run("create tree --dry-run --include [").fails(2, &["--help"]);
    assert!(!sandbox.path("tree.torrent").exists());
}

#[test]
fn create_writes_the_same_bytes_to_stdout_and_to_the_file_of_its_own_name() {
    let sandbox = Sandbox::new();
    sandbox.write("one.bin", 100_000, 1);
    let made = sandbox.run("create one.bin -q --date none");
    assert_eq!(made.code, 0, "{}", made.stderr);
    let file = fs::read(sandbox.path("one.bin.torrent")).unwrap();
    let mut command = sandbox.command("create one.bin -q --date none -o -".split(' '));
    assert_eq!(command.output().unwrap().stdout, file);
    sandbox.run("create one.bin -o - --json").fails(2, &["stdout"]);
    let mut command = sandbox.command("create one.bin -q --force -o dated".split(' '));
    assert!(command.env("SOURCE_DATE_EPOCH", "951782400").status().unwrap().success());
    assert_eq!(sandbox.run("info dated --json").json()["creation_date"], 951_782_400);
    let mut command = sandbox.command("create one.bin -q --force -o dated".split(' '));
    let refused = command.env("SOURCE_DATE_EPOCH", "today").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn trackers_in_tiers_web_seeds_and_nodes_are_written_and_edited() {
    let sandbox = Sandbox::new();
    sandbox.write("one.bin", 100_000, 1);
    sandbox.torrent(
        "one.bin",
        "-t http://a/announce,http://b/announce -t udp://c:1 -w http://seed/x --node n:5 -s here",
    );
    let info = || sandbox.run("info one.bin.torrent --json").json();
    let before = info();
    let tiers = json!([["http://a/announce", "http://b/announce"], ["udp://c:1"]]);
    assert_eq!(before["trackers"], tiers);
    assert_eq!(before["web_seeds"], json!(["http://seed/x"]));
    assert_eq!(before["nodes"], json!([["n", 5]]));
    assert_eq!(before["source"], "here");

    let line = "edit one.bin.torrent --remove-tracker http://a/announce --add-tracker udp://d:2 \
                --no-nodes -c changed --date none";
    let edited = sandbox.run(line);
    assert_eq!(edited.code, 0, "{}", edited.stderr);
    assert!(edited.stdout.contains("the infohash is the same"), "{}", edited.stdout);
    let after = info();
    assert_eq!(after["infohash_v2"], before["infohash_v2"]);
    assert_eq!(after["trackers"], json!([["http://b/announce"], ["udp://c:1"], ["udp://d:2"]]));
    assert_eq!((&after["comment"], &after["nodes"]), (&json!("changed"), &json!([])));
    assert_eq!(after["creation_date"], json!(null));

    let edited = sandbox.run("edit one.bin.torrent -s there --private yes -o other.torrent");
    assert!(edited.stdout.contains("infohash is another"), "{}", edited.stdout);
    assert_eq!(info(), after, "the original stays");
    sandbox.run("edit one.bin.torrent").fails(2, &["nothing to change"]);

    let diff = sandbox.run("diff one.bin.torrent other.torrent");
    diff.fails(13, &["differ"]);
    assert!(diff.stdout.contains("source: here / there"), "{}", diff.stdout);
    assert!(diff.stdout.contains("private: false / true"), "{}", diff.stdout);
    let diff = sandbox.run("diff one.bin.torrent other.torrent --json").json();
    assert_eq!((&diff["same"], &diff["same_content"]), (&json!(false), &json!(true)));
    assert_eq!(sandbox.run("diff one.bin.torrent one.bin.torrent").code, 0);
    sandbox.write("one.bin", 100_000, 2);
    sandbox.run("create one.bin -o changed.torrent -q");
    let diff = sandbox.run("diff one.bin.torrent changed.torrent --json").json();
    assert_eq!(diff["files"], json!([{ "path": "one.bin", "difference": "content" }]));
}

#[test]
fn lint_tells_harm_from_what_is_unusual() {
    let sandbox = Sandbox::new();
    sandbox.write("tree/a", 10, 1);
    sandbox.write("tree/b", 10, 2);
    sandbox.torrent("tree", "");
    let good = sandbox.run("lint tree.torrent");
    assert_eq!((good.code, good.stderr.as_str()), (0, ""), "{}", good.stdout);
    sandbox.run("create tree -o v1.torrent --protocol v1 -q");
    let unusual = sandbox.run("lint v1.torrent --json");
    assert_eq!(unusual.code, 0, "{}", unusual.stderr);
    assert_eq!(unusual.json()["findings"][0]["finding"], "unaligned");
    sandbox.run("create tree -o private.torrent --private -q");
    let harmful = sandbox.run("lint private.torrent");
    harmful.fails(4, &["harmful"]);
    assert!(harmful.stdout.contains("no peer can be found"), "{}", harmful.stdout);
}

#[test]
fn create_refuses_what_makes_no_torrent() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("nothing")).unwrap();
    sandbox.write("empty", 0, 1);
    sandbox.write("file", 10, 1);
    sandbox.run("create nothing -o x.torrent").fails(4, &["nothing"]);
    sandbox.run("create empty -o x.torrent").fails(4, &["empty"]);
    sandbox.run("create missing -o x.torrent").fails(11, &["missing"]);
    sandbox.run("create file -o nowhere/x.torrent").fails(11, &["nowhere"]);
    sandbox.run("create file -o file/x.torrent").fails(11, &["file"]);
    assert!(!sandbox.path("x.torrent").exists());
}

#[test]
fn bad_input_ends_in_code_4_and_missing_input_in_11() {
    let sandbox = Sandbox::new();
    sandbox.write("content", 100_000, 1);
    let good = fs::read(sandbox.torrent("content", "")).unwrap();
    fs::write(sandbox.path("text.torrent"), "This is no torrent.\n").unwrap();
    fs::write(sandbox.path("empty.torrent"), "").unwrap();
    fs::write(sandbox.path("cut.torrent"), &good[..good.len() / 2]).unwrap();
    fs::write(sandbox.path("other.torrent"), "d3:fooi1ee").unwrap();
    for name in ["text.torrent", "empty.torrent", "cut.torrent", "other.torrent"] {
        sandbox.run(&format!("info {name}")).fails(4, &[name]);
        sandbox.run(&format!("verify {name} --data .")).fails(4, &[name]);
        sandbox.run(&format!("download {name}")).fails(4, &[name]);
        sandbox.run(&format!("seed {name} --data .")).fails(4, &[name]);
    }
    sandbox.run("info magnet:?xt=urn:btih:00").fails(4, &["40 hexadecimal"]);
    sandbox.run("download magnet:?xt=urn:btih:00").fails(4, &["40 hexadecimal"]);
    sandbox.run("info missing.torrent").fails(11, &["missing.torrent", "check the path"]);
    fs::create_dir(sandbox.path("dir")).unwrap();
    sandbox.run("info dir").fails(11, &["dir"]);
}

#[test]
fn names_from_a_torrent_reach_the_terminal_without_escapes() {
    let sandbox = Sandbox::new();
    let torrent = "d7:comment7:\x1b[2J\u{202e}4:infod6:lengthi1e4:name9:a\x1b[2J\u{9b}.c\
                   12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
    fs::write(sandbox.path("evil.torrent"), torrent).unwrap();
    for line in ["info evil.torrent", "info evil.torrent --json", "download evil.torrent --list"] {
        let ended = sandbox.run(line);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let is_safe = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
        assert!(ended.stdout.chars().all(is_safe), "{:?}", ended.stdout);
    }
}

#[test]
fn verify_tells_whole_changed_missing_and_longer_files() {
    let sandbox = Sandbox::new();
    let a = sandbox.write("tree/a", 50_000, 1);
    let b = sandbox.write("tree/b", 50_000, 2);
    let empty = sandbox.write("tree/empty", 0, 3);
    sandbox.torrent("tree", "--piece-length 16KiB --protocol v1");
    let verify = || sandbox.run("verify tree.torrent --data . -q --json");
    let status = |number: usize| verify().json()["files"][number]["status"].clone();

    assert_eq!(verify().code, 0);
    assert_eq!(verify().json()["ok"], true);

    let original = fs::read(&a).unwrap();
    let mut changed = original.clone();
    changed[20_000] ^= 1;
    fs::write(&a, &changed).unwrap();
    let ended = verify();
    ended.fails(13, &["tree", "1 of 3 files", "bitswarm download"]);
    assert_eq!(ended.json()["pieces_ok"], 6);
    assert_eq!(ended.json()["files"][0]["path"], "a");
    assert_eq!(status(0), "differs");
    assert_eq!(status(1), "ok");

    // The last piece of the first file is shared with the second.
    changed = original.clone();
    changed[49_999] ^= 1;
    fs::write(&a, &changed).unwrap();
    assert_eq!((status(0), status(1)), (json!("unsure"), json!("unsure")));

    fs::write(&a, &original[..49_999]).unwrap();
    assert_eq!(status(0), "too_short");
    fs::write(&a, [&original[..], b"more"].concat()).unwrap();
    assert_eq!(verify().code, 13);
    assert_eq!(status(0), "too_long");
    fs::write(&a, &original).unwrap();

    fs::remove_file(&empty).unwrap();
    assert_eq!(verify().code, 13);
    assert_eq!(status(2), "missing");
    fs::create_dir(&empty).unwrap();
    assert_eq!(status(2), "not_a_file");
    fs::remove_dir(&empty).unwrap();
    fs::write(&empty, "").unwrap();

    fs::remove_file(&b).unwrap();
    let shown = sandbox.run("verify tree.torrent --data .");
    assert_eq!(shown.code, 13);
    assert!(shown.stdout.contains("tree/b: is missing"), "{}", shown.stdout);
    sandbox.run("verify tree.torrent --data nowhere").fails(11, &["nowhere"]);
}

#[test]
fn scripts_and_manual_pages_are_printed() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = sandbox.run(&format!("completions {shell}"));
        assert_eq!(script.code, 0);
        assert!(script.stdout.contains("download"), "{shell}");
    }
    assert!(sandbox.run("man").stdout.contains(".TH bitswarm 1"));
    assert_eq!(sandbox.run("man dht lookup").stdout, sandbox.run("man dht-lookup").stdout);
    assert!(sandbox.run("man dht lookup").stdout.contains("dht\\-lookup"));
    sandbox.run("man lookup").fails(2, &["lookup"]);
    sandbox.run("man dht download").fails(2, &["dht download"]);
    assert!(sandbox.run("man download").stdout.contains("stall"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_ends_in_code_9() {
    use std::process::Stdio;

    let sandbox = Sandbox::new();
    sandbox.write("content", 100, 1);
    sandbox.torrent("content", "");
    sandbox.run("create content -o /dev/full -q").fails(9, &["/dev/full", "disk is full"]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut info = sandbox.command(["info", "content.torrent"]);
    let status = info.stdout(Stdio::from(full)).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(9));
}

#[test]
fn what_is_no_torrent_is_called_what_it_is() {
    let sandbox = Sandbox::new();
    let kinds: [(&str, &[u8], &str); 6] = [
        ("page.torrent", b"\n<!DOCTYPE html>\n<html><body>log in</body></html>", "HTML page"),
        ("packed.torrent", b"\x1f\x8b\x08\0\0\0\0\0", "gunzip"),
        ("zip.torrent", b"PK\x03\x04\x14\0", "ZIP archive"),
        ("paper.torrent", b"%PDF-1.7\n", "PDF"),
        ("link.torrent", b"magnet:?xt=urn:btih:00\n", "infohash"),
        ("empty.torrent", b"", "empty"),
    ];
    for (name, bytes, word) in kinds {
        fs::write(sandbox.path(name), bytes).unwrap();
        for command in ["info", "magnet", "lint", "edit --comment x", "verify --data .", "scrape"] {
            sandbox.run(&format!("{command} {name}")).fails(4, &[name, word]);
        }
    }
    fs::create_dir(sandbox.path("folder")).unwrap();
    sandbox.run("info folder").fails(11, &["folder", "directory"]);
}

#[test]
fn edit_removes_only_trackers_that_are_there() {
    let sandbox = Sandbox::new();
    sandbox.write("content", 1_000, 1);
    let torrent = sandbox.torrent("content", "-t http://a.example/announce -t udp://b.example:1");
    let before = fs::read(&torrent).unwrap();
    let missing = "edit content.torrent --remove-tracker http://c.example/announce";
    let there = ["http://c.example/announce", "http://a.example/announce", "udp://b.example:1"];
    sandbox.run(missing).fails(2, &there);
    assert_eq!(fs::read(&torrent).unwrap(), before);
    let ended = sandbox.run("edit content.torrent --remove-tracker udp://b.example:1");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    sandbox.run("edit content.torrent --remove-tracker udp://b.example:1").fails(2, &["b.example"]);
    assert!(!sandbox.run("info content.torrent").stdout.contains("b.example"));
    // Where there are none, that is said.
    assert_eq!(sandbox.run("edit content.torrent --no-trackers").code, 0);
    sandbox
        .run("edit content.torrent --remove-tracker http://a.example/announce")
        .fails(2, &["it has none"]);
}

#[test]
fn an_edited_torrent_goes_to_stdout_where_that_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("content", 1_000, 1);
    sandbox.torrent("content", "--comment old");
    let ended =
        sandbox.command(["edit", "content.torrent", "-o", "-", "--comment", "new"]).output();
    let bytes = ended.unwrap().stdout;
    assert!(bytes.windows(5).any(|part| part == b"3:new"));
    assert!(sandbox.run("info content.torrent").stdout.contains("old"));
}

#[test]
fn with_json_an_error_is_an_object_too() {
    let sandbox = Sandbox::new();
    let cases = [
        ("info missing.torrent --json", 11),
        ("verify missing.torrent --data . --json", 11),
        ("create missing --json", 11),
        ("download missing.torrent --json", 11),
        ("scrape missing.torrent --json", 11),
        ("lint missing.torrent --json", 11),
        ("download --json --no-such-option", 2),
        ("tracker --json --listen nowhere", 2),
    ];
    for (line, code) in cases {
        let ended = sandbox.run(line);
        ended.fails(code, &[]);
        let object = ended.json();
        assert_eq!((&object["event"], &object["code"]), (&json!("error"), &json!(code)), "{line}");
        let message = object["message"].as_str().unwrap();
        assert_eq!(ended.stderr, format!("bitswarm: {message}\n"), "{line}");
    }
    // What the results say is not said again.
    sandbox.write("a", 1_000, 1);
    sandbox.write("wrong/a", 1_000, 2);
    sandbox.torrent("a", "");
    let ended = sandbox.run("verify a.torrent --data wrong --json");
    assert_eq!((ended.code, ended.json()["ok"].as_bool()), (13, Some(false)));
}
