//! What is mounted where: the kernel's file systems, files of the host, then the action's volumes in order.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::Host;

/// A Docker bind string, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub source: PathBuf,
    pub destination: PathBuf,
    options: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVolume {
    #[error("volume {0:?} has no absolute destination: write SOURCE:/DESTINATION[:OPTIONS]")]
    Destination(String),
    #[error("volume {volume:?} has the source {name:?}, which is neither an absolute path nor a name")]
    Source { volume: String, name: String },
    #[error("volume {volume:?} has the unknown option {option:?}")]
    Option { volume: String, option: String },
    #[error("volume {0:?} has its destination in /dev, which is the machine's own: choose another path")]
    Dev(String),
}

pub fn volumes(binds: &[String], host: &Host) -> Result<Vec<Volume>, BadVolume> {
    let mut volumes = Vec::new();
    for (number, bind) in binds.iter().enumerate() {
        let volume = parse(bind, number, host)?;
        // The whole of the host's devtmpfs is on /dev; binding parts of it onto themselves asks for what is there.
        if volume.destination.starts_with("/dev") && volume.source == volume.destination {
            continue;
        }
        if volume.destination.starts_with("/dev") {
            return Err(BadVolume::Dev(bind.clone()));
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

fn parse(bind: &str, number: usize, host: &Host) -> Result<Volume, BadVolume> {
    let mut parts = bind.splitn(3, ':');
    let (source, destination, options) = match (parts.next(), parts.next(), parts.next()) {
        (Some(destination), None, _) => (host.anonymous.join(number.to_string()), destination, ""),
        (Some(source), Some(destination), options) => (locate(bind, source, host)?, destination, options.unwrap_or("")),
        (None, ..) => return Err(BadVolume::Destination(bind.to_owned())),
    };
    let destination = absolute(destination).filter(|d| d.parent().is_some());
    let destination = destination.ok_or_else(|| BadVolume::Destination(bind.to_owned()))?;
    Ok(Volume { source, destination, options: self::options(bind, options)? })
}

fn locate(bind: &str, source: &str, host: &Host) -> Result<PathBuf, BadVolume> {
    if let Some(path) = absolute(source) {
        return Ok(path);
    }
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let is_name = source.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && source.bytes().all(name);
    if is_name {
        Ok(host.volumes.join(source))
    } else {
        Err(BadVolume::Source { volume: bind.to_owned(), name: source.to_owned() })
    }
}

/// Absolute, without `..` and needless slashes.
fn absolute(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
        return None;
    }
    Some(path.components().collect())
}

/// Of `ro` and `rw` the last wins; SELinux labels and Docker's caching hints mean nothing here.
fn options(bind: &str, text: &str) -> Result<Vec<String>, BadVolume> {
    let mut access = "rw";
    let mut propagation = "rprivate";
    for option in text.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" | "rw" => access = option,
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => propagation = option,
            "z" | "Z" | "nocopy" | "cached" | "delegated" | "consistent" | "rbind" | "bind" => {}
            _ => return Err(BadVolume::Option { volume: bind.to_owned(), option: option.to_owned() }),
        }
    }
    Ok(["rbind", access, propagation].map(str::to_owned).to_vec())
}

/// `/dev` is a plain tmpfs here; the child puts devtmpfs on top (see `container/child.rs`).
pub fn all(volumes: &[Volume], host: &Host) -> Vec<Value> {
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=64k"] }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"] }),
        json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "rw"] }),
    ];
    let taken = |path: &Path| volumes.iter().any(|v| v.destination == path);
    for file in host.etc.iter().filter(|file| !taken(file)) {
        mounts.push(json!({ "destination": file, "type": "bind", "source": file, "options": ["rbind", "ro"] }));
    }
    for volume in volumes {
        mounts.push(
            json!({ "destination": volume.destination, "type": "bind", "source": volume.source, "options": volume.options }),
        );
    }
    mounts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn host() -> Host {
        Host { volumes: "/run/v".into(), anonymous: "/run/c/a".into(), ..Host::default() }
    }

    fn one(bind: &str) -> Result<Volume, BadVolume> {
        parse(bind, 3, &host())
    }

    #[test]
    fn bind_strings_are_dockers() {
        for (bind, source, destination, access) in [
            ("/worker:/worker", "/worker", "/worker", "rw"),
            ("/lib/modules/:/lib/modules:ro", "/lib/modules", "/lib/modules", "ro"),
            ("data:/data:z,ro,rw", "/run/v/data", "/data", "rw"),
            ("/data", "/run/c/a/3", "/data", "rw"),
        ] {
            let volume = one(bind).unwrap();
            assert_eq!((volume.source, volume.destination), (source.into(), destination.into()), "{bind}");
            assert_eq!(volume.options[1], access, "{bind}");
        }
    }

    #[test]
    fn bad_bind_strings_are_refused_by_part() {
        for bad in ["", "a:b", "./x:/y", "/a/../b:/c", "/a:/b:rq", "/a:/b/../c", "../x:/y", ".hidden:/y", "/a:/"] {
            assert!(one(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_usual_dev_volume_changes_nothing_and_another_one_is_refused() {
        let usual = ["/dev:/dev".to_owned(), "/dev/shm:/dev/shm".to_owned()];
        assert_eq!(volumes(&usual, &host()), Ok(vec![]));
        for hidden in ["/x:/dev", "/x:/dev/x"] {
            assert!(matches!(volumes(&[hidden.to_owned()], &host()), Err(BadVolume::Dev(_))), "{hidden}");
        }
    }
}
