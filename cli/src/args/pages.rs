//! The commands as manual pages name them.

use std::collections::BTreeSet;

use clap::Command;
use clap::builder::PossibleValue;

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

/// What may be written to name a page: its name, or the words of the command one by one. Only names are
/// shown.
pub(crate) fn page_words(command: &Command) -> Vec<PossibleValue> {
    let names = page_names(command);
    let words: BTreeSet<String> =
        names.iter().flat_map(|name| name.split('-')).map(str::to_owned).collect();
    let hidden: Vec<String> = words.into_iter().filter(|word| !names.contains(word)).collect();
    let shown = names.into_iter().map(PossibleValue::new);
    shown.chain(hidden.into_iter().map(|word| PossibleValue::new(word).hide(true))).collect()
}
