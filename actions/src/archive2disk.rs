//! `archive2disk`: unpacks a tar archive onto a file system while it is downloaded, with owners, modes, extended attributes,
//! hard links, holes and devices. No entry leaves the folder that it is unpacked into.

use crate::image2disk::{self, FileChecksum, FileHasher, Hashed, Patience, StreamError, Unpacked, WantedFile, checked, sniff};
use crate::inside::{InsideError, Root};
use crate::say;
use crate::target::{Target, TargetError};
use crate::unpack::{self, Progressing};
use crate::variables::{VariableError, Variables, unusable};
use oci::layer::{self, LayerError};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("DEST_PATH")]
    Inside(#[from] InsideError),
    #[error("ARCHIVE_URL")]
    Stream(#[from] StreamError),
    #[error("what ARCHIVE_URL {url} gives is not a tar archive but {name}; nothing was written")]
    NotAnArchive { url: String, name: &'static str },
    #[error("cannot unpack {url} into {folder} of DEST_DISK {disk}: what was unpacked before stays there")]
    Unpack {
        url: String,
        folder: PathBuf,
        disk: PathBuf,
        #[source]
        source: LayerError,
    },
    #[error("cannot read the rest of {url}")]
    Rest {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{variable} is {expected}, and the archive has {found}: make the file system on DEST_DISK {disk} again, because the \
         archive's files are on it"
    )]
    Checksum { variable: &'static str, expected: String, found: String, disk: PathBuf },
}

struct Settings {
    url: String,
    file: WantedFile,
    target: Target,
    folder: PathBuf,
    /// Of the archive before or after its compression.
    checksum: Option<FileChecksum>,
    progress_every: Duration,
}

const CHECKSUM: &str = "TARFILE_CHECKSUM";

impl Settings {
    fn read(variables: &Variables) -> Result<Self, ArchiveError> {
        let urls = checked("ARCHIVE_URL", &variables.text("ARCHIVE_URL")?)?;
        let checksum = checksum(variables)?;
        kind(variables)?;
        let folder =
            if variables.optional("DEST_PATH").is_some() { variables.absolute_path("DEST_PATH")? } else { PathBuf::from("/") };
        let patience = variables.minutes("HTTP_CLIENT_TIMEOUT_MINUTES", 5)?;
        Ok(Self {
            url: urls.first().cloned().unwrap_or_default(),
            target: Target::read(variables, "DEST_DISK")?,
            folder,
            file: WantedFile {
                urls,
                compressed: None,
                checksum: checksum.clone(),
                web: image2disk::web(variables)?,
                patience: Patience::new(patience, Instant::now()),
            },
            checksum,
            progress_every: variables.seconds("PROGRESS_INTERVAL_SECONDS", 3)?,
        })
    }
}

/// As upstream: without a checksum only if that is said.
fn checksum(variables: &Variables) -> Result<Option<FileChecksum>, VariableError> {
    let unchecked = variables.flag("INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION")?.unwrap_or(false);
    if unchecked && variables.optional(CHECKSUM).is_none() {
        return Ok(None);
    }
    let text = variables.text(CHECKSUM)?;
    let wanted = "sha256: and 64 or sha512: and 128 hexadecimal digits";
    let checksum = FileChecksum::named(CHECKSUM, &text).ok_or_else(|| unusable(CHECKSUM, &text, wanted))?;
    Ok((!unchecked).then_some(checksum))
}

/// The first bytes decide, so a value is only checked for being one.
fn kind(variables: &Variables) -> Result<(), VariableError> {
    const NAME: &str = "ARCHIVE_TYPE";
    const KINDS: &[&str] = &["tar", "targz", "tarxz", "tarzst", "tarbz2", "auto"];
    if variables.optional(NAME).is_none() {
        return Ok(());
    }
    let text = variables.text(NAME)?;
    let plain: String = text.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    if KINDS.contains(&plain.as_str()) {
        return Ok(());
    }
    Err(unusable(NAME, &text, "tar, targz, tarxz, tarzst, tarbz2 or auto: the first bytes decide in any case"))
}

pub fn run(variables: &Variables) -> Result<(), ArchiveError> {
    let settings = Settings::read(variables)?;
    let disk = settings.target.appear()?;
    let start = Instant::now();
    let mut archive = begin(&settings)?;
    let count = settings.target.inside(&disk, |root| unpack_into(&settings, root, &disk, &mut archive))?;
    let seconds = start.elapsed().as_secs_f64().max(0.001);
    let (mb, rate) = (count.bytes / 1_000_000, count.bytes as f64 / 1e6 / seconds);
    say(&format!(
        "unpacked {} entries, {mb} MB, of {} into {} on {} in {seconds:.1} s ({rate:.1} MB/s)",
        count.entries,
        settings.url,
        settings.folder.display(),
        disk.display()
    ));
    Ok(())
}

/// Looks at the disk and at the start of the archive, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), ArchiveError> {
    let settings = Settings::read(variables)?;
    let disk = settings.target.appear()?;
    let Begun { stream, .. } = begin(&settings)?;
    let (url, folder, format) = (&settings.url, settings.folder.display(), stream.format);
    say(&format!("would unpack {url} (tar; {format}) into {folder} on {}; nothing was written", disk.display()));
    Ok(())
}

/// An archive that has begun, and is one.
struct Begun {
    start: Vec<u8>,
    stream: Unpacked,
}

fn begin(settings: &Settings) -> Result<Begun, ArchiveError> {
    let mut stream = Unpacked::open(settings.file.clone())?;
    let mut start = vec![0; sniff::START];
    let got = oci::archive::fill(&mut stream, &mut start).map_err(|source| rest(&mut stream, settings, source))?;
    start.truncate(got);
    match sniff::archive(&start) {
        None => Ok(Begun { start, stream }),
        Some(name) => Err(ArchiveError::NotAnArchive { url: settings.url.clone(), name }),
    }
}

/// The stream knows better than the reader why it ended.
fn rest(stream: &mut Unpacked, settings: &Settings, source: io::Error) -> ArchiveError {
    match stream.failure() {
        Some(error) => error.into(),
        None => ArchiveError::Rest { url: settings.url.clone(), source },
    }
}

fn unpack_into(settings: &Settings, root: &Path, disk: &Path, begun: &mut Begun) -> Result<layer::Count, ArchiveError> {
    let folder = Root::open(root)?.folder(&settings.folder)?;
    let (place, mut budget) = (unpack::place(&folder), unpack::budget(&folder));
    let Begun { start, stream } = begun;
    let tally = stream.tally.clone();
    let hash = settings.checksum.as_ref().map(FileChecksum::hasher);
    let mut archive = Hashed { inner: io::Cursor::new(std::mem::take(start)).chain(&mut *stream), hash };
    let progressing = Progressing::new(&mut archive, tally, settings.progress_every);
    let unpacked = layer::unpack_plain(progressing, &place, &mut budget);
    let ended = unpacked.map_err(|source| ArchiveError::Unpack {
        url: settings.url.clone(),
        folder: settings.folder.clone(),
        disk: disk.to_owned(),
        source,
    });
    let ended = ended.and_then(|count| Ok((count, digests(&mut archive, settings)?)));
    drop(archive);
    let (count, mut found) = match (ended, stream.failure()) {
        (Err(_), Some(error)) => return Err(error.into()),
        (other, _) => other?,
    };
    found.extend(stream.digest.take());
    verify(settings, disk, found)?;
    sync(&folder).map_err(|source| ArchiveError::Rest { url: settings.url.clone(), source })?;
    Ok(count)
}

fn sync(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// The hash of the archive up to its end, which is what upstream compares, and with all that follows, as sha256sum has it.
fn digests(archive: &mut Hashed<impl Read>, settings: &Settings) -> Result<Vec<String>, ArchiveError> {
    let failed = |source| ArchiveError::Rest { url: settings.url.clone(), source };
    // The first of the two blocks of zeros has been read.
    let mut block = [0; 512];
    oci::archive::fill(archive, &mut block).map_err(failed)?;
    let to_its_end = archive.hash.clone();
    io::copy(archive, &mut io::sink()).map_err(failed)?;
    let hashes = [to_its_end, archive.hash.take()];
    Ok(hashes.into_iter().flatten().map(FileHasher::finish).collect())
}

fn verify(settings: &Settings, disk: &Path, found: Vec<String>) -> Result<(), ArchiveError> {
    let Some(expected) = &settings.checksum else { return Ok(()) };
    if found.contains(&expected.digits) {
        return Ok(());
    }
    let (variable, digits) = (expected.variable, expected.digits.clone());
    let mut found = found;
    found.dedup();
    Err(ArchiveError::Checksum { variable, expected: digits, found: found.join(" or "), disk: disk.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn read(more: &[(&str, &str)]) -> Result<Settings, String> {
        let mut all = [("ARCHIVE_URL", "/a.tar"), ("DEST_DISK", "/dev/x1"), ("FS_TYPE", "ext4"), ("A", ""), ("B", "")];
        all.iter_mut().skip(3).zip(more).for_each(|(place, value)| *place = *value);
        Settings::read(&Variables::of(all)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_checksum_is_left_out_only_on_purpose() {
        assert!(read(&[]).err().unwrap().starts_with("TARFILE_CHECKSUM is not set"));
        assert!(read(&[("INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION", "true")]).unwrap().checksum.is_none());
        assert!(read(&[(CHECKSUM, SUM)]).unwrap().checksum.is_some());
        assert!(read(&[(CHECKSUM, "md5:00")]).err().unwrap().contains("is not usable: wanted sha256:"));
    }

    #[test]
    fn the_type_of_an_archive_is_one_of_a_few() {
        for (kind, good) in [("tar", true), ("targz", true), ("TAR.GZ", true), ("tar.zst", true), ("zip", false)] {
            assert_eq!(read(&[(CHECKSUM, SUM), ("ARCHIVE_TYPE", kind)]).is_ok(), good, "{kind}");
        }
    }
}
