//! EFI device paths (UEFI 2.10, chapter 10): the bytes of those that name a file on a partition, and the text of all usual ones
//! as efibootmgr prints it.

use super::text::{guid, take_ucs2, ucs2};
use crate::partitions::{Kind, Partition, le};
use std::net::Ipv4Addr;

const MEDIA: u8 = 4;
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// A path has a few nodes.
const NODES_MAX: usize = 64;

/// A file in the file system of a partition.
pub fn of_file(partition: &Partition, loader: &str) -> Vec<u8> {
    let (signature, format, signature_type): ([u8; 16], u8, u8) = match partition.kind {
        Kind::Gpt { id, .. } => (id, 2, 2),
        Kind::Mbr { disk, .. } => {
            let mut signature = [0; 16];
            signature.iter_mut().zip(disk.to_le_bytes()).for_each(|(to, from)| *to = from);
            (signature, 1, 1)
        }
    };
    let mut drive = partition.number.to_le_bytes().to_vec();
    drive.extend(partition.start.to_le_bytes());
    drive.extend(partition.sectors.to_le_bytes());
    drive.extend(signature);
    drive.extend([format, signature_type]);
    [node(MEDIA, 1, &drive), node(MEDIA, 4, &ucs2(loader)), END.to_vec()].concat()
}

fn node(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 4).unwrap_or(u16::MAX);
    [&[kind, subtype][..], &length.to_le_bytes(), data].concat()
}

/// The text of a whole path. What is cut off or not known is in hexadecimal digits.
pub fn text(mut path: &[u8]) -> String {
    let mut words: Vec<String> = Vec::new();
    while let Some((kind, subtype, data, rest)) = split(path) {
        if kind == 0x7f || words.len() >= NODES_MAX {
            return words.join("/");
        }
        words.push(node_text(kind, subtype, data).unwrap_or_else(|| format!("Path({kind},{subtype},{})", hex::encode(data))));
        path = rest;
    }
    words.join("/")
}

/// Whether the path ends within the data, and where.
pub fn length(path: &[u8]) -> Option<usize> {
    let mut rest = path;
    loop {
        let (kind, subtype, _, after) = split(rest)?;
        rest = after;
        if kind == 0x7f && subtype == 0xff {
            return Some(path.len() - rest.len());
        }
    }
}

fn split(path: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let length = usize::try_from(le(path, 2, 2)?).ok()?;
    let (node, rest) = (path.get(..length)?, path.get(length..)?);
    Some((*node.first()?, *node.get(1)?, node.get(4..)?, rest))
}

fn node_text(kind: u8, subtype: u8, data: &[u8]) -> Option<String> {
    let number = |at, length| le(data, at, length);
    let id = |at: usize| Some(guid(data.get(at..at + 16)?.try_into().ok()?));
    Some(match (kind, subtype) {
        (1, 1) => format!("Pci(0x{:x},0x{:x})", number(1, 1)?, number(0, 1)?),
        (1, 4) => format!("VenHw({}{})", id(0)?, after_id(data)),
        (2, 1) => match number(0, 4)? {
            0x0a03_41d0 => format!("PciRoot(0x{:x})", number(4, 4)?),
            hid => format!("Acpi(0x{hid:x},0x{:x})", number(4, 4)?),
        },
        (3, 2) => format!("SCSI({},{})", number(0, 2)?, number(2, 2)?),
        (3, 5) => format!("USB({},{})", number(0, 1)?, number(1, 1)?),
        (3, 10) => format!("VenMsg({}{})", id(0)?, after_id(data)),
        (3, 11) => format!("MAC({},{})", hex::encode(data.get(..6)?), number(32, 1)?),
        (3, 12) => ipv4(data)?,
        (3, 13) => "IPv6([::]:<->[::]:,0,0)".to_owned(),
        (3, 18) => format!("SATA({},{},{})", number(0, 2)?, number(2, 2)?, number(4, 2)?),
        (3, 23) => {
            let eui: Vec<String> = data.get(4..12)?.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("NVMe(0x{:x},{})", number(0, 4)?, eui.join("-"))
        }
        (3, 24) => format!("Uri({})", String::from_utf8_lossy(data)),
        (MEDIA, 1) => drive(data)?,
        (MEDIA, 3) => format!("VenMedia({}{})", id(0)?, after_id(data)),
        (MEDIA, 4) => format!("File({})", take_ucs2(data).map_or_else(|| hex::encode(data), |(text, _)| text)),
        (MEDIA, 6) => format!("FvFile({})", id(0)?),
        (MEDIA, 7) => format!("FvVol({})", id(0)?),
        (5, 1) => {
            let name = data.get(4..)?.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("BBS({},{},0x{:x})", boot_device(number(0, 2)?), String::from_utf8_lossy(name), number(2, 2)?)
        }
        _ => return None,
    })
}

fn after_id(data: &[u8]) -> String {
    data.get(16..).filter(|rest| !rest.is_empty()).map(|rest| format!(",{}", hex::encode(rest))).unwrap_or_default()
}

fn drive(data: &[u8]) -> Option<String> {
    let (number, start, sectors) = (le(data, 0, 4)?, le(data, 4, 8)?, le(data, 12, 8)?);
    let signature: &[u8; 16] = data.get(20..36)?.try_into().ok()?;
    let (format, id) = match (data.get(36)?, data.get(37)?) {
        (_, 2) => ("GPT", guid(signature)),
        (_, 1) => ("MBR", format!("0x{:x}", le(signature, 0, 4)?)),
        _ => ("", String::new()),
    };
    Some(format!("HD({number},{format},{id},0x{start:x},0x{sectors:x})"))
}

/// Of the network that the machine boots from: mostly zeros.
fn ipv4(data: &[u8]) -> Option<String> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(data.get(at..at + 4)?).ok()?));
    let (local, remote) = (address(0)?, address(4)?);
    Some(format!("IPv4({remote}:{}<->{local}:{},{},{})", le(data, 10, 2)?, le(data, 8, 2)?, le(data, 12, 2)?, le(data, 14, 1)?))
}

fn boot_device(kind: u64) -> &'static str {
    match kind {
        1 => "Floppy",
        2 => "HDD",
        3 => "CDROM",
        4 => "PCMCIA",
        5 => "USB",
        6 => "Network",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esp() -> Partition {
        let id = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
        Partition { number: 1, start: 2048, sectors: 0x10_0000, kind: Kind::Gpt { kind: [0; 16], id } }
    }

    #[test]
    fn a_file_on_a_partition_has_the_text_that_efibootmgr_prints() {
        let path = of_file(&esp(), r"\EFI\debian\shimx64.efi");
        let expected = r"HD(1,GPT,8be4df61-93ca-11d2-aa0d-00e098032b8c,0x800,0x100000)/File(\EFI\debian\shimx64.efi)";
        assert_eq!(text(&path), expected);
        assert_eq!(length(&path), Some(path.len()));
        let mbr = Partition { kind: Kind::Mbr { kind: 0xef, disk: 0x1234_abcd }, ..esp() };
        assert_eq!(text(&of_file(&mbr, r"\a")), r"HD(1,MBR,0x1234abcd,0x800,0x100000)/File(\a)");
    }

    #[test]
    fn every_cut_of_a_path_is_read_without_harm() {
        let path = of_file(&esp(), r"\EFI\BOOT\BOOTX64.EFI");
        for end in 0..path.len() {
            assert_eq!(length(&path[..end]), None);
            let _ = text(&path[..end]);
        }
        assert_eq!(length(&[1, 1, 0, 0, 0]), None, "a node without a length leads nowhere");
    }

    #[test]
    fn paths_of_firmware_are_readable() {
        for (bytes, expected) in [
            ("02010c00d041030a00000000 01010600001f 03120a000200ffff0000 7fff0400", "PciRoot(0x0)/Pci(0x1f,0x0)/SATA(2,65535,0)"),
            ("030a1600 61dfe48bca93d211aa0d00e098032b8c 0102 7fff0400", "VenMsg(8be4df61-93ca-11d2-aa0d-00e098032b8c,0102)"),
            ("0317100001000000 0102030405060708 7fff0400", "NVMe(0x1,01-02-03-04-05-06-07-08)"),
            ("0501 0900 0200 0000 00 7fff0400", "BBS(HDD,,0x0)"),
            ("0909 0500 aa 7fff0400", "Path(9,9,aa)"),
        ] {
            assert_eq!(text(&hex::decode(bytes.replace(' ', "")).unwrap()), expected);
        }
    }
}
