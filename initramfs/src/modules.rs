//! The module files of a kernel package, and what they need.
//!
//! A kernel package has no `modules.dep`: depmod writes it on the installed system. So the lists are written from what each
//! file says about itself, and `devices::catalogue` answers from them, as it does for PID 1.

use crate::depmod::{self, Listed};
use crate::modinfo::ModInfo;
use devices::catalogue::{Catalogue, Lists};
use devices::module::ModuleName;
use std::collections::BTreeMap;

/// By name: path below the kernel's folder in `/lib/modules`, and the `.modinfo` of the file.
#[derive(Debug, Default)]
pub struct ModuleFiles {
    files: BTreeMap<ModuleName, (String, ModInfo)>,
    lists: Lists,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModuleError {
    #[error("the kernel has no module {name}, neither as a file nor built in{}", because_of(.needed_by.as_ref()))]
    Missing { name: ModuleName, needed_by: Option<ModuleName> },
    #[error("the modules {} need each other: none can be loaded first", joined(.0))]
    Cycle(Vec<ModuleName>),
}

fn because_of(module: Option<&ModuleName>) -> String {
    module.map(|module| format!(" (needed by {module})")).unwrap_or_default()
}

fn joined(names: &[ModuleName]) -> String {
    names.iter().map(ModuleName::as_str).collect::<Vec<_>>().join(", ")
}

impl ModuleFiles {
    /// `builtin` is the text of `modules.builtin`.
    pub fn new(files: impl IntoIterator<Item = (String, ModInfo)>, builtin: String) -> Self {
        let named = files.into_iter().filter_map(|(path, info)| Some((ModuleName::of_file(&path)?, (path, info))));
        let files: BTreeMap<_, _> = named.collect();
        let listed: Vec<Listed<'_>> = files.values().map(|(path, info)| Listed { path, info }).collect();
        let [dep, alias, softdep, _] = depmod::lists(&listed, &[]).map(|(_, text)| vec![text]);
        Self { files, lists: Lists { dep, alias, softdep, builtin } }
    }

    pub fn catalogue(&self) -> Catalogue<'_> {
        Catalogue::new(&self.lists)
    }

    /// The kernel's own `modules.builtin`.
    pub fn builtin(&self) -> &str {
        &self.lists.builtin
    }

    pub fn info(&self, path: &str) -> Option<&ModInfo> {
        self.files.get(&ModuleName::of_file(path)?).map(|(_, info)| info)
    }

    /// The paths of the wanted modules and of all that PID 1 would load with them, by name.
    pub fn closure(&self, catalogue: &Catalogue<'_>, wanted: &[ModuleName]) -> Result<Vec<&str>, ModuleError> {
        let exists = |name: &ModuleName| self.files.contains_key(name) || catalogue.is_builtin(name.as_str());
        if let Some(name) = wanted.iter().find(|name| !exists(name)) {
            return Err(ModuleError::Missing { name: name.clone(), needed_by: None });
        }
        let plan = catalogue.plan(wanted.iter().cloned());
        let circle = plan.modules.iter().filter(|module| module.needs.contains(&module.name)).map(|module| module.name.clone());
        let circle: Vec<ModuleName> = circle.collect();
        if !circle.is_empty() {
            return Err(ModuleError::Cycle(circle));
        }
        let mut paths = Vec::new();
        for (name, (path, info)) in plan.modules.iter().filter_map(|module| self.files.get_key_value(&module.name)) {
            if let Some(gone) = info.depends.iter().find(|needed| !exists(needed)) {
                return Err(ModuleError::Missing { name: gone.clone(), needed_by: Some(name.clone()) });
            }
            paths.push(path.as_str());
        }
        Ok(paths)
    }
}

#[cfg(test)]
mod resolution;

#[cfg(test)]
mod tests {
    use super::*;

    fn files(modules: &[(&str, &str)], builtin: &str) -> ModuleFiles {
        let files = modules.iter().map(|(name, info)| (format!("kernel/{name}.ko"), ModInfo::of_text(info)));
        ModuleFiles::new(files, builtin.to_owned())
    }

    fn closure(modules: &[(&str, &str)], wanted: &[&str]) -> Result<String, ModuleError> {
        let files = files(modules, "kernel/drivers/scsi/scsi_mod.ko\nkernel/drivers/nvme/host/nvme-core.ko\n");
        let wanted: Vec<ModuleName> = wanted.iter().map(|name| ModuleName::new(name)).collect();
        let paths = files.closure(&files.catalogue(), &wanted)?;
        Ok(paths.iter().map(|path| path.trim_start_matches("kernel/").trim_end_matches(".ko")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_module_brings_what_it_needs_and_wishes() {
        for (case, modules, wanted, expected) in [
            (
                "needs, each once and nothing else",
                &[
                    ("virtio-pci", "depends=virtio,virtio_ring"),
                    ("virtio", "depends=virtio_ring"),
                    ("virtio_ring", "depends="),
                    ("virtio_net", "depends=virtio,net_failover"),
                    ("net_failover", "depends=failover"),
                    ("failover", ""),
                    ("unused", ""),
                ][..],
                &["virtio_pci", "virtio-net"][..],
                "failover net_failover virtio virtio_net virtio-pci virtio_ring",
            ),
            ("what is built in needs no file", &[("sd_mod", "depends=scsi_mod")], &["sd_mod", "nvme_core"], "sd_mod"),
            (
                "soft dependencies, as far as they exist",
                &[("ext4", "softdep=pre: crc32c absent post: late"), ("crc32c", ""), ("late", "depends=ext4")],
                &["ext4"],
                "crc32c ext4 late",
            ),
            (
                "every line of soft dependencies",
                &[("btrfs", "softdep=pre: crc32c|softdep=pre: xxhash64"), ("crc32c", ""), ("xxhash64", "")],
                &["btrfs"],
                "btrfs crc32c xxhash64",
            ),
            (
                "a soft dependency by an alias",
                &[("libcrc32c", "softdep=pre: crypto-crc32c"), ("crc32c_intel", "alias=crc32c|alias=crypto-crc32c")],
                &["libcrc32c"],
                "crc32c_intel libcrc32c",
            ),
            ("soft dependencies on each other", &[("a", "softdep=pre: b"), ("b", "softdep=pre: a")], &["a"], "a b"),
        ] {
            assert_eq!(closure(modules, wanted).as_deref(), Ok(expected), "{case}");
        }
    }

    #[test]
    fn a_missing_module_is_named_with_the_one_that_needs_it() {
        let modules = [("a", "depends=b"), ("b", "depends=gone"), ("fine", "")];
        let error = |wanted| closure(&modules, &[wanted]).unwrap_err().to_string();
        assert_eq!(error("a"), "the kernel has no module gone, neither as a file nor built in (needed by b)");
        assert_eq!(error("e1000"), "the kernel has no module e1000, neither as a file nor built in");
        assert_eq!(closure(&modules, &["fine"]).as_deref(), Ok("fine"), "the gap does not concern it");
    }

    #[test]
    fn modules_that_need_each_other_are_refused() {
        let error = closure(&[("a", "depends=b"), ("b", "depends=c"), ("c", "depends=b")], &["a"]).unwrap_err();
        assert_eq!(error.to_string(), "the modules b, c need each other: none can be loaded first");
    }
}
