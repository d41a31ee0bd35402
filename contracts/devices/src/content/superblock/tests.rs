use super::*;

const ID: [u8; 16] = [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55];
const TEXT: &str = "11111111-2222-3333-4444-555555555555";

/// A disk of 256 KiB with these bytes at these places.
fn disk(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut disk = vec![0; 256 << 10];
    for (offset, bytes) in parts {
        disk[*offset..*offset + bytes.len()].copy_from_slice(bytes);
    }
    disk
}

fn ext4() -> Vec<u8> {
    disk(&[(1024 + 0x38, b"\x53\xef"), (1024 + 0x68, &ID), (1024 + 0x78, b"root fs/1")])
}

fn fat16() -> Vec<u8> {
    let boot: &[(usize, &[u8])] = &[
        (11, &512u16.to_le_bytes()),
        (13, &[4]),
        (14, &1u16.to_le_bytes()),
        (16, &[2]),
        (17, &512u16.to_le_bytes()),
        (21, &[0xf8]),
        (22, &8u16.to_le_bytes()),
        (39, &0x0bad_cafe_u32.to_le_bytes()),
        (43, b"IN BOOT    FAT16   "),
        (510, b"\x55\xaa"),
    ];
    disk(boot)
}

#[test]
fn a_file_system_is_known_by_its_superblock() {
    let date = b"2026010203040500";
    for (kind, disk, uuid, label) in [
        ("ext", ext4(), TEXT, Some("root fs/1")),
        ("xfs", disk(&[(0, b"XFSB"), (32, &ID), (108, b"xfslab")]), TEXT, Some("xfslab")),
        ("btrfs", disk(&[(0x10040, b"_BHRfS_M"), (0x10020, &ID), (0x1012b, b"btrlab")]), TEXT, Some("btrlab")),
        ("swap", disk(&[(4086, b"SWAPSPACE2"), (1024, &[1]), (1036, &ID), (1052, b"swaplab")]), TEXT, Some("swaplab")),
        ("crypto_LUKS", disk(&[(0, b"LUKS\xba\xbe\x00\x02"), (24, b"lukslab"), (168, TEXT.as_bytes())]), TEXT, Some("lukslab")),
        ("crypto_LUKS", disk(&[(0, b"LUKS\xba\xbe\x00\x01"), (24, b"xts"), (168, TEXT.as_bytes())]), TEXT, None),
        (
            "iso9660",
            disk(&[(0x8000, b"\x01CD001"), (0x8028, b"ISO LABEL_1  "), (0x833e, date)]),
            "2026-01-02-03-04-05-00",
            Some("ISO LABEL_1"),
        ),
        ("vfat", fat16(), "0BAD-CAFE", Some("IN BOOT")),
        ("ntfs", disk(&[(3, b"NTFS    "), (0x48, &0x12_3456_u64.to_le_bytes())]), "0000000000123456", None),
        ("f2fs", disk(&[(1024, &0xf2f5_2010_u32.to_le_bytes()), (1132, &ID), (1148, b"f\x002\x00")]), TEXT, Some("f2")),
        ("erofs", disk(&[(1024, &0xe0f5_e1e2_u32.to_le_bytes()), (1072, &ID), (1088, b"ero")]), TEXT, Some("ero")),
    ] {
        let expected = Volume { kind, uuid: Some(uuid.to_owned()), label: label.map(|label| label.as_bytes().to_vec()) };
        assert_eq!(probe(disk.as_slice()), Some(expected), "{kind}");
    }
}

#[test]
fn the_name_in_a_fat_root_folder_goes_before_the_boot_sectors() {
    let mut disk = fat16();
    let root = 17 * 512;
    let mut entry = |index: usize, name: &[u8; 11], attributes| {
        disk[root + 32 * index..][..11].copy_from_slice(name);
        disk[root + 32 * index + 11] = attributes;
    };
    entry(0, b"\xe5OLD       ", 0x08);
    entry(1, b"Along name ", 0x0f);
    entry(2, b"EFI        ", 0x10);
    entry(3, b"BOOT16     ", 0x08);
    assert_eq!(probe(disk.as_slice()).unwrap().label.unwrap(), b"BOOT16");
}

#[test]
fn what_belongs_to_a_larger_volume_or_contradicts_itself_has_no_name() {
    let with = |offset: usize, bytes: &[u8]| {
        let mut disk = ext4();
        disk[offset..offset + bytes.len()].copy_from_slice(bytes);
        disk
    };
    let md = 0xa92b_4efc_u32.to_le_bytes();
    for (case, disk) in [
        ("nothing", disk(&[])),
        ("shorter than a superblock", vec![0; 100]),
        ("LVM", disk(&[(512, b"LABELONE"), (536, b"LVM2 001")])),
        ("a RAID member, 0.90", with((256 << 10) - (64 << 10), &md)),
        ("a RAID member, 1.0", with((256 << 10) - 8192, &md)),
        ("a RAID member, 1.2", with(4096, &md)),
        ("two file systems", with(0x10040, b"_BHRfS_M")),
    ] {
        assert_eq!(probe(disk.as_slice()), None, "{case}");
    }
}
