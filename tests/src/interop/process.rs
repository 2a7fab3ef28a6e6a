//! A child process: its output goes to log files of its case, and it does not outlive its handle.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

use super::lab::until;
use super::need::has_program;
use super::{Lab, Outcome};

/// A running (or ended) child process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts a command. Its output goes to `NAME.out` and `NAME.err` among the lab's logs.
    pub fn spawn(lab: &Lab, name: &str, command: &Command) -> Outcome<Process> {
        let stdout = lab.log_path(&format!("{name}.out"));
        let stderr = lab.log_path(&format!("{name}.err"));
        let mut bound = bound_to_us(command);
        bound.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let child = bound.spawn().map_err(|error| format!("{name}: cannot start: {error}"))?;
        Ok(Process { name: name.to_owned(), child, stdout, stderr })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on stdout so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it has printed on stderr so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// Its exit status if it has ended.
    pub fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// An error if it has ended: for a peer that is to serve until it is stopped.
    pub fn ensure_running(&mut self) -> Outcome {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} has ended too early: {status}", self.name).into()),
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Outcome<ExitStatus> {
        let what = format!("{} to end", self.name);
        let child = &mut self.child;
        until(&what, within, || Ok(child.try_wait()?))
    }

    /// Waits for its end and returns its exit code; an end by a signal is an error.
    pub fn exit_code(&mut self, within: Duration) -> Outcome<i32> {
        let status = self.wait(within)?;
        status.code().ok_or_else(|| format!("{}: {status}", self.name).into())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The same command, but killed by the system when the test program dies without a chance to
/// clean up.
fn bound_to_us(command: &Command) -> Command {
    if !has_program("setpriv") {
        return copy(Command::new(command.get_program()), command);
    }
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
    copy(bound, command)
}

/// A command with the arguments, environment and directory of another besides its own.
pub(super) fn copy(mut to: Command, from: &Command) -> Command {
    to.args(from.get_args());
    for (key, value) in from.get_envs() {
        match value {
            Some(value) => to.env(key, value),
            None => to.env_remove(key),
        };
    }
    if let Some(dir) = from.get_current_dir() {
        to.current_dir(dir);
    }
    to
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
