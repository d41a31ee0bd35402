//! `image2disk`: streams a disk image from a URL or file, through its decoder, onto a disk.
//!
//! - One thread fetches and decodes, and one writes. A few half-megabyte buffers go round between them. Writes bypass
//!   the page cache. Memory does not grow with the image, so a machine of 128 MiB is enough.
//! - What arrives is looked at before anything is erased, and again after unpacking ([`sniff`]). Only a disk image is written.
//! - The disk's first and last MiB are erased first. The first is written last, when everything else is on the disk and the
//!   checksum matches. A half-written disk boots neither the new system nor the old one.
//! - Long runs of zeros become holes (`FALLOC_FL_PUNCH_HOLE`). The kernel guarantees that a hole reads as zeros. If the
//!   disk does not support holes, zeros are written. A discard guarantees nothing, so it is not used. Between
//!   the image and the last MiB the disk stays as it is.
//! - After a dropped connection, a Range request continues the download if the server still has the same file.
//!   Otherwise the whole write starts again. A download that ends early is a failure.

mod ahead;
mod buffer;
mod checksum;
mod chunks;
mod compare;
pub mod decoder;
pub mod format;
mod frames;
pub mod grow;
mod http;
mod input;
pub mod oci;
mod patience;
mod pipeline;
mod progress;
mod proxy;
pub mod qcow2;
mod reader;
mod settings;
mod signed;
pub mod sniff;
mod source;
mod source_error;
mod stream;
pub mod table;
mod target;
mod tls;
mod writer;

pub(crate) use buffer::Buffer;

use crate::device::{self, DeviceError};
use crate::say;
use crate::variables::{VariableError, Variables, unusable_because};
pub(crate) use checksum::{Checksum as FileChecksum, Hasher as FileHasher};
use checksum::{Checksum, Wanted};
use compare::Comparer;
use format::{Format, FormatError};
use grow::GrowError;
pub(crate) use http::{Web, agent as web_agent};
use oci::Artifact;
pub(crate) use patience::Patience;
use pipeline::Totals;
pub(crate) use progress::Progress;
use qcow2::Qcow2Error;
use settings::Settings;
use source::Source;
pub(crate) use source::{Tally, checked};
pub(crate) use source_error::SourceError;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub(crate) use stream::{Hashed, StreamError, Unpacked, Wanted as WantedFile, open, web};
use table::TableError;
use target::{DiskTarget, Target};

/// A list of checksums is a small text.
const LIST_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("IMG_CHECKSUM: cannot read the list {url}")]
    List {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("IMG_CHECKSUM_KEY has not signed the list {url}: {signature} is not its signature. Nothing was erased")]
    Unsigned { url: String, signature: String },
    #[error("IMG_CHECKSUM: the list {url} has no SHA-256 or SHA-512 of {file}")]
    NotListed { url: String, file: String },
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
    #[error("the image of {url} does not fit DEST_DISK {disk}")]
    Table {
        url: String,
        disk: PathBuf,
        #[source]
        source: TableError,
    },
    #[error("IMG_URL {url}")]
    Qcow2 {
        url: String,
        #[source]
        source: Qcow2Error,
    },
    #[error(
        "the parts of the qcow2 image {url} are not in order, and {reason}, so it can be read only once from its start. Put them in \
         order: qemu-img convert -O qcow2 IMAGE new.qcow2"
    )]
    Sequential { url: String, reason: &'static str },
    #[error("the image of {url} is empty. {}", consequence(*.erased))]
    Empty { url: String, erased: bool },
    #[error(
        "what IMG_URL {url} gives is not a disk image. {} is {name}. {remedy}. {}; \
         IMG_FORMAT=raw would write it as it is", subject(*.packed), consequence(*.erased)
    )]
    NotAnImage { url: String, packed: Format, name: &'static str, remedy: &'static str, erased: bool },
    #[error(
        "the image of {url} has {size} bytes, which are not whole sectors of 512 bytes: it is cut off, or not a disk image. \
         IMG_FORMAT=raw would write it as it is"
    )]
    CutSector { url: String, size: u64 },
    #[error(
        "{variable} is {expected}, and what was downloaded has {found}: the disk was left without its first MiB and does not boot"
    )]
    Checksum { variable: &'static str, expected: String, found: String },
    #[error("{variable} is {expected}, and the file in the registry has {found}; nothing was erased")]
    OtherDigest { variable: &'static str, expected: String, found: String },
    #[error("cannot write DEST_DISK {disk} at byte {offset}")]
    Write {
        disk: PathBuf,
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error("{disk} differs from the image at byte {at}: it was written by something else, or the disk is damaged")]
    Different { disk: PathBuf, at: u64 },
    #[error("cannot read DEST_DISK {disk} at byte {offset}")]
    Read {
        disk: PathBuf,
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error(
        "partition {number} of the image has {problem}, which DEST_DISK {disk} with its sectors of {sector} bytes cannot have. Use an \
         image made for {sector}-byte sectors. {}", consequence(*.erased)
    )]
    Unfit { number: u32, problem: String, disk: PathBuf, sector: u64, erased: bool },
    #[error("GROW_FS: the image is on the disk, but its file system did not grow")]
    Grow(#[from] GrowError),
    #[error("the thread that reads the image ended without a result")]
    ReaderGone,
}

fn subject(packed: Format) -> String {
    if packed == Format::Raw { "It".to_owned() } else { format!("Its content, after unpacking {packed},") }
}

fn consequence(erased: bool) -> &'static str {
    if erased { "The disk was left without its first MiB" } else { "Nothing was erased" }
}

impl ImageError {
    /// What the image's end shows, or a download that began again after a part was written.
    fn after_erasing(self) -> Self {
        match self {
            Self::Empty { url, .. } => Self::Empty { url, erased: true },
            Self::NotAnImage { url, packed, name, remedy, .. } => Self::NotAnImage { url, packed, name, remedy, erased: true },
            Self::Unfit { number, problem, disk, sector, .. } => Self::Unfit { number, problem, disk, sector, erased: true },
            other => other,
        }
    }
}

pub fn run(variables: &Variables) -> Result<(), ImageError> {
    let (settings, mut target) = prepare(variables)?;
    let start = Instant::now();
    let mut patience = Patience::new(settings.retry_for, start);
    // It stays so when the write starts again.
    let mut erased = false;
    let totals = loop {
        let mut progress = Progress::new(settings.progress_every, start);
        match pipeline::write(&settings, &mut target, &mut patience, &mut progress, &mut erased) {
            Err(ImageError::Source(reason @ SourceError::CannotContinue { .. })) => {
                let Some(pause) = patience.pause(Instant::now()) else { return Err(reason.into()) };
                say(&format!("{reason}; the write starts again in {} s", pause.as_secs_f32()));
                std::thread::sleep(pause);
            }
            Err(error) if erased => return Err(error.after_erasing()),
            result => break result?,
        }
    };
    if target.is_block_device() {
        device::reread_partitions(&settings.disk, target.file())?;
    }
    // As long as the disk is held, its partitions cannot be mounted.
    drop(target);
    say(&summary(&settings, &totals, start.elapsed()));
    match totals.grown {
        Some(number) if settings.grow_fs => Ok(grow::file_system(&settings.disk, number)?),
        Some(_) => {
            say("its file system grows when the installed system does that (cloud-init, systemd-growfs), or with GROW_FS=true");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Looks at the disk and at the start of the image, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), ImageError> {
    let (settings, target) = prepare(variables)?;
    let plan = pipeline::plan(&settings, &target, &Patience::new(settings.retry_for, Instant::now()))?;
    plan.notes.iter().for_each(|note| say(note));
    let size = plan.size.map_or("an unknown number of".to_owned(), |size| size.to_string());
    let (disk, bytes, content, format) = (settings.disk.display(), target.size(), plan.content, plan.format);
    say(&format!(
        "would write {} ({content}; {size} bytes; {format}) to {disk} ({bytes} bytes); nothing was written",
        settings.url
    ));
    Ok(())
}

/// Compares the disk with what `run` would write to it, and writes nothing.
pub fn verify(variables: &Variables) -> Result<(), ImageError> {
    let settings = Settings { discard: false, ..settle(variables)? };
    let mut comparer = Comparer::open(&settings)?;
    let start = Instant::now();
    let mut patience = Patience::new(settings.retry_for, start);
    loop {
        let mut progress = Progress::new(settings.progress_every, start);
        match pipeline::write(&settings, &mut comparer, &mut patience, &mut progress, &mut false) {
            Err(ImageError::Source(reason @ SourceError::CannotContinue { .. })) => {
                let Some(pause) = patience.pause(Instant::now()) else { return Err(reason.into()) };
                say(&format!("{reason}; the comparison starts again in {} s", pause.as_secs_f32()));
                std::thread::sleep(pause);
                comparer.again();
            }
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    comparer.result()?;
    say(&format!("{} bytes of {} are those of {}", comparer.compared, settings.disk.display(), settings.url));
    Ok(())
}

fn prepare(variables: &Variables) -> Result<(Settings, DiskTarget), ImageError> {
    let settings = settle(variables)?;
    let opened = device::open(&settings.disk)?;
    let target = DiskTarget::new(settings.disk.clone(), opened);
    Ok((settings, target))
}

/// With the checksum and the disk that the variables name.
fn settle(variables: &Variables) -> Result<Settings, ImageError> {
    let mut settings = Settings::read(variables)?;
    settings.checksum = match &settings.wanted {
        Wanted::Nothing => None,
        Wanted::Known(checksum) => Some(checksum.clone()),
        Wanted::List(url) => Some(listed(&settings, url)?),
    };
    if let Some(name) = settings.url.strip_prefix(oci::PREFIX) {
        let artifact = Artifact::parse(name).map_err(|error| unusable_because("IMG_URL", &settings.url, &error))?;
        in_registry(&mut settings, &artifact)?;
    }
    settings.disk = settings.named.appear(device::APPEARS_WITHIN)?;
    Ok(settings)
}

/// From here on, the image is a file of the registry's web server.
fn in_registry(settings: &mut Settings, artifact: &Artifact) -> Result<(), ImageError> {
    let patience = Patience::new(settings.retry_for, Instant::now());
    let found = oci::find(artifact, &settings.access, &settings.web, patience)?;
    match &settings.checksum {
        // The registry has promised something else already.
        Some(wanted) if wanted.algorithm == found.checksum.algorithm && wanted.digits != found.checksum.digits => {
            let (variable, expected) = (wanted.variable, wanted.digits.clone());
            return Err(ImageError::OtherDigest { variable, expected, found: found.checksum.digits });
        }
        Some(_) => {}
        None => settings.checksum = Some(found.checksum),
    }
    (settings.urls, settings.web.session) = (vec![found.url], Some(found.session));
    Ok(())
}

/// The checksum of the image in a list that the server has, and that the operator's key has signed if there is one.
fn listed(settings: &Settings, url: &str) -> Result<Checksum, ImageError> {
    let list = small_file(settings, url)?;
    if let Some((key, signature)) = &settings.signed {
        let signature = signature.clone().unwrap_or_else(|| format!("{url}.sig"));
        if !key.made(&small_file(settings, &signature)?, &list) {
            return Err(ImageError::Unsigned { url: url.to_owned(), signature });
        }
    }
    let path = settings.url.split(['?', '#']).next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    let found = Checksum::in_list(&String::from_utf8_lossy(&list), file);
    found.ok_or_else(|| ImageError::NotListed { url: url.to_owned(), file: file.to_owned() })
}

fn small_file(settings: &Settings, url: &str) -> Result<Vec<u8>, ImageError> {
    let (patience, tally) = (Patience::new(settings.retry_for, Instant::now()), Arc::default());
    let source = Source::open(&[url.to_owned()], &settings.web, patience, None, tally)?;
    let mut bytes = Vec::new();
    let read = source.take(LIST_MAX).read_to_end(&mut bytes);
    read.map_err(|source| ImageError::List { url: url.to_owned(), source })?;
    Ok(bytes)
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
