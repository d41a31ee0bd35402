//! `grub2disk`: installs GRUB for the system on a partition. grub-install comes from the action's image, or from the system
//! itself by chroot. The menu comes from the system's grub-mkconfig; a system without it gets one of its kernels.

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
const CONFIG: &str = "/boot/grub/grub.cfg";
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
    #[error("EFI_PARTITION")]
    Mount(#[from] MountError),
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
    arguments: String,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let given = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
        let efi = variables.optional("EFI_PARTITION").map(|_| Named::read(variables, "EFI_PARTITION")).transpose()?;
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
            system: Target::read(variables, "GRUB_DISK")?,
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
    fn look(root: &Path) -> Result<Self, GrubError> {
        let (own, inside) = (GRUB_INSTALL.find().ok(), GRUB_INSTALL.find_inside(root));
        if own.is_none() && inside.is_none() {
            return Err(GRUB_INSTALL.missing(true).into());
        }
        let has_menu = Root::open(root)?.file(Path::new(CONFIG)).is_ok();
        Ok(Self { own, inside, mkconfig: GRUB_MKCONFIG.find_inside(root), has_menu })
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
        let plan = Plan::look(root)?;
        say(&plan.words());
        if let Some(program) = &plan.own {
            install(&settings, &places, program, root)?;
        }
        if plan.mkconfig.is_none() && !plan.has_menu {
            write_menu(&settings, &places.disk, root)?;
        }
        Ok::<_, GrubError>(plan)
    })?;
    run_inside(&settings, &places, &plan)?;
    say(&format!("GRUB for {} is on {}", settings.platform(), places.install.display()));
    Ok(())
}

/// Looks at the system, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), GrubError> {
    let settings = Settings::read(variables)?;
    let places = Places::find(&settings)?;
    let plan = settings.system.look_inside(&places.disk, Plan::look)?;
    say(&format!("would install GRUB for {} on {}: {}", settings.platform(), places.install.display(), plan.words()));
    Ok(())
}

/// `root` is the system's root as grub-install sees it.
fn arguments(settings: &Settings, root: &Path, efi: Option<&Path>, install: &Path) -> Vec<OsString> {
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(name);
        option.push(value);
        option
    };
    let mut words = vec![OsString::from(format!("--target={}", settings.platform()))];
    words.push(option("--boot-directory=", &root.join("boot")));
    if let Some(efi) = efi {
        words.push(option("--efi-directory=", efi));
        // The firmware of another boot, or of a virtual machine, has no entry for it. Every firmware tries EFI/BOOT.
        words.extend(["--removable".into(), "--no-nvram".into()]);
    }
    words.push(install.into());
    words
}

/// By the action's own grub-install.
fn install(settings: &Settings, places: &Places, program: &Path, root: &Path) -> Result<(), GrubError> {
    Root::open(root)?.folder(Path::new("/boot/grub"))?;
    let Some(efi) = &places.efi else {
        return Ok(programs::run(program, &arguments(settings, root, None, &places.install))?);
    };
    let mounted = Mounted::new(efi, "vfat")?;
    let result = programs::run(program, &arguments(settings, root, Some(mounted.path()), &places.install));
    let closed = mounted.close();
    result?;
    Ok(closed?)
}

/// What the system's own programs do, in one chroot.
fn run_inside(settings: &Settings, places: &Places, plan: &Plan) -> Result<(), GrubError> {
    let mut lines = Vec::new();
    if let (None, Some(program)) = (&plan.own, &plan.inside) {
        let efi = places.efi.as_deref();
        if let Some(partition) = efi {
            lines.push(format!("mkdir -p {EFI} ; mount -t vfat {} {EFI}", partition.display()));
        }
        let words = arguments(settings, Path::new("/"), efi.map(|_| Path::new(EFI)), &places.install);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        lines.push(format!("{} {}", program.display(), words.join(" ")));
    }
    if let Some(program) = &plan.mkconfig {
        lines.push(format!("{} -o {CONFIG}", program.display()));
    }
    if plan.own.is_none() && places.efi.is_some() {
        lines.push(format!("umount {EFI}"));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let (disk, line) = (places.disk.to_string_lossy(), lines.join(" ; "));
    let variables = Variables::of([
        ("BLOCK_DEVICE", disk.as_ref()),
        ("FS_TYPE", settings.system.fs.as_str()),
        ("CHROOT", "true"),
        ("CMD_LINE", line.as_str()),
    ]);
    Ok(cexec::run(&variables)?)
}

fn write_menu(settings: &Settings, disk: &Path, root: &Path) -> Result<(), GrubError> {
    let failed = |source| GrubError::Menu { disk: disk.to_owned(), source };
    let uuid = menu::uuid(disk).map_err(failed)?;
    let text = menu::render(&menu::kernels(root).map_err(failed)?, &uuid, &settings.arguments);
    let owner = Ownership { uid: 0, gid: 0 };
    Ok(Root::open(root)?.write(Path::new(CONFIG), text.as_bytes(), owner, 0o644, 0o755)?)
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
            let words = arguments(settings, Path::new("/mnt"), efi, Path::new("/dev/x"));
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
    fn a_system_without_grub_is_refused_when_the_image_has_none_either() {
        if GRUB_INSTALL.find().is_ok() {
            return eprintln!("SKIPPED: this host has grub-install");
        }
        let root = tempfile::tempdir().unwrap();
        let error = Plan::look(root.path()).unwrap_err().to_string();
        assert!(error.contains("grub-install is missing") && error.contains("neither has the installed system"), "{error}");
    }
}
