//! `grub2disk`: installs GRUB for the system on a partition. grub-install comes from the action's image, or from the system
//! itself by chroot. The menu comes from the system's grub-mkconfig; a system without it gets one of its kernels. `/boot` may have a
//! partition of its own.

mod menu;

use crate::cexec::{self, CexecError};
use crate::device::{self, DeviceError, Named};
use crate::inside::{InsideError, Ownership, Root};
use crate::mount::{MountError, Mounted};
use crate::programs::{self, Tool, ToolError};
use crate::say;
use crate::target::{Target, TargetError};
use crate::variables::{VariableError, Variables, unusable};
use menu::MenuError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const GRUB_INSTALL: Tool = Tool::new("grub-install", "grub2-common and grub-pc-bin (or grub-efi-amd64-bin)");
const GRUB_MKCONFIG: Tool = Tool::new("grub-mkconfig", "grub-common");
const BOOT: &str = "/boot";
const CONFIG: &str = "/boot/grub/grub.cfg";
/// On a partition of its own.
const CONFIG_OF_BOOT: &str = "/grub/grub.cfg";
const EFI: &str = "/boot/efi";

#[derive(Debug, thiserror::Error)]
pub enum GrubError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("{variable}")]
    Device {
        variable: &'static str,
        #[source]
        source: DeviceError,
    },
    #[error("{variable}")]
    Mount {
        variable: &'static str,
        #[source]
        source: MountError,
    },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the system on GRUB_DISK")]
    Inside(#[from] InsideError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("in the system on GRUB_DISK")]
    Chroot(#[from] CexecError),
    #[error("the menu of the system on GRUB_DISK {disk}")]
    Menu {
        disk: PathBuf,
        #[source]
        source: MenuError,
    },
}

struct Settings {
    /// Where GRUB's first part goes.
    install: Named,
    /// Where the system is.
    system: Target,
    platform: Option<String>,
    efi: Option<Named>,
    /// What the system mounts at /boot, with its file system.
    boot: Option<(Named, String)>,
    arguments: String,
}

/// A system whose partitions are mounted.
struct System<'a> {
    root: &'a Path,
    boot: Option<&'a Path>,
}

impl System<'_> {
    /// The file system with the menu, and the menu's path there.
    fn menu(&self) -> Result<(Root, &'static Path), InsideError> {
        let (root, path) = self.boot.map_or((self.root, CONFIG), |boot| (boot, CONFIG_OF_BOOT));
        Ok((Root::open(root)?, Path::new(path)))
    }

    /// Where the kernels are.
    fn boot(&self) -> PathBuf {
        self.boot.map_or_else(|| self.root.join("boot"), Path::to_owned)
    }
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let given = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
        let device = |name| variables.optional(name).map(|_| Named::read(variables, name)).transpose();
        let (efi, boot) = (device("EFI_PARTITION")?, device("BOOT_PARTITION")?);
        let system = Target::read(variables, "GRUB_DISK")?;
        let boot_fs = given("BOOT_FS_TYPE")?.unwrap_or_else(|| system.fs.clone());
        // It becomes a word of a shell's line.
        if !boot_fs.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(unusable("BOOT_FS_TYPE", &boot_fs, "the name of a file system such as ext4"));
        }
        let platform = given("GRUB_TARGET")?;
        if let Some(text) = &platform
            && !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        {
            return Err(unusable("GRUB_TARGET", text, "a platform such as i386-pc or x86_64-efi"));
        }
        if platform.as_ref().is_some_and(|platform| platform.ends_with("-efi")) && efi.is_none() {
            return Err(VariableError::Missing("EFI_PARTITION"));
        }
        Ok(Self {
            install: Named::read(variables, "GRUB_INSTALL_PATH")?,
            system,
            boot: boot.map(|boot| (boot, boot_fs)),
            platform,
            efi,
            arguments: given("CMD_LINE")?.unwrap_or_default(),
        })
    }

    /// An EFI system partition means UEFI. Without one this machine's firmware does not matter: BIOS is meant.
    fn platform(&self) -> String {
        self.platform.clone().unwrap_or_else(|| match (&self.efi, std::env::consts::ARCH) {
            (None, _) => "i386-pc".to_owned(),
            (Some(_), "aarch64") => "arm64-efi".to_owned(),
            (Some(_), _) => "x86_64-efi".to_owned(),
        })
    }
}

/// The devices, once they are there.
struct Places {
    install: PathBuf,
    disk: PathBuf,
    efi: Option<PathBuf>,
    /// With its file system.
    boot: Option<(PathBuf, String)>,
}

impl Places {
    fn find(settings: &Settings) -> Result<Self, GrubError> {
        let found = |named: &Named, variable| {
            named.appear(device::APPEARS_WITHIN).map_err(|source| GrubError::Device { variable, source })
        };
        Ok(Self {
            install: found(&settings.install, "GRUB_INSTALL_PATH")?,
            disk: settings.system.appear()?,
            efi: settings.efi.as_ref().map(|efi| found(efi, "EFI_PARTITION")).transpose()?,
            boot: match &settings.boot {
                Some((boot, fs)) => Some((found(boot, "BOOT_PARTITION")?, fs.clone())),
                None => None,
            },
        })
    }
}

/// What is done, and by which program.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// grub-install of the action's image, or of the system.
    own: Option<PathBuf>,
    inside: Option<PathBuf>,
    mkconfig: Option<PathBuf>,
    has_menu: bool,
}

impl Plan {
    fn look(system: &System) -> Result<Self, GrubError> {
        let (own, inside) = (GRUB_INSTALL.find().ok(), GRUB_INSTALL.find_inside(system.root));
        if own.is_none() && inside.is_none() {
            return Err(GRUB_INSTALL.missing(true).into());
        }
        let (menus, path) = system.menu()?;
        Ok(Self { own, inside, mkconfig: GRUB_MKCONFIG.find_inside(system.root), has_menu: menus.file(path).is_ok() })
    }

    fn words(&self) -> String {
        let install = match (&self.own, &self.inside) {
            (Some(_), _) => "grub-install of the action's image",
            _ => "the system's grub-install",
        };
        let menu = match (&self.mkconfig, self.has_menu) {
            (Some(_), _) => "the system's grub-mkconfig makes its menu",
            (None, true) => "its menu stays as it is",
            (None, false) => "it gets a menu of its kernels",
        };
        format!("{install}; {menu}")
    }
}

pub fn run(variables: &Variables) -> Result<(), GrubError> {
    let settings = Settings::read(variables)?;
    let places = Places::find(&settings)?;
    let plan = settings.system.inside(&places.disk, |root| {
        with_boot(&places, root, Mounted::new, |system| {
            let plan = Plan::look(system)?;
            say(&plan.words());
            if let Some(program) = &plan.own {
                install(&settings, &places, program, system)?;
            }
            if plan.mkconfig.is_none() && !plan.has_menu {
                write_menu(&settings, &places, system)?;
            }
            Ok(plan)
        })
    })?;
    run_inside(&settings, &places, &plan)?;
    say(&format!("GRUB for {} is on {}", settings.platform(), places.install.display()));
    Ok(())
}

/// Looks at the system, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), GrubError> {
    let settings = Settings::read(variables)?;
    let places = Places::find(&settings)?;
    let plan = settings.system.look_inside(&places.disk, |root| with_boot(&places, root, Mounted::to_read, Plan::look))?;
    say(&format!("would install GRUB for {} on {}: {}", settings.platform(), places.install.display(), plan.words()));
    Ok(())
}

/// Works while the partition for /boot is mounted, too, if there is one.
fn with_boot<T>(
    places: &Places,
    root: &Path,
    mount: impl FnOnce(&Path, &str) -> Result<Mounted, MountError>,
    work: impl FnOnce(&System) -> Result<T, GrubError>,
) -> Result<T, GrubError> {
    let failed = |source| GrubError::Mount { variable: "BOOT_PARTITION", source };
    let boot = places.boot.as_ref().map(|(device, fs)| mount(device, fs)).transpose().map_err(failed)?;
    let result = work(&System { root, boot: boot.as_ref().map(Mounted::path) });
    let closed = boot.map(Mounted::close).transpose().map_err(failed);
    let done = result?;
    closed?;
    Ok(done)
}

/// `boot` is the system's /boot as grub-install sees it.
fn arguments(settings: &Settings, boot: &Path, efi: Option<&Path>, install: &Path) -> Vec<OsString> {
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(name);
        option.push(value);
        option
    };
    let mut words = vec![OsString::from(format!("--target={}", settings.platform()))];
    words.push(option("--boot-directory=", boot));
    if let Some(efi) = efi {
        words.push(option("--efi-directory=", efi));
        // The firmware of another boot, or of a virtual machine, has no entry for it. Every firmware tries EFI/BOOT.
        words.extend(["--removable".into(), "--no-nvram".into()]);
    }
    words.push(install.into());
    words
}

/// By the action's own grub-install.
fn install(settings: &Settings, places: &Places, program: &Path, system: &System) -> Result<(), GrubError> {
    let (menus, path) = system.menu()?;
    menus.folder(path.parent().unwrap_or(path))?;
    let boot = system.boot();
    let Some(efi) = &places.efi else {
        return Ok(programs::run(program, &arguments(settings, &boot, None, &places.install))?);
    };
    let failed = |source| GrubError::Mount { variable: "EFI_PARTITION", source };
    let mounted = Mounted::new(efi, "vfat").map_err(failed)?;
    let result = programs::run(program, &arguments(settings, &boot, Some(mounted.path()), &places.install));
    let closed = mounted.close().map_err(failed);
    result?;
    closed
}

/// What the system's own programs do, in one chroot.
fn run_inside(settings: &Settings, places: &Places, plan: &Plan) -> Result<(), GrubError> {
    let mut lines = Vec::new();
    if let Some((partition, fs)) = &places.boot {
        lines.push(format!("mount -t {fs} {} {BOOT}", partition.display()));
    }
    let prepared = lines.len();
    if let (None, Some(program)) = (&plan.own, &plan.inside) {
        let efi = places.efi.as_deref();
        if let Some(partition) = efi {
            lines.push(format!("mkdir -p {EFI} ; mount -t vfat {} {EFI}", partition.display()));
        }
        let words = arguments(settings, Path::new(BOOT), efi.map(|_| Path::new(EFI)), &places.install);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        lines.push(format!("{} {}", program.display(), words.join(" ")));
    }
    if let Some(program) = &plan.mkconfig {
        lines.push(format!("{} -o {CONFIG}", program.display()));
    }
    if plan.own.is_none() && places.efi.is_some() {
        lines.push(format!("umount {EFI}"));
    }
    if lines.len() == prepared {
        return Ok(());
    }
    lines.extend(places.boot.iter().map(|_| format!("umount {BOOT}")));
    let (disk, line) = (places.disk.to_string_lossy(), lines.join(" ; "));
    let variables = Variables::of([
        ("BLOCK_DEVICE", disk.as_ref()),
        ("FS_TYPE", settings.system.fs.as_str()),
        ("CHROOT", "true"),
        ("CMD_LINE", line.as_str()),
    ]);
    Ok(cexec::run(&variables)?)
}

fn write_menu(settings: &Settings, places: &Places, system: &System) -> Result<(), GrubError> {
    let failed = |source| GrubError::Menu { disk: places.disk.clone(), source };
    let uuid = menu::uuid(&places.disk).map_err(failed)?;
    let of_boot = places.boot.as_ref().map(|(device, _)| menu::uuid(device)).transpose().map_err(failed)?;
    let kernels = menu::kernels(&system.boot()).map_err(failed)?;
    let text = menu::render(&kernels, &uuid, of_boot.as_deref(), &settings.arguments);
    let (menus, path) = system.menu()?;
    Ok(menus.write(path, text.as_bytes(), Ownership { uid: 0, gid: 0 }, 0o644, 0o755)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &[(&str, &str)]) -> Result<Settings, VariableError> {
        let mut all = [("GRUB_INSTALL_PATH", "/dev/x"), ("GRUB_DISK", "/dev/x1"), ("FS_TYPE", "ext4"), ("A", ""), ("B", "")];
        all.iter_mut().skip(3).zip(more).for_each(|(place, value)| *place = *value);
        Settings::read(&Variables::of(all))
    }

    #[test]
    fn the_platform_follows_the_efi_partition() {
        assert_eq!(settings(&[]).unwrap().platform(), "i386-pc");
        assert!(settings(&[("EFI_PARTITION", "/dev/x2")]).unwrap().platform().ends_with("-efi"));
        assert_eq!(settings(&[("GRUB_TARGET", "x86_64-efi")]).err(), Some(VariableError::Missing("EFI_PARTITION")));
        assert!(settings(&[("GRUB_TARGET", "i386-pc; reboot")]).is_err());
    }

    #[test]
    fn grub_install_gets_upstreams_path_last() {
        let words = |settings: &Settings, efi| -> String {
            let words = arguments(settings, Path::new("/mnt/boot"), efi, Path::new("/dev/x"));
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(&settings(&[]).unwrap(), None), "--target=i386-pc --boot-directory=/mnt/boot /dev/x");
        let efi = settings(&[("EFI_PARTITION", "/dev/x2"), ("GRUB_TARGET", "x86_64-efi")]).unwrap();
        assert_eq!(
            words(&efi, Some(Path::new("/efi"))),
            "--target=x86_64-efi --boot-directory=/mnt/boot --efi-directory=/efi --removable --no-nvram /dev/x"
        );
    }

    #[test]
    fn a_boot_partition_has_the_menu_at_its_own_root() {
        let (root, boot) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(boot.path().join("grub")).unwrap();
        std::fs::write(boot.path().join("grub/grub.cfg"), "of the partition").unwrap();
        for (boot, expected) in [(None, false), (Some(boot.path()), true)] {
            let (menus, path) = System { root: root.path(), boot }.menu().unwrap();
            assert_eq!(menus.file(path).is_ok(), expected);
        }
        let boot = settings(&[("BOOT_PARTITION", "/dev/x2")]).unwrap().boot.unwrap();
        assert_eq!(boot, (Named::Path("/dev/x2".into()), "ext4".to_owned()));
        let given = [("BOOT_PARTITION", "/dev/x2"), ("BOOT_FS_TYPE", "ext2")];
        assert_eq!(settings(&given).unwrap().boot.unwrap().1, "ext2");
        assert!(settings(&[("BOOT_FS_TYPE", "ext4; reboot")]).is_err());
    }

    #[test]
    fn a_system_without_grub_is_refused_when_the_image_has_none_either() {
        if GRUB_INSTALL.find().is_ok() {
            return eprintln!("SKIPPED: this host has grub-install");
        }
        let root = tempfile::tempdir().unwrap();
        let error = Plan::look(&System { root: root.path(), boot: None }).unwrap_err().to_string();
        assert!(error.contains("grub-install is missing") && error.contains("neither has the installed system"), "{error}");
    }
}
