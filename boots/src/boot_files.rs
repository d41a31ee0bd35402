//! What a file by HTTP is to its machine. Only the names that its boot uses are kernel, ramdisk and packs: a mirror of packages has
//! files of any name. Pure.

use api::StepKind;

use crate::kernels::Pair;
use crate::{BootInterface, Config};

/// Paths below the files folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BootFiles {
    kernels: Vec<String>,
    ramdisks: Vec<String>,
    /// Programs that the Hardware names by a URL of this host.
    programs: Vec<String>,
}

impl BootFiles {
    pub fn of(config: &Config, machine: &BootInterface) -> Self {
        let pairs = match &machine.osie.base_url {
            Some(base) => Vec::from_iter(below_files(base).map(|folder| {
                let Pair { kernel, ramdisk, .. } = Pair::of_smee(machine);
                (join(folder, &kernel), join(folder, &ramdisk))
            })),
            None => Pair::named(config, machine),
        };
        let (kernels, ramdisks) = pairs.into_iter().unzip();
        let custom = machine.custom_boot.as_ref();
        let named = [custom.map(|custom| custom.boot_file_name.as_str()), machine.ipxe.binary.as_deref()];
        let programs = named.into_iter().flatten().filter_map(below_files).map(str::to_owned).collect();
        Self { kernels, ramdisks, programs }
    }

    pub fn kind_of(&self, path: &str) -> StepKind {
        let path = path.trim_start_matches('/');
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let has = |paths: &[String]| paths.iter().any(|one| one == path);
        let is_beside = |ramdisk: &String| ramdisk.rsplit_once('/').map_or("", |(folder, _)| folder) == folder;
        if has(&self.kernels) {
            StepKind::Kernel
        } else if has(&self.ramdisks) {
            StepKind::Ramdisk
        } else if has(&self.programs) {
            StepKind::Nbp
        } else if api::packs::is_of_packs(name) && self.ramdisks.iter().any(is_beside) {
            StepKind::Pack
        } else {
            StepKind::File
        }
    }
}

/// The path of a URL below `/files`, where this host serves the files folder.
fn below_files(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?.1.split_once('/')?;
    let path = rest.strip_prefix("files")?;
    (path.is_empty() || path.starts_with('/')).then(|| path.trim_matches('/'))
}

fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use model::Mac;

    use super::*;
    use crate::Osie;

    fn machine(arch: Option<&str>, osie: Osie) -> BootInterface {
        BootInterface { arch: arch.map(str::to_owned), osie, ..BootInterface::unknown(Mac::new([2, 0, 0, 0, 0, 1])) }
    }

    fn kinds(machine: &BootInterface, paths: &[&str]) -> Vec<StepKind> {
        let config = Config::new(Ipv4Addr::LOCALHOST, "files".into(), "nbp".into());
        let files = BootFiles::of(&config, machine);
        paths.iter().map(|path| files.kind_of(path)).collect()
    }

    #[test]
    fn only_what_the_boot_of_a_machine_names_is_kernel_ramdisk_or_pack() {
        let named = ["kernel", "initramfs.cpio.zst", "pack-raid.cpio.zst"];
        let expected = [StepKind::Kernel, StepKind::Ramdisk, StepKind::Pack];
        assert_eq!(kinds(&machine(None, Osie::default()), &named), expected);
        let named = ["aarch64/kernel", "arm64/initramfs.cpio.zst", "aarch64/pack-raid.cpio.zst", "vmlinuz-aarch64"];
        let expected = [StepKind::Kernel, StepKind::Ramdisk, StepKind::Pack, StepKind::Kernel];
        assert_eq!(kinds(&machine(Some("aarch64"), Osie::default()), &named), expected);
        let own = Osie { kernel: Some("/hook/linux".to_owned()), initrd: Some("hook/rd".to_owned()), ..Osie::default() };
        assert_eq!(kinds(&machine(None, own), &["hook/linux", "hook/rd"]), [StepKind::Kernel, StepKind::Ramdisk]);
        for (base, path, kind) in [
            ("http://10.0.0.1:7080/files/hook/", "hook/vmlinuz-x86_64", StepKind::Kernel),
            ("http://10.0.0.1:7080/files", "initramfs-x86_64", StepKind::Ramdisk),
            ("http://mirror/filesystem", "vmlinuz-x86_64", StepKind::File),
            ("http://mirror", "kernel", StepKind::File),
        ] {
            let osie = Osie { base_url: Some(base.to_owned()), ..Osie::default() };
            assert_eq!(kinds(&machine(None, osie), &[path]), [kind], "{base} {path}");
        }
        let mut custom = machine(None, Osie::default());
        custom.ipxe.binary = Some("http://10.0.0.1:7080/files/own/snponly.efi".to_owned());
        assert_eq!(kinds(&custom, &["own/snponly.efi", "snponly.efi"]), [StepKind::Nbp, StepKind::File]);
    }

    #[test]
    fn a_mirror_of_packages_is_files_whatever_their_names() {
        for path in [
            "image.raw.zst",
            "debian/pool/main/l/linux/linux-image-6.1.0-13-amd64_6.1.55-1_amd64.deb",
            "debian/dists/bookworm/main/binary-amd64/Packages.gz",
            "packages/site.tar.gz",
            "packages/kernel",
            "packages/pack-raid.cpio.zst",
            "pool/main/i/initramfs-tools/initramfs-tools_0.142_all.deb",
            "debian/dists/bookworm/main/installer-amd64/current/images/netboot/debian-installer/amd64/initrd.gz",
            "debian/dists/bookworm/main/installer-amd64/current/images/netboot/debian-installer/amd64/linux",
            "EFI/boot/bootx64.efi",
            "lib/libkernel.so.0",
            "kernel.sha256",
            "vmlinuz",
            "Image",
        ] {
            for arch in [None, Some("x86_64"), Some("aarch64")] {
                assert_eq!(kinds(&machine(arch, Osie::default()), &[path]), [StepKind::File], "{path}");
            }
        }
    }
}
