//! `thimble agent`: the ramdisk's agent as a program of an ordinary host. It understands Tinkerbell's flags and variables,
//! so it can take the place of tink-agent and tink-worker; what the kernel command line says is the default.

mod kernel_arguments;
mod workflow;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use cmdline::Arguments;

/// The agent's words, if the program is called as one: `agent ...`, or `launcher` by itself for its child.
pub fn words(args: &[OsString]) -> Option<Vec<OsString>> {
    let (first, rest) = args.split_first()?;
    match first.to_str() {
        Some("agent") => Some(rest.to_vec()),
        Some("launcher") => Some(args.to_vec()),
        _ => None,
    }
}

pub fn main(words: Vec<OsString>) -> ExitCode {
    ::agent::main_with(with_defaults(words, &command_line()).into_iter(), workflow::read)
}

fn command_line() -> Arguments {
    let line = std::fs::read("/proc/cmdline").unwrap_or_default();
    Arguments::parse(&String::from_utf8_lossy(&line)).arguments // not our kernel's arguments: what is wrong there is no concern of ours
}

/// The last flag wins, so defaults stand first.
fn with_defaults(words: Vec<OsString>, arguments: &Arguments) -> Vec<OsString> {
    let run = match words.first().and_then(|word| word.to_str()) {
        None => 0,
        Some("run") => 1,
        Some("-version" | "--version" | "-h" | "-help" | "--help") => return words,
        Some(flag) if flag.starts_with('-') => 0,
        Some(_) => return words,
    };
    let defaults = kernel_arguments::flags(arguments).into_iter().map(OsString::from);
    let own = words.iter().skip(run).cloned();
    [OsStr::new("run").to_owned()].into_iter().chain(defaults).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_agent_is_told_from_the_other_commands() {
        for (args, want) in [
            ("agent -id x", Some("-id x")),
            ("agent", Some("")),
            ("launcher", Some("launcher")),
            ("up --config agent", None),
            ("", None),
        ] {
            assert_eq!(words(&all(args)), want.map(all), "{args}");
        }
    }

    #[test]
    fn kernel_arguments_are_defaults_for_a_run_and_for_nothing_else() {
        let arguments = Arguments::parse("worker_id=m").arguments;
        for (words, want) in [
            ("", "run -id=m"),
            ("run -id n", "run -id=m -id n"),
            ("-id n", "run -id=m -id n"),
            ("--version", "--version"),
            ("launcher", "launcher"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(with_defaults(all(words), &arguments), all(want), "{words}");
        }
    }
}
