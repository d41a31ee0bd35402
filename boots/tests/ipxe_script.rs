//! What `auto.ipxe` says in each state of a machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use api::packs::Index;
use boots::ipxe::{Packs, auto, ramdisk_folder};
use boots::kernels::{NoKernel, Pair};
use boots::{BootInterface, BootState, Config};
use cmdline::{Arguments, Word};
use support::{FORBIDDEN, KNOWN, config, machine};

fn lab() -> Config {
    let arguments = Arguments {
        grpc_authority: Some("10.0.0.1:42113".to_owned()),
        syslog_host: Some("10.0.0.1".to_owned()),
        consoles: vec!["tty0".to_owned(), "ttyS0,115200".to_owned()],
        ..Arguments::default()
    };
    Config { arguments, kernel: "cloud/vmlinuz".to_owned(), initrd: "cloud/initrd".to_owned(), ..config() }
}

fn script(machine: &BootInterface) -> String {
    auto(&lab(), machine, &Packs::default(), 1_700_000_000).unwrap().0
}

fn packs(ask: bool) -> Packs {
    let pack = |name: &str| serde_json::json!({"name": name, "file": format!("pack-{name}.cpio.zst"), "size": 1, "sha256": "", "modaliases": []});
    let index = serde_json::json!({"kernel": "6.1", "packs": [pack("san"), pack("storage")]}).to_string();
    Packs { wanted: Index::parse(index.as_bytes()).unwrap().packs, ask, ..Packs::default() }
}

/// The words behind the kernel's URL.
fn kernel_line(script: &str) -> (String, Arguments) {
    let line = script.lines().find_map(|line| line.strip_prefix("kernel ")).unwrap();
    let (url, rest) = line.split_once(' ').unwrap();
    let parsed = Arguments::parse(rest.strip_suffix(" && goto have_kernel ||").unwrap());
    assert_eq!(parsed.notes, []);
    (url.to_owned(), parsed.arguments)
}

#[test]
fn a_machine_with_work_loads_kernel_and_ramdisk() {
    let script = script(&machine(KNOWN));
    assert!(script.starts_with("#!ipxe\n"));
    let (url, arguments) = kernel_line(&script);
    assert_eq!(url, "http://10.0.0.1:7080/files/cloud/vmlinuz");
    assert!(script.contains("initrd http://10.0.0.1:7080/files/cloud/initrd && goto have_initrd ||\n"));
    assert_eq!(arguments.worker_id.as_deref(), Some("02:00:00:00:00:01"));
    assert_eq!(arguments.hw_addr.unwrap().0, KNOWN.bytes());
    assert_eq!(
        (arguments.grpc_authority.as_deref(), arguments.syslog_host.as_deref()),
        (Some("10.0.0.1:42113"), Some("10.0.0.1"))
    );
    assert_eq!((arguments.facility.as_deref(), arguments.vlan_id, arguments.time), (Some("lab1"), Some(7), Some(1_700_000_000)));
    assert_eq!(arguments.consoles, ["tty0", "ttyS0,115200"]);
    assert_eq!(arguments.other, [Word::new("initrd", "initrd")], "EFI finds its ramdisk by name");
}

#[test]
fn thimbles_ramdisk_gets_the_authority_of_its_server_and_speaks_tls() {
    let with = |takes_server_ca, server_ca: Option<&str>, arguments: &str, params: &[&str]| {
        let mut config = Config { server_ca: server_ca.map(str::to_owned), ..lab() };
        config.arguments.extend(arguments);
        let mut machine = machine(KNOWN);
        machine.osie.kernel_params = params.iter().map(|word| (*word).to_owned()).collect();
        auto(&config, &machine, &Packs { takes_server_ca, ..Packs::default() }, 0).unwrap().0
    };
    for (case, takes, ca, arguments, params, segment, tls) in [
        ("Thimble's ramdisk", true, Some("pem"), "", &[][..], true, Some(true)),
        ("HookOS, or an older ramdisk", false, Some("pem"), "", &[], false, None),
        ("a server without an authority", true, None, "", &[], false, None),
        ("an operator who wants none", true, Some("pem"), "tinkerbell_tls=false", &[], true, Some(false)),
        ("a machine of another server", true, Some("pem"), "", &["grpc_authority=10.9.9.9:42113"], true, None),
        ("another server with TLS", true, Some("pem"), "", &["grpc_authority=a:1", "tinkerbell_tls=true"], true, Some(true)),
    ] {
        let script = with(takes, ca, arguments, params);
        let (_, arguments) = kernel_line(&script);
        assert_eq!(
            script.contains("initrd http://10.0.0.1:7080/ipxe/server-ca.cpio.zst && goto have_authority ||"),
            segment,
            "{case}"
        );
        assert_eq!(arguments.tinkerbell_tls, tls, "{case}: {script}");
        assert_eq!(arguments.other.contains(&Word::new("initrd", "server-ca.cpio.zst")), segment, "{case}");
    }
}

#[test]
fn driver_packs_follow_the_ramdisk_and_efi_finds_each_by_name() {
    let script = auto(&lab(), &machine(KNOWN), &packs(false), 0).unwrap().0;
    assert!(!script.contains("pci"), "its devices are known");
    let loads: Vec<&str> = script.lines().filter(|line| line.starts_with("initrd ")).collect();
    assert_eq!(
        loads,
        [
            "initrd http://10.0.0.1:7080/files/cloud/initrd && goto have_initrd ||",
            "initrd http://10.0.0.1:7080/files/cloud/pack-san.cpio.zst && goto have_pack0 ||",
            "initrd http://10.0.0.1:7080/files/cloud/pack-storage.cpio.zst && goto have_pack1 ||",
        ]
    );
    let names = ["initrd", "pack-san.cpio.zst", "pack-storage.cpio.zst"].map(|name| Word::new("initrd", name));
    assert_eq!(kernel_line(&script).1.other, names);
    assert!(script.contains("\nboot || goto failed\n"));
}

#[test]
fn a_machine_reports_its_devices_before_it_loads_anything() {
    let script = auto(&lab(), &machine(KNOWN), &packs(true), 0).unwrap().0;
    let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("{text} in\n{script}"));
    let asks = at("\nchain --replace --autofree http://10.0.0.1:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe?pci=${found} ||\n");
    assert!(asks < at("\nkernel ") && at("\nkernel ") < at("pack-san.cpio.zst && "), "what it gets if it cannot report");
}

#[test]
fn packs_are_looked_for_beside_the_ramdisk_of_this_host() {
    let with = |change: fn(&mut BootInterface)| {
        let mut machine = machine(KNOWN);
        change(&mut machine);
        ramdisk_folder(&lab(), &machine)
    };
    for (case, folder, expected) in [
        ("the default ramdisk", with(|_| {}), Some("cloud")),
        ("its own", with(|machine| machine.osie.initrd = Some("/hook/x86/initrd".to_owned())), Some("hook/x86")),
        ("at the top", with(|machine| machine.osie.initrd = Some("initrd".to_owned())), Some("")),
        ("another server's", with(|machine| machine.osie.base_url = Some("http://elsewhere".to_owned())), None),
        ("a script of its own", with(|machine| machine.ipxe.contents = Some("shell".to_owned())), None),
        ("the local disk", with(|machine| machine.boot = BootState::Local { reason: String::new() }), None),
        ("held", with(|machine| machine.boot = BootState::Hold { reason: String::new() }), None),
        ("forbidden", with(|machine| machine.netboot_allowed = false), None),
    ] {
        assert_eq!(folder.as_deref(), expected, "{case}");
    }
}

#[test]
fn every_label_a_script_jumps_to_exists() {
    let mut custom = machine(KNOWN);
    custom.ipxe.url = Some("http://elsewhere/x.ipxe".to_owned());
    let packed = auto(&lab(), &machine(KNOWN), &packs(true), 0).unwrap().0;
    let waiting = BootInterface { boot: BootState::Wait { reason: String::new() }, ..custom.clone() };
    let pair = Pair { kernel: "k".to_owned(), ramdisk: "r".to_owned(), architecture: Some("aarch64") };
    let guarded = auto(&lab(), &machine(KNOWN), &Packs { pair: Some(pair), ..Packs::default() }, 0).unwrap().0;
    let unknown = [0, 8, 9, u32::MAX].map(|tries| boots::ipxe::unknown(&lab(), KNOWN, tries, None));
    for script in [script(&machine(KNOWN)), script(&custom), packed, script(&waiting), guarded].into_iter().chain(unknown) {
        let labels: Vec<&str> = script.lines().filter(|line| line.starts_with(':')).collect();
        assert!(labels.iter().all(|label| labels.iter().filter(|other| other == &label).count() == 1), "{labels:?}");
        for target in script.split("goto ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
            assert!(script.lines().any(|line| line == format!(":{target}")), "{target} in\n{script}");
        }
    }
}

#[test]
fn the_state_decides_where_the_machine_goes() {
    let reason = || "workflow install-m1 has succeeded".to_owned();
    let state = |boot| script(&BootInterface { boot, ..machine(KNOWN) });
    let local = state(BootState::Local { reason: reason() });
    assert!(local.contains("echo thimble: booting from the local disk: workflow install-m1 has succeeded\n"), "{local}");
    assert!(local.ends_with("exit 1\n"), "a success would open the setup menu of UEFI firmware: {local}");
    assert!(!local.contains("kernel "));
    assert!(state(BootState::Wait { reason: reason() }).contains("kernel http://"), "it waits inside the environment");
}

#[test]
fn a_held_machine_shows_the_reason_and_asks_again_every_minute() {
    let mut machine = machine(KNOWN);
    machine.boot = BootState::Hold { reason: "under repair".to_owned() };
    machine.ipxe.contents = Some("shell".to_owned());
    let script = script(&machine);
    assert_eq!(
        script.lines().collect::<Vec<_>>(),
        [
            "#!ipxe",
            "echo thimble: m1 02:00:00:00:00:01: under repair",
            "echo thimble: held; asking again every 60 seconds",
            ":hold",
            "sleep 60",
            "chain --replace --autofree http://10.0.0.1:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe || goto hold",
        ]
    );
}

#[test]
fn a_rescue_is_our_ramdisk_with_rescue_whatever_script_the_hardware_has() {
    let mut machine = machine(KNOWN);
    machine.boot = BootState::Rescue { reason: "by an operator".to_owned() };
    machine.ipxe.url = Some("http://elsewhere/x.ipxe".to_owned());
    assert!(kernel_line(&script(&machine)).1.rescue);
    machine.boot = BootState::Wait { reason: String::new() };
    machine.ipxe.url = None;
    assert!(!kernel_line(&script(&machine)).1.rescue);
}

#[test]
fn a_machine_that_may_not_netboot_learns_why() {
    let error = auto(&lab(), &machine(FORBIDDEN), &Packs::default(), 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "m2 (02:00:00:00:00:02) may not boot from the network: its Hardware does not set netboot.allowPXE"
    );
}

#[test]
fn a_hardware_brings_its_own_environment() {
    let mut machine = machine(KNOWN);
    machine.osie.base_url = Some("http://mirror/osie/".to_owned());
    machine.osie.kernel = Some("bzImage".to_owned());
    machine.osie.kernel_params = vec!["quiet worker_id=other".to_owned(), "console=ttyS1".to_owned()];
    let script = script(&machine);
    let (url, arguments) = kernel_line(&script);
    assert_eq!(url, "http://mirror/osie/bzImage");
    assert!(script.contains("initrd http://mirror/osie/initramfs-x86_64 "), "smee's name, not that of boots' own ramdisk");
    assert_eq!(arguments.worker_id.as_deref(), Some("other"), "its own words win");
    assert!(arguments.other("quiet").is_some());
    assert_eq!(arguments.consoles.last().map(String::as_str), Some("ttyS1"));
}

#[test]
fn https_is_named_unless_ipxe_says_that_it_lacks_it() {
    let with = |url: Option<&str>, base: Option<&str>, speaks_https| {
        let mut machine = machine(KNOWN);
        machine.ipxe.url = url.map(str::to_owned);
        machine.osie.base_url = base.map(str::to_owned);
        auto(&lab(), &machine, &Packs { speaks_https, ..Packs::default() }, 0).unwrap()
    };
    for (url, base, has_it, names_it) in [
        (Some("https://a/x.ipxe"), None, "https=1", true),
        (Some("https://a/x.ipxe"), None, "https=0", false),
        (Some("HTTPS://a/x.ipxe"), None, "unknown=2&https=0", false),
        (Some("https://a/x.ipxe"), None, "", true),
        (None, Some("https://mirror/osie"), "unknown=2&https=1", true),
        (None, Some("https://mirror/osie"), "https=0", false),
        (None, Some("https://mirror/osie"), "", true),
        (None, Some("https://mirror/osie"), "https=2", true),
    ] {
        let (script, notes) = with(url, base, boots::ipxe::https_in(has_it));
        let loads = script.lines().any(|line| !line.starts_with("echo ") && line.to_lowercase().contains("https://"));
        assert_eq!(loads, names_it, "{url:?} {base:?} {has_it}: {script}");
        let said = notes.iter().any(|note| note.contains("option 175.20")) && script.contains("option 175.20");
        assert_eq!(said, !names_it, "{notes:?} {script}");
    }
}

/// Else it would be forgotten when the Hardware gets its HTTPS at last.
#[test]
fn what_is_known_of_https_goes_along_when_a_machine_asks_again() {
    let held = BootInterface { boot: BootState::Hold { reason: String::new() }, ..machine(KNOWN) };
    for (speaks_https, in_held, in_unknown) in [
        (Some(true), "/auto.ipxe?https=1 || goto hold\n", "/auto.ipxe?unknown=4&https=1 ||\n"),
        (Some(false), "/auto.ipxe?https=0 || goto hold\n", "/auto.ipxe?unknown=4&https=0 ||\n"),
        (None, "/auto.ipxe || goto hold\n", "/auto.ipxe?unknown=4 ||\n"),
    ] {
        let (script, _) = auto(&lab(), &held, &Packs { speaks_https, ..Packs::default() }, 0).unwrap();
        assert!(script.contains(in_held), "{speaks_https:?}: {script}");
        let script = boots::ipxe::unknown(&lab(), KNOWN, 3, speaks_https);
        assert!(script.contains(in_unknown), "{speaks_https:?}: {script}");
    }
}

#[test]
fn a_hardware_brings_its_own_script() {
    let mut machine = machine(KNOWN);
    machine.ipxe.contents = Some("echo mine\nshell".to_owned());
    assert_eq!(script(&machine), "#!ipxe\necho mine\nshell\n");
    machine.ipxe.contents = Some("#!ipxe\nshell".to_owned());
    assert_eq!(script(&machine), "#!ipxe\nshell");
    machine.ipxe.url = Some("http://elsewhere/x.ipxe".to_owned());
    assert!(script(&machine).contains("\nchain --autofree http://elsewhere/x.ipxe || goto failed\n"));
    machine.boot = BootState::Local { reason: "installed".to_owned() };
    assert!(script(&machine).ends_with("exit 1\n"), "an installed machine is not caught by its own script");
}

/// On UEFI an iPXE that leaves costs minutes, because the firmware tries all its other network protocols.
#[test]
fn a_machine_goes_straight_to_its_disk_by_each_firmware() {
    let local = |disk_loaders| {
        let config = Config { disk_loaders, ..lab() };
        let machine = BootInterface { boot: BootState::Local { reason: "installed".to_owned() }, ..machine(KNOWN) };
        auto(&config, &machine, &Packs::default(), 0).unwrap().0.lines().skip(3).map(str::to_owned).collect::<Vec<_>>()
    };
    let grub = "chain --autofree http://10.0.0.1:7080/ipxe/binary/02:00:00:00:00:01/grubnetx64.efi.signed ||";
    let without = [
        "iseq ${platform} efi && goto efi_disk ||",
        "sanboot --no-describe --drive 0x80 ||",
        "exit 0",
        ":efi_disk",
        "sanboot --no-describe --drive 0 ||",
        "exit 1",
    ];
    assert_eq!(local(vec![]), without);
    assert_eq!(local(vec!["grubnetx64.efi.signed"]), [&without[..5], &[grub], &without[5..]].concat());
}

/// An installed machine must come up without us.
#[test]
fn what_follows_a_failure_depends_on_the_state() {
    let disk = "sanboot --no-describe --drive 0x80 ||";
    let reason = String::new;
    for (boot, goes_to_its_disk) in [
        (BootState::Install { workflow: None }, false),
        (BootState::Rescue { reason: reason() }, false),
        (BootState::Wait { reason: reason() }, true),
    ] {
        let script = script(&BootInterface { boot: boot.clone(), ..machine(KNOWN) });
        let after = script.split(":failed\n").nth(1).unwrap();
        assert_eq!((after.contains(disk), after.contains("reboot")), (goes_to_its_disk, !goes_to_its_disk), "{boot:?}");
    }
}

#[test]
fn a_machine_of_unknown_state_asks_some_times_and_boots_its_disk() {
    let script = |tries| boots::ipxe::unknown(&lab(), KNOWN, tries, None);
    let again = "chain --replace --autofree http://10.0.0.1:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe?unknown=";
    assert!(script(0).contains(&format!("{again}1 ||\n")) && script(8).contains(&format!("{again}9 ||\n")));
    for tries in [0, 9, u32::MAX] {
        assert!(script(tries).ends_with("sanboot --no-describe --drive 0 ||\nexit 1\n"), "{tries}");
    }
    assert!(!script(9).contains(again) && !script(u32::MAX).contains(again));
}

#[test]
fn a_kernel_for_another_processor_is_refused() {
    let with = |packs: Packs| auto(&lab(), &machine(KNOWN), &packs, 0);
    for (architecture, guard) in [
        (Some("x86_64"), Some("iseq ${buildarch} arm64 && goto wrong_kernel ||")),
        (Some("aarch64"), Some("iseq ${buildarch} arm64 || goto wrong_kernel")),
        (None, None),
    ] {
        let pair = Pair { kernel: "k".to_owned(), ramdisk: "r".to_owned(), architecture };
        let script = with(Packs { pair: Some(pair), ..Packs::default() }).unwrap().0;
        assert_eq!(script.lines().find(|line| line.contains("buildarch} arm64")), guard);
        assert!(script.contains("\nkernel http://10.0.0.1:7080/files/k "));
    }
    let missing = NoKernel::Missing { wanted: "aarch64".to_owned(), looked: "vmlinuz-aarch64".to_owned() };
    let error = with(Packs { missing: Some(missing), ..Packs::default() }).unwrap_err().to_string();
    assert!(error.contains("there is no kernel for aarch64"), "{error}");
}

/// What iPXE reads as a command, a variable or a comment. Every line that a value could make must not be there.
#[test]
fn no_value_of_a_hardware_becomes_a_command() {
    let values = [
        "x\nshell",
        "x\r\nshell",
        "x || shell",
        "x && shell",
        "x ; shell",
        "${net0/mac}",
        "a${b}c",
        "#!ipxe",
        "x\\",
        "\u{1b}[2J",
        "\"x",
        "a b",
        "\u{2028}shell",
        "||",
    ];
    let usual = script(&machine(KNOWN)).lines().count();
    type Set = fn(&mut BootInterface, &str);
    let places: [(&str, Set); 8] = [
        ("name", |machine, value| machine.name = value.to_owned()),
        ("agentID", |machine, value| machine.agent_id = value.to_owned()),
        ("facility", |machine, value| machine.facility = Some(value.to_owned())),
        ("kernelParams", |machine, value| machine.osie.kernel_params = vec![value.to_owned(), format!("key={value}")]),
        ("kernel", |machine, value| machine.osie.kernel = Some(value.to_owned())),
        ("initrd", |machine, value| machine.osie.initrd = Some(value.to_owned())),
        ("baseURL", |machine, value| machine.osie.base_url = Some(format!("http://a/{value}"))),
        ("hostname", |machine, value| machine.reservation.as_mut().unwrap().hostname = Some(value.to_owned())),
    ];
    for (place, set) in places {
        for value in values {
            let mut machine = machine(KNOWN);
            set(&mut machine, value);
            let (script, _) = auto(&lab(), &machine, &Packs::default(), 0).unwrap();
            assert_eq!(script.lines().count(), usual, "{place} {value:?}: {script}");
            assert!(!script.contains(['\r', '\u{1b}', '\u{2028}']), "{place} {value:?}");
            let loads =
                script.lines().filter(|line| ["kernel ", "initrd ", "echo "].iter().any(|command| line.starts_with(command)));
            for line in loads {
                let own = line.strip_suffix(" ||").unwrap_or(line).split_once(" && goto have_").map_or(line, |(own, _)| own);
                let words: Vec<&str> = own.split(' ').collect();
                assert!(!words.iter().any(|word| matches!(*word, "||" | "&&" | ";")), "{place} {value:?}: {line}");
                // Variables of an operator's URL are iPXE's, as with smee.
                let own_variables = line.contains("${attempt}") || place == "baseURL";
                assert!(!own.contains("${") || own_variables, "{place} {value:?}: {line}");
                assert!(
                    !words.iter().any(|word| word.starts_with('#')) || line.starts_with("echo "),
                    "{place} {value:?}: {line}"
                );
                assert!(!own.ends_with('\\'), "{place} {value:?}: {line}");
            }
        }
    }
}

#[test]
fn names_and_words_cannot_become_commands() {
    let mut machine = machine(KNOWN);
    machine.name = "m1\nreboot ; ${net0/mac} && sanboot || #x".to_owned();
    machine.osie.kernel_params = vec!["a=b && reboot".to_owned(), "c=\\".to_owned(), "ok=1".to_owned()];
    let (script, notes) = auto(&lab(), &machine, &Packs::default(), 0).unwrap();
    assert_eq!(
        script.lines().nth(1).unwrap(),
        "echo thimble: m1?reboot ? ??net0/mac? ?? sanboot ?? ?x 02:00:00:00:00:01: there is work for it"
    );
    let (_, arguments) = kernel_line(&script);
    let others: Vec<String> = arguments.other.iter().map(Word::render).collect();
    assert_eq!(others, ["a=b", "reboot", "ok=1", "initrd=initrd"]);
    assert_eq!(notes.len(), 2, "{notes:?}");
}
