//! Finds the image layouts below a folder. Symbolic links to folders are not followed. An index that has not changed is not
//! read again.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::machine::Chain;
use oci::layout::{INDEX, Index};

use super::catalogue::{Catalogue, Listed};
use super::verified::Identity;
use super::{join, read_small};
use crate::beneath::{self, OpenError};

/// How many folders are looked at, and how deep they lie.
const FOLDERS_MAX: usize = 4096;
const DEPTH_MAX: usize = 8;
/// How many images all layouts have together.
const IMAGES_MAX: usize = 65_536;
const PROBLEMS_MAX: usize = 100;

/// The indexes of the last scan, by the folders of their layouts.
pub type Indexes = HashMap<String, (Identity, Arc<Vec<Listed>>)>;

#[derive(Debug, Default)]
pub struct Scan {
    pub catalogue: Catalogue,
    pub indexes: Indexes,
    /// What an operator has to mend, one line each.
    pub problems: Vec<String>,
}

/// Looks for layouts in the order of their names. A folder that does not exist has none.
pub fn scan(folder: &Path, known: &Indexes) -> Scan {
    let (mut scan, mut seen) = (Scan::default(), 0);
    let mut images = 0;
    let mut waiting = vec![String::new()];
    while let Some(place) = waiting.pop() {
        seen += 1;
        if seen > FOLDERS_MAX {
            scan.problem(format!("there are more than {FOLDERS_MAX} folders; the layouts of the others are not served"));
            break;
        }
        let layout = scan.layout(folder, &place, known);
        if let Some((identity, listed)) = &layout {
            images += listed.len();
            if images > IMAGES_MAX {
                scan.problem(format!("there are more than {IMAGES_MAX} images; those of {place:?} are not served"));
                break;
            }
            scan.catalogue.add(&place, listed).into_iter().for_each(|problem| scan.problem(problem));
            scan.indexes.insert(place.clone(), (*identity, Arc::clone(listed)));
        }
        let mut below = scan.folders(folder, &place, layout.is_some());
        below.sort_unstable_by(|one, other| other.cmp(one)); // the last one is next
        waiting.extend(below);
    }
    scan
}

impl Scan {
    fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    /// The index of a layout, or `None` for another folder.
    fn layout(&mut self, folder: &Path, place: &str, known: &Indexes) -> Option<(Identity, Arc<Vec<Listed>>)> {
        let path = join(place, INDEX);
        let read = |file: File| -> Result<_, String> {
            let identity = Identity::of(&file.metadata().map_err(|error| Chain(&error).to_string())?);
            if let Some((_, listed)) = known.get(place).filter(|(last, _)| *last == identity) {
                return Ok((identity, Arc::clone(listed)));
            }
            let text = read_small(file).map_err(|error| Chain(&error).to_string())?;
            let index = Index::parse(&text).map_err(|error| error.to_string())?;
            Ok((identity, Arc::new(Listed::of(&index))))
        };
        match beneath::open(folder, &path) {
            Ok(file) => read(file).map_or_else(
                |reason| {
                    // A tool may be writing it. What it said before still holds.
                    self.problem(format!("cannot use {path:?}: {reason}"));
                    known.get(place).cloned()
                },
                Some,
            ),
            Err(OpenError::Missing(_)) => None,
            Err(error) => {
                self.problem(Chain(&error).to_string());
                None
            }
        }
    }

    /// The folders in this one. Names with a dot in front belong to what is being written.
    fn folders(&mut self, folder: &Path, place: &str, is_layout: bool) -> Vec<String> {
        let entries = match std::fs::read_dir(folder.join(place)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.problem(format!("cannot list the folder {:?}: {}", folder.join(place), Chain(&error)));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for entry in entries.flatten().take(FOLDERS_MAX) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || (is_layout && name == "blobs") {
                continue;
            }
            let path = join(place, &name);
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && path.split('/').count() > DEPTH_MAX => {
                    self.problem(format!("{path:?} lies deeper than {DEPTH_MAX} folders and is not looked at"));
                }
                Ok(kind) if kind.is_dir() => found.push(path),
                Ok(kind) if kind.is_symlink() && folder.join(&path).is_dir() => {
                    self.problem(format!("{path:?} is a symbolic link and is not followed; move the folder there, or mount it"));
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use oci::Digest;

    use super::*;

    fn layout(folder: &Path, name: &str) {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let digest = Digest::of(name.as_bytes());
        let text = format!(
            r#"{{"manifests":[{{"digest":"{digest}","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}]}}"#
        );
        fs::write(folder.join(INDEX), text).unwrap();
    }

    fn names(scan: &Scan) -> Vec<&str> {
        scan.catalogue.names().collect()
    }

    #[test]
    fn layouts_are_found_at_any_depth_and_links_and_hidden_folders_are_not_followed() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("images");
        layout(&folder.join("alpine"), "3.20");
        layout(&folder.join("quay.io/tinkerbell/kexec"), "v1");
        layout(&folder.join(".new-actions"), "hidden:1");
        layout(&folder.join("alpine/blobs/sha256"), "inner:1");
        layout(&folder.join("a/b/c/d/e/f/g/h/i"), "deep:1");
        layout(&outer.path().join("secret"), "secret:1");
        symlink(outer.path().join("secret"), folder.join("link")).unwrap();
        fs::create_dir_all(folder.join("linked-index")).unwrap();
        symlink(outer.path().join("secret/index.json"), folder.join("linked-index/index.json")).unwrap();
        fs::create_dir_all(folder.join("broken")).unwrap();
        fs::write(folder.join("broken/index.json"), "{").unwrap();
        let found = scan(&folder, &Indexes::new());
        assert_eq!(names(&found), ["alpine", "quay.io/tinkerbell/kexec"], "{:?}", found.problems);
        for words in ["\"link\" is a symbolic link", "leads outside", "broken/index.json", "deeper than 8"] {
            assert!(found.problems.iter().any(|problem| problem.contains(words)), "{words}: {:?}", found.problems);
        }
        assert_eq!(found.problems.len(), 4, "{:?}", found.problems);
    }

    #[test]
    fn a_folder_that_does_not_exist_has_no_images_and_no_problem() {
        let found = scan(Path::new("/nonexistent/images"), &Indexes::new());
        assert_eq!((names(&found).len(), found.problems.len()), (0, 0), "{:?}", found.problems);
    }

    #[test]
    fn an_index_is_read_again_only_if_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        layout(&folder.path().join("one"), "first:1");
        let first = scan(folder.path(), &Indexes::new());
        let again = scan(folder.path(), &first.indexes);
        assert!(Arc::ptr_eq(&first.indexes["one"].1, &again.indexes["one"].1));
        fs::remove_file(folder.path().join("one/index.json")).unwrap();
        layout(&folder.path().join("one"), "second:1");
        assert_eq!(names(&scan(folder.path(), &again.indexes)), ["one", "second"]);
    }
}
