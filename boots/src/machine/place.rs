//! Where the Hardware of a `thimble boots` without a server is: a file, a folder of files, or a folder in git. Each has a version,
//! which is found without reading the content, and changes with it.

mod folder;
#[cfg(feature = "git")]
mod git;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use model::FilesError;

use super::SourceError;

/// More bytes of YAML than any site has.
const MOST_BYTES: u64 = 256 << 20;
const MOST_FILES: usize = 100_000;
/// Folders in folders.
const DEEPEST: usize = 16;

/// What is wrong with a folder.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{0:?} is not git:REPOSITORY, git:REPOSITORY#REF or git:REPOSITORY#REF:FOLDER")]
    Word(String),
    #[error("there is no file *.yaml or *.yml in {0}")]
    Empty(String),
    #[error("{0} has more than {MOST_FILES} files, or {MOST_BYTES} bytes, or {DEEPEST} folders in each other")]
    TooMuch(String),
    #[error("{0} changes while it is read")]
    Changes(String),
    #[error("{0} is not UTF-8")]
    NotText(String),
    #[error("cannot open the git repository {0}")]
    Repository(PathBuf, #[source] Box<dyn Error + Send + Sync>),
    #[error("the git repository {repository} has no branch, tag or commit {name:?}")]
    NoRef { repository: PathBuf, name: String },
    #[error("commit {commit} of {repository} has no folder {folder:?}")]
    NoFolder { repository: PathBuf, commit: String, folder: String },
    #[error("cannot read commit {commit} of {repository}")]
    Commit {
        repository: PathBuf,
        commit: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl From<PlaceError> for SourceError {
    fn from(error: PlaceError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// A folder in git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// A work tree, or a bare repository.
    pub repository: PathBuf,
    /// A branch, a tag, or the 40 digits of a commit. `HEAD` without one.
    pub name: String,
    /// Below the root of the commit. Empty for the root itself.
    pub folder: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file, or a folder with all files below it.
    Path(PathBuf),
    Git(Git),
}

/// It changes with the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    Files(Vec<folder::Stamp>),
    Commit(String),
}

impl Version {
    /// Whether the content is whole at any time. Files are written one after the other, and a commit is there or not.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Commit(_))
    }

    /// Behind the name of the place.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Files(_) => String::new(),
            Self::Commit(commit) => format!(" to commit {}", commit.get(..12).unwrap_or(commit)),
        }
    }
}

/// Texts with the names that their mistakes have.
pub type Texts = Vec<(String, String)>;

impl FromStr for Place {
    type Err = PlaceError;

    /// A path, or `git:REPOSITORY#REF:FOLDER`, whose ref and folder may be missing.
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let Some(words) = text.strip_prefix("git:") else { return Ok(Self::Path(text.into())) };
        let (repository, rest) = words.split_once('#').unwrap_or((words, ""));
        let (name, folder) = rest.split_once(':').unwrap_or((rest, ""));
        if repository.is_empty() || words.ends_with(['#', ':']) || folder.split('/').any(|part| part == "..") {
            return Err(PlaceError::Word(text.chars().take(200).collect()));
        }
        let name = if name.is_empty() { "HEAD" } else { name };
        Ok(Self::Git(Git { repository: repository.into(), name: name.to_owned(), folder: folder.trim_matches('/').to_owned() }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(out, "{}", path.display()),
            Self::Git(Git { repository, name, folder }) => write!(out, "git:{}#{name}:{folder}", repository.display()),
        }
    }
}

impl Place {
    /// What a confined process has to be able to read. Files that a folder links to are named by themselves.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Path(path) => folder::targets(path),
            Self::Git(place) => place.paths(),
        }
    }

    pub fn version(&self) -> Result<Version, SourceError> {
        match self {
            Self::Path(path) => Ok(Version::Files(folder::stamps(path)?)),
            Self::Git(place) => Ok(Version::Commit(place.commit()?)),
        }
    }

    /// All texts of one version.
    pub fn read(&self) -> Result<(Version, Texts), SourceError> {
        match self {
            Self::Path(path) => {
                let stamps = folder::stamps(path)?;
                let texts = folder::read(path, &stamps)?;
                if folder::stamps(path)? != stamps {
                    return Err(PlaceError::Changes(path.display().to_string()).into());
                }
                Ok((Version::Files(stamps), texts))
            }
            Self::Git(place) => {
                let (commit, texts) = place.read()?;
                Ok((Version::Commit(commit), texts))
            }
        }
    }
}

#[cfg(not(feature = "git"))]
impl Git {
    fn paths(&self) -> Vec<PathBuf> {
        vec![self.repository.clone()]
    }

    fn commit(&self) -> Result<String, PlaceError> {
        Err(PlaceError::Repository(self.repository.clone(), "this program was built without the feature git of boots".into()))
    }

    fn read(&self) -> Result<(String, Texts), PlaceError> {
        self.commit().map(|commit| (commit, Texts::new()))
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> SourceError {
    let path = path.to_owned();
    |source| FilesError::Unreadable { path, source }.into()
}

fn is_yaml(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

/// Counts what is taken.
#[derive(Debug, Default)]
struct Budget {
    files: usize,
    bytes: u64,
}

impl Budget {
    fn take(&mut self, bytes: u64, place: impl fmt::Display) -> Result<(), PlaceError> {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let is_within = self.files <= MOST_FILES && self.bytes <= MOST_BYTES;
        is_within.then_some(()).ok_or_else(|| PlaceError::TooMuch(place.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_names_a_repository() {
        let git = |repository: &str, name: &str, folder: &str| {
            Some(Place::Git(Git { repository: repository.into(), name: name.to_owned(), folder: folder.to_owned() }))
        };
        for (text, expected) in [
            ("/etc/hardware.yaml", Some(Place::Path("/etc/hardware.yaml".into()))),
            ("gitlab/machines", Some(Place::Path("gitlab/machines".into()))),
            ("git:/srv/site.git", git("/srv/site.git", "HEAD", "")),
            ("git:/srv/site#main", git("/srv/site", "main", "")),
            ("git:/srv/site#main:machines", git("/srv/site", "main", "machines")),
            ("git:/srv/site#:/racks/a/", git("/srv/site", "HEAD", "racks/a")),
            ("git:/srv/site#feature/x:machines", git("/srv/site", "feature/x", "machines")),
            ("git:", None),
            ("git:#main", None),
            ("git:/srv/site#", None),
            ("git:/srv/site#main:", None),
            ("git:/srv/site#main:../etc", None),
        ] {
            assert_eq!(text.parse::<Place>().ok(), expected, "{text}");
        }
    }
}
