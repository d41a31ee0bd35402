//! Prepares what a container needs on the machine: its root, its volumes, and the files it shares with the host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Folders, failure_files};
use crate::action::{Action, Reach, Wishes};
use crate::bundle::{self, BundleError, Host};
use crate::host;
use crate::memory;
use crate::rootfs::{self, RootfsError};
use machine::Chain;
use machine::files;
use machine::network::Learned;
use oci::store::Image;

/// The folders of the container.
#[derive(Debug, Clone)]
pub struct Place {
    pub folders: Folders,
    pub id: String,
    pub directory: PathBuf,
    /// Variables of the machine, for an action that has its network.
    pub given: Arc<[String]>,
}

/// A container that is ready to start.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    /// How many bytes the action may use.
    pub memory: Option<u64>,
    /// The user and the group of its program.
    pub owner: (u32, u32),
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Overlay(#[from] RootfsError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("cannot write the specification")]
    Spec(#[from] serde_json::Error),
}

fn doing<T>(what: impl Into<String>, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|source| Failure::Io { what: what.into(), source })
}

/// The machine's files of host names.
const ETC: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"];
/// The content for a host without `/etc/hosts`.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
/// Drivers, and the machine's network configuration, for the system that an action installs.
const SHOWN: [&str; 3] = ["/lib/modules", "/lib/firmware", files::NETWORK];

/// The mount points of the kernel's file systems. The library would create missing ones, too, but with sixty calls for
/// each.
const ALWAYS_MOUNTED: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Makes the bundle: the mounted root file system and config.json.
pub fn bundle(place: &Place, action: &Action, wishes: &Wishes, image: &Image) -> Result<Prepared, Failure> {
    forget_other_workflows(&place.folders, action);
    // Device nodes in an image would open the machine's disks to an unprivileged action, so they do not work there.
    let rootfs = rootfs::mount_overlay(&image.rootfs, &place.directory, wishes.privileged)?;
    if action.reach(wishes) == Reach::NothingUnasked {
        log::info!("{}: has no network, because it is unprivileged; THIMBLE_NETWORK=host gives it the machine's", action.title());
    }
    write_etc(action, &rootfs)?;
    let host = host(place, action, &rootfs);
    let made = bundle::bundle(action, wishes, &image.config, &host)?;
    for source in made.directories.iter().filter(|d| !d.exists()) {
        doing(format!("create the volume {}", source.display()), fs::create_dir_all(source))?;
    }
    for source in &made.shared {
        doing(format!("share mounts below {}", source.display()), rootfs::share(source))?;
    }
    for place in ALWAYS_MOUNTED {
        let _ = rootfs::create_inside(&rootfs, Path::new(place)); // if this fails, the library reports why
    }
    if let Err(error) = failure_files::make(&rootfs) {
        left_out(action, failure_files::FOLDER, &error);
    }
    doing("create the working directory", rootfs::create_inside(&rootfs, &made.cwd))?;
    let text = serde_json::to_vec(&made.spec)?;
    doing("write config.json", host::write_private(&place.directory.join("config.json"), &text))?;
    Ok(Prepared { memory: made.memory, owner: made.owner })
}

/// The agent's additions must not break an image that runs elsewhere.
fn left_out(action: &Action, what: &str, why: &io::Error) {
    log::warn!("{}: continues without {what}, because the image has something else in its place: {why}", action.title());
}

fn host(place: &Place, action: &Action, rootfs: &Path) -> Host {
    let status = crate::proc::read("/proc/self/status").unwrap_or_default();
    write_network(Path::new(files::LEARNED), Path::new(files::NETWORK));
    let shown = SHOWN.iter().filter(|tree| Path::new(tree).is_dir() && !rootfs::is_filled_inside(rootfs, tree));
    let mount_point = |tree: &&str| {
        let place = rootfs::folder_to_mount_on(rootfs, Path::new(tree));
        place.inspect_err(|why| left_out(action, tree, why)).ok().map(|place| (PathBuf::from(tree), place))
    };
    Host {
        id: place.id.clone(),
        rootfs: rootfs.to_owned(),
        environment: place.given.to_vec(),
        volumes: place.folders.volumes_of(&action.workflow),
        anonymous: place.directory.join("volumes"),
        capabilities: bundle::effective_capabilities(&status),
        passwd: rootfs::read_inside(rootfs, "etc/passwd"),
        group: rootfs::read_inside(rootfs, "etc/group"),
        drivers: shown.filter_map(mount_point).collect(),
        memory: memory::limit(),
        controllers: memory::controllers(),
        swap: Path::new("/proc/swaps").exists(),
    }
}

/// Writes the machine's current network as configuration files. A host without PID 1 has no such data.
fn write_network(data: &Path, folder: &Path) {
    let written = match Learned::read(data) {
        Ok(learned) => netconfig::write(folder, &netconfig::files(&learned)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        log::warn!("cannot write the network in {} to {}: {}", data.display(), folder.display(), Chain(&error));
    }
}

/// Copies of the machine's files of host names, which the action may change. A copy in the overlay needs no mount.
fn write_etc(action: &Action, rootfs: &Path) -> Result<(), Failure> {
    for seen in ETC.map(Path::new) {
        let text = match (fs::read(seen), seen.ends_with("hosts")) {
            (Ok(text), _) => text,
            (Err(_), true) => HOSTS.into(),
            (Err(_), false) => continue,
        };
        match rootfs::write_inside(rootfs, seen, &text) {
            Err(why) if why.kind() == io::ErrorKind::StorageFull => doing(format!("copy {}", seen.display()), Err(why))?,
            Err(why) => left_out(action, &seen.to_string_lossy(), &why),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Named volumes are memory. No server reports the end of a workflow, so an action of another workflow ends it.
fn forget_other_workflows(folders: &Folders, action: &Action) {
    let ours = folders.volumes_of(&action.workflow);
    let entries = fs::read_dir(folders.volumes()).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| *path != ours) {
        if let Err(error) = rootfs::remove(&path) {
            log::warn!("cannot remove the volumes {}: {error}; their memory stays in use", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_finds_its_volumes_again_and_no_others() {
        let state = tempfile::tempdir().unwrap();
        let folders = Folders { state: state.path().to_owned() };
        let action = |workflow: &str| {
            let wire = proto::ActionResponse {
                workflow_id: Some(workflow.into()),
                task_id: Some("t".into()),
                action_id: Some("a".into()),
                ..Default::default()
            };
            Action::from_wire(wire).unwrap()
        };
        let (one, other) = (folders.volumes_of("default/a-b"), folders.volumes_of("default-a/b"));
        assert_ne!(one, other, "names that look alike");
        fs::create_dir_all(one.join("data")).unwrap();
        fs::create_dir_all(other.join("data")).unwrap();
        forget_other_workflows(&folders, &action("default/a-b"));
        assert!(one.join("data").exists() && !other.exists());
    }
    #[test]
    fn the_network_is_written_if_pid_1_has_configured_it() {
        let run = tempfile::tempdir().unwrap();
        let (data, folder) = (run.path().join("learned"), run.path().join("network"));
        write_network(&data, &folder);
        assert!(!folder.exists(), "an ordinary host");
        fs::write(&data, "method=static\nnic=02:00:00:00:00:01 eth0\naddress=10.0.0.5/24\n").unwrap();
        write_network(&data, &folder);
        assert!(fs::read_to_string(folder.join("learned.env")).unwrap().contains("ADDRESS=\"10.0.0.5\""));
    }
}
