//! `kexec`: loads the installed system's kernel. It starts, without firmware, once the server has acknowledged the success.

use machine::Power;

use crate::grub_menu;
use crate::inside::{InsideError, Root};
use crate::power::{self, PowerError};
use crate::target::{Target, TargetError};
use crate::variables::{VariableError, Variables};
use crate::{say, sys};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

const GRUB_MENU: &str = "/boot/grub/grub.cfg";

#[derive(Debug, thiserror::Error)]
pub enum KexecError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("cannot find the kernel on BLOCK_DEVICE; name it by KERNEL_PATH, INITRD_PATH and CMD_LINE")]
    Inside(#[from] InsideError),
    #[error("{0} has no entry with a kernel: name the kernel by KERNEL_PATH, INITRD_PATH and CMD_LINE")]
    NoEntry(PathBuf),
    #[error("CMD_LINE holds a NUL byte")]
    Nul,
    #[error("the running kernel does not load {kernel}{}", hint(.source))]
    Load {
        kernel: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Power(#[from] PowerError),
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => " (it was built without kexec: use the action reboot)",
        Some(libc::EPERM) => " (the action is not privileged, or kexec is locked down: use the action reboot)",
        Some(libc::ENOEXEC) => " (it is not a kernel for this processor)",
        Some(libc::EKEYREJECTED | libc::ENOKEY | libc::EBADMSG) => " (its signature is not trusted: use the action reboot)",
        Some(libc::EINVAL) => {
            " (memory is too small: Linux gives kernel and initrd at most half of it, and the kernel counts unpacked. Use the \
             action reboot)"
        }
        Some(libc::ENOMEM | libc::EADDRNOTAVAIL) => " (memory is too small for kernel and initrd)",
        _ => "",
    }
}

/// What to start. Paths are below the device's root.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    kernel: PathBuf,
    initrd: Option<PathBuf>,
    command_line: String,
}

impl Choice {
    fn by_variables(kernel: PathBuf, variables: &Variables) -> Result<Self, VariableError> {
        let initrd = variables.optional("INITRD_PATH").map(|_| variables.absolute_path("INITRD_PATH")).transpose()?;
        Ok(Self { kernel, initrd, command_line: command_line(variables)?.unwrap_or_default() })
    }

    /// GRUB's paths start at its file system, which may be a boot partition. So `/boot` is also searched.
    fn by_menu(entry: grub_menu::MenuEntry, root: &Root, variables: &Variables) -> Result<Self, KexecError> {
        let place = |path: String| {
            let (plain, below_boot) = (absolute("/", &path), absolute("/boot", &path));
            if root.file(&plain).is_ok() { plain } else { below_boot }
        };
        Ok(Self {
            kernel: place(entry.kernel),
            initrd: entry.initrd.map(place),
            command_line: command_line(variables)?.unwrap_or(entry.command_line),
        })
    }
}

fn command_line(variables: &Variables) -> Result<Option<String>, VariableError> {
    variables.optional("CMD_LINE").map(|_| variables.text("CMD_LINE")).transpose()
}

fn absolute(folder: &str, path: &str) -> PathBuf {
    Path::new(folder).join(path.trim_start_matches('/'))
}

pub fn run(variables: &Variables) -> Result<(), KexecError> {
    let target = Target::read(variables, "BLOCK_DEVICE")?;
    let choice = target.inside(&target.appear()?, |root| {
        let root = Root::open(root)?;
        let choice = choose(&root, variables)?;
        load(&root, &choice)?;
        Ok::<_, KexecError>(choice)
    })?;
    say(&format!("loaded {} with arguments {:?}", choice.kernel.display(), choice.command_line));
    // Thimble's agent detects the loaded kernel. Other agents find the request in the folder.
    match power::run(Power::Kexec) {
        Err(PowerError::NotBound(_)) => Ok(()),
        result => Ok(result?),
    }
}

/// Says what `run` would load. The file system is not mounted, because that may write to its journal.
pub fn dry_run(variables: &Variables) -> Result<(), KexecError> {
    let target = Target::read(variables, "BLOCK_DEVICE")?;
    let arguments = command_line(variables)?;
    let kernel = match variables.optional("KERNEL_PATH") {
        Some(_) => Choice::by_variables(variables.absolute_path("KERNEL_PATH")?, variables)?.kernel.display().to_string(),
        None => "the kernel that GRUB would start".to_owned(),
    };
    let device = target.appear()?;
    let arguments = arguments.map_or_else(String::new, |arguments| format!(" with arguments {arguments:?}"));
    say(&format!(
        "would load {kernel}{arguments} from the {} file system on {}; nothing was loaded",
        target.fs,
        device.display()
    ));
    Ok(())
}

fn choose(root: &Root, variables: &Variables) -> Result<Choice, KexecError> {
    if variables.optional("KERNEL_PATH").is_some() {
        return Ok(Choice::by_variables(variables.absolute_path("KERNEL_PATH")?, variables)?);
    }
    let named = variables.optional("GRUBCFG_PATH").map(|_| variables.text("GRUBCFG_PATH")).transpose()?;
    let menu = absolute("/", named.as_deref().unwrap_or(GRUB_MENU));
    let text = io::read_to_string(root.file(&menu)?).map_err(|source| InsideError::Failed {
        what: "read",
        path: menu.clone(),
        source,
    })?;
    let entry = grub_menu::first(&text).ok_or(KexecError::NoEntry(menu))?;
    say(&format!("GRUB would start {:?}", entry.title));
    Choice::by_menu(entry, root, variables)
}

fn load(root: &Root, choice: &Choice) -> Result<(), KexecError> {
    let kernel = root.file(&choice.kernel)?;
    let initrd = choice.initrd.as_deref().map(|path| root.file(path)).transpose()?;
    let command_line = CString::new(choice.command_line.as_str()).map_err(|_| KexecError::Nul)?;
    sys::load_kernel(&kernel, initrd.as_ref(), &command_line)
        .map_err(|source| KexecError::Load { kernel: choice.kernel.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn installed() -> tempfile::TempDir {
        let disk = tempfile::tempdir().unwrap();
        fs::create_dir_all(disk.path().join("boot/grub")).unwrap();
        for file in ["boot/vmlinuz", "boot/initrd.img"] {
            fs::write(disk.path().join(file), "no kernel").unwrap();
        }
        std::os::unix::fs::symlink("/boot/vmlinuz", disk.path().join("vmlinuz")).unwrap();
        disk
    }

    fn chosen(disk: &Path, variables: &Variables) -> Result<Choice, String> {
        choose(&Root::open(disk).unwrap(), variables).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_name_the_kernel_and_without_them_grubs_menu_does() {
        let disk = installed();
        let choice = |kernel: &str, initrd: Option<&str>, command_line: &str| {
            Ok(Choice { kernel: kernel.into(), initrd: initrd.map(Into::into), command_line: command_line.to_owned() })
        };
        let by_variables = Variables::of([("KERNEL_PATH", "/vmlinuz"), ("CMD_LINE", "root=/dev/vda1")]);
        assert_eq!(chosen(disk.path(), &by_variables), choice("/vmlinuz", None, "root=/dev/vda1"));

        let error = chosen(disk.path(), &Variables::of([])).unwrap_err();
        assert!(error.contains("KERNEL_PATH"), "{error}");
        let menu = |text: &str| fs::write(disk.path().join("boot/grub/grub.cfg"), text).unwrap();
        menu("# empty\n");
        assert!(chosen(disk.path(), &Variables::of([])).unwrap_err().starts_with("/boot/grub/grub.cfg has no entry"));
        menu("menuentry 'x' {\n linux /boot/vmlinuz ro\n initrd /boot/initrd.img\n}\n");
        assert_eq!(chosen(disk.path(), &Variables::of([])), choice("/boot/vmlinuz", Some("/boot/initrd.img"), "ro"));
        menu("menuentry 'boot partition' {\n linux /vmlinuz.1 ro\n initrd /initrd.img\n}\n");
        let replaced = Variables::of([("CMD_LINE", "rw"), ("GRUBCFG_PATH", "boot/grub/grub.cfg")]);
        assert_eq!(chosen(disk.path(), &replaced), choice("/boot/vmlinuz.1", Some("/boot/initrd.img"), "rw"));
    }

    #[test]
    fn what_is_no_kernel_is_refused_by_name() {
        let disk = installed();
        let root = Root::open(disk.path()).unwrap();
        let choice = |kernel: &str| Choice { kernel: kernel.into(), initrd: None, command_line: String::new() };
        let error = load(&root, &choice("/vmlinuz")).unwrap_err().to_string();
        assert!(error.starts_with("the running kernel does not load /vmlinuz"), "{error}");
        assert!(load(&root, &choice("/gone")).unwrap_err().to_string().starts_with("cannot find the kernel"));
    }
}
