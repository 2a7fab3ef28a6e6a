//! `completions` and `man`: what packagers install beside the binary.

use clap_mangen::Man;

use crate::args::{self, Completions};
use crate::exit::{Code, Failure};
use crate::output::print_raw;

/// Prints a completion script for one shell.
pub(crate) fn completions(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "bitswarm", &mut script);
    print_raw(&script)
}

/// Prints the manual page of bitswarm, or of one of its commands.
pub(crate) fn man(args: &args::Man) -> Result<(), Failure> {
    let mut command = args::command();
    // Built, so that the pages of commands know their full name.
    command.build();
    let page = match &args.command {
        None => command,
        Some(name) => command.find_subcommand(name).cloned().ok_or_else(|| {
            Failure::new(Code::Usage, format!("there is no command {name}; see bitswarm --help"))
        })?,
    };
    let mut roff = Vec::new();
    Man::new(page).render(&mut roff).expect("writing to memory does not fail");
    print_raw(&roff)
}
