//! A file, or the YAML files of a folder and of the folders in it. Names that begin with a dot are left out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Budget, DEEPEST, PlaceError, Texts, is_yaml, unreadable};
use crate::machine::SourceError;

/// A file as a look finds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    path: PathBuf,
    inode: u64,
    length: u64,
    /// Seconds, and nanoseconds of the last one.
    modified: (i64, i64),
}

/// The files in the order of their paths.
pub fn stamps(path: &Path) -> Result<Vec<Stamp>, SourceError> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    if !metadata.is_dir() {
        return Ok(vec![Stamp::of(path.to_owned(), &metadata)]);
    }
    let (mut found, mut budget, mut folders) = (Vec::new(), Budget::default(), vec![(path.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
            let entry = entry.map_err(unreadable(&folder))?;
            let (name, below) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            let is_folder = entry.file_type().map_err(unreadable(&below))?.is_dir();
            if is_folder && !name.starts_with('.') {
                budget.take(0, path.display())?;
                if depth == DEEPEST {
                    return Err(PlaceError::TooMuch(path.display().to_string()).into());
                }
                folders.push((below, depth + 1));
            } else if !is_folder && is_yaml(&name) {
                let metadata = fs::metadata(&below).map_err(unreadable(&below))?; // a link counts with its target
                budget.take(metadata.len(), path.display())?;
                found.push(Stamp::of(below, &metadata));
            }
        }
    }
    if found.is_empty() {
        return Err(PlaceError::Empty(path.display().to_string()).into());
    }
    found.sort();
    Ok(found)
}

/// The place itself, and the files that links in it lead to.
pub fn targets(path: &Path) -> Vec<PathBuf> {
    let found = stamps(path).unwrap_or_default(); // a later look says what is wrong
    let links = found.into_iter().map(|stamp| stamp.path).filter(|file| file != path && file.is_symlink());
    std::iter::once(path.to_owned()).chain(links).collect()
}

pub fn read(path: &Path, stamps: &[Stamp]) -> Result<Texts, SourceError> {
    let mut budget = Budget::default();
    let text = |stamp: &Stamp| {
        let text = fs::read_to_string(&stamp.path).map_err(unreadable(&stamp.path))?;
        budget.take(text.len() as u64, path.display())?;
        Ok((stamp.path.display().to_string(), text))
    };
    stamps.iter().map(text).collect()
}

impl Stamp {
    fn of(path: PathBuf, metadata: &fs::Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { path, inode: metadata.ino(), length: metadata.len(), modified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_folder_links_to_are_named_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("hw/rack")).unwrap();
        fs::create_dir(at("srv")).unwrap();
        fs::write(at("hw/a.yaml"), "a").unwrap();
        fs::write(at("srv/b.yaml"), "b").unwrap();
        std::os::unix::fs::symlink("../../srv/b.yaml", at("hw/rack/b.yaml")).unwrap();
        assert_eq!(targets(&at("hw")), [at("hw"), at("hw/rack/b.yaml")]);
        assert_eq!(targets(&at("hw/a.yaml")), [at("hw/a.yaml")]);
        assert_eq!(targets(&at("nothing")), [at("nothing")], "a later look says that it is not there");
    }
}
