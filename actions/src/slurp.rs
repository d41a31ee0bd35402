//! `slurp`: uploads a disk as it is, byte for byte, in the form that upstream's server takes.

use crate::device::{self, DeviceError, Named, Source};
use crate::image2disk::{Progress, Web};
use crate::say;
use crate::upload::{self, Destination, UploadError};
use crate::variables::{VariableError, Variables, unusable};
use flate2::Compression;
use flate2::read::GzEncoder;
use std::io::{self, Read};
use std::time::Instant;

/// The field of the form, and what ends its parts.
const FIELD: &str = "BootyImage";
const BOUNDARY: &str = "thimble-slurp-5f0c1d7a9e";

#[derive(Debug, thiserror::Error)]
pub enum SlurpError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("SOURCE_DISK")]
    Device(#[from] DeviceError),
    #[error("the certificates for DEST_URL")]
    Trust(#[from] trust::TrustError),
    #[error("DEST_URL")]
    Upload(#[from] UploadError),
}

struct Settings {
    disk: Named,
    to: Destination,
    /// Without its suffix.
    name: String,
    compressed: bool,
    progress: Progress,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let (disk, to) = (Named::read(variables, "SOURCE_DISK")?, destination(variables)?);
        let name = variables.text("IMG_NAME")?;
        if name.contains(['/', '"', '\\']) || name.chars().any(char::is_control) {
            return Err(unusable("IMG_NAME", &name, "a name without / and quotes"));
        }
        let progress = Progress::new(variables.seconds("PROGRESS_INTERVAL_SECONDS", 3)?, Instant::now());
        Ok(Self { disk, to, name, compressed: variables.flag("COMPRESSED")?.unwrap_or(false), progress })
    }

    fn file(&self) -> String {
        format!("{}.img{}", self.name, if self.compressed { ".gz" } else { "" })
    }
}

/// A folder may be named with a `/` at its end: the image has a name of its own.
fn destination(variables: &Variables) -> Result<Destination, VariableError> {
    let text = variables.text("DEST_URL")?;
    let path = text.strip_prefix("file://").unwrap_or(&text);
    if path.starts_with('/') && path.ends_with('/') {
        Ok(Destination::File(path.into()))
    } else {
        Destination::read(variables, "DEST_URL")
    }
}

pub fn run(variables: &Variables) -> Result<(), SlurpError> {
    let mut settings = Settings::read(variables)?;
    let web = Web::read::<SlurpError>(variables)?;
    let disk = settings.disk.appear(device::APPEARS_WITHIN)?;
    let source = device::open_to_read(&disk)?;
    if source.is_busy {
        say(&format!("warning: {} is in use, so its copy may be inconsistent", disk.display()));
    }
    let (size, file) = (source.size, settings.file());
    let reported = Reported { source, progress: &mut settings.progress };
    let start = Instant::now();
    let mut body: Box<dyn Read + '_> =
        if settings.compressed { Box::new(GzEncoder::new(reported, Compression::fast())) } else { Box::new(reported) };
    match &settings.to {
        Destination::File(path) => {
            let path = if path.is_dir() { path.join(&file) } else { path.clone() };
            Destination::File(path).put(&web, &mut body, None)?;
        }
        Destination::Web(url) => {
            let (head, tail) = form(&file);
            let length = (!settings.compressed).then(|| size + (head.len() + tail.len()) as u64);
            let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
            let mut form = head.as_bytes().chain(body).chain(tail.as_bytes());
            upload::post(&web, url, &content_type, &mut form, length)?;
        }
    }
    say(&format!("uploaded {size} bytes of {} as {file} in {:.1} s", disk.display(), start.elapsed().as_secs_f64()));
    Ok(())
}

/// Says what `run` would send where.
pub fn dry_run(variables: &Variables) -> Result<(), SlurpError> {
    let settings = Settings::read(variables)?;
    Web::read::<SlurpError>(variables)?;
    let disk = settings.disk.appear(device::APPEARS_WITHIN)?;
    let source = device::open_to_read(&disk)?;
    let to = match &settings.to {
        Destination::Web(url) => url.clone(),
        Destination::File(path) => path.display().to_string(),
    };
    say(&format!("would send {} bytes of {} to {to} as {}; nothing was sent", source.size, disk.display(), settings.file()));
    Ok(())
}

/// What comes before and after the image (RFC 7578).
fn form(file: &str) -> (String, String) {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{FIELD}\"; filename=\"{file}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    (head, format!("\r\n--{BOUNDARY}--\r\n"))
}

/// Says how far it is.
struct Reported<'p> {
    source: Source,
    progress: &'p mut Progress,
}

impl Read for Reported<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.progress.report(self.source.at, Some(self.source.size), Instant::now());
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_upstreams_name() {
        let settings = |compressed: &str| {
            let all =
                [("SOURCE_DISK", "/dev/vda"), ("DEST_URL", "http://a/image"), ("IMG_NAME", "web"), ("COMPRESSED", compressed)];
            Settings::read(&Variables::of(all)).unwrap().file()
        };
        assert_eq!((settings("").as_str(), settings("true").as_str()), ("web.img", "web.img.gz"));
    }

    #[test]
    fn a_name_that_would_end_its_quotes_is_refused() {
        for name in ["a\"b", "../a", "a\nb"] {
            let all = [("SOURCE_DISK", "/dev/vda"), ("DEST_URL", "http://a/image"), ("IMG_NAME", name)];
            assert!(Settings::read(&Variables::of(all)).err().unwrap().to_string().starts_with("IMG_NAME="), "{name}");
        }
    }
}
