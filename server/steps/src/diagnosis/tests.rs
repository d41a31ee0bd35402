use StepKind::{
    Acknowledged, Agent, BrokenOff, ChoseOther, File, FileRefused, ForeignAnswer, Kernel, Log, Nbp, NbpEnded, NbpRefused,
    NbpStalled, Offered, Ramdisk, Refused, Script, ScriptRefused, Silent, Unknown,
};
use Verdict::{Fine, Stuck, Waits};

use super::*;

const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));
const URL: &str = "http://10.0.0.1:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe";

fn steps(kinds: &[(StepKind, &str)]) -> Vec<BootStep> {
    let step = |(at, (kind, file)): (usize, &(StepKind, &str))| {
        let at = Timestamp::from_second(i64::try_from(at).unwrap()).unwrap();
        let step = BootStep::new(at, *kind, "asked", "answered").with_file(*file).because("the reason");
        if matches!(kind, ChoseOther | ForeignAnswer) { step.of_server(OTHER) } else { step }
    };
    kinds.iter().enumerate().map(step).collect()
}

fn install() -> BootState {
    BootState::Install { workflow: Some("default/w".to_owned()) }
}

fn after(kinds: &[(StepKind, &str)], boots: Option<&BootState>, seconds: i64) -> Diagnosis {
    let steps = steps(kinds);
    let last = steps.last().map_or(0, |step| step.at.as_second());
    let now = Timestamp::from_second(last + seconds).unwrap();
    diagnose(&steps, &Situation { boots, similar: &[] }, now)
}

const BOOT: &[(StepKind, &str)] = &[(Offered, "ipxe.efi"), (Acknowledged, "ipxe.efi"), (Nbp, "ipxe.efi")];

fn boot(more: &[(StepKind, &'static str)]) -> Vec<(StepKind, &'static str)> {
    [BOOT, more].concat()
}

#[test]
fn each_step_that_does_not_come_has_its_likely_cause() {
    for (case, kinds, verdict, cause, check) in [
        ("nothing was heard", vec![], Stuck, "nothing at all was heard", "relay DHCP"),
        ("an offer is not taken", vec![(Offered, "ipxe.efi")], Stuck, "offer was not taken", "snooping"),
        (
            "another server offered too",
            vec![(Offered, "ipxe.efi"), (ForeignAnswer, "")],
            Stuck,
            "DHCP server 10.0.0.9 answered this machine too",
            "stop 10.0.0.9",
        ),
        (
            "its offer was taken",
            vec![(Offered, "ipxe.efi"), (ChoseOther, "")],
            Stuck,
            "took the offer of DHCP server 10.0.0.9",
            "doctor",
        ),
        ("Hardware without an address", vec![(Silent, "")], Stuck, "no answer: the reason", "dhcp.ip.address"),
        ("a NAK", vec![(Refused, "")], Stuck, "wanted another address", "start it again"),
        ("no TFTP", vec![(Acknowledged, "ipxe.efi")], Stuck, "did not ask for it by TFTP", "UDP port 69"),
        ("no HTTP", vec![(Acknowledged, "http://10.0.0.1:7080/ipxe.efi")], Stuck, "did not ask there", "TCP port 7080"),
        ("TFTP stalls", vec![(Acknowledged, "ipxe.efi"), (NbpStalled, "ipxe.efi")], Stuck, "data did not reach it", "MTU"),
        ("TFTP is ended", vec![(Acknowledged, "ipxe.efi"), (NbpEnded, "ipxe.efi")], Stuck, "ended the transfer", "too large"),
        (
            "no such program",
            vec![(Acknowledged, "x.efi"), (NbpRefused, "x.efi")],
            Stuck,
            "x.efi was refused by TFTP",
            "package ipxe",
        ),
        ("the program does not run", boot(&[]), Stuck, "did not ask for its script", "Secure Boot"),
        ("iPXE has its address only", boot(&[(Acknowledged, URL)]), Stuck, "was sent to http://", "TCP port 7080"),
        ("no script", boot(&[(ScriptRefused, "")]), Stuck, "was refused: the reason", "image build"),
        ("no kernel", boot(&[(Script, "install")]), Stuck, "did not ask for the kernel", "ipxe.org"),
        ("the kernel is not there", boot(&[(Script, "install"), (FileRefused, "vmlinuz")]), Stuck, "was refused", "image build"),
        ("a download breaks off", boot(&[(Script, "install"), (BrokenOff, "vmlinuz")]), Stuck, "vmlinuz broke off", "link"),
        ("no ramdisk", boot(&[(Script, "install"), (Kernel, "vmlinuz")]), Stuck, "did not ask for the ramdisk", "memory"),
        (
            "no ramdisk after another file",
            boot(&[(Script, "install"), (Kernel, "vmlinuz"), (File, "x")]),
            Stuck,
            "did not ask for the ramdisk",
            "memory",
        ),
        ("no agent", boot(&[(Script, "install"), (Kernel, "k"), (Ramdisk, "r")]), Stuck, "no agent has called", "console"),
        (
            "no agent although the ramdisk has its address",
            boot(&[(Script, "install"), (Kernel, "k"), (Ramdisk, "r"), (Acknowledged, "")]),
            Stuck,
            "no agent has called",
            "TCP port 42113",
        ),
        (
            "no agent although the ramdisk speaks",
            boot(&[(Script, "install"), (Kernel, "k"), (Ramdisk, "r"), (Acknowledged, ""), (Log, "")]),
            Stuck,
            "sends syslog, and no agent",
            "TCP port 42113",
        ),
        ("its agent works", boot(&[(Ramdisk, "r"), (Agent, "")]), Fine, "for workflow default/w", ""),
        ("an own script", boot(&[(Script, "install"), (File, "debian/linux")]), Fine, "it took debian/linux", ""),
        ("a mirror", boot(&[(Script, "local"), (File, "linux-image-6.1.0_amd64.deb")]), Fine, "it took linux-image", ""),
        (
            "a mirror without a file",
            boot(&[(Script, "install"), (File, "debian/linux"), (FileRefused, "debian/InRelease")]),
            Fine,
            "Its system runs, and may ask for files",
            "put debian/InRelease there",
        ),
        (
            "an installed system asks a mirror for a file",
            vec![(Acknowledged, ""), (FileRefused, "x.deb"), (FileRefused, "y.deb")],
            Fine,
            "Its system runs",
            "y.deb",
        ),
        ("an action asks for a file", boot(&[(Ramdisk, "r"), (Agent, ""), (FileRefused, "x.img")]), Fine, "Its system runs", ""),
        ("a system that boots its disk asks for a file", boot(&[(Script, "local"), (FileRefused, "x")]), Fine, "system runs", ""),
        ("a system that reads parts of files", boot(&[(Ramdisk, "r"), (Agent, ""), (BrokenOff, "x.img")]), Fine, "broke off", ""),
        (
            "a file of the ramdisk is not there",
            boot(&[(Ramdisk, "r"), (Acknowledged, ""), (FileRefused, "server-ca")]),
            Stuck,
            "was refused",
            "",
        ),
        (
            "GRUB asks for what need not be there",
            boot(&[(Nbp, "grubx64.efi"), (NbpRefused, "grub/fonts/unicode.pf2")]),
            Stuck,
            "grubx64.efi was sent, and did not ask for its script",
            "Secure Boot",
        ),
        (
            "no kernel by TFTP",
            boot(&[(Script, "install"), (Nbp, "grub/grub.cfg")]),
            Stuck,
            "got its script, and did not ask for the kernel",
            "",
        ),
        (
            "no agent after a kernel by TFTP",
            boot(&[(Script, "install"), (Nbp, "grub.cfg"), (Kernel, "k"), (Ramdisk, "r")]),
            Stuck,
            "no agent has called",
            "console",
        ),
        (
            "a disk by a configuration",
            boot(&[(Script, "local"), (Nbp, "pxelinux.cfg/default"), (NbpRefused, "boot.scr.uimg")]),
            Fine,
            "boots its disk",
            "",
        ),
        (
            "a configuration that cannot be made",
            boot(&[(NbpRefused, "pxelinux.cfg/x"), (Nbp, "pxelinux.cfg/x in place of its own")]),
            Stuck,
            "it does not get its pxelinux.cfg/x: the reason",
            "correct",
        ),
        (
            "a configuration while the server is away",
            boot(&[(Nbp, "pxelinux.cfg/x for the local disk")]),
            Fine,
            "the server did not answer",
            "",
        ),
        ("its disk", boot(&[(Script, "local")]), Fine, "boots its disk: the reason", ""),
        ("it is held", boot(&[(Script, "hold")]), Fine, "it is held", ""),
        ("netboot is forbidden", vec![(Acknowledged, "/netboot-not-allowed")], Fine, "allowPXE", ""),
        (
            "HTTP boot of its disk",
            vec![(FileRefused, "ipxe/binary/02:00:00:00:00:01/boot-the-local-disk.efi")],
            Fine,
            "its disk",
            "",
        ),
        ("a system that runs", vec![(Acknowledged, "")], Fine, "it has its address", ""),
        ("a system that logs", vec![(Acknowledged, ""), (Log, "")], Fine, "a running system", ""),
        ("Hardware came later", vec![(Unknown, "")], Stuck, "before its Hardware was applied", "start it again"),
    ] {
        let found = after(&kinds, Some(&install()), 3600);
        assert_eq!(found.verdict, verdict, "{case}: {found:?}");
        assert!(found.cause.contains(cause), "{case}: {found:?}");
        assert!(found.checks.iter().any(|one| one.contains(check)) || check.is_empty(), "{case}: {found:?}");
    }
}

#[test]
fn a_step_that_may_still_come_is_waited_for() {
    for (case, kinds, patience) in [
        ("a REQUEST", vec![(Offered, "ipxe.efi")], TO_REQUEST),
        ("TFTP", vec![(Acknowledged, "ipxe.efi")], TO_FILE),
        ("a script", boot(&[]), TO_SCRIPT),
        ("a kernel", boot(&[(Script, "wait")]), TO_KERNEL),
        ("a ramdisk", boot(&[(Script, "wait"), (Kernel, "k")]), TO_RAMDISK),
        ("an agent", boot(&[(Script, "wait"), (Kernel, "k"), (Ramdisk, "r")]), TO_AGENT),
    ] {
        let verdict = |seconds| after(&kinds, Some(&install()), seconds).verdict;
        assert_eq!((verdict(0), verdict(patience), verdict(patience + 1)), (Waits, Waits, Stuck), "{case}");
        assert_eq!(after(&kinds, Some(&install()), -60).verdict, Waits, "{case}: a clock that went back");
    }
}

#[test]
fn an_agent_without_work_is_explained_by_what_the_machine_boots() {
    let wait = BootState::Wait { reason: "this machine has no workflow".to_owned() };
    let local = BootState::Local { reason: "workflow default/w succeeded".to_owned() };
    for (case, boots, verdict, cause) in [
        ("no workflow", Some(&wait), Stuck, "there is no work for it: this machine has no workflow"),
        ("done", Some(&local), Fine, "it boots its disk next: workflow default/w succeeded"),
        ("no Hardware", None, Stuck, "no Hardware has its MAC"),
    ] {
        let found = after(&boot(&[(Ramdisk, "r"), (Agent, "")]), boots, 10);
        assert_eq!((found.verdict, found.cause.contains(cause)), (verdict, true), "{case}: {found:?}");
    }
}

#[test]
fn a_machine_without_hardware_and_a_mistyped_mac_are_told_apart() {
    let found = after(&[(Unknown, "")], None, 10);
    assert!(found.cause.contains("no Hardware has this MAC") && found.checks[0].contains("dhcp.mac"), "{found:?}");
    let similar = [Mac::new([2, 0, 0, 0, 0, 2])];
    let found = diagnose(&[], &Situation { boots: Some(&install()), similar: &similar }, Timestamp::UNIX_EPOCH);
    assert!(found.checks[0].contains("02:00:00:00:00:02") && found.checks[0].contains("mistyped"), "{found:?}");
}

#[test]
fn another_server_counts_until_boots_is_chosen_again() {
    let taken = steps(&[(Acknowledged, "x"), (ForeignAnswer, "")]);
    assert_eq!(other_server(taken.iter()), Some(OTHER));
    let again = steps(&[(ChoseOther, ""), (Offered, "x"), (Acknowledged, "x")]);
    assert_eq!(other_server(again.iter()), None);
}

/// boots could not ask, so no file is missing.
#[test]
fn a_script_that_the_server_could_not_give_is_not_a_missing_file() {
    let mut refused = steps(&[(ScriptRefused, "auto.ipxe")]);
    refused[0].answered = UNAVAILABLE.to_owned();
    let now = Timestamp::from_second(3600).unwrap();
    let found = diagnose(&refused, &Situation { boots: Some(&install()), similar: &[] }, now);
    assert_eq!(found.verdict, Stuck);
    assert!(found.checks[0].contains("does the server run") && !format!("{found:?}").contains("image build"), "{found:?}");
}
