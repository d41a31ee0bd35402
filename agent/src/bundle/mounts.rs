//! The mounts of a container: the kernel's file systems, files of the host, then the action's volumes in order.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::Host;

/// A parsed bind string of Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub source: PathBuf,
    pub destination: PathBuf,
    read_only: bool,
    shared: bool,
}

impl Volume {
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    fn options(&self) -> &'static [&'static str] {
        // With `rro`, mounts below a read-only volume are read-only, too, as in Docker since 25.
        if self.read_only { &["rbind", "ro", "rro"] } else { &["rbind", "rw"] }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVolume {
    #[error("volume {0:?} has no absolute destination: write SOURCE:/DESTINATION[:OPTIONS]")]
    Destination(String),
    #[error("volume {volume:?} has the source {name:?}, which is neither an absolute path nor a name")]
    Source { volume: String, name: String },
    #[error("volume {volume:?} has the unknown option {option:?}")]
    Option { volume: String, option: String },
    #[error("volume {0:?} has its destination in /dev, which belongs to the machine: choose another path")]
    Dev(String),
}

pub fn volumes(binds: &[String], host: &Host) -> Result<Vec<Volume>, BadVolume> {
    let mut volumes = Vec::new();
    for (number, bind) in binds.iter().enumerate() {
        let volume = parse(bind, number, host)?;
        // The host's whole devtmpfs is on /dev already, so binding a part of it onto itself changes nothing.
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
    let (read_only, shared) = self::options(bind, options)?;
    Ok(Volume { source, destination, read_only, shared })
}

/// What a bind string would show of the machine, if it is more than a volume of the workflow. It is parsed by the same code
/// as for mounting, so no spelling can mean different things in the two places.
pub fn shows_of_the_machine(bind: &str) -> Option<&'static str> {
    let (source, rest) = bind.split_once(':')?;
    if !is_name(source) {
        return Some("its paths");
    }
    let options = rest.split_once(':').map_or("", |(_, options)| options);
    match self::options(bind, options) {
        Ok((_, shared)) => shared.then_some("its mounts"),
        Err(_) => None, // mounting it will refuse it
    }
}

/// Docker's rule for names of volumes.
fn is_name(source: &str) -> bool {
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    source.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && source.bytes().all(name)
}

fn locate(bind: &str, source: &str, host: &Host) -> Result<PathBuf, BadVolume> {
    if let Some(path) = absolute(source) {
        return Ok(path);
    }
    if is_name(source) {
        Ok(host.volumes.join(source))
    } else {
        Err(BadVolume::Source { volume: bind.to_owned(), name: source.to_owned() })
    }
}

/// The path if it is absolute, without `..` and needless slashes.
fn absolute(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
        return None;
    }
    Some(path.components().collect())
}

/// The two values are read-only and shared. The last of `ro` and `rw` wins. SELinux labels and Docker's caching hints have
/// no effect.
fn options(bind: &str, text: &str) -> Result<(bool, bool), BadVolume> {
    let (mut read_only, mut shared) = (false, false);
    for option in text.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" | "rw" => read_only = option == "ro",
            // Every volume shows later mounts of the machine. By default nothing propagates in the other direction.
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => shared = option.ends_with("shared"),
            "z" | "Z" | "nocopy" | "volume-nocopy" => {}
            "cached" | "delegated" | "consistent" | "default" | "rbind" | "bind" => {}
            _ => return Err(BadVolume::Option { volume: bind.to_owned(), option: option.to_owned() }),
        }
    }
    Ok((read_only, shared))
}

/// libcontainer cannot set propagation per mount. A shared volume needs a root that is not private.
pub fn root_propagation(volumes: &[Volume]) -> &'static str {
    if volumes.iter().any(Volume::is_shared) { "shared" } else { "slave" }
}

/// Here `/dev` is a plain tmpfs. Unless the action is confined, the child mounts devtmpfs over it (see
/// `container/child.rs`).
pub fn all(volumes: &[Volume], host: &Host, privileged: bool) -> Vec<Value> {
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=64k"] }),
    ];
    if !privileged {
        mounts.extend(below_dev());
    }
    mounts.push(if privileged {
        json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "rw"] })
    } else {
        json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro", "rro", "nosuid", "noexec", "nodev"] })
    });
    let bind = |source: &Path, destination: &Path, options: &[&str]| json!({ "destination": destination, "type": "bind", "source": source, "options": options });
    // A volume inside a read-only folder would have no mount point there.
    let needed = |path: &Path| volumes.iter().any(|v| v.destination.starts_with(path));
    let drivers = host.drivers.iter().filter(|(tree, seen)| privileged && !needed(tree) && !needed(seen));
    mounts.extend(drivers.map(|(tree, seen)| bind(tree, seen, &["rbind", "ro", "rro"])));
    mounts.extend(volumes.iter().map(|v| bind(&v.source, &v.destination, v.options())));
    mounts
}

/// The mounts of every container below `/dev`.
pub fn below_dev() -> [Value; 2] {
    [
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"] }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host { volumes: "/run/v".into(), anonymous: "/run/c/a".into(), ..Host::default() }
    }

    fn one(bind: &str) -> Result<Volume, BadVolume> {
        parse(bind, 3, &host())
    }

    #[test]
    fn bind_strings_have_dockers_syntax() {
        for (bind, source, destination, read_only, shared) in [
            ("/worker:/worker", "/worker", "/worker", false, false),
            ("/lib/modules/:/lib/modules:ro", "/lib/modules", "/lib/modules", true, false),
            ("data:/data:z,ro,rw", "/run/v/data", "/data", false, false),
            ("/data", "/run/c/a/3", "/data", false, false),
            ("/mnt:/mnt:rw,rshared,nocopy,delegated", "/mnt", "/mnt", false, true),
            ("/mnt:/mnt:rshared,rslave,Z", "/mnt", "/mnt", false, false),
        ] {
            let volume = one(bind).unwrap();
            assert_eq!(volume, Volume { source: source.into(), destination: destination.into(), read_only, shared }, "{bind}");
        }
        assert_eq!(one("/a:/b:rq"), Err(BadVolume::Option { volume: "/a:/b:rq".into(), option: "rq".into() }));
    }

    #[test]
    fn bad_bind_strings_are_refused_by_part() {
        for bad in ["", "a:b", "./x:/y", "/a/../b:/c", "/a:/b:rq", "/a:/b/../c", "../x:/y", ".hidden:/y", "/a:/"] {
            assert!(one(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_usual_dev_volume_changes_nothing_and_other_ones_are_refused() {
        let usual = ["/dev:/dev".to_owned(), "/dev/shm:/dev/shm".to_owned()];
        assert_eq!(volumes(&usual, &host()), Ok(vec![]));
        for hidden in ["/x:/dev", "/x:/dev/x"] {
            assert!(matches!(volumes(&[hidden.to_owned()], &host()), Err(BadVolume::Dev(_))), "{hidden}");
        }
    }
}
