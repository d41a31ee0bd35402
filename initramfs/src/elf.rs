//! The little of ELF that the recipe needs: is a program static, and what is in a module's `.modinfo`.

const MAGIC: &[u8] = b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_INTERP: u32 = 3;

/// Program headers and sections of a 64-bit little-endian ELF file; every offset in it is untrusted.
#[derive(Debug, Clone, Copy)]
pub struct Elf<'a> {
    bytes: &'a [u8],
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    #[error("it is not an ELF file")]
    NotElf,
    #[error("it is not a 64-bit little-endian ELF file")]
    WrongClass,
    #[error("its ELF headers point outside of the file")]
    Truncated,
}

/// Why a file cannot be started where there is no loader and no library: in the ramdisk, or alone in an image.
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

/// Accepts static programs only.
pub fn static_program(bytes: &[u8]) -> Result<Elf<'_>, NotStatic> {
    let elf = Elf::parse(bytes)?;
    if !matches!(elf.u16(16)?, ET_EXEC | ET_DYN) {
        return Err(NotStatic::NotExecutable);
    }
    match elf.interpreter()? {
        Some(loader) => Err(NotStatic::Dynamic(loader)),
        None => Ok(elf),
    }
}

impl<'a> Elf<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if !bytes.starts_with(MAGIC) {
            return Err(ElfError::NotElf);
        }
        match (bytes.get(4), bytes.get(5)) {
            (Some(&CLASS_64), Some(&LITTLE_ENDIAN)) => Ok(Self { bytes }),
            (Some(_), Some(_)) => Err(ElfError::WrongClass),
            _ => Err(ElfError::Truncated),
        }
    }

    /// The architecture as images name it; `None` for one we do not build for.
    pub fn architecture(&self) -> Result<Option<&'static str>, ElfError> {
        Ok(match self.u16(18)? {
            EM_X86_64 => Some("amd64"),
            EM_AARCH64 => Some("arm64"),
            _ => None,
        })
    }

    /// The dynamic loader that the program asks for, `None` for a static one.
    pub fn interpreter(&self) -> Result<Option<String>, ElfError> {
        let (table, size, count) = (self.u64(32)?, u64::from(self.u16(54)?), self.u16(56)?);
        for index in 0..u64::from(count) {
            let header = entry(table, size, index)?;
            if self.u32(header)? == PT_INTERP {
                let name = self.slice(self.u64(add(header, 8)?)?, self.u64(add(header, 32)?)?)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(name).into_owned()));
            }
        }
        Ok(None)
    }

    /// The bytes of the section called `name`.
    pub fn section(&self, name: &str) -> Result<Option<&'a [u8]>, ElfError> {
        let (table, size) = (self.u64(40)?, u64::from(self.u16(58)?));
        let (count, names) = (self.u16(60)?, u64::from(self.u16(62)?));
        if count == 0 {
            return Ok(None);
        }
        let names = self.section_bytes(entry(table, size, names)?)?;
        for index in 0..u64::from(count) {
            let header = entry(table, size, index)?;
            let start = usize::try_from(self.u32(header)?).map_err(|_| ElfError::Truncated)?;
            let found = names.get(start..).and_then(|rest| rest.split(|byte| *byte == 0).next());
            if found == Some(name.as_bytes()) {
                return self.section_bytes(header).map(Some);
            }
        }
        Ok(None)
    }

    fn section_bytes(&self, header: u64) -> Result<&'a [u8], ElfError> {
        self.slice(self.u64(add(header, 24)?)?, self.u64(add(header, 32)?)?)
    }

    fn slice(&self, offset: u64, length: u64) -> Result<&'a [u8], ElfError> {
        let end = add(offset, length)?;
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok()).map(|(start, end)| start..end);
        range.and_then(|range| self.bytes.get(range)).ok_or(ElfError::Truncated)
    }

    fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], ElfError> {
        self.slice(offset, N as u64)?.try_into().map_err(|_| ElfError::Truncated)
    }

    fn u16(&self, offset: u64) -> Result<u16, ElfError> {
        self.array(offset).map(u16::from_le_bytes)
    }

    fn u32(&self, offset: u64) -> Result<u32, ElfError> {
        self.array(offset).map(u32::from_le_bytes)
    }

    fn u64(&self, offset: u64) -> Result<u64, ElfError> {
        self.array(offset).map(u64::from_le_bytes)
    }
}

fn add(a: u64, b: u64) -> Result<u64, ElfError> {
    a.checked_add(b).ok_or(ElfError::Truncated)
}

fn entry(table: u64, size: u64, index: u64) -> Result<u64, ElfError> {
    size.checked_mul(index).and_then(|offset| table.checked_add(offset)).ok_or(ElfError::Truncated)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
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
        let mut file = header(1);
        file[40..48].copy_from_slice(&64u64.to_le_bytes());
        file[58..60].copy_from_slice(&64u16.to_le_bytes());
        file[60..62].copy_from_slice(&2u16.to_le_bytes());
        file[62..64].copy_from_slice(&1u16.to_le_bytes());
        let data = 64 + 2 * 64u64;
        for (name, offset, length) in [(1u32, data + names.len() as u64, text.len()), (0, data, names.len())] {
            let mut section = [0; 64];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[24..32].copy_from_slice(&offset.to_le_bytes());
            section[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            file.extend(section);
        }
        file.extend(names);
        file.extend(text);
        file
    }

    fn header(kind: u16) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16..18].copy_from_slice(&kind.to_le_bytes());
        file
    }

    #[test]
    fn a_dynamic_program_names_its_loader() {
        let file = program(PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0");
        let loader = Elf::parse(&file).unwrap().interpreter().unwrap();
        assert_eq!(loader.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
    }

    #[test]
    fn a_static_program_has_no_loader() {
        assert_eq!(Elf::parse(&program(1, b"code")).unwrap().interpreter(), Ok(None));
    }

    #[test]
    fn the_running_test_has_an_architecture() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let expected = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        assert_eq!(Elf::parse(&file).unwrap().architecture(), Ok(Some(expected)));
    }

    #[test]
    fn only_a_static_program_can_be_alone() {
        for (case, file, expected) in [
            ("dynamic", program(PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0"), "asks for the loader /lib64/ld-linux-x86-64.so.2"),
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
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(elf.section(".modinfo").unwrap(), Some(&b"depends=a,b\0"[..]));
        assert_eq!(elf.section(".text").unwrap(), None);
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (case, bytes, expected) in [
            ("a script", &b"#!/bin/sh\n"[..], ElfError::NotElf),
            ("an empty file", b"", ElfError::NotElf),
            ("the magic alone", b"\x7fELF", ElfError::Truncated),
            ("32 bits", b"\x7fELF\x01\x01", ElfError::WrongClass),
            ("big endian", b"\x7fELF\x02\x02", ElfError::WrongClass),
        ] {
            assert_eq!(Elf::parse(bytes).unwrap_err(), expected, "{case}");
        }
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 6usize..200, with in any::<u8>(), cut in 0usize..300) {
            for mut file in [program(PT_INTERP, b"/lib/ld.so\0"), module(b"depends=x\0alias=y\0")] {
                if let Some(byte) = file.get_mut(at) {
                    *byte = with;
                }
                file.truncate(cut.max(6));
                if let Ok(elf) = Elf::parse(&file) {
                    let _ = (elf.architecture(), elf.section(".modinfo"), static_program(&file));
                }
            }
        }
    }
}
