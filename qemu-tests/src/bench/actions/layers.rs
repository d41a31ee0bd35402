//! A root file system of many files: as an OCI layout for umoci, and in a registry of this host for oci2root.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{FOLDER, Row, shell};
use crate::command::output;
use crate::registry::Registry;

/// Another one than that of the scenarios, which run in segments of their own.
const PORT: u16 = 5057;
const FILES: u32 = 20_000;
/// Of the folder, and of the image.
const NAME: &str = "root";

pub struct Served {
    registry: Registry,
    /// Of all files.
    bytes: u64,
}

impl Served {
    pub fn start(folder: &Path) -> Result<Self> {
        println!("== an image with {FILES} files of this host's /usr");
        let find = format!("cd / && find usr -xdev '(' -type f -o -type l ')' -size -1024k | sort | head -n {FILES}");
        shell(&format!("mkdir {NAME}; ({find} | tar -C / -cf - -T -) | tar -C {NAME} -xf -"))?;
        shell(&format!(
            "umoci init --layout layout; umoci new --image layout:{NAME}; umoci insert --image layout:{NAME} {NAME} /"
        ))?;
        let size = output(Command::new("du").args(["-s", "--apparent-size", "-B1", NAME]).current_dir(folder))?;
        let bytes = size.split_whitespace().next().and_then(|word| word.parse().ok()).context("du says no size")?;
        let registry = Registry::start_at(&folder.join("registry"), SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))?;
        let to = registry.reference(&format!("{NAME}:1"));
        let copy = "skopeo --insecure-policy copy -q --dest-tls-verify=false";
        shell(&format!("{copy} oci:layout:{NAME} docker://{to}; rm -r {NAME}"))?;
        Ok(Self { registry, bytes })
    }

    /// Both end when the file system has everything and is not mounted. `first` is the number of the first row.
    pub fn rows(&self, first: usize, actions: &Path, disk: &str) -> Vec<Row> {
        let before = format!("mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 {disk}; mkdir -p mounted");
        let umoci =
            format!("mount {disk} mounted; umoci raw unpack --image layout:{NAME} mounted/{NAME} 2> umoci.log; umount mounted");
        let (image, program) = (self.registry.reference(&format!("{NAME}:1")), actions.display());
        let oci2root = format!("exec env IMG_URL=http://{image} DEST_DISK={disk} FS_TYPE=ext4 {program} oci2root");
        let row = |name, floor, script: String| Row {
            name,
            floor,
            bytes: self.bytes,
            before: before.clone(),
            command: vec!["sh".to_owned(), "-ec".to_owned(), format!("cd {FOLDER}; {script}")],
        };
        vec![row("umoci raw unpack, ext4", None, umoci), row("oci2root, ext4", Some(first), oci2root)]
    }
}
