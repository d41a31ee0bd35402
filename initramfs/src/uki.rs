//! A unified kernel image: systemd's stub with kernel, ramdisk and arguments as sections of one PE file.

use crate::architecture::Architecture;
use sha2::{Digest, Sha256};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where Debian's package systemd-boot-efi keeps the stubs.
const STUBS: &str = "/usr/lib/systemd/boot/efi";

/// The sections end at multiples of a CD's sector. So an ISO image that has the program also has kernel and ramdisk as files.
const ALIGNMENT: usize = 2048;
const READABLE_DATA: u32 = 0x4000_0040; // IMAGE_SCN_MEM_READ | IMAGE_SCN_CNT_INITIALIZED_DATA
const SECTION_HEADER: usize = 40;
const KERNEL: &str = ".linux";
const RAMDISK: &str = ".initrd";

#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    #[error("cannot read the EFI stub {path}; install the package systemd-boot-efi (of that processor), or name one with --stub")]
    Stub {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the EFI stub is for {found}, and the kernel for {needed}: name another stub with --stub")]
    Architecture { found: Architecture, needed: Architecture },
    #[error("it is not an EFI program with room for sections")]
    NotPe,
    #[error("its header has no room for {0} more sections")]
    NoRoom(usize),
    #[error("{0} is larger than a PE file can be")]
    TooLarge(&'static str),
}

/// The stub `given`, or Debian's for this processor.
pub fn read_stub(given: Option<&Path>, needed: Architecture) -> Result<Vec<u8>, UkiError> {
    let debians = || Path::new(STUBS).join(format!("linux{}.efi.stub", needed.efi_name()));
    let path = given.map_or_else(debians, Path::to_owned);
    let stub = std::fs::read(&path).map_err(|source| UkiError::Stub { path, source })?;
    match Architecture::of_efi_program(&stub) {
        Some(found) if found != needed => Err(UkiError::Architecture { found, needed }),
        _ => Ok(stub),
    }
}

/// The sections that the stub looks for. It uses this command line, unless Secure Boot is off and it was given another one.
pub struct Parts<'a> {
    pub kernel: &'a [u8],
    pub ramdisk: &'a [u8],
    pub cmdline: &'a str,
    pub kernel_version: &'a str,
}

/// The stub with the parts behind its own sections.
pub fn image(stub: &[u8], parts: &Parts<'_>) -> Result<Vec<u8>, UkiError> {
    let release = release();
    let sections: [(&'static str, &[u8]); 5] = [
        (".osrel", release.as_bytes()),
        (".cmdline", parts.cmdline.as_bytes()),
        (".uname", parts.kernel_version.as_bytes()),
        (KERNEL, parts.kernel),
        (RAMDISK, parts.ramdisk),
    ];
    let mut image = Image::parse(stub)?;
    image.drop_symbols()?;
    image.check_room(sections.len())?;
    image.add_sbat()?;
    image.check_room(sections.len())?;
    for (name, data) in sections {
        image.append(name, data)?;
    }
    Ok(image.bytes)
}

/// Where kernel and ramdisk lie in a unified kernel image. A signature does not move them.
pub fn places(image: &[u8]) -> Result<[Range<usize>; 2], UkiError> {
    let image = Image::parse(image)?;
    let place = |name| {
        let header = image.section(name)?.ok_or(UkiError::NotPe)?;
        let (size, offset) = (image.field(header + 8)?, image.field(header + 20)?);
        Ok(offset..offset + size)
    };
    Ok([place(KERNEL)?, place(RAMDISK)?])
}

/// The section that shim reads to refuse a generation of a program by its name: CSV, as shim's SBAT.md describes it.
const SBAT: &str = ".sbat";
/// The first line of a new section.
const SBAT_HEAD: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n";
/// It rises with each flaw for which Secure Boot should refuse older images.
const GENERATION: u32 = 1;
/// The name that a stub's section gets once a larger one replaces it.
const REPLACED: &[u8; 8] = b".sbat0\0\0";

/// The entry of Thimble: component, generation, vendor, package, version, URL.
fn sbat_entry() -> String {
    format!("thimble,{GENERATION},Thimble,thimble,{},https://thimble.example/\n", env!("CARGO_PKG_VERSION"))
}

fn release() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("ID=thimble\nNAME=Thimble\nPRETTY_NAME=\"Thimble {version}\"\nVERSION_ID={version}\n")
}

/// What the machine's TPM has in PCR 11 of its SHA-256 bank once the stub has started the kernel. The stubs of systemd 252
/// and 253 extend it with each section's name and contents. Later stubs measure more: `None` for them.
pub fn pcr11(stub: &[u8], parts: &Parts<'_>) -> Option<String> {
    const SIGN: &[u8] = b"#### LoaderInfo: systemd-stub ";
    let at = stub.windows(SIGN.len()).position(|window| window == SIGN)? + SIGN.len();
    if !matches!(stub.get(at..at + 3)?, b"252" | b"253") {
        return None;
    }
    let release = release();
    let measured: [(&str, &[u8]); 4] = [
        (KERNEL, parts.kernel),
        (".osrel", release.as_bytes()),
        (".cmdline", parts.cmdline.as_bytes()),
        (RAMDISK, parts.ramdisk),
    ];
    let mut register = [0; 32];
    for (name, data) in measured.into_iter().filter(|(_, data)| !data.is_empty()) {
        for event in [[name.as_bytes(), b"\0"].concat().as_slice(), data] {
            register = Sha256::new().chain_update(register).chain_update(Sha256::digest(event)).finalize().into();
        }
    }
    Some(hex::encode(register))
}

/// A PE file that grows at its end. Offsets are as in the PE specification.
struct Image {
    bytes: Vec<u8>,
    /// The offset of the COFF header.
    coff: usize,
    optional: usize,
    table: usize,
    sections: usize,
    file_alignment: usize,
    section_alignment: usize,
    /// The address behind the last section.
    next_address: usize,
}

impl Image {
    fn parse(stub: &[u8]) -> Result<Self, UkiError> {
        let number = |at: usize, size: usize| -> Result<usize, UkiError> {
            let bytes = stub.get(at..at + size).ok_or(UkiError::NotPe)?;
            Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        };
        let start = number(0x3c, 4)?;
        if !stub.starts_with(b"MZ") || stub.get(start..start.saturating_add(4)) != Some(b"PE\0\0") {
            return Err(UkiError::NotPe);
        }
        let (coff, optional) = (start + 4, start + 24);
        let table = optional + number(coff + 16, 2)?;
        let sections = number(coff + 2, 2)?;
        let (section_alignment, file_alignment) = (number(optional + 32, 4)?, number(optional + 36, 4)?);
        let plausible = |alignment: usize| alignment.is_power_of_two() && alignment <= 1 << 20;
        if number(optional, 2)? != 0x20b || !plausible(section_alignment) || !plausible(file_alignment) {
            return Err(UkiError::NotPe);
        }
        let mut next_address = 0;
        for index in 0..sections {
            let header = table + index * SECTION_HEADER;
            next_address = next_address.max(number(header + 8, 4)? + number(header + 12, 4)?);
        }
        let bytes = stub.to_vec();
        Ok(Self { bytes, coff, optional, table, sections, file_alignment, section_alignment, next_address })
    }

    /// The headers of new sections must fit before the first section's data.
    fn check_room(&self, more: usize) -> Result<(), UkiError> {
        let headers = self.field(self.optional + 60)?;
        let end = self.table + (self.sections + more) * SECTION_HEADER;
        if end > headers { Err(UkiError::NoRoom(more)) } else { Ok(()) }
    }

    /// A linker's symbols stand behind the sections. They would be a gap between the stub's sections and the added ones.
    /// Programs that compute a file's Authenticode digest treat such a gap differently.
    fn drop_symbols(&mut self) -> Result<(), UkiError> {
        let mut end = self.field(self.optional + 60)?;
        for index in 0..self.sections {
            let header = self.table + index * SECTION_HEADER;
            end = end.max(self.field(header + 16)?.saturating_add(self.field(header + 20)?));
        }
        self.bytes.truncate(end);
        self.put(self.coff + 8, &[0; 8]) // PointerToSymbolTable, NumberOfSymbols
    }

    /// A program has one such section: shim reads the first. Thimble's entry follows those of the stub, in its section if
    /// that has room, else in a new one with a copy of them.
    fn add_sbat(&mut self) -> Result<(), UkiError> {
        let Some(header) = self.section(SBAT)? else {
            return self.append(SBAT, format!("{SBAT_HEAD}{}", sbat_entry()).as_bytes());
        };
        let (size, stored, offset) = (self.field(header + 8)?, self.field(header + 16)?, self.field(header + 20)?);
        let stubs = self.bytes.get(offset..).and_then(|rest| rest.get(..size.min(stored))).ok_or(UkiError::NotPe)?;
        let end = stubs.iter().rposition(|byte| !matches!(byte, 0 | b'\n' | b'\r')).map_or(0, |last| last + 1);
        let lines = stubs.get(..end).unwrap_or_default();
        let all =
            [if lines.is_empty() { SBAT_HEAD.trim_end().as_bytes() } else { lines }, b"\n", sbat_entry().as_bytes()].concat();
        if all.len() > stored || self.overlaps(header, all.len())? {
            self.put(header, REPLACED)?;
            return self.append(SBAT, &all);
        }
        let length = u32::try_from(all.len()).map_err(|_| UkiError::TooLarge(SBAT))?;
        self.put(offset, &all)?;
        self.put(header + 8, &length.to_le_bytes())
    }

    /// Whether the section would reach into the address of another one, with this size.
    fn overlaps(&self, header: usize, size: usize) -> Result<bool, UkiError> {
        let start = self.field(header + 12)?;
        for index in 0..self.sections {
            let other = self.field(self.table + index * SECTION_HEADER + 12)?;
            if other > start && other < start.saturating_add(size) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The header of the section with this name.
    fn section(&self, name: &str) -> Result<Option<usize>, UkiError> {
        for index in 0..self.sections {
            let header = self.table + index * SECTION_HEADER;
            let found = self.bytes.get(header..header + 8).ok_or(UkiError::NotPe)?;
            if found.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn append(&mut self, name: &'static str, data: &[u8]) -> Result<(), UkiError> {
        self.check_room(1)?;
        let large = || UkiError::TooLarge(name);
        let address = self.next_address.next_multiple_of(self.section_alignment);
        let offset = self.bytes.len().next_multiple_of(self.file_alignment);
        // Without a gap between the sections, in which Authenticode's readers differ.
        let stored = (offset + data.len()).next_multiple_of(self.file_alignment.max(ALIGNMENT)) - offset;
        let word = |value: usize| u32::try_from(value).map(u32::to_le_bytes).map_err(|_| large());

        let mut header = [0; SECTION_HEADER];
        for (to, from) in header.iter_mut().zip(name.bytes().take(8)) {
            *to = from;
        }
        let fields = [word(data.len())?, word(address)?, word(stored)?, word(offset)?, [0; 4], [0; 4], [0; 4]];
        let fields = fields.into_iter().chain([READABLE_DATA.to_le_bytes()]).flatten();
        header.iter_mut().skip(8).zip(fields).for_each(|(to, from)| *to = from);

        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(data);
        self.bytes.resize(offset + stored, 0);
        self.put(self.table + self.sections * SECTION_HEADER, &header)?;
        self.sections += 1;
        self.next_address = address + data.len();

        let count = u16::try_from(self.sections).map_err(|_| large())?;
        self.put(self.coff + 2, &count.to_le_bytes())?;
        let initialised = self.field(self.optional + 8)? + stored;
        self.put(self.optional + 8, &word(initialised)?)?;
        self.put(self.optional + 56, &word(self.next_address.next_multiple_of(self.section_alignment))?)?; // SizeOfImage
        self.put(self.optional + 64, &[0; 4]) // CheckSum: firmware does not check it, and 0 means "none"
    }

    fn field(&self, at: usize) -> Result<usize, UkiError> {
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(UkiError::NotPe)?;
        Ok(u32::from_le_bytes(bytes) as usize)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Result<(), UkiError> {
        self.bytes.get_mut(at..at + bytes.len()).ok_or(UkiError::NotPe)?.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A PE32+ header with one section and room for six more.
    pub fn stub() -> Vec<u8> {
        let mut file = vec![0; 0x400];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x40;
        file[0x40..0x44].copy_from_slice(b"PE\0\0");
        file[0x46] = 1;
        file[0x54] = 112; // size of the optional header
        let optional = 0x58;
        file[optional..optional + 2].copy_from_slice(&0x20bu16.to_le_bytes());
        file[optional + 32..optional + 36].copy_from_slice(&0x1000u32.to_le_bytes());
        file[optional + 36..optional + 40].copy_from_slice(&0x200u32.to_le_bytes());
        file[optional + 60..optional + 64].copy_from_slice(&0x200u32.to_le_bytes());
        let section = optional + 112;
        file[section + 8..section + 12].copy_from_slice(&0x10u32.to_le_bytes());
        file[section + 12..section + 16].copy_from_slice(&0x1000u32.to_le_bytes());
        file
    }

    fn parts<'a>() -> Parts<'a> {
        Parts { kernel: b"kernel", ramdisk: &[7; 0x1800], cmdline: "quiet", kernel_version: "6.1" }
    }

    #[test]
    fn the_parts_follow_the_stub_as_sections() {
        let image = image(&stub(), &parts()).unwrap();
        assert_eq!(image[0x46], 7);
        let header = |index: usize| &image[0xc8 + index * 40..][..40];
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let names: Vec<_> =
            (1..7).map(|index| String::from_utf8_lossy(&header(index)[..8]).trim_end_matches('\0').to_owned()).collect();
        assert_eq!(names, [".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"]);
        let ramdisk = header(6);
        assert_eq!((word(ramdisk, 8), word(ramdisk, 12)), (0x1800, 0x7000), "size and address");
        let offset = word(ramdisk, 20);
        assert_eq!(image[offset..offset + 0x1800], [7; 0x1800]);
        let [kernel, ramdisk] = places(&image).unwrap();
        assert_eq!((&image[kernel.clone()], ramdisk.clone()), (&b"kernel"[..], offset..offset + 0x1800));
        assert_eq!((kernel.start % ALIGNMENT, ramdisk.start % ALIGNMENT), (0, 0), "both can be files of a CD");
        assert_eq!(word(&image, 0x58 + 56), 0x9000, "size of the image in memory");
    }

    const STUBS: &str =
        "sbat,1,SBAT Version,sbat,1,https://x\nsystemd,1,The systemd Developers,systemd,252,https://systemd.io/\n";

    /// The stub with a section `.sbat` whose address space ends where another section begins.
    fn stub_with_sbat(text: &str, until: u32) -> Vec<u8> {
        let mut file = stub();
        file.resize(0x600, 0);
        file[0x46] = 3;
        file[0x58 + 60..0x58 + 64].copy_from_slice(&0x400u32.to_le_bytes()); // size of all headers
        file[0x400..0x400 + text.len()].copy_from_slice(text.as_bytes());
        for (index, name, size, address, stored, offset) in
            [(1, ".sbat", text.len() as u32, 0x2000, 0x200, 0x400), (2, ".sdmagic", 0x10u32, until, 0, 0u32)]
        {
            let header = 0xc8 + index * 40;
            file[header..header + name.len()].copy_from_slice(name.as_bytes());
            for (at, value) in [(8, size), (12, address), (16, stored), (20, offset)] {
                file[header + at..header + at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        file
    }

    /// What shim reads: the first section of the name.
    fn sbat_of(image: &[u8]) -> (usize, String) {
        let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
        let headers = (0..usize::from(image[0x46])).map(|index| 0xc8 + index * 40);
        let found: Vec<_> = headers.filter(|header| image[*header..header + 8] == *b".sbat\0\0\0").collect();
        let text = &image[word(found[0] + 20)..][..word(found[0] + 8)];
        (found.len(), String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn shim_finds_an_entry_of_thimble_beside_those_of_the_stub() {
        let padded = format!("{STUBS}\0\0");
        let unended = STUBS.trim_end();
        let long = STUBS.to_owned() + &"distribution,1,A,b,c,https://example.org/a/long/address\n".repeat(6);
        for (case, stub, before) in [
            ("a stub without one", stub(), SBAT_HEAD),
            ("room in its section", stub_with_sbat(STUBS, 0x3000), STUBS),
            ("the next section is near", stub_with_sbat(STUBS, 0x2080), STUBS),
            ("no room in the file", stub_with_sbat(&long, 0x3000), long.as_str()),
            ("zeros behind it", stub_with_sbat(&padded, 0x3000), STUBS),
            ("no end of line", stub_with_sbat(unended, 0x3000), STUBS),
            ("an empty one", stub_with_sbat("", 0x3000), SBAT_HEAD),
        ] {
            let (count, text) = sbat_of(&image(&stub, &parts()).unwrap());
            assert_eq!((count, text), (1, format!("{before}{}", sbat_entry())), "{case}");
        }
        let fields: Vec<_> = sbat_entry().trim_end().split(',').map(str::to_owned).collect();
        assert_eq!((fields.len(), &fields[..4]), (6, &["thimble", "1", "Thimble", "thimble"].map(str::to_owned)[..]));
    }

    #[test]
    fn debians_stub_keeps_its_entries() {
        let Ok(stub) = read_stub(None, Architecture::Amd64) else {
            eprintln!("skipped: the package systemd-boot-efi is not installed");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("uki.efi"), image(&stub, &parts()).unwrap()).unwrap();
        let dump = |arguments: &[&str]| {
            let out = std::process::Command::new("objcopy").args(arguments).current_dir(folder.path()).output();
            out.map(|out| String::from_utf8_lossy(&out.stderr).into_owned())
        };
        let Ok(said) = dump(&["-O", "binary", "--only-section=.sbat", "uki.efi", "sbat"]) else {
            eprintln!("skipped: objcopy is not installed");
            return;
        };
        let text = std::fs::read_to_string(folder.path().join("sbat")).unwrap_or_else(|error| panic!("{error}: {said}"));
        for start in ["sbat,1,", "systemd,1,", "thimble,1,Thimble,thimble,"] {
            assert_eq!(text.lines().filter(|line| line.starts_with(start)).count(), 1, "{start} in {text}");
        }
    }

    #[test]
    fn pcr_11_is_promised_for_stubs_whose_way_of_measuring_is_known() {
        let says = |version: &str| [&stub(), format!("#### LoaderInfo: systemd-stub {version} ####").as_bytes()].concat();
        let value = pcr11(&says("252.39-1~deb12u1"), &parts()).unwrap();
        assert_eq!(value.len(), 64);
        assert_ne!(pcr11(&says("252.39"), &Parts { cmdline: "quiet init=/bin/sh", ..parts() }).unwrap(), value);
        for unknown in ["257.1", "2", ""] {
            assert_eq!(pcr11(&says(unknown), &parts()), None, "{unknown}");
        }
        assert_eq!(pcr11(&stub(), &parts()), None);
    }

    #[test]
    fn what_is_no_stub_is_refused() {
        let mut full = stub();
        full[0x58 + 60] = 0xff;
        full[0x58 + 61] = 0;
        assert!(matches!(image(&full, &parts()), Err(UkiError::NoRoom(5))));
        assert!(matches!(image(b"#!/bin/sh", &parts()), Err(UkiError::NotPe)));
    }

    proptest! {
        #[test]
        fn damaged_stubs_never_panic(at in 0usize..0x110, with in any::<u8>(), cut in 0usize..0x401) {
            let mut file = stub();
            file[at] = with;
            file.truncate(cut);
            let _ = image(&file, &parts());
        }
    }
}
