//! Checks whether the ramdisk is complete. The kernel also boots a ramdisk that arrived in part, with the files it could
//! unpack.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use machine::files::{MANIFEST, PACK_MANIFESTS};
use machine::manifest;

use crate::boot::Boot;
use crate::{PathError, StepError};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RamdiskError {
    #[error(
        "the ramdisk is incomplete: {wrong} of {all} files are missing or short; the first is {path} ({found} of {size} bytes). \
         Was its download cut off, or does the machine have too little memory to unpack it?"
    )]
    Incomplete { wrong: usize, all: usize, path: String, found: u64, size: u64 },
    #[error("the ramdisk is incomplete: line {line} of {MANIFEST} is not `SIZE PATH`")]
    Line { line: usize },
}

pub fn check(_: &mut Boot) -> Result<(), StepError> {
    let path = Path::new(MANIFEST);
    if !path.exists() {
        log::info!("the ramdisk has no {MANIFEST}, so it is not checked");
        return Ok(());
    }
    let text = fs::read_to_string(path).map_err(PathError::new("cannot read", path))?;
    compare(&text, Path::new("/"))?;
    for (pack, text) in packs(Path::new(PACK_MANIFESTS)) {
        // An incomplete pack is only a warning, because the driver that is needed may be complete.
        match compare(&text, Path::new("/")) {
            Ok(()) => log::info!("driver pack {pack} is complete"),
            Err(error) => log::warn!("driver pack {pack}: {error}"),
        }
    }
    Ok(())
}

/// The name and the manifest of each driver pack. The boot loader appended the packs to the ramdisk.
fn packs(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let manifests = entries
        .filter_map(|entry| Some((entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path()).ok()?)));
    manifests.collect()
}

/// Checks lines `SIZE PATH`. Paths are absolute and are resolved below `root`.
fn compare(text: &str, root: &Path) -> Result<(), RamdiskError> {
    let (mut all, mut wrong, mut first) = (0, 0, None);
    for (index, line) in text.lines().enumerate() {
        let (size, path) = manifest::parse(line).ok_or(RamdiskError::Line { line: index + 1 })?;
        let found = fs::symlink_metadata(root.join(path.trim_start_matches('/'))).map_or(0, |file| file.len());
        all += 1;
        if found != size {
            wrong += 1;
            first.get_or_insert((path.to_owned(), found, size));
        }
    }
    match first {
        None => Ok(()),
        Some((path, found, size)) => Err(RamdiskError::Incomplete { wrong, all, path, found, size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pack_has_a_manifest() {
        let root = tempfile::tempdir().unwrap();
        assert!(packs(&root.path().join("manifest.d")).is_empty());
        fs::write(root.path().join("san"), "3 /lib/modules/a\n").unwrap();
        assert_eq!(packs(root.path()), BTreeMap::from([("san".to_owned(), "3 /lib/modules/a\n".to_owned())]));
    }

    #[test]
    fn missing_and_short_files_are_counted_and_the_first_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lib")).unwrap();
        fs::write(root.path().join("init"), "12345").unwrap();
        fs::write(root.path().join("lib/a file"), "123").unwrap();
        let incomplete = |wrong, all, path: &str, found, size| {
            Err(RamdiskError::Incomplete { wrong, all, path: path.to_owned(), found, size })
        };
        for (case, manifest, expected) in [
            ("all files are there", "5 /init\n3 /lib/a file\n", Ok(())),
            ("nothing promised", "", Ok(())),
            ("one short", "5 /init\n9 /lib/a file\n", incomplete(1, 2, "/lib/a file", 3, 9)),
            ("one missing, one short", "7 /gone\n9 /init\n3 /lib/a file", incomplete(2, 3, "/gone", 0, 7)),
            ("the manifest itself cut off", "5 /init\n3", Err(RamdiskError::Line { line: 2 })),
        ] {
            assert_eq!(compare(manifest, root.path()), expected, "{case}");
        }
    }
}
