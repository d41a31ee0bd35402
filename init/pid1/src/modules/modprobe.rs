//! `/sbin/modprobe`: the kernel starts it when it needs a module by name, such as `fs-vfat` or `rtnl-link-bond`.
//!
//! It starts in the machine's root, even if a container's mount or socket needs the module. Scripts may call it, too.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use cmdline::Arguments;
use devices::catalogue::Catalogue;
use devices::policy::Policy;
use machine::Chain;

use super::Tree;
use crate::PathError;

const PROGRAM: &str = "/sbin/modprobe";
const SETTING: &str = "/proc/sys/kernel/modprobe";

/// Makes this program the kernel's module loader.
pub fn install() -> Result<(), PathError> {
    if fs::symlink_metadata(PROGRAM).is_err() {
        fs::create_dir_all("/sbin").map_err(PathError::new("cannot make", "/sbin"))?;
        symlink("/init", PROGRAM).map_err(PathError::new("cannot link", PROGRAM))?;
    }
    fs::write(SETTING, PROGRAM).map_err(PathError::new("cannot write", SETTING))
}

/// Loads a module in a separate process, as the kernel would. The caller checks whether it is loaded.
pub fn ask_for(module: &str) {
    let mut modprobe = Command::new(PROGRAM);
    modprobe.arg(module).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = modprobe.status() {
        log::debug!("cannot execute {PROGRAM}: {error}");
    }
}

/// Whether the program was started by this name.
pub fn is_meant(program: Option<&OsString>) -> bool {
    program.is_some_and(|program| Path::new(program).file_name().is_some_and(|name| name == "modprobe"))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Call {
    quiet: bool,
    /// Whether the deny list counts, which it does only for drivers of devices.
    denies: bool,
    names: Vec<String>,
}

impl Call {
    /// Supports only the options of modprobe that load modules. Parameters after a name must be on the kernel's command
    /// line.
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut call, mut all, mut only_names) = (Self::default(), false, false);
        for word in words {
            match word.as_str() {
                "--" if !only_names => only_names = true,
                "-q" | "--quiet" if !only_names => call.quiet = true,
                "-b" | "--use-blacklist" if !only_names => call.denies = true,
                "-s" | "--syslog" if !only_names => {}
                "-a" | "--all" if !only_names => all = true,
                option if option.starts_with('-') && !only_names => {
                    return Err(format!("modprobe: option {option} is not supported"));
                }
                name if all || call.names.is_empty() => call.names.push(name.to_owned()),
                parameter => {
                    return Err(format!(
                        "modprobe: {parameter}: give parameters on the kernel command line, as MODULE.NAME=VALUE"
                    ));
                }
            }
        }
        if call.names.is_empty() { Err("modprobe: the name of a module is missing".to_owned()) } else { Ok(call) }
    }
}

pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words = arguments.map(|word| word.to_string_lossy().into_owned());
    let result = Call::parse(words).and_then(|call| {
        let failed = load(&call);
        let text = failed.iter().filter(|failure| !(call.quiet && failure.is_unknown)).map(|failure| failure.text.as_str());
        if failed.is_empty() { Ok(()) } else { Err(text.collect::<Vec<_>>().join("\n")) }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            if !text.is_empty() {
                eprintln!("{text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Why a module was not loaded.
struct Failure {
    /// Whether the ramdisk lacks the module, which is true for most requests of the kernel.
    is_unknown: bool,
    text: String,
}

fn load(call: &Call) -> Vec<Failure> {
    let tree = match Tree::of_this_kernel() {
        Ok(tree) => tree,
        Err(error) => return vec![Failure { is_unknown: true, text: format!("modprobe: {error}") }],
    };
    let arguments = Arguments::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default()).arguments;
    let policy = Policy::new(&arguments);
    let lists = tree.lists();
    let catalogue = Catalogue::new(&lists);
    let mut failed = Vec::new();
    for name in &call.names {
        let modules = catalogue.named(name);
        if modules.is_empty() && !catalogue.is_builtin(name) {
            failed.push(Failure { is_unknown: true, text: format!("modprobe: {name}: the ramdisk does not have this module") });
        }
        let allowed = modules.into_iter().filter(|module| !(call.denies && policy.denies(module.as_str())));
        for module in catalogue.plan(allowed).in_order() {
            if let Err(error) = tree.load(&module.name, &module.path, &policy) {
                failed.push(Failure { is_unknown: false, text: format!("modprobe: {}: {}", module.name, Chain(&error)) });
            }
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_the_kernel_and_of_scripts_are_parsed() {
        let call = |quiet, names: &[&str]| {
            Ok(Call { quiet, denies: false, names: names.iter().map(|name| (*name).to_owned()).collect() })
        };
        for (line, expected) in [
            ("-q -- fs-vfat", call(true, &["fs-vfat"])),
            ("loop", call(false, &["loop"])),
            ("-a loop -q dm-mod", call(true, &["loop", "dm-mod"])),
            ("-- -odd", call(false, &["-odd"])),
            ("-a -b a b", Ok(Call { quiet: false, denies: true, names: vec!["a".to_owned(), "b".to_owned()] })),
            ("", Err("modprobe: the name of a module is missing".to_owned())),
            ("-r loop", Err("modprobe: option -r is not supported".to_owned())),
            (
                "loop max_loop=9",
                Err("modprobe: max_loop=9: give parameters on the kernel command line, as MODULE.NAME=VALUE".to_owned()),
            ),
        ] {
            assert_eq!(Call::parse(line.split_whitespace().map(str::to_owned)), expected, "{line}");
        }
    }

    #[test]
    fn only_the_name_makes_it_modprobe() {
        for (program, expected) in
            [(Some("/sbin/modprobe"), true), (Some("modprobe"), true), (Some("/init"), false), (None, false)]
        {
            assert_eq!(is_meant(program.map(OsString::from).as_ref()), expected);
        }
    }
}
