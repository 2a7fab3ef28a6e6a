//! What a case needs of the machine, and whether it is there.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::namespace;

/// Something that a case cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// `transmission-daemon`, and an address outside 127/8, where it refuses peers.
    Transmission,
    /// `transmission-create`.
    TransmissionCreate,
    /// `aria2c`.
    Aria2,
    /// A Python with the `libtorrent` package: see [`python`].
    Libtorrent,
    /// The right to mount a small file system of our own.
    Mount,
    /// To be the real root: another user's processes are to be started.
    Root,
    /// A program of this name.
    Program(&'static str),
}

impl Need {
    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Need::Transmission => "transmission-daemon",
            Need::TransmissionCreate => "transmission-create",
            Need::Aria2 => "aria2c",
            Need::Libtorrent => "libtorrent",
            Need::Mount => "mount",
            Need::Root => "root",
            Need::Program(name) => name,
        }
    }

    /// Why it is not met; `None` when it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Need::Transmission if !namespace::is_private() => Some(
                "transmission-daemon refuses peers in 127/8 and no network namespace could be made"
                    .to_owned(),
            ),
            Need::Transmission => program_missing("transmission-daemon"),
            Need::TransmissionCreate => program_missing("transmission-create"),
            Need::Aria2 => program_missing("aria2c"),
            Need::Libtorrent => libtorrent_missing(),
            Need::Mount if !namespace::is_private() => {
                Some("no mount namespace could be made".to_owned())
            }
            Need::Mount => None,
            Need::Root => (!is_real_root()).then(|| "only root can become nobody".to_owned()),
            Need::Program(name) => program_missing(name),
        }
    }
}

/// The Python that has libtorrent: `$BITSWARM_PEERS/venv/bin/python`, where `.ci/install-peers`
/// puts it (by default below `~/.cache/bitswarm-peers`), or else `python3`.
pub fn python() -> PathBuf {
    let peers = std::env::var_os("BITSWARM_PEERS").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cache/bitswarm-peers"))
    });
    match peers.map(|dir| dir.join("venv/bin/python")) {
        Some(python) if python.exists() => python,
        _ => PathBuf::from("python3"),
    }
}

/// Whether a program of this name is on the path.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn program_missing(name: &str) -> Option<String> {
    (!has_program(name)).then(|| format!("{name} is not installed"))
}

/// Whether we may become any user, which root of a user namespace with one user may not.
fn is_real_root() -> bool {
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    users.split_whitespace().eq(["0", "0", "4294967295"]) && rustix::process::geteuid().is_root()
}

fn libtorrent_missing() -> Option<String> {
    static MISSING: OnceLock<bool> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        // To look for it takes a tenth of what it takes to load it, and each case looks.
        const FIND: &str = "from importlib.util import find_spec as f; exit(not f('libtorrent'))";
        let mut import = Command::new(python());
        import.args(["-c", FIND]).stdin(Stdio::null());
        let status = import.stdout(Stdio::null()).stderr(Stdio::null()).status();
        !status.is_ok_and(|status| status.success())
    });
    missing.then(|| "the python package libtorrent is not installed".to_owned())
}
