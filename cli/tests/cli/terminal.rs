//! A terminal for the binary to run in: a pseudo-terminal, and what a terminal would show of what is
//! written to it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Longest wait for something to be shown.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process in a terminal of its own. It is killed if the test forgets it.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    /// All that was written, and the screen that shows it.
    seen: Arc<Mutex<(Vec<u8>, vt100::Parser)>>,
}

impl Terminal {
    /// Runs a command with its output going to a terminal of this size.
    pub(crate) fn start(mut command: Command, width: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let slave: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(width, rows)).unwrap();
        let also = || slave.try_clone().unwrap();
        command.stdin(also()).stdout(also()).stderr(also());
        let child = command.spawn().unwrap();
        // The end of output shows when nobody holds the other side any more.
        drop((slave, command));
        let seen =
            Arc::new(Mutex::new((Vec::new(), vt100::Parser::new(some(rows), some(width), 0))));
        let master = File::from(master);
        let (mut output, written) = (master.try_clone().unwrap(), Arc::clone(&seen));
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut chunk) {
                let mut written = written.lock().unwrap();
                written.0.extend_from_slice(&chunk[..count]);
                written.1.process(&chunk[..count]);
            }
        });
        Terminal { child, master, seen }
    }

    /// The command as the leader of a session that this terminal controls, as a shell would be.
    pub(crate) fn controlled(command: &Command) -> Command {
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            leader.current_dir(dir);
        }
        leader
    }

    /// What is on the screen now: its rows without what is empty at their ends.
    pub(crate) fn rows(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let (_, width) = seen.1.screen().size();
        let rows = seen.1.screen().rows(0, width.get()).map(|row| row.trim_end().to_owned());
        let mut rows: Vec<String> = rows.collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    /// Everything that was ever written.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().0).into_owned()
    }

    /// The column at which the cursor stands.
    pub(crate) fn cursor_column(&self) -> u16 {
        self.seen.lock().unwrap().1.screen().cursor_position().1
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub(crate) fn wait_until(&self, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows();
            if wanted(&rows) {
                return rows;
            }
            assert!(Instant::now() < deadline, "it shows {rows:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until something was written, whether it is still there or not.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.written().contains(text) {
            assert!(Instant::now() < deadline, "it wrote {:?}", self.written());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn resize(&self, width: u16, rows: u16) {
        self.seen.lock().unwrap().1.screen_mut().set_size(some(rows), some(width));
        tcsetwinsize(&self.master, size(width, rows)).unwrap();
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end, and for what was written before it; returns the exit code.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code().expect("it ended by itself"),
                None => assert!(Instant::now() < deadline, "it does not end: {:#?}", self.rows()),
            }
            thread::sleep(Duration::from_millis(10));
        };
        let mut length = 0;
        loop {
            thread::sleep(Duration::from_millis(50));
            let now = self.written().len();
            if now == length {
                return code;
            }
            length = now;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Asked first: it may have children, which a kill would leave behind.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.master.write_all(b"\x03");
            thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn some(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).unwrap()
}

fn size(width: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }
}
