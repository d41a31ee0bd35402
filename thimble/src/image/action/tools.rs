//! The layer of the images with tools: Debian packages, unpacked without their scripts, and a link for each action.
//!
//! The same packages give the same bytes. Folders such as `/bin` are links into `/usr`, as on an installed Debian.

use anyhow::{Context, bail};
use api::names::ACTIONS;
use initramfs::architecture::Architecture;
use initramfs::deb;
use oci::build::Layer;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use tar::{EntryType, Header};

/// Level 9 takes three times as long and saves two percent.
const LEVEL: u32 = 6;
/// What one file of a package may have.
const FILE_MAX: u64 = 512 << 20;
/// On Debian these are links into /usr.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// What no action needs. It is half of the bytes.
const LEFT_OUT: &[&str] = &[
    "etc/cron.daily",
    "etc/init.d",
    "usr/include",
    "usr/lib/systemd",
    "usr/share/applications",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/icons",
    "usr/share/info",
    "usr/share/initramfs-tools",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
    "usr/src",
    "var/cache",
];

/// clevis makes its keys by pwmake, which compares them with a dictionary that only the scripts of a package make.
const PWMAKE: &str = "usr/bin/pwmake";
const NO_DICTIONARY: (&str, &str) = ("etc/security/pwquality.conf.d/50-no-dictionary.conf", "dictcheck = 0\n");

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
    Same(PathBuf),
}

struct Placed {
    node: Node,
    mode: u32,
    owner: (u64, u64),
    package: String,
}

#[derive(Default)]
struct Tree(BTreeMap<PathBuf, Placed>);

/// `packages` are Debian packages, or folders of them.
pub fn layer(packages: &[PathBuf], architecture: Architecture) -> anyhow::Result<Layer> {
    let mut tree = Tree::default();
    for package in files(packages)? {
        tree.add(&package, architecture).with_context(|| format!("cannot unpack {}", package.display()))?;
    }
    tree.finish()?;
    Ok(Layer::gzip(&tree.tar()?, LEVEL)?)
}

fn files(packages: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in packages {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let failed = || format!("cannot read the folder {}", path.display());
        for entry in std::fs::read_dir(path).with_context(failed)? {
            all.push(entry.with_context(failed)?.path());
        }
        all.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
    }
    all.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    if all.is_empty() { bail!("--tools names no Debian package (NAME.deb)") } else { Ok(all) }
}

/// The path below the root, with the folders of /usr merged. `None` for the root itself, and for what leads out of it.
fn merged(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let first = clean.components().next()?.as_os_str().to_owned();
    Some(if MERGED.iter().any(|name| first == *name) { Path::new("usr").join(clean) } else { clean })
}

impl Tree {
    fn add(&mut self, package: &Path, architecture: Architecture) -> anyhow::Result<()> {
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut archive = tar::Archive::new(deb::data_tar(BufReader::new(File::open(package)?))?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let Some(path) = merged(&path) else { continue };
            if LEFT_OUT.iter().any(|left_out| path.starts_with(left_out)) {
                continue;
            }
            let node = node(&mut entry, &path)?;
            if let Node::File(data) = &node {
                of_this(data, &path, architecture)?;
            }
            let header = entry.header();
            // Nobody but root is in the image, so nothing needs to be setuid.
            let (mode, owner) = (header.mode()? & 0o1777, (header.uid()?, header.gid()?));
            self.put(path, Placed { node, mode, owner, package: name.clone() })?;
        }
        Ok(())
    }

    /// Packages share folders, and nothing else.
    fn put(&mut self, path: PathBuf, placed: Placed) -> anyhow::Result<()> {
        // A link for systems without merged folders would lead to itself. `join` takes an absolute target as it is.
        let folder = path.parent().unwrap_or(Path::new(""));
        if matches!(&placed.node, Node::Link(target) if merged(&folder.join(target)).as_ref() == Some(&path)) {
            return Ok(());
        }
        if let Some(before) = self.0.get(&path) {
            if before.node != placed.node {
                bail!("{} is in {} and in {}, with other content", path.display(), before.package, placed.package);
            }
            return Ok(());
        }
        self.0.insert(path, placed);
        Ok(())
    }

    /// The links of a merged system and of the actions, a setting that stands for a script, and all folders above what is there.
    fn finish(&mut self) -> anyhow::Result<()> {
        let own = |node| Placed { node, mode: 0o755, owner: (0, 0), package: "the actions".to_owned() };
        for name in MERGED {
            self.put(name.into(), own(Node::Link(Path::new("usr").join(name))))?;
            self.put(Path::new("usr").join(name), own(Node::Folder))?;
        }
        for name in ACTIONS {
            self.put(Path::new("usr/local/bin").join(name), own(Node::Link("../../../actions".into())))?;
        }
        if self.0.contains_key(Path::new(PWMAKE)) {
            let (path, text) = NO_DICTIONARY;
            self.put(path.into(), Placed { mode: 0o644, ..own(Node::File(text.into())) })?;
        }
        self.put("etc/mtab".into(), own(Node::Link("../proc/self/mounts".into())))?;
        self.put("tmp".into(), Placed { mode: 0o1777, ..own(Node::Folder) })?;
        let above: Vec<PathBuf> = self.0.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
        for path in above.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            self.0.entry(path).or_insert_with(|| own(Node::Folder));
        }
        Ok(())
    }

    /// Hard links come last, because their targets must be there.
    fn tar(&self) -> anyhow::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let is_same = |placed: &Placed| matches!(placed.node, Node::Same(_));
        let first = self.0.iter().filter(|(_, placed)| !is_same(placed));
        for (path, placed) in first.chain(self.0.iter().filter(|(_, placed)| is_same(placed))) {
            let mut header = Header::new_gnu();
            header.set_mode(placed.mode);
            header.set_uid(placed.owner.0);
            header.set_gid(placed.owner.1);
            header.set_mtime(0);
            header.set_size(0);
            match &placed.node {
                Node::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    tar.append_data(&mut header, path, std::io::empty())?;
                }
                Node::File(data) => {
                    header.set_size(data.len() as u64);
                    tar.append_data(&mut header, path, data.as_slice())?;
                }
                Node::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, target)?;
                }
                Node::Same(target) => {
                    header.set_entry_type(EntryType::Link);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}

fn node<R: Read>(entry: &mut tar::Entry<'_, R>, path: &Path) -> anyhow::Result<Node> {
    let link = |entry: &tar::Entry<'_, R>| -> anyhow::Result<PathBuf> {
        Ok(entry.link_name()?.with_context(|| format!("{} is a link without a target", path.display()))?.into_owned())
    };
    Ok(match entry.header().entry_type() {
        EntryType::Directory => Node::Folder,
        EntryType::Regular | EntryType::Continuous => {
            let mut data = Vec::new();
            if entry.take(FILE_MAX + 1).read_to_end(&mut data)? as u64 > FILE_MAX {
                bail!("{} has more than {FILE_MAX} bytes", path.display());
            }
            Node::File(data)
        }
        EntryType::Symlink => Node::Link(link(entry)?),
        EntryType::Link => {
            let target = link(entry)?;
            Node::Same(merged(&target).with_context(|| format!("{} is a link to {}", path.display(), target.display()))?)
        }
        other => bail!("{} is of the kind {other:?}, which an image of actions does not have", path.display()),
    })
}

/// A program of another processor would fail on the machine only.
fn of_this(data: &[u8], path: &Path, architecture: Architecture) -> anyhow::Result<()> {
    if !path.starts_with("usr/bin") && !path.starts_with("usr/sbin") {
        return Ok(()); // GRUB's modules are for other platforms
    }
    let its = Architecture::of_program(data);
    match its {
        Some(its) if its != architecture => {
            bail!("{} is for {}, and the actions are for {}", path.display(), its.name(), architecture.name())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
