//! What a path asks for, and which machine it is about. Pure.

use std::net::Ipv4Addr;

use model::Mac;

/// A file that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// PXELINUX's configuration, which U-Boot and Petitboot read, too.
    Pxelinux,
    Grub,
    /// U-Boot's script.
    BootScript,
    RaspberryPi {
        serial: Option<String>,
        file: String,
    },
}

/// How the machine is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Mac(Mac),
    Address(Ipv4Addr),
    /// The path does not say, so the sender's address does.
    Sender,
}

/// Files that a Raspberry Pi asks for without its folder.
const RASPBERRY_PI: [&str; 2] = ["config.txt", "cmdline.txt"];

/// `None` for a file that is not made.
#[must_use]
pub fn asked(path: &str) -> Option<(Asked, By)> {
    let path = path.trim_start_matches(['/', '\\']);
    let (folder, name) = path.rsplit_once(['/', '\\']).unwrap_or(("", path));
    let parent = folder.rsplit(['/', '\\']).next().unwrap_or_default();
    if parent == "pxelinux.cfg" {
        let is_default = name == "default" || name.starts_with("default-");
        let by = if is_default { Some(By::Sender) } else { machine(name) };
        return by.map(|by| (Asked::Pxelinux, by));
    }
    match name {
        "extlinux.conf" => return Some((Asked::Pxelinux, By::Sender)),
        "boot.scr.uimg" | "boot.scr" => return Some((Asked::BootScript, By::Sender)),
        "grub.cfg" => return Some((Asked::Grub, By::Sender)),
        _ => {}
    }
    if let Some(rest) = name.strip_prefix("grub.cfg-") {
        return machine(rest).map(|by| (Asked::Grub, by));
    }
    let (first, rest) = path.split_once('/').map_or((None, path), |(first, rest)| (Some(first), rest));
    let file = rest.to_owned();
    match first {
        None if RASPBERRY_PI.contains(&path) => Some((Asked::RaspberryPi { serial: None, file }, By::Sender)),
        Some(serial) if is_serial(serial) => {
            Some((Asked::RaspberryPi { serial: Some(serial.to_ascii_lowercase()), file }, By::Sender))
        }
        Some(mac) if is_dashed_mac(mac) => mac.parse().ok().map(|mac| (Asked::RaspberryPi { serial: None, file }, By::Mac(mac))),
        _ => None,
    }
}

/// `01-02-00-00-00-00-01`, or an address as eight hexadecimal digits. Shorter ones are for networks, which have no state.
fn machine(name: &str) -> Option<By> {
    if let Some(mac) = name.strip_prefix("01-").filter(|mac| is_dashed_mac(mac)) {
        return mac.parse().ok().map(By::Mac);
    }
    let is_address = name.len() == 8 && is_hex(name);
    is_address.then(|| u32::from_str_radix(name, 16).ok()).flatten().map(|bits| By::Address(bits.into()))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_serial(text: &str) -> bool {
    text.len() == 8 && is_hex(text)
}

fn is_dashed_mac(text: &str) -> bool {
    text.len() == 17 && text.split('-').count() == 6 && text.split('-').all(|part| part.len() == 2 && is_hex(part))
}

/// The path below the files folder, for a loader that reads everything by TFTP. Loaders put the folder of their configuration
/// in front of it.
#[must_use]
pub fn below_files(path: &str) -> Option<&str> {
    let path = path.trim_start_matches('/');
    path.strip_prefix("files/").or_else(|| path.split_once("/files/").map(|(_, path)| path))
}

/// The names of an installer in ONIE's order, from what a switch says of itself.
#[must_use]
pub fn onie_names(arch: &str, machine: &str, revision: &str) -> Vec<String> {
    let is_word = |text: &&str| {
        !text.is_empty() && text.len() < 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let [arch, machine, revision] = [arch, machine, revision].map(|text| Some(text).filter(is_word));
    let all = [
        arch.zip(machine).zip(revision).map(|((arch, machine), revision)| format!("-{arch}-{machine}-r{revision}")),
        arch.zip(machine).map(|(arch, machine)| format!("-{arch}-{machine}")),
        machine.map(|machine| format!("-{machine}")),
        arch.map(|arch| format!("-{arch}")),
        Some(String::new()),
    ];
    all.into_iter().flatten().map(|end| format!("onie-installer{end}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_is_asked_and_of_which_machine() {
        let mac = By::Mac(Mac::new([0x52, 0x54, 0, 0x77, 0, 0x10]));
        let address = By::Address(Ipv4Addr::new(10, 77, 0, 60));
        let pi =
            |serial: Option<&str>, file: &str| Asked::RaspberryPi { serial: serial.map(str::to_owned), file: file.to_owned() };
        for (path, expected) in [
            ("pxelinux.cfg/01-52-54-00-77-00-10", Some((Asked::Pxelinux, mac))),
            ("/boot/pxelinux.cfg/01-52-54-00-77-00-10", Some((Asked::Pxelinux, mac))),
            ("pxelinux.cfg/0A4D003C", Some((Asked::Pxelinux, address))),
            ("pxelinux.cfg/default", Some((Asked::Pxelinux, By::Sender))),
            ("pxelinux.cfg/default-arm-qemu", Some((Asked::Pxelinux, By::Sender))),
            ("extlinux/extlinux.conf", Some((Asked::Pxelinux, By::Sender))),
            ("pxelinux.cfg/11111111-2222-3333-4444-555555555555", None),
            ("pxelinux.cfg/0A4D00", None),
            ("pxelinux.cfg/0A4D003G", None),
            ("pxelinux.cfg/01-52-54-00-77-00-1", None),
            ("boot.scr.uimg", Some((Asked::BootScript, By::Sender))),
            ("/grub/grub.cfg", Some((Asked::Grub, By::Sender))),
            ("grub/grub.cfg-01-52-54-00-77-00-10", Some((Asked::Grub, mac))),
            ("grub/grub.cfg-0A4D003C", Some((Asked::Grub, address))),
            ("grub/grub.cfg-0A4D", None),
            ("/grub/x86_64-efi/command.lst", None),
            ("1a2b3c4d/config.txt", Some((pi(Some("1a2b3c4d"), "config.txt"), By::Sender))),
            ("1A2B3C4D/overlays/x.dtbo", Some((pi(Some("1a2b3c4d"), "overlays/x.dtbo"), By::Sender))),
            ("52-54-00-77-00-10/start4.elf", Some((pi(None, "start4.elf"), mac))),
            ("config.txt", Some((pi(None, "config.txt"), By::Sender))),
            ("ipxe.efi", None),
            ("02:00:00:00:00:01/ipxe.efi", None),
            ("", None),
        ] {
            assert_eq!(asked(path), expected, "{path}");
        }
    }

    #[test]
    fn files_are_found_whatever_folder_stands_before_them() {
        for (path, expected) in [
            ("files/kernel", Some("kernel")),
            ("/files/arm64/kernel", Some("arm64/kernel")),
            ("debian-installer/files/kernel", Some("kernel")),
            ("kernel", None),
            ("profiles/kernel", None),
        ] {
            assert_eq!(below_files(path), expected, "{path}");
        }
    }

    #[test]
    fn an_installer_has_the_names_of_onies_waterfall() {
        assert_eq!(
            onie_names("x86_64", "dell_s6000", "0"),
            [
                "onie-installer-x86_64-dell_s6000-r0",
                "onie-installer-x86_64-dell_s6000",
                "onie-installer-dell_s6000",
                "onie-installer-x86_64",
                "onie-installer",
            ]
        );
        assert_eq!(onie_names("../x", "a/b", ""), ["onie-installer"]);
    }
}
