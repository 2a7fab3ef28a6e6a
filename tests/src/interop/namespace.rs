//! A network namespace of our own, so that no packet of a test can leave the machine and clients
//! that refuse peers in 127/8 find an address they accept.
//!
//! The test program executes itself again under `unshare`: as root directly, else through a user
//! namespace where the system allows those. Inside, `lo` is the only interface and all of
//! 10.77.0.0/16 is local to it. A mount namespace comes along, for small file systems. Both vanish
//! with the last process in them. Where none of this is possible, tests run on 127/8.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::Outcome;
use super::need::has_program;

/// Set once we have been through [`enter`]: to [`PRIVATE`], or to something else where there is no
/// namespace to be had.
const MARK: &str = "BITSWARM_INTEROP_NETWORK";
const PRIVATE: &str = "private";

/// Whether this process is in a namespace that we made.
pub fn is_private() -> bool {
    std::env::var_os(MARK).is_some_and(|mark| mark == PRIVATE)
}

/// Whether [`enter`] has been here.
pub fn is_entered() -> bool {
    std::env::var_os(MARK).is_some()
}

/// The address of participant `seat` of case `case`. No two cases of a run share one.
pub fn address(case: u8, seat: u8) -> Ipv4Addr {
    match is_private() {
        true => Ipv4Addr::new(10, 77, case, seat),
        // Two runs at once on one machine must not meet.
        false => Ipv4Addr::new(127, 64 + (std::process::id() % 128) as u8, case, seat),
    }
}

/// Executes this program again, with `environment` added, inside a namespace if one can be had.
/// Returns only if that fails.
pub fn enter(environment: (&str, &OsStr)) -> Outcome<Infallible> {
    let program = std::env::current_exe()?;
    let mut again = match usable_flags() {
        Some(flags) => {
            let mut unshare = Command::new("unshare");
            unshare.args(flags).arg("--").arg(program).env(MARK, PRIVATE);
            unshare
        }
        None => {
            let mut plain = Command::new(program);
            plain.env(MARK, "shared");
            plain
        }
    };
    again.args(std::env::args_os().skip(1)).env(environment.0, environment.1);
    Err(again.exec().into())
}

/// Brings the network of a fresh namespace up.
pub fn set_up() -> Outcome {
    if is_private() {
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["addr", "add", "10.77.0.1/16", "dev", "lo"])?;
    }
    Ok(())
}

/// The flags with which `unshare` works here.
fn usable_flags() -> Option<&'static [&'static str]> {
    const AS_ROOT: &[&str] = &["--net", "--mount"];
    const AS_USER: &[&str] = &["--user", "--map-root-user", "--net", "--mount"];
    if !has_program("ip") || !has_program("unshare") {
        return None;
    }
    [AS_ROOT, AS_USER].into_iter().find(|flags| {
        let mut probe = Command::new("unshare");
        probe.args(*flags).args(["--", "ip", "link", "set", "lo", "up"]);
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    })
}

fn run(program: &str, arguments: &[&str]) -> Outcome {
    let output = Command::new(program).args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into()),
    }
}
