//! What the recipe needs of ELF: whether a program is static, and what is in a module's `.modinfo`.

use crate::architecture::Architecture;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{LittleEndian, Object, ObjectKind, ObjectSection};

/// A 64-bit little-endian ELF file.
pub type Elf<'a> = ElfFile64<'a, LittleEndian>;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    #[error("it is not an ELF file")]
    NotElf,
    #[error("its ELF headers are damaged, or not of a 64-bit little-endian processor")]
    Headers(#[from] object::Error),
}

/// Why a file cannot be started where neither a loader nor a library exists: in the ramdisk, or alone in an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotStatic {
    #[error("a static program is needed here")]
    NotAProgram(#[from] ElfError),
    #[error("a static program is needed here, and this is an object file or a module")]
    NotExecutable,
    #[error(
        "a static program is needed here, and this one asks for the loader {0}; \
         build it with RUSTFLAGS=\"-C target-feature=+crt-static\" and an explicit --target"
    )]
    Dynamic(String),
}

pub fn parse(bytes: &[u8]) -> Result<Elf<'_>, ElfError> {
    if bytes.starts_with(&object::elf::ELFMAG) { Ok(Elf::parse(bytes)?) } else { Err(ElfError::NotElf) }
}

/// Accepts static programs only. Returns the processor of the program, and `None` for a processor that Thimble is not built
/// for.
pub fn static_program(bytes: &[u8]) -> Result<Option<Architecture>, NotStatic> {
    let elf = parse(bytes)?;
    if !matches!(elf.kind(), ObjectKind::Executable | ObjectKind::Dynamic) {
        return Err(NotStatic::NotExecutable);
    }
    for header in elf.elf_program_headers() {
        if let Some(loader) = header.interpreter(LittleEndian, bytes).map_err(ElfError::from)? {
            return Err(NotStatic::Dynamic(String::from_utf8_lossy(loader).into_owned()));
        }
    }
    Ok(Architecture::of_elf(&elf))
}

/// The bytes of the section called `name`.
pub fn section<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, ElfError> {
    let section = parse(bytes)?.section_by_name(name).map(|section| section.data()).transpose();
    Ok(section?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use object::elf::{ET_EXEC, ET_REL, FileType, PT_INTERP, SHT_PROGBITS, SHT_STRTAB};
    use proptest::prelude::*;

    /// An ELF file with one program header of `kind` that points at `text`.
    pub(crate) fn program(kind: u32, text: &[u8]) -> Vec<u8> {
        let mut file = header(ET_EXEC);
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&1u16.to_le_bytes());
        let mut segment = [0; 56];
        segment[..4].copy_from_slice(&kind.to_le_bytes());
        segment[8..16].copy_from_slice(&120u64.to_le_bytes());
        segment[32..40].copy_from_slice(&(text.len() as u64).to_le_bytes());
        file.extend(segment);
        file.extend(text);
        file
    }

    /// A relocatable ELF file whose `.modinfo` section is `text`.
    pub(crate) fn module(text: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0";
        let mut file = header(ET_REL);
        file[40..48].copy_from_slice(&64u64.to_le_bytes());
        file[58..60].copy_from_slice(&64u16.to_le_bytes());
        file[60..62].copy_from_slice(&3u16.to_le_bytes());
        file[62..64].copy_from_slice(&2u16.to_le_bytes());
        file.extend([0; 64]); // ELF reserves the first section
        let data = 64 + 3 * 64u64;
        for (name, kind, offset, length) in
            [(1u32, SHT_PROGBITS, data + names.len() as u64, text.len()), (0, SHT_STRTAB, data, names.len())]
        {
            let mut section = [0; 64];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[4..8].copy_from_slice(&kind.0.to_le_bytes());
            section[24..32].copy_from_slice(&offset.to_le_bytes());
            section[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            file.extend(section);
        }
        file.extend(names);
        file.extend(text);
        file
    }

    fn header(kind: FileType) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&kind.0.to_le_bytes());
        file
    }

    #[test]
    fn the_running_test_has_an_architecture() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let expected = if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::Amd64 };
        assert_eq!(Architecture::of_program(&file), Some(expected));
    }

    #[test]
    fn only_a_static_program_can_be_alone() {
        for (case, file, expected) in [
            (
                "dynamic",
                program(PT_INTERP.0, b"/lib64/ld-linux-x86-64.so.2\0"),
                "asks for the loader /lib64/ld-linux-x86-64.so.2;",
            ),
            ("an object file", module(b""), "an object file or a module"),
            ("a script", b"#!/bin/sh\n".to_vec(), "a static program is needed here"),
        ] {
            let error = static_program(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{case}: {error}");
        }
        assert!(static_program(&program(1, b"code")).is_ok());
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let file = module(b"depends=a,b\0");
        assert_eq!(section(&file, ".modinfo").unwrap(), Some(&b"depends=a,b\0"[..]));
        assert_eq!(section(&file, ".text").unwrap(), None);
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (case, bytes, is_elf) in [
            ("a script", &b"#!/bin/sh\n"[..], false),
            ("an empty file", b"", false),
            ("the magic alone", b"\x7fELF", true),
            ("32 bits", b"\x7fELF\x01\x01", true),
            ("big endian", b"\x7fELF\x02\x02", true),
        ] {
            let mut padded = bytes.to_vec();
            for file in [bytes, {
                padded.resize(200, 0);
                &padded
            }] {
                let error = parse(file).unwrap_err();
                assert_eq!(error != ElfError::NotElf, is_elf, "{case}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 6usize..200, with in any::<u8>(), cut in 0usize..300) {
            for mut file in [program(PT_INTERP.0, b"/lib/ld.so\0"), module(b"depends=x\0alias=y\0")] {
                if let Some(byte) = file.get_mut(at) {
                    *byte = with;
                }
                file.truncate(cut.max(6));
                let _ = (Architecture::of_program(&file), section(&file, ".modinfo"), static_program(&file));
            }
        }
    }
}
