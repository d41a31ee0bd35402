//! GRUB's configuration. A GRUB that came by TFTP reads `/files/...` by TFTP, and one that came by HTTP by HTTP.

use super::words::{for_grub, is_plain, line, plain};
use super::{Made, NotMade};
use crate::environment::Environment;
use crate::ipxe::{Packs, is_https};
use crate::{BootInterface, BootState, Config, server_ca};

/// Loaders of installed systems, in the order in which they are looked for. The last two are every system's, and those of media.
const LOADERS: &str = "/EFI/debian/shimx64.efi /EFI/debian/grubx64.efi \
     /EFI/debian/shimaa64.efi /EFI/debian/grubaa64.efi /EFI/ubuntu/shimx64.efi /EFI/ubuntu/grubx64.efi /EFI/ubuntu/shimaa64.efi \
     /EFI/redhat/shimx64.efi /EFI/rocky/shimx64.efi /EFI/almalinux/shimx64.efi /EFI/centos/shimx64.efi /EFI/fedora/shimx64.efi \
     /EFI/opensuse/shim.efi /EFI/opensuse/grubx64.efi /EFI/sles/shim.efi /EFI/systemd/systemd-bootx64.efi \
     /EFI/Microsoft/Boot/bootmgfw.efi /EFI/BOOT/BOOTX64.EFI /EFI/BOOT/BOOTAA64.EFI";

pub fn config(config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Result<Made, NotMade> {
    let said = format!("{} {}: {}", plain(&machine.name), machine.mac, plain(machine.boot.reason()));
    match &machine.boot {
        BootState::Local { .. } => return Ok(Made::text(disk(&said), Vec::new())),
        BootState::Hold { .. } => return Ok(Made::text(again(&format!("{said}: held")), Vec::new())),
        _ => {}
    }
    let environment = Environment::of(config, machine, packs, now);
    let mut notes = environment.notes.clone();
    let base = match environment.elsewhere.as_deref() {
        None => "/files".to_owned(),
        Some(base) => on_another_server(base)?,
    };
    let mut ramdisks = vec![format!("{base}/{}", environment.ramdisk)];
    ramdisks.extend(environment.authority.then(|| format!("/{}", server_ca::PATH)));
    ramdisks.extend(environment.packs.iter().map(|(_, path)| format!("{base}/{path}")));
    let kernel = format!("{base}/{}", environment.kernel);
    let is_good = |path: &str| is_plain(&path.replace(['(', ')', ','], ""));
    if let Some(bad) = ramdisks.iter().chain([&kernel]).find(|path| !is_good(path)) {
        return Err(NotMade::Unsayable(format!("{} cannot stand in a configuration of GRUB", plain(bad))));
    }
    let words = line(&environment.words, for_grub, "GRUB", &mut notes);
    let ramdisks: Vec<String> = ramdisks.iter().map(|path| format!("'{path}'")).collect();
    let after = match machine.boot {
        BootState::Install { .. } | BootState::Rescue { .. } => {
            "echo 'thimble: cannot start the installation environment; restarting in 10 seconds'\nsleep 10\nreboot\n".to_owned()
        }
        _ => disk("cannot start the installation environment"),
    };
    let text = format!("echo 'thimble: {said}'\nlinux '{kernel}' {words}\ninitrd {}\nboot\n{after}", ramdisks.join(" "));
    Ok(Made::text(text, notes))
}

pub fn again(said: &str) -> String {
    format!("echo 'thimble: {said}'\necho 'thimble: asking again in a minute'\nsleep 60\nreboot\n")
}

/// `http://host:port/path` as GRUB names it.
fn on_another_server(base: &str) -> Result<String, NotMade> {
    let unable = |why: &str| NotMade::Unsayable(format!("GRUB cannot load from {}: {why}", plain(base)));
    if is_https(base) {
        return Err(unable("it has no HTTPS"));
    }
    let (host, path) = base
        .strip_prefix("http://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .ok_or_else(|| unable("it is not an http:// URL"))?;
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    Ok(format!("(http,{host}){path}"))
}

/// Starts the loader of the one partition that has a folder `/EFI`. GRUB has drivers for disks and file systems, so nothing else
/// of the firmware's boot order is tried before it.
///
/// To GRUB a stick looks like a disk. So it starts nothing if there are several such partitions, or a disk that is one file
/// system with `/EFI`, as the image of an ISO on a stick is. Then the firmware's boot order decides. CDs are `cd` in GRUB.
/// `(hd*)` would be partitions, too, but `(hd?)` is a whole disk.
pub fn disk(why: &str) -> String {
    format!(
        "echo 'thimble: booting from the local disk: {why}'\n\
         if [ \"$grub_platform\" = efi ]; then\n\
         \x20 set disk=\n\
         \x20 set several=\n\
         \x20 for part in (hd*,*); do\n\
         \x20   if [ -d \"$part/EFI\" ]; then\n\
         \x20     if [ -n \"$disk\" ]; then set several=yes; fi\n\
         \x20     set disk=\"$part\"\n\
         \x20   fi\n\
         \x20 done\n\
         \x20 for whole in (hd?) (hd??); do\n\
         \x20   if [ -d \"$whole/EFI\" ]; then set several=yes; fi\n\
         \x20 done\n\
         \x20 if [ -n \"$several\" ]; then\n\
         \x20   echo 'thimble: several disks or media have a boot loader, so the firmware chooses one'\n\
         \x20 elif [ -n \"$disk\" ]; then\n\
         \x20   set root=\"$disk\"\n\
         \x20   for loader in {LOADERS}; do\n\
         \x20     if [ -f \"$loader\" ]; then\n\
         \x20       chainloader $loader\n\
         \x20       boot\n\
         \x20     fi\n\
         \x20   done\n\
         \x20 fi\n\
         else\n\
         \x20 set root=hd0\n\
         \x20 chainloader +1\n\
         \x20 boot\n\
         fi\n\
         exit 1\n"
    )
}
