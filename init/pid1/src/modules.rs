//! The kernel's modules in the ramdisk: their lists, and loading a module.

pub mod modprobe;
mod packed;

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use devices::catalogue::Lists;
use devices::lists;
use devices::module::ModuleName;
use devices::policy::Policy;
use rustix::io::Errno;
use rustix::system::{finit_module, uname};

use packed::Packing;

const MODULES: &str = "/lib/modules";
const LOADED: &str = "/sys/module";
const COMPRESSED_FILE: i32 = 4; // MODULE_INIT_COMPRESSED_FILE

/// `/lib/modules/RELEASE` of the running kernel.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTree {
    #[error("the ramdisk has no modules ({0} is missing), so only built-in drivers are used")]
    None(String),
    #[error(
        "the ramdisk has modules for {found}, but this kernel is {running}: no driver can be loaded. \
         Give the machine the kernel and the ramdisk of the same build"
    )]
    OtherKernel { running: String, found: String },
}

impl Tree {
    pub fn of_this_kernel() -> Result<Self, NoTree> {
        let release = uname().release().to_string_lossy().into_owned();
        Self::below(Path::new(MODULES), &release)
    }

    fn below(modules: &Path, release: &str) -> Result<Self, NoTree> {
        let root = modules.join(release);
        if root.is_dir() {
            return Ok(Self { root });
        }
        let folders = fs::read_dir(modules).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        let mut found: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        found.sort();
        Err(match found.join(", ") {
            none if none.is_empty() => NoTree::None(root.display().to_string()),
            found => NoTree::OtherKernel { running: release.to_owned(), found },
        })
    }

    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The path of a module, from its entry in the lists.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The current lists. A driver pack may have been added.
    pub fn lists(&self) -> Lists {
        let with_packs = |name: &str| {
            let mut texts: Vec<String> = fs::read_to_string(self.root.join(name)).into_iter().collect();
            let packs = fs::read_dir(self.root.join(lists::of_packs(name))).into_iter().flatten().flatten();
            let mut packs: Vec<PathBuf> = packs.map(|entry| entry.path()).collect();
            packs.sort();
            texts.extend(packs.iter().filter_map(|path| fs::read_to_string(path).ok()));
            texts
        };
        Lists {
            dep: with_packs(lists::DEP),
            alias: with_packs(lists::ALIAS),
            softdep: with_packs(lists::SOFTDEP),
            builtin: fs::read_to_string(self.root.join(lists::BUILTIN)).unwrap_or_default(),
        }
    }

    /// The modules that are loaded even if no device asks for them.
    pub fn always(&self) -> Vec<String> {
        let list = fs::read_to_string(self.root.join(lists::LOAD)).unwrap_or_default();
        lists::load(&list).map(str::to_owned).collect()
    }

    /// Loads one module, after the modules it needs. Its file is then removed, because each byte of it takes memory.
    pub fn load(&self, name: &ModuleName, path: &str, policy: &Policy) -> Result<(), ModuleError> {
        if is_loaded(name) {
            return Ok(());
        }
        let file = self.file(path);
        match insert(&file, &policy.parameters(name)) {
            Err(ModuleError::Missing(_)) if is_loaded(name) => return Ok(()), // another process has just loaded it
            result => result?,
        }
        if let Err(error) = fs::remove_file(&file)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot free the memory of {}: {error}", file.display());
        }
        Ok(())
    }
}

/// Whether the module is loaded and running. A module that another process is still loading is not: a second attempt waits
/// in the kernel until it is. Built-in modules with parameters are listed, too, but without a state.
pub fn is_loaded(name: &ModuleName) -> bool {
    is_live(&Path::new(LOADED).join(name.as_str()))
}

fn is_live(module: &Path) -> bool {
    match fs::read_to_string(module.join("initstate")) {
        Ok(state) => state.trim() == "live",
        Err(_) => module.join("parameters").exists(),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error("{0} is not in the ramdisk")]
    Missing(PathBuf),
    #[error("its file cannot be read")]
    Unreadable(#[source] io::Error),
    #[cfg(feature = "unpack")]
    #[error("its file does not decompress")]
    Damaged(#[source] io::Error),
    #[error("the kernel refuses it{hint}", hint = hint(*.0))]
    Refused(#[source] Errno),
}

fn hint(error: Errno) -> &'static str {
    match error {
        Errno::NOEXEC => " (built for another kernel?)",
        Errno::NOENT => " (a module it needs is not loaded)",
        Errno::KEYREJECTED | Errno::NOKEY => " (this kernel does not accept its signature)",
        Errno::PERM => " (blocked by lockdown or module_blacklist=)",
        Errno::NODEV => " (this machine does not have its hardware)",
        Errno::OPNOTSUPP => " (this kernel does not support its compression)",
        Errno::INVAL => " (a bad parameter, see the kernel's line)",
        _ => "",
    }
}

fn insert(file: &Path, parameters: &str) -> Result<(), ModuleError> {
    let parameters = CString::new(parameters).unwrap_or_default();
    let opened = File::open(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ModuleError::Missing(file.to_owned()),
        _ => ModuleError::Unreadable(error),
    })?;
    let result = match Packing::of(file) {
        Packing::None => finit_module(&opened, &parameters, 0),
        Packing::Kernel => finit_module(&opened, &parameters, COMPRESSED_FILE),
        #[cfg(feature = "unpack")]
        Packing::Ours(kind) => {
            let image = packed::unpack::unpack(kind, opened).map_err(ModuleError::Damaged)?;
            rustix::system::init_module(&image, &parameters)
        }
    };
    match result {
        Ok(()) | Err(Errno::EXIST) => Ok(()), // another process has loaded it
        Err(error) => Err(ModuleError::Refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::Chain;

    #[test]
    fn modules_of_another_kernel_are_named() {
        let modules = tempfile::tempdir().unwrap();
        let error = |release| Tree::below(modules.path(), release).unwrap_err();
        assert!(matches!(error("6.1.0"), NoTree::None(_)));
        fs::create_dir(modules.path().join("6.1.0-55")).unwrap();
        assert_eq!(error("6.1.0-56"), NoTree::OtherKernel { running: "6.1.0-56".to_owned(), found: "6.1.0-55".to_owned() });
        assert!(Tree::below(modules.path(), "6.1.0-55").is_ok());
    }

    #[test]
    fn packs_extend_the_lists() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("modules.dep"), "a.ko:\n").unwrap();
        fs::create_dir(root.path().join("modules.dep.d")).unwrap();
        fs::write(root.path().join("modules.dep.d/hba"), "b.ko:\n").unwrap();
        fs::write(root.path().join("modules.load"), "# first\noverlay\n\nloop\n").unwrap();
        let tree = Tree { root: root.path().to_owned() };
        assert_eq!(tree.lists().dep, ["a.ko:\n", "b.ko:\n"]);
        assert_eq!(tree.lists().alias, Vec::<String>::new());
        assert_eq!(tree.always(), ["overlay", "loop"]);
    }

    #[test]
    fn a_module_that_is_still_starting_is_not_loaded() {
        let root = tempfile::tempdir().unwrap();
        for (name, state) in [("overlay", "live\n"), ("zram", "coming\n"), ("old", "going\n")] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("initstate"), state).unwrap();
        }
        fs::create_dir_all(root.path().join("builtin/parameters")).unwrap();
        let live = |name: &str| is_live(&root.path().join(name));
        assert!(live("overlay") && live("builtin"));
        assert!(!live("zram") && !live("old") && !live("none"));
    }

    /// The error for a module with this content, which no kernel has.
    fn load_error(file: &str, content: Option<&str>) -> String {
        let root = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            fs::write(root.path().join(file), content).unwrap();
        }
        let tree = Tree { root: root.path().to_owned() };
        let name = ModuleName::new("a module of no kernel");
        Chain(&tree.load(&name, file, &Policy::default()).unwrap_err()).to_string()
    }

    #[test]
    fn a_missing_and_a_refused_module_have_different_errors() {
        let missing = load_error("gone.ko", None);
        assert!(missing.ends_with("gone.ko is not in the ramdisk"), "{missing}");
        let refused = load_error("broken.ko", Some("not an object file"));
        assert!(refused.starts_with("the kernel refuses it: "), "{refused}");
    }

    #[cfg(feature = "unpack")]
    #[test]
    fn a_damaged_module_is_one_that_does_not_decompress() {
        for file in ["broken.ko.zst", "broken.ko.gz"] {
            let damaged = load_error(file, Some("not compressed"));
            assert!(damaged.starts_with("its file does not decompress: "), "{damaged}");
        }
    }
}
