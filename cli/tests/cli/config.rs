//! Settings of the environment and the file, and what `config` shows of them.

use std::fs;
use std::process::Command;

use crate::sandbox::{Ended, Sandbox};

const LOCAL: &str = "--bind 127.0.0.1 --port 0 --no-dht --no-lsd";

/// Writes the settings' file where it is looked for without `XDG_CONFIG_HOME`.
fn write(sandbox: &Sandbox, text: &str) {
    let path = sandbox.path("home/.config/bitswarm/config.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// With a torrent, `t.torrent`, whose content lies whole in `data` and in `other`.
fn with_torrent() -> Sandbox {
    let sandbox = Sandbox::new();
    for dir in ["data", "other", "third"] {
        sandbox.write(&format!("{dir}/content"), 50_000, 1);
    }
    assert_eq!(sandbox.run("create data/content -o t.torrent -q").code, 0);
    sandbox
}

fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn the_command_line_outranks_variables_those_the_file_and_that_the_defaults() {
    let sandbox = with_torrent();
    let place = |args: &str, variable: Option<&str>| {
        let line = format!("download t.torrent -q {LOCAL} {args}");
        let mut command = sandbox.command(line.split_whitespace());
        if let Some(dir) = variable {
            command.env("BITSWARM_OUTPUT", dir);
        }
        let ended = ended(command);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stdout
    };
    write(&sandbox, "output = \"data\"\nstall-timeout = \"5s\"\n");
    assert_eq!(place("", None), "data/content: was complete already\n");
    assert_eq!(place("", Some("other")), "other/content: was complete already\n");
    assert_eq!(place("", Some("")), "data/content: was complete already\n", "empty is unset");
    assert_eq!(place("-o third", Some("other")), "third/content: was complete already\n");
    // Elsewhere the option means something else.
    let made = sandbox.run("create data/content -q");
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(sandbox.path("content.torrent").exists());
    write(&sandbox, "[download]\noutput = \"other\"\n[create]\noutput = \"made.torrent\"\n");
    assert_eq!(place("", None), "other/content: was complete already\n");
    assert_eq!(sandbox.run("create data/content -q").code, 0);
    assert!(sandbox.path("made.torrent").exists());
}

#[test]
fn config_home_is_where_xdg_says() {
    let sandbox = with_torrent();
    fs::create_dir_all(sandbox.path("xdg/bitswarm")).unwrap();
    fs::write(sandbox.path("xdg/bitswarm/config.toml"), "json = true\n").unwrap();
    let mut command = sandbox.command(["info", "t.torrent"]);
    command.env("XDG_CONFIG_HOME", sandbox.path("xdg"));
    assert_eq!(ended(command).json()["name"], "content");
    assert!(sandbox.run("info t.torrent").stdout.starts_with("name "));
}

#[test]
fn config_shows_each_value_and_its_source() {
    let sandbox = Sandbox::new();
    write(&sandbox, "down = \"2MiB\"\npeer = [\"a:1\", \"b:2\"]\n[create]\nprotocol = \"v1\"\n");
    let show = |args: &[&str]| {
        let mut command = sandbox.command(args);
        command.env("BITSWARM_NO_DHT", "true");
        let ended = ended(command);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended
    };
    let shown = show(&["config"]).stdout;
    let line = |key: &str| {
        let found = shown.lines().find(|line| line.split_whitespace().next() == Some(key));
        found.unwrap_or_else(|| panic!("{key}: {shown}")).to_owned()
    };
    assert!(line("down").contains("2MiB") && line("down").ends_with("config.toml"), "{shown}");
    assert!(line("peer").contains("a:1 b:2"), "{shown}");
    assert!(line("no-dht").contains("true") && line("no-dht").ends_with("BITSWARM_NO_DHT"));
    assert!(line("output").contains('.') && line("output").ends_with("default"), "{shown}");
    assert!(line("up").contains('-') && line("up").ends_with("default"), "{shown}");
    assert!(line("create.protocol").contains("v1"), "{shown}");
    let object = show(&["config", "--json"]).json();
    let values = object["values"].as_array().unwrap();
    let down = values.iter().find(|value| value["key"] == "down").unwrap();
    assert_eq!(down["value"], "2MiB");
    assert!(object["file"].as_str().unwrap().ends_with("bitswarm/config.toml"));
}

#[test]
#[cfg(unix)]
fn credentials_are_not_shown_and_others_who_may_read_them_are_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let sandbox = with_torrent();
    write(&sandbox, "tracker = [\"http://me:hunter2@127.0.0.1:9/announce\"]\n");
    let path = sandbox.path("home/.config/bitswarm/config.toml");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let run = || sandbox.run(&format!("download t.torrent -o data {LOCAL}"));
    mode(0o644);
    for line in ["config", "config --json"] {
        let shown = sandbox.run(line).stdout;
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("others may read"), "{shown}");
    }
    assert!(sandbox.run("config").stdout.contains("set (not shown)"));
    assert!(run().stderr.contains("others may read"));
    mode(0o600);
    assert!(!sandbox.run("config").stdout.contains("others may read"));
    assert!(!run().stderr.contains("others may read"));
}

#[test]
fn what_is_wrong_with_settings_is_one_line_that_names_them() {
    let sandbox = with_torrent();
    let broken = |text: &str, words: &[&str]| {
        write(&sandbox, text);
        sandbox.run("info t.torrent").fails(2, words);
        sandbox.run("config").fails(2, words);
    };
    broken("dwon = 1\n", &["config.toml", "dwon", "down"]);
    broken("[donwload]\nup = 1\n", &["donwload", "download"]);
    broken("down = \"fast\"\n", &["config.toml: down", "fast", "500K"]);
    broken("no-dht = 7\n", &["no-dht", "true or false"]);
    broken("port = [1, 2]\n", &["port", "one value"]);
    broken("down = \n", &["config.toml", "line 1"]);
    // Help is there all the same.
    let help = sandbox.run("--help");
    assert_eq!(help.code, 0);
    assert_eq!(sandbox.run("completions bash").code, 0);
    write(&sandbox, "");
    let mut command = sandbox.command(["info", "t.torrent"]);
    command.env("BITSWARM_DOWN", "fast");
    ended(command).fails(2, &["BITSWARM_DOWN", "fast"]);
    // A variable that is no setting is an error as a key is.
    let with = |name: &str, value: &str| {
        let mut command = sandbox.command(["info", "t.torrent"]);
        command.env(name, value);
        ended(command)
    };
    with("BITSWARM_DWON", "1M").fails(2, &["BITSWARM_DWON", "nearest is BITSWARM_DOWN", "unset"]);
    with("BITSWARM_NODHT", "1").fails(2, &["BITSWARM_NODHT", "BITSWARM_NO_DHT"]);
    with("BITSWARM_PIECE_LENGTH", "1M").fails(2, &["BITSWARM_PIECE_LENGTH", "[create]"]);
    assert_eq!(with("BITSWARM_DWON", "").code, 0, "empty is unset");
    // On and off as variables have it.
    for (value, shown) in [("1", "true"), ("yes", "true"), ("0", "false"), ("off", "false")] {
        let mut command = sandbox.command(["config"]);
        command.env("BITSWARM_NO_DHT", value);
        let shows = |line: &str| line.starts_with("no-dht") && line.contains(shown);
        assert!(ended(command).stdout.lines().any(shows), "{value}");
    }
    // Those of our tests, and of others, are none.
    for name in ["BITSWARM_PEERS", "BITSWARM_INTEROP", "BITSWARM_INTEROP_KEEP", "MY_BITSWARM"] {
        assert_eq!(with(name, "/x").code, 0, "{name}");
    }
}

/// Of options that settings may give: a value that they do not take. Any other takes no `perhaps`.
const WRONG: [(&str, &str); 26] = [
    ("bind", "999.1.1.1"),
    ("color", "blue"),
    ("dht-bootstrap", "no-port"),
    ("down", "fast"),
    ("dscp", "64"),
    ("files", "x-y"),
    ("listen", "nowhere"),
    ("max-peers", "0"),
    ("peer", "no-port"),
    ("port", "70000"),
    ("runtime", "tokio"),
    ("seed-ratio", "much"),
    ("seed-time", "long"),
    ("stall-timeout", "soon"),
    ("timeout", "soon"),
    ("tracker", "t.example/announce"),
    ("tracker-insecure", "https://t.example"),
    ("up", "-1"),
    ("verbose", "loud"),
    ("create.piece-length", "1000"),
    ("create.protocol", "v3"),
    ("create.tracker", "t.example"),
    ("demo.size", "0"),
    ("demo.peers", "-1"),
    ("dht.key", "xyz"),
    ("edit.private", "perhaps"),
];

/// Options whose values are names of files and directories.
const ANY_TEXT: [&str; 5] = ["data", "ip-filter", "output", "record", "state-dir"];

#[test]
fn every_wrong_value_is_traced_to_where_it_stands() {
    let sandbox = with_torrent();
    let known = sandbox.run("config --json").json();
    let keys =
        known["values"].as_array().unwrap().iter().map(|value| value["key"].as_str().unwrap());
    let is_other =
        |key: &&str| !WRONG.iter().any(|(tried, _)| tried == key) && !ANY_TEXT.contains(key);
    let others = keys.filter(is_other).map(|key| (key, "perhaps"));
    // What may be repeated is left out, where it is used; all else is refused at once.
    let line = |key: &str| match key {
        "peer" | "tracker" | "dht-bootstrap" => format!("download t.torrent -o data -q {LOCAL}"),
        _ => "info t.torrent".to_owned(),
    };
    for (key, value) in WRONG.into_iter().chain(others) {
        let (table, name) = key.split_once('.').unwrap_or(("", key));
        let table = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        write(&sandbox, &format!("{table}{name} = \"{value}\"\n"));
        sandbox.run(&line(key)).fails(2, &["config.toml: ", name, value]);
        write(&sandbox, "");
        if !table.is_empty() {
            continue;
        }
        let variable = format!("BITSWARM_{}", key.to_uppercase().replace('-', "_"));
        let mut command = sandbox.command(line(key).split_whitespace());
        command.env(&variable, value);
        ended(command).fails(2, &[&variable, value]);
    }
    // What the command line says is not the file's.
    write(&sandbox, "peer = \"here\"\n");
    let line = format!("download t.torrent -o data -q {LOCAL}");
    let ended = sandbox.run(&format!("{line} --peer there"));
    ended.fails(2, &["--peer \"there\""]);
    assert!(!ended.stderr.contains("config.toml"), "{}", ended.stderr);
    // Others of a list are used.
    write(&sandbox, "peer = [\"here\", \"127.0.0.1:1\"]\n");
    let ended = sandbox.run(&line);
    ended.fails(2, &["config.toml: peer \"here\"", "going on without it"]);
    assert!(ended.stdout.contains("was complete already"), "{}", ended.stdout);
}
