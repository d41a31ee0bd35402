//! Whole builds from small packages made here.

use super::*;
use crate::deb::tests::package;
use crate::elf::tests::{module, program};
use tempfile::TempDir;

const CONFIG: &str = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_ZSTD=y\nCONFIG_DEVTMPFS=y\n";

/// A kernel package whose `virtio_pci` needs `virtio`, and whose overlay is built in.
fn kernel_files() -> Vec<(&'static str, Vec<u8>)> {
    let builtin = "kernel/fs/overlayfs/overlay.ko\n".to_owned();
    vec![
        ("boot/config-6.1.0-t", CONFIG.into()),
        ("boot/vmlinuz-6.1.0-t", b"the kernel".to_vec()),
        ("lib/modules/6.1.0-t/kernel/virtio_pci.ko", module(b"depends=virtio\0")),
        ("lib/modules/6.1.0-t/kernel/virtio.ko", module(b"depends=\0name=virtio\0")),
        ("lib/modules/6.1.0-t/kernel/unused.ko", module(b"depends=virtio\0")),
        ("lib/modules/6.1.0-t/modules.builtin", builtin.into_bytes()),
    ]
}

fn deb(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    io::Write::write_all(&mut xz, &tarball(files)).unwrap();
    package("data.tar.xz", &xz.finish().unwrap())
}

fn tarball(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, &data[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

struct Lab {
    folder: TempDir,
    request: Request,
}

fn lab(files: &[(&str, Vec<u8>)]) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("kernel.deb"), deb(files)).unwrap();
    fs::write(at("init"), program(1, b"static code")).unwrap();
    let request = Request {
        kernel: KernelSource::Debs(vec![at("kernel.deb")]),
        init: at("init"),
        selection: Selection::default(),
        ca: CaBundle::None,
        extra_ca: Vec::new(),
        cmdline: None,
        settings: Vec::new(),
        embed: Vec::new(),
        firmware: Vec::new(),
        rescue: false,
        media: Media::default(),
        mtime: 0,
        output: at("out"),
    };
    Lab { folder, request }
}

/// The error with its causes, as the command prints it.
fn chain(error: &BuildError) -> String {
    machine::Chain(error).to_string()
}

#[test]
fn a_package_becomes_a_kernel_and_a_ramdisk() {
    let lab = lab(&kernel_files());
    let report = build(&lab.request).unwrap();
    assert_eq!(fs::read(lab.request.output.join("kernel")).unwrap(), b"the kernel");
    let ramdisk = fs::read(&report.initramfs.path).unwrap();
    let archive = zstd::decode_all(&ramdisk[..]).unwrap();
    assert_eq!(archive.len(), report.unpacked);
    let text = String::from_utf8_lossy(&archive);
    assert!(text.contains("kernel/virtio_pci.ko: kernel/virtio.ko\n"), "what a module needs");
    assert!(!text.contains("unused"));
    let sums = fs::read_to_string(lab.request.output.join("SHA256SUMS")).unwrap();
    assert!(sums.contains(&format!("{}  initramfs.cpio.zst\n", report.initramfs.sha256)));
    assert_eq!(report.kernel_version, "6.1.0-t");
    assert!(report.parts.iter().any(|part| part.path == "/init"));
}

#[test]
fn the_policy_is_in_ramdisk_manifest_report_and_sbom() {
    let mut lab = lab(&kernel_files());
    let policy = ExtraFile::text(machine::files::POLICY.into(), "{\"requireDigest\":true}".into());
    lab.request.settings = vec![policy.clone()];
    lab.request.media = Media { uki: true, stub: Some(lab.folder.path().join("stub")), ..Media::default() };
    fs::write(lab.folder.path().join("stub"), crate::uki::tests::stub()).unwrap();
    let report = build(&lab.request).unwrap();
    let archive = zstd::decode_all(&fs::read(&report.initramfs.path).unwrap()[..]).unwrap();
    let text = String::from_utf8_lossy(&archive);
    assert!(text.contains("{\"requireDigest\":true}") && text.contains("22 /etc/thimble/policy.json\n"), "file and manifest");
    let [found] = &report.settings[..] else { panic!("{:?}", report.settings) };
    assert_eq!((found.path.to_str(), &found.sha256), (Some("/etc/thimble/policy.json"), &sha256(&policy.data)));
    let sbom = fs::read_to_string(lab.request.output.join("sbom.cdx.json")).unwrap();
    assert!(sbom.contains("/etc/thimble/policy.json") && sbom.contains(&found.sha256), "{sbom}");
    let (uki, ramdisk) = (fs::read(lab.request.output.join("thimble.efi")).unwrap(), fs::read(&report.initramfs.path).unwrap());
    assert!(uki.windows(ramdisk.len()).any(|window| window == ramdisk), "the unified kernel image has the same ramdisk");
}

#[test]
fn the_authority_of_the_server_and_the_table_of_the_site_are_in_the_media_alone() {
    let mut lab = lab(&kernel_files());
    let at = |name: &str| lab.folder.path().join(name);
    fs::write(at("stub"), crate::uki::tests::stub()).unwrap();
    let pem = "-----BEGIN CERTIFICATE-----\nauthority\n-----END CERTIFICATE-----\n";
    fs::write(at("ca.crt"), pem).unwrap();
    fs::write(at("text"), "text").unwrap();
    let (ca, text, gone) = (at("ca.crt"), at("text"), at("gone"));
    lab.request.cmdline = Some("grpc_authority=10.0.0.1:42113".into());
    lab.request.media = Media { uki: true, stub: Some(at("stub")), server_ca: Some(ca), ..Media::default() };
    lab.request.media.site = Some(b"thimble-site 1\t\nm1\t-\tS1\t-\t-\n".to_vec());
    let report = build(&lab.request).unwrap();
    let (uki, mut ramdisk) = (fs::read(&report.media[0].path).unwrap(), fs::read(&report.initramfs.path).unwrap());
    assert!(!String::from_utf8_lossy(&zstd::decode_all(&ramdisk[..]).unwrap()).contains("authority\n-----END"));
    ramdisk.resize(ramdisk.len().next_multiple_of(4), 0);
    let begin = uki.windows(ramdisk.len()).position(|window| window == ramdisk).expect("the same ramdisk");
    let [_, place] = crate::uki::places(&uki).unwrap();
    let segment = zstd::decode_all(&uki[begin + ramdisk.len()..place.end]).expect("a segment follows the ramdisk");
    let segment = String::from_utf8_lossy(&segment);
    assert!(segment.contains(pem) && segment.contains("etc/thimble/site\0"));
    assert!(segment.contains("\nm1\t-\tS1\t-\t-\n"));
    let arguments = b"tinkerbell_tls=true grpc_authority=10.0.0.1:42113";
    assert!(uki.windows(arguments.len()).any(|window| window == arguments), "the operator's words come later and win");
    let found = report.server_ca.unwrap();
    assert_eq!((found.path.to_str(), found.sha256), (Some(machine::files::SERVER_CA), sha256(pem.as_bytes())));
    for (path, expected) in [(text, "text is not a certificate in PEM form"), (gone, "gone")] {
        lab.request.media.server_ca = Some(path);
        let error = chain(&build(&lab.request).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn media_have_room_for_the_arguments_of_a_machine_if_that_is_wanted() {
    let mut lab = lab(&kernel_files());
    let stub = lab.folder.path().join("stub");
    fs::write(&stub, crate::uki::tests::stub()).unwrap();
    lab.request.cmdline = Some("console=ttyS0".into());
    for placeholder in [false, true] {
        lab.request.media = Media { uki: true, placeholder, stub: Some(stub.clone()), ..Media::default() };
        let report = build(&lab.request).unwrap();
        let uki = fs::read(&report.media[0].path).unwrap();
        let wanted = format!("console=ttyS0 {}", cmdline::PLACEHOLDER);
        assert_eq!(uki.windows(wanted.len()).any(|window| window == wanted.as_bytes()), placeholder);
    }
}

#[test]
fn modules_that_the_kernel_unpacks_itself_stay_as_they_are() {
    let unpacks = "CONFIG_MODULE_COMPRESS_XZ=y\nCONFIG_MODULE_DECOMPRESS=y\n";
    let xz = |dictionary: u32| {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.lzma_options.dict_size = dictionary;
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        io::Write::write_all(&mut writer, &module(b"depends=\0name=a\0")).unwrap();
        writer.finish().unwrap()
    };
    for (case, config, dictionary, ending) in [
        ("Debian 13", unpacks, 1 << 20, "a.ko.xz"),
        ("a kernel that cannot", "CONFIG_MODULE_COMPRESS_XZ=y\n", 1 << 20, "a.ko.zst"),
        ("a dictionary for large machines", unpacks, 64 << 20, "a.ko.zst"),
    ] {
        let files = [
            ("boot/config-6.12", format!("{CONFIG}{config}").into_bytes()),
            ("boot/vmlinuz-6.12", b"the kernel".to_vec()),
            ("lib/modules/6.12/kernel/a.ko.xz", xz(dictionary)),
        ];
        let lab = lab(&files);
        let kernel = Kernel::survey(&lab.request.kernel).unwrap();
        let order = ["kernel/a.ko.xz"];
        let (read, small) = kernel.files(&lab.request.kernel, &order).unwrap();
        let stored = kernel.stored(&read, &order, small).unwrap();
        assert_eq!(stored[0].path, format!("kernel/{ending}"), "{case}");
        assert!(stored[0].info.depends.is_empty(), "{case}");
        assert_eq!(stored[0].data == xz(dictionary), small == Storing::Shipped, "{case}");
    }
}

#[test]
fn two_builds_are_the_same_bytes() {
    let (one, two) = (lab(&kernel_files()), lab(&kernel_files()));
    let (one, two) = (build(&one.request).unwrap(), build(&two.request).unwrap());
    assert_eq!(one.initramfs.sha256, two.initramfs.sha256);
    assert_eq!(one.kernel.sha256, two.kernel.sha256);
}

/// Images and firmware files come in another order, and every file of the output is the same.
#[test]
fn the_order_of_what_is_added_changes_nothing() {
    let layouts = [("a:1", b"one"), ("b:1", b"two")].map(|(name, layer)| {
        let mut layout = crate::embed::tests::Lab::default();
        layout.named(layout.manifest(layer), "org.opencontainers.image.ref.name", name);
        layout
    });
    let paths = layouts.each_ref().map(crate::embed::tests::Lab::done);
    let mut files = kernel_files();
    files.retain(|(path, _)| !path.ends_with("virtio.ko"));
    let wants = module(b"depends=\0name=virtio\0firmware=x/a.bin\0firmware=x/b.bin\0firmware=gone.bin\0");
    files.push(("lib/modules/6.1.0-t/kernel/virtio.ko", wants));
    let built = [["a.bin", "b.bin"], ["b.bin", "a.bin"]].map(|order| {
        let mut lab = lab(&files);
        let firmware = lab.folder.path().join("firmware");
        fs::create_dir_all(firmware.join("x")).unwrap();
        for name in order {
            fs::write(firmware.join("x").join(name), name).unwrap();
        }
        lab.request.firmware = vec![firmware];
        lab.request.embed = paths.to_vec();
        if order[0] == "b.bin" {
            lab.request.embed.reverse();
        }
        let report = build(&lab.request).unwrap();
        assert!(report.parts.iter().any(|part| part.path == "/lib/firmware/x/a.bin"), "{:?}", report.parts);
        assert!(report.parts.iter().any(|part| part.path == "/images/index.json"));
        ["SHA256SUMS", "sbom.cdx.json"].map(|file| fs::read_to_string(lab.request.output.join(file)).unwrap())
    });
    assert_eq!(built[0], built[1]);
}

#[test]
fn an_unpacked_package_gives_the_same_ramdisk() {
    let mut lab = lab(&kernel_files());
    let from_deb = build(&lab.request).unwrap();
    let root = lab.folder.path().join("root");
    for (path, data) in kernel_files() {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    lab.request.kernel = KernelSource::Directory(root);
    assert_eq!(build(&lab.request).unwrap().initramfs.sha256, from_deb.initramfs.sha256);
}

/// Ubuntu splits the kernel from its modules, and packs both packages and modules with zstd.
#[test]
fn ubuntus_two_packages_give_one_kernel() {
    let mut lab = lab(&kernel_files());
    let packed = |data: &[u8]| zstd::encode_all(data, 1).unwrap();
    let (image, modules): (Vec<_>, Vec<_>) = kernel_files().into_iter().partition(|(path, _)| path.contains("vmlinuz"));
    let names: Vec<String> = modules.iter().map(|(path, _)| path.replace(".ko", ".ko.zst")).collect();
    let modules: Vec<(&str, Vec<u8>)> = modules
        .iter()
        .zip(&names)
        .map(|((path, data), name)| (name.as_str(), if path.ends_with(".ko") { packed(data) } else { data.clone() }))
        .collect();
    let paths = [("linux-image.deb", &image), ("linux-modules.deb", &modules)].map(|(name, files)| {
        let path = lab.folder.path().join(name);
        fs::write(&path, package("data.tar.zst", &packed(&tarball(files)))).unwrap();
        path
    });
    let debian = build(&lab.request).unwrap();
    lab.request.kernel = KernelSource::Debs(paths.to_vec());
    let ubuntu = build(&lab.request).unwrap();
    let modules = |report: &Report| report.parts.iter().filter(|part| part.path.contains(".ko")).count();
    assert_eq!((ubuntu.kernel.sha256.as_str(), modules(&ubuntu)), (debian.kernel.sha256.as_str(), 2));

    lab.request.kernel = KernelSource::Debs(paths[..1].to_vec());
    assert!(build(&lab.request).is_err(), "a kernel without modules");
    lab.request.kernel = KernelSource::Debs(paths[1..].to_vec());
    let error = chain(&build(&lab.request).unwrap_err());
    assert!(error.contains("Ubuntu's packages linux-image-* and linux-modules-*"), "{error}");
}

#[test]
fn a_failure_says_what_is_missing_and_keeps_the_old_files() {
    let without = |path: &str| kernel_files().into_iter().filter(|(name, _)| !name.ends_with(path)).collect::<Vec<_>>();
    let mut second = kernel_files();
    second.push(("boot/vmlinuz-6.2.0-t", Vec::new()));
    let mut small = without("config-6.1.0-t");
    small.push(("boot/config-6.1.0-t", CONFIG.replace("CONFIG_RD_ZSTD=y", "# CONFIG_RD_ZSTD is not set").into()));
    let mut broken = without("unused.ko");
    broken.push(("lib/modules/6.1.0-t/kernel/unused.ko", b"text".to_vec()));
    for (case, files, expected) in [
        ("no kernel", without("vmlinuz-6.1.0-t"), "holds no kernel"),
        ("two kernels", second, "more than one kernel: 6.1.0-t, 6.2.0-t"),
        ("no module", without("virtio.ko"), "has no module virtio, neither as a file nor built in (needed by virtio_pci)"),
        ("no zstd", small, "is built without CONFIG_RD_ZSTD"),
        ("a damaged module", broken, "kernel/unused.ko of the kernel package"),
    ] {
        let lab = lab(&files);
        fs::create_dir(&lab.request.output).unwrap();
        fs::write(lab.request.output.join("kernel"), b"old").unwrap();
        let error = chain(&build(&lab.request).unwrap_err());
        assert!(error.contains(expected), "{case}: {error}");
        assert_eq!(fs::read(lab.request.output.join("kernel")).unwrap(), b"old", "{case}");
    }
}

#[test]
fn an_extra_module_must_exist() {
    let mut lab = lab(&kernel_files());
    lab.request.selection.modules = vec!["e1000e".into()];
    let error = chain(&build(&lab.request).unwrap_err());
    assert!(error.contains("kernel.deb does not fit: the kernel has no module e1000e"), "{error}");
}

#[test]
fn a_dynamic_init_is_refused_by_name() {
    let lab = lab(&kernel_files());
    fs::write(&lab.request.init, program(3, b"/lib64/ld-linux-x86-64.so.2\0")).unwrap();
    let error = chain(&build(&lab.request).unwrap_err());
    assert!(error.contains("/init: /init cannot be this file: a static program is needed here, and this one asks"), "{error}");
}

#[test]
fn a_missing_ca_bundle_says_what_to_do() {
    let mut lab = lab(&kernel_files());
    lab.request.ca = CaBundle::File(lab.folder.path().join("gone.pem"));
    let error = chain(&build(&lab.request).unwrap_err());
    assert!(error.contains("gone.pem; install the package ca-certificates"), "{error}");
}

#[test]
fn a_cut_package_is_an_error() {
    let lab = lab(&kernel_files());
    let path = lab.request.kernel.path();
    let whole = fs::read(path).unwrap();
    fs::write(path, &whole[..whole.len() - 40]).unwrap();
    assert!(build(&lab.request).is_err());
}
