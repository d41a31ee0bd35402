//! Compares the disk with its expected content. The partition table and every block equal the image, except for what the
//! workflow's `writefile` actions had to change. Their files have the template's content, and the file system is clean.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::output;
use crate::disk_image::layout;

const BLOCK: usize = 4096;
/// How many blocks one call of debugfs gets, because its command line is limited.
const ASK: usize = 400;
const JOURNAL: u64 = 8;

/// A file that the workflow wrote.
pub struct Written {
    pub path: String,
    pub contents: String,
    pub mode: String,
}

/// The results for the operator.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    pub bytes: u64,
    pub changed_blocks: usize,
}

/// Compares the machine's disk with the image that was written to it.
pub fn disk(disk: &Path, image: &Path, files: &[Written]) -> Result<Verified> {
    let (asked, found) = (partitions(image)?, partitions(disk)?);
    ensure!(asked == found, "the partition table differs from the image's:\n{found}\ninstead of\n{asked}");
    let (a, b) = (open(image)?, open(disk)?);
    // The sectors of the table may move with the disk's size, so its content is compared.
    let (start, length) = (layout::BIOS_BOOT.offset(), layout::ROOT.offset() - layout::BIOS_BOOT.offset());
    let loaders = differing(&a, &b, start, length)?;
    ensure!(loaders.is_empty(), "{} blocks of the boot loader partitions differ from the image", loaders.len());
    let changed = differing(&a, &b, layout::ROOT.offset(), layout::ROOT.bytes())?;
    clean(disk)?;
    let allowed: BTreeSet<u64> = files.iter().filter_map(|file| inode(image, &file.path)).collect();
    for (block, owner) in owners(image, &changed)? {
        if owner == JOURNAL || allowed.contains(&owner) || is_folder(image, owner)? {
            continue;
        }
        bail!("block {block} of the root file system differs from the image, but inode {owner} must not change");
    }
    for file in files {
        check_file(disk, file)?;
    }
    Ok(Verified { bytes: layout::DISK_BYTES, changed_blocks: changed.len() })
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// The lines of sfdisk's dump that name partitions, without the file's name.
fn partitions(disk: &Path) -> Result<String> {
    let dump = output(Command::new("/sbin/sfdisk").arg("--dump").arg(disk))?;
    let lines = dump.lines().filter_map(|line| line.split_once(" : ").filter(|(_, what)| what.contains("start=")));
    let name = disk.display().to_string();
    Ok(lines.map(|(node, what)| format!("{} : {what}\n", node.trim().trim_start_matches(&name))).collect())
}

/// The numbers of the blocks that differ, counted from `start`.
fn differing(a: &File, b: &File, start: u64, length: u64) -> Result<Vec<u64>> {
    let (mut left, mut right) = (vec![0; BLOCK * 256], vec![0; BLOCK * 256]);
    let (mut found, mut done) = (Vec::new(), 0_u64);
    while done < length {
        let size = usize::try_from(length - done).unwrap_or(usize::MAX).min(left.len());
        let (left, right) = (&mut left[..size], &mut right[..size]);
        a.read_exact_at(left, start + done).context("cannot read the image")?;
        b.read_exact_at(right, start + done).context("cannot read the disk")?;
        if left != right {
            let pairs = left.chunks(BLOCK).zip(right.chunks(BLOCK)).zip(done / BLOCK as u64..);
            found.extend(pairs.filter(|((x, y), _)| x != y).map(|(_, number)| number));
        }
        done += size as u64;
    }
    Ok(found)
}

/// debugfs's syntax for a file system inside a disk.
fn root_of(disk: &Path) -> String {
    format!("{}?offset={}", disk.display(), layout::ROOT.offset())
}

fn debugfs(disk: &Path, request: &str) -> Result<String> {
    output(Command::new("/sbin/debugfs").args(["-R", request, &root_of(disk)]))
}

fn clean(disk: &Path) -> Result<()> {
    let check = output(Command::new("/sbin/e2fsck").args(["-fn", &root_of(disk)]));
    check.map(drop).context("the written file system is not clean")
}

/// Which inode of the image uses a block. Free blocks and metadata are left out.
fn owners(image: &Path, blocks: &[u64]) -> Result<Vec<(u64, u64)>> {
    let mut owners = Vec::new();
    for some in blocks.chunks(ASK) {
        let list: Vec<String> = some.iter().map(u64::to_string).collect();
        owners.extend(parse_owners(&debugfs(image, &format!("icheck {}", list.join(" ")))?));
    }
    Ok(owners)
}

fn parse_owners(answer: &str) -> Vec<(u64, u64)> {
    let pair = |line: &str| {
        let (block, inode) = line.split_once('\t')?;
        Some((block.parse().ok()?, inode.trim().parse().ok()?))
    };
    answer.lines().filter_map(pair).collect()
}

fn inode(disk: &Path, path: &str) -> Option<u64> {
    let text = debugfs(disk, &format!("stat {path}")).ok()?;
    text.strip_prefix("Inode: ")?.split_whitespace().next()?.parse().ok()
}

fn is_folder(disk: &Path, inode: u64) -> Result<bool> {
    Ok(debugfs(disk, &format!("stat <{inode}>"))?.contains("Type: directory"))
}

fn check_file(disk: &Path, file: &Written) -> Result<()> {
    let contents = debugfs(disk, &format!("cat {}", file.path))?;
    ensure!(contents == file.contents, "{} has the content {contents:?} instead of {:?}", file.path, file.contents);
    let status = debugfs(disk, &format!("stat {}", file.path))?;
    for fact in [format!("Mode:  {}", file.mode), "User:     0".to_owned(), "Group:     0".to_owned()] {
        ensure!(status.contains(&fact), "{}: {fact:?} is missing in:\n{status}", file.path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_owned_blocks_have_owners() {
        let answer = "Block\tInode number\n0\t<block not found>\n11172\t21\n11173\t8\n";
        assert_eq!(parse_owners(answer), [(11172, 21), (11173, 8)]);
    }

    #[test]
    fn differing_blocks_are_counted_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let mut data = vec![7_u8; BLOCK * 300];
        std::fs::write(&one, &data).unwrap();
        data[BLOCK * 260 + 5] = 8;
        std::fs::write(&two, &data).unwrap();
        let found = |start: usize, length: usize| {
            differing(&open(&one).unwrap(), &open(&two).unwrap(), start as u64, length as u64).unwrap()
        };
        assert_eq!(found(0, data.len()), [260]);
        assert_eq!(found(BLOCK * 10, BLOCK * 290), [250]);
        assert_eq!(found(0, BLOCK * 260), [0_u64; 0]);
    }
}
