//! Programs of others, such as mkfs, mdadm and grub-install: first those of the action's image, which `thimble image action
//! --tools` makes, then those of the installed system.

use crate::say;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Where Debian has programs. An image's own `PATH` comes before.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Neither udev nor lvmetad is there, so the programs make their device files themselves.
const ENVIRONMENT: [(&str, &str); 4] =
    [("LC_ALL", "C"), ("DM_DISABLE_UDEV", "1"), ("MDADM_NO_UDEV", "1"), ("LVM_SUPPRESS_FD_WARNINGS", "1")];
const LINE_MAX: u64 = 64 << 10;
const OUTPUT_MAX: u64 = 1 << 20;

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
    #[error("cannot run {program}")]
    Run {
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

/// What is given on standard input, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// One run of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub tool: Tool,
    pub arguments: Vec<OsString>,
    pub input: Option<Secret>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tool.program, shown(&self.arguments))
    }
}

impl Call {
    pub fn new(tool: Tool, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { tool, arguments: arguments.into_iter().map(Into::into).collect(), input: None }
    }

    pub fn given(self, secret: &[u8]) -> Self {
        Self { input: Some(Secret(secret.to_vec())), ..self }
    }
}

fn shown(arguments: &[OsString]) -> String {
    arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether the image has all programs. Asked before anything is erased.
///
/// # Errors
/// The first one that is missing.
pub fn need(calls: &[Call]) -> Result<(), ToolError> {
    calls.iter().try_for_each(|call| call.tool.find().map(|_| ()))
}

/// Runs one after the other.
///
/// # Errors
/// As those of [`run`].
pub fn run_all(calls: &[Call]) -> Result<(), ToolError> {
    calls.iter().try_for_each(|call| execute(&call.tool.find()?, &call.arguments, call.input.as_ref()))
}

/// What a dry run prints.
pub fn show(calls: &[Call]) {
    for call in calls {
        say(&format!("would run {call}"));
    }
}

/// Runs a program to its end. Its output becomes the action's.
///
/// # Errors
/// If it does not start, or fails; then with its last line.
pub fn run(program: &Path, arguments: &[OsString]) -> Result<(), ToolError> {
    execute(program, arguments, None)
}

fn command(program: &Path, arguments: &[OsString]) -> Command {
    let path = std::env::var("PATH").map_or(PATH.to_owned(), |own| format!("{own}:{PATH}"));
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path).envs(ENVIRONMENT).stdin(Stdio::null());
    command
}

fn execute(program: &Path, arguments: &[OsString], input: Option<&Secret>) -> Result<(), ToolError> {
    say(&format!("running {} {}", program.display(), shown(arguments)));
    let failed = |source| ToolError::Run { program: program.to_owned(), source };
    let mut command = command(program, arguments);
    // One pipe for both, so that a program that fills one of two does not wait for ever.
    let (reader, writer) = io::pipe().map_err(failed)?;
    command.stderr(writer.try_clone().map_err(failed)?).stdout(writer);
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().map_err(failed)?;
    drop(command); // it has the pipe's other end
    if let (Some(Secret(bytes)), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that ends early reports why by its status. A secret is smaller than a pipe's buffer.
        let _ = stdin.write_all(bytes);
    }
    let output = passed_on(reader);
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(ToolError::Failed { program: program.to_owned(), status, output }) }
}

/// What a program prints, at most 1 MiB of it. Its errors go to the action's own.
///
/// # Errors
/// If it is missing, does not start, or fails.
pub fn output(call: &Call) -> Result<String, ToolError> {
    let program = call.tool.find()?;
    let failed = |source| ToolError::Run { program: program.clone(), source };
    let mut child = command(&program, &call.arguments).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut bytes = Vec::new();
    // Closed afterwards, so that a program that prints more does not wait.
    let read = child.stdout.take().map_or(Ok(0), |stdout| stdout.take(OUTPUT_MAX).read_to_end(&mut bytes));
    let status = child.wait().map_err(failed)?;
    read.map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.success() { Ok(text) } else { Err(ToolError::Failed { program, status, output: text }) }
}

/// Passes lines on as they come, and keeps the last ones.
fn passed_on(reader: impl Read) -> String {
    use io::BufRead;
    let mut reader = io::BufReader::new(reader);
    let mut kept = String::new();
    loop {
        let mut line = Vec::new();
        let got = Read::take(&mut reader, LINE_MAX).read_until(b'\n', &mut line).unwrap_or(0);
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
        assert!(run(Path::new("/no/such"), &[]).unwrap_err().to_string().starts_with("cannot run /no/such"));
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

    const GREP: Tool = Tool::new("grep", "grep");

    #[test]
    fn a_program_that_is_not_there_is_named_before_anything_runs() {
        let calls = [Call::new(GREP, ["x"]), Call::new(Tool::new("no-such-tool", "nothing"), ["y"])];
        let error = need(&calls).unwrap_err().to_string();
        assert!(error.starts_with("no-such-tool is missing"), "{error}");
        assert!(need(&calls[..1]).is_ok());
    }

    #[test]
    fn what_a_program_prints_is_read_and_its_failure_is_reported() {
        assert_eq!(output(&Call::new(Tool::new("echo", "coreutils"), ["a", "b"])).unwrap(), "a b\n");
        let error = output(&Call::new(Tool::new("false", "coreutils"), ["x"])).unwrap_err().to_string();
        assert!(error.ends_with("/false ended with exit code 1"), "{error}");
    }

    #[test]
    fn a_secret_goes_to_standard_input_and_is_not_shown() {
        let call = |word| Call::new(GREP, ["-q", word]).given(b"t0p");
        let found = call("t0p");
        assert!(!format!("{found} {found:?}").contains("[116") && found.to_string() == "grep -q t0p");
        run_all(&[found]).unwrap();
        let error = run_all(&[call("x")]).unwrap_err().to_string();
        assert!(error.ends_with("/grep ended with exit code 1"), "{error}");
    }
}
