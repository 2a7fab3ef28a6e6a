//! `completions` and `man`: what packagers install beside the binary.

use clap_complete::Shell;

use crate::args::{self, Completions};
use crate::completions;
use crate::exit::{Code, Failure};
use crate::manual;
use crate::output::print_raw;

/// Prints a completion script for one shell.
pub(crate) fn completions(args: &Completions) -> Result<(), Failure> {
    let mut command = args::command();
    let script = match args.shell {
        Shell::Bash => completions::bash(command).into_bytes(),
        shell => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "bitswarm", &mut script);
            let generated = String::from_utf8_lossy(&script);
            match shell {
                Shell::Fish => completions::fish(command, &generated).into_bytes(),
                Shell::Zsh => completions::zsh(&generated).into_bytes(),
                _ => script,
            }
        }
    };
    print_raw(&script)
}

/// Prints the manual page of bitswarm, or of one of its commands.
pub(crate) fn man(args: &args::Man) -> Result<(), Failure> {
    let name = args.command.join(" ");
    let page = manual::page(args::command(), &name).ok_or_else(|| {
        Failure::new(Code::Usage, format!("there is no command {name}; see bitswarm --help"))
    })?;
    print_raw(&page)
}
