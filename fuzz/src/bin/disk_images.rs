//! Any bytes as a disk image: what they are, their partition table, and every unpacking, in bounded memory. A partition table
//! that was adapted stays as it is when it is adapted again.
#![no_main]

use actions::image2disk::decoder::Decoder;
use actions::image2disk::format::{Format, ZstdHeader};
use actions::image2disk::qcow2::walk::{File, Sink, walk};
use actions::image2disk::qcow2::{Header, Qcow2Error};
use actions::image2disk::table::{Disk, Grow, adapt, fat};
use actions::image2disk::{oci, sniff};
use actions::selector::Selector;
use libfuzzer_sys::fuzz_target;
use std::io::Read;

/// Of unpacked data, for the time that an input takes.
const TAKEN: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let _ = sniff::look(bytes);
    let _ = ZstdHeader::parse(bytes);
    let _ = fat::convert(bytes, 4096).map(|new| assert_eq!(new.len(), bytes.len()));
    if let Ok(document) = serde_json::from_slice(bytes) {
        let _ = (oci::entry(&document, "amd64"), oci::layer(&document, Some("disk.img")), oci::layer(&document, None));
    }
    unpack(bytes);
    table(bytes);
    qcow2(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Selector::parse(text).map(|selector| selector.choose(&[]).is_ok());
    }
});

fn unpack(bytes: &[u8]) {
    let magics: [&[u8]; 3] = [&[], &[0x04, 0x22, 0x4d, 0x18], &[0x5d, 0, 0, 1, 0]];
    for magic in magics {
        let data = [magic, bytes].concat();
        let Ok(format) = Format::decide(None, "", &data) else { continue };
        if let Ok(mut decoder) = Decoder::new(format, &data, &data[..], 1 << 20) {
            let _ = std::io::copy(&mut Read::by_ref(&mut decoder).take(TAKEN), &mut std::io::sink());
        }
    }
}

/// The bytes as MBR and, with right checksums, as GPT.
fn table(bytes: &[u8]) {
    let mut head = vec![0; 64 << 10];
    let length = bytes.len().min(head.len());
    head[..length].copy_from_slice(&bytes[..length]);
    for gpt in [false, true] {
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        if gpt {
            seal(&mut head);
        }
        for (size, sector) in [(64 << 10, 512), (1 << 30, 512), (1 << 40, 4096), (512, 512)] {
            for grow in [None, Some(Grow::Last), Some(Grow::Number(2))] {
                let disk = Disk { size, sector };
                let before = head.clone();
                match adapt(&mut head, Some(1 << 20), disk, grow) {
                    Ok(adapted) => {
                        if let Some((at, backup)) = adapted.backup {
                            assert_eq!(at + backup.len() as u64, size / sector * sector);
                        }
                        for (start, length) in adapted.stale {
                            assert!(start > 0 && start + length <= size);
                        }
                        // An MBR does not say that it was converted.
                        if adapted.converted.is_empty() {
                            let adapted = head.clone();
                            if let Ok(again) = adapt(&mut head, None, disk, None) {
                                assert!(again.backup.is_none() && head == adapted);
                            }
                        }
                    }
                    Err(_) => assert!(head == before, "a refusal changes nothing"),
                }
                head = before;
            }
        }
    }
}

fn seal(head: &mut [u8]) {
    let put = |head: &mut [u8], at: usize, value: &[u8]| head[at..at + value.len()].copy_from_slice(value);
    put(head, 512, b"EFI PART");
    put(head, 524, &92u32.to_le_bytes());
    put(head, 536, &1u64.to_le_bytes());
    put(head, 584, &2u64.to_le_bytes());
    put(head, 592, &16u32.to_le_bytes());
    put(head, 596, &128u32.to_le_bytes());
    let entries = crc32fast::hash(&head[1024..1024 + 16 * 128]);
    put(head, 600, &entries.to_le_bytes());
    put(head, 528, &[0; 4]);
    let header = crc32fast::hash(&head[512..604]);
    put(head, 528, &header.to_le_bytes());
}

/// The bytes behind a header of a small disk, or as a header of their own.
fn qcow2(bytes: &[u8]) {
    let own = [b"QFI\xfb", bytes].concat();
    let small = small(bytes);
    for file in [own, small] {
        let Ok(header) = Header::parse(&file) else { continue };
        if header.size > TAKEN {
            continue;
        }
        let (mut file, mut disk) = (Bytes { data: &file, at: 0 }, Taken { size: header.size, bytes: 0, at: 0, piece: [0; 4096] });
        if walk(header, &mut file, &mut disk).is_ok() {
            assert_eq!(disk.bytes, header.size, "each byte comes once");
        }
    }
}

fn small(bytes: &[u8]) -> Vec<u8> {
    let packing = bytes.first().copied().unwrap_or(0) & 1;
    let mut file = vec![0; 512];
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb");
    put(4, &3u32.to_be_bytes());
    put(20, &9u32.to_be_bytes());
    put(24, &(65536u64 + 512).to_be_bytes());
    put(36, &3u32.to_be_bytes());
    put(40, &512u64.to_be_bytes());
    put(72, &(u64::from(packing) << 3).to_be_bytes());
    put(100, &112u32.to_be_bytes());
    put(104, &[packing]);
    file.extend(bytes);
    file
}

struct Bytes<'d> {
    data: &'d [u8],
    at: usize,
}

impl File for Bytes<'_> {
    type Error = Qcow2Error;
    fn seek(&mut self, to: u64) -> Result<(), Qcow2Error> {
        self.at = usize::try_from(to).unwrap_or(usize::MAX);
        Ok(())
    }
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Qcow2Error> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
    fn damaged(&self, error: Qcow2Error) -> Qcow2Error {
        error
    }
}

struct Taken {
    size: u64,
    bytes: u64,
    at: u64,
    piece: [u8; 4096],
}

impl Sink<Qcow2Error> for Taken {
    fn space(&mut self, at: u64) -> Result<&mut [u8], Qcow2Error> {
        self.at = at;
        Ok(&mut self.piece)
    }
    fn filled(&mut self, length: usize) -> Result<(), Qcow2Error> {
        self.zeros(self.at, length as u64)
    }
    fn zeros(&mut self, at: u64, length: u64) -> Result<(), Qcow2Error> {
        assert!(at + length <= self.size, "nothing lies behind the disk");
        self.bytes += length;
        Ok(())
    }
}
