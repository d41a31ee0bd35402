//! Images of qemu-img against what qemu-img reads from them, and images that were changed byte by byte.

use super::walk::{File, Sink, walk};
use super::*;
use std::path::Path;
use std::process::Command;

/// The whole file in memory, with the number of jumps back.
pub struct Bytes<'d> {
    data: &'d [u8],
    at: usize,
    back: usize,
}

impl File for Bytes<'_> {
    type Error = Qcow2Error;
    fn seek(&mut self, to: u64) -> Result<(), Qcow2Error> {
        let to = usize::try_from(to).unwrap_or(usize::MAX);
        self.back += usize::from(to < self.at);
        self.at = to;
        Ok(())
    }
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Qcow2Error> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
    fn damaged(&self, error: Qcow2Error) -> Qcow2Error {
        error
    }
}

/// Every byte must come once.
struct Plain {
    data: Vec<u8>,
    taken: Vec<bool>,
    at: usize,
    piece: Vec<u8>,
}

impl Plain {
    fn of(size: u64) -> Self {
        Self { data: vec![0xee; size as usize], taken: vec![false; size as usize], at: 0, piece: vec![0; 3000] }
    }

    fn take(&mut self, at: usize, length: usize) {
        assert!(self.taken[at..at + length].iter().all(|taken| !taken), "{length} bytes at {at} come twice");
        self.taken[at..at + length].fill(true);
    }
}

impl Sink<Qcow2Error> for Plain {
    fn space(&mut self, at: u64) -> Result<&mut [u8], Qcow2Error> {
        self.at = at as usize;
        Ok(&mut self.piece)
    }
    fn filled(&mut self, length: usize) -> Result<(), Qcow2Error> {
        self.take(self.at, length);
        self.data[self.at..self.at + length].copy_from_slice(&self.piece[..length]);
        Ok(())
    }
    fn zeros(&mut self, at: u64, length: u64) -> Result<(), Qcow2Error> {
        self.take(at as usize, length as usize);
        self.data[at as usize..(at + length) as usize].fill(0);
        Ok(())
    }
}

fn qemu_img(arguments: &[&str], folder: &Path) -> bool {
    match Command::new("qemu-img").args(arguments).current_dir(folder).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments:?}: {text}");
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: qemu-img: {error}; apt-get install qemu-utils");
            false
        }
    }
}

/// Data that compresses somewhat, data that does not, and zeros.
fn disk(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut data: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(size)
    .collect();
    data[size / 8..size / 4].iter_mut().for_each(|byte| *byte &= 3);
    data[size / 2..size * 3 / 4].fill(0);
    data
}

fn read(file: &[u8]) -> Result<(Vec<u8>, usize), Qcow2Error> {
    let header = Header::parse(&file[..file.len().min(4096)])?;
    let (mut bytes, mut plain) = (Bytes { data: file, at: 0, back: 0 }, Plain::of(header.size));
    walk(header, &mut bytes, &mut plain)?;
    assert!(plain.taken.iter().all(|taken| *taken), "bytes are missing");
    Ok((plain.data, bytes.back))
}

#[test]
fn what_qemu_img_writes_is_read_in_one_pass() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (size, options) in [
        (5 << 20, "compat=1.1"),
        ((5 << 20) + 512, "compat=0.10"),
        (5 << 20, "compat=1.1,cluster_size=512"),
        ((3 << 20) + 1536, "compat=1.1,cluster_size=4096"),
        (9 << 20, "compat=1.1,cluster_size=2M"),
        (5 << 20, "compat=1.1,compression_type=zstd"),
        (5 << 20, "compat=1.1,compression_type=zstd,cluster_size=4096"),
        (5 << 20, "compat=1.1,extended_l2=on"),
        ((5 << 20) + 1536, "compat=1.1,extended_l2=on,cluster_size=16384"),
        (9 << 20, "compat=1.1,extended_l2=on,cluster_size=2M"),
        (5 << 20, "compat=1.1,lazy_refcounts=on,refcount_bits=1"),
    ] {
        let content = disk(size);
        std::fs::write(folder.join("raw"), &content).unwrap();
        for packed in [&[][..], &["-c"], &["-W", "-m", "16"]] {
            if options.contains("zstd") && packed != ["-c"] {
                continue;
            }
            let arguments = [&["convert", "-f", "raw", "-O", "qcow2", "-o", options], packed, &["raw", "q"]].concat();
            if !qemu_img(&arguments, folder) {
                return;
            }
            let (data, back) =
                read(&std::fs::read(folder.join("q")).unwrap()).unwrap_or_else(|error| panic!("{options}: {error}"));
            assert!(data == content, "{options} {packed:?}: the content differs");
            assert!(back == 0 || packed.contains(&"-W"), "{options} {packed:?}: {back} jumps back");
        }
    }
}

#[test]
fn images_that_grew_in_use_are_read_with_jumps() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for options in [
        "cluster_size=512",
        "preallocation=metadata,cluster_size=4096",
        "cluster_size=65536",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16384",
    ] {
        if !qemu_img(&["create", "-f", "qcow2", "-o", options, "q", "6M"], folder) {
            return;
        }
        // From the end to the start, in part twice, and with a range that is discarded.
        for write in [
            "write -P 5 5M 1M",
            "write -P 4 3M 70k",
            "write -P 3 0 600k",
            "write -P 9 3M 1k",
            "discard 5M 512k",
            "write -z 128k 64k",
            // Parts of clusters, if there are subclusters.
            "write -P 6 4M 3k",
            "write -P 7 4120k 2k",
            "write -z 4M 2k",
        ] {
            let output = Command::new("qemu-io").args(["-f", "qcow2", "-c", write, "q"]).current_dir(folder).output().unwrap();
            assert!(output.status.success(), "{write}");
        }
        qemu_img(&["snapshot", "-c", "before", "q"], folder);
        Command::new("qemu-io").args(["-f", "qcow2", "-c", "write -P 8 1M 64k", "q"]).current_dir(folder).output().unwrap();
        qemu_img(&["convert", "-f", "qcow2", "-O", "raw", "q", "raw"], folder);
        let (data, _) = read(&std::fs::read(folder.join("q")).unwrap()).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert!(data == std::fs::read(folder.join("raw")).unwrap(), "{options}: the content differs");
    }
}

#[test]
fn what_one_file_alone_cannot_give_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("base"), vec![7; 1 << 20]).unwrap();
    for (arguments, expected) in [
        (&["create", "-f", "qcow2", "-b", "base", "-F", "raw", "q"][..], "has a backing file"),
        (&["create", "-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "q", "1M"], "has its data in another file"),
        // AES, because for LUKS qemu-img measures the processor, which fails on a busy one.
        (
            &[
                "create",
                "--object",
                "secret,id=s,data=abc",
                "-f",
                "qcow2",
                "-o",
                "encrypt.format=aes,encrypt.key-secret=s",
                "q",
                "1M",
            ],
            "is encrypted",
        ),
    ] {
        if !qemu_img(arguments, folder) {
            return;
        }
        let error = read(&std::fs::read(folder.join("q")).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("qemu-img convert"), "{error}");
    }
}

/// A small image of version 3 by hand: clusters of 512 bytes, one table, two clusters.
fn small() -> Vec<u8> {
    let mut file = vec![0; 512 * 5];
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, MAGIC);
    put(4, &3u32.to_be_bytes());
    put(20, &9u32.to_be_bytes());
    put(24, &2048u64.to_be_bytes());
    put(36, &1u32.to_be_bytes());
    put(40, &512u64.to_be_bytes());
    put(96, &4u32.to_be_bytes());
    put(100, &104u32.to_be_bytes());
    put(512, &(1024u64 | 1 << 63).to_be_bytes());
    put(1024, &(1536u64 | 1 << 63).to_be_bytes());
    put(1040, &(2048u64 | 1 << 63).to_be_bytes());
    put(1048, &1u64.to_be_bytes());
    put(1536, &[1; 512]);
    put(2048, &[2; 512]);
    file
}

/// The same with subclusters: clusters of 16 KiB, and one of them, of which the file has a quarter.
fn with_subclusters() -> Vec<u8> {
    const CLUSTER: usize = 16 << 10;
    let mut file = vec![0; CLUSTER * 4];
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, &small()[..112]);
    put(20, &14u32.to_be_bytes());
    put(24, &(CLUSTER as u64).to_be_bytes());
    put(40, &(CLUSTER as u64).to_be_bytes());
    put(72, &16u64.to_be_bytes());
    put(CLUSTER, &((2 * CLUSTER as u64) | (1 << 63)).to_be_bytes());
    put(2 * CLUSTER, &((3 * CLUSTER as u64) | (1 << 63)).to_be_bytes());
    put(2 * CLUSTER + 8, &(0xff00_u64 << 32 | 0xff).to_be_bytes());
    put(3 * CLUSTER, &[5; CLUSTER]);
    file
}

#[test]
fn subclusters_are_there_or_zero_and_never_both() {
    let good = with_subclusters();
    let (data, _) = read(&good).unwrap();
    assert!(data[..4096].iter().all(|byte| *byte == 5) && data[4096..].iter().all(|byte| *byte == 0));
    let entry = 32 << 10;
    for (case, at, value, expected) in [
        ("both", entry + 8, 1u64 << 32 | 1, "two states at once"),
        ("without a place", entry, 1 << 63, "two states at once"),
        ("small clusters", 16, 13, "too small for subclusters"),
    ] {
        let mut file = good.clone();
        file[at..at + 8].copy_from_slice(&value.to_be_bytes());
        assert!(read(&file).expect_err(case).to_string().contains(expected), "{case}");
    }
    for at in (72..80).chain(entry..entry + 16) {
        for bit in 0..8 {
            let mut file = good.clone();
            file[at] ^= 1 << bit;
            let _ = read(&file);
        }
    }
}

#[test]
fn a_damaged_image_is_an_error_or_other_content_but_never_a_panic() {
    let good = small();
    let (data, _) = read(&good).unwrap();
    assert_eq!(data, [vec![1; 512], vec![0; 512], vec![2; 512], vec![0; 512]].concat());
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "cut at {length}");
    }
    for at in (0..112).chain(512..520).chain(1024..1056) {
        for bit in 0..8 {
            let mut file = good.clone();
            file[at] ^= 1 << bit;
            let header = Header::parse(&file);
            if header.as_ref().is_ok_and(|header| header.size <= 1 << 20) {
                let _ = read(&file);
            }
        }
    }
    for (case, at, value, expected) in [
        ("a first table beyond the file", 40, 1u64 << 40, "cut off"),
        ("a table inside of a cluster", 512, 1024 + 512 * 300 + (1 << 9), "cut off"),
        ("clusters without end", 24, 1 << 62, "shorter than the disk"),
        ("no size", 24, 0, "no plausible size"),
        ("marked", 72, 2, "corrupt"),
        ("an unknown feature", 72, 1 << 40, "not known"),
    ] {
        let mut file = good.clone();
        file[at..at + 8].copy_from_slice(&value.to_be_bytes());
        let error = read(&file).expect_err(case).to_string();
        assert!(error.contains(expected), "{case}: {error}");
    }
}
