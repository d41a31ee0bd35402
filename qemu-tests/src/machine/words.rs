//! QEMU's command line for a machine's parts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Accelerator;
use super::parts::{Between, Boot, Clock, Disk, DiskModel, Firmware, Medium, Network, Nic, NicModel, Parts, SECTOR};

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const SECURE_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd";

pub fn words(parts: &Parts, accelerator: Accelerator, folder: &Path) -> Result<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    // Without graphics, SeaBIOS and iPXE write to the serial console and wait for it.
    let graphics = if parts.dead_serial.is_some() { "on" } else { "off" };
    let firmware = parts.boot.firmware();
    // With Secure Boot, only code in the firmware's mode may write its variables.
    let smm = if firmware == Firmware::OvmfSecure { ",smm=on" } else { "" };
    add("-machine", format!("q35,graphics={graphics}{smm}"));
    let (accel, cpu) = match (parts.clock, accelerator) {
        (Clock::Host, Accelerator::Kvm) => ("kvm", "host"),
        (Clock::Host, Accelerator::Tcg) | (Clock::Instructions, _) => ("tcg", "max"),
    };
    add("-accel", accel.into());
    add("-cpu", cpu.into());
    if parts.clock == Clock::Instructions {
        add("-icount", "shift=0,sleep=on".into());
    }
    if let Some(time) = parts.rtc {
        add("-rtc", format!("base={time}"));
    }
    add("-smp", parts.processors.to_string());
    add("-m", format!("{}M", parts.memory_mib));
    add("-display", "none".into());
    let usb = parts.nics.iter().any(|nic| nic.model.is_usb())
        || parts.disks.iter().any(|disk| disk.model == DiskModel::UsbStorage)
        || matches!(parts.boot, Boot::Medium { medium: Medium::Stick(_), .. })
        || parts.cd.is_some()
        || parts.slots > 0;
    if usb {
        add("-device", "qemu-xhci,id=usb".into());
    }
    for slot in 0..parts.slots {
        add("-device", format!("pcie-root-port,id=slot{slot},chassis={},slot={}", slot + 1, slot + 1));
    }
    for (index, nic) in parts.nics.iter().enumerate() {
        add("-netdev", netdev(&nic.network, index));
        // Index 0 belongs to the kernel, if there is one.
        let boots = index == 0 && nic.model.boots() && !matches!(parts.boot, Boot::Disks { .. });
        let first = if boots { ",bootindex=1" } else { "" };
        let rom = if nic.model.is_usb() || has_rom(&parts.boot, nic, index) { "" } else { ",romfile=" };
        // LACP does not accept a port of unknown speed.
        let speed = if nic.model == NicModel::Virtio { ",speed=1000,duplex=full" } else { "" };
        add("-device", format!("{},netdev=net{index},id=nic{index},mac={}{first}{rom}{speed}", nic.model.device(), nic.mac));
    }
    for (index, disk) in parts.disks.iter().enumerate() {
        let (flag, value) = block(disk, index, folder)?;
        add(flag, value);
        disk_devices(disk, index).into_iter().for_each(|device| add("-device", device));
    }
    if let Some(cd) = &parts.cd {
        add("-drive", format!("if=none,id=cd,format=raw,media=cdrom,readonly=on,file={}", cd.display()));
        add("-device", "usb-storage,bus=usb.0,drive=cd".into());
    }
    if let Some(pipe) = &parts.dead_serial {
        add("-chardev", format!("pipe,id=dead,path={}", pipe.display()));
        add("-serial", "chardev:dead".into());
    }
    parts.identity.iter().for_each(|(uuid, serial)| add("-smbios", format!("type=1,uuid={uuid},serial={serial}")));
    parts.globals.iter().for_each(|property| add("-global", (*property).to_owned()));
    parts.devices.iter().for_each(|device| add("-device", (*device).to_owned()));
    parts.ovmf.iter().for_each(|setting| add("-fw_cfg", format!("name=opt/org.tianocore/{setting}")));
    if let Some(socket) = &parts.tpm {
        add("-chardev", format!("socket,id=tpm,path={}", socket.display()));
        add("-tpmdev", "emulator,id=tpm,chardev=tpm".into());
        add("-device", "tpm-crb,tpmdev=tpm".into());
    }
    let flash = match firmware {
        Firmware::SeaBios => None,
        Firmware::Ovmf => Some((OVMF_CODE, OVMF_VARS)),
        Firmware::OvmfSecure => Some((SECURE_CODE, SECURE_VARS)),
    };
    if let Some((code, initial)) = flash {
        let variables = folder.join("OVMF_VARS.fd");
        fs::copy(initial, &variables).with_context(|| format!("cannot copy {initial}; is ovmf installed?"))?;
        add("-drive", format!("if=pflash,format=raw,readonly=on,file={code}"));
        add("-drive", format!("if=pflash,format=raw,file={}", variables.display()));
        if firmware == Firmware::OvmfSecure {
            add("-global", "driver=cfi.pflash01,property=secure,value=on".into());
        }
    }
    match &parts.boot {
        Boot::Bios | Boot::Uefi | Boot::Disks { .. } => {}
        Boot::Direct { kernel, initrd, arguments, .. } => {
            add("-kernel", kernel.display().to_string());
            add("-initrd", initrd.display().to_string());
            add("-append", arguments.clone());
        }
        Boot::Medium { medium, .. } => {
            let (file, kind, device) = match medium {
                Medium::Cd(file) => (file.display().to_string(), "media=cdrom,readonly=on", "ide-cd,bus=ide.5"),
                Medium::Stick(file) => (file.display().to_string(), "readonly=on", "usb-storage,bus=usb.0"),
                Medium::Folder(folder) => (format!("fat:rw:{}", folder.display()), "readonly=off", "virtio-blk-pci"),
            };
            add("-drive", format!("if=none,id=medium,format=raw,{kind},file={file}"));
            add("-device", format!("{device},drive=medium,bootindex=0"));
        }
    }
    words.extend(["-nodefaults", "-no-user-config"].map(str::to_owned));
    Ok(words)
}

/// The disk's file with what is between. The host outlives the machine, so a flush need not reach the host's disk. It took up to
/// half a minute there.
fn block(disk: &Disk, index: usize, folder: &Path) -> Result<(&'static str, String)> {
    let (file, id) = (disk.file.display(), format!("disk{index}"));
    let drive = |file: String| ("-drive", format!("if=none,id={id},format=raw,cache=unsafe,file={file}"));
    Ok(match &disk.between {
        Between::Nothing => drive(file.to_string()),
        Between::BrokenSector(sector) => {
            let rules = folder.join(format!("faults{index}"));
            let rule = format!("[inject-error]\nevent = \"none\"\niotype = \"write\"\nerrno = \"5\"\nsector = \"{sector}\"\n");
            fs::write(&rules, rule).with_context(|| format!("cannot write {}", rules.display()))?;
            drive(format!("blkdebug:{}:{file}", rules.display()))
        }
        // Flushes must reach the log, so only the files below it ignore them.
        Between::WriteLog(log) => {
            let child = |name: &str, file: &dyn std::fmt::Display| {
                format!("{name}.driver=file,{name}.filename={file},{name}.cache.no-flush=on")
            };
            let (data, log) = (child("file", &file), child("log", &log.display()));
            ("-blockdev", format!("driver=blklogwrites,node-name={id},log-super-update-interval=1,{data},{log}"))
        }
    })
}

/// SeaBIOS boots through the card's iPXE. OVMF has a driver only for virtio.
fn has_rom(boot: &Boot, nic: &Nic, index: usize) -> bool {
    match boot {
        Boot::Bios => index == 0,
        Boot::Uefi => index == 0 && nic.model != super::parts::NicModel::Virtio,
        Boot::Direct { .. } | Boot::Disks { .. } | Boot::Medium { .. } => false,
    }
}

pub fn netdev(network: &Network, index: usize) -> String {
    match network {
        Network::Tap(name) => format!("tap,id=net{index},ifname={name},script=no,downscript=no"),
        Network::User => format!("user,id=net{index}"),
        Network::Nowhere => format!("user,id=net{index},restrict=on"),
        Network::Plug(path) => format!("stream,id=net{index},server=off,addr.type=unix,addr.path={}", path.display()),
        Network::Socket(path) => format!("stream,id=net{index},server=on,addr.type=unix,addr.path={}", path.display()),
    }
}

fn disk_devices(disk: &Disk, index: usize) -> Vec<String> {
    let (serial, boot) = (&disk.serial, format!("bootindex={}", index + 2));
    let sector = match disk.sector {
        SECTOR => String::new(),
        bytes => format!(",logical_block_size={bytes},physical_block_size={bytes}"),
    };
    let drive = format!("drive=disk{index},serial={serial},{boot}{sector}");
    match disk.model {
        DiskModel::VirtioBlk => vec![format!("virtio-blk-pci,{drive}")],
        DiskModel::VirtioScsi => {
            vec![format!("virtio-scsi-pci,id=scsi{index}"), format!("scsi-hd,bus=scsi{index}.0,{drive}")]
        }
        DiskModel::Ahci => vec![format!("ide-hd,bus=ide.{index},{drive}")],
        DiskModel::Piix => vec![format!("piix3-ide,id=piix{index}"), format!("ide-hd,bus=piix{index}.0,{drive}")],
        DiskModel::Nvme => vec![format!("nvme,{drive}")],
        DiskModel::UsbStorage => vec![format!("usb-storage,bus=usb.0,{drive}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::parts::NicModel;

    fn parts(boot: Boot, model: NicModel) -> Parts {
        let nic = Nic { model, mac: "52:54:00:77:00:01".into(), network: Network::Tap("tap0".into()) };
        Parts::new(boot, 128, vec![nic])
    }

    fn line(parts: &Parts) -> String {
        words(parts, Accelerator::Tcg, Path::new("/nowhere")).unwrap().join(" ")
    }

    #[test]
    fn a_direct_boot_leaves_the_rom_out() {
        let boot =
            Boot::Direct { firmware: Firmware::SeaBios, kernel: "k".into(), initrd: "i".into(), arguments: "quiet".into() };
        let direct = line(&parts(boot, NicModel::Virtio));
        assert!(direct.contains("romfile=") && direct.contains("-append quiet"), "{direct}");
        let network = line(&parts(Boot::Bios, NicModel::Virtio));
        assert!(!network.contains("romfile="), "{network}");
    }

    #[test]
    fn usb_devices_come_with_their_controller() {
        let with = line(&parts(Boot::Bios, NicModel::UsbNet));
        assert!(with.contains("qemu-xhci") && !with.contains("usb-net,netdev=net0,id=nic0,mac=52:54:00:77:00:01,"), "{with}");
        assert!(!line(&parts(Boot::Bios, NicModel::Virtio)).contains("xhci"));
    }

    #[test]
    fn a_disk_has_its_serial_number() {
        let mut parts = parts(Boot::Bios, NicModel::Virtio);
        for model in DiskModel::ALL {
            parts.disks = vec![Disk::new(model, "d".into(), "S1")];
            let words = line(&parts);
            assert!(words.contains("serial=S1") && !words.contains("block_size"), "{model:?}");
        }
    }
}
