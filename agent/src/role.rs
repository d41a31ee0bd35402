//! Which of the program's two roles the arguments ask for.

use std::ffi::{OsStr, OsString};

#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    /// Serve workflows; what follows are flags in Go's style.
    Run(Vec<OsString>),
    /// Make the processes that own containers.
    Launcher,
    Version,
    Help,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("no role is called {0:?}: use `run` with flags such as -grpc-server and -id")]
    Role(String),
}

/// The kernel passes words of its command line to init, so a plain word that is not a role is refused by name.
pub fn choose(args: &[OsString]) -> Result<Role, Unknown> {
    match args.split_first() {
        None => Ok(Role::Run(Vec::new())),
        Some((first, rest)) if first == "run" && !rest.iter().any(|word| is_help(word)) => Ok(Role::Run(rest.to_vec())),
        Some((first, [])) if first == "launcher" => Ok(Role::Launcher),
        Some((first, [])) if is_version(first) => Ok(Role::Version),
        Some((first, [])) if is_help(first) => Ok(Role::Help),
        Some((first, _)) if first == "run" => Ok(Role::Help),
        Some((first, _)) if first.as_encoded_bytes().starts_with(b"-") => Ok(Role::Run(args.to_vec())),
        Some((first, _)) => Err(Unknown::Role(first.to_string_lossy().into_owned())),
    }
}

fn is_help(word: &OsStr) -> bool {
    word == "-h" || word == "-help" || word == "--help"
}

fn is_version(word: &OsStr) -> bool {
    word == "-version" || word == "--version"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_choose_the_role() {
        let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        for (case, args, role) in [
            ("nothing means run", "", Ok(Role::Run(vec![]))),
            ("run keeps its flags", "run -id x", Ok(Role::Run(words("-id x")))),
            ("flags alone mean run", "-id=x", Ok(Role::Run(words("-id=x")))),
            ("help before everything", "run -id x --help", Ok(Role::Help)),
            ("version is asked alone", "-version", Ok(Role::Version)),
            ("the agent's own child", "launcher", Ok(Role::Launcher)),
            ("a stray word is named", "vmlinuz", Err(Unknown::Role("vmlinuz".into()))),
        ] {
            assert_eq!(choose(&words(args)), role, "{case}");
        }
    }
}
