//! What a package has beside the program: man pages, and completion for shells. Both are made from the command line itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args, Debug)]
pub struct CompletionArguments {
    /// The shell
    shell: Shell,
}

#[derive(Args, Debug)]
pub struct ManArguments {
    /// Folder for the pages, which must exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints the script that a shell reads, as with `thimble completion bash > /etc/bash_completion.d/thimble`.
///
/// # Errors
/// If it cannot be written.
pub fn completion(mut command: Command, arguments: &CompletionArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "thimble", &mut script);
    out.write_all(&script).context("cannot write the completion script")
}

/// Writes `thimble.1` and a page for each command, such as `thimble-up.1`.
///
/// # Errors
/// If they cannot be written.
pub fn man(command: Command, arguments: &ManArguments) -> anyhow::Result<()> {
    let folder: &Path = &arguments.folder;
    clap_mangen::generate_to(command, folder).with_context(|| format!("cannot write man pages into {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    #[test]
    fn each_command_has_a_man_page_and_hidden_ones_have_none() {
        let folder = tempfile::tempdir().unwrap();
        man(Cli::command(), &ManArguments { folder: folder.path().to_owned() }).unwrap();
        for name in ["thimble.1", "thimble-up.1", "thimble-image-action.1"] {
            let page = std::fs::read_to_string(folder.path().join(name)).unwrap_or_else(|_| panic!("no {name}"));
            assert!(page.contains(".TH thimble") && page.contains(".SH"), "{name}: {page}");
        }
        assert!(!folder.path().join("thimble-man.1").exists());
        let gone = ManArguments { folder: "/nonexistent".into() };
        assert!(man(Cli::command(), &gone).unwrap_err().to_string().contains("/nonexistent"));
    }

    #[test]
    fn shells_complete_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            completion(Cli::command(), &CompletionArguments { shell }, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("workflow") && text.contains("image"), "{shell}");
        }
    }
}
