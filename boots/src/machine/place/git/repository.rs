//! A repository on this host, read only. Settings of git do not matter, but those that change what its files mean.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gix_hash::{Kind as Hash, ObjectId};
use gix_object::bstr::BString;
use gix_object::tree::EntryKind;
use gix_object::{CommitRefIter, Find, FindExt, Kind, TagRefIter};
use gix_odb::HeaderExt;
use gix_ref::file::ReferenceExt;

use super::Cause;
use crate::machine::place::{MOST_BYTES, PlaceError};

/// Tags that name tags, before the commit.
const MOST_TAGS: usize = 16;
/// Of a file that holds a path, or settings. Longer ones are cut.
const LONGEST: u64 = 64 << 10;

pub struct Repository {
    /// Of this work tree. Its HEAD is here.
    own: PathBuf,
    /// Of all work trees. Branches, tags and objects are here.
    common: PathBuf,
    refs: gix_ref::file::Store,
    objects: gix_odb::Handle,
}

pub struct Entry {
    pub name: BString,
    pub kind: EntryKind,
    pub id: ObjectId,
}

impl Repository {
    /// `path` is a work tree, its `.git`, or a bare repository.
    pub fn open(path: &Path) -> Result<Self, PlaceError> {
        opened(path).map_err(|error| PlaceError::Repository(path.to_owned(), error))
    }

    /// Everything that is read, also of other repositories whose objects this one uses.
    pub fn paths(&self) -> Vec<PathBuf> {
        let here = std::env::current_dir().unwrap_or_default();
        let others = gix_odb::alternate::resolve(self.common.join("objects"), &here).unwrap_or_default();
        [self.own.clone(), self.common.clone()].into_iter().chain(others).collect()
    }

    /// What a branch, a tag or HEAD names.
    pub fn named(&self, name: &str) -> Option<ObjectId> {
        let mut found = self.refs.try_find(name).ok().flatten()?;
        found.peel_to_id(&self.refs, &self.objects).ok()
    }

    /// The tree of a commit.
    pub fn tree_of(&self, named: ObjectId) -> Result<ObjectId, Cause> {
        let (mut id, mut buffer) = (named, Vec::new());
        for _ in 0..MOST_TAGS {
            let Some(object) = self.objects.try_find(&id, &mut buffer)? else {
                return Err(format!("the repository does not have the object {id}").into());
            };
            id = match object.kind {
                Kind::Tree => return Ok(id),
                Kind::Commit => CommitRefIter::from_bytes(object.data, Hash::Sha1).tree_id()?,
                Kind::Tag => TagRefIter::from_bytes(object.data, Hash::Sha1).target_id()?,
                Kind::Blob => return Err(format!("{id} is a file").into()),
            };
        }
        Err(format!("{named} has more than {MOST_TAGS} tags before its commit").into())
    }

    pub fn tree(&self, id: ObjectId) -> Result<Vec<Entry>, Cause> {
        let mut buffer = Vec::new();
        let entries = self.objects.find_tree_iter(&id, &mut buffer)?.map(|entry| {
            let entry = entry?;
            Ok(Entry { name: entry.filename.to_owned(), kind: entry.mode.kind(), id: entry.oid.to_owned() })
        });
        entries.collect()
    }

    /// Bytes of a file, which is not read for it.
    pub fn size(&self, id: ObjectId) -> Result<u64, Cause> {
        Ok(self.objects.header(id)?.size())
    }

    pub fn blob(&self, id: ObjectId) -> Result<Vec<u8>, Cause> {
        let mut buffer = Vec::new();
        let length = self.objects.find_blob(&id, &mut buffer)?.data.len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

fn opened(path: &Path) -> Result<Repository, Cause> {
    let own = git_folder(path)?;
    let common = match start_of(&own.join("commondir")) {
        Ok(text) => own.join(text.trim()),
        Err(_) => own.clone(),
    };
    if !own.join("HEAD").is_file() || !common.join("objects").is_dir() || !common.join("refs").is_dir() {
        return Err("it is not a git repository: HEAD, objects or refs are missing, or cannot be read".into());
    }
    if let Some(setting) = foreign_format(&start_of(&common.join("config")).unwrap_or_default()) {
        return Err(format!("its format has {setting:?}, which boots cannot read").into());
    }
    let limit = usize::try_from(MOST_BYTES).ok();
    let options = gix_odb::store::init::Options { alloc_limit_bytes: limit, ..Default::default() };
    let objects = gix_odb::at_opts(common.join("objects"), Hash::Sha1, None, options)?;
    let refs = gix_ref::file::Store::for_linked_worktree(own.clone(), common.clone(), Hash::Sha1);
    Ok(Repository { own, common, refs, objects })
}

/// A linked work tree and a submodule have a file in place of the folder `.git`.
fn git_folder(path: &Path) -> io::Result<PathBuf> {
    let below = path.join(".git");
    match fs::metadata(&below) {
        Ok(found) if found.is_dir() => Ok(below),
        Ok(_) => {
            let text = start_of(&below)?;
            let place = text.trim().strip_prefix("gitdir:").map(str::trim);
            place.map(|place| path.join(place)).ok_or_else(|| io::Error::other("its file .git does not name a folder"))
        }
        Err(_) => Ok(path.to_owned()),
    }
}

fn start_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// A line of the settings that changes names or references.
fn foreign_format(config: &str) -> Option<&str> {
    config.lines().map(str::trim).find(|line| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_ascii_lowercase());
        (name == "objectformat" && value != "sha1") || (name == "refstorage" && value != "files")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_git_has_and_boots_does_not_are_named() {
        let config = |line: &str| format!("[core]\n\tbare = true\n[extensions]\n\t{line}\n");
        for (line, is_foreign) in
            [("objectFormat = sha256", true), ("refstorage=reftable", true), ("objectformat = sha1", false), ("x = y", false)]
        {
            assert_eq!(foreign_format(&config(line)), is_foreign.then_some(line), "{line}");
        }
    }
}
