//! Our own client, as its users start it: the `bitswarm` binary.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::client::{Peer, Role, Task};
use super::lab::until;
use super::{Lab, Outcome, Process, Seat};

/// Environment variable that names the binary to test.
pub const BINARY: &str = "BITSWARM_BIN";
/// Names the cargo profile to build the binary with.
const PROFILE: &str = "BITSWARM_INTEROP_PROFILE";

/// A running `bitswarm`.
#[derive(Debug)]
pub struct Bitswarm {
    seat: Seat,
    process: Process,
}

impl Bitswarm {
    /// Starts `download` or `seed` on a task.
    pub fn start(lab: &Lab, task: &Task<'_>) -> Outcome<Bitswarm> {
        Bitswarm::start_with(lab, lab.seat(), task, &[])
    }

    /// The same at a given seat, with more arguments.
    pub fn start_with(
        lab: &Lab,
        seat: Seat,
        task: &Task<'_>,
        arguments: &[&str],
    ) -> Outcome<Bitswarm> {
        let mut command = command(lab);
        match task.role {
            Role::Seed => command.arg("seed").arg(task.source()).arg("--data"),
            Role::Leech => command.arg("download").arg(task.source()).arg("-o"),
        };
        let quiet = quiet_network(seat);
        let network = quiet.iter().filter(|option| match option.as_str() {
            "--no-pex" => !task.pex,
            "--no-lsd" => !task.lsd,
            "--no-dht" => task.dht.is_none(),
            _ => true,
        });
        command.arg(&task.root).args(network).arg("--json").args(arguments);
        command.args(task.utp.then_some("--no-tcp"));
        command.args(task.dht.map(|router| format!("--dht-bootstrap={router}")));
        if let Some(rate) = task.up_bytes_per_s {
            command.args(["--up", &rate.to_string()]);
        }
        let process = Process::spawn(lab, &format!("bitswarm-{:?}", task.role), &command)?;
        Ok(Bitswarm { seat, process })
    }

    /// Starts `bitswarm tracker` at a new seat, and waits until it listens.
    pub fn tracker(lab: &Lab) -> Outcome<Bitswarm> {
        let seat = lab.seat();
        let mut command = command(lab);
        command.args(["tracker", "--listen", &seat.addr().to_string()]);
        let mut process = Process::spawn(lab, "bitswarm-tracker", &command)?;
        until("our tracker to listen", Duration::from_secs(10), || {
            process.ensure_running()?;
            Ok(std::net::TcpStream::connect(seat.addr()).ok())
        })?;
        Ok(Bitswarm { seat, process })
    }

    /// Where it sits.
    pub fn seat(&self) -> Seat {
        self.seat
    }

    /// The objects that `--json` has printed so far. A line that is not one is an error.
    pub fn json(&self) -> Outcome<Vec<Value>> {
        let text = self.process.stdout();
        // The last line may still be in the making.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            serde_json::from_str(line).map_err(|error| format!("not JSON: {line}: {error}").into())
        };
        whole.lines().map(parse).collect()
    }
}

impl Peer for Bitswarm {
    fn seat(&self) -> Seat {
        self.seat
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn is_complete(&mut self) -> Outcome<bool> {
        match self.process.ended()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(format!("bitswarm: {status}").into()),
        }
    }
}

/// The command that runs our binary, without arguments. Resume data stays in the lab.
pub fn command(lab: &Lab) -> Command {
    let mut command = Command::new(std::env::var_os(BINARY).unwrap_or_else(|| "bitswarm".into()));
    command.env("HOME", lab.path()).env("XDG_STATE_HOME", lab.path().join("state"));
    command
}

/// The arguments that make it listen at its seat and hear of peers from trackers only.
pub fn quiet_network(seat: Seat) -> [String; 7] {
    let [bind, port] = [seat.ip.to_string(), seat.port.to_string()];
    ["--bind", &bind, "--port", &port, "--no-dht", "--no-lsd", "--no-pex"].map(str::to_owned)
}

/// Builds the binary; its path belongs into [`BINARY`]. If that is set already, that one is taken
/// as it is.
pub fn build() -> Outcome<PathBuf> {
    if let Some(given) = std::env::var_os(BINARY) {
        return Ok(given.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = std::env::var(PROFILE).unwrap_or_else(|_| "dev".to_owned());
    let mut build = Command::new(cargo);
    // The whole workspace, so that features are resolved as for `cargo test --workspace` and
    // nothing is compiled twice.
    build.args(["build", "--workspace", "--bin", "bitswarm", "--profile", &profile]);
    build.args(["--message-format", "json-render-diagnostics"]);
    // What cargo tells the running test of its package would have build scripts run again (ring's
    // minds these variables), here and at the next `cargo test`.
    for (name, _) in std::env::vars_os() {
        let is_of_package =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of));
        if name.to_str().is_some_and(is_of_package) {
            build.env_remove(&name);
        }
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = build.output()?;
    if !output.status.success() {
        return Err(format!("cannot build bitswarm: {}", output.status).into());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables = messages
        .filter(|message| message["target"]["name"] == "bitswarm")
        .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executables.next().ok_or_else(|| "cargo built no bitswarm".into())
}
