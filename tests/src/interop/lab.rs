//! Where one case happens: its directory, its addresses, its logs, and waiting with a deadline.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Outcome, namespace};

/// Lines of each log that are shown when a case fails.
const LOG_TAIL_LINES: usize = 40;

/// The place of one case. Everything in it goes when the case is over.
#[derive(Debug)]
pub struct Lab {
    dir: tempfile::TempDir,
    case: u8,
    seats: Cell<u8>,
    logs: RefCell<Vec<PathBuf>>,
}

/// Where one participant sits: an address and a port that nobody else in the run has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Counts the participants of a case from 1.
    pub number: u8,
    /// The participant's address.
    pub ip: IpAddr,
    /// The port it listens on for peers (or announces).
    pub port: u16,
}

impl Seat {
    /// Address and port.
    pub fn addr(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl Lab {
    /// A lab for case number `case` of a run.
    pub fn new(case: u8) -> Outcome<Lab> {
        let dir = tempfile::Builder::new().prefix("bitswarm-interop-").tempdir()?;
        fs::create_dir(dir.path().join("logs"))?;
        Ok(Lab { dir, case, seats: Cell::new(0), logs: RefCell::new(Vec::new()) })
    }

    /// Runs a case. When it fails or panics, the error carries the tails of all logs.
    pub fn run(case: u8, steps: impl FnOnce(&Lab) -> Outcome) -> Outcome {
        let lab = Lab::new(case)?;
        let failure = match catch_unwind(AssertUnwindSafe(|| steps(&lab))) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => LAST_PANIC.take(),
        };
        if std::env::var_os("BITSWARM_INTEROP_KEEP").is_some() {
            let kept = lab.dir.path().to_owned();
            let report = format!("{failure}\n{}\nkept: {}", lab.log_tails(), kept.display());
            let _ = lab.dir.keep();
            return Err(report.into());
        }
        Err(format!("{failure}\n{}", lab.log_tails()).into())
    }

    /// The lab's own directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new, empty directory in the lab; a number is added to a name that is taken.
    pub fn make_dir(&self, name: &str) -> Outcome<PathBuf> {
        let free = (0..)
            .map(|number| match number {
                0 => self.path().join(name),
                _ => self.path().join(format!("{name}-{number}")),
            })
            .find(|path| !path.exists())
            .ok_or("no free name")?;
        fs::create_dir_all(&free)?;
        Ok(free)
    }

    /// An address and port for a new participant.
    pub fn seat(&self) -> Seat {
        let number = self.seats.get() + 1;
        self.seats.set(number);
        let port = 20_000 + u16::from(number);
        Seat { number, ip: namespace::address(self.case, number).into(), port }
    }

    /// The path for a log file, remembered for [`run`](Self::run)'s report.
    pub fn log_path(&self, name: &str) -> PathBuf {
        let mut logs = self.logs.borrow_mut();
        let path = self.path().join("logs").join(format!("{:02}-{name}", logs.len()));
        logs.push(path.clone());
        path
    }

    /// The last lines of every log.
    fn log_tails(&self) -> String {
        let mut report = String::new();
        for path in self.logs.borrow().iter() {
            let text = fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(report, "--- {name}: last {} of {} lines", tail.len(), lines.len());
            for line in tail {
                let _ = writeln!(report, "    {line}");
            }
        }
        report
    }
}

/// Asks `probe` until it has an answer; an error once the time is over.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {within:?} in vain for {what}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic is told in its case's report and nowhere else.
pub fn remember_panics() {
    std::panic::set_hook(Box::new(|panic| {
        LAST_PANIC.with_borrow_mut(|last| *last = panic.to_string());
    }));
}
