//! What can go wrong in a build, in words for an operator.

use crate::architecture::Architecture;
use crate::embed::EmbedError;
use crate::fat;
use crate::firmware::FirmwareError;
use crate::listing::NoDevice;
use crate::modules::ModuleError;
use crate::recipe::RecipeError;
use crate::rescue::RescueError;
use crate::sign::SignError;
use crate::source::SourceError;
use crate::uki::UkiError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {file} of the kernel package {package}")]
    Package {
        package: PathBuf,
        file: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{0} holds no kernel (vmlinuz); where it is split, all parts are needed: Ubuntu's packages linux-image-* and \
         linux-modules-*, since Debian 14 linux-binary-*, linux-modules-* and linux-base-*"
    )]
    NoKernel(PathBuf),
    #[error("{path} holds more than one kernel: {}; give a package or a folder with one", .versions.join(", "))]
    SeveralKernels { path: PathBuf, versions: Vec<String> },
    #[error("the kernel of {path} is built without {option}, which the ramdisk needs")]
    MissingOption { path: PathBuf, option: String },
    #[error("{path} does not fit")]
    Modules {
        path: PathBuf,
        #[source]
        source: ModuleError,
    },
    #[error("{name} is not a family of drivers; the families are {}", .known.join(", "))]
    Family { name: String, known: Vec<&'static str> },
    #[error("{path} lists no hardware")]
    Listing {
        path: PathBuf,
        #[source]
        source: NoDevice,
    },
    #[error("{path}")]
    Recipe {
        path: PathBuf,
        #[source]
        source: RecipeError,
    },
    #[error("{program} is for {found}, and the kernel of {package} for {needed}: both have to be for one processor")]
    Architecture { program: PathBuf, found: Architecture, package: PathBuf, needed: Architecture },
    #[error("cannot read the CA bundle {path}; install the package ca-certificates, or name one with --ca FILE, or --ca none")]
    Ca {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a certificate in PEM form")]
    NoCertificate { path: PathBuf },
    #[error(transparent)]
    Uki(#[from] UkiError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("cannot make a folder for what is to be signed")]
    Scratch(#[source] io::Error),
    #[error("cannot read the boot loader {path}; install the packages isolinux and syslinux-common")]
    BootLoader {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Fat(#[from] fat::TooLarge),
    #[error("cannot put firmware into the ramdisk")]
    Firmware(#[from] FirmwareError),
    #[error("cannot put an image into the ramdisk")]
    Embed(#[from] EmbedError),
    #[error("cannot put a rescue shell into the ramdisk")]
    Rescue(#[from] RescueError),
    #[error("cannot compress the ramdisk")]
    Compress(#[source] io::Error),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}
