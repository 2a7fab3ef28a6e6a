//! Network namespaces of single participants, joined by a cable: for what cannot be shown on one
//! loopback interface that all share.

use std::process::Command;
use std::time::Duration;

use super::lab::until;
use super::process::copy;
use super::{Lab, Need, Outcome, Process};

/// A network namespace with an interface `cable` that leads to another. Dropping it takes it away,
/// once nobody is in it any more.
#[derive(Debug)]
pub struct Netns {
    /// Keeps the namespace while it runs.
    keeper: Process,
}

impl Netns {
    /// What a case needs for these.
    pub const NEEDS: &[Need] = &[Need::Root, Need::Program("nsenter"), Need::Program("ip")];

    /// Two namespaces, and a cable from one to the other. Neither end has an address yet.
    pub fn pair(lab: &Lab) -> Outcome<[Netns; 2]> {
        let [a, b] = [Netns::new(lab)?, Netns::new(lab)?];
        let other = b.keeper.id().to_string();
        a.ip(
            lab,
            &["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &other],
        )?;
        Ok([a, b])
    }

    fn new(lab: &Lab) -> Outcome<Netns> {
        let mut keeper = Command::new("unshare");
        keeper.args(["-n", "--", "sleep", "600"]);
        let mut keeper = Process::spawn(lab, "netns", &keeper)?;
        let path = |id: String| std::fs::read_link(format!("/proc/{id}/ns/net"));
        until("a network namespace", Duration::from_secs(10), || {
            keeper.ensure_running()?;
            let its = path(keeper.id().to_string()).ok();
            Ok((its.is_some() && its != path("self".to_owned()).ok()).then_some(()))
        })?;
        let netns = Netns { keeper };
        netns.ip(lab, &["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Runs `ip` with these arguments in it.
    pub fn ip(&self, lab: &Lab, arguments: &[&str]) -> Outcome {
        let mut ip = Command::new("ip");
        self.run(lab, ip.args(arguments))
    }

    /// Runs a command in it that ends by itself, and well.
    pub fn run(&self, lab: &Lab, command: &Command) -> Outcome {
        let mut process = Process::spawn(lab, "in-netns", &self.enter(command))?;
        match process.exit_code(Duration::from_secs(10))? {
            0 => Ok(()),
            code => Err(format!("{command:?}: code {code}: {}", process.stderr()).into()),
        }
    }

    /// The same command, in it.
    pub fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &self.keeper.id().to_string(), "-n", "--"]).arg(command.get_program());
        copy(inside, command)
    }
}
