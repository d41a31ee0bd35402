//! Every file and folder that programs of the machine share. Each has one writer and one reader, named here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What must not survive a reboot: a tmpfs of a stated size. PID 1 makes it; on a host the agent does.
pub const RUN: &str = "/run/thimble";

/// How far the boot has come ([`crate::milestones`]). PID 1 begins it, each milestone adds a line, the agent reports it.
pub const BOOT: &str = "/run/thimble/boot";
/// The agent touches it while it works. PID 1's watchdog service looks at its time ([`crate::heartbeat`]).
pub const HEARTBEAT: &str = "/run/thimble/heartbeat";
/// PID 1 makes it while it holds back an agent that keeps failing; its watchdog service then feeds the watchdog.
pub const HELD: &str = "/run/thimble/held";
/// The network service writes what switches say by LLDP ([`crate::Neighbour`]); the agent reports it.
pub const LLDP: &str = "/run/thimble/lldp";
/// The devices service adds each firmware file that a driver missed ([`crate::MissingFirmware`]); the agent reports it.
pub const FIRMWARE_MISSING: &str = "/run/thimble/firmware-missing";
/// What the network service learned ([`crate::network::Learned`]). The agent makes files of it in [`NETWORK`].
pub const LEARNED: &str = "/run/thimble/learned";
/// The network as configuration files of the system that is installed. Privileged actions see the folder.
pub const NETWORK: &str = "/run/thimble/network";
/// What the machine is doing ([`crate::Status`]). PID 1's status service writes it for people and their scripts.
pub const STATUS: &str = "/run/thimble/status";
/// The folder of the parts that the status is made of. PID 1 makes it, so a host has none.
pub const STATUS_PARTS: &str = "/run/thimble/status.d";
/// The network service writes this part; PID 1's status service reads it.
pub const NETWORK_STATUS: &str = "/run/thimble/status.d/network";
/// The agent writes this part; PID 1's status service reads it.
pub const AGENT_STATUS: &str = "/run/thimble/status.d/agent";
/// The agent locks it, so that a machine has one agent.
pub const AGENT_LOCK: &str = "/run/thimble/agent.lock";
/// The agent's memory of its current action and of results that no server has acknowledged. A restarted agent reads it.
pub const JOURNAL: &str = "/run/thimble/journal.json";
/// The same for actions that come from a file.
pub const OFFLINE_JOURNAL: &str = "/run/thimble/offline.json";

/// The server of a provisioning host answers its client commands here.
pub const SERVER_SOCKET: &str = "/run/thimble/api.sock";

/// Requests to reboot or power off: actions write them (HookOS's convention), the agent reads them.
pub const WORKER: &str = "/worker";

/// `SIZE PATH` of every file of the ramdisk. `thimble image build` writes it; PID 1 compares it with what was unpacked.
pub const MANIFEST: &str = "/etc/thimble/manifest";
/// A folder with one such manifest for each driver pack.
pub const PACK_MANIFESTS: &str = "/etc/thimble/manifest.d";
/// The certificate authority of the machine's server, which boots adds to the ramdisk. The agent believes it for the workflow
/// service, and for nothing else.
pub const SERVER_CA: &str = "/etc/thimble/server-ca.pem";
/// Kernel arguments of the image, which stand before those of `/proc/cmdline`. `thimble image build` writes it; PID 1 reads it.
pub const CMDLINE: &str = "/etc/thimble/cmdline";
/// The machines of a site with their kernel arguments ([`crate::site`]). `thimble image iso` writes it; PID 1 reads it.
pub const SITE: &str = "/etc/thimble/site";
/// The driver packs that the machine may fetch (`api::packs::Offer`). `thimble image iso` writes it; the agent reads it.
pub const PACKS: &str = "/etc/thimble/packs.json";
/// The certificate authorities that the ramdisk brings. `thimble image build` writes it; the agent reads it.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the machine allows actions to do. `thimble image build --policy` writes it; the agent reads it. No argument names
/// another file, so that a signed ramdisk's policy holds whatever the kernel command line says.
pub const POLICY: &str = "/etc/thimble/policy.json";
/// How registries are reached. `thimble image build --registries` writes it; the agent reads it.
pub const REGISTRIES: &str = "/etc/thimble/registries.json";
/// An OCI image layout. `thimble image build --embed` writes it; the agent reads it.
pub const IMAGES: &str = "/images";

/// `path` in a tree that need not be `/`: tests have their own.
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Writes a file in one step: a reader sees the old content or the new one, nothing between.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_in_one_piece() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        for content in ["nameserver 10.0.0.1\n", "short\n"] {
            replace(&path, content).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_can_be_looked_up_in_another_tree() {
        assert_eq!(below(Path::new("/tmp/x"), WORKER), Path::new("/tmp/x/worker"));
        assert_eq!(below(Path::new("/"), BOOT), Path::new(BOOT));
    }
}
