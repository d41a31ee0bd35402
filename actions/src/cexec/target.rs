//! The file system as a system that commands can run in: the kernel's file systems, `/run` and name servers are mounted over
//! it. The mounts belong to the action's own namespace, so they vanish with its processes, whatever ends them. On the disk
//! nothing changes for them, but for folders that it does not have.

use super::{CexecError, Settings};
use crate::say;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, statat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    move_mount, open_tree, unmount,
};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::chroot;
use std::path::Path;

const RESOLV_CONF: &str = "resolv.conf";
const EFIVARS: &str = "/sys/firmware/efi/efivars";
const EFIVARFS_MAGIC: i64 = 0xde5e_81e4; // <linux/magic.h>
/// More subvolumes than a system has at the top.
const ENTRIES_MAX: usize = 1024;

pub struct Target {
    root: OwnedFd,
    /// Folders that were made to mount at, relative to the root.
    made: Vec<String>,
    /// The target's /etc, where an empty resolv.conf was made to mount at.
    without_resolv_conf: Option<OwnedFd>,
}

/// Gives this process its own mounts and a `/proc` of its PID namespace, and mounts the device.
pub fn mount_device(settings: &Settings, device: &Path, place: &Path) -> Result<Target, CexecError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| CexecError::Enter { what, source }
    };
    super::sys::new_mount_namespace().map_err(failed("make a namespace for mounts"))?;
    let private = mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC);
    private.map_err(|errno| failed("make the mounts private")(errno.into()))?;
    let proc = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", proc, None).map_err(|errno| failed("mount /proc")(errno.into()))?;
    let mut options = settings.options.clone();
    crate::mount::attach(device, place, &settings.fs, &options)?;
    if settings.chroot
        && options.is_empty()
        && settings.fs == "btrfs"
        && let Some(name) = subvolume(&entries(place), |name| is_system(&place.join(name)))?
    {
        say(&format!("the system is in the subvolume {name}"));
        crate::mount::detach(place).map_err(|errno| failed("unmount the top of the file system")(errno.into()))?;
        options = format!("subvol={name}");
        crate::mount::attach(device, place, &settings.fs, &options)?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(place, flags, Mode::empty()).map_err(|errno| failed("open the file system")(errno.into()))?;
    Ok(Target { root, made: Vec::new(), without_resolv_conf: None })
}

fn entries(place: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn is_system(folder: &Path) -> bool {
    ["bin", "usr", "etc", "nix"].iter().any(|name| folder.join(name).symlink_metadata().is_ok())
}

/// The only folder of a file system's top that holds a system, if the top does not. Distributions install into `@` or `root`
/// and do not always make that the default subvolume.
fn subvolume(names: &[String], is_system: impl Fn(&str) -> bool) -> Result<Option<String>, CexecError> {
    if is_system("") {
        return Ok(None);
    }
    let systems: Vec<&String> = names.iter().filter(|name| is_system(name)).collect();
    match systems.as_slice() {
        [] => Ok(None),
        [name] => Ok(Some((*name).clone())),
        several => {
            Err(CexecError::Subvolumes(several.iter().map(|name| format!("MOUNT_OPTIONS=subvol={name}")).collect::<Vec<_>>()))
        }
    }
}

impl Target {
    /// Mounts what commands expect.
    pub fn furnish(&mut self, resolv_conf: bool) -> Result<(), CexecError> {
        for name in ["dev", "proc", "sys"] {
            let place = self.place(name)?;
            let bound = mount_bind_recursive(format!("/{name}"), shown(&place));
            bound.map_err(|errno| enter(format!("bind /{name} into the target"), errno))?;
        }
        self.efi_variables();
        match self.run_folder() {
            Ok(()) if resolv_conf => self.provide_resolv_conf(),
            Err(error) if resolv_conf => Err(error),
            // It exists on the disk, or the target has none.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The folder to mount at, as it is inside of the root. It is made if the target does not have it.
    fn place(&mut self, name: &str) -> Result<OwnedFd, CexecError> {
        match self.resolve(name) {
            Err(Errno::NOENT) => {
                let made = mkdirat(&self.root, name, Mode::from_raw_mode(0o755));
                made.map_err(|errno| enter(format!("make the folder /{name} in the target"), errno))?;
                self.made.push(name.to_owned());
                self.resolve(name)
            }
            found => found,
        }
        .map_err(|errno| enter(format!("open the folder /{name} of the target"), errno))
    }

    fn resolve(&self, path: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// For efibootmgr and the installers of boot loaders.
    fn efi_variables(&self) {
        let is_mounted = rustix::fs::statfs(EFIVARS).map(|file_system| file_system.f_type == EFIVARFS_MAGIC);
        if is_mounted != Ok(false) {
            return; // it came with /sys, or the machine was not booted by UEFI
        }
        let place = self.resolve(EFIVARS.trim_start_matches('/'));
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        if let Err(errno) = place.and_then(|place| mount("efivarfs", shown(&place), "efivarfs", flags, None)) {
            say(&format!("commands cannot read EFI variables: {}", io::Error::from(errno)));
        }
    }

    /// What commands leave in `/run` is gone afterwards, as after a boot.
    fn run_folder(&mut self) -> Result<(), CexecError> {
        let place = self.place("run")?;
        let data = CString::new("mode=0755").unwrap_or_default();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", shown(&place), "tmpfs", flags, Some(data.as_c_str()))
            .map_err(|errno| enter("mount /run of the target".to_owned(), errno))?;
        let run = self.resolve("run").map_err(|errno| enter("open /run of the target".to_owned(), errno))?;
        // Debian's /var/lock leads here.
        let _ = mkdirat(&run, "lock", Mode::from_raw_mode(0o1777));
        if Path::new("/run/udev").is_dir() && mkdirat(&run, "udev", Mode::from_raw_mode(0o755)).is_ok() {
            let bound = self.resolve("run/udev").and_then(|place| mount_bind_recursive("/run/udev", shown(&place)));
            if let Err(errno) = bound {
                say(&format!("commands do not see udev: {}", io::Error::from(errno)));
            }
        }
        Ok(())
    }

    /// Mounts a copy of the action's resolv.conf over the target's, which may be a link to a file that is not there. The link
    /// itself is the place, so that it is never followed.
    fn provide_resolv_conf(&mut self) -> Result<(), CexecError> {
        let failed = |source: io::Error| CexecError::Enter { what: "provide resolv.conf".to_owned(), source };
        let text = std::fs::read("/etc/resolv.conf").map_err(failed)?;
        let run = self.resolve("run").map_err(|errno| failed(errno.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let copy = openat(&run, RESOLV_CONF, flags, Mode::from_raw_mode(0o644)).map_err(|errno| failed(errno.into()))?;
        File::from(copy).write_all(&text).map_err(failed)?;
        let etc = self.place("etc")?;
        if statat(&etc, RESOLV_CONF, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(&etc, RESOLV_CONF, flags, Mode::from_raw_mode(0o644)).map_err(|errno| failed(errno.into()))?;
            self.without_resolv_conf = etc.try_clone().ok();
        }
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(&run, RESOLV_CONF, clone).map_err(|errno| failed(errno.into()))?;
        let moved = move_mount(&tree, "", &etc, RESOLV_CONF, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
        moved.map_err(|errno| failed(errno.into()))
    }

    /// Commands started from now on are inside. The result is the way back.
    pub fn enter(&self) -> Result<File, CexecError> {
        let failed = |source: io::Error| CexecError::Enter { what: "chroot into the target".to_owned(), source };
        let outside = File::open("/").map_err(failed)?;
        rustix::process::fchdir(&self.root).map_err(|errno| failed(errno.into()))?;
        chroot(".").map_err(failed)?;
        Ok(outside)
    }

    /// Everything that commands wrote is on the disk after this. Folders and files that were made for mounts are gone.
    pub fn leave(self, outside: Option<File>, place: &Path) -> Result<(), CexecError> {
        let failed = |what: &str, source: io::Error| CexecError::Enter { what: what.to_owned(), source };
        if let Some(outside) = outside {
            rustix::process::fchdir(&outside).map_err(|errno| failed("leave the target", errno.into()))?;
            chroot(".").map_err(|source| failed("leave the target", source))?;
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let left = left_behind(&mounts, place);
        if !left.is_empty() {
            say(&format!("warning: the command left mounts, which are undone: {}", left.join(", ")));
        }
        let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = rustix::fs::open(place, readable, Mode::empty()).and_then(rustix::fs::syncfs);
        if let Some(etc) = &self.without_resolv_conf {
            let path = format!("{}/{RESOLV_CONF}", shown(etc));
            let _ = unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            if statat(etc, RESOLV_CONF, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|file| file.st_size == 0) {
                unlinkat(etc, RESOLV_CONF, AtFlags::empty()).map_err(|errno| failed("remove the resolv.conf", errno.into()))?;
            }
        }
        for name in &self.made {
            let _ = unmount(place.join(name), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            let _ = unlinkat(&self.root, name, AtFlags::REMOVEDIR); // not empty: the command has put something there
        }
        drop(self);
        let _ = unmount(place, UnmountFlags::DETACH); // what is busy is gone with the processes
        synced.map_err(|errno| failed("write everything to the disk", errno.into()))
    }
}

/// The places below the target that are not its own. Those of [`Target::furnish`] are known by name.
fn left_behind(mountinfo: &str, place: &Path) -> Vec<String> {
    let paths =
        mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).filter_map(|path| Path::new(path).strip_prefix(place).ok());
    let ours = |path: &Path| {
        ["dev", "proc", "sys", "run/udev", "run"].iter().any(|known| {
            // The machine's mounts came with the first three of them.
            path.starts_with(known) && (*known != "run" || path == Path::new("run"))
        }) || path == Path::new("etc/resolv.conf")
            || path.as_os_str().is_empty()
    };
    paths.filter(|path| !ours(path)).map(|path| format!("/{}", path.display())).collect()
}

fn enter(what: String, errno: Errno) -> CexecError {
    CexecError::Enter { what, source: errno.into() }
}

/// A folder that is open, as a path for system calls that take no descriptor.
fn shown(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_in_one_subvolume_is_found_and_several_are_refused() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (case, top, systems, expected) in [
            ("the top is the system", true, vec!["@"], Ok(None)),
            ("Ubuntu", false, vec!["@"], Ok(Some("@".to_owned()))),
            ("Fedora", false, vec!["root"], Ok(Some("root".to_owned()))),
            ("data only", false, vec![], Ok(None)),
            ("two systems", false, vec!["a", "b"], Err("MOUNT_OPTIONS=subvol=a, MOUNT_OPTIONS=subvol=b")),
        ] {
            let all = names(&["@", "@home", "a", "b", "root"]);
            let found = subvolume(&all, |name| if name.is_empty() { top } else { systems.contains(&name) });
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{case}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{case}: {error}"),
                (found, _) => panic!("{case}: {:?}", found.ok()),
            }
        }
    }

    #[test]
    fn mounts_of_the_command_are_told_from_those_of_the_action() {
        let line = |path: &str| format!("36 35 98:0 / {path} rw,noatime - ext4 /dev/root rw\n");
        let info: String =
            ["/", "/mountAction", "/mountAction/dev", "/mountAction/dev/pts", "/mountAction/run", "/mountAction/etc/resolv.conf"]
                .into_iter()
                .chain(["/mountAction/mnt", "/mountAction/run/x", "/mountActionX/y"])
                .map(line)
                .collect();
        assert_eq!(left_behind(&info, Path::new("/mountAction")), ["/mnt", "/run/x"]);
    }
}
