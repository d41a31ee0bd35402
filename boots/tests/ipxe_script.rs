//! What `auto.ipxe` says in each state of a machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use api::packs::Index;
use boots::ipxe::{Packs, auto, ramdisk_folder};
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
    Packs { wanted: Index::parse(index.as_bytes()).unwrap().packs, ask, takes_server_ca: false }
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
    for script in [script(&machine(KNOWN)), script(&custom), packed] {
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
    assert!(local.ends_with("echo thimble: booting from the local disk: workflow install-m1 has succeeded\niseq ${platform} efi && exit 1 || exit 0\n"), "{local}");
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
    assert!(script.contains("initrd http://mirror/osie/cloud/initrd "));
    assert_eq!(arguments.worker_id.as_deref(), Some("other"), "its own words win");
    assert!(arguments.other("quiet").is_some());
    assert_eq!(arguments.consoles.last().map(String::as_str), Some("ttyS1"));
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
    assert!(script(&machine).ends_with("exit 0\n"), "an installed machine is not caught by its own script");
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
