//! The likely cause when the next step of a boot does not come. Pure.

use std::net::IpAddr;

use api::{BootState, BootStep, Diagnosis, StepKind, UNSENT, Verdict};
use jiff::{SignedDuration, Timestamp};
use machine::ports;
use model::Mac;

/// What is known of the machine besides its steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Situation<'a> {
    /// What it boots. `None` for a machine without Hardware.
    pub boots: Option<&'a BootState>,
    /// Machines without Hardware that have nearly its MAC.
    pub similar: &'a [Mac],
}

/// The boot file of a machine that must not boot from the network, as smee has it. No server has the file.
const NOT_ALLOWED: &str = "netboot-not-allowed";
/// The program of HTTP boot for a machine that boots its disk. No server has the file, and the answer 404 is meant.
const LOCAL_DISK: &str = "boot-the-local-disk.efi";

/// How boots names what it sends by TFTP in place of a configuration of a machine.
const IN_PLACE: &str = " in place of its own";
const FOR_DISK: &str = " for the local disk";
/// The answer if boots could not find out what the machine boots.
const UNAVAILABLE: &str = "503";

/// How long each next step may take. The figures are those of slow firmware: a retransmission, a POST, a decompression.
const TO_REQUEST: i64 = 15;
const TO_FILE: i64 = 30;
const TO_SCRIPT: i64 = 60;
const TO_KERNEL: i64 = 60;
const TO_RAMDISK: i64 = 120;
const TO_AGENT: i64 = 180;

/// The other DHCP server that the machine heard or chose since it last took an address from boots.
#[must_use]
pub fn other_server<'a>(steps: impl DoubleEndedIterator<Item = &'a BootStep>) -> Option<IpAddr> {
    let since = steps.rev().take_while(|step| step.kind != StepKind::Acknowledged);
    since.filter(|step| matches!(step.kind, StepKind::ChoseOther | StepKind::ForeignAnswer)).find_map(|step| step.server)
}

/// Where the boot stands now. The steps are those of one interface, oldest first.
#[must_use]
pub fn diagnose(steps: &[BootStep], situation: &Situation<'_>, now: Timestamp) -> Diagnosis {
    // The answers of other servers are not steps of the machine.
    let own: Vec<&BootStep> = steps.iter().filter(|step| step.kind != StepKind::ForeignAnswer).collect();
    let Some((last, before)) = own.split_last() else { return unheard(situation) };
    let passed = now.duration_since(last.latest());
    let stage = Stage { last, before, other: other_server(steps.iter()), situation, passed };
    stage.diagnose()
}

struct Stage<'a> {
    last: &'a BootStep,
    before: &'a [&'a BootStep],
    other: Option<IpAddr>,
    situation: &'a Situation<'a>,
    passed: SignedDuration,
}

fn fine(cause: impl Into<String>) -> Diagnosis {
    Diagnosis { verdict: Verdict::Fine, cause: cause.into(), checks: Vec::new() }
}

fn stuck<const N: usize>(cause: impl Into<String>, checks: [String; N]) -> Diagnosis {
    Diagnosis { verdict: Verdict::Stuck, cause: cause.into(), checks: checks.into() }
}

fn unheard(situation: &Situation<'_>) -> Diagnosis {
    let mut checks: Vec<String> = situation
        .similar
        .iter()
        .map(|other| format!("{other} asked and is unknown: is the MAC in the Hardware mistyped?"))
        .collect();
    if situation.boots.is_none() {
        checks.push("is the MAC right? No Hardware has it".to_owned());
    }
    checks.extend([
        "is the machine on, and does its firmware boot from the network (PXE or HTTP) on this interface?".to_owned(),
        "does its switch port have the VLAN of this host, and forward at once (portfast, no spanning tree delay)?".to_owned(),
        "in another subnet: does its router relay DHCP (ip helper-address) to this host?".to_owned(),
        "does this host hear DHCP at all? `thimble boots doctor` looks for a firewall and for other DHCP servers".to_owned(),
    ]);
    Diagnosis { verdict: Verdict::Stuck, cause: "nothing at all was heard from this MAC".to_owned(), checks }
}

impl Stage<'_> {
    fn diagnose(&self) -> Diagnosis {
        let (last, why) = (self.last, &self.last.why);
        if last.file.ends_with(NOT_ALLOWED) {
            return fine("it shall not boot from the network: `netboot.allowPXE` of its interface is not true");
        }
        if last.file.ends_with(LOCAL_DISK) {
            return self.local_disk();
        }
        if last.file.ends_with(FOR_DISK) {
            return fine(format!("it got {}: the server did not answer", last.file));
        }
        if let Some(found) = self.in_place_of().or_else(|| self.of_loader().map(|stage| stage.diagnose())) {
            return found;
        }
        match last.kind {
            StepKind::Unknown => self.unknown(),
            StepKind::ScriptRefused if self.situation.boots.is_none() => self.unknown(),
            StepKind::Silent if why.starts_with(UNSENT) => stuck(
                why,
                ["look at the firewall and the network card of the host where boots runs: `nft list ruleset`, `ip -s link`"
                    .to_owned()],
            ),
            StepKind::Silent => stuck(
                format!("boots gave no answer: {why}"),
                ["look at its interface in the Hardware: `dhcp.ip.address`, `disableDhcp`, and the subnet of its relay"
                    .to_owned()],
            ),
            StepKind::ChoseOther => self.chose_other(),
            StepKind::Offered => self.offered(),
            StepKind::Acknowledged => self.acknowledged(),
            StepKind::Refused => self.unless_soon(TO_REQUEST, "its next DISCOVER", || {
                stuck(
                    "it wanted another address than that of its Hardware, was refused, and did not ask again",
                    ["start it again, or end its DHCP client and remove the old lease".to_owned()],
                )
            }),
            StepKind::Nbp | StepKind::NbpStalled | StepKind::NbpEnded | StepKind::NbpRefused => self.tftp(),
            StepKind::Script => self.script(),
            StepKind::ScriptRefused | StepKind::FileRefused => self.refused(),
            StepKind::BrokenOff => self.broken_off(),
            StepKind::File => self.file(),
            StepKind::Kernel => self.unless_soon(TO_RAMDISK, "the ramdisk", || {
                stuck(
                    "it took the kernel and did not ask for the ramdisk",
                    [
                        "the console shows why: iPXE prints an error and its number (https://ipxe.org/err/...)".to_owned(),
                        "does it have memory for kernel and ramdisk together (128 MiB at least)?".to_owned(),
                    ],
                )
            }),
            StepKind::Ramdisk | StepKind::Pack => self.ramdisk(),
            StepKind::Log => self.log(),
            StepKind::Agent => self.agent(),
            StepKind::ForeignAnswer => fine("another DHCP server answered it"),
        }
    }

    /// Waiting, as long as the next step is not overdue.
    fn unless_soon(&self, seconds: i64, next: &str, overdue: impl FnOnce() -> Diagnosis) -> Diagnosis {
        if self.passed.as_secs() > seconds {
            return overdue();
        }
        let cause = format!("{next} should come within {} s", seconds - self.passed.as_secs().max(0));
        Diagnosis { verdict: Verdict::Waits, cause, checks: Vec::new() }
    }

    fn had(&self, kind: StepKind) -> bool {
        let boot = self.before.iter().rev().take_while(|step| step.kind != StepKind::Agent);
        boot.into_iter().any(|step| step.kind == kind)
    }

    fn unknown(&self) -> Diagnosis {
        if self.situation.boots.is_some() {
            return stuck(
                "it asked before its Hardware was applied, and has not asked since",
                ["start it again: firmware that got no answer has given up".to_owned()],
            );
        }
        stuck(
            "no Hardware has this MAC, so boots does not answer",
            ["apply a Hardware whose interface has it as `dhcp.mac`, or set `discovery` for its network".to_owned()],
        )
    }

    fn chose_other(&self) -> Diagnosis {
        let server = self.last.server.map_or_else(|| "another DHCP server".to_owned(), |server| format!("DHCP server {server}"));
        stuck(
            format!("it took the offer of {server} in place of boots'"),
            [
                format!("find {server}: `thimble boots doctor` lists DHCP servers; `ip neigh` and the switch say where it is"),
                "stop it, or let it ignore this MAC. Without boot options a machine that takes its offer does not boot"
                    .to_owned(),
                "if it has to stay, docs/dhcp.md says how boots works beside another DHCP server".to_owned(),
            ],
        )
    }

    fn offered(&self) -> Diagnosis {
        self.unless_soon(TO_REQUEST, "its REQUEST", || match self.other {
            Some(server) => stuck(
                format!("boots' offer was not taken, and DHCP server {server} answered this machine too"),
                [
                    format!("stop {server} for this machine, or let it ignore this MAC"),
                    "`thimble boots doctor` shows what it offers".to_owned(),
                ],
            ),
            None => stuck(
                "boots' offer was not taken",
                [
                    "is there another DHCP server? `thimble boots doctor` looks for one".to_owned(),
                    "does the offer arrive? DHCP snooping must trust this host's switch port; a relay must be reachable"
                        .to_owned(),
                    "does the firmware want another kind of boot (PXE or HTTP, IPv4 or IPv6) than it was offered?".to_owned(),
                ],
            ),
        })
    }

    fn acknowledged(&self) -> Diagnosis {
        let file = self.last.file.as_str();
        match file {
            "" if self.had(StepKind::Ramdisk) && !self.had(StepKind::Agent) => self.ramdisk(),
            "" if matches!(self.situation.boots, Some(BootState::Local { .. })) => self.local_disk(),
            "" => fine("it has its address. It did not ask for a boot, as a running system does"),
            _ if file.starts_with("http") => self.unless_soon(TO_FILE, "its request by HTTP", || {
                stuck(
                    format!("it has its address and was sent to {file}, and did not ask there"),
                    [
                        format!("does a firewall of this host close TCP port {}? `thimble boots doctor` looks", ports::HTTP),
                        "can the machine reach that address? It has to be in its network, or behind its gateway".to_owned(),
                        "does another DHCP or PXE server give it another boot file? `thimble boots doctor` looks".to_owned(),
                    ],
                )
            }),
            _ => self.unless_soon(TO_FILE, "its request by TFTP", || {
                stuck(
                    format!("it has its address and the boot file {file}, and did not ask for it by TFTP"),
                    [
                        "is `address` the one that this network reaches? The machine asks there".to_owned(),
                        "does a firewall of this host close UDP port 69? `thimble boots doctor` looks".to_owned(),
                        "does another PXE server (port 4011) give it another boot file? `thimble boots doctor` looks".to_owned(),
                    ],
                )
            }),
        }
    }

    fn local_disk(&self) -> Diagnosis {
        let why = self.situation.boots.map_or_else(String::new, |boots| format!(": {}", boots.reason()));
        fine(format!("it boots its disk{why}"))
    }

    fn tftp(&self) -> Diagnosis {
        let (last, file) = (self.last, &self.last.file);
        match last.kind {
            StepKind::NbpRefused => stuck(
                format!("{file} was refused by TFTP: {}", last.why),
                [
                    "is the file in the folder of boot programs (`nbp`)? The Debian package ipxe has those of iPXE".to_owned(),
                    "does the Hardware name another file (`bootFileName`, `netboot.ipxe.binary`)?".to_owned(),
                ],
            ),
            StepKind::NbpStalled => stuck(
                format!("it asked for {file} by TFTP, and the data did not reach it"),
                [
                    "is the MTU on the way smaller than here? `ping -M do -s 1472 ADDRESS` from this host shows it".to_owned(),
                    "does a firewall drop UDP from ports above 1024, which TFTP sends from (RFC 1350)?".to_owned(),
                    "does another host use the machine's address? `arping -D` shows it".to_owned(),
                ],
            ),
            StepKind::NbpEnded => self.unless_soon(TO_FILE, "another try", || {
                stuck(
                    format!("it ended the transfer of {file} itself: {}", last.why),
                    ["is the file too large for its firmware, or for another architecture?".to_owned()],
                )
            }),
            _ => self.unless_soon(TO_SCRIPT, "its script", || {
                stuck(
                    format!("{file} was sent, and did not ask for its script"),
                    [
                        "Secure Boot refuses programs that are not signed: the console says \"Security Violation\"".to_owned(),
                        "does the program have a driver for its network card? Try the other build (snponly.efi)".to_owned(),
                        "does another DHCP server answer it? `thimble boots doctor` looks for one".to_owned(),
                    ],
                )
            }),
        }
    }

    /// Loaders such as GRUB ask for files that need not be there, and read their configuration by TFTP, which is a script. What
    /// they got before counts: since the machine has its address, a program or a script.
    fn of_loader(&self) -> Option<Self> {
        let refused = self.last.kind == StepKind::NbpRefused;
        if !refused && self.last.kind != StepKind::Nbp {
            return None;
        }
        let counts = |kind| match kind {
            StepKind::Script | StepKind::Kernel | StepKind::Ramdisk | StepKind::Pack => true,
            StepKind::Nbp => refused,
            _ => false,
        };
        let begins = |kind| matches!(kind, StepKind::Offered | StepKind::Acknowledged);
        let at = self.before.iter().rposition(|step| counts(step.kind) || begins(step.kind))?;
        let last = self.before.get(at).filter(|step| counts(step.kind))?;
        Some(Self { last, before: self.before.get(..at)?, ..*self })
    }

    /// Its own configuration could not be made, and another one was sent in its place.
    fn in_place_of(&self) -> Option<Diagnosis> {
        let own = self.last.file.strip_suffix(IN_PLACE)?;
        let refused = self.before.last().filter(|step| step.kind == StepKind::NbpRefused)?;
        Some(stuck(
            format!("it does not get its {own}: {}", refused.why),
            ["correct what it names; the machine asks again every minute, or has booted its disk".to_owned()],
        ))
    }

    fn script(&self) -> Diagnosis {
        match self.last.file.as_str() {
            "local" => fine(format!("it boots its disk: {}", self.last.why)),
            "hold" => fine(format!("it is held, and asks again every minute: {}", self.last.why)),
            _ => self.unless_soon(TO_KERNEL, "its request for the kernel", || {
                stuck(
                    "it got its script, and did not ask for the kernel",
                    [
                        "the console shows why: iPXE prints an error and its number (https://ipxe.org/err/...)".to_owned(),
                        "does the script name another server (`netboot.osie.baseURL`, `netboot.ipxe.url`)? It has to answer"
                            .to_owned(),
                        format!("does a firewall close TCP port {}? `thimble boots doctor` looks", ports::HTTP),
                    ],
                )
            }),
        }
    }

    /// A client of a mirror asks for what may not be there, and goes on. Firmware and iPXE do not.
    fn refused(&self) -> Diagnosis {
        let (asked, why) = (&self.last.asked, &self.last.why);
        if self.last.kind == StepKind::FileRefused && self.runs() {
            let cause = format!("{asked} was refused: {why}. Its system runs, and may ask for files that are not there");
            return Diagnosis {
                checks: vec![format!("if an installer stopped at it: put {} there", self.last.file)],
                ..fine(cause)
            };
        }
        if self.last.answered == UNAVAILABLE {
            return stuck(
                format!("{asked} had no answer of its own: {why}"),
                [
                    "does the server run, and does boots reach it? `thimble boots` logs what it could not ask".to_owned(),
                    "start the machine again afterwards: it gave up, and boots its disk if it can".to_owned(),
                ],
            );
        }
        stuck(
            format!("{asked} was refused: {why}"),
            ["put the file there (`thimble image build` makes kernel and ramdisk), then start the machine again".to_owned()],
        )
    }

    fn broken_off(&self) -> Diagnosis {
        let cause = format!("the transfer of {} broke off: {}", self.last.file, self.last.why);
        if self.runs() {
            return fine(format!("{cause}. Its system runs, and may read parts of files"));
        }
        self.unless_soon(TO_FILE, "another try", || {
            stuck(
                cause,
                [
                    "did the machine lose power or its link? The switch counts errors of the port".to_owned(),
                    "does it have memory for kernel and ramdisk together (128 MiB at least)?".to_owned(),
                ],
            )
        })
    }

    /// Whether a system asks, and not firmware, iPXE or the ramdisk before its agent: it has read another file since its boot,
    /// or the boot was over before.
    fn runs(&self) -> bool {
        let is_of_system = |kind| matches!(kind, StepKind::FileRefused | StepKind::BrokenOff);
        let asked_before = self.before.iter().rev().find(|step| !is_of_system(step.kind));
        asked_before.is_some_and(|step| match step.kind {
            StepKind::File | StepKind::Agent => true,
            // A lease without a boot, and lines of syslog, are of a ramdisk too.
            StepKind::Acknowledged => step.file.is_empty() && (!self.had(StepKind::Ramdisk) || self.had(StepKind::Agent)),
            StepKind::Log => !self.had(StepKind::Ramdisk),
            StepKind::Script => step.file == "local",
            _ => false,
        })
    }

    /// A file that is neither kernel nor ramdisk says little: the step before it counts. A script of the operator's own may name
    /// any file as its kernel, so a script that was followed by a file has run.
    fn file(&self) -> Diagnosis {
        let meant = self.before.iter().rposition(|step| step.kind != StepKind::File);
        match meant.and_then(|at| Some((self.before.get(at)?, self.before.get(..at)?))) {
            Some((last, before)) if matches!(last.kind, StepKind::Kernel | StepKind::Ramdisk | StepKind::Pack) => {
                Stage { last, before, ..*self }.diagnose()
            }
            _ => fine(format!("it took {}", self.last.file)),
        }
    }

    fn ramdisk(&self) -> Diagnosis {
        self.unless_soon(TO_AGENT, "the first call of its agent", || {
            stuck(
                "it took kernel and ramdisk, and no agent has called",
                [
                    "the console shows where the ramdisk stands; docs/console.md explains each line".to_owned(),
                    "does it have a driver for its network card? Packs of drivers: `thimble image build --packs`".to_owned(),
                    "is the memory enough (128 MiB at least), and the kernel of its architecture?".to_owned(),
                    format!(
                        "can it reach `grpc-authority`, TCP port {}? `thimble boots doctor` looks for a firewall",
                        ports::GRPC
                    ),
                ],
            )
        })
    }

    fn log(&self) -> Diagnosis {
        if !self.had(StepKind::Ramdisk) {
            return fine("a running system sends syslog");
        }
        self.unless_soon(TO_AGENT, "the first call of its agent", || {
            stuck(
                "its ramdisk runs and sends syslog, and no agent has called",
                [
                    format!("does a firewall close TCP port {}? `thimble boots doctor` looks", ports::GRPC),
                    "is `grpc-authority` an address that the machine reaches?".to_owned(),
                    "`thimble logs --machine NAME` has its lines: a certificate or a clock may be wrong".to_owned(),
                ],
            )
        })
    }

    fn agent(&self) -> Diagnosis {
        match self.situation.boots {
            Some(BootState::Wait { reason }) => stuck(
                format!("its agent called, and there is no work for it: {reason}"),
                ["apply a Workflow for it, or `thimble machine reinstall NAME`".to_owned()],
            ),
            Some(BootState::Install { workflow: Some(workflow) }) => fine(format!("its agent called, for workflow {workflow}")),
            Some(BootState::Local { reason }) => fine(format!("its agent called, and it boots its disk next: {reason}")),
            Some(other) => fine(format!("its agent called: {}", other.reason())),
            None => stuck(
                "its agent called, and no Hardware has its MAC",
                ["apply a Hardware for it, or approve it if it was discovered: `thimble machine list`".to_owned()],
            ),
        }
    }
}

#[cfg(test)]
mod tests;
