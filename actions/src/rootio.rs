//! `rootio`: partitions, formats and mounts the disks as the machine's metadata says. The words after the action's name say
//! what: `partition`, `format`, `mount`, `wipe` or `version`.
//!
//! All of the metadata is checked, and all disks are opened, before the first one changes. An error ends the action; upstream's
//! logs it and reports success.

mod format;
pub mod layout;
mod lvm;
mod partition;
mod source;
pub mod storage;

use crate::claim::ClaimError;
use crate::device::{self, DeviceError, Named, Opened};
use crate::programs::{self, ToolError};
use crate::say;
use crate::sys;
use crate::variables::{VariableError, Variables};
use crate::wipe::{self, WipeError};
use format::Making;
use layout::LayoutError;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use source::MetadataError;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use storage::{Filesystem, Storage};

#[derive(Debug, thiserror::Error)]
pub enum RootioError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("the storage in the machine's metadata")]
    Metadata(#[from] MetadataError),
    #[error("{found}: wanted {WORDS} after the action's name, as in command: [\"partition\"]")]
    Word { found: String },
    #[error("the device {device} of the metadata")]
    Name {
        device: String,
        #[source]
        source: VariableError,
    },
    #[error("the device {device} of the metadata")]
    Device {
        device: String,
        #[source]
        source: DeviceError,
    },
    #[error("{device} of {size} bytes; nothing was written")]
    Layout {
        device: PathBuf,
        size: u64,
        #[source]
        source: LayoutError,
    },
    #[error("the metadata has no {0}")]
    None(&'static str),
    #[error("the format {format:?} of {device} is unknown: wanted {}; nothing was written", format::FORMATS)]
    Format { device: String, format: String },
    #[error("the physical volume {device} of the metadata: {problem}; nothing was written")]
    Volume { device: String, problem: String },
    #[error("a physical volume of the metadata; nothing was written")]
    Claim(#[source] ClaimError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Wipe(#[from] WipeError),
    #[error("cannot write {device}")]
    Write {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot mount {device} as {format} at {point}")]
    Mount {
        device: PathBuf,
        format: String,
        point: String,
        #[source]
        source: io::Error,
    },
}

const WORDS: &str = "partition, format, mount, wipe or version";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Partition,
    Format,
    Mount,
    Wipe,
    Version,
}

impl Word {
    fn read(words: &[String]) -> Result<Self, RootioError> {
        match words {
            [word] => match word.as_str() {
                "partition" => Ok(Self::Partition),
                "format" => Ok(Self::Format),
                "mount" => Ok(Self::Mount),
                "wipe" => Ok(Self::Wipe),
                "version" => Ok(Self::Version),
                other => Err(RootioError::Word { found: format!("{other:?} is not a command") }),
            },
            [] => Err(RootioError::Word { found: "no command".into() }),
            more => Err(RootioError::Word { found: format!("{} commands", more.len()) }),
        }
    }
}

pub fn run(variables: &Variables) -> Result<(), RootioError> {
    act(variables, false)
}

/// Says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), RootioError> {
    act(variables, true)
}

fn act(variables: &Variables, dry: bool) -> Result<(), RootioError> {
    let word = Word::read(variables.words());
    if let Ok(Word::Version) = word {
        say(concat!("rootio of Thimble ", env!("CARGO_PKG_VERSION")));
        return Ok(());
    }
    let source = source::Source::read(variables)?;
    let (word, mbr) = (word?, variables.optional("MBR").is_some());
    let storage = source.storage()?;
    say(&format!("the metadata has {} disks and {} file systems", storage.disks.len(), storage.filesystems.len()));
    match word {
        Word::Partition => partition::run(&storage, mbr, dry),
        Word::Format => make(&storage.filesystems, dry),
        Word::Mount => mount_all(&storage.filesystems, dry),
        Word::Wipe => wipe_all(&storage, dry),
        Word::Version => Ok(()),
    }
}

/// The path of a device that the metadata names by a path or a selector.
fn find(device: &str) -> Result<PathBuf, RootioError> {
    let named = Named::read(&Variables::of([("device", device)]), "device");
    let named = named.map_err(|source| RootioError::Name { device: device.to_owned(), source })?;
    named.appear(device::APPEARS_WITHIN).map_err(|source| RootioError::Device { device: device.to_owned(), source })
}

/// Opens a device that nothing uses. Writes go through the page cache.
fn open(path: &Path) -> Result<Opened, RootioError> {
    let opened = device::open(path).map_err(|source| RootioError::Device { device: path.display().to_string(), source })?;
    let flags = rustix::fs::fcntl_getfl(&opened.file).map(|flags| flags.difference(OFlags::DIRECT));
    flags
        .and_then(|flags| rustix::fs::fcntl_setfl(&opened.file, flags))
        .map_err(|errno| RootioError::Write { device: path.to_owned(), source: errno.into() })?;
    Ok(opened)
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

/// RFC 9562, version 4.
fn as_uuid(mut bytes: [u8; 16]) -> [u8; 16] {
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    (*version, *variant) = (*version & 0x0f | 0x40, *variant & 0x3f | 0x80);
    bytes
}

fn make(filesystems: &[Filesystem], dry: bool) -> Result<(), RootioError> {
    if filesystems.is_empty() {
        return Err(RootioError::None("file systems: set storage.filesystems"));
    }
    let mut all = Vec::new();
    for filesystem in filesystems {
        let unknown = || RootioError::Format { device: filesystem.device.clone(), format: filesystem.format.clone() };
        format::making(filesystem, Path::new("")).ok_or_else(unknown)?;
        let device = find(&filesystem.device)?;
        drop(open(&device)?); // the programs open it themselves
        let program = match format::making(filesystem, &device).ok_or_else(unknown)? {
            Making::By { tool, arguments } => Some((tool.find()?, arguments)),
            Making::Swap { .. } => None,
        };
        all.push((device, filesystem, program));
    }
    for (device, filesystem, program) in all {
        let (shown, format) = (device.display(), &filesystem.format);
        match program {
            _ if dry => say(&format!("would make {format} on {shown}")),
            Some((program, arguments)) => programs::run(&program, &arguments)?,
            None => make_swap(&device, filesystem)?,
        }
        if !dry {
            say(&format!("made {format} on {shown}"));
        }
    }
    Ok(())
}

fn make_swap(device: &Path, filesystem: &Filesystem) -> Result<(), RootioError> {
    let Some(Making::Swap { label }) = format::making(filesystem, device) else { return Ok(()) };
    let opened = open(device)?;
    let made = format::swap(&opened.file, opened.size, &label);
    made.map_err(|source| RootioError::Write { device: device.to_owned(), source })
}

/// In the action's own mounts, which end with it unless its template has a volume there.
fn mount_all(filesystems: &[Filesystem], dry: bool) -> Result<(), RootioError> {
    if filesystems.is_empty() {
        return Err(RootioError::None("file systems: set storage.filesystems"));
    }
    for filesystem in filesystems {
        let (device, Filesystem { format, point, .. }) = (find(&filesystem.device)?, filesystem);
        if dry {
            say(&format!("would mount {} as {format} at {point}", device.display()));
            continue;
        }
        let mounted = if format == "swap" {
            swap_on(&device)
        } else {
            let made = std::fs::create_dir_all(point);
            made.and_then(|()| Ok(mount(&device, point.as_str(), format.as_str(), MountFlags::empty(), None)?))
        };
        mounted.map_err(|source| RootioError::Mount {
            device: device.clone(),
            format: format.clone(),
            point: point.clone(),
            source,
        })?;
        say(&format!("mounted {} as {format} at {point}", device.display()));
    }
    Ok(())
}

/// Swap that is used already is what was wanted.
fn swap_on(device: &Path) -> io::Result<()> {
    match sys::swap_on(device) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => Ok(()),
        other => other,
    }
}

fn wipe_all(storage: &Storage, dry: bool) -> Result<(), RootioError> {
    if storage.disks.is_empty() {
        return Err(RootioError::None("disks: set storage.disks"));
    }
    let mut disks = Vec::new();
    for disk in &storage.disks {
        let device = find(&disk.device)?;
        drop(open(&device)?);
        disks.push(device);
    }
    for device in disks {
        let text = device.to_string_lossy();
        let variables = Variables::of([("DEST_DISK", text.as_ref())]);
        if dry { wipe::dry_run(&variables)? } else { wipe::run(&variables)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Variables {
        Variables::of([("JSON_FILE", "/no/such/file"), ("TEST", "1")])
            .with_words(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn one_word_says_what_to_do() {
        for (given, expected) in [
            (&[][..], "no command: wanted partition, format"),
            (&["erase"], "\"erase\" is not a command: wanted partition"),
            (&["format", "mount"], "2 commands: wanted"),
        ] {
            let error = run(&words(given)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{given:?}: {error}");
        }
        run(&words(&["version"])).unwrap();
    }

    #[test]
    fn a_uuid_is_one_of_random_numbers() {
        let uuid = as_uuid([0xff; 16]);
        assert_eq!((uuid[6], uuid[8], uuid[0]), (0x4f, 0xbf, 0xff));
    }
}
