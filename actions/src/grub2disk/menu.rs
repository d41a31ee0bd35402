//! A menu for a system without grub-mkconfig: its kernels, the newest first.

use std::cmp::Ordering;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const KERNELS_MAX: usize = 50;
/// In seconds.
const TIMEOUT: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum MenuError {
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("it has no kernel: /boot, or the partition for it, has no file that begins with vmlinuz")]
    NoKernel,
    #[error("its file system has no UUID that is known here (ext2 to ext4, XFS, btrfs): give the system grub-mkconfig or a menu")]
    NoUuid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Names in /boot.
    pub kernel: String,
    pub initrd: Option<String>,
    pub version: String,
}

/// The UUID of a file system, from its superblock.
pub fn uuid(disk: &Path) -> Result<String, MenuError> {
    let file = File::open(disk);
    let failed = |source| MenuError::Read { path: disk.display().to_string(), source };
    let file = file.map_err(failed)?;
    let read = |at, length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at).map(|()| bytes).unwrap_or_default() // a short file has no superblock there
    };
    let places = [(1080, &[0x53, 0xef][..], 1128), (0, b"XFSB", 32), (65600, b"_BHRfS_M", 65568)];
    let found = places.into_iter().find(|(at, magic, _)| read(*at, magic.len()) == *magic);
    let (_, _, at) = found.ok_or(MenuError::NoUuid)?;
    let hex = hex::encode(read(at, 16));
    let group = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    Ok([group(0..8), group(8..12), group(12..16), group(16..20), group(20..32)].join("-"))
}

/// What /boot has.
pub fn kernels(boot: &Path) -> Result<Vec<Kernel>, MenuError> {
    let mut names = Vec::new();
    let failed = |source| MenuError::Read { path: "/boot".into(), source };
    for entry in std::fs::read_dir(boot).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    let kernels = matched(names);
    if kernels.is_empty() { Err(MenuError::NoKernel) } else { Ok(kernels) }
}

fn matched(mut names: Vec<String>) -> Vec<Kernel> {
    names.retain(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+~".contains(c)));
    let version = |name: &str| name.strip_prefix("vmlinuz").map(|rest| rest.trim_start_matches('-').to_owned());
    let initrd = |version: &str| {
        let join = |name: &str| if version.is_empty() { name.to_owned() } else { format!("{name}-{version}") };
        let wanted = [join("initrd.img"), format!("{}.img", join("initramfs")), join("initrd"), join("initramfs")];
        wanted.into_iter().find(|wanted| names.contains(wanted))
    };
    let mut kernels: Vec<Kernel> = names
        .iter()
        .filter_map(|name| version(name).map(|version| (name, version)))
        .map(|(name, version)| Kernel { kernel: name.clone(), initrd: initrd(&version), version })
        .collect();
    kernels.sort_by(|a, b| newer(&b.version, &a.version).then_with(|| a.kernel.cmp(&b.kernel)));
    kernels.truncate(KERNELS_MAX);
    kernels
}

/// 6.12 is newer than 6.9: digits count as numbers.
fn newer(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for piece in text.split(['.', '-', '+', '~', '_']) {
            let end = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
            let (digits, rest) = piece.split_at(end);
            parts.push((digits.parse().unwrap_or(0), rest.to_owned()));
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

/// `of_boot` is the UUID of the file system with the kernels, if that is not the one with the system.
pub fn render(kernels: &[Kernel], uuid: &str, of_boot: Option<&str>, arguments: &str) -> String {
    let (kernels_on, folder) = of_boot.map_or((uuid, "/boot"), |of_boot| (of_boot, ""));
    let mut text = String::from("# Written by grub2disk. grub-mkconfig replaces it.\n");
    let plain: String = arguments.chars().filter(|c| !c.is_control()).collect();
    // A system that talks by its serial port shows its menu there, too.
    if plain.split_whitespace().any(|word| word.starts_with("console=ttyS0")) {
        text.push_str("serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n");
    }
    let _ = write!(text, "set default=0\nset timeout={TIMEOUT}\n"); // a String takes everything
    for module in ["part_gpt", "part_msdos", "ext2", "xfs", "btrfs"] {
        let _ = writeln!(text, "insmod {module}");
    }
    let _ = writeln!(text, "search --no-floppy --fs-uuid --set=root {kernels_on}");
    for Kernel { kernel, initrd, version } in kernels {
        let space = if plain.is_empty() { "" } else { " " };
        let _ = writeln!(
            text,
            "menuentry 'Linux {version}' {{\n  linux {folder}/{kernel} root=UUID={uuid} ro{space}{}",
            quoted(&plain)
        );
        if let Some(initrd) = initrd {
            let _ = writeln!(text, "  initrd {folder}/{initrd}");
        }
        text.push_str("}\n");
    }
    text
}

/// Words as GRUB's script reads them: its own characters lose their meaning.
fn quoted(arguments: &str) -> String {
    let special = |word: &str| word.chars().any(|c| "$'\"\\{};|&<>#".contains(c));
    let words = arguments.split_whitespace();
    words
        .map(|word| if special(word) { format!("'{}'", word.replace('\'', "'\\''")) } else { word.to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_newest_kernel_comes_first_with_its_initrd() {
        let names =
            ["vmlinuz-6.9.0-1-amd64", "initrd.img-6.12.0-1-amd64", "vmlinuz-6.12.0-1-amd64", "config-6.9.0", "vmlinuz-$(x)"];
        let found = matched(names.map(str::to_owned).to_vec());
        let shown: Vec<_> = found.iter().map(|k| (k.kernel.as_str(), k.initrd.as_deref())).collect();
        assert_eq!(shown, [("vmlinuz-6.12.0-1-amd64", Some("initrd.img-6.12.0-1-amd64")), ("vmlinuz-6.9.0-1-amd64", None)]);
        let alpine = matched(["vmlinuz-lts".to_owned(), "initramfs-lts".to_owned()].to_vec());
        assert_eq!(alpine[0].initrd.as_deref(), Some("initramfs-lts"));
    }

    #[test]
    fn arguments_stay_what_they_are() {
        let kernel = Kernel { kernel: "vmlinuz".into(), initrd: None, version: String::new() };
        let apart = render(std::slice::from_ref(&kernel), "u-u", Some("b-b"), "");
        assert!(apart.contains("--set=root b-b\n") && apart.contains("linux /vmlinuz root=UUID=u-u ro\n"), "{apart}");
        let text = render(&[kernel], "u-u", None, "console=ttyS0 a=$x b='c'");
        assert!(text.contains("linux /boot/vmlinuz root=UUID=u-u ro console=ttyS0 'a=$x' 'b='\\''c'\\'''\n"), "{text}");
        assert!(text.contains("terminal_output console serial"), "{text}");
        match Command::new("grub-script-check").stdin(std::process::Stdio::piped()).spawn() {
            Ok(mut child) => {
                io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
                assert!(child.wait().unwrap().success(), "{text}");
            }
            Err(error) => eprintln!("SKIPPED: grub-script-check: {error} (Debian's package grub-common)"),
        }
    }

    #[test]
    fn the_uuid_is_that_of_the_file_system() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4 << 20).unwrap();
        assert!(matches!(uuid(file.path()), Err(MenuError::NoUuid)));
        let wanted = "01234567-89ab-cdef-0123-456789abcdef";
        let made = Command::new("/sbin/mke2fs").args(["-q", "-F", "-U", wanted]).arg(file.path()).status();
        if !made.is_ok_and(|status| status.success()) {
            return eprintln!("SKIPPED: no mke2fs (Debian's package e2fsprogs)");
        }
        assert_eq!(uuid(file.path()).unwrap(), wanted);
    }
}
