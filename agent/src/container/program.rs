//! Replaces the child with the action's program. If that fails, explains why in plain words. This runs inside the
//! container.
//!
//! It uses execve(2) only. execvp(3) passes a file that the kernel refuses to `/bin/sh`, which then interprets it as root.

use std::borrow::Cow;
use std::ffi::CString;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, execve};

/// The kernel reads less than this. Program headers follow within it.
const HEAD: usize = 4096;
/// How many bytes of a name are quoted.
const NAME_MAX: usize = 200;

/// Returns only if it fails, with what failed and why.
pub fn become_it(args: &[String], env: &[String]) -> String {
    let Some(name) = args.first() else { return "neither the action nor the image says what to run".to_owned() };
    let path = match find(name, env) {
        Ok(path) => path,
        Err(why) => return format!("cannot execute {}: {why}", quoted(name.as_bytes())),
    };
    let words = |list: &[String]| list.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<Vec<_>, _>>();
    let (Ok(program), Ok(args), Ok(env)) = (CString::new(path.as_os_str().as_bytes()), words(args), words(env)) else {
        return format!("cannot execute {}: a word of its command or environment has a NUL byte", quoted(name.as_bytes()));
    };
    let Err(errno) = execve(&program, &args, &env);
    let bytes = || args.iter().chain(&env).map(|word| word.as_bytes_with_nul().len()).sum::<usize>();
    let mut text = format!("cannot execute {}: {errno}", quoted(path.as_os_str().as_bytes()));
    let why = match errno {
        Errno::E2BIG => Some(format!("command and environment have {} bytes together", bytes())),
        _ => why(&path, errno, 0),
    };
    if let Some(why) = why {
        let _ = write!(text, ": {why}");
    }
    text
}

/// A name with a slash is a path. Any other name is looked up in `PATH`, as in a shell.
fn find(name: &str, env: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let places: Vec<PathBuf> =
        path.split(':').map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(name)).collect();
    let files = || places.iter().filter(|place| place.is_file());
    let runs = files().find(|place| access(place.as_path(), AccessFlags::X_OK).is_ok());
    match (runs, files().next()) {
        (Some(place), _) => Ok(place.clone()),
        (None, Some(place)) => Ok(place.clone()), // the kernel will refuse it, which explains the error
        (None, None) => Err(format!(
            "{}: it is not in a folder of PATH ({}); try: its whole path, or check its spelling",
            Errno::ENOENT,
            quoted(path.as_bytes())
        )),
    }
}

/// What the errno does not say. `depth` counts the interpreters on the way here.
fn why(path: &Path, errno: Errno, depth: usize) -> Option<String> {
    let Ok(data) = fs::metadata(path) else { return missing(path) };
    if data.is_dir() {
        return Some("it is a directory".to_owned());
    }
    if !data.is_file() {
        return Some("it is not a file".to_owned());
    }
    if access(path, AccessFlags::X_OK).is_err() {
        let (mode, uid) = (data.permissions().mode() & 0o7777, nix::unistd::geteuid());
        return Some(match mode & 0o111 {
            0 => format!("it is not executable (mode {mode:04o}); try: `chmod +x` it in the image"),
            _ => format!("user {uid} may not execute it (mode {mode:04o}, owner {}), or its file system is noexec", data.uid()),
        });
    }
    match Kind::of(&head(path)?) {
        Kind::Empty => Some("the file is empty".to_owned()),
        Kind::Other => {
            Some("it is neither a program nor a script that begins with #!; try: #!/bin/sh as its first line".to_owned())
        }
        Kind::Marked => Some("its #! follows a byte order mark; try: save it without one".to_owned()),
        Kind::Script(interpreter) => Some(script(&interpreter, errno, depth)),
        Kind::Elf { machine, loader } => program(machine, loader.as_deref(), errno),
    }
}

fn missing(path: &Path) -> Option<String> {
    if let Ok(target) = fs::read_link(path) {
        return Some(format!("it is a link to {}, which the image does not have", quoted(target.as_os_str().as_bytes())));
    }
    let above = path.ancestors().skip(1).find(|above| fs::metadata(above).is_ok())?;
    if fs::metadata(above).is_ok_and(|data| !data.is_dir()) {
        return Some(format!("{} is not a directory", quoted(above.as_os_str().as_bytes())));
    }
    Some("the image does not have it".to_owned())
}

fn script(interpreter: &[u8], errno: Errno, depth: usize) -> String {
    if interpreter.is_empty() {
        return "its first line does not name an interpreter".to_owned();
    }
    let name = quoted(interpreter);
    if interpreter.ends_with(b"\r") {
        return format!("its lines end in CR LF, so its interpreter is {name}; try: save it with LF alone");
    }
    let place = Path::new(std::ffi::OsStr::from_bytes(interpreter));
    if fs::metadata(place).is_err() {
        return format!("its interpreter {name} is not in the image; try: add it, or name one that the image has");
    }
    match why(place, errno, depth + 1).filter(|_| depth < 4) {
        Some(why) => format!("its interpreter is {name}, and of that: {why}"),
        None => format!("its interpreter is {name}"),
    }
}

fn program(machine: u16, loader: Option<&str>, errno: Errno) -> Option<String> {
    if let Some(loader) = loader.filter(|loader| fs::metadata(loader).is_err()) {
        let name = quoted(loader.as_bytes());
        return Some(format!(
            "its loader {name} is not in the image; try: link it statically, or add the C library that it was built for"
        ));
    }
    if machine != this_machine() {
        return Some(format!(
            "it is a program for {}, and this machine is {}; try: an image for this architecture",
            architecture(machine),
            architecture(this_machine())
        ));
    }
    let loader = loader.filter(|_| matches!(errno, Errno::ELIBBAD | Errno::EACCES | Errno::ENOEXEC | Errno::EIO));
    match loader {
        Some(loader) => Some(format!("its loader is {}", quoted(loader.as_bytes()))),
        None if errno == Errno::ENOEXEC => Some("its ELF header is damaged, or this kernel does not support it".to_owned()),
        None => None,
    }
}

fn head(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(HEAD as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn quoted(bytes: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    let cut = text.floor_char_boundary(NAME_MAX);
    format!("{:?}", text.get(..cut).unwrap_or_default())
}

/// The kind of a file, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Elf {
        machine: u16,
        loader: Option<String>,
    },
    /// A script with its interpreter, as the kernel reads it.
    Script(Vec<u8>),
    /// A script after a byte order mark.
    Marked,
    Empty,
    Other,
}

impl Kind {
    fn of(head: &[u8]) -> Self {
        match head {
            [] => Self::Empty,
            [0xef, 0xbb, 0xbf, b'#', b'!', ..] => Self::Marked,
            [b'#', b'!', line @ ..] => {
                let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
                let words = line.split(|b| matches!(b, b' ' | b'\t'));
                Self::Script(words.into_iter().find(|word| !word.is_empty()).unwrap_or_default().to_vec())
            }
            [0x7f, b'E', b'L', b'F', class, order, ..] => Elf { head, wide: *class == 2, big: *order == 2 }.kind(),
            _ => Self::Other,
        }
    }
}

struct Elf<'a> {
    head: &'a [u8],
    wide: bool,
    big: bool,
}

impl Elf<'_> {
    const INTERP: u64 = 3;

    fn kind(&self) -> Kind {
        self.number(18, 2).map_or(Kind::Other, |machine| Kind::Elf { machine: machine as u16, loader: self.loader() })
    }

    fn number(&self, at: u64, width: u64) -> Option<u64> {
        let (at, width) = (usize::try_from(at).ok()?, usize::try_from(width).ok()?);
        let bytes = self.head.get(at..at.checked_add(width)?)?;
        let digit = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        Some(if self.big { bytes.iter().fold(0, digit) } else { bytes.iter().rev().fold(0, digit) })
    }

    /// `PT_INTERP`, if it is in the file's head, where linkers put it.
    fn loader(&self) -> Option<String> {
        let pick = |narrow, wide| if self.wide { wide } else { narrow };
        let word = pick(4, 8);
        let table = self.number(pick(0x1c, 0x20), word)?;
        let (size, count) = (self.number(pick(0x2a, 0x36), 2)?, self.number(pick(0x2c, 0x38), 2)?);
        let entries = (0..count.min(64)).filter_map(|n| table.checked_add(n.checked_mul(size)?));
        let entry = entries.into_iter().find(|entry| self.number(*entry, 4) == Some(Self::INTERP))?;
        let start = usize::try_from(self.number(entry.checked_add(pick(4, 8))?, word)?).ok()?;
        let text = self.head.get(start..)?.split(|b| *b == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// `e_machine`, and the name that images use for it.
const MACHINES: &[(u16, &str)] = &[
    (3, "386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];

fn architecture(machine: u16) -> Cow<'static, str> {
    let known = MACHINES.iter().find(|(number, _)| *number == machine);
    known.map_or_else(|| format!("ELF machine {machine}").into(), |(_, name)| (*name).into())
}

fn this_machine() -> u16 {
    let name = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    MACHINES.iter().find(|(_, known)| *known == name).map_or(0, |(number, _)| *number)
}

#[cfg(test)]
mod tests;
