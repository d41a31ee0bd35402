//! The action's name comes as the first argument, or as the name this program was started by.

use actions::variables::Variables;
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = action(std::env::args_os());
    match actions::run(&name, &Variables::of_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |error| (*error).source());
            let line = causes.fold(format!("{name}: {error}"), |line, cause| format!("{line}: {cause}"));
            eprintln!("{}", line.replace('\n', " "));
            ExitCode::from(error.exit_code())
        }
    }
}

fn action(mut arguments: impl Iterator<Item = OsString>) -> String {
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if actions::NAMES.contains(&program.as_str()) {
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
