//! How much a command says, and in which form.

use clap::{ArgAction, Args, ValueEnum};

/// How much is said, and in which form.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Reporting {
    /// Write results to stdout as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but errors and results
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more on stderr; twice for still more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How progress looks, of a command that shows any.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Painting {
    /// Write progress in colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
}

/// Whether to write in colour.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Colour {
    // No doc comments: they would turn the whole help into its long form.
    #[default]
    Auto,
    Always,
    Never,
}
