//! `oci2root`: unpacks the root file system of an OCI image onto a file system of the disk, while it is pulled. bootc's images
//! are such images. A boot loader comes from another action, such as grub2disk.

use crate::image2disk::oci::{Access, Artifact, PREFIX, Registry, layers};
use crate::image2disk::{self, Patience, SourceError, StreamError, Unpacked, WantedFile};
use crate::inside::{InsideError, Root};
use crate::oci2disk::with_scheme;
use crate::say;
use crate::target::{Target, TargetError};
use crate::unpack::{self, Progressing};
use crate::variables::{VariableError, Variables, unusable_because};
use oci::layer::{self, LayerError};
use oci::manifest::Descriptor;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum OciRootError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("the certificates or the proxy for IMG_URL")]
    Web(#[source] StreamError),
    #[error("IMG_URL")]
    Registry(#[from] SourceError),
    #[error("IMG_URL {image} is not a container image: {problem}")]
    NotAnImage { image: String, problem: String },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("DEST_PATH")]
    Inside(#[from] InsideError),
    #[error("layer {digest} of {image}")]
    Stream {
        digest: String,
        image: String,
        #[source]
        source: StreamError,
    },
    #[error("cannot unpack layer {digest} of {image} onto DEST_DISK {disk}: what was unpacked before stays there")]
    Unpack {
        digest: String,
        image: String,
        disk: PathBuf,
        #[source]
        source: LayerError,
    },
    #[error("cannot write everything to DEST_DISK {disk}")]
    Sync {
        disk: PathBuf,
        #[source]
        source: io::Error,
    },
}

struct Settings {
    image: Artifact,
    access: Access,
    web: image2disk::Web,
    patience: Duration,
    target: Target,
    folder: PathBuf,
    progress_every: Duration,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, OciRootError> {
        let variables = &with_scheme(variables)?;
        let url = variables.text("IMG_URL")?;
        let image = Artifact::parse(url.trim_start_matches(PREFIX));
        let image = image.map_err(|error| unusable_because("IMG_URL", &url, &error))?;
        let folder =
            if variables.optional("DEST_PATH").is_some() { variables.absolute_path("DEST_PATH")? } else { PathBuf::from("/") };
        Ok(Self {
            target: Target::read(variables, "DEST_DISK")?,
            folder,
            progress_every: variables.seconds("PROGRESS_INTERVAL_SECONDS", 3)?,
            access: Access::read(variables)?,
            web: image2disk::web(variables).map_err(OciRootError::Web)?,
            patience: variables.minutes("RETRY_DURATION_MINUTES", 10)?,
            image,
        })
    }
}

/// What the registry has: where each layer is, the lowest one first.
struct Found {
    registry: Registry,
    layers: Vec<Descriptor>,
}

impl Found {
    fn ask(settings: &Settings) -> Result<Self, OciRootError> {
        let patience = Patience::new(settings.patience, Instant::now());
        let registry = Registry::find(&settings.image, &settings.access, &settings.web, patience)?;
        let wrong = |problem| OciRootError::NotAnImage { image: settings.image.to_string(), problem };
        let layers = layers(&registry.manifest).map_err(wrong)?;
        if let Some(other) =
            layers.iter().find(|layer| !layer.media_type.contains("layer") && !layer.media_type.contains("rootfs"))
        {
            return Err(wrong(format!("it has a {:?}, which is not a layer", other.media_type)));
        }
        let layers = layers.iter().map(|layer| Descriptor::of(&layer.digest, layer.size)).collect();
        Ok(Self { registry, layers })
    }
}

pub fn run(variables: &Variables) -> Result<(), OciRootError> {
    let settings = Settings::read(variables)?;
    let (disk, found, start) = (settings.target.appear()?, Found::ask(&settings)?, Instant::now());
    let layers = &found.layers;
    settings.target.inside(&disk, |root| unpack_all(&settings, &found, root, &disk))?;
    let bytes: u64 = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    let (seconds, shown) = (start.elapsed().as_secs_f64().max(0.001), disk.display());
    say(&format!(
        "unpacked {} ({} layers of {} MB) into {} on {shown} in {seconds:.1} s",
        settings.image,
        layers.len(),
        bytes / 1_000_000,
        settings.folder.display()
    ));
    Ok(())
}

/// Asks the registry, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), OciRootError> {
    let settings = Settings::read(variables)?;
    let (disk, found) = (settings.target.appear()?, Found::ask(&settings)?);
    let layers = &found.layers;
    let bytes: u64 = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    let (image, count, folder) = (&settings.image, layers.len(), settings.folder.display());
    say(&format!(
        "would unpack {image} ({count} layers, {bytes} bytes) into {folder} on {}; nothing was written",
        disk.display()
    ));
    Ok(())
}

fn unpack_all(settings: &Settings, found: &Found, root: &Path, disk: &Path) -> Result<(), OciRootError> {
    let folder = Root::open(root)?.folder(&settings.folder)?;
    for (number, layer) in (1..).zip(&found.layers) {
        say(&format!("layer {number} of {}: {} bytes", found.layers.len(), layer.size));
        unpack(settings, &found.registry, layer, &folder, disk)?;
    }
    let synced = rustix::fs::syncfs(&folder).map_err(io::Error::from);
    synced.map_err(|source| OciRootError::Sync { disk: disk.to_owned(), source })
}

/// The layer's bytes are fetched ahead, and checked and decoded here.
fn unpack(settings: &Settings, registry: &Registry, layer: &Descriptor, folder: &File, disk: &Path) -> Result<(), OciRootError> {
    let Settings { image, progress_every, .. } = settings;
    let (digest, name) = (layer.digest.to_string(), image.to_string());
    let wanted = WantedFile {
        urls: vec![registry.blob(&layer.digest)],
        compressed: Some(false),
        checksum: None,
        web: image2disk::Web { session: Some(registry.session.clone()), ..settings.web.clone() },
        patience: Patience::new(settings.patience, Instant::now()),
    };
    let failed = |source| OciRootError::Stream { digest: digest.clone(), image: name.clone(), source };
    let mut stream = Unpacked::open(wanted).map_err(failed)?;
    let tally = stream.tally.clone();
    let progressing = Progressing::new(&mut stream, tally, *progress_every);
    let unpacked = layer::unpack(progressing, layer, &unpack::place(folder), &mut unpack::budget(folder));
    match (unpacked, stream.failure()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(source)) => Err(failed(source)),
        (Err(source), None) => Err(OciRootError::Unpack { digest, image: name, disk: disk.to_owned(), source }),
    }
}
