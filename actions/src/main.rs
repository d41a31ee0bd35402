//! The action's name is the name of the program or, failing that, the first argument. Then come options.

use actions::variables::Variables;
use actions::{ActionError, help, url};
use machine::Chain;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Run,
    DryRun,
    Help,
    /// Without the value, which may be a secret.
    Mistake(String),
    Secret(&'static str),
}

fn main() -> ExitCode {
    let Command { name, mode, settings, words } = command(std::env::args_os());
    let mut variables = Variables::of_process().with_words(words);
    settings.iter().for_each(|(name, value)| variables.set(name, value));
    let result = match mode {
        Mode::Run => actions::run(&name, &variables),
        Mode::DryRun => actions::dry_run(&name, &variables),
        Mode::Help => print_help(&name),
        Mode::Mistake(option) => Err(ActionError::Option(option)),
        Mode::Secret(name) => Err(ActionError::SecretOption(name.to_ascii_lowercase().replace('_', "-"), name)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", url::shown(&Chain(&error).to_string().replace('\n', " ")));
            ExitCode::from(error.exit_code())
        }
    }
}

fn print_help(name: &str) -> Result<(), ActionError> {
    let page = help::page(name).ok_or_else(|| ActionError::Unknown(name.to_owned()))?;
    print!("{}", page.render());
    Ok(())
}

struct Command {
    name: String,
    mode: Mode,
    /// Variables that are given as options, as some of upstream's actions take them: `--block-device /dev/vda1`.
    settings: Vec<(&'static str, String)>,
    words: Vec<String>,
}

/// Only rootio reads words that are not options. The others ignore them, because templates for other images have them. A
/// misspelt option must not write.
fn command(mut arguments: impl Iterator<Item = OsString>) -> Command {
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = if actions::ACTIONS.contains(&program.as_str()) {
        program
    } else {
        arguments.next().unwrap_or_default().to_string_lossy().into_owned()
    };
    let mut command = Command { name, mode: Mode::Run, settings: Vec::new(), words: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.to_string_lossy().as_ref() {
            "--help" | "-h" => return Command { mode: Mode::Help, ..command },
            "--dry-run" => command.mode = Mode::DryRun,
            option if option.starts_with('-') => match setting(&command.name, option, &mut arguments) {
                Ok(setting) => command.settings.push(setting),
                Err(mode) => return Command { mode, ..command },
            },
            word => command.words.push(word.to_owned()),
        }
    }
    command
}

/// Go's flags: one or two hyphens, and a value after `=` or as the next word. A flag that is true or false needs none.
fn setting(action: &str, option: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<(&'static str, String), Mode> {
    let (given, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value.to_owned())));
    let mistake = || Mode::Mistake(given.to_owned());
    let name = given.strip_prefix("--").or_else(|| given.strip_prefix('-')).ok_or_else(mistake)?;
    let name = name.replace('-', "_").to_ascii_uppercase();
    let mut variables = help::page(action).into_iter().flat_map(|page| page.variables);
    let variable = variables.find(|variable| variable.name == name).ok_or_else(mistake)?;
    if variable.is_secret() {
        return Err(Mode::Secret(variable.name));
    }
    let is_flag = matches!(variable.need, help::Need::Default("true" | "false"));
    let value = match value {
        Some(value) => value,
        None if is_flag => "true".to_owned(),
        None => rest.next().and_then(|word| word.into_string().ok()).ok_or_else(mistake)?,
    };
    Ok((variable.name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_is_named_by_the_link_or_by_the_first_argument() {
        for (case, arguments, expected, mode) in [
            ("first argument", &["/actions", "image2disk"][..], "image2disk", Mode::Run),
            ("name of the link", &["/bin/writefile", "ignored"], "writefile", Mode::Run),
            ("nothing", &["/actions"], "", Mode::Run),
            ("a dry run", &["/actions", "image2disk", "--dry-run"], "image2disk", Mode::DryRun),
            ("help", &["image2disk", "--dry-run", "--help"], "image2disk", Mode::Help),
            ("misspelt", &["image2disk", "--dryrun"], "image2disk", Mode::Mistake("--dryrun".into())),
            ("another action's", &["wipe", "--cmd-line=x"], "wipe", Mode::Mistake("--cmd-line".into())),
            ("a misspelt secret", &["luks", "--passphrse=t0p"], "luks", Mode::Mistake("--passphrse".into())),
            ("a secret", &["luks", "--passphrase=t0p"], "luks", Mode::Secret("PASSPHRASE")),
            ("a login", &["oci2disk", "-registry-password", "t0p"], "oci2disk", Mode::Secret("REGISTRY_PASSWORD")),
            ("without its value", &["cexec", "--cmd-line"], "cexec", Mode::Mistake("--cmd-line".into())),
        ] {
            let command = command(arguments.iter().map(OsString::from));
            assert_eq!((command.name.as_str(), command.mode), (expected, mode), "{case}");
        }
    }

    #[test]
    fn variables_may_be_options_as_upstream_has_them() {
        let words =
            ["cexec", "--block-device", "/dev/vda1", "-fs-type=ext4", "--update-resolv-conf", "--cmd-line", "true", "--chroot=y"];
        let command = command(words.iter().map(OsString::from));
        let given: Vec<_> = command.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let expected = [
            ("BLOCK_DEVICE", "/dev/vda1"),
            ("FS_TYPE", "ext4"),
            ("UPDATE_RESOLV_CONF", "true"),
            ("CMD_LINE", "true"),
            ("CHROOT", "y"),
        ];
        assert_eq!((command.mode, given.as_slice()), (Mode::Run, &expected[..]));
    }
}
