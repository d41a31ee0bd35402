//! What `rescue` needs in the ramdisk: the SSH server, its libraries and a shell, as this machine has them installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::elf::{self, NotStatic};
use crate::error::BuildError;
use crate::recipe::ExtraFile;

/// Debian's packages dropbear-bin and busybox-static.
const SERVER: &[&str] = &["/usr/sbin/dropbear", "/usr/bin/dropbearkey"];
const SHELL: &str = "/bin/busybox";
const TEXTS: &[(&str, &str)] = &[
    // No password fits `*`; the server is started without passwords as well.
    ("etc/passwd", "root:*:0:0:root:/root:/bin/sh\n"),
    ("etc/shells", "/bin/sh\n"),
];

#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    #[error("cannot read {path}; install the packages dropbear-bin and busybox-static")]
    Absent {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a static program; install the package busybox-static")]
    Shell {
        path: PathBuf,
        #[source]
        source: NotStatic,
    },
    #[error("cannot run {loader}, the loader of {path}")]
    Loader {
        loader: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot find the libraries of {path}: {reason}")]
    Libraries { path: PathBuf, reason: String },
}

pub fn files() -> Result<Vec<ExtraFile>, BuildError> {
    let shell = ExtraFile::program(SHELL, read(SHELL)?);
    elf::static_program(&shell.data).map_err(|source| RescueError::Shell { path: SHELL.into(), source })?;
    let mut files = vec![shell];
    let mut libraries = BTreeSet::new();
    for path in SERVER {
        let program = ExtraFile::program(path, read(path)?);
        if let Err(NotStatic::Dynamic(loader)) = elf::static_program(&program.data) {
            libraries.extend(loaded(&loader, path)?);
        }
        files.push(program);
    }
    for path in &libraries {
        files.push(ExtraFile::program(path, read(path)?));
    }
    let text = |(path, text): &(&str, &str)| ExtraFile::text((*path).to_owned(), (*text).to_owned());
    files.extend(TEXTS.iter().map(text));
    Ok(files)
}

/// The loader itself lists what it will load.
fn loaded(loader: &str, program: &str) -> Result<Vec<String>, RescueError> {
    let output = Command::new(loader).args(["--list", program]).output();
    let output = output.map_err(|source| RescueError::Loader { loader: loader.to_owned(), path: program.into(), source })?;
    let listing = String::from_utf8_lossy(&output.stdout);
    let mut libraries = libraries(&listing).map_err(|reason| RescueError::Libraries { path: program.into(), reason })?;
    libraries.push(loader.to_owned());
    Ok(libraries)
}

/// Lines such as `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)`.
fn libraries(listing: &str) -> Result<Vec<String>, String> {
    let lines = listing.lines().filter_map(|line| line.trim().split_once(" => "));
    let paths = lines.map(|(name, found)| match found.split(' ').next() {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(format!("{name} is not installed")),
    });
    paths.collect()
}

fn read(path: &str) -> Result<Vec<u8>, RescueError> {
    fs::read(path).map_err(|source| RescueError::Absent { path: Path::new(path).to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_loaders_list() {
        let listing = "\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/x/libz.so.1 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(libraries(listing).unwrap(), ["/lib/x/libz.so.1"]);
        assert_eq!(libraries("\tlibz.so.1 => not found\n").unwrap_err(), "libz.so.1 is not installed");
        assert!(libraries("").unwrap().is_empty());
    }
}
