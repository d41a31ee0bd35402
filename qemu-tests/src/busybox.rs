//! A ramdisk of busybox, some modules of Debian's cloud kernel, and a script as /init: for the benchmark's floor, and for
//! machines that accompany the tested one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use cpio::{Archive, Node};

use crate::command;
use crate::setup::Setup;

/// The modules that QEMU's network cards need, in the order of loading.
pub const VIRTIO_NET: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];
const APPLETS: &[&str] =
    &["sh", "mount", "insmod", "ip", "udhcpc", "tftp", "true", "poweroff", "dmesg", "echo", "brctl", "vconfig", "grep", "sleep"];
/// Loads the modules. The script follows it.
const HEAD: &str = "#!/bb/sh
export PATH=/bb
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
dmesg -n 8
";

/// What is in a ramdisk beside busybox.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guest<'a> {
    /// Programs of this host with their libraries, each with its path in the ramdisk.
    pub programs: &'a [(&'a str, &'a Path)],
    pub files: &'a [(&'a str, &'a Path)],
    pub folders: &'a [&'a str],
    /// In the order of loading.
    pub modules: &'a [&'a str],
    /// MODULES stands for the modules' names.
    pub script: &'a str,
}

/// Makes `NAME.cpio.zst` in `folder`. In `script`, MODULES stands for the modules' names.
pub fn ramdisk(setup: &Setup, folder: &Path, name: &str, modules: &[&str], script: &str) -> Result<PathBuf> {
    guest(setup, folder, name, &Guest { modules, script, ..Guest::default() })
}

/// The same with programs and files.
pub fn guest(setup: &Setup, folder: &Path, name: &str, guest: &Guest) -> Result<PathBuf> {
    let Guest { programs, files, folders, modules, script } = *guest;
    let place = |end: &str| folder.join(format!("{name}.{end}"));
    let (package, plain, packed) = (place("kernel"), place("cpio"), place("cpio.zst"));
    let log = place("log");
    let mut unpack = Command::new("dpkg-deb");
    command::run(unpack.arg("-x").arg(&setup.kernel_deb).arg(&package), &log, Duration::from_secs(120))?;
    let busybox = fs::read("/bin/busybox").context("cannot read busybox; is busybox-static installed?")?;
    let init = format!("{HEAD}{}", script.replace("MODULES", &modules.join(" ")));
    let mut archive = Archive::new(0);
    for folder in ["proc", "sys", "dev"].iter().chain(folders) {
        archive.add(folder, 0o755, Node::Directory)?;
    }
    let mut libraries = BTreeSet::new();
    for (to, from) in programs {
        libraries.extend(libraries_of(from)?);
        archive.add(to, 0o755, read(from)?)?;
    }
    for library in &libraries {
        archive.add(library.trim_start_matches('/'), 0o755, read(Path::new(library))?)?;
    }
    for (to, from) in files {
        archive.add(to, 0o644, read(from)?)?;
    }
    archive.add("dev/console", 0o600, Node::CharDevice { major: 5, minor: 1 })?;
    archive.add("bb/busybox", 0o755, Node::File(busybox))?;
    for applet in APPLETS {
        archive.add(&format!("bb/{applet}"), 0o777, Node::Symlink("busybox".into()))?;
    }
    archive.add("init", 0o755, Node::File(init.into_bytes()))?;
    for module in modules {
        let path = find(&package.join("lib/modules"), &format!("{module}.ko"))?;
        archive.add(&format!("{module}.ko"), 0o644, read(&path)?)?;
    }
    fs::write(&plain, archive.to_bytes()?).with_context(|| format!("cannot write {}", plain.display()))?;
    fs::remove_dir_all(&package).context("cannot remove the unpacked kernel")?;
    let mut pack = Command::new("zstd");
    command::run(pack.args(["-q", "-f", "-10"]).arg(&plain).arg("-o").arg(&packed), &log, Duration::from_secs(120))?;
    Ok(packed)
}

fn read(path: &Path) -> Result<Node> {
    fs::read(path).map(Node::File).with_context(|| format!("cannot read {}", path.display()))
}

/// The paths of what a program is linked with, the loader too.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let listed = command::output(Command::new("ldd").arg(program))?;
    let paths = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(str::to_owned).collect())
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let found = command::output(Command::new("find").arg(folder).args(["-name", name]))?;
    found.lines().next().map(PathBuf::from).with_context(|| format!("the kernel package has no {name}"))
}
