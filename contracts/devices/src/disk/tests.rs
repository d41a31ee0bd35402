//! Names as systemd-udevd 252 gave them to the disks of one QEMU machine.

use super::*;

fn steps(path: &[(&str, &str)]) -> Vec<Step> {
    path.iter()
        .map(|(name, subsystem)| Step { name: (*name).to_owned(), subsystem: (*subsystem).to_owned(), attribute: None })
        .collect()
}

fn with(mut steps: Vec<Step>, name: &str, attribute: Attribute) -> Vec<Step> {
    steps.iter_mut().filter(|step| step.name == name).for_each(|step| step.attribute = Some(attribute.clone()));
    steps
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn names(disk: &Disk) -> Vec<String> {
    let mut names = disk.identity().links(None, &Content::default());
    names.sort();
    names
}

fn virtio_scsi(address: &str) -> Vec<Step> {
    let target = format!("target{}", address.rsplit_once(':').map_or("", |(target, _)| target));
    let path = [
        ("pci0000:00", ""),
        ("0000:00:05.0", "pci"),
        ("virtio2", "virtio"),
        ("host0", "scsi"),
        (target.as_str(), "scsi"),
        (address, "scsi"),
        ("block", ""),
        ("sda", "block"),
    ];
    with(steps(&path), "host0", Attribute::FirstHost(0))
}

fn qemu(address: &str, page_80: &[u8], page_83: &[u8]) -> Scsi {
    Scsi {
        vendor: "QEMU    ".to_owned(),
        model: "QEMU HARDDISK   ".to_owned(),
        address: address.to_owned(),
        page_80: page_80.to_vec(),
        page_83: page_83.to_vec(),
        page_89: Vec::new(),
    }
}

const SERIAL: &[u8] = b"\x00\x80\x00\x08SCSISER1";

#[test]
fn virtio_disks_have_their_serial_number_and_two_paths() {
    let path = steps(&[("pci0000:00", ""), ("0000:00:03.0", "pci"), ("virtio0", "virtio"), ("block", ""), ("vda", "block")]);
    let disk = Disk { name: "vda".to_owned(), steps: path, serial: some("VBLK-1"), ..Disk::default() };
    assert_eq!(names(&disk), ["by-id/virtio-VBLK-1", "by-path/pci-0000:00:03.0", "by-path/virtio-pci-0000:00:03.0"]);
    assert_eq!(names(&Disk { serial: None, ..disk.clone() }), ["by-path/pci-0000:00:03.0", "by-path/virtio-pci-0000:00:03.0"]);
    let content = Content {
        uuid: some("ABCD-1234"),
        label: Some(b"EFI SYS".to_vec()),
        part_uuid: some("10000000-0000-4000-8000-000000000001"),
        part_label: some("root/part"),
    };
    let links = disk.identity().links(Some(1), &content);
    let expected = [
        "by-id/virtio-VBLK-1-part1",
        "by-path/virtio-pci-0000:00:03.0-part1",
        "by-path/pci-0000:00:03.0-part1",
        "by-uuid/ABCD-1234",
        "by-label/EFI\\x20SYS",
        "by-partuuid/10000000-0000-4000-8000-000000000001",
        "by-partlabel/root\\x2fpart",
    ];
    assert_eq!(links, expected);
}

#[test]
fn scsi_disks_have_the_best_of_their_identifiers() {
    let wwn = b"\x00\x83\x00\x18\x02\x00\x00\x08SCSISER1\x01\x03\x00\x08\x50\x00\xc5\x00\xa1\xb2\xc3\xd4";
    for (case, address, scsi, expected) in [
        (
            "a world wide name",
            "0:0:0:0",
            qemu("0:0:0:0", SERIAL, wwn),
            vec!["by-id/scsi-35000c500a1b2c3d4", "by-id/wwn-0x5000c500a1b2c3d4", "by-path/pci-0000:00:05.0-scsi-0:0:0:0"],
        ),
        (
            "a vendor's own",
            "0:0:3:2",
            qemu("0:0:3:2", b"", b"\x00\x83\x00\x06\x02\x00\x00\x02d4"),
            vec!["by-id/scsi-0QEMU_QEMU_HARDDISK_d4", "by-path/pci-0000:00:05.0-scsi-0:0:3:2"],
        ),
        (
            "only a serial number",
            "0:0:0:0",
            qemu("0:0:0:0", SERIAL, b""),
            vec!["by-id/scsi-SQEMU_QEMU_HARDDISK_SCSISER1", "by-path/pci-0000:00:05.0-scsi-0:0:0:0"],
        ),
        (
            "pages that are cut off",
            "0:0:0:0",
            qemu("0:0:0:0", b"\x00\x80\x00", b"\x00\x83\x00\x18\x01\x03\x00\x08\x50"),
            vec!["by-path/pci-0000:00:05.0-scsi-0:0:0:0"],
        ),
    ] {
        let disk = Disk { name: "sda".to_owned(), steps: virtio_scsi(address), scsi: Some(scsi), ..Disk::default() };
        assert_eq!(names(&disk), expected, "{case}");
    }
}

#[test]
fn ata_disks_have_model_serial_number_and_port() {
    let mut page_89 = vec![0; 572];
    // Words are little-endian, text in them big-endian.
    let mut text = |word: usize, text: &str| {
        for (index, pair) in text.as_bytes().chunks(2).enumerate() {
            page_89[60 + 2 * (word + index)..][..2].copy_from_slice(&[pair[1], pair[0]]);
        }
    };
    text(10, &format!("{:<20}", "ATASER1"));
    text(27, &format!("{:<40}", "QEMU HARDDISK"));
    for (index, word) in [0x5000u16, 0xc500, 0xaaaa, 0xbbbb].into_iter().enumerate() {
        page_89[60 + 2 * (108 + index)..][..2].copy_from_slice(&word.to_le_bytes());
    }
    let scsi = Scsi { vendor: "ATA     ".to_owned(), page_89, ..qemu("1:0:0:0", b"", b"") };
    let path = [
        ("pci0000:00", ""),
        ("0000:00:1f.2", "pci"),
        ("ata1", ""),
        ("host1", "scsi"),
        ("target1:0:0", "scsi"),
        ("1:0:0:0", "scsi"),
        ("block", ""),
        ("sdc", "block"),
    ];
    let path = with(with(steps(&path), "host1", Attribute::FirstHost(1)), "ata1", Attribute::AtaPort("1".to_owned()));
    let disk = Disk { name: "sdc".to_owned(), steps: path, scsi: Some(scsi), ..Disk::default() };
    let expected = [
        "by-id/ata-QEMU_HARDDISK_ATASER1",
        "by-id/wwn-0x5000c500aaaabbbb",
        "by-path/pci-0000:00:1f.2-ata-1",
        "by-path/pci-0000:00:1f.2-ata-1.0",
    ];
    assert_eq!(names(&disk), expected);
}

#[test]
fn nvme_disks_have_three_names_of_their_own() {
    let path = steps(&[("pci0000:00", ""), ("0000:00:06.0", "pci"), ("nvme", ""), ("nvme0", "nvme"), ("nvme0n1", "block")]);
    let disk = Disk {
        name: "nvme0n1".to_owned(),
        steps: with(path, "nvme0n1", Attribute::Namespace("1".to_owned())),
        serial: some("NVMESER1            "),
        model: some("QEMU NVMe Ctrl                          "),
        wwid: some("nvme.1b36-4e564d4553455231-51454d55204e564d65204374726c-00000001"),
        nsid: some("1"),
        ..Disk::default()
    };
    let expected = [
        "by-id/nvme-QEMU_NVMe_Ctrl_NVMESER1",
        "by-id/nvme-QEMU_NVMe_Ctrl_NVMESER1_1",
        "by-id/nvme-nvme.1b36-4e564d4553455231-51454d55204e564d65204374726c-00000001",
        "by-path/pci-0000:00:06.0-nvme-1",
    ];
    assert_eq!(names(&disk), expected);
}

#[test]
fn usb_disks_have_the_serial_number_of_the_usb_device() {
    for (serial, id) in [
        (Some("USBSER1"), "by-id/usb-QEMU_QEMU_HARDDISK_USBSER1-0:0"),
        (Some("1-0000:00:07.0-2"), "by-id/usb-QEMU_QEMU_HARDDISK_1-0000:00:07.0-2-0:0"),
        (Some("bad,serial"), "by-id/usb-QEMU_QEMU_HARDDISK-0:0"),
        (None, "by-id/usb-QEMU_QEMU_HARDDISK-0:0"),
    ] {
        let path = [
            ("pci0000:00", ""),
            ("0000:00:07.0", "pci"),
            ("usb1", "usb"),
            ("1-1", "usb"),
            ("1-1:1.0", "usb"),
            ("host6", "scsi"),
            ("target6:0:0", "scsi"),
            ("6:0:0:0", "scsi"),
            ("block", ""),
            ("sdf", "block"),
        ];
        let usb = Usb {
            vendor_id: "46f4".to_owned(),
            product_id: "0001".to_owned(),
            serial: serial.map(str::to_owned),
            ..Usb::default()
        };
        let disk = Disk {
            name: "sdf".to_owned(),
            steps: with(steps(&path), "host6", Attribute::FirstHost(6)),
            scsi: Some(qemu("6:0:0:0", b"", b"")),
            usb: Some(usb),
            ..Disk::default()
        };
        assert_eq!(names(&disk), [id, "by-path/pci-0000:00:07.0-usb-0:1:1.0-scsi-0:0:0:0"]);
    }
}

#[test]
fn fabrics_have_places_of_their_own() {
    let path = |attribute: Option<Attribute>| {
        let path =
            [("pci0000:00", ""), ("0000:03:00.0", "pci"), ("host0", "scsi"), ("end", ""), ("0:0:4:1", "scsi"), ("sda", "block")];
        let path = steps(&path);
        attribute.map_or(path.clone(), |attribute| with(path, "end", attribute))
    };
    let address = "0x5000c50012345678".to_owned();
    for (attribute, expected) in [
        (Some(Attribute::FibreChannel("0x21000024ff".to_owned())), "by-path/pci-0000:03:00.0-fc-0x21000024ff-lun-1"),
        (Some(Attribute::Sas(SasPlace::Phy { phy: "4".to_owned() })), "by-path/pci-0000:03:00.0-sas-phy4-lun-1"),
        (
            Some(Attribute::Sas(SasPlace::Wide { address: address.clone() })),
            "by-path/pci-0000:03:00.0-sas-0x5000c50012345678-lun-1",
        ),
        (
            Some(Attribute::Sas(SasPlace::Expander { expander: address, phy: "7".to_owned() })),
            "by-path/pci-0000:03:00.0-sas-exp0x5000c50012345678-phy7-lun-1",
        ),
        (None, "by-path/pci-0000:03:00.0-scsi-0:0:4:1"),
    ] {
        assert_eq!(names(&Disk { name: "sda".to_owned(), steps: path(attribute), ..Disk::default() }), [expected]);
    }
}

#[test]
fn a_disk_without_a_lasting_place_has_no_path() {
    let path = steps(&[("virtual", ""), ("block", ""), ("loop0", "block")]);
    assert_eq!(names(&Disk { name: "loop0".to_owned(), steps: path, ..Disk::default() }), Vec::<String>::new());
}

#[test]
fn a_label_cannot_leave_its_folder() {
    for label in ["..", ".", ""] {
        let content = Content { label: Some(label.as_bytes().to_vec()), ..Content::default() };
        assert_eq!(Identity::default().links(None, &content), Vec::<String>::new(), "{label}");
    }
}

#[test]
fn only_disks_get_names() {
    for (name, expected) in [
        ("sda", true),
        ("sda1", true),
        ("nvme0n1p2", true),
        ("sr0", true),
        ("loop3", true),
        ("ram0", false),
        ("zram0", false),
        ("dm-0", false),
        ("md127", false),
        ("sd", false),
        ("sdX", false),
    ] {
        assert_eq!(is_named(name), expected, "{name}");
    }
}
