//! Running the binary as its users do, in a directory of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for what a process is to say, and for its end. It fails instead of hanging.
const LONGEST: Duration = Duration::from_secs(60);

/// A directory with a home for one test, removed with it.
pub(crate) struct Sandbox(tempfile::TempDir);

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Sandbox(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of `len` bytes that no two pieces have in common; `salt` tells files apart.
    pub(crate) fn write(&self, name: &str, len: usize, salt: u64) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ salt;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        fs::write(&path, (0..len).map(|_| next()).collect::<Vec<u8>>()).unwrap();
        path
    }

    /// `bitswarm` in this directory.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitswarm"));
        command.args(args).current_dir(self.0.path());
        command.env("HOME", self.path("home")).env("TMPDIR", self.0.path());
        command.env_remove("XDG_STATE_HOME").env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command
    }

    /// Runs `bitswarm` with arguments in which no space is meant, to its end.
    pub(crate) fn run(&self, args: &str) -> Ended {
        self.run_with(args.split_whitespace())
    }

    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        let mut command = self.command(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Deadline::of(&child, LONGEST);
        let output = child.wait_with_output().unwrap();
        let (stdout, stderr) = (output.stdout, output.stderr);
        let (stdout, stderr) =
            (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert!(!deadline.has_passed(), "{command:?} does not end: {stdout}{stderr}");
        Ended { code: output.status.code().unwrap(), stdout, stderr }
    }

    /// Starts `bitswarm` and lets it run.
    pub(crate) fn start(&self, args: &str) -> Running {
        let mut command = self.command(args.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Running { child, stdout, said: Vec::new() }
    }

    /// A torrent of `content` made by `bitswarm create`.
    pub(crate) fn torrent(&self, content: &str, options: &str) -> PathBuf {
        let torrent = self.path(&format!("{content}.torrent"));
        let line = format!("create {content} -o {content}.torrent -q {options}");
        let made = self.run(&line);
        assert_eq!(made.code, 0, "{}", made.stderr);
        torrent
    }
}

impl Ended {
    /// It ended in this code, and all it said is one line with each of `words` in it.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "not one line: {}", self.stderr);
        assert!(lines[0].starts_with("bitswarm: "), "{}", self.stderr);
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is missing: {}", self.stderr);
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A process that is killed if the test forgets it.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    /// The lines of stdout that were read.
    said: Vec<String>,
}

/// Sends a signal by its name. Whether there was such a process.
fn send(pid: u32, name: &str) -> bool {
    Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success()
}

/// Kills a process if it is not dropped in time.
struct Deadline {
    met: Sender<()>,
    watch: JoinHandle<bool>,
}

impl Deadline {
    fn of(child: &Child, longest: Duration) -> Self {
        let pid = child.id();
        let (met, missed) = mpsc::channel();
        let watch = thread::spawn(move || {
            let has_passed = missed.recv_timeout(longest) == Err(RecvTimeoutError::Timeout);
            // The process is still there: whoever waits for it asks before it does anything else.
            has_passed && send(pid, "KILL")
        });
        Deadline { met, watch }
    }

    /// Whether the process was killed.
    fn has_passed(self) -> bool {
        drop(self.met);
        self.watch.join().unwrap()
    }
}

impl Running {
    /// The next line of stdout, which must come.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.read_until("line", LONGEST, |_| true)
    }

    /// Reads objects until one is the event named.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        self.wait_for_within(event, LONGEST)
    }

    #[track_caller]
    fn wait_for_within(&mut self, event: &str, longest: Duration) -> Value {
        let line = self.read_until(event, longest, |line| {
            let object: Value = serde_json::from_str(line).unwrap();
            assert_eq!(object["v"], 1, "{object}");
            object["event"] == event
        });
        serde_json::from_str(&line).unwrap()
    }

    /// Reads lines of stdout until one is the one that is wanted. If none is in time, it is killed, and
    /// what it said is shown.
    #[track_caller]
    fn read_until(
        &mut self,
        what: &str,
        longest: Duration,
        is_it: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Deadline::of(&self.child, longest);
        loop {
            let mut line = String::new();
            let stdout = self.stdout.as_mut().expect("its output is read");
            if stdout.read_line(&mut line).unwrap() == 0 {
                let how = if deadline.has_passed() { "in time" } else { "before its end" };
                let stderr = self.stderr();
                panic!("no {what} {how}; it said {:#?} and {stderr}", self.said);
            }
            self.said.push(line.trim_end().to_owned());
            if is_it(line.trim_end()) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Nobody reads what it writes from now on.
    pub(crate) fn close_outputs(&mut self) {
        self.stdout = None;
        self.child.stderr = None;
    }

    /// Sends signals by their names, one right after the other.
    pub(crate) fn signals(&self, names: &[&str]) {
        let pid = self.child.id();
        let kill = |name: &&str| format!("kill -s {name} {pid}");
        let script = names.iter().map(kill).collect::<Vec<_>>().join("; ");
        // The shell's own `kill`: there is no process to start between the two.
        assert!(Command::new("sh").arg("-c").arg(script).status().unwrap().success());
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        assert!(send(self.child.id(), name));
    }

    /// Waits for the end and returns the exit code.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().expect("it ended by itself");
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it said, once it has ended.
    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_event_that_does_not_come_is_a_failure_that_shows_what_was_said() {
    let sandbox = Sandbox::new();
    let mut tracker = sandbox.start("tracker --listen 127.0.0.1:0 --json");
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        tracker.wait_for_within("complete", Duration::from_secs(2));
    }));
    let why = *waited.unwrap_err().downcast::<String>().unwrap();
    assert!(why.contains("no complete in time") && why.contains("listening"), "{why}");
}

/// Whether two files have the same bytes.
pub(crate) fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).unwrap() == fs::read(b).unwrap()
}

/// A test is not whole here, for this reason: it says so, or fails where every case must run.
pub(crate) fn skips(why: &str) {
    let must_run = std::env::var("BITSWARM_INTEROP").is_ok_and(|value| value == "require");
    assert!(!must_run, "{why}");
    eprintln!("skipped: {why}");
}
