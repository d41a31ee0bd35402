//! `netconfig`: gives the installed system the network that this machine learned, in the files of its own network manager.

use crate::inside::{InsideError, Ownership, Root};
use crate::say;
use crate::target::{Target, TargetError};
use crate::variables::{VariableError, Variables, unusable};
use machine::files;
use machine::network::Learned;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A machine has some links with a file or two each.
const FILES_MAX: usize = 512;
const FILE_MAX: u64 = 256 << 10;
const ROOT: Ownership = Ownership { uid: 0, gid: 0 };
const FOLDER: u32 = 0o755;

#[derive(Debug, thiserror::Error)]
pub enum NetconfigError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the target")]
    Inside(#[from] InsideError),
    #[error("{0} has no files of the learned network: is the action privileged, and does the machine have an address?")]
    NothingLearned(PathBuf),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the target has none of {0}: is it the root file system? NETCONFIG names one to write in any case")]
    NoManager(String),
}

/// A network manager, and where its files are.
#[derive(Debug, PartialEq, Eq)]
struct Manager {
    name: &'static str,
    /// In the folder of the learned network: a file, or a folder with `/` at its end.
    from: &'static str,
    to: &'static str,
    mode: u32,
    /// Any of these shows that the target uses it.
    signs: &'static [&'static str],
    /// A service that most images have switched off: the link that enables it, and where that leads.
    enable: Option<(&'static str, &'static str)>,
}

/// What a target has several of is decided by this order.
const MANAGERS: [Manager; 5] = [
    Manager {
        name: "netplan",
        from: "netplan.yaml",
        to: "/etc/netplan/50-thimble.yaml",
        mode: 0o600,
        signs: &["/usr/sbin/netplan", "/usr/share/netplan"],
        enable: None,
    },
    Manager {
        name: "NetworkManager",
        from: "NetworkManager/",
        to: "/etc/NetworkManager/system-connections/",
        mode: 0o600,
        signs: &["/usr/sbin/NetworkManager", "/usr/bin/NetworkManager"],
        enable: None,
    },
    Manager {
        name: "ifupdown",
        from: "interfaces",
        to: "/etc/network/interfaces",
        mode: 0o644,
        signs: &["/usr/sbin/ifup", "/sbin/ifup"],
        enable: None,
    },
    Manager {
        name: "ifcfg",
        from: "ifcfg/",
        to: "/etc/sysconfig/network-scripts/",
        mode: 0o644,
        signs: &["/etc/sysconfig/network-scripts"],
        enable: None,
    },
    Manager {
        name: "networkd",
        from: "networkd/",
        to: "/etc/systemd/network/",
        mode: 0o644,
        signs: &["/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd"],
        enable: Some((
            "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            "/lib/systemd/system/systemd-networkd.service",
        )),
    },
];
/// cloud-init would write a network of its own.
const CLOUD_INIT: (&str, &str) = ("/etc/cloud/cloud.cfg.d/99-thimble-network.cfg", "network: {config: disabled}\n");

type File = (String, String);

struct Settings {
    target: Target,
    /// By name, unless the target decides.
    manager: Option<&'static Manager>,
    folder: PathBuf,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        const NETCONFIG: &str = "NETCONFIG";
        let target = Target::read(variables, "DEST_DISK")?;
        let manager = match variables.optional(NETCONFIG).map(|_| variables.text(NETCONFIG)).transpose()?.as_deref() {
            None | Some("auto") => None,
            Some(name) => {
                let known = MANAGERS.iter().find(|manager| manager.name.eq_ignore_ascii_case(name));
                let wanted = "auto, netplan, NetworkManager, ifupdown, ifcfg or networkd";
                Some(known.ok_or_else(|| unusable(NETCONFIG, name, wanted))?)
            }
        };
        let folder = match variables.optional("NETWORK_FOLDER") {
            Some(_) => variables.absolute_path("NETWORK_FOLDER")?,
            None => files::NETWORK.into(),
        };
        Ok(Self { target, manager, folder })
    }
}

pub fn run(variables: &Variables) -> Result<(), NetconfigError> {
    let settings = Settings::read(variables)?;
    let learned = learned(&settings.folder)?;
    let disk = settings.target.appear()?;
    settings.target.inside(&disk, |root| configure(&Root::open(root)?, settings.manager, &learned))
}

/// Says what `run` would write. The target is not mounted, so the choice is not made here.
pub fn dry_run(variables: &Variables) -> Result<(), NetconfigError> {
    let settings = Settings::read(variables)?;
    let learned = learned(&settings.folder)?;
    let disk = settings.target.appear()?;
    let managers: Vec<&Manager> =
        MANAGERS.iter().filter(|manager| settings.manager.is_none_or(|wanted| wanted == *manager)).collect();
    for manager in managers {
        let paths: Vec<String> = targets(manager, &learned).into_iter().map(|(path, _)| path).collect();
        say(&format!("would write for {} to {}: {}", manager.name, disk.display(), paths.join(", ")));
    }
    say("nothing was written");
    Ok(())
}

fn configure(root: &Root, manager: Option<&'static Manager>, learned: &[File]) -> Result<(), NetconfigError> {
    let Some(manager) = manager.or_else(|| choose(|path| root.has(path))) else {
        return Err(NetconfigError::NoManager(MANAGERS.map(|manager| manager.name).join(", ")));
    };
    for (path, text) in targets(manager, learned) {
        root.write(Path::new(&path), text.as_bytes(), ROOT, manager.mode, FOLDER)?;
        say(&format!("wrote {path} for {}", manager.name));
    }
    if let Some((link, to)) = manager.enable {
        root.link(to, Path::new(link), ROOT)?;
    }
    if root.has("/etc/cloud") {
        let (path, text) = CLOUD_INIT;
        root.write(Path::new(path), text.as_bytes(), ROOT, 0o644, FOLDER)?;
        say(&format!("wrote {path}, so that cloud-init leaves the network alone"));
    }
    Ok(())
}

fn choose(has: impl Fn(&str) -> bool) -> Option<&'static Manager> {
    MANAGERS.iter().find(|manager| manager.signs.iter().any(|sign| has(sign)))
}

/// Path and text of each file in the target.
fn targets(manager: &Manager, learned: &[File]) -> Vec<File> {
    let own = learned.iter().filter_map(|(name, text)| {
        let rest = name.strip_prefix(manager.from)?;
        Some((format!("{}{rest}", manager.to), text.clone()))
    });
    own.collect()
}

/// From the folder that the agent makes, or from what PID 1 wrote.
fn learned(folder: &Path) -> Result<Vec<File>, NetconfigError> {
    let mut all = Vec::new();
    read_folder(folder, "", &mut all)?;
    if all.is_empty()
        && folder == Path::new(files::NETWORK)
        && let Ok(learned) = Learned::read(Path::new(files::LEARNED))
    {
        all = ::netconfig::files(&learned);
    }
    if all.is_empty() { Err(NetconfigError::NothingLearned(folder.to_owned())) } else { Ok(all) }
}

fn read_folder(folder: &Path, prefix: &str, all: &mut Vec<File>) -> Result<(), NetconfigError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, Ok(name)) = (entry.path(), entry.file_name().into_string()) else { continue };
        let kind = entry.file_type().map_err(|source| NetconfigError::Read { path: path.clone(), source })?;
        if kind.is_dir() && prefix.is_empty() {
            read_folder(&path, &format!("{name}/"), all)?;
        } else if kind.is_file() && all.len() < FILES_MAX && !name.ends_with(".new") {
            let mut text = String::new();
            let read = fs::File::open(&path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text));
            read.map_err(|source| NetconfigError::Read { path, source })?;
            all.push((format!("{prefix}{name}"), text));
        }
    }
    all.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A bond with a VLAN and a static IPv6 address.
    const LEARNED: &str = "method=static\nnic=02:00:00:00:00:01 eth0\nnic=02:00:00:00:00:02 eth1\nbond=02:00:00:00:00:01 bond0\n\
                           bond_option=mode 802.3ad\nvlan=12\naddress=2001:db8::5/64\nroute=::/0 2001:db8::1\ndns=2001:db8::53\n";

    fn network() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let learned = folder.path().join("learned");
        fs::write(&learned, LEARNED).unwrap();
        ::netconfig::write(&folder.path().join("network"), &::netconfig::files(&Learned::read(&learned).unwrap())).unwrap();
        folder
    }

    #[test]
    fn the_target_decides_which_files_it_gets() {
        for (has, expected) in [
            (&["/usr/sbin/netplan", "/usr/sbin/NetworkManager"][..], Some("netplan")),
            (&["/usr/sbin/NetworkManager", "/etc/sysconfig/network-scripts"], Some("NetworkManager")),
            (&["/sbin/ifup", "/lib/systemd/systemd-networkd"], Some("ifupdown")),
            (&["/etc/sysconfig/network-scripts"], Some("ifcfg")),
            (&["/usr/lib/systemd/systemd-networkd"], Some("networkd")),
            (&["/etc/passwd"], None),
        ] {
            let found = choose(|path| has.contains(&path)).map(|manager| manager.name);
            assert_eq!(found, expected, "{has:?}");
        }
    }

    #[test]
    fn each_manager_gets_its_files_with_its_permissions() {
        let network = network();
        let learned = learned(&network.path().join("network")).unwrap();
        for (name, expected) in [
            ("netplan", &["/etc/netplan/50-thimble.yaml"][..]),
            ("ifupdown", &["/etc/network/interfaces"]),
            ("networkd", &["/etc/systemd/network/10-eth0.network", "/etc/systemd/system/multi-user.target.wants"]),
            ("NetworkManager", &["/etc/NetworkManager/system-connections/bond0.nmconnection"]),
            ("ifcfg", &["/etc/sysconfig/network-scripts/ifcfg-bond0.12"]),
        ] {
            let target = tempfile::tempdir().unwrap();
            fs::create_dir_all(target.path().join("etc/cloud")).unwrap();
            let manager = MANAGERS.iter().find(|manager| manager.name == name).unwrap();
            let root = Root::open(target.path()).unwrap();
            configure(&root, Some(manager), &learned).unwrap();
            for path in expected {
                let path = target.path().join(path.trim_start_matches('/'));
                let mode = fs::metadata(&path)
                    .unwrap_or_else(|error| panic!("{name}: {}: {error}", path.display()))
                    .permissions()
                    .mode();
                assert!(path.is_dir() || mode & 0o777 == manager.mode, "{}: {mode:o}", path.display());
            }
            assert!(target.path().join("etc/cloud/cloud.cfg.d/99-thimble-network.cfg").is_file());
        }
    }

    #[test]
    fn without_a_learned_network_or_a_manager_the_reason_is_named() {
        let empty = tempfile::tempdir().unwrap();
        assert!(learned(empty.path()).unwrap_err().to_string().contains("has no files of the learned network"));
        let root = Root::open(empty.path()).unwrap();
        let error = configure(&root, None, &[]).unwrap_err().to_string();
        assert!(error.starts_with("the target has none of netplan, NetworkManager"), "{error}");
        let variables = Variables::of([("DEST_DISK", "/dev/vda1"), ("FS_TYPE", "ext4"), ("NETCONFIG", "wicked")]);
        assert!(Settings::read(&variables).err().unwrap().to_string().contains("ifcfg or networkd"));
    }
}
