//! Which processor a kernel, an EFI stub or a program is for. A ramdisk that mixes two does not start, and shows no reason.

use std::fmt;

use crate::elf::{self, Elf};
use object::Object;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// The processor of an EFI program, such as a kernel or a stub: the machine in the COFF header (PE specification, 3.3.1).
    /// `None` for other files, and for processors that Thimble is not built for.
    pub fn of_efi_program(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?));
        let start = usize::from(number(0x3c)?) | usize::from(number(0x3e)?) << 16;
        if !bytes.starts_with(b"MZ") || bytes.get(start..start.checked_add(4)?)? != b"PE\0\0" {
            return None;
        }
        match number(start.checked_add(4)?)? {
            0x8664 => Some(Self::Amd64),
            0xaa64 => Some(Self::Arm64),
            _ => None,
        }
    }

    /// The processor of an ELF program.
    pub fn of_program(bytes: &[u8]) -> Option<Self> {
        Self::of_elf(&elf::parse(bytes).ok()?)
    }

    pub(crate) fn of_elf(elf: &Elf<'_>) -> Option<Self> {
        match elf.architecture() {
            object::Architecture::X86_64 => Some(Self::Amd64),
            object::Architecture::Aarch64 => Some(Self::Arm64),
            _ => None,
        }
    }

    /// As Debian and OCI name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As UEFI names it: `x64` in `BOOTX64.EFI` (UEFI specification, 3.5.1.1) and in the names of systemd's stubs.
    pub fn efi_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x64",
            Self::Arm64 => "aa64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The shortest file that names a processor.
    pub fn efi_program(machine: u16) -> Vec<u8> {
        let mut file = b"MZ".to_vec();
        file.resize(0x3c, 0);
        file.extend(0x40u32.to_le_bytes());
        file.extend(*b"PE\0\0");
        file.extend(machine.to_le_bytes());
        file
    }

    #[test]
    fn an_efi_program_says_whose_processor_it_is_for() {
        for (file, expected) in [
            (efi_program(0x8664), Some(Architecture::Amd64)),
            (efi_program(0xaa64), Some(Architecture::Arm64)),
            (efi_program(0x5064), None), // RISC-V
            (b"MZ".to_vec(), None),
            (b"no program".repeat(20), None),
        ] {
            assert_eq!(Architecture::of_efi_program(&file), expected);
        }
        let mut far = efi_program(0x8664);
        far[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Architecture::of_efi_program(&far), None);
    }
}
