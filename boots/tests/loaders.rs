//! Boot loaders other than iPXE get the configuration of their machine's state, by TFTP and by HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use boots::ipxe::Packs;
use boots::kernels::{NoKernel, Pair};
use boots::loaders::{Asked, NotMade, Via, make};
use boots::{BootInterface, BootState, MachineSource, Milestone, RaspberryPi, SourceFuture};
use model::Mac;
use support::{Broken, FORBIDDEN, Fixed, Host, KNOWN, LIMIT, config, machine};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

fn pi(file: &str) -> Asked {
    Asked::RaspberryPi { serial: None, file: file.to_owned() }
}

fn local() -> BootState {
    BootState::Local { reason: "installed".to_owned() }
}

fn text(asked: &Asked, via: Via, machine: &BootInterface) -> Result<String, NotMade> {
    let made = make(asked, via, &config(), machine, &Packs::default(), 7)?;
    let header = if *asked == Asked::BootScript { 72 } else { 0 };
    Ok(String::from_utf8(made.bytes[header..].to_vec()).unwrap())
}

#[test]
fn pxelinux_and_uboot_load_the_environment_or_leave_for_the_disk() {
    let known = machine(KNOWN);
    let tftp = text(&Asked::Pxelinux, Via::Tftp, &known).unwrap();
    let lines: Vec<&str> = tftp.lines().map(str::trim).collect();
    assert_eq!(lines[..3], ["default thimble", "prompt 0", "timeout 0"]);
    assert!(lines[3].starts_with("say ") && lines[4] == "label thimble", "a word that U-Boot does not know ends its label");
    assert!(lines.contains(&"kernel files/kernel") && lines.contains(&"initrd files/initramfs.cpio.zst"), "{tftp}");
    let append = lines.iter().find_map(|line| line.strip_prefix("append ")).unwrap();
    assert!(append.contains("worker_id=02:00:00:00:00:01") && !append.contains("initrd="), "{append}");
    let http = text(&Asked::Pxelinux, Via::Http, &known).unwrap();
    assert!(http.contains("kernel http://10.0.0.1:7080/files/kernel\n"), "{http}");
    let leaves = text(&Asked::Pxelinux, Via::Tftp, &BootInterface { boot: local(), ..known.clone() }).unwrap();
    assert!(leaves.ends_with("localboot -1\n") && !leaves.contains("kernel "), "{leaves}");
    let own = BootInterface { pxelinux: Some("DEFAULT mine\n".to_owned()), ..known };
    assert_eq!(text(&Asked::Pxelinux, Via::Tftp, &own).as_deref(), Ok("DEFAULT mine\n"));
    let own = text(&Asked::Pxelinux, Via::Tftp, &BootInterface { boot: local(), ..own }).unwrap();
    assert!(own.contains("localboot"), "an installed machine is not caught by its own configuration");
}

#[test]
fn grub_loads_the_environment_or_starts_the_first_loader_of_a_disk() {
    let known = machine(KNOWN);
    let install = text(&Asked::Grub, Via::Tftp, &known).unwrap();
    assert!(install.contains("\nlinux '/files/kernel' '"), "{install}");
    assert!(
        install.contains("'worker_id=02:00:00:00:00:01'") && install.contains("\ninitrd '/files/initramfs.cpio.zst'\nboot\n")
    );
    assert!(install.ends_with("sleep 10\nreboot\n"), "it goes on trying: {install}");
    let wait = text(&Asked::Grub, Via::Tftp, &BootInterface { boot: BootState::Wait { reason: String::new() }, ..known.clone() });
    assert!(wait.unwrap().contains("chainloader $loader"), "it boots its disk if its files are not there");
    let leaves = text(&Asked::Grub, Via::Tftp, &BootInterface { boot: local(), ..known.clone() }).unwrap();
    assert!(leaves.contains("/EFI/BOOT/BOOTX64.EFI") && !leaves.contains("\nlinux "), "{leaves}");
    let mut foreign = known;
    foreign.osie.base_url = Some("http://mirror:8080/osie/".to_owned());
    let text_of = |machine: &BootInterface| text(&Asked::Grub, Via::Tftp, machine);
    assert!(text_of(&foreign).unwrap().contains("linux '(http,mirror:8080)/osie/vmlinuz-x86_64' "));
    foreign.osie.base_url = Some("https://mirror/osie".to_owned());
    assert!(text_of(&foreign).unwrap_err().to_string().contains("it has no HTTPS"));
}

#[test]
fn a_raspberry_pi_gets_its_config_and_its_arguments() {
    let mut known = machine(KNOWN);
    let config_txt = text(&pi("config.txt"), Via::Tftp, &known).unwrap();
    assert!(config_txt.contains("kernel=kernel\ninitramfs initramfs.cpio.zst followkernel\n"), "{config_txt}");
    let arguments = text(&pi("cmdline.txt"), Via::Tftp, &known).unwrap();
    assert!(arguments.lines().count() == 1 && arguments.contains("worker_id=02:00:00:00:00:01"), "{arguments}");
    assert_eq!(text(&pi("start4.elf"), Via::Tftp, &known), Err(NotMade::File));
    known.rpi = Some(RaspberryPi { config_txt: Some("mine=1\n".to_owned()), ..RaspberryPi::default() });
    assert_eq!(text(&pi("config.txt"), Via::Tftp, &known).as_deref(), Ok("mine=1\n"));
    for (base, own, is_said) in [
        ("https://mirror/osie", None, false),
        ("http://mirror/osie/", None, false),
        ("http://10.0.0.1:7080/files/", None, true),
        ("http://mirror/osie", Some("armstub=RPI_EFI.fd\n"), true),
    ] {
        let mut foreign = BootInterface { rpi: Some(RaspberryPi::default()), ..known.clone() };
        foreign.osie.base_url = Some(base.to_owned());
        foreign.rpi.as_mut().unwrap().config_txt = own.map(str::to_owned);
        for file in ["config.txt", "cmdline.txt", "start4.elf", "kernel8.img"] {
            let refused = text(&pi(file), Via::Tftp, &foreign).is_err_and(|why| why.to_string().contains("netboot.osie.baseURL"));
            assert_eq!(refused, !is_said, "{base} {own:?} {file}: the kernel of this host is not the one that is asked for");
        }
    }
    for file in ["config.txt", "start4.elf"] {
        let refused = text(&pi(file), Via::Tftp, &BootInterface { boot: local(), ..known.clone() });
        assert_eq!(refused, Err(NotMade::Local("installed".to_owned())), "{file}: the firmware goes on to its disk");
    }
}

#[test]
fn no_loader_gets_the_files_of_a_machine_that_may_not_boot_or_has_no_kernel() {
    let missing = NoKernel::Missing { wanted: "aarch64".to_owned(), looked: "vmlinuz-aarch64".to_owned() };
    for asked in [Asked::Pxelinux, Asked::Grub, Asked::BootScript, pi("config.txt")] {
        let refused = text(&asked, Via::Tftp, &machine(FORBIDDEN)).unwrap_err().to_string();
        assert!(refused.contains("may not boot from the network"), "{asked:?}: {refused}");
        let packs = Packs { missing: Some(missing.clone()), ..Packs::default() };
        let refused = make(&asked, Via::Tftp, &config(), &machine(KNOWN), &packs, 0).unwrap_err().to_string();
        assert!(refused.contains("no kernel for aarch64"), "{asked:?}: {refused}");
    }
    let held = BootInterface { boot: BootState::Hold { reason: "repair".to_owned() }, ..machine(KNOWN) };
    assert!(text(&Asked::Grub, Via::Tftp, &held).unwrap().ends_with("sleep 60\nreboot\n"));
    let waits = text(&Asked::Pxelinux, Via::Tftp, &held).unwrap();
    assert!(waits.contains("prompt 1\ntimeout 600\n") && waits.contains("repair: held\n"), "{waits}");
    assert!(waits.ends_with("label again\n  config pxelinux.cfg/01-02-00-00-00-00-01\n"), "it asks again: {waits}");
    assert_eq!(text(&pi("config.txt"), Via::Tftp, &held), Err(NotMade::Held("repair".to_owned())));
}

#[test]
fn uboot_gets_one_ramdisk() {
    let pair = |architecture| Pair { kernel: "k".to_owned(), ramdisk: "r".to_owned(), architecture };
    for (architecture, initrd) in [
        (Some("x86_64"), "initrd files/r,ipxe/server-ca.cpio.zst\n"),
        (Some("aarch64"), "initrd 02-00-00-00-00-01/thimble-ramdisk\n"),
    ] {
        let config = boots::Config { server_ca: Some("pem".to_owned()), ..config() };
        let packs = Packs { pair: Some(pair(architecture)), takes_server_ca: true, ..Packs::default() };
        let made = make(&Asked::Pxelinux, Via::Tftp, &config, &machine(KNOWN), &packs, 0).unwrap();
        let text = String::from_utf8(made.bytes).unwrap();
        assert!(text.contains(initrd), "{architecture:?}: {text}");
        assert!(text.contains("tinkerbell_tls=true"), "{text}");
        let alone = Packs { takes_server_ca: false, ..packs.clone() };
        let made = make(&Asked::Pxelinux, Via::Tftp, &config, &machine(KNOWN), &alone, 0).unwrap();
        let text = String::from_utf8(made.bytes).unwrap();
        assert!(text.contains("initrd files/r\n") && !text.contains("tinkerbell_tls"), "{text}");
        let made = make(&Asked::Pxelinux, Via::Http, &config, &machine(KNOWN), &packs, 0).unwrap();
        let text = String::from_utf8(made.bytes).unwrap();
        assert_eq!(text.contains("tinkerbell_tls=true"), architecture == Some("x86_64"), "Petitboot cannot join them: {text}");
    }
}

#[test]
fn a_raspberry_pi_with_its_own_config_speaks_tls_only_if_that_loads_the_authority() {
    let config = boots::Config { server_ca: Some("pem".to_owned()), ..config() };
    let pair = Pair { kernel: "k".to_owned(), ramdisk: "r".to_owned(), architecture: Some("aarch64") };
    let packs = Packs { pair: Some(pair), takes_server_ca: true, ..Packs::default() };
    for (own, ramdisk, speaks_tls) in [
        (None, "initramfs thimble-ramdisk followkernel\n", true),
        (Some("initramfs r followkernel\n"), "initramfs r followkernel\n", false),
        (Some("initramfs thimble-ramdisk\n"), "initramfs thimble-ramdisk\n", true),
    ] {
        let mut known = machine(KNOWN);
        known.rpi = Some(RaspberryPi { config_txt: own.map(str::to_owned), ..RaspberryPi::default() });
        let made = |file| String::from_utf8(make(&pi(file), Via::Tftp, &config, &known, &packs, 0).unwrap().bytes).unwrap();
        assert!(made("config.txt").contains(ramdisk), "{own:?}");
        assert_eq!(made("cmdline.txt").contains("tinkerbell_tls=true"), speaks_tls, "{own:?}");
    }
}

/// The bytes that GRUB and iPXE load as several files.
#[tokio::test]
async fn a_loader_of_one_ramdisk_gets_authority_and_packs_behind_it() {
    let mut known = machine(KNOWN);
    known.packs = vec!["raid".to_owned()];
    known.rpi = Some(RaspberryPi { serial: "10000000abcd1234".to_owned(), ..RaspberryPi::default() });
    let source = Arc::new(Fixed(vec![known]));
    let host = Host::on(source, |config| boots::Config { server_ca: Some("pem".to_owned()), ..config }).await;
    let ramdisk = b"the ramdisk".repeat(100);
    host.file("initramfs.cpio.zst", &ramdisk);
    host.file("ramdisk.json", br#"{"file":"initramfs.cpio.zst","serverCa":true}"#);
    host.packs(&[("raid", ""), ("xen", "")]);
    let authority = fetch(host.tftp, "ipxe/server-ca.cpio.zst").await.unwrap();
    let whole = [&ramdisk[..], &authority, b"raid"].concat();
    for path in ["abcd1234/thimble-ramdisk", "02-00-00-00-00-01/thimble-ramdisk"] {
        assert_eq!(fetch(host.tftp, path).await.as_ref(), Ok(&whole), "{path}");
    }
    let config_txt = fetch(host.tftp, "abcd1234/config.txt").await.unwrap();
    assert!(String::from_utf8_lossy(&config_txt).contains("initramfs thimble-ramdisk followkernel"));
    host.file("pack-raid.cpio.zst", b"dair");
    let without = [&ramdisk[..], &authority].concat();
    assert_eq!(fetch(host.tftp, "abcd1234/thimble-ramdisk").await, Ok(without), "a pack that is not what was built is left out");
    host.stop().await;
}

/// Lines, quotes, variables and separators of the languages of PXELINUX, U-Boot's shell and GRUB.
#[test]
fn no_value_of_a_hardware_becomes_a_command_of_a_loader() {
    let values = [
        "x\nreboot",
        "x\r\nLABEL y",
        "x; reboot",
        "'; reboot; '",
        "\"; reboot; \"",
        "${ipaddr}",
        "$(reset)",
        "x\\",
        "\u{1b}[2J",
        "a b",
        "`x`",
    ];
    type Set = fn(&mut BootInterface, &str);
    let places: [(&str, Set); 6] = [
        ("name", |machine, value| machine.name = value.to_owned()),
        ("reason", |machine, value| machine.boot = BootState::Wait { reason: value.to_owned() }),
        ("agentID", |machine, value| machine.agent_id = value.to_owned()),
        ("kernelParams", |machine, value| machine.osie.kernel_params = vec![format!("key={value}")]),
        ("kernel", |machine, value| machine.osie.kernel = Some(value.to_owned())),
        ("baseURL", |machine, value| machine.osie.base_url = Some(format!("http://a/{value}"))),
    ];
    let all = [Asked::Pxelinux, Asked::Grub, Asked::BootScript, pi("config.txt"), pi("cmdline.txt")];
    for (place, set) in places {
        for value in values {
            let mut machine = BootInterface { boot: BootState::Wait { reason: String::new() }, ..machine(KNOWN) };
            let usual: Vec<usize> = all.iter().map(|asked| text(asked, Via::Tftp, &machine).unwrap().lines().count()).collect();
            set(&mut machine, value);
            for (asked, usual) in all.iter().zip(usual) {
                let Ok(text) = text(asked, Via::Tftp, &machine) else { continue }; // refused
                assert_eq!(text.lines().count(), usual, "{place} {value:?}: {text}");
                assert!(!text.contains(['\r', '\u{1b}', '\\']), "{asked:?} {place} {value:?}: {text}");
                // GRUB's are in single quotes, see below.
                let expands = *asked != Asked::Grub && (text.contains("${") || text.contains("$("));
                assert!(!expands, "{asked:?} {place} {value:?}: {text}");
                for line in
                    text.lines().filter(|line| ["linux ", "initrd ", "echo "].iter().any(|command| line.starts_with(command)))
                {
                    let outside: String = line.split('\'').step_by(2).collect();
                    assert_eq!(line.matches('\'').count() % 2, 0, "{place} {value:?}: {line}");
                    assert!(!outside.contains([';', '"', '$', '|', '&']), "{asked:?} {place} {value:?}: {line}");
                }
            }
        }
    }
}

/// A file by TFTP, or the error's text.
async fn fetch(server: SocketAddr, path: &str) -> Result<Vec<u8>, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&[b"\0\x01", path.as_bytes(), b"\0octet\0"].concat(), server).await.unwrap();
    let (mut content, mut buffer) = (Vec::new(), [0; 600]);
    loop {
        let (length, from) = tokio::time::timeout(LIMIT, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        match &buffer[..length] {
            [0, 3, block @ ..] => {
                let (number, data) = block.split_at(2);
                content.extend_from_slice(data);
                socket.send_to(&[&[0, 4], number].concat(), from).await.unwrap();
                if data.len() < 512 {
                    return Ok(content);
                }
            }
            [0, 5, _, code, text @ ..] => return Err(format!("{code} {}", String::from_utf8_lossy(text).trim_end_matches('\0'))),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn each_loader_reads_its_configuration_by_tftp() {
    let mut known = machine(KNOWN); // its address is that of loopback
    known.rpi =
        Some(RaspberryPi { serial: "10000000abcd1234".to_owned(), firmware_path: Some("pi".to_owned()), config_txt: None });
    let mut host = Host::with(Arc::new(Fixed(vec![known]))).await;
    let files = host.folder.path().join("files");
    std::fs::create_dir_all(files.join("pi/overlays")).unwrap();
    for (name, content) in [("kernel", "k"), ("pi/start4.elf", "s"), ("pi/overlays/x.dtbo", "o"), ("onie-installer-arm64", "i")] {
        std::fs::write(files.join(name), content).unwrap();
    }
    host.nbp("own.cfg", b"own");
    let get = async |path: &str| fetch(host.tftp, path).await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    for (path, expected) in [
        ("pxelinux.cfg/01-02-00-00-00-00-01", "default thimble"),
        ("pxelinux.cfg/7F000001", "default thimble"),
        ("pxelinux.cfg/default-arm", "default thimble"),
        ("extlinux/extlinux.conf", "default thimble"),
        ("/grub/grub.cfg", "linux '/files/kernel'"),
        ("boot.scr.uimg", "pxe get && pxe boot"),
        ("/files/kernel", "k"),
        ("boot/files/kernel", "k"),
        ("abcd1234/config.txt", "kernel=kernel"),
        ("abcd1234/cmdline.txt", "worker_id=02:00:00:00:00:01"),
        ("abcd1234/start4.elf", "s"),
        ("abcd1234/overlays/x.dtbo", "o"),
        ("abcd1234/kernel", "k"),
        ("02-00-00-00-00-01/start4.elf", "s"),
        ("onie-installer-arm64", "i"),
        ("own.cfg", "own"),
    ] {
        let got = get(path).await;
        assert!(got.as_ref().is_ok_and(|text| text.contains(expected)), "{path}: {got:?}");
    }
    for (path, expected) in [
        ("pxelinux.cfg/7F0000", "1 \"7F0000\" does not exist"),
        ("pxelinux.cfg/01-02-00-00-00-00-99", "does not exist"),
        ("99999999/config.txt", "another serial number"),
        ("abcd1234/missing.dat", "does not exist"),
        ("files/../secret", "leads outside"),
        ("abcd1234/../../secret", "leads outside"),
    ] {
        let got = get(path).await;
        assert!(got.as_ref().is_err_and(|text| text.contains(expected)), "{path}: {got:?}");
    }
    host.event(|event| matches!(event.milestone, Milestone::ScriptSent { boot: "install", .. }).then_some(())).await;
    host.stop().await;
}

/// GRUB waits at its prompt for ever if it has no configuration, and PXELINUX asks for `default`.
#[tokio::test]
async fn a_loader_starts_the_disk_if_the_server_does_not_answer() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let host = Host::with(Arc::new(Broken)).await;
    for (path, expected) in [
        ("grub/grub.cfg", "chainloader $loader"),
        ("grub/grub.cfg-01-02-00-00-00-00-01", "chainloader $loader"),
        ("pxelinux.cfg/01-02-00-00-00-00-01", "localboot -1"),
        ("pxelinux.cfg/default", "localboot -1"),
    ] {
        let text = fetch(host.tftp, path).await.unwrap();
        assert!(String::from_utf8_lossy(&text).contains(expected), "{path}");
        let answer = reqwest::get(format!("http://{}/{path}", host.http)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.text().await.unwrap().contains(expected), "{path}");
    }
    assert!(fetch(host.tftp, "boot.scr.uimg").await.is_err());
    host.stop().await;
}

/// A static file for all machines is for those that have no Hardware.
#[tokio::test]
async fn no_known_machine_falls_through_to_a_file_for_all() {
    let known = || BootInterface { boot: BootState::Install { workflow: None }, ..machine(KNOWN) };
    let mut bad_kernel = known();
    bad_kernel.osie.kernel = Some("a b".to_owned());
    let waits_without_kernel = BootInterface { boot: BootState::Wait { reason: String::new() }, ..bad_kernel.clone() };
    let held = BootInterface { boot: BootState::Hold { reason: "repair".to_owned() }, ..known() };
    let forbidden = BootInterface { netboot_allowed: false, ..known() };
    let fixed = |machine| Arc::new(Fixed(vec![machine])) as Arc<dyn MachineSource>;
    for (case, source, pxelinux, grub) in [
        ("held", fixed(held), "config pxelinux.cfg/01-", "reboot\n"),
        ("may not boot", fixed(forbidden), "localboot -1", "chainloader"),
        ("an unsayable kernel", fixed(bad_kernel), "config pxelinux.cfg/01-", "reboot\n"),
        ("the same without work", fixed(waits_without_kernel), "localboot -1", "chainloader"),
        ("no answer from the server", Arc::new(Broken), "localboot -1", "chainloader"),
        ("a machine without Hardware", fixed(machine(FORBIDDEN)), "installer", "installer"),
    ] {
        let host = Host::with(source).await;
        for folder in ["pxelinux.cfg", "grub"] {
            std::fs::create_dir(host.folder.path().join("nbp").join(folder)).unwrap();
        }
        host.nbp("pxelinux.cfg/default", b"installer");
        host.nbp("grub/grub.cfg", b"installer");
        for (names, expected) in [
            (["pxelinux.cfg/01-02-00-00-00-00-01", "pxelinux.cfg/7F000001", "pxelinux.cfg/default"], pxelinux),
            (["grub/grub.cfg-01-02-00-00-00-00-01", "grub/grub.cfg-7F000001", "grub/grub.cfg"], grub),
        ] {
            let mut got = Err(String::new());
            for name in names {
                got = fetch(host.tftp, name).await;
                if got.is_ok() {
                    break;
                }
            }
            let text = String::from_utf8(got.unwrap()).unwrap();
            assert!(text.contains(expected), "{case}: {text}");
        }
        host.stop().await;
    }
}

/// Answers when the test says so.
struct Slow {
    asked: AtomicUsize,
    may_answer: Semaphore,
}

impl MachineSource for Slow {
    fn machine(&self, _: Mac) -> SourceFuture<'_> {
        self.machine_at(Ipv4Addr::LOCALHOST.into())
    }

    fn machine_at(&self, _: IpAddr) -> SourceFuture<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            self.may_answer.acquire().await.unwrap().forget();
            Ok(Some(machine(KNOWN)))
        })
    }
}

/// GRUB repeats its request after 0.4 seconds, from the same port.
#[tokio::test]
async fn a_repeated_request_does_not_end_the_lookup_of_the_first() {
    let slow = Arc::new(Slow { asked: AtomicUsize::new(0), may_answer: Semaphore::new(0) });
    let host = Host::with(Arc::clone(&slow) as Arc<dyn MachineSource>).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    // The port of boots takes its packets in turn. When it refuses the last one, those before are dealt with.
    let ask = async |path: &str, times| {
        for _ in 0..times {
            socket.send_to(&[b"\0\x01", path.as_bytes(), b"\0octet\0"].concat(), host.tftp).await.unwrap();
        }
        other.send_to(b"\0\x09", host.tftp).await.unwrap();
        let mut buffer = [0; 600];
        tokio::time::timeout(LIMIT, other.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert!(buffer.starts_with(b"\0\x05\0\x04"), "an illegal operation");
    };
    let lookups = async |count| {
        let wait = async {
            while slow.asked.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("no lookup in time");
        assert_eq!(slow.asked.load(Ordering::SeqCst), count);
    };
    ask("grub/grub.cfg", 1).await;
    lookups(1).await;
    ask("grub/grub.cfg", 3).await;
    lookups(1).await;
    ask("grub/grub.cfg-7F000001", 2).await; // another file: it has given the first one up
    lookups(2).await;
    slow.may_answer.add_permits(1);
    let mut buffer = [0; 600];
    let (length, from) = tokio::time::timeout(LIMIT, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert!(buffer[..length].starts_with(b"\0\x03\0\x01echo 'thimble: m1"), "{:?}", &buffer[..length]);
    assert_ne!(from, host.tftp);
    lookups(2).await;
    host.stop().await;
}

/// GRUB's language is close enough to that of `sh`, with folders for disks: `hd0,gpt1` for a partition, `hd0` for a whole disk.
#[test]
fn grub_starts_a_loader_only_if_one_partition_alone_can_be_meant() {
    let installed = BootInterface { boot: local(), ..machine(KNOWN) };
    let script = text(&Asked::Grub, Via::Tftp, &installed).unwrap();
    for (text, count) in [("(hd*,*)", 1), ("(hd?) (hd??)", 1), ("[ -f \"$loader\" ]", 1), ("set ", 4)] {
        assert!(script.matches(text).count() >= count, "{text}: {script}");
    }
    assert!(!script.contains("(hd*)"), "in GRUB those are partitions, too: {script}");
    let script =
        script.replace("(hd*,*)", "hd*,*").replace("(hd?) (hd??)", "hd? hd??").replace("-f \"$loader\"", "-f \"$root$loader\"");
    let prologue = "grub_platform=efi\nchainloader() { echo \"starts $root$1\"; }\nboot() { exit 0; }\n";
    let script = prologue.to_owned() + &script.replace("set ", "");
    let debian = "hd0,gpt1/EFI/debian/shimx64.efi";
    for (case, files, expected) in [
        ("an installed system", &[debian, "hd0,gpt1/EFI/BOOT/BOOTX64.EFI", "hd0,gpt2/etc/fstab"][..], Some(debian)),
        ("a system without a name", &["hd0,gpt1/EFI/BOOT/BOOTX64.EFI"], Some("hd0,gpt1/EFI/BOOT/BOOTX64.EFI")),
        ("an unknown system", &["hd0,gpt1/EFI/unheard-of/x.efi"], None),
        ("an inserted CD", &["cd0/EFI/BOOT/BOOTX64.EFI", debian], Some(debian)),
        ("a CD alone", &["cd0/EFI/BOOT/BOOTX64.EFI"], None),
        ("a stick", &["hd0,msdos1/EFI/BOOT/BOOTX64.EFI", "hd1,gpt1/EFI/debian/shimx64.efi"], None),
        ("a stick, and an unknown system", &["hd0,msdos1/EFI/BOOT/BOOTX64.EFI", "hd1,gpt1/EFI/unheard-of/x.efi"], None),
        ("the image of an ISO on a stick", &["hd1/EFI/BOOT/BOOTX64.EFI", "hd1,gpt2/EFI/BOOT/BOOTX64.EFI"], None),
        ("a stick that is one file system", &["hd1/EFI/BOOT/BOOTX64.EFI", debian], None),
        ("an old system on another disk", &[debian, "hd1,gpt1/EFI/debian/shimx64.efi"], None),
        ("no disk", &[], None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let output = Command::new("sh").args(["-c", &script]).current_dir(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let started = said.lines().find_map(|line| line.strip_prefix("starts "));
        assert_eq!(started, expected, "{case}: {said}");
        assert_eq!(output.status.code(), Some(i32::from(expected.is_none())), "{case}: the firmware goes on: {said}");
    }
}

#[tokio::test]
async fn petitboot_and_onie_read_by_http() {
    let host = Host::start().await;
    std::fs::write(host.folder.path().join("files/onie-installer-x86_64-dell_s6000"), "dell").unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let mut call = client.get(format!("http://{}{path}", host.http));
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = get("/pxelinux.cfg/01-02-00-00-00-00-01", &[]).await;
    assert_eq!(status, 200);
    assert!(text.contains("kernel http://127.0.0.1:7080/files/kernel\n"), "{text}");
    assert_eq!(get("/pxelinux.cfg/01-02-00-00-00-00-99", &[]).await.0, 404);
    assert_eq!(get("/pxelinux.cfg/7F00", &[]).await.0, 404);
    let switch = [("ONIE-ARCH", "x86_64"), ("ONIE-MACHINE", "dell_s6000"), ("ONIE-MACHINE-REV", "0")];
    assert_eq!(get("/onie-installer", &switch).await, (200, "dell".to_owned()));
    assert_eq!(get("/onie-installer", &[]).await.0, 404);
    host.stop().await;
}
