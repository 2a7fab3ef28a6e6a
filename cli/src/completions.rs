//! Completion scripts: what `clap_complete` does not offer.
//!
//! Its script for bash offers the options where a file is wanted, so there is one of our own. Those for
//! zsh and fish are mended: in zsh no option was offered after an argument that may be repeated, and in
//! fish neither the values of arguments, nor directories behind `--option=`, nor commands behind `help`.

use std::fmt::Write as _;

use clap::builder::PossibleValue;
use clap::{Arg, Command, ValueHint};

use crate::args::below;

/// What may stand where a value is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Offer {
    Files,
    Directories,
    Words(Vec<String>),
    /// Nothing that can be guessed.
    Nothing,
}

impl Offer {
    fn of(arg: &Arg) -> Self {
        let (values, name) =
            (arg.get_possible_values(), |value: &PossibleValue| value.get_name().to_owned());
        let words: Vec<String> =
            values.iter().filter(|value| !value.is_hide_set()).map(name).collect();
        match arg.get_value_hint() {
            _ if !words.is_empty() => Offer::Words(words),
            ValueHint::DirPath => Offer::Directories,
            ValueHint::AnyPath | ValueHint::FilePath => Offer::Files,
            _ => Offer::Nothing,
        }
    }

    /// As the script's `offer` understands it.
    fn in_bash(&self) -> String {
        match self {
            Offer::Files => "files".to_owned(),
            Offer::Directories => "directories".to_owned(),
            Offer::Words(words) => format!("words {}", words.join(" ")),
            Offer::Nothing => "nothing".to_owned(),
        }
    }
}

/// Each command with the words that name it, such as `dht lookup`, the whole first.
fn commands(command: &Command) -> Vec<(String, &Command)> {
    fn collect<'a>(path: &str, command: &'a Command, all: &mut Vec<(String, &'a Command)>) {
        all.push((path.to_owned(), command));
        for sub in below(command) {
            let path = format!("{path} {}", sub.get_name());
            collect(path.trim_start(), sub, all);
        }
    }
    let mut all = Vec::new();
    collect("", command, &mut all);
    all
}

/// What stands for an option on the command line: `-o`, `--output`.
fn names(arg: &Arg) -> Vec<String> {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    short.into_iter().chain(long).collect()
}

/// What may follow a command that is no option: its commands, or its arguments.
fn argument(command: &Command) -> Offer {
    let subs: Vec<String> = below(command).map(|sub| sub.get_name().to_owned()).collect();
    if !subs.is_empty() {
        return Offer::Words(subs);
    }
    command.get_positionals().next().map_or(Offer::Nothing, Offer::of)
}

/// The script for bash, from version 3.2 on.
pub(crate) fn bash(mut command: Command) -> String {
    command.build();
    let mut paths = String::new();
    let mut options = String::new();
    let mut values = String::new();
    for (path, command) in commands(&command) {
        if let Some((before, word)) = path.rsplit_once(' ').or(Some(("", path.as_str())))
            && !word.is_empty()
        {
            let _ = writeln!(paths, "            \"{before} {word}\") command=\"{path}\" ;;");
        }
        let args = || command.get_arguments().filter(|arg| !arg.is_hide_set());
        let all: Vec<String> = args().flat_map(names).collect();
        let _ = writeln!(
            options,
            "        \"{path}\") options=\"{}\"; argument=\"{}\" ;;",
            all.join(" "),
            argument(command).in_bash()
        );
        for arg in args().filter(|arg| !arg.is_positional() && arg.get_action().takes_values()) {
            let patterns: Vec<String> =
                names(arg).iter().map(|name| format!("\"{path},{name}\"")).collect();
            let offer = Offer::of(arg).in_bash();
            let _ = writeln!(
                values,
                "        {}) argument=\"{offer}\"; wants=1 ;;",
                patterns.join("|")
            );
        }
    }
    SCRIPT.replace("@PATHS@", &paths).replace("@OPTIONS@", &options).replace("@VALUES@", &values)
}

/// The script for zsh, from the generated one: what follows the last argument is completed as the whole
/// line is.
pub(crate) fn zsh(generated: &str) -> String {
    generated.replace("'*::", "'*:")
}

/// The script for fish, from the generated one.
pub(crate) fn fish(mut command: Command, generated: &str) -> String {
    // It completes the word as it stands, with the option in front.
    let mut lines = generated.replace(
        "\"(__fish_complete_directories)\"",
        "'(__fish_complete_directories (string replace -r \"^-[^=]*=\" \"\" -- (commandline -ct)))'",
    );
    command.build();
    let subs: Vec<&str> = below(&command).map(Command::get_name).collect();
    let _ = writeln!(
        lines,
        "complete -c bitswarm -n \"__fish_bitswarm_using_subcommand help; and not \
         __fish_seen_subcommand_from {0}\" -f -a \"{0}\"",
        subs.join(" ")
    );
    for (path, command) in commands(&command) {
        if command.has_subcommands() {
            continue;
        }
        if let Offer::Words(words) = argument(command) {
            let _ = writeln!(
                lines,
                "complete -c bitswarm -n \"__fish_bitswarm_using_subcommand {path}\" -f -a \"{}\"",
                words.join(" ")
            );
        }
    }
    lines
}

const SCRIPT: &str = r#"# Completion of bitswarm's commands, options, files and directories in bash.
_bitswarm() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    local command="" options="" argument="" wants="" i IFS=$' \t\n'
    COMPREPLY=()
    # --option=value is three words.
    if [[ $cur == "=" ]]; then
        cur=""
    elif [[ $prev == "=" ]]; then
        prev="${COMP_WORDS[COMP_CWORD-2]}"
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$command ${COMP_WORDS[i]}" in
@PATHS@        esac
    done
    case "$command" in
@OPTIONS@    esac
    case "$command,$prev" in
@VALUES@    esac
    if [[ -z $wants && $cur == -* ]]; then
        argument="words $options"
    fi
    case "$argument" in
        files)
            compopt -o filenames 2> /dev/null
            IFS=$'\n'
            COMPREPLY=($(compgen -f -- "$cur"))
            ;;
        directories)
            compopt -o filenames 2> /dev/null
            IFS=$'\n'
            COMPREPLY=($(compgen -d -- "$cur"))
            ;;
        words*)
            COMPREPLY=($(compgen -W "${argument#words}" -- "$cur"))
            ;;
    esac
    return 0
}
complete -F _bitswarm bitswarm
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn every_command_and_every_value_has_an_offer() {
        let mut command = args::command();
        command.build();
        let all = commands(&command);
        let offer = |path: &str| {
            let (_, command) = all.iter().find(|(name, _)| name == path).unwrap();
            argument(command)
        };
        let words = |offer: Offer| match offer {
            Offer::Words(words) => words,
            other => panic!("{other:?}"),
        };
        assert!(words(offer("")).contains(&"download".to_owned()));
        assert!(words(offer("dht")).contains(&"lookup".to_owned()));
        assert!(words(offer("completions")).contains(&"fish".to_owned()));
        assert!(words(offer("man")).contains(&"dht-lookup".to_owned()));
        for path in ["download", "seed", "create", "share", "info", "verify", "lint", "dht lookup"]
        {
            assert_eq!(offer(path), Offer::Files, "{path}");
        }
        for (path, command) in &all {
            for arg in command.get_arguments() {
                let is_dir = arg.get_value_names().is_some_and(|names| names == ["DIR"]);
                assert!(!is_dir || Offer::of(arg) == Offer::Directories, "{path} {}", arg.get_id());
            }
        }
    }
}
