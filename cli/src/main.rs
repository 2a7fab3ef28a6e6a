//! bitswarm, a BitTorrent client on the command line. Dispatch only.

#![forbid(unsafe_code)]
// They panic when nobody reads: `output` writes.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod command_line;
mod commands;
mod completions;
mod config;
mod content;
mod describe;
mod destination;
mod exit;
mod fetch;
mod globs;
mod goals;
mod hashing;
mod input;
mod ip_filter;
mod json;
mod kinds;
mod known;
mod left_out;
mod link;
mod load;
mod logging;
mod making;
mod manual;
mod output;
mod progress;
mod replace;
mod report;
mod selection;
mod session;
mod signals;
mod state;
mod status_line;
mod temporary;
mod text;
mod torrent_lock;
mod transfer_loop;
mod units;
mod workplace;

use std::process::ExitCode;

use args::Command;
use config::Config;
use exit::Failure;

fn main() -> ExitCode {
    temporary::remove_on_panic();
    signals::outlive_file_limits();
    let parsed = command_line::parse(std::env::args_os(), Config::load);
    let ended = parsed.and_then(|(cli, config)| run(&cli.command, &config));
    match ended.and_then(|()| output::verdict()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::report(&failure);
            failure.code.into()
        }
    }
}

fn run(command: &Command, config: &Config) -> Result<(), Failure> {
    report::set_json(command.has_json());
    logging::start(command.verbosity());
    if let Some(warning) = config.warning().filter(|_| command.may_say_more()) {
        progress::say_alone(&warning);
    }
    match command {
        Command::Download(args) => commands::download::run(args),
        Command::Seed(args) => commands::seed::run(args),
        Command::Create(args) => commands::create::run(args),
        Command::Info(args) => commands::info::run(args),
        Command::Magnet(args) => commands::magnet::run(args),
        Command::Metadata(args) => commands::metadata::run(args),
        Command::Share(args) => commands::share::run(args),
        Command::Verify(args) => commands::verify::run(args),
        Command::Edit(args) => commands::edit::run(args),
        Command::Lint(args) => commands::lint::run(args),
        Command::Diff(args) => commands::diff::run(args),
        Command::Tracker(args) => commands::tracker::run(args),
        Command::Scrape(args) => commands::scrape::run(args),
        Command::Dht(args) => commands::dht::run(args),
        Command::Demo(args) => commands::demo::run(args),
        Command::Replay(args) => commands::replay::run(args),
        Command::Forget(args) => commands::forget::run(args),
        Command::Config(args) => commands::config::run(args, config),
        Command::Completions(args) => commands::scripts::completions(args),
        Command::Man(args) => commands::scripts::man(args),
    }
}
