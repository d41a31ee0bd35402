//! `thimble image compress`: a disk image as zstd of small frames. Each has its size and a checksum, and decodes without the
//! others, so `image2disk` unpacks it on all cores and in little memory. Every other zstd program reads it, too.

use anyhow::{Context, bail, ensure};
use clap::Args;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use zstd::zstd_safe::CParameter;

/// What one frame holds. image2disk decodes frames of at most 2 MiB side by side.
const FRAME: usize = 1 << 20;
const LEVELS: std::ops::RangeInclusive<i64> = 1..=19;
/// What is packed already, by its first bytes.
const PACKED: [(&[u8], &str); 6] = [
    (b"QFI\xfb", "a qcow2 image: image2disk takes it as it is, or make it raw with qemu-img convert -O raw"),
    (&[0x1f, 0x8b], "packed by gzip: unpack it first"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "packed by xz: unpack it first"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "packed by zstd: unpack it first"),
    (b"BZh", "packed by bzip2: unpack it first"),
    (&[0x04, 0x22, 0x4d, 0x18], "packed by lz4: unpack it first"),
];

#[derive(Debug, Args)]
pub struct CompressArguments {
    /// A raw disk image
    pub image: PathBuf,
    /// The file to write; the image's name with .zst if not given
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// 1 is the fastest, 19 the smallest
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(LEVELS))]
    pub level: i32,
}

pub fn run(arguments: &CompressArguments) -> anyhow::Result<()> {
    let CompressArguments { image, output, level } = arguments;
    let output = output.clone().unwrap_or_else(|| {
        let mut name = image.clone().into_os_string();
        name.push(".zst");
        name.into()
    });
    ensure!(output != *image, "--output is the image itself: name another file");
    let done = compress(image, &output, *level)?;
    println!("{}: {} bytes of {}, in {} frames", output.display(), done.packed, done.size, done.size.div_ceil(FRAME as u64));
    println!("IMG_CHECKSUM: sha256:{}", done.digest);
    Ok(())
}

struct Done {
    size: u64,
    packed: u64,
    digest: String,
}

fn compress(image: &Path, output: &Path, level: i32) -> anyhow::Result<Done> {
    let read = || format!("cannot read {}", image.display());
    let mut input = File::open(image).with_context(read)?;
    let mut first = vec![0; FRAME];
    let length = fill(&mut input, &mut first).with_context(read)?;
    first.truncate(length);
    ensure!(!first.is_empty(), "{} is empty", image.display());
    if let Some((_, what)) = PACKED.iter().find(|(magic, _)| first.starts_with(magic)) {
        bail!("{} is {what}", image.display());
    }
    let write = || format!("cannot write {}", output.display());
    // Beside the file, so that an image which is served already stays whole until this one is.
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(write)?;
    let done = frames(first, input, level, file.as_file_mut())
        .with_context(|| format!("cannot compress {} into {}", image.display(), output.display()))?;
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(permissions).and_then(|()| file.as_file().sync_all()).with_context(write)?;
    file.persist(output).map_err(|error| error.error).with_context(write)?;
    Ok(done)
}

/// As much as there is.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(got) => at += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

type Packed = io::Result<Vec<u8>>;

/// One thread reads, as many as there are cores compress, and this one writes the frames in order.
fn frames(first: Vec<u8>, mut input: File, level: i32, output: &mut File) -> io::Result<Done> {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let mut done = Done { size: 0, packed: 0, digest: String::new() };
    let mut hash = Sha256::new();
    thread::scope(|scope| {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (to, parts) = sync_channel::<Vec<u8>>(1);
            let (packed, from) = sync_channel::<Packed>(1);
            scope.spawn(move || pack(&parts, &packed, level));
            inputs.push(to);
            outputs.push(from);
        }
        let reader = scope.spawn(move || -> io::Result<u64> {
            let (mut part, mut size) = (first, 0);
            for to in inputs.iter().cycle() {
                size += part.len() as u64;
                let is_last = part.len() < FRAME;
                if part.is_empty() || to.send(part).is_err() || is_last {
                    break; // a thread that has ended has said why to the one that writes
                }
                part = vec![0; FRAME];
                let length = fill(&mut input, &mut part)?;
                part.truncate(length);
            }
            Ok(size)
        });
        for from in outputs.iter().cycle() {
            let Ok(packed) = from.recv() else { break };
            let packed = packed?;
            hash.update(&packed);
            done.packed += packed.len() as u64;
            output.write_all(&packed)?;
        }
        drop(outputs);
        done.size = reader.join().map_err(|_| io::Error::other("the thread that reads has ended"))??;
        io::Result::Ok(())
    })?;
    done.digest = hex::encode(hash.finalize());
    Ok(done)
}

fn pack(parts: &Receiver<Vec<u8>>, packed: &SyncSender<Packed>, level: i32) {
    let compressor = zstd::bulk::Compressor::new(level).and_then(|mut compressor| {
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
        Ok(compressor)
    });
    let mut compressor = match compressor {
        Ok(compressor) => compressor,
        Err(error) => {
            let _ = packed.send(Err(error)); // fails only if nobody writes any more
            return;
        }
    };
    for part in parts {
        if packed.send(compressor.compress(&part)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_it(content: &[u8]) -> anyhow::Result<(Done, Vec<u8>)> {
        let folder = tempfile::tempdir()?;
        let (image, output) = (folder.path().join("disk.raw"), folder.path().join("disk.raw.zst"));
        std::fs::write(&image, content)?;
        let done = compress(&image, &output, 3)?;
        Ok((done, std::fs::read(&output)?))
    }

    #[test]
    fn the_frames_give_the_image_again_and_each_says_its_size() {
        for size in [1, FRAME - 1, FRAME, FRAME + 1, 5 * FRAME + 77] {
            let content: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
            let (done, packed) = try_it(&content).unwrap();
            assert!(zstd::decode_all(packed.as_slice()).unwrap() == content, "{size}");
            assert_eq!((done.size, done.packed), (size as u64, packed.len() as u64));
            assert_eq!(done.digest, hex::encode(Sha256::digest(&packed)));
            let (mut rest, mut frames) = (packed.as_slice(), 0);
            while !rest.is_empty() {
                let content = zstd::zstd_safe::get_frame_content_size(rest).unwrap().unwrap();
                assert!(content <= FRAME as u64);
                rest = &rest[zstd::zstd_safe::find_frame_compressed_size(rest).unwrap()..];
                frames += 1;
            }
            assert_eq!(frames, size.div_ceil(FRAME), "{size}");
        }
    }

    #[test]
    fn what_is_packed_already_and_what_is_empty_is_refused() {
        for (content, expected) in [
            (&b"QFI\xfb\0\0\0\x03"[..], "a qcow2 image"),
            (&[0x1f, 0x8b, 8], "packed by gzip"),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0], "packed by zstd"),
            (&[], "is empty"),
        ] {
            let error = try_it(content).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_that_exists_stays_if_the_image_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("disk.zst");
        std::fs::write(&output, "the last one").unwrap();
        assert!(compress(&folder.path().join("none"), &output, 3).is_err());
        assert!(compress(folder.path(), &output, 3).is_err(), "a folder");
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "the last one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part of a file is left");
    }
}
