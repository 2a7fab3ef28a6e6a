//! How a case shares the machine, and the process, with others.
//!
//! Tests run side by side. A case that mostly waits goes [`beside_others`]. One that keeps the
//! machine busy, or measures how soon something happens, waits until it is [`alone`]: among the tests
//! of this program by a lock. Under nextest, where each test is a process, `.config/nextest.toml` knows such
//! tests by the module `alone` that they are in: those that measure have the machine, the others a processor. One that counts
//! or changes what belongs to the whole process (descriptors, threads, memory, limits, mounts) runs
//! [`in_own_process`]: the test program is executed again for that one test.

use std::env;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Runtime;

/// Set in a process that runs a single case.
const CHILD: &str = "BITSWARM_CONFORMANCE_CASE";

static MACHINE: RwLock<()> = RwLock::new(());

/// Waits until nobody wants the machine alone.
pub(super) fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no other case of this process runs.
pub(super) fn alone(runtime: Runtime) -> RwLockWriteGuard<'static, ()> {
    assert!(runtime.case.contains("::alone::"), "{} is not in a module `alone`", runtime.case);
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` in a process of its own.
pub(super) fn in_own_process(runtime: Runtime, body: impl FnOnce()) {
    in_process_under(runtime, &[], body);
}

/// Runs `body` in a process where small file systems can be mounted.
pub(super) fn where_mounting_works(runtime: Runtime, body: impl FnOnce()) {
    const AS_ROOT: &[&str] = &["unshare", "--mount", "--"];
    const AS_USER: &[&str] = &["unshare", "--user", "--map-root-user", "--mount", "--"];
    match [AS_ROOT, AS_USER].into_iter().find(|prefix| works(prefix)) {
        Some(prefix) => in_process_under(runtime, prefix, body),
        None => skip(runtime, "no mount namespace can be made"),
    }
}

/// Runs `body` in a process for which a directory without the permission to write is one.
pub(super) fn without_privileges(runtime: Runtime, body: impl FnOnce()) {
    const DROP: &[&str] = &["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"];
    if !rustix::process::geteuid().is_root() {
        in_process_under(runtime, &[], body);
    } else if works(DROP) {
        in_process_under(runtime, DROP, body);
    } else {
        skip(runtime, "root writes everywhere, and setpriv does not work");
    }
}

/// A case that cannot run here says so. In CI that fails.
pub(super) fn skip(runtime: Runtime, why: &str) {
    let line = format!("skipped {}: {why}\n", runtime.case);
    assert!(env::var_os("BITSWARM_INTEROP").is_none_or(|value| value != "require"), "{line}");
    // Not through the macro, whose output is captured.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Runs `body` in a process that the command `prefix` starts.
fn in_process_under(runtime: Runtime, prefix: &[&str], body: impl FnOnce()) {
    if env::var_os(CHILD).is_some_and(|case| case == runtime.case) {
        return body();
    }
    // The harness knows a test by its path below the crate.
    let (_, name) = runtime.case.split_once("::").expect("a path in a crate");
    let program = env::current_exe().unwrap();
    let mut command = command_under(prefix, program.to_str().expect("a path in UTF-8"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, runtime.case);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(passed, "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn works(prefix: &[&str]) -> bool {
    command_under(prefix, "true").output().is_ok_and(|output| output.status.success())
}

fn command_under(prefix: &[&str], program: &str) -> Command {
    let Some((first, rest)) = prefix.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}
