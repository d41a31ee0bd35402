//! The packs of each folder that has an index, checked once and again when a file has changed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use api::packs::{BadIndex, INDEX, Index, Pack};
use machine::Chain;
use sha2::{Digest, Sha256};

use crate::beneath::{self, OpenError};

/// A standard kernel's index has 300 kB.
const LARGEST_INDEX: u64 = 16 << 20;

/// It blocks while it reads.
#[derive(Debug)]
pub struct Shelf {
    /// What `/files/` serves.
    files: PathBuf,
    folders: Mutex<HashMap<String, Checked>>,
}

#[derive(Debug)]
struct Checked {
    versions: Vec<(String, Version)>,
    index: Option<Arc<Index>>,
}

/// Differs between two contents of a file, without reading them. `None` for a file that does not exist.
type Version = Option<[i128; 4]>;

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot read it")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Index(#[from] BadIndex),
    #[error("it has {is} bytes, and the index says {said}")]
    Size { is: u64, said: u64 },
    #[error("its SHA-256 is {is}, and the index says {said}")]
    Digest { is: String, said: String },
}

impl Shelf {
    #[must_use]
    pub fn new(files: PathBuf) -> Self {
        Self { files, folders: Mutex::default() }
    }

    /// The usable packs of a folder below the files; what is wrong is logged once. `None` without an index.
    pub fn index(&self, folder: &str) -> Option<Arc<Index>> {
        let path = |file: &str| if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        let first = path(INDEX);
        // Held while files are read: a hundred machines that are switched on together cause one reading.
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if version(&self.files, &first).is_none() {
            folders.remove(folder);
            return None;
        }
        if let Some(checked) = folders.get(folder)
            && checked.versions.iter().all(|(path, before)| version(&self.files, path) == *before)
        {
            return checked.index.clone();
        }
        // This is read before the content, so a change in between is seen next time.
        let mut versions = vec![(first.clone(), version(&self.files, &first))];
        let index = match self.read(&first) {
            Ok(index) => {
                versions.extend(
                    index.packs.iter().map(|pack| path(&pack.file)).map(|path| (path.clone(), version(&self.files, &path))),
                );
                Some(Arc::new(self.checked(index, path)))
            }
            Err(error) => {
                log::error!("machines boot without driver packs: {first}: {}; build it again", Chain(&error));
                None
            }
        };
        folders.insert(folder.to_owned(), Checked { versions, index: index.clone() });
        index
    }

    fn read(&self, path: &str) -> Result<Index, Unusable> {
        let mut text = Vec::new();
        beneath::open(&self.files, path)?.take(LARGEST_INDEX).read_to_end(&mut text)?;
        Ok(Index::parse(&text)?)
    }

    /// The packs whose files are what the index says.
    fn checked(&self, mut index: Index, path: impl Fn(&str) -> String) -> Index {
        index.packs.retain(|pack| {
            let checked =
                beneath::open(&self.files, &path(&pack.file)).map_err(Unusable::from).and_then(|file| check(file, pack));
            if let Err(error) = &checked {
                let file = path(&pack.file);
                log::error!(
                    "machines boot without the driver pack {}: {file}: {}; build the packs again",
                    pack.name,
                    Chain(error)
                );
            }
            checked.is_ok()
        });
        let names: Vec<&str> = index.packs.iter().map(|pack| pack.name.as_str()).collect();
        log::info!("{}: driver packs of kernel {}: {}", path(INDEX), index.kernel, names.join(", "));
        index
    }
}

fn check(mut file: File, pack: &Pack) -> Result<(), Unusable> {
    let is = file.metadata()?.len();
    if is != pack.size {
        return Err(Unusable::Size { is, said: pack.size });
    }
    let (mut sum, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => sum.update(buffer.get(..length).unwrap_or_default()),
        }
    }
    let is: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if is.eq_ignore_ascii_case(&pack.sha256) { Ok(()) } else { Err(Unusable::Digest { is, said: pack.sha256.clone() }) }
}

fn version(files: &Path, path: &str) -> Version {
    let is = beneath::open(files, path).ok()?.metadata().ok()?;
    Some([is.ino().into(), is.len().into(), is.mtime().into(), is.mtime_nsec().into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_index(folder: &Path, packs: &[(&str, &str)]) {
        let packs: Vec<_> = packs
            .iter()
            .map(|(name, content)| {
                let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
                serde_json::json!({"name": name, "file": format!("{name}.zst"), "size": content.len(), "sha256": sum, "modaliases": []})
            })
            .collect();
        std::fs::write(folder.join(INDEX), serde_json::json!({"kernel": "6.1", "packs": packs}).to_string()).unwrap();
    }

    fn names(shelf: &Shelf) -> Option<Vec<String>> {
        shelf.index("kit").map(|index| index.packs.iter().map(|pack| pack.name.clone()).collect())
    }

    #[test]
    fn only_packs_that_are_what_the_index_says_are_used() {
        let files = tempfile::tempdir().unwrap();
        let (shelf, kit) = (Shelf::new(files.path().to_owned()), files.path().join("kit"));
        std::fs::create_dir(&kit).unwrap();
        assert_eq!(names(&shelf), None, "no index");
        write_index(&kit, &[("right", "content"), ("short", "content"), ("other", "content"), ("absent", "content")]);
        for (file, content) in [("right.zst", "content"), ("short.zst", "conten"), ("other.zst", "Content")] {
            std::fs::write(kit.join(file), content).unwrap();
        }
        assert_eq!(names(&shelf).unwrap(), ["right"]);
        std::fs::write(kit.join("short.zst"), "content").unwrap();
        assert_eq!(names(&shelf).unwrap(), ["right", "short"], "a pack that was copied meanwhile");
        write_index(&kit, &[("short", "content")]);
        assert_eq!(names(&shelf).unwrap(), ["short"], "another index");
        std::fs::write(kit.join(INDEX), "{").unwrap();
        assert_eq!(names(&shelf), None, "a broken index");
        std::fs::remove_file(kit.join(INDEX)).unwrap();
        assert_eq!(names(&shelf), None);
    }

    #[test]
    fn an_index_outside_the_files_is_none() {
        let place = tempfile::tempdir().unwrap();
        let files = place.path().join("files");
        std::fs::create_dir(&files).unwrap();
        write_index(place.path(), &[]);
        let shelf = Shelf::new(files);
        for folder in ["..", "../files/..", "/etc", "kit/../.."] {
            assert!(shelf.index(folder).is_none(), "{folder}");
        }
    }
}
