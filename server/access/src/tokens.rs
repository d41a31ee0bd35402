//! Tokens of people and programs, in one file. Only the SHA-256 of a token is kept.
//!
//! A token is `thimble_ID_SECRET`. The id is public and finds the entry; the rest is compared in constant time. The file is
//! read again when it changes, so that a deleted token ends with the next request.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Grant, Origin, Proof};

const FILE: &str = "tokens.json";
const PREFIX: &str = "thimble_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;
/// A header with a token is not longer.
const LONGEST: usize = 256;
const MOST: usize = 10_000;
const LARGEST_FILE: u64 = 16 << 20;

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    /// The user in messages and in the audit log.
    pub name: String,
    pub grant: Grant,
    /// In hexadecimal.
    sha256: String,
    pub created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl Token {
    #[must_use]
    pub fn caller(&self, origin: Origin) -> Caller {
        Caller::new(&self.name, vec![self.grant.clone()], origin, Proof::Token(self.id.clone()))
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    tokens: Vec<Token>,
}

/// Why a token was not accepted. This is for the log; the caller learns only that it was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("what it sends is not a token of this server")]
    Malformed,
    #[error("its token {id} does not exist; was it deleted?")]
    Unknown { id: String },
    #[error("the secret of its token {id} is wrong")]
    Wrong { id: String },
    #[error("its token {id} ({name}) expired at {at}")]
    Expired { id: String, name: String, at: Timestamp },
    #[error("the tokens cannot be read")]
    Unreadable,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot {doing} {}", .path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a list of tokens; move it away, and make new tokens", .path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{name:?} cannot be the name of a token; use up to 64 letters, digits and . _ @ -")]
    Name { name: String },
    #[error("{namespace:?} is not the name of a namespace")]
    Namespace { namespace: String },
    #[error("the role {0} is for the whole server; leave out --namespace")]
    NotByNamespace(crate::Role),
    #[error("there are {MOST} tokens already; delete some")]
    TooMany,
    #[error("no token has the id or the name {0:?}; `thimble token list` shows them")]
    NoSuch(String),
    #[error("several tokens have the name {0:?}; give the id, which `thimble token list` shows")]
    Ambiguous(String),
    #[error("the kernel gives no random numbers")]
    Random,
}

/// Differs between two contents of the file.
pub(crate) type Version = Option<(u64, u64, i64, i64)>;

#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    read: Mutex<(Version, Vec<Token>)>,
}

impl Tokens {
    /// The tokens in this folder. The file need not exist.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self { path: folder.join(FILE), read: Mutex::default() }
    }

    /// The token that is presented.
    ///
    /// # Errors
    /// If it is not a token of this server, or is no longer one.
    pub fn lookup(&self, presented: &str, now: Timestamp) -> Result<Token, BadToken> {
        let id = id_of(presented).ok_or(BadToken::Malformed)?;
        let read = self.current().ok_or(BadToken::Unreadable)?;
        // An unknown id costs the same comparison.
        let found = read.1.iter().find(|token| token.id == id);
        let expected = found.map_or_else(String::new, |token| token.sha256.clone());
        let matches = same(digest(presented).as_bytes(), expected.as_bytes());
        let Some(token) = found else { return Err(BadToken::Unknown { id: id.to_owned() }) };
        if !matches {
            return Err(BadToken::Wrong { id: id.to_owned() });
        }
        match token.expires.filter(|at| *at <= now) {
            Some(at) => Err(BadToken::Expired { id: id.to_owned(), name: token.name.clone(), at }),
            None => Ok(token.clone()),
        }
    }

    /// Whether the token with this id still exists, and its time has not ended.
    #[must_use]
    pub fn is_valid(&self, id: &str, now: Timestamp) -> bool {
        let still = |token: &Token| token.id == id && token.expires.is_none_or(|at| at > now);
        self.current().is_some_and(|read| read.1.iter().any(still))
    }

    /// What the file holds now. `None` if it cannot be read.
    fn current(&self) -> Option<MutexGuard<'_, (Version, Vec<Token>)>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.version();
        if read.0 != version || (version.is_none() && !read.1.is_empty()) {
            let tokens = load(&self.path).inspect_err(|error| log::error!("no token is accepted: {}", machine::Chain(error)));
            *read = (version, tokens.ok()?);
        }
        Some(read)
    }

    /// Differs after a change of the file.
    #[must_use]
    pub fn stamp(&self) -> impl PartialEq + Send + use<> {
        self.version()
    }

    pub(crate) fn version(&self) -> Version {
        let is = fs::metadata(&self.path).ok()?;
        Some((is.ino(), is.len(), is.mtime(), is.mtime_nsec()))
    }

    /// All tokens, by their time.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn list(&self) -> Result<Vec<Token>, TokenError> {
        load(&self.path)
    }

    /// Makes a token, and returns its text, which is not kept.
    ///
    /// # Errors
    /// If name or namespaces cannot be used, or the file cannot be written.
    pub fn create(&self, name: &str, grant: Grant, lifetime: Lifetime, now: Timestamp) -> Result<(String, Token), TokenError> {
        check_caller(name, &grant)?;
        let (id, secret) = (random(ID_BYTES)?, random(SECRET_BYTES)?);
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let expires = lifetime.0.and_then(|lifetime| now.checked_add(lifetime).ok());
        let token = Token { id, name: name.to_owned(), grant, sha256: digest(&text), created: now, expires };
        self.change(|tokens| {
            if tokens.len() >= MOST {
                return Err(TokenError::TooMany);
            }
            tokens.push(token.clone());
            Ok(())
        })?;
        Ok((text, token))
    }

    /// Deletes the token with this id, or with this name if only one has it.
    ///
    /// # Errors
    /// If the token does not exist, or the file cannot be written.
    pub fn delete(&self, which: &str) -> Result<Token, TokenError> {
        let mut deleted = None;
        self.change(|tokens| {
            let by_id = tokens.iter().position(|token| token.id == which);
            let mut named = tokens.iter().enumerate().filter(|(_, token)| token.name == which).map(|(index, _)| index);
            let index = match (by_id, named.next(), named.next()) {
                (Some(index), ..) | (None, Some(index), None) => index,
                (None, Some(_), Some(_)) => return Err(TokenError::Ambiguous(which.to_owned())),
                (None, None, _) => return Err(TokenError::NoSuch(which.to_owned())),
            };
            deleted = Some(tokens.remove(index));
            Ok(())
        })?;
        deleted.ok_or_else(|| TokenError::NoSuch(which.to_owned()))
    }

    /// Brings the tokens here and those of the site together, and returns what both shall be then. A token that was on both sides
    /// once, and is missing on one, was deleted.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn join(&self, site: &[Token]) -> Result<Vec<Token>, TokenError> {
        let path = self.path.with_extension("shared");
        let mut joined = Vec::new();
        self.change(|tokens| {
            let before = shared(&path)?;
            joined = together(tokens, site, &before);
            tokens.clone_from(&joined);
            Ok(())
        })?;
        Ok(joined)
    }

    /// The site has these tokens now. What is missing here or there from now on was deleted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn are_shared(&self, tokens: &[Token]) -> Result<(), TokenError> {
        let path = self.path.with_extension("shared");
        let ids: BTreeSet<&str> = tokens.iter().map(|token| token.id.as_str()).collect();
        let text = ids.into_iter().flat_map(|id| [id, "\n"]).collect::<String>();
        if fs::read_to_string(&path).is_ok_and(|written| written == text) {
            return Ok(());
        }
        crate::folder::replace(&path, text.as_bytes(), 0o600).map_err(|source| TokenError::File { doing: "write", path, source })
    }

    /// One change at a time, also by several processes. The file is replaced in one piece.
    fn change(&self, change: impl FnOnce(&mut Vec<Token>) -> Result<(), TokenError>) -> Result<(), TokenError> {
        let failed = |doing| {
            let path = self.path.clone();
            move |source| TokenError::File { doing, path, source }
        };
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.path.with_extension("lock"));
        let lock = lock.map_err(failed("lock"))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed("lock")(errno.into()))?;
        let before = load(&self.path)?;
        let mut tokens = before.clone();
        change(&mut tokens)?;
        if tokens == before {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&Content { tokens });
        let text = text.map_err(|source| TokenError::Content { path: self.path.clone(), source })?;
        crate::folder::replace(&self.path, &text, 0o600).map_err(failed("write"))
    }
}

/// The ids that were on both sides.
fn shared(path: &Path) -> Result<BTreeSet<String>, TokenError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        read => {
            let text = read.map_err(|source| TokenError::File { doing: "read", path: path.to_owned(), source })?;
            Ok(text.lines().map(str::to_owned).collect())
        }
    }
}

/// `before` are the ids that both had.
fn together(here: &[Token], site: &[Token], before: &BTreeSet<String>) -> Vec<Token> {
    let has = |tokens: &[Token], id: &str| tokens.iter().any(|token| token.id == id);
    let still_there = site.iter().filter(|token| has(here, &token.id) || !before.contains(&token.id));
    let new_here = here.iter().filter(|token| !has(site, &token.id) && !before.contains(&token.id));
    let mut all: Vec<Token> = still_there.chain(new_here).cloned().collect();
    all.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
    all
}

/// The public part of a token.
fn id_of(presented: &str) -> Option<&str> {
    let (id, secret) = presented.strip_prefix(PREFIX).filter(|_| presented.len() <= LONGEST)?.split_once('_')?;
    let is_id = id.len() == 2 * ID_BYTES && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && URL_SAFE_NO_PAD.decode(secret).is_ok_and(|secret| secret.len() == SECRET_BYTES)).then_some(id)
}

fn digest(text: &str) -> String {
    ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In a time that does not depend on the content.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

fn random(length: usize) -> Result<Vec<u8>, TokenError> {
    let mut bytes = vec![0; length];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Random)?;
    Ok(bytes)
}

/// Whether a token or a certificate can be for this name and role.
///
/// # Errors
/// If not.
pub fn check_caller(name: &str, grant: &Grant) -> Result<(), TokenError> {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(may) {
        return Err(TokenError::Name { name: name.chars().take(80).collect() });
    }
    let Some(namespaces) = &grant.namespaces else { return Ok(()) };
    if !grant.role.is_by_namespace() {
        return Err(TokenError::NotByNamespace(grant.role));
    }
    let is_label = |name: &&String| {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !name.is_empty() && name.len() <= 63 && name.bytes().all(inside) && !name.starts_with('-') && !name.ends_with('-')
    };
    match namespaces.iter().find(|name| !is_label(name)) {
        Some(namespace) => Err(TokenError::Namespace { namespace: namespace.chars().take(80).collect() }),
        None => Ok(()),
    }
}

/// A missing file has no tokens.
fn load(path: &Path) -> Result<Vec<Token>, TokenError> {
    let failed = |source| TokenError::File { doing: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(failed)?,
    };
    let text = io::read_to_string(io::Read::take(file, LARGEST_FILE)).map_err(failed)?;
    let content: Content = serde_json::from_str(&text).map_err(|source| TokenError::Content { path: path.to_owned(), source })?;
    Ok(content.tokens)
}

/// How long a token is valid: `90d`, `12h` or `never`, which has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub Option<SignedDuration>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time such as 90d, 12h or never")]
pub struct NotALifetime(String);

impl Lifetime {
    #[must_use]
    pub const fn days(days: i64) -> Self {
        Self(Some(SignedDuration::from_hours(24 * days)))
    }
}

impl FromStr for Lifetime {
    type Err = NotALifetime;

    fn from_str(text: &str) -> Result<Self, NotALifetime> {
        if text == "never" {
            return Ok(Self(None));
        }
        let wanted = || NotALifetime(text.chars().take(40).collect());
        let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wanted)?;
        let hours = match unit {
            "d" => 24,
            "h" => 1,
            _ => return Err(wanted()),
        };
        // A hundred years are enough, and every sum of them is a date.
        let number: i64 = number.parse().ok().filter(|number| (1..=876_000 / hours).contains(number)).ok_or_else(wanted)?;
        Ok(Self(Some(SignedDuration::from_hours(number * hours))))
    }
}

#[cfg(test)]
mod tests;
