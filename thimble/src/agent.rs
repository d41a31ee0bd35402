//! `thimble agent`: the ramdisk's agent as a program on an ordinary host. It takes Tinkerbell's flags and variables, so it
//! can replace tink-agent and tink-worker. The kernel command line gives the defaults.

mod workflow;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use cmdline::Arguments;

/// The agent's arguments, if the program is called as the agent: `agent ...`, or `launcher` alone for its child.
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
    Arguments::parse(&String::from_utf8_lossy(&line)).arguments // mistakes are not logged, because the command line belongs to the host
}

/// These flags stay in memory, so a password in them is never in a process list.
fn flags(arguments: &Arguments) -> impl Iterator<Item = String> {
    arguments.for_agent(None).map(|(setting, value)| format!("-{}={value}", setting.flag))
}

/// The last flag wins, so the defaults come first.
fn with_defaults(words: Vec<OsString>, arguments: &Arguments) -> Vec<OsString> {
    let run = match words.first().and_then(|word| word.to_str()) {
        None => 0,
        Some("run") => 1,
        Some("-version" | "--version" | "-h" | "-help" | "--help") => return words,
        Some(flag) if flag.starts_with('-') => 0,
        Some(_) => return words,
    };
    let defaults = flags(arguments).map(OsString::from);
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
    fn the_agent_is_one_of_several_commands() {
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

    #[test]
    fn every_argument_that_concerns_the_agent_is_a_flag() {
        for (line, want) in [
            ("quiet console=ttyS0 root=/dev/sda1", ""),
            ("worker_id=m hw_addr=02:00:00:00:00:01", "-id=m"),
            ("hw_addr=02:00:00:00:00:01", "-id=02:00:00:00:00:01"),
            ("grpc_authority=10.0.0.1:42113 facility=", "-grpc-server=10.0.0.1:42113"),
            ("tinkerbell_tls=true tinkerbell_insecure_tls=false", "-grpc-tls=true -grpc-insecure-tls=false"),
            (
                "docker_registry=r:5000 registry_username=u registry_password=p",
                "-registry-name=r:5000 -registry-user=u -registry-pass=p",
            ),
            ("insecure_registries=a,b:5000", "-insecure-registries=a,b:5000"),
            ("syslog_host=10.0.0.2 syslog_port=5514", "-syslog-host=10.0.0.2 -syslog-port=5514"),
            ("thimble.mirror=a=http://m thimble.embedded=never", "-embedded=never -mirrors=a=http://m"),
            ("HTTPS_PROXY=http://p:3128 NO_PROXY=10.0.0.0/8", "-https-proxy=http://p:3128 -no-proxy=10.0.0.0/8"),
        ] {
            assert_eq!(flags(&Arguments::parse(line).arguments).collect::<Vec<_>>().join(" "), want, "{line}");
        }
    }
}
