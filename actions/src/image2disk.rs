//! `image2disk`: streams a disk image from a URL or file, through its decoder, onto a disk.
//!
//! - One thread fetches and decodes, and one writes. A few half-megabyte buffers go round between them. Writes bypass
//!   the page cache. Memory does not grow with the image, so a machine of 128 MiB is enough.
//! - The disk's first MiB is erased first. It is written last, when everything else is on the disk and the checksum
//!   matches. A half-written disk boots neither the new system nor the old one.
//! - Long runs of zeros become holes (`FALLOC_FL_PUNCH_HOLE`). The kernel guarantees that a hole reads as zeros. If the
//!   disk does not support holes, zeros are written. A discard guarantees nothing, so it is not used. The disk behind
//!   the image stays as it is.
//! - After a dropped connection, a Range request continues the download if the server still has the same file.
//!   Otherwise the whole write starts again. A download that ends early is a failure.

mod buffer;
mod decoder;
mod format;
mod http;
mod patience;
mod pipeline;
mod progress;
mod source;
mod source_error;
mod target;
mod tls;
mod writer;

use crate::device::{self, DeviceError};
use crate::say;
use crate::variables::{VariableError, Variables, unusable};
use format::{Format, FormatError};
use patience::Patience;
use pipeline::Totals;
use progress::Progress;
use source_error::SourceError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use target::DiskTarget;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Device(#[from] DeviceError),
    #[error("the certificates for IMG_URL")]
    Trust(#[from] trust::TrustError),
    #[error("IMG_URL")]
    Source(#[from] SourceError),
    #[error("IMG_URL {url}")]
    Format {
        url: String,
        #[source]
        source: FormatError,
    },
    #[error(
        "to decode the image, {format} needs {} of memory, and {limit} bytes are available; \
         compress it with a smaller window (zstd -19 without --ultra or --long, xz -6)",
        .needed.map_or("more".to_owned(), |needed| format!("a window of {needed} bytes"))
    )]
    Window { format: Format, needed: Option<u64>, limit: u64 },
    #[error("the image of {url} is damaged or cut off: its {format} data does not decode")]
    Decode {
        url: String,
        format: Format,
        #[source]
        source: io::Error,
    },
    #[error("the image has {} bytes, and DEST_DISK {disk} has {size}", if *.exact { image.to_string() } else { format!("at least {image}") })]
    TooLarge { image: u64, exact: bool, disk: PathBuf, size: u64 },
    #[error("the image of {0} is empty")]
    Empty(String),
    #[error(
        "IMG_SHA256 is {expected}, and what was downloaded has {found}: the disk was left without its first MiB and does not boot"
    )]
    Checksum { expected: String, found: String },
    #[error("cannot write DEST_DISK {disk} at byte {offset}")]
    Write {
        disk: PathBuf,
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error("the thread that reads the image ended without a result")]
    ReaderGone,
}

#[derive(Debug, Clone)]
struct Settings {
    url: String,
    disk: PathBuf,
    compressed: Option<bool>,
    sha256: Option<String>,
    tls: Arc<rustls::ClientConfig>,
    /// How long nothing may arrive before the action fails. Zero disables retries.
    retry_for: Duration,
    progress_every: Duration,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, ImageError> {
        let retry = variables.flag("RETRY_ENABLED")?.unwrap_or(true);
        let retry_for = variables.minutes("RETRY_DURATION_MINUTES", 10)?;
        // The output is text in any case, but a misspelt value is still an error.
        variables.flag("TEXT_LOGGING")?;
        Ok(Self {
            url: source::checked(variables.text("IMG_URL")?)?,
            disk: variables.absolute_path("DEST_DISK")?,
            compressed: variables.flag("COMPRESSED")?,
            sha256: checksum(variables)?,
            tls: tls::config(variables)?,
            retry_for: if retry { retry_for } else { Duration::ZERO },
            progress_every: variables.seconds("PROGRESS_INTERVAL_SECONDS", 3)?,
        })
    }
}

fn checksum(variables: &Variables) -> Result<Option<String>, VariableError> {
    if variables.optional("IMG_SHA256").is_none() {
        return Ok(None);
    }
    let text = variables.text("IMG_SHA256")?;
    let digits = text.trim().trim_start_matches("sha256:").to_ascii_lowercase();
    if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(Some(digits));
    }
    Err(unusable("IMG_SHA256", &text, "64 hexadecimal digits"))
}

pub fn run(variables: &Variables) -> Result<(), ImageError> {
    let settings = Settings::read(variables)?;
    device::wait_for(&settings.disk, device::APPEARS_WITHIN)?;
    let opened = device::open(&settings.disk)?;
    let mut target = DiskTarget::new(settings.disk.clone(), opened);
    let start = Instant::now();
    let mut patience = Patience::new(settings.retry_for, start);
    let totals = loop {
        match pipeline::write(&settings, &mut target, &mut patience, &mut Progress::new(settings.progress_every, start)) {
            Err(ImageError::Source(reason @ SourceError::CannotContinue { .. })) => {
                let Some(pause) = patience.pause(Instant::now()) else { return Err(reason.into()) };
                say(&format!("{reason}; the write starts again in {} s", pause.as_secs_f32()));
                std::thread::sleep(pause);
            }
            result => break result?,
        }
    };
    if target.is_block_device() {
        device::reread_partitions(&settings.disk, target.file())?;
    }
    say(&summary(&settings, &totals, start.elapsed()));
    Ok(())
}

fn summary(settings: &Settings, totals: &Totals, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    format!(
        "wrote {} bytes to {} from {} bytes of {} in {seconds:.1} s ({:.1} MB/s)",
        totals.written,
        settings.disk.display(),
        totals.read,
        totals.format,
        totals.written as f64 / 1e6 / seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(values: [(&str, &str); N]) -> Result<Settings, String> {
        Settings::read(&Variables::of(values)).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_have_tinkerbells_defaults() {
        let settings = read([("IMG_URL", "http://boots:7080/files/d.zst"), ("DEST_DISK", "/dev/vda")]).unwrap();
        assert_eq!(settings.retry_for, Duration::from_secs(600));
        assert_eq!(settings.progress_every, Duration::from_secs(3));
        assert_eq!(settings.compressed, None);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (case, values, expected) in [
            ("no URL", [("DEST_DISK", "/dev/vda"), ("X", "")], "IMG_URL is not set"),
            ("no disk", [("IMG_URL", "http://a/b"), ("X", "")], "DEST_DISK is not set"),
            ("a relative disk", [("IMG_URL", "http://a/b"), ("DEST_DISK", "vda")], "DEST_DISK=\"vda\" is not usable"),
            ("another scheme", [("IMG_URL", "ftp://a/b"), ("DEST_DISK", "/dev/vda")], "IMG_URL=\"ftp://a/b\" is not usable"),
        ] {
            let error = read(values).unwrap_err();
            assert!(error.starts_with(expected), "{case}: {error}");
        }
        let sum = [("IMG_URL", "/a"), ("DEST_DISK", "/dev/vda"), ("IMG_SHA256", "abc")];
        assert!(read(sum).unwrap_err().starts_with("IMG_SHA256=\"abc\" is not usable"));
    }
}
