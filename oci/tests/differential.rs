//! Odd images compared with `umoci unpack`: type, mode, owner, time, content, attributes and links of every file must be
//! the same. The images are made here byte by byte, because tools cannot write most of them.
//!
//! Needs root and umoci. Without them it says so and ends. `UMOCI_SHOW=1` prints which images umoci refuses.
#![cfg(feature = "push")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/odd.rs"]
mod odd;
#[path = "support/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use oci::registry::{Client, Limits, Patience, Settings};
use oci::store::Store;
use oci::{Free, Puller};
use odd::{CASES, Case};
use registry::Registry;

/// A description of each path as one line, and its time.
type Tree = BTreeMap<String, (String, (i64, i64))>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut links: BTreeMap<u64, String> = BTreeMap::new();
    walk(root, root, &mut found, &mut links);
    found
}

fn walk(root: &Path, path: &Path, found: &mut Tree, links: &mut BTreeMap<u64, String>) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(root).unwrap().display().to_string();
    let kind = metadata.file_type();
    let what = if kind.is_symlink() {
        format!("link to {}", std::fs::read_link(path).unwrap().display())
    } else if kind.is_dir() {
        "folder".to_owned()
    } else if kind.is_file() {
        format!("file of {} {}", metadata.len(), registry::digest(&std::fs::read(path).unwrap()))
    } else {
        format!("{:?} {}", (kind.is_char_device(), kind.is_block_device(), kind.is_fifo()), metadata.rdev())
    };
    // If one file has several names, all of them name the first one.
    let first = links.entry(metadata.ino()).or_insert_with(|| name.clone()).clone();
    let line = format!("{what}, {:o} {}:{} as {first}, {}", metadata.mode(), metadata.uid(), metadata.gid(), xattrs(path));
    found.insert(name, (line, (metadata.mtime(), metadata.mtime_nsec())));
    if kind.is_dir() {
        let mut below: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        below.sort();
        below.iter().for_each(|path| walk(root, path, found, links));
    }
}

fn xattrs(path: &Path) -> String {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut all: Vec<String> = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = [0; 4096];
        let name = std::ffi::OsStr::from_bytes(name);
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap_or(0);
        all.push(format!("{}={}", name.display(), hex::encode(&value[..length])));
    }
    all.sort();
    all.join(" ")
}

/// umoci's tree, or its error.
fn umoci(folder: &Path, case: &Case) -> Result<Tree, String> {
    let layout = folder.join("layout");
    odd::layout(&layout, case);
    let rootfs = folder.join("rootfs");
    let output = Command::new("umoci")
        .args(["raw", "unpack", "--image", &format!("{}:tool", layout.display()), &rootfs.display().to_string()])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(tree(&rootfs))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned())
    }
}

async fn ours(folder: &Path, case: &Case) -> Result<Tree, String> {
    let registry = Registry::start().await;
    let image = odd::publish(&registry, case);
    let client = Client::new(&Settings::default(), Limits::default()).unwrap();
    let patience = Patience { attempts: 1, ..Patience::default() };
    let plenty = |_: &Path| Free::of_memory(1 << 30);
    let mut puller = Puller::new(client, Store::open(&folder.join("store")).unwrap(), patience, plenty);
    let pulled = puller.pull(&image).await.map_err(|error| machine::Chain(&error).to_string())?;
    Ok(tree(&pulled.rootfs))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_images_unpack_as_in_umoci() {
    if !rustix::process::geteuid().is_root() || Command::new("umoci").arg("--version").output().is_err() {
        return println!("skipped: needs root and umoci (apt-get install umoci)");
    }
    let (mut differences, mut compared) = (Vec::new(), 0);
    for case in CASES {
        // A tmpfs, as in the ramdisk, because attributes of every kind and device nodes are needed.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let got = ours(folder.path(), case).await;
        let want = umoci(folder.path(), case);
        match (got, want) {
            (Err(error), _) => differences.push(format!("{}: refused: {error}", case.name)),
            (Ok(_), Err(said)) => {
                if std::env::var_os("UMOCI_SHOW").is_some() {
                    println!("{}: umoci refuses it: {said}", case.name);
                }
                if !case.beyond_umoci {
                    differences.push(format!("{}: umoci refuses it: {said}", case.name));
                }
            }
            (Ok(got), Ok(want)) => {
                compared += 1;
                differences.extend(difference(case, &got, &want));
            }
        }
    }
    println!("{} images, {compared} of them compared with umoci", CASES.len());
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(CASES.len() >= 60 && compared >= 60, "{} images, {compared} compared", CASES.len());
}

fn difference(case: &Case, got: &Tree, want: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for path in got.keys().chain(want.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (here, umoci) = (got.get(path), want.get(path));
        if here.map(|(line, _)| line) != umoci.map(|(line, _)| line) {
            found.push(format!("{}: {path:?}\n  here  {here:?}\n  umoci {umoci:?}", case.name));
        } else if let (Some((_, here)), Some((_, umoci))) = (here, umoci)
            && here != umoci
            && !case.times_of_now.iter().any(|now| now == path)
        {
            found.push(format!("{}: time of {path:?} is {here:?}, for umoci {umoci:?}", case.name));
        }
    }
    found
}
