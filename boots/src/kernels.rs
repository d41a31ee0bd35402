//! Which kernel and ramdisk a machine loads. A kernel for another processor is refused, because the machine would stop without
//! a word.

use std::io::Read;
use std::path::Path;

use crate::beneath;
use crate::{BootInterface, Config};

/// A kernel with its ramdisk, as paths below the files folder or below another server's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub kernel: String,
    pub ramdisk: String,
    /// `x86_64` or `aarch64`, if the kernel's file says so.
    pub architecture: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKernel {
    #[error(
        "its Hardware says arch {wanted}, and there is no kernel for {wanted}: {looked} were looked for below the files folder; \
         `thimble image build --output FILES/{wanted}` with a kernel package for {wanted} makes one"
    )]
    Missing { wanted: String, looked: String },
    #[error("its Hardware says arch {wanted}, and {kernel} is a kernel for {found}; correct dhcp.arch or netboot.osie.kernel")]
    Other { kernel: String, wanted: String, found: &'static str },
}

/// The word for an architecture in Tinkerbell's file names.
fn word(arch: &str) -> &str {
    match arch {
        "arm64" => "aarch64",
        "amd64" | "x86-64" => "x86_64",
        other => other,
    }
}

/// Debian's word for it, which people name folders by.
fn debian(arch: &str) -> &str {
    match arch {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}

fn name<'a>(own: &'a Option<String>, default: &'a str) -> &'a str {
    own.as_deref().unwrap_or(default).trim_start_matches('/')
}

impl Pair {
    /// The names of the settings, or of the machine's Hardware.
    #[must_use]
    pub fn of_settings(config: &Config, machine: &BootInterface) -> Self {
        Self {
            kernel: name(&machine.osie.kernel, &config.kernel).to_owned(),
            ramdisk: name(&machine.osie.initrd, &config.initrd).to_owned(),
            architecture: None,
        }
    }

    /// smee's names, for another server's files.
    #[must_use]
    pub fn of_smee(machine: &BootInterface) -> Self {
        let arch = machine.arch.as_deref().map_or("x86_64", word);
        Self {
            kernel: name(&machine.osie.kernel, &format!("vmlinuz-{arch}")).to_owned(),
            ramdisk: name(&machine.osie.initrd, &format!("initramfs-{arch}")).to_owned(),
            architecture: None,
        }
    }

    /// Kernels and ramdisks below the files folder that `find` may choose.
    #[must_use]
    pub fn named(config: &Config, machine: &BootInterface) -> Vec<(String, String)> {
        let Self { kernel, ramdisk, .. } = Self::of_settings(config, machine);
        let more = machine.arch.as_deref().map(word).map(|wanted| of_architecture(config, wanted));
        std::iter::once((kernel, ramdisk)).chain(more.into_iter().flatten()).collect()
    }

    /// What is there for this machine. It blocks while it reads the beginnings of kernels.
    ///
    /// # Errors
    /// If the Hardware names an architecture that no kernel is for.
    pub fn find(config: &Config, machine: &BootInterface) -> Result<Self, NoKernel> {
        let settings = Self::of_settings(config, machine);
        let settings = Self { architecture: of_file(&config.files, &settings.kernel), ..settings };
        let Some(wanted) = machine.arch.as_deref().map(word) else { return Ok(settings) };
        if settings.architecture == Some(wanted) || settings.architecture.is_none() && wanted == "x86_64" {
            return Ok(settings);
        }
        if let Some(kernel) = &machine.osie.kernel {
            let found = settings.architecture;
            let other = |found| NoKernel::Other { kernel: kernel.clone(), wanted: wanted.to_owned(), found };
            return found.map_or(Ok(settings), |found| Err(other(found)));
        }
        let own = machine.osie.initrd.as_deref();
        let candidates = of_architecture(config, wanted);
        let fits = candidates.iter().find(|(kernel, _)| of_file(&config.files, kernel) == Some(wanted));
        let found = fits.map(|(kernel, ramdisk)| Self {
            kernel: kernel.clone(),
            ramdisk: own.map_or_else(|| ramdisk.clone(), |own| own.trim_start_matches('/').to_owned()),
            architecture: settings_word(wanted),
        });
        found.ok_or_else(|| NoKernel::Missing {
            wanted: wanted.to_owned(),
            looked: candidates.map(|(kernel, _)| kernel).join(", "),
        })
    }
}

/// Where kernel and ramdisk of an architecture are looked for.
fn of_architecture(config: &Config, wanted: &str) -> [(String, String); 3] {
    let in_folder = |folder: &str| (format!("{folder}/{}", config.kernel), format!("{folder}/{}", config.initrd));
    [in_folder(wanted), in_folder(debian(wanted)), (format!("vmlinuz-{wanted}"), format!("initramfs-{wanted}"))]
}

fn settings_word(arch: &str) -> Option<&'static str> {
    ["x86_64", "aarch64", "riscv64"].into_iter().find(|known| *known == arch)
}

/// Enough of a kernel's beginning for its headers.
const HEAD: u64 = 4096;

fn of_file(files: &Path, path: &str) -> Option<&'static str> {
    let mut head = Vec::new();
    beneath::open(files, path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    architecture(&head)
}

/// By the boot protocols of x86 and arm64, and by the PE header of an EFI stub.
#[must_use]
pub fn architecture(head: &[u8]) -> Option<&'static str> {
    let at = |start: usize, length: usize| head.get(start..start.checked_add(length)?);
    if at(0x202, 4) == Some(b"HdrS") {
        return Some("x86_64");
    }
    if at(56, 4) == Some(b"ARM\x64") {
        return Some("aarch64");
    }
    if at(0, 2) != Some(b"MZ") {
        return None;
    }
    let header = at(0x3c, 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)?;
    let header = usize::try_from(header).ok()?;
    match (at(header, 4)?, at(header.checked_add(4)?, 2)?) {
        (b"PE\0\0", [0x64, 0x86]) => Some("x86_64"),
        (b"PE\0\0", [0x64, 0xaa]) => Some("aarch64"),
        (b"PE\0\0", [0x64, 0x50]) => Some("riscv64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use model::Mac;

    use super::*;

    fn kernel(arch: &str) -> Vec<u8> {
        let mut head = vec![0; 4096];
        match arch {
            "x86_64" => head[0x202..0x206].copy_from_slice(b"HdrS"),
            "aarch64" => head[56..60].copy_from_slice(b"ARM\x64"),
            _ => {
                head[..2].copy_from_slice(b"MZ");
                head[0x3c] = 0x80;
                head[0x80..0x86].copy_from_slice(b"PE\0\0\x64\xaa");
            }
        }
        head
    }

    #[test]
    fn a_kernel_says_what_it_is_for() {
        assert_eq!(architecture(&kernel("x86_64")), Some("x86_64"));
        assert_eq!(architecture(&kernel("aarch64")), Some("aarch64"));
        assert_eq!(architecture(&kernel("an EFI program")), Some("aarch64"));
        for head in [&b""[..], b"MZ", b"\x1f\x8b", &[b'M', b'Z', 0xff].repeat(40), b"HdrS"] {
            assert_eq!(architecture(head), None, "{head:?}");
        }
    }

    #[test]
    fn a_machine_gets_a_kernel_for_its_processor_or_none() {
        let files = tempfile::tempdir().unwrap();
        let put = |path: &str, arch: &str| {
            std::fs::create_dir_all(files.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(files.path().join(path), kernel(arch)).unwrap();
        };
        let config = Config::new(Ipv4Addr::LOCALHOST, files.path().to_owned(), files.path().to_owned());
        let find = |arch: Option<&str>, own: Option<&str>| {
            let mut machine = BootInterface::unknown(Mac::new([2, 0, 0, 0, 0, 1]));
            machine.arch = arch.map(str::to_owned);
            machine.osie.kernel = own.map(str::to_owned);
            Pair::find(&config, &machine)
                .map(|pair| format!("{} {}", pair.kernel, pair.ramdisk))
                .map_err(|error| error.to_string())
        };
        let default = Ok("kernel initramfs.cpio.zst".to_owned());
        assert_eq!(find(Some("x86_64"), None), default, "nothing is there yet");
        put("kernel", "x86_64");
        assert_eq!(find(None, None), default);
        assert_eq!(find(Some("amd64"), None), default);
        let missing = find(Some("aarch64"), None).unwrap_err();
        assert!(missing.contains("no kernel for aarch64: aarch64/kernel, arm64/kernel, vmlinuz-aarch64"), "{missing}");
        put("vmlinuz-aarch64", "x86_64");
        assert!(find(Some("aarch64"), None).is_err(), "its name is wrong");
        put("vmlinuz-aarch64", "aarch64");
        assert_eq!(find(Some("aarch64"), None), Ok("vmlinuz-aarch64 initramfs-aarch64".to_owned()));
        put("arm64/kernel", "aarch64");
        assert_eq!(find(Some("arm64"), None), Ok("arm64/kernel arm64/initramfs.cpio.zst".to_owned()));
        assert_eq!(find(Some("arm64"), Some("arm64/kernel")), Ok("arm64/kernel initramfs.cpio.zst".to_owned()));
        let other = find(Some("arm64"), Some("kernel")).unwrap_err();
        assert!(other.contains("kernel is a kernel for x86_64"), "{other}");
        put("kernel", "aarch64");
        assert_eq!(find(Some("aarch64"), None), default, "the settings name one that fits");
        assert!(find(Some("x86_64"), None).is_err());
    }

    #[test]
    fn another_servers_files_have_smees_names() {
        let names = |arch: Option<&str>, kernel: Option<&str>| {
            let mut machine = BootInterface::unknown(Mac::new([2, 0, 0, 0, 0, 1]));
            machine.arch = arch.map(str::to_owned);
            machine.osie.kernel = kernel.map(str::to_owned);
            let pair = Pair::of_smee(&machine);
            (pair.kernel, pair.ramdisk)
        };
        for (arch, own, kernel, ramdisk) in [
            (None, None, "vmlinuz-x86_64", "initramfs-x86_64"),
            (Some("x86_64"), None, "vmlinuz-x86_64", "initramfs-x86_64"),
            (Some("aarch64"), None, "vmlinuz-aarch64", "initramfs-aarch64"),
            (Some("arm64"), None, "vmlinuz-aarch64", "initramfs-aarch64"),
            (Some("aarch64"), Some("vmlinuz-rt"), "vmlinuz-rt", "initramfs-aarch64"),
        ] {
            assert_eq!(names(arch, own), (kernel.to_owned(), ramdisk.to_owned()), "{arch:?} {own:?}");
        }
    }
}
