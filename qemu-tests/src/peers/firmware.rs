//! Firmware in QEMU. It has done its part when it has its script, or the program that this host has nothing to start from.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::boots::{Boots, mac_of};
use super::rows::{Machine, Mode, Row};
use crate::command::{Daemon, effect, tail, wait_for};
use crate::namespace::ip;
use crate::segment::{HOST, add_tap};

pub const OVMF: &str = "/usr/share/ovmf/OVMF.fd"; // with its variables
pub const AAVMF: &str = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";
pub const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
const TAP: &str = "tap0";
/// Emulated firmware on a host that is busy. HTTP boot comes after the other ways to boot.
const LIMIT: Duration = Duration::from_secs(240);
/// How long boots has to stay silent in the mode off.
const SILENCE: Duration = Duration::from_secs(25);

pub fn boots(row: &Row, machine: Machine, boots: &mut Boots, folder: &Path) -> Result<()> {
    add_tap(TAP)?;
    ip("link set tap0 up")?;
    let mac = mac_of(row);
    if machine == Machine::OvmfSnponly {
        std::fs::copy("/usr/lib/ipxe/snponly.efi", folder.join("nbp/ipxe.efi")).context("cannot copy snponly.efi")?;
    }
    if machine == Machine::AavmfGrub {
        grub(folder)?;
    }
    let serial = folder.join("serial.log");
    let mut qemu = command(machine, mac, &serial.display().to_string());
    let mut running = Daemon::start(&mut qemu, &folder.join("qemu.log"))?;
    let failed = |error: anyhow::Error| error.context(format!("its console:\n{}", tail(&serial, 15)));
    if row.mode == Mode::Off {
        std::thread::sleep(SILENCE);
        running.check()?;
        ensure!(boots.steps(mac).is_empty(), "boots answered a machine in the mode off");
        return Ok(());
    }
    // The address of a machine without Hardware is another server's, and its reads name no MAC: they are in no history.
    if machine == Machine::AavmfPxe && !row.is_known() {
        return boots.wait_for_line("sent snp-arm64.efi", LIMIT).map_err(failed);
    }
    if machine == Machine::AavmfHttp && !row.is_known() {
        let is_whole = || std::fs::read(&serial).is_ok_and(|said| String::from_utf8_lossy(&said).contains("Downloading...100%"));
        return wait_for("a whole download on the console", LIMIT, || Ok(is_whole().then_some(()))).map_err(failed);
    }
    let (kinds, words): (&[&str], &str) = match machine {
        Machine::AavmfPxe => (&["nbp"], "snp-arm64.efi"),
        Machine::AavmfHttp => (&["nbp", "file"], "snp-arm64.efi"),
        Machine::AavmfGrub => (&["kernel"], ""),
        // It takes the first offer, whatever it says of a boot. Then boots has to say so.
        Machine::UBoot if row.mode.gives_addresses() && row.beside.is_some() => (&["script", "chose_other"], ""),
        _ => (&["script"], ""),
    };
    boots.wait_for_step(mac, kinds, words, LIMIT).map_err(failed)
}

/// The files of Debian's arm64 package `grub-efi-arm64-bin` as one program. The firmware does not tell GRUB by which URL it came, so
/// GRUB asks DHCP again, and its first commands name this host.
fn grub(folder: &Path) -> Result<()> {
    let place = format!("(http,{HOST}:{})", machine::ports::HTTP);
    let commands = folder.join("early.cfg");
    let text = format!("net_bootp\nset root={place}\nset prefix={place}/grub\nconfigfile /grub/grub.cfg\n");
    std::fs::write(&commands, text).context("cannot write GRUB's first commands")?;
    let mut make = Command::new("grub-mkimage");
    make.args(["-O", "arm64-efi", "-p", "/grub", "-c"]).arg(&commands).arg("-o").arg(folder.join("nbp/snp-arm64.efi"));
    let modules = ["configfile", "echo", "efinet", "http", "linux", "net", "normal", "reboot", "sleep", "test"];
    effect(make.args(modules)).context("cannot make GRUB's program")
}

fn command(machine: Machine, mac: &str, serial: &str) -> Command {
    let is_arm = matches!(machine, Machine::AavmfPxe | Machine::AavmfHttp | Machine::AavmfGrub | Machine::UBoot);
    let mut qemu = Command::new(if is_arm { "qemu-system-aarch64" } else { "qemu-system-x86_64" });
    qemu.args(["-accel", "tcg", "-display", "none", "-no-reboot", "-monitor", "none", "-serial", &format!("file:{serial}")]);
    if is_arm {
        qemu.args(["-machine", "virt", "-cpu", "cortex-a57", "-m", "512"]);
    }
    let has_rom = machine == Machine::SeaBios;
    let card = format!("virtio-net-pci,netdev=lan,mac={mac}{}", if has_rom { ",bootindex=0" } else { ",romfile=" });
    qemu.args(["-netdev", &format!("tap,id=lan,ifname={TAP},script=no,downscript=no"), "-device", &card]);
    let not_by_v4 = ["-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=no"];
    let not_by_v6 = ["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no"];
    match machine {
        Machine::SeaBios => qemu.args(["-m", "128", "-boot", "n", "-machine", "graphics=off"]),
        Machine::IpxeLkrn => qemu.args(["-m", "256", "-machine", "graphics=off", "-kernel", "/usr/lib/ipxe/ipxe.lkrn"]),
        Machine::OvmfIpxe | Machine::OvmfSnponly => qemu.args(["-m", "256", "-bios", OVMF]).args(not_by_v6),
        Machine::OvmfHttp => qemu.args(["-m", "512", "-bios", OVMF]).args(not_by_v4).args(not_by_v6),
        Machine::OvmfPxe6 => qemu.args(["-m", "256", "-bios", OVMF]).args(not_by_v4),
        Machine::OvmfHttp6 => qemu.args(["-m", "512", "-bios", OVMF]).args(not_by_v4).args(not_by_v6),
        Machine::AavmfPxe => qemu.args(["-bios", AAVMF]).args(not_by_v6),
        Machine::AavmfHttp | Machine::AavmfGrub => qemu.args(["-bios", AAVMF]).args(not_by_v4).args(not_by_v6),
        Machine::UBoot => qemu.args(["-bios", U_BOOT]),
    };
    qemu
}
