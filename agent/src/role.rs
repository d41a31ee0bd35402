//! Chooses between the program's two roles by its arguments.

use std::ffi::{OsStr, OsString};

#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    /// Serve workflows. The rest are flags in Go's style.
    Run(Vec<OsString>),
    /// Make the processes that own containers.
    Launcher,
    Version,
    Help,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("{0:?} is not a role: use `run` with flags such as -grpc-server and -id")]
    Role(String),
}

/// The kernel passes words of its command line to init, so a plain word that is not a role is refused by name.
pub fn choose(args: &[OsString]) -> Result<Role, Unknown> {
    let flags = match args.split_first() {
        Some((first, [])) if first == "launcher" => return Ok(Role::Launcher),
        Some((first, rest)) if first == "run" => rest,
        Some((first, _)) if !first.as_encoded_bytes().starts_with(b"-") => {
            return Err(Unknown::Role(first.to_string_lossy().into_owned()));
        }
        _ => args,
    };
    // As with Go's flags, these two count anywhere before `--`.
    let mut asked = flags.iter().take_while(|word| *word != "--");
    let role = asked.find_map(|word| match () {
        () if is_help(word) => Some(Role::Help),
        () if is_version(word) => Some(Role::Version),
        () => None,
    });
    Ok(role.unwrap_or_else(|| Role::Run(flags.to_vec())))
}

fn is_help(word: &OsStr) -> bool {
    ["-h", "--h", "-help", "--help"].iter().any(|help| word == *help)
}

fn is_version(word: &OsStr) -> bool {
    let name = word.to_str().and_then(|word| word.strip_prefix("--").or_else(|| word.strip_prefix('-')));
    matches!(name, Some("version" | "version=true" | "version=1" | "version=t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_choose_the_role() {
        let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        for (case, args, role) in [
            ("no arguments mean run", "", Ok(Role::Run(vec![]))),
            ("run keeps its flags", "run -id x", Ok(Role::Run(words("-id x")))),
            ("flags alone mean run", "-id=x", Ok(Role::Run(words("-id=x")))),
            ("help before everything", "run -id x --help", Ok(Role::Help)),
            ("the version", "-version", Ok(Role::Version)),
            ("among other flags", "-id x -version -runtime docker", Ok(Role::Version)),
            ("with the role", "run --version=true", Ok(Role::Version)),
            ("help among other flags", "-id x -h", Ok(Role::Help)),
            ("after the end of the flags it is not a flag", "-id x -- -version", Ok(Role::Run(words("-id x -- -version")))),
            ("the agent's child", "launcher", Ok(Role::Launcher)),
            ("a stray word is named", "vmlinuz", Err(Unknown::Role("vmlinuz".into()))),
        ] {
            assert_eq!(choose(&words(args)), role, "{case}");
        }
    }
}
