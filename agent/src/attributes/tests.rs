use super::*;

/// A folder that looks like the root of a machine.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn sizes_are_rounded_up_in_units_of_1024() {
    for (bytes, want) in
        [(0, "0B"), (512, "512B"), (1024, "1KB"), (1025, "2KB"), (32 << 30, "32GB"), ((32 << 30) - 1, "32GB"), (4 << 40, "4TB")]
    {
        assert_eq!(size(bytes), want);
    }
}

#[test]
fn disks_are_found_and_others_are_not() {
    let root = machine(&[
        ("sys/block/vda/size", "8388608\n"),
        ("sys/block/vda/dev", "254:0\n"),
        ("sys/block/vda/queue/physical_block_size", "512\n"),
        ("sys/block/vda/serial", "abc\n"),
        ("sys/block/sda/size", "1000\n"),
        ("sys/block/sda/dev", "8:0\n"),
        ("sys/block/sda/queue/rotational", "1\n"),
        ("sys/block/sda/device/model", "SPINNER   \n"),
        ("sys/block/loop0/size", "8\n"),
        ("run/udev/data/b8:0", "S:disk/by-id/x\nE:ID_VENDOR=ATA\nE:ID_SERIAL_SHORT=123\nE:ID_WWN=0x5000\n"),
    ]);
    let disks = detect(root.path()).block;
    assert_eq!(disks.len(), 2);
    let (sda, vda) = (&disks[0], &disks[1]);
    assert_eq!(
        (sda.drive_type.as_deref(), sda.vendor.as_deref(), sda.model.as_deref()),
        (Some("HDD"), Some("ATA"), Some("SPINNER"))
    );
    assert_eq!((sda.serial_number.as_deref(), sda.wwn.as_deref()), (Some("123"), Some("0x5000")));
    assert_eq!(
        (vda.size.as_deref(), vda.controller_type.as_deref(), vda.drive_type.as_deref()),
        (Some("4GB"), Some("virtio"), Some("virtual"))
    );
    assert_eq!((vda.serial_number.as_deref(), vda.vendor.as_deref()), (Some("abc"), Some("unknown")));
}

#[test]
fn only_permanent_addresses_identify_an_interface() {
    let root = machine(&[
        ("sys/class/net/lo/type", "772\n"),
        ("sys/class/net/eth0/type", "1\n"),
        ("sys/class/net/eth0/address", "02:00:00:00:00:01\n"),
        ("sys/class/net/eth0/addr_assign_type", "0\n"),
        ("sys/class/net/eth0/speed", "1000\n"),
        ("sys/class/net/dummy0/address", "aa:00:00:00:00:01\n"),
        ("sys/class/net/dummy0/addr_assign_type", "3\n"),
        ("sys/class/net/dummy0/speed", "-1\n"),
    ]);
    let found = detect(root.path()).network;
    let summary: Vec<_> = found.iter().map(|n| (n.name.as_deref().unwrap(), n.mac.as_deref(), n.speed.as_deref())).collect();
    assert_eq!(summary, [("dummy0", None, None), ("eth0", Some("02:00:00:00:00:01"), Some("1000Mb/s"))]);
}

#[test]
fn installed_and_usable_memory_are_found() {
    let root = machine(&[
        ("proc/meminfo", "MemTotal:       94000 kB\n"),
        ("sys/devices/system/memory/block_size_bytes", "8000000\n"),
        ("sys/devices/system/memory/memory0/state", "online\n"),
        ("sys/devices/system/memory/memory1/state", "offline\n"),
    ]);
    let memory = detect(root.path()).memory.unwrap();
    assert_eq!((memory.total.as_deref(), memory.usable.as_deref()), (Some("128MB"), Some("92MB")));
}

#[test]
fn pci_devices_have_numbers_and_displays_are_gpus_too() {
    let root = machine(&[
        ("sys/bus/pci/devices/0000:00:02.0/vendor", "0x1234\n"),
        ("sys/bus/pci/devices/0000:00:02.0/device", "0x1111\n"),
        ("sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n"),
        ("sys/bus/pci/devices/0000:00:03.0/vendor", "0x1af4\n"),
        ("sys/bus/pci/devices/0000:00:03.0/class", "0x020000\n"),
        ("sys/class/dmi/id/product_name", "Standard PC\n"),
    ]);
    let found = detect(root.path());
    assert_eq!((found.pci.len(), found.gpu.len()), (2, 1));
    assert_eq!(found.gpu[0].product.as_deref(), Some("1111"));
    let product = found.product.unwrap();
    assert_eq!(
        (product.name.as_deref(), product.serial_number),
        (Some("Standard PC"), None),
        "an absent value is not an empty one"
    );
}

#[test]
fn disks_and_links_have_stable_names_and_positions() {
    let root = machine(&[
        ("sys/block/nvme0n1/size", "1000\n"),
        ("sys/block/nvme0n1/device/device/numa_node", "1\n"),
        ("sys/class/net/eth0/type", "1\n"),
        ("sys/class/net/eth0/device/numa_node", "-1\n"),
        ("sys/class/net/eth01/type", "1\n"),
        ("run/thimble/lldp", "eth0\tgi1/0/7\t00:11:22:33:44:55\t-\t100\n"),
    ]);
    let by_id = root.path().join("dev/disk/by-id");
    fs::create_dir_all(&by_id).unwrap();
    for (id, disk) in [("nvme-eui.0025", "nvme0n1"), ("nvme-x_1", "nvme0n1"), ("nvme-x_1-part1", "nvme0n1p1")] {
        std::os::unix::fs::symlink(format!("../../{disk}"), by_id.join(id)).unwrap();
    }
    let found = detect(root.path());
    assert_eq!(
        (found.block[0].stable_ids.as_slice(), found.block[0].numa_node),
        (&["nvme-eui.0025".into(), "nvme-x_1".into()][..], Some(1))
    );
    let neighbour = found.network[0].neighbour.clone().unwrap();
    assert_eq!((neighbour.port.as_deref(), neighbour.system, neighbour.vlan), (Some("gi1/0/7"), None, Some(100)));
    assert_eq!((found.network[0].numa_node, found.network[1].neighbour.is_none()), (None, true));
}

#[test]
fn the_platform_has_its_firmware_and_its_parts() {
    let secure = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    for (case, files, want) in [
        ("a plain one", vec![("sys/kernel", "")], (Some("BIOS"), None, None, None, None)),
        (
            "a server",
            vec![
                (secure, "\u{6}\0\0\0\u{1}"),
                ("sys/class/tpm/tpm0/tpm_version_major", "2\n"),
                ("sys/class/tpm/tpm0/pcr-sha256/11", "00A1\n"),
                ("sys/devices/system/node/node0/x", ""),
                ("sys/devices/system/node/node1/x", ""),
                ("sys/devices/system/node/possible", "0-1\n"),
            ],
            (Some("UEFI"), Some(true), Some("2.0"), Some(2), Some("00a1")),
        ),
        (
            "one that no stub started",
            vec![("sys/class/tpm/tpm0/tpm_version_major", "2\n"), ("sys/class/tpm/tpm0/pcr-sha256/11", "0000\n")],
            (Some("BIOS"), None, Some("2.0"), None, None),
        ),
    ] {
        let found = detect(machine(&files).path()).platform.unwrap();
        let seen = (found.firmware.as_deref(), found.secure_boot, found.tpm.as_deref(), found.numa_nodes, found.pcr11.as_deref());
        assert_eq!(seen, want, "{case}");
    }
}

#[test]
fn the_missing_firmware_and_the_times_of_the_boot_are_reported() {
    let root = machine(&[
        ("run/thimble/firmware-missing", "b/x.bin\tbnx2\t0000:03:00.0\na.fw\te100\t0000:00:03.0\nb/x.bin\tbnx2\t0000:03:00.0\n"),
        ("run/thimble/boot", "init\t931\nnetwork\t1500\n"),
    ]);
    let found = detect(root.path()).platform.unwrap();
    let missing: Vec<_> = found.missing_firmware.iter().map(|one| (one.file.as_deref(), one.driver.as_deref())).collect();
    assert_eq!(missing, [(Some("a.fw"), Some("e100")), (Some("b/x.bin"), Some("bnx2"))]);
    assert_eq!(found.missing_firmware[0].device.as_deref(), Some("0000:00:03.0"));
    let boot: Vec<_> = found.boot.iter().map(|one| (one.name.as_deref(), one.milliseconds)).collect();
    assert_eq!(boot, [(Some("init"), Some(931)), (Some("network"), Some(1500))]);
}

#[test]
fn the_hardware_is_detected_again_after_a_while_and_not_for_every_call() {
    static LOOKS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let look = || {
        LOOKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        AgentAttributes::default()
    };
    let (mut known, now) = (Known { detect: Some(look), last: None }, Instant::now());
    for (at, looks) in [(now, 1), (now + STALE / 2, 1), (now + STALE, 2), (now + STALE + STALE / 2, 2)] {
        assert!(known.get(at).is_some());
        assert_eq!(LOOKS.load(std::sync::atomic::Ordering::Relaxed), looks);
    }
    assert_eq!(Known::nothing().get(now), None);
}
