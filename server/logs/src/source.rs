//! Whose log it is, and the folder's name for it.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest name of a folder. File systems allow 255 bytes.
const LONGEST: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `NAMESPACE/NAME@REVISION`: each Workflow of a name has a log of its own.
    Workflow(String),
    /// What a machine says outside of workflows: `NAMESPACE/NAME` of its Hardware.
    Machine(String),
    /// Machines without Hardware, all together.
    Unknown,
}

pub const KINDS: [&str; 2] = ["workflows", "machines"];
/// No name of an object is encoded to this.
const UNKNOWN: &str = "unknown";

impl Source {
    /// `workflows/default_install`, below the folder of the logs.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Workflow(name) => Path::new("workflows").join(encoded(name)),
            Self::Machine(name) => Path::new("machines").join(encoded(name)),
            Self::Unknown => Path::new("machines").join(UNKNOWN),
        }
    }

    /// The revision that tells a Workflow from others of its name. 0 for a machine.
    #[must_use]
    pub fn run(&self) -> u64 {
        match self {
            Self::Workflow(name) => name.rsplit_once('@').and_then(|(_, revision)| revision.parse().ok()).unwrap_or(0),
            Self::Machine(_) | Self::Unknown => 0,
        }
    }

    /// The source of a folder. None for a folder that is not of a log, or whose name was cut.
    #[must_use]
    pub fn of(kind: &str, folder: &str) -> Option<Self> {
        match kind {
            "workflows" => decoded(folder).map(Self::Workflow),
            "machines" if folder == UNKNOWN => Some(Self::Unknown),
            "machines" => decoded(folder).map(Self::Machine),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow(name) => write!(out, "workflow {name}"),
            Self::Machine(name) => write!(out, "machine {name}"),
            Self::Unknown => out.write_str("unknown machines"),
        }
    }
}

/// Letters, digits, `-`, `@` and inner dots stay, `/` becomes `_`, and other bytes become `%XX`. Without a name it is `~`.
fn encoded(name: &str) -> String {
    if name.is_empty() {
        return "~".to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => out.push('_'),
            b'.' if at > 0 => out.push('.'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'@' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    if out.len() > LONGEST {
        out.truncate(LONGEST);
        out.push_str(&format!("~{:016x}", hash(name)));
    }
    out
}

fn decoded(folder: &str) -> Option<String> {
    let mut out = Vec::with_capacity(folder.len());
    let mut bytes = folder.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => b'/',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'~' => return None,
            other => other,
        });
    }
    let name = String::from_utf8(out).ok()?;
    (encoded(&name) == folder).then_some(name)
}

/// FNV-1a: the same in every version, because it names folders.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_folder_below_its_kind_and_comes_back() {
        for (name, folder) in [
            ("default/install@7", "default_install@7"),
            ("lab/node-1.example", "lab_node-1.example"),
            ("../../etc/passwd", "%2E._.._etc_passwd"),
            (".", "%2E"),
            ("a_b/Größe 1", "a%5Fb_Gr%C3%B6%C3%9Fe%201"),
            ("x\0\n/y", "x%00%0A_y"),
        ] {
            assert_eq!(encoded(name), folder);
            let source = Source::Workflow(name.to_owned());
            assert_eq!(source.path().components().count(), 2, "{name}");
            assert_eq!(Source::of("workflows", folder), Some(source));
        }
        assert_eq!(Source::of("machines", "unknown"), Some(Source::Unknown));
        assert_eq!(Source::Workflow(String::new()).path().components().count(), 2, "a folder of its own, too");
        for folder in ["~", "a/b", "%zz", "%2", "lost+found", "a b"] {
            assert_eq!(Source::of("workflows", folder), None, "{folder}");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_stays_different_from_others() {
        let (one, other) = ("ü".repeat(250) + "1", "ü".repeat(250) + "2");
        assert!(encoded(&one).len() <= 255 && encoded(&one) != encoded(&other));
    }
}
