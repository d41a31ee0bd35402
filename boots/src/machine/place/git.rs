//! A folder of a commit. It is read from the objects of the repository, so files of a work tree that change do not matter.

mod repository;

use std::error::Error;
use std::path::PathBuf;

use gix_object::bstr::ByteSlice;
use gix_object::tree::EntryKind;

use self::repository::Repository;
use super::{Budget, DEEPEST, Git, PlaceError, Texts, is_yaml};

type Cause = Box<dyn Error + Send + Sync>;

impl Git {
    /// The repository, and what it shares with others.
    pub fn paths(&self) -> Vec<PathBuf> {
        let shared = Repository::open(&self.repository).map(|repository| repository.paths());
        let mut paths = shared.unwrap_or_default(); // a later look says why
        paths.push(self.repository.clone());
        paths
    }

    /// The commit that the ref names now.
    pub fn commit(&self) -> Result<String, PlaceError> {
        Ok(self.id(&Repository::open(&self.repository)?)?.to_string())
    }

    /// The texts of a commit, each named after it and its path.
    pub fn read(&self) -> Result<(String, Texts), PlaceError> {
        let repository = Repository::open(&self.repository)?;
        let id = self.id(&repository)?;
        let commit = id.to_string();
        let short: String = commit.chars().take(12).collect();
        let failed = |source| PlaceError::Commit { repository: self.repository.clone(), commit: short.clone(), source };
        let root = repository.tree_of(id).map_err(failed)?;
        let tree = self.folder_of(&repository, root).map_err(failed)?.ok_or_else(|| PlaceError::NoFolder {
            repository: self.repository.clone(),
            commit: short.clone(),
            folder: self.folder.clone(),
        })?;
        let place = format!("{short} of {}", self.repository.display());
        let mut walk = Walk { repository: &repository, texts: Vec::new(), budget: Budget::default(), place };
        walk.tree(tree, &self.folder, 0).map_err(|stopped| match stopped {
            Stopped::Place(error) => error,
            Stopped::Git(error) => failed(error),
        })?;
        if walk.texts.is_empty() {
            return Err(PlaceError::Empty(format!("{:?} of commit {}", self.folder, walk.place)));
        }
        Ok((commit, walk.texts))
    }

    fn id(&self, repository: &Repository) -> Result<gix_hash::ObjectId, PlaceError> {
        if let Ok(id) = gix_hash::ObjectId::from_hex(self.name.as_bytes()) {
            return Ok(id);
        }
        let missing = || PlaceError::NoRef { repository: self.repository.clone(), name: self.name.clone() };
        repository.named(&self.name).ok_or_else(missing)
    }

    fn folder_of(&self, repository: &Repository, root: gix_hash::ObjectId) -> Result<Option<gix_hash::ObjectId>, Cause> {
        let mut tree = root;
        for part in self.folder.split('/').filter(|part| !part.is_empty()) {
            let found = repository.tree(tree)?.into_iter().find(|entry| entry.name == part.as_bytes());
            match found {
                Some(entry) if entry.kind == EntryKind::Tree => tree = entry.id,
                _ => return Ok(None),
            }
        }
        Ok(Some(tree))
    }
}

enum Stopped {
    Place(PlaceError),
    Git(Cause),
}

impl From<PlaceError> for Stopped {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

impl From<Cause> for Stopped {
    fn from(error: Cause) -> Self {
        Self::Git(error)
    }
}

struct Walk<'r> {
    repository: &'r Repository,
    texts: Texts,
    budget: Budget,
    place: String,
}

impl Walk<'_> {
    /// Links and submodules are left out.
    fn tree(&mut self, tree: gix_hash::ObjectId, path: &str, depth: usize) -> Result<(), Stopped> {
        if depth > DEEPEST {
            return Err(PlaceError::TooMuch(self.place.clone()).into());
        }
        for entry in self.repository.tree(tree)? {
            let name = entry.name.to_str_lossy().into_owned();
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match entry.kind {
                EntryKind::Tree if !name.starts_with('.') => {
                    self.budget.take(0, &self.place)?;
                    self.tree(entry.id, &below, depth + 1)?;
                }
                EntryKind::Blob | EntryKind::BlobExecutable if is_yaml(&name) => {
                    self.budget.take(self.repository.size(entry.id)?, &self.place)?;
                    let named = format!("{below} in {}", self.place);
                    let bytes = self.repository.blob(entry.id)?;
                    let text = String::from_utf8(bytes).map_err(|_| PlaceError::NotText(named.clone()))?;
                    self.texts.push((named, text));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
