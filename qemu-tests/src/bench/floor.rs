//! The floor: the same kernel with busybox and the network's drivers only. What it costs is the kernel's part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

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
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
echo '<5>floor: INIT' > /dev/kmsg
for module in MODULES; do insmod /$module.ko; done
ip link set lo up; ip link set eth0 up
udhcpc -i eth0 -n -q -f -t 10 -T 1 -s /bb/true > /dev/null 2>&1
echo '<5>floor: NET' > /dev/kmsg
dmesg -n 8
poweroff -f
";
const APPLETS: &[&str] = &["sh", "mount", "insmod", "ip", "udhcpc", "true", "poweroff", "dmesg", "echo"];

/// Makes the floor's ramdisk.
pub fn build(setup: &Setup, folder: &Path) -> Result<PathBuf> {
    let (package, plain, packed) = (folder.join("kernel"), folder.join("floor.cpio"), folder.join("floor.cpio.zst"));
    let log = folder.join("floor.log");
    let mut unpack = Command::new("dpkg-deb");
    command::run(unpack.arg("-x").arg(&setup.kernel_deb).arg(&package), &log, Duration::from_secs(120))?;
    let mut archive = Cpio::default();
    for name in ["bb", "proc", "sys", "dev"] {
        archive.add(name, 0o040_755, &[]);
    }
    let busybox = fs::read("/bin/busybox").context("cannot read busybox; is busybox-static installed?")?;
    archive.add("bb/busybox", 0o100_755, &busybox);
    for applet in APPLETS {
        archive.add(&format!("bb/{applet}"), 0o120_777, b"busybox");
    }
    let init = INIT.replace("MODULES", &MODULES.join(" ")).replacen("mount", "export PATH=/bb\nmount", 1);
    archive.add("init", 0o100_755, init.as_bytes());
    for module in MODULES {
        let path = find(&package.join("lib/modules"), &format!("{module}.ko"))?;
        let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        archive.add(&format!("{module}.ko"), 0o100_644, &data);
    }
    fs::write(&plain, archive.finish()).context("cannot write the floor's ramdisk")?;
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

/// The `newc` format, as far as the floor needs it.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.inode += 1;
        let fields = [self.inode, mode, 0, 0, 1, 0, size(data.len()), 0, 0, 0, 0, size(name.len() + 1), 0];
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
