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
    // Variables of others are none of ours.
    let mut command = sandbox.command(["info", "t.torrent"]);
    command.env("BITSWARM_PEERS", "/x").env("BITSWARM_NONSENSE", "1");
    assert_eq!(ended(command).code, 0);
}
