//! Drivers: the ramdisk's builder wrote down which, in the order their dependencies ask for.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use cmdline::Arguments;
use rustix::io::Errno;
use rustix::system::finit_module;

use crate::boot::Boot;
use crate::{PathError, StepError};

const MODULES: &str = "/lib/modules";
const COMPRESSED_FILE: i32 = 4; // MODULE_INIT_COMPRESSED_FILE

#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} modules are not loaded, see above")]
struct NotAllLoaded {
    failed: usize,
    all: usize,
}

/// Every module gets its chance; then their files go, since each byte of the ramdisk is a byte of RAM.
pub fn load(boot: &mut Boot) -> Result<(), StepError> {
    let root = Path::new(MODULES);
    let order = root.join("order");
    let list = match fs::read_to_string(&order) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::info!("the ramdisk lists no modules ({} is missing): relying on what is built in", order.display());
            return Ok(());
        }
        Err(error) => return Err(PathError::new("cannot read", &order)(error).into()),
    };
    let (mut all, mut failed) = (0, 0);
    for path in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        all += 1;
        match load_one(root, path, &boot.arguments) {
            Ok(()) => {}
            Err(error) => {
                failed += 1;
                log::warn!("module {path}: {error}");
            }
        }
    }
    fs::remove_dir_all(root).map_err(PathError::new("cannot free the memory of", root))?;
    if failed > 0 { Err(NotAllLoaded { failed, all }.into()) } else { Ok(()) }
}

#[derive(Debug, thiserror::Error)]
enum ModuleError {
    #[error("it is not in the ramdisk")]
    Missing,
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("the kernel refuses it: {0}{hint}", hint = hint(*.0))]
    Refused(Errno),
}

fn hint(error: Errno) -> &'static str {
    match error {
        Errno::NOEXEC => " (built for another kernel?)",
        Errno::NOENT => " (a module it needs is not loaded)",
        Errno::KEYREJECTED | Errno::NOKEY => " (its signature is not one this kernel takes)",
        Errno::PERM => " (blocked by lockdown or module_blacklist=)",
        _ => "",
    }
}

fn load_one(root: &Path, path: &str, arguments: &Arguments) -> Result<(), ModuleError> {
    let file = File::open(root.join(path.trim_start_matches('/'))).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ModuleError::Missing,
        _ => ModuleError::Unreadable(error),
    })?;
    let parameters = CString::new(parameters(&module_name(path), arguments)).unwrap_or_default();
    let flags = if path.ends_with(".ko") { 0 } else { COMPRESSED_FILE };
    match finit_module(&file, &parameters, flags) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(ModuleError::Refused(error)),
    }
}

/// `virtio_net` of `kernel/drivers/net/virtio-net.ko.xz`: the kernel takes dashes for underscores.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// `module.parameter=value` on the kernel command line is for whoever loads the module.
fn parameters(module: &str, arguments: &Arguments) -> String {
    let of_this = arguments.other.iter().filter_map(|word| {
        let (owner, parameter) = word.name.split_once('.')?;
        (owner.replace('-', "_") == module)
            .then(|| cmdline::Word { name: parameter.to_owned(), value: word.value.clone() }.render())
    });
    of_this.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn parameters_on_the_command_line_reach_their_module() {
        let arguments =
            Arguments::parse("virtio-net.napi_tx=0 quiet e1000e.a=1 virtio_net.flag virtio_net.name=\"a b\"").arguments;
        assert_eq!(parameters(&module_name("kernel/drivers/net/virtio_net.ko"), &arguments), "napi_tx=0 flag name=\"a b\"");
        assert_eq!(parameters(&module_name("e1000e.ko.zst"), &arguments), "a=1");
        assert_eq!(parameters("overlay", &arguments), "");
    }

    #[test]
    fn a_missing_module_and_a_refused_one_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("broken.ko"), "not an object file").unwrap();
        let arguments = Arguments::default();
        let error = |path| load_one(root.path(), path, &arguments).unwrap_err().to_string();
        assert_eq!(error("gone.ko"), "it is not in the ramdisk");
        assert!(error("broken.ko").starts_with("the kernel refuses it: "), "{}", error("broken.ko"));
    }
}
