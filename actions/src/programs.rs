//! Foreign programs, such as mkfs and grub-install: first those of the action's image, which `thimble image action --tools`
//! makes, then those of the installed system.

use crate::say;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Where Debian has programs. An image's own `PATH` comes before.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const OUTPUT_MAX: u64 = 64 << 10;

/// A program, and Debian's package with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    pub program: &'static str,
    pub package: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error(
        "{program} is missing: this action's image does not have it{}. Use the action's image with tools, made by thimble image \
         action --tools from Debian's packages, with {package} among them", if *.inside { ", and neither has the installed system" } else { "" }
    )]
    Missing { program: &'static str, package: &'static str, inside: bool },
    #[error("cannot start {program}")]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended with {}{}", ending(.status), said(.output))]
    Failed { program: PathBuf, status: ExitStatus, output: String },
}

fn ending(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown state".into(),
    }
}

/// The last line, which is where programs say why.
fn said(output: &str) -> String {
    output.lines().map(str::trim).rfind(|line| !line.is_empty()).map(|line| format!(": {line}")).unwrap_or_default()
}

impl Tool {
    pub const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }

    /// Its path in the action's image.
    ///
    /// # Errors
    /// If the image does not have it.
    pub fn find(&self) -> Result<PathBuf, ToolError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        self.find_in(&path).ok_or_else(|| self.missing(false))
    }

    /// Links of that name may lead to the actions themselves: an action is called syslinux, too.
    fn find_in(&self, path: &OsStr) -> Option<PathBuf> {
        let own = std::env::current_exe().ok();
        let folders = std::env::split_paths(path).chain(std::env::split_paths(PATH));
        let places = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(self.program));
        places.filter(|place| place.is_file()).find(|place| place.canonicalize().ok() != own)
    }

    /// Its path in another system, as that system sees it.
    pub fn find_inside(&self, root: &Path) -> Option<PathBuf> {
        let root = crate::inside::Root::open(root).ok()?;
        std::env::split_paths(PATH).map(|folder| folder.join(self.program)).find(|place| root.file(place).is_ok())
    }

    pub fn missing(&self, inside: bool) -> ToolError {
        ToolError::Missing { program: self.program, package: self.package, inside }
    }
}

/// Runs a program to its end. Its output becomes the action's.
///
/// # Errors
/// If it does not start, or fails; then with its last line.
pub fn run(program: &Path, arguments: &[OsString]) -> Result<(), ToolError> {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    say(&format!("running {} {}", program.display(), words.join(" ")));
    let path = std::env::var("PATH").map_or(PATH.to_owned(), |own| format!("{own}:{PATH}"));
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path).stdin(Stdio::null());
    let failed = |source| ToolError::Start { program: program.to_owned(), source };
    // One pipe for both, so that a program that fills one of two does not wait for ever.
    let (reader, writer) = io::pipe().map_err(failed)?;
    command.stderr(writer.try_clone().map_err(failed)?).stdout(writer);
    let mut child = command.spawn().map_err(failed)?;
    drop(command); // it has the pipe's other end
    let output = passed_on(reader);
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(ToolError::Failed { program: program.to_owned(), status, output }) }
}

/// Passes lines on as they come, and keeps the last ones.
fn passed_on(reader: impl io::Read) -> String {
    use io::BufRead;
    let mut reader = io::BufReader::new(reader);
    let mut kept = String::new();
    loop {
        let mut line = Vec::new();
        let got = io::Read::take(&mut reader, OUTPUT_MAX).read_until(b'\n', &mut line).unwrap_or(0);
        if got == 0 {
            return kept;
        }
        // mkfs draws its progress with backspaces and carriage returns.
        let text: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
        if !text.trim().is_empty() {
            say(text.trim_end());
            kept = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_the_image_come_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sh"), "").unwrap();
        let sh = Tool::new("sh", "dash");
        assert_eq!(sh.find_in(folder.path().as_os_str()), Some(folder.path().join("sh")));
        assert!(sh.find_in(OsStr::new("/nothing:.")).unwrap().starts_with("/usr"));
        assert_eq!(Tool::new("no-such-program", "x").find_in(OsStr::new("")), None);
    }

    #[test]
    fn a_link_to_the_actions_themselves_is_not_the_program() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), folder.path().join("no-such-program")).unwrap();
        assert_eq!(Tool::new("no-such-program", "x").find_in(folder.path().as_os_str()), None);
    }

    #[test]
    fn a_missing_program_is_named_with_its_package_and_the_image() {
        let error = Tool::new("mkfs.none", "none-progs").find().unwrap_err().to_string();
        assert!(error.contains("mkfs.none is missing") && error.contains("thimble image action --tools"), "{error}");
        assert!(error.contains("with none-progs among them") && !error.contains("installed system"), "{error}");
        let error = Tool::new("grub-install", "grub2-common").missing(true).to_string();
        assert!(error.contains("and neither has the installed system"), "{error}");
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run(Path::new("/bin/sh"), &["-c".into(), "echo first; echo 'it broke' >&2; exit 3".into()]).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh ended with exit code 3: it broke");
        run(Path::new("/bin/sh"), &["-c".into(), "exit 0".into()]).unwrap();
        assert!(run(Path::new("/no/such"), &[]).unwrap_err().to_string().starts_with("cannot start /no/such"));
    }

    #[test]
    fn a_program_of_another_system_is_found_inside_of_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        std::fs::write(root.path().join("usr/sbin/grub-install"), "").unwrap();
        let grub = Tool::new("grub-install", "grub2-common");
        assert_eq!(grub.find_inside(root.path()), Some("/usr/sbin/grub-install".into()));
        std::os::unix::fs::symlink("/bin/sh", root.path().join("usr/sbin/mkfs.ext4")).unwrap();
        assert_eq!(Tool::new("mkfs.ext4", "e2fsprogs").find_inside(root.path()), None, "its link leads nowhere in there");
    }
}
