//! The Debian packages the lab needs: names what is missing and installs it when it may.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Package and what the lab wants of it.
const PACKAGES: &[(&str, &str)] = &[
    ("qemu-system-x86", "the machine"),
    ("ovmf", "UEFI firmware"),
    ("ipxe", "network boot programs served by TFTP"),
    ("ipxe-qemu", "the network card's boot ROM"),
    ("docker-registry", "the registry actions are pulled from"),
    ("mmdebstrap", "the Debian that is installed"),
    ("debian-archive-keyring", "the key that Debian is checked with"),
    ("uidmap", "mmdebstrap without root"),
    ("zstd", "the compressed image"),
    ("fdisk", "partition tables"),
    ("e2fsprogs", "making and reading ext4"),
    ("dosfstools", "the EFI system partition"),
    ("mtools", "the EFI system partition"),
    ("grub-common", "the boot loader"),
    ("grub-pc-bin", "the boot loader, BIOS"),
    ("grub-efi-amd64-bin", "the boot loader, UEFI"),
    ("systemd-boot-efi", "the EFI stub of a unified kernel image"),
    ("isolinux", "the ISO's boot loader, BIOS"),
    ("syslinux-common", "the ISO's boot loader, BIOS"),
    ("sbsigntool", "signs for Secure Boot"),
    ("swtpm", "the machine's TPM"),
    ("busybox-static", "test actions and the benchmark's floor"),
    ("iproute2", "the private network segment"),
    ("util-linux", "namespaces"),
    ("ca-certificates", "the ramdisk's CA bundle"),
    ("cpio", "tests: a second reader of our archives"),
    ("skopeo", "tests: a second reader of our images"),
    ("openssl", "tests: certificates for servers that the agent meets"),
    ("xorriso", "tests: a CD with images"),
    ("umoci", "tests: builds images for the agent's conformance"),
    ("crun", "tests: the runtime the agent is compared with"),
    ("runc", "the benchmark: the other one"),
    ("containerd", "tests: the agent's other runtime"),
    ("protobuf-compiler", "tests: builds containerd's client"),
    ("dropbear-bin", "the SSH server of a ramdisk with a rescue shell"),
    ("openssh-client", "tests: who logs in there"),
    ("udev", "tests: whose names of disks ours are compared with"),
    ("tftp-hpa", "tests: a TFTP client"),
    ("dnsmasq-base", "tests: DHCP servers and routers that the network client meets"),
    ("netplan.io", "tests: reads the network settings written for the installed system"),
    ("ifupdown", "tests: reads Debian's"),
    ("isc-dhcp-client", "tests: what ifupdown asks for an address"),
    ("gir1.2-nm-1.0", "tests: reads NetworkManager's"),
    ("python3-gi", "tests: reads NetworkManager's"),
    ("g++", "fuzz targets: libFuzzer"),
];

/// Makes sure that every package is there.
pub fn run(say: &dyn Fn(&str)) -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return fresh_lists();
    }
    say(&format!(
        "missing packages: {}",
        missing.iter().map(|(name, why)| format!("{name} ({why})")).collect::<Vec<_>>().join(", ")
    ));
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let Some(prefix) = privilege() else {
        bail!(
            "not root and no password-free sudo; run this once, then start again:\n  sudo apt-get install -y --no-install-recommends {}",
            names.join(" ")
        );
    };
    let install = || apt(prefix, &[&["install", "-y", "-q", "--no-install-recommends"], names.as_slice()].concat());
    if install().is_err() {
        // A fresh machine has no package lists, an old one has stale ones: both are cured by an update.
        apt(prefix, &["update", "-q"])?;
        install().with_context(|| format!("cannot install {}", names.join(" ")))?;
    }
    let left = self::missing()?;
    if !left.is_empty() {
        bail!("apt-get succeeded, yet still missing: {}", left.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "));
    }
    fresh_lists()
}

/// The kernel and the Debian image come from apt's lists too; a fresh machine has none.
fn fresh_lists() -> Result<()> {
    let policy =
        Command::new("apt-cache").args(["policy", "linux-image-cloud-amd64"]).output().context("cannot start apt-cache")?;
    let text = String::from_utf8_lossy(&policy.stdout);
    if text.lines().any(|line| line.contains("Candidate: ") && !line.contains("(none)")) {
        return Ok(());
    }
    match privilege() {
        Some(prefix) => apt(prefix, &["update", "-q"]),
        None => bail!("apt has no package lists; run this once, then start again:\n  sudo apt-get update"),
    }
}

fn missing() -> Result<Vec<(&'static str, &'static str)>> {
    let listing = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(PACKAGES.iter().map(|(name, _)| name))
        .output()
        .context("cannot start dpkg-query; the lab runs on Debian")?;
    // dpkg-query exits 1 when it does not know a name; what it prints is right all the same.
    Ok(absent(&String::from_utf8_lossy(&listing.stdout)))
}

fn absent(listing: &str) -> Vec<(&'static str, &'static str)> {
    let installed: Vec<&str> = listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    PACKAGES.iter().filter(|(name, _)| !installed.contains(name)).copied().collect()
}

/// What to put before apt-get: nothing for root, sudo where it asks no password.
fn privilege() -> Option<&'static [&'static str]> {
    if rustix::process::geteuid().is_root() {
        return Some(&[]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).output().ok()?;
    sudo.status.success().then_some(&["sudo", "-n"])
}

fn apt(prefix: &[&str], args: &[&str]) -> Result<()> {
    let words: Vec<&str> = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], args].concat();
    let (program, rest) = words.split_first().context("no command")?;
    let status = Command::new(program).args(rest).status().context("cannot start apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed ({status})", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let all: String = PACKAGES.iter().map(|(name, _)| format!("{name} installed\n")).collect();
        assert_eq!(absent(&all), []);
        let removed = all.replace("mtools installed", "mtools config-files").replace("zstd installed\n", "");
        let names: Vec<&str> = absent(&removed).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["zstd", "mtools"]);
    }
}
