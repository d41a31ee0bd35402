//! `capture`: makes an image of a disk that `image2disk` installs again.
//!
//! Zeros, and blocks that a clean ext file system or swap does not use, are left out ([`free`]). The image is raw in frames
//! of zstd that decode independently ([`frames`]), or qcow2 in the order in which it can be read while it streams
//! ([`qcow2`]). Its SHA-256 goes beside it, as sha256sum writes it.

mod frames;
pub mod free;
mod qcow2;

use crate::device::{self, DeviceError, Named, Source};
use crate::image2disk::{Progress, Web};
use crate::say;
use crate::upload::{Destination, UploadError};
use crate::variables::{VariableError, Variables, unusable};
use free::Ranges;
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

/// Two threads at the highest one take less than 24 MiB.
const LEVELS: std::ops::RangeInclusive<u32> = 1..=6;

#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("SOURCE_DISK")]
    Device(#[from] DeviceError),
    #[error("SOURCE_DISK: {0} is in use: it or a partition of it is mounted, so its image would be inconsistent")]
    Busy(PathBuf),
    #[error("SOURCE_DISK: {path} has {size} bytes, which are not whole sectors")]
    Size { path: PathBuf, size: u64 },
    #[error("the certificates for DEST_URL")]
    Trust(#[from] trust::TrustError),
    #[error("DEST_URL")]
    Upload(#[from] UploadError),
    #[error("cannot start a thread that compresses")]
    Thread(#[source] io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Zstd,
    Qcow2,
}

struct Settings {
    disk: Named,
    to: Destination,
    format: Format,
    level: i32,
    /// Whether blocks that no file uses are copied, too.
    all: bool,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        const FORMAT: &str = "IMG_FORMAT";
        let (disk, to) = (Named::read(variables, "SOURCE_DISK")?, Destination::read(variables, "DEST_URL")?);
        let format = match variables.optional(FORMAT).map(|_| variables.text(FORMAT)).transpose()?.as_deref() {
            Some("raw.zst") => Format::Zstd,
            Some("qcow2") => Format::Qcow2,
            None if to.name().ends_with(".qcow2") => Format::Qcow2,
            None => Format::Zstd,
            Some(value) => return Err(unusable(FORMAT, value, "raw.zst or qcow2")),
        };
        let level = variables.count("LEVEL", 3, LEVELS)?;
        Ok(Self { disk, to, format, level: level.cast_signed(), all: variables.flag("COPY_FREE")?.unwrap_or(false) })
    }
}

/// What the image is made of.
pub struct Content {
    source: Source,
    free: Ranges,
}

pub fn run(variables: &Variables) -> Result<(), CaptureError> {
    let settings = Settings::read(variables)?;
    let web = Web::read::<CaptureError>(variables)?;
    let mut progress = Progress::new(variables.seconds("PROGRESS_INTERVAL_SECONDS", 3)?, Instant::now());
    let content = open(&settings)?;
    let (start, size, path) = (Instant::now(), content.source.size, content.source.path.clone());
    let mut body = Hashed { inner: image(&settings, content, &mut progress)?, hash: Sha256::new(), sent: 0 };
    settings.to.put(&web, &mut body, None)?;
    let (digest, sent) = (hex::encode(body.hash.finalize()), body.sent);
    let list = format!("{digest}  {}\n", settings.to.name());
    settings.to.beside(".sha256").put(&web, &mut list.as_bytes(), Some(list.len() as u64))?;
    let seconds = start.elapsed().as_secs_f64().max(0.001);
    let speed = size as f64 / 1e6 / seconds;
    say(&format!("captured {size} bytes of {} as {sent} bytes in {seconds:.1} s ({speed:.1} MB/s)", path.display()));
    say(&format!("sha256:{digest}"));
    Ok(())
}

/// Says what `run` would read, and how much of it.
pub fn dry_run(variables: &Variables) -> Result<(), CaptureError> {
    let settings = Settings::read(variables)?;
    Web::read::<CaptureError>(variables)?;
    let Content { source, free } = open(&settings)?;
    let to = match &settings.to {
        Destination::Web(url) => url.clone(),
        Destination::File(path) => path.display().to_string(),
    };
    let format = if settings.format == Format::Qcow2 { "qcow2" } else { "raw in frames of zstd" };
    say(&format!(
        "would read {} of {} bytes of {} ({} bytes are not used by its file systems) and send them to {to} as {format}; nothing \
         was sent",
        source.size.saturating_sub(free.total()),
        source.size,
        source.path.display(),
        free.total()
    ));
    Ok(())
}

fn open(settings: &Settings) -> Result<Content, CaptureError> {
    let disk = settings.disk.appear(device::APPEARS_WITHIN)?;
    let source = device::open_to_read(&disk)?;
    if source.is_busy {
        return Err(CaptureError::Busy(disk));
    }
    if source.size == 0 || !source.size.is_multiple_of(source.sector) {
        return Err(CaptureError::Size { path: disk, size: source.size });
    }
    let mut free = Ranges::default();
    if !settings.all {
        let read = |at: u64, buffer: &mut [u8]| source.file.read_exact_at(buffer, at);
        free = free::of_disk(&read, source.size, source.sector);
    }
    if source.is_file {
        free = free.with(&free::holes(&source.file, source.size));
    }
    Ok(Content { source, free })
}

fn image<'p>(settings: &Settings, content: Content, progress: &'p mut Progress) -> Result<Box<dyn Read + 'p>, CaptureError> {
    Ok(match settings.format {
        Format::Zstd => Box::new(frames::Frames::start(content, settings.level, progress).map_err(CaptureError::Thread)?),
        Format::Qcow2 => Box::new(qcow2::Image::new(content, progress)),
    })
}

impl Content {
    /// Reads the next bytes, with zeros for what is free. `false` if all of them are.
    fn fill(&self, at: u64, buffer: &mut [u8]) -> io::Result<bool> {
        let end = at + buffer.len() as u64;
        let mut from = at;
        let mut is_read = false;
        while from < end {
            let (is_free, until) = self.free.state(from);
            let until = until.min(end);
            let (start, stop) = ((from - at) as usize, (until - at) as usize);
            let part = buffer.get_mut(start..stop).unwrap_or_default();
            if is_free {
                part.fill(0);
            } else {
                let failed = |source| io::Error::other(DeviceError::Read { path: self.source.path.clone(), at: from, source });
                self.source.file.read_exact_at(part, from).map_err(failed)?;
                device::forget(&self.source.file, from, until - from);
                is_read = true;
            }
            from = until;
        }
        Ok(is_read)
    }
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
    sent: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..got).unwrap_or_default());
        self.sent += got as u64;
        Ok(got)
    }
}

fn is_zero(data: &[u8]) -> bool {
    data.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
