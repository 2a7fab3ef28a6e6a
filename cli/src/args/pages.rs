//! The commands as manual pages name them.

use clap::Command;

/// The commands below one; `help` has no page of its own.
pub(crate) fn below(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

/// The names of all pages but the overview.
pub(crate) fn page_names(command: &Command) -> Vec<String> {
    let mut all = Vec::new();
    for sub in below(command) {
        all.push(sub.get_name().to_owned());
        all.extend(page_names(sub).into_iter().map(|name| format!("{}-{name}", sub.get_name())));
    }
    all
}
