//! The newc archive that the kernel unpacks as its first root. It is sorted, and the same files give the same bytes.

mod read;

pub use read::{ReadError, Unpacked, read};

use std::collections::BTreeMap;

/// newc has eight hexadecimal digits for a file's size.
const MAX_FILE: usize = u32::MAX as usize;
const BLOCK: usize = 512;
const TRAILER: &str = "TRAILER!!!";

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    /// A further name of the regular file at this path.
    Hardlink(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CpioError {
    #[error("\"{0}\" is not a path inside an archive: it needs names between single slashes, without . and ..")]
    BadPath(String),
    #[error("{0} would be in the archive twice")]
    Twice(String),
    #[error("{path} lies below {parent}, which is not a directory")]
    NotADirectory { path: String, parent: String },
    #[error("{path} is a hard link to {to}, which is not a regular file of the archive")]
    DanglingHardlink { path: String, to: String },
    #[error("{path} has {size} bytes; a newc archive holds files up to 4 GiB")]
    TooLarge { path: String, size: usize },
}

#[derive(Debug, Clone)]
struct Member {
    node: Node,
    permissions: u32,
}

/// Paths in byte order, each below a directory of the archive. The owner is always root.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    members: BTreeMap<String, Member>,
    mtime: u32,
}

impl Archive {
    /// `mtime` is the time of every member: 0, or `SOURCE_DATE_EPOCH`.
    pub fn new(mtime: u32) -> Self {
        Self { members: BTreeMap::new(), mtime }
    }

    /// Adds `path` (a leading slash is allowed) and the directories above it.
    pub fn add(&mut self, path: &str, permissions: u32, node: Node) -> Result<(), CpioError> {
        let path = checked(path)?;
        if let Node::File(data) = &node
            && data.len() > MAX_FILE
        {
            return Err(CpioError::TooLarge { path: path.to_owned(), size: data.len() });
        }
        self.add_parents(path)?;
        let member = Member { node, permissions: permissions & 0o7777 };
        match self.members.get_mut(path) {
            None => {
                self.members.insert(path.to_owned(), member);
            }
            // A directory that was added as a parent may still get its own permissions.
            Some(old) if old.node == Node::Directory && member.node == Node::Directory => *old = member,
            Some(_) => return Err(CpioError::Twice(path.to_owned())),
        }
        Ok(())
    }

    fn add_parents(&mut self, path: &str) -> Result<(), CpioError> {
        for (end, _) in path.match_indices('/') {
            let (parent, _) = path.split_at(end);
            let directory = Member { node: Node::Directory, permissions: 0o755 };
            if self.members.entry(parent.to_owned()).or_insert(directory).node != Node::Directory {
                return Err(CpioError::NotADirectory { path: path.to_owned(), parent: parent.to_owned() });
            }
        }
        Ok(())
    }

    /// Every regular file's path and contents, in the archive's order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.members.iter().filter_map(|(path, member)| match &member.node {
            Node::File(data) => Some((path.as_str(), data.as_slice())),
            _ => None,
        })
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, CpioError> {
        let groups = self.link_groups()?;
        let mut out = Vec::new();
        for (inode, (path, member)) in (1u32..).zip(&self.members) {
            let group = groups.get(path.as_str());
            let header = Header {
                inode: group.map_or(inode, |group| group.inode),
                mode: member.permissions | kind(&member.node),
                links: group.map_or(1, |group| group.names),
                mtime: self.mtime,
                device: device(&member.node),
            };
            // Readers expect a linked file's bytes with its last name.
            let data = match group {
                Some(group) if group.last == path => group.data,
                Some(_) => &[],
                None => data(&member.node),
            };
            header.write(&mut out, path, data);
        }
        Header::default().write(&mut out, TRAILER, &[]);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        Ok(out)
    }

    fn link_groups(&self) -> Result<BTreeMap<&str, Group<'_>>, CpioError> {
        let mut by_target: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (path, member) in &self.members {
            if let Node::Hardlink(to) = &member.node {
                by_target.entry(checked(to)?).or_default().push(path);
            }
        }
        let mut groups = BTreeMap::new();
        for (target, mut names) in by_target {
            let Some(Member { node: Node::File(data), .. }) = self.members.get(target) else {
                let path = names.first().map(|name| (*name).to_owned()).unwrap_or_default();
                return Err(CpioError::DanglingHardlink { path, to: target.to_owned() });
            };
            names.push(target);
            names.sort_unstable();
            let first = names.first().copied().unwrap_or(target);
            let inode = (1u32..).zip(self.members.keys()).find(|(_, path)| *path == first).map_or(0, |(inode, _)| inode);
            let last = names.last().copied().unwrap_or(target);
            let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
            groups.extend(names.iter().map(|name| (*name, Group { inode, names: count, last, data })));
        }
        Ok(groups)
    }
}

#[derive(Debug, Clone, Copy)]
struct Group<'a> {
    inode: u32,
    names: u32,
    last: &'a str,
    data: &'a [u8],
}

#[derive(Debug, Default)]
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    mtime: u32,
    device: (u32, u32),
}

impl Header {
    fn write(&self, out: &mut Vec<u8>, name: &str, data: &[u8]) {
        out.extend_from_slice(b"070701");
        let fields = [
            self.inode,
            self.mode,
            0, // uid
            0, // gid
            self.links.max(1),
            self.mtime,
            data.len() as u32, // `add` refuses more
            0,                 // device the file was on: major
            0,                 // and minor
            self.device.0,
            self.device.1,
            name.len() as u32 + 1,
            0, // checksum: only the 070702 format has one
        ];
        for field in fields {
            out.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

fn kind(node: &Node) -> u32 {
    match node {
        Node::Directory => S_IFDIR,
        Node::File(_) | Node::Hardlink(_) => S_IFREG,
        Node::Symlink(_) => S_IFLNK,
        Node::CharDevice { .. } => S_IFCHR,
        Node::BlockDevice { .. } => S_IFBLK,
    }
}

fn device(node: &Node) -> (u32, u32) {
    match node {
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => (*major, *minor),
        _ => (0, 0),
    }
}

fn data(node: &Node) -> &[u8] {
    match node {
        Node::File(data) => data,
        Node::Symlink(target) => target.as_bytes(),
        _ => &[],
    }
}

fn checked(path: &str) -> Result<&str, CpioError> {
    let inside = path.strip_prefix('/').unwrap_or(path);
    let bad = |name: &str| matches!(name, "" | "." | "..") || name.contains('\0');
    if inside == TRAILER || inside.len() > 4095 || inside.split('/').any(bad) {
        return Err(CpioError::BadPath(path.to_owned()));
    }
    Ok(inside)
}

#[cfg(test)]
mod tests;
