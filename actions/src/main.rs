//! The action's name is the name of the program or, failing that, the first argument.

use actions::variables::Variables;
use machine::Chain;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = action(std::env::args_os());
    match actions::run(&name, &Variables::of_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", Chain(&error).to_string().replace('\n', " "));
            ExitCode::from(error.exit_code())
        }
    }
}

fn action(mut arguments: impl Iterator<Item = OsString>) -> String {
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if actions::ACTIONS.contains(&program.as_str()) {
        return program;
    }
    arguments.next().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_is_named_by_the_link_or_by_the_first_argument() {
        for (case, arguments, expected) in [
            ("first argument", &["/actions", "image2disk"][..], "image2disk"),
            ("name of the link", &["/bin/writefile", "ignored"], "writefile"),
            ("nothing", &["/actions"], ""),
        ] {
            assert_eq!(action(arguments.iter().map(OsString::from)), expected, "{case}");
        }
    }
}
