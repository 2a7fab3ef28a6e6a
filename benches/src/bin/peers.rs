//! Whole processes, side by side: what other BitTorrent clients, installed from packages, and this
//! one take to download and to seed the same torrent. CPU seconds a GiB, time, and peak memory.
//!
//! ```text
//! cargo build --release -p bitswarm
//! cargo run --release -p bitswarm-benches --bin peers -- --size-mib 1024 --rounds 3
//! ```
//!
//! Options: `--size-mib N` (1024), `--rounds N` (3), `--dir DIR` (/dev/shm: memory, so that no disk
//! is measured), `--bitswarm PATH` (beside this program), `--svg FILE` (docs/peers.svg),
//! `--clients a,b` (all that are installed).
//!
//! The other end is always the same: `bitswarm` on mio, which is never the slower one. Peers find
//! each other through `bitswarm tracker`. By itself it prefers encryption, so two of ours have a handshake of MSE
//! and plain text behind it; `bitswarm unencrypted` has neither, `bitswarm rc4` is encrypted throughout, and
//! `bitswarm utp` speaks uTP alone. Everything is on loopback. A round measures every client
//! once, so that what else the machine does hits all alike; the medians of the rounds are shown.
//!
//! A download's CPU time is that of the whole process, its start included. A seed's is taken from
//! when it has come to rest until the other end is complete, so that its first check does not count.
//! Of a client with helpers of its own, only the process that was started counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bitswarm_benches::chart::bars;

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

/// A seed that has used no CPU time for so long has come to rest.
const REST: Duration = Duration::from_secs(1);

/// A transfer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);

const NAME: &str = "content.bin";

fn main() -> ExitCode {
    match Arguments::read().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    size_mib: u64,
    rounds: usize,
    dir: PathBuf,
    bitswarm: PathBuf,
    svg: PathBuf,
    clients: Option<Vec<String>>,
}

impl Arguments {
    fn read() -> io::Result<Self> {
        let mut arguments = Arguments {
            size_mib: 1024,
            rounds: 3,
            dir: "/dev/shm".into(),
            bitswarm: std::env::current_exe()?.with_file_name("bitswarm"),
            svg: "docs/peers.svg".into(),
            clients: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| wrong(format!("{option} wants a value")))?;
            let number = || value.parse().map_err(|_| wrong(format!("{value} is no number")));
            match option.as_str() {
                "--size-mib" => arguments.size_mib = number()?,
                "--rounds" => arguments.rounds = number()? as usize,
                "--dir" => arguments.dir = value.into(),
                "--bitswarm" => arguments.bitswarm = value.into(),
                "--svg" => arguments.svg = value.into(),
                "--clients" => {
                    arguments.clients = Some(value.split(',').map(str::to_owned).collect());
                }
                _ => return Err(wrong(format!("there is no option {option}"))),
            }
        }
        Ok(arguments)
    }
}

/// A client that can be measured: how it is asked whether it is here, and how it is started.
struct Client {
    name: &'static str,
    /// Exits well if the client is installed.
    probe: &'static [&'static str],
    /// With `{torrent}`, `{dir}`, `{port}` and `{bitswarm}` to be filled in; exits when it is done.
    leech: &'static [&'static str],
    /// Runs until it is ended.
    seed: &'static [&'static str],
}

/// libtorrent's Python bindings: seeds, or downloads and exits.
const LIBTORRENT: &str = "\
import sys, time, libtorrent as lt
role, torrent, where, port = sys.argv[1:]
session = lt.session({'listen_interfaces': '127.0.0.1:' + port, 'enable_dht': False,
    'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_outgoing_utp': False, 'enable_incoming_utp': False, 'out_enc_policy': 2,
    'allow_multiple_connections_per_ip': True, 'ssrf_mitigation': False})
params = lt.add_torrent_params()
params.ti, params.save_path = lt.torrent_info(torrent), where
handle = session.add_torrent(params)
while role == 'seed' or not handle.status().is_seeding:
    time.sleep(0.05 if role == 'leech' else 3600)
";

macro_rules! bitswarm {
    ($runtime:literal, $command:literal, $folder:literal $(, $more:literal)*) => {
        &["{bitswarm}", $command, "{torrent}", $folder, "{dir}", "--port", "{port}", "--bind",
          "127.0.0.1", "--state-dir", "{dir}/state", "--no-dht", "--no-lsd", "--quiet",
          "--runtime", $runtime $(, $more)*]
    };
}

const CLIENTS: &[Client] = &[
    Client {
        name: "bitswarm mio",
        probe: &["{bitswarm}", "--version"],
        leech: bitswarm!("mio", "download", "--output", "--seed-ratio", "0"),
        seed: bitswarm!("mio", "seed", "--data"),
    },
    Client {
        name: "bitswarm async-std",
        probe: &["{bitswarm}", "--version"],
        leech: bitswarm!("async-std", "download", "--output", "--seed-ratio", "0"),
        seed: bitswarm!("async-std", "seed", "--data"),
    },
    Client {
        name: "bitswarm unencrypted",
        probe: &["{bitswarm}", "--version"],
        leech: bitswarm!("mio", "download", "--output", "--seed-ratio", "0", "--encryption", "off"),
        seed: bitswarm!("mio", "seed", "--data", "--encryption", "off"),
    },
    Client {
        name: "bitswarm rc4",
        probe: &["{bitswarm}", "--version"],
        leech: bitswarm!(
            "mio",
            "download",
            "--output",
            "--seed-ratio",
            "0",
            "--encryption",
            "require"
        ),
        seed: bitswarm!("mio", "seed", "--data", "--encryption", "require"),
    },
    Client {
        name: "bitswarm utp",
        probe: &["{bitswarm}", "--version"],
        leech: bitswarm!("mio", "download", "--output", "--seed-ratio", "0", "--no-tcp"),
        seed: bitswarm!("mio", "seed", "--data", "--no-tcp"),
    },
    Client {
        name: "libtorrent",
        probe: &["python3", "-c", "import libtorrent"],
        leech: &["python3", "-c", LIBTORRENT, "leech", "{torrent}", "{dir}", "{port}"],
        seed: &["python3", "-c", LIBTORRENT, "seed", "{torrent}", "{dir}", "{port}"],
    },
    Client {
        name: "aria2",
        probe: &["aria2c", "--version"],
        leech: &[
            "aria2c",
            "--no-conf",
            "--quiet",
            "--dir={dir}",
            "--listen-port={port}",
            "--enable-dht=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--file-allocation=none",
            "--disable-ipv6=true",
            "--seed-time=0",
            "{torrent}",
        ],
        seed: &[
            "aria2c",
            "--no-conf",
            "--quiet",
            "--dir={dir}",
            "--listen-port={port}",
            "--enable-dht=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--disable-ipv6=true",
            "--check-integrity=true",
            "--seed-ratio=0.0",
            "{torrent}",
        ],
    },
    Client {
        name: "rqbit",
        probe: &["rqbit", "--version"],
        leech: &[
            "rqbit",
            "-v",
            "error",
            "--disable-dht",
            "--disable-lsd",
            "--disable-upnp-port-forward",
            "--listen-port",
            "{port}",
            "download",
            "-o",
            "{dir}",
            "-e",
            "--disable-http-api",
            "{torrent}",
        ],
        seed: &[
            "rqbit",
            "-v",
            "error",
            "--disable-dht",
            "--disable-lsd",
            "--disable-upnp-port-forward",
            "--listen-port",
            "{port}",
            "download",
            "-o",
            "{dir}",
            "--overwrite",
            "--disable-http-api",
            "{torrent}",
        ],
    },
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Role {
    Leech,
    Seed,
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
    peak_mib: f64,
}

fn run(arguments: Arguments) -> io::Result<()> {
    if !arguments.bitswarm.exists() {
        let path = arguments.bitswarm.display();
        return Err(wrong(format!("{path} is missing: cargo build --release -p bitswarm")));
    }
    let field = Field::prepare(&arguments)?;
    let (here, missing): (Vec<&Client>, Vec<_>) = CLIENTS
        .iter()
        .filter(|client| {
            let wanted = arguments.clients.as_ref();
            wanted.is_none_or(|names| names.iter().any(|name| name == client.name))
        })
        .partition(|client| field.is_installed(client));
    for client in missing {
        println!("left out, not installed: {}", client.name);
    }
    let mut costs: BTreeMap<(Role, &str), Vec<Cost>> = BTreeMap::new();
    for round in 0..arguments.rounds {
        for role in [Role::Leech, Role::Seed] {
            for client in &here {
                match field.measure(client, role) {
                    Ok(cost) => {
                        println!("round {round}: {role:?} {}: {cost:.2?}", client.name);
                        costs.entry((role, client.name)).or_default().push(cost);
                    }
                    Err(error) => println!("round {round}: {role:?} {}: {error}", client.name),
                }
            }
        }
    }
    let gib = arguments.size_mib as f64 / 1024.0;
    println!("\n| | CPU s/GiB | wall s | peak MiB | rounds |\n|---|---|---|---|---|");
    let mut values = Vec::new();
    for ((role, name), costs) in costs {
        let of = |value: fn(&Cost) -> f64| median(costs.iter().map(value).collect());
        let (cpu, wall) = (of(|cost| cost.cpu_s) / gib, of(|cost| cost.wall_s));
        let (peak, rounds) = (of(|cost| cost.peak_mib), costs.len());
        println!("| {name}, {role:?} | {cpu:.2} | {wall:.2} | {peak:.0} | {rounds} |");
        values.push((format!("{name}, {role:?}"), cpu));
    }
    fs::write(&arguments.svg, bars("CPU seconds a GiB", "s/GiB", &values))
}

/// Where the runs take place: content, torrent and tracker. Cleared away at the end.
struct Field {
    dir: PathBuf,
    bitswarm: PathBuf,
    torrent: PathBuf,
    tracker: Child,
}

impl Drop for Field {
    fn drop(&mut self) {
        let _ = self.tracker.kill();
        let _ = self.tracker.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Field {
    fn prepare(arguments: &Arguments) -> io::Result<Self> {
        let dir = arguments.dir.join(format!("bitswarm-peers-{}", std::process::id()));
        fs::create_dir_all(dir.join("content"))?;
        let content = dir.join("content").join(NAME);
        write_noise(&content, arguments.size_mib)?;
        let torrent = dir.join("content.torrent");
        let port = free_port()?;
        let mut create = Command::new(&arguments.bitswarm);
        create.arg("create").arg(&content).arg("-o").arg(&torrent).arg("--quiet");
        // Not all of them can take part in a hybrid's swarm.
        create.args(["--protocol", "v1", "--piece-length", "1MiB", "--tracker"]);
        create.arg(format!("http://127.0.0.1:{port}/announce"));
        if !create.stdout(Stdio::null()).status()?.success() {
            return Err(wrong("the torrent could not be made".into()));
        }
        let mut tracker = Command::new(&arguments.bitswarm);
        tracker.args(["tracker", "--quiet", "--listen"]).arg(format!("127.0.0.1:{port}"));
        let tracker = tracker.stdout(Stdio::null()).spawn()?;
        Ok(Field { dir, bitswarm: arguments.bitswarm.clone(), torrent, tracker })
    }

    fn is_installed(&self, client: &Client) -> bool {
        let mut probe = self.command(client.probe, &self.dir, 0);
        probe.status().is_ok_and(|status| status.success())
    }

    /// One transfer between a client and the counterpart.
    fn measure(&self, client: &Client, role: Role) -> io::Result<Cost> {
        let counterpart = &CLIENTS[0];
        let (seed, leech) = match role {
            Role::Leech => (counterpart, client),
            Role::Seed => (client, counterpart),
        };
        let (here, there) = (self.dir.join("content"), self.dir.join("downloaded"));
        fs::create_dir_all(&there)?;
        let mut seed = Process::start(self.command(seed.seed, &here, free_port()?))?;
        seed.wait_for_rest()?;
        let before = seed.cpu_s()?;
        let begin = Instant::now();
        let mut leech = Process::start(self.command(leech.leech, &there, free_port()?))?;
        leech.wait_for_end()?;
        let wall_s = begin.elapsed().as_secs_f64();
        let cost = match role {
            Role::Leech => {
                Cost { cpu_s: leech.cpu_s()?, wall_s, peak_mib: leech.peak_kib as f64 / 1024.0 }
            }
            Role::Seed => {
                seed.look()?;
                let cpu_s = seed.cpu_s()? - before;
                Cost { cpu_s, wall_s, peak_mib: seed.peak_kib as f64 / 1024.0 }
            }
        };
        let same = is_same(&here.join(NAME), &there.join(NAME));
        drop((seed, leech));
        fs::remove_dir_all(&there)?;
        // State of an earlier run would spare the next its check.
        let _ = fs::remove_dir_all(here.join("state"));
        if same? { Ok(cost) } else { Err(wrong("what came is not what was sent".into())) }
    }

    fn command(&self, words: &[&str], dir: &Path, port: u16) -> Command {
        let filled = |word: &str| {
            word.replace("{bitswarm}", &self.bitswarm.to_string_lossy())
                .replace("{torrent}", &self.torrent.to_string_lossy())
                .replace("{dir}", &dir.to_string_lossy())
                .replace("{port}", &port.to_string())
        };
        let mut command = Command::new(filled(words[0]));
        command.args(words[1..].iter().map(|word| filled(word)));
        // What a client keeps for itself is not to outlive the run.
        let home = self.dir.join("home");
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            command.env(name, &home);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// A process that is watched, and ended when this is dropped.
struct Process {
    child: Child,
    peak_kib: u64,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(mut command: Command) -> io::Result<Self> {
        Ok(Process { child: command.spawn()?, peak_kib: 0 })
    }

    /// CPU time so far, of all threads; known until the process is waited for.
    fn cpu_s(&self) -> io::Result<f64> {
        let stat = self.proc("stat")?;
        // Fields 14 and 15 (proc_pid_stat(5)), in hundredths of a second, which is what Linux shows
        // everywhere; the second field may hold anything but ends with the last parenthesis.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(ticks as f64 / 100.0)
    }

    /// Takes note of the memory in use; whether the process has ended.
    fn look(&mut self) -> io::Result<bool> {
        let status = self.proc("status")?;
        let field = |name| status.lines().find_map(|line: &str| line.strip_prefix(name));
        let peak = field("VmHWM:").and_then(|value| value.split_whitespace().next());
        let peak = peak.and_then(|kib| kib.parse().ok()).unwrap_or(0);
        self.peak_kib = self.peak_kib.max(peak);
        Ok(field("State:").is_some_and(|state| state.trim().starts_with('Z')))
    }

    fn wait_for_end(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.look()? {
            if Instant::now() > deadline {
                return Err(wrong("not complete in five minutes".into()));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Until it has done what it does at its start.
    fn wait_for_rest(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut cpu_s, mut since) = (self.cpu_s()?, Instant::now());
        while since.elapsed() < REST {
            thread::sleep(LOOK);
            if self.look()? {
                return Err(wrong("the seed has ended".into()));
            }
            let now = self.cpu_s()?;
            // A tick more is a look at a clock.
            if now > cpu_s + 0.015 {
                (cpu_s, since) = (now, Instant::now());
            }
            if Instant::now() > deadline {
                return Err(wrong("the seed does not come to rest".into()));
            }
        }
        Ok(())
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
    }
}

/// Content that no client can make smaller.
fn write_noise(path: &Path, mib: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut chunk = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in chunk.chunks_exact_mut(8) {
            // xorshift64 (Marsaglia).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&chunk)?;
    }
    Ok(())
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    use std::io::Read;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = one.read(&mut here)?;
        if count == 0 {
            return Ok(true);
        }
        other.read_exact(&mut there[..count])?;
        if here[..count] != there[..count] {
            return Ok(false);
        }
    }
}

fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.local_addr().map(|addr| addr.port())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn wrong(why: String) -> io::Error {
    io::Error::other(why)
}
