//! The floor: the same kernel with busybox and the network's drivers only. What it costs is the kernel's part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use initramfs::cpio::{Archive, Node};

use crate::command;
use crate::setup::Setup;

/// In the order they are loaded.
const MODULES: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "overlay",
];
const INIT: &str = "#!/bb/sh
export PATH=/bb
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
dmesg -n 8
echo '<5>floor: INIT' > /dev/kmsg
for module in MODULES; do insmod /$module.ko; done
ip link set lo up; ip link set eth0 up
udhcpc -i eth0 -n -q -f -t 10 -T 1 -s /bb/true > /dev/null 2>&1
echo '<5>floor: NET' > /dev/kmsg
poweroff -f
";
const APPLETS: &[&str] = &["sh", "mount", "insmod", "ip", "udhcpc", "true", "poweroff", "dmesg", "echo"];

/// Makes the floor's ramdisk.
pub fn build(setup: &Setup, folder: &Path) -> Result<PathBuf> {
    let (package, plain, packed) = (folder.join("kernel"), folder.join("floor.cpio"), folder.join("floor.cpio.zst"));
    let log = folder.join("floor.log");
    let mut unpack = Command::new("dpkg-deb");
    command::run(unpack.arg("-x").arg(&setup.kernel_deb).arg(&package), &log, Duration::from_secs(120))?;
    let busybox = fs::read("/bin/busybox").context("cannot read busybox; is busybox-static installed?")?;
    let init = INIT.replace("MODULES", &MODULES.join(" "));
    let mut archive = Archive::new(0);
    for name in ["proc", "sys", "dev"] {
        archive.add(name, 0o755, Node::Directory)?;
    }
    archive.add("dev/console", 0o600, Node::CharDevice { major: 5, minor: 1 })?;
    archive.add("bb/busybox", 0o755, Node::File(busybox))?;
    for applet in APPLETS {
        archive.add(&format!("bb/{applet}"), 0o777, Node::Symlink("busybox".into()))?;
    }
    archive.add("init", 0o755, Node::File(init.into_bytes()))?;
    for module in MODULES {
        let path = find(&package.join("lib/modules"), &format!("{module}.ko"))?;
        let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        archive.add(&format!("{module}.ko"), 0o644, Node::File(data))?;
    }
    fs::write(&plain, archive.to_bytes()?).context("cannot write the floor's ramdisk")?;
    fs::remove_dir_all(&package).context("cannot remove the unpacked kernel")?;
    command::run(
        Command::new("zstd").args(["-q", "-f", "-19"]).arg(&plain).arg("-o").arg(&packed),
        &log,
        Duration::from_secs(120),
    )?;
    Ok(packed)
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let found = command::output(Command::new("find").arg(folder).args(["-name", name]))?;
    found.lines().next().map(PathBuf::from).with_context(|| format!("the kernel package has no {name}"))
}
