//! Every module of one kernel: what each needs, and in which order the kernel can take them.
//!
//! A kernel package has no `modules.dep`: depmod writes it on the installed system. So the dependencies come from the
//! modules themselves.

use crate::modinfo::ModInfo;
use devices::lists;
use devices::module::ModuleName;
use devices::pattern;
use std::collections::{BTreeMap, BTreeSet};

/// Every module of one kernel, by name, as its file's `.modinfo` describes it. PID 1's `devices::catalogue` has the lists that
/// are written from this, and none of the files.
#[derive(Debug, Default)]
pub struct ShippedModules {
    modules: BTreeMap<ModuleName, (String, ModInfo)>,
    builtin: BTreeSet<ModuleName>,
    builtin_text: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModuleError {
    #[error("the kernel has no module {name}, neither as a file nor built in{}", needed_by(.chain))]
    Missing { name: ModuleName, chain: Vec<ModuleName> },
    #[error("the modules {} need each other: none can be loaded first", joined(.0))]
    Cycle(Vec<ModuleName>),
}

fn needed_by(chain: &[ModuleName]) -> String {
    match chain.split_last() {
        None => String::new(),
        Some((last, _)) => format!(" (needed by {last})"),
    }
}

fn joined(names: &[ModuleName]) -> String {
    names.iter().map(ModuleName::as_str).collect::<Vec<_>>().join(", ")
}

impl ShippedModules {
    /// `path` is relative to the kernel's folder below `/lib/modules`.
    pub fn add(&mut self, path: &str, info: ModInfo) {
        if let Some(name) = ModuleName::of_file(path) {
            self.modules.insert(name, (path.to_owned(), info));
        }
    }

    /// Takes the text of `modules.builtin`: one path a line.
    pub fn add_builtin(&mut self, text: &str) {
        text.clone_into(&mut self.builtin_text);
        self.builtin.extend(lists::builtin(text));
    }

    /// The kernel's own `modules.builtin`.
    pub fn builtin(&self) -> &str {
        &self.builtin_text
    }

    pub fn info(&self, path: &str) -> Option<&ModInfo> {
        self.modules.get(&ModuleName::of_file(path)?).map(|(_, info)| info)
    }

    /// Name, path and self-description of every module that is a file.
    pub fn iter(&self) -> impl Iterator<Item = (&ModuleName, &str, &ModInfo)> {
        self.modules.iter().map(|(name, (path, info))| (name, path.as_str(), info))
    }

    /// A file or built in.
    pub fn knows(&self, name: &ModuleName) -> bool {
        self.modules.contains_key(name) || self.builtin.contains(name)
    }

    /// Does the module need, directly or not, one that `wanted` accepts?
    pub fn stands_on(&self, name: &ModuleName, wanted: &dyn Fn(&ModuleName) -> bool) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![name];
        while let Some((_, info)) = open.pop().and_then(|name| self.modules.get(name)) {
            if info.depends.iter().any(wanted) {
                return true;
            }
            open.extend(info.depends.iter().filter(|needed| seen.insert(*needed)));
        }
        false
    }

    /// The modules of which an alias matches this name, as `crypto-crc32c` does.
    fn answering(&self, name: &ModuleName) -> impl Iterator<Item = &ModuleName> {
        let matches = |alias: &String| pattern::matches(alias.as_bytes(), name.as_str().as_bytes());
        self.modules.iter().filter(move |(_, (_, info))| info.aliases.iter().any(matches)).map(|(of, _)| of)
    }

    pub fn len(&self) -> usize {
        self.modules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The paths of the wanted modules and of what they need, each after everything it depends on.
    pub fn closure(&self, wanted: &[ModuleName]) -> Result<Vec<&str>, ModuleError> {
        let mut walk = Walk { shipped: self, done: BTreeSet::new(), chain: Vec::new(), order: Vec::new() };
        for name in wanted {
            walk.visit(name)?;
        }
        Ok(walk.order)
    }
}

struct Walk<'a> {
    shipped: &'a ShippedModules,
    done: BTreeSet<ModuleName>,
    chain: Vec<ModuleName>,
    order: Vec<&'a str>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &ModuleName) -> Result<(), ModuleError> {
        if self.done.contains(name) || self.shipped.builtin.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.chain.iter().position(|other| other == name) {
            return Err(ModuleError::Cycle(self.chain.get(start..).unwrap_or_default().to_vec()));
        }
        let Some((path, info)) = self.shipped.modules.get(name) else {
            return Err(ModuleError::Missing { name: name.clone(), chain: self.chain.clone() });
        };
        self.chain.push(name.clone());
        for before in self.optional(&info.before) {
            self.visit(&before)?;
        }
        for needed in &info.depends {
            self.visit(needed)?;
        }
        self.chain.pop();
        self.done.insert(name.clone());
        self.order.push(path);
        for after in self.optional(&info.after) {
            self.visit(&after)?;
        }
        Ok(())
    }

    /// A soft dependency is a wish for a module, by its name or by an alias (`crypto-crc32c`). A wish that is missing, or
    /// that would close a circle, is passed over.
    fn optional(&self, wishes: &[ModuleName]) -> Vec<ModuleName> {
        let named = |wish: &ModuleName| -> Vec<ModuleName> {
            if self.shipped.modules.contains_key(wish) {
                return vec![wish.clone()];
            }
            self.shipped.answering(wish).cloned().collect()
        };
        wishes.iter().flat_map(named).filter(|name| !self.chain.contains(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `name: a b | pre c | post d` a line.
    fn shipped(modules: &[(&str, &str)]) -> ShippedModules {
        let mut shipped = ShippedModules::default();
        for (name, info) in modules {
            shipped.add(&format!("kernel/{name}.ko"), ModInfo::parse(info.replace('|', "\0").as_bytes()));
        }
        shipped
    }

    fn wanted(names: &[&str]) -> Vec<ModuleName> {
        names.iter().map(|name| ModuleName::new(name)).collect()
    }

    #[test]
    fn what_a_module_needs_comes_before_it_and_once() {
        let shipped = shipped(&[
            ("virtio-pci", "depends=virtio,virtio_ring"),
            ("virtio", "depends=virtio_ring"),
            ("virtio_ring", "depends="),
            ("virtio_net", "depends=virtio,net_failover"),
            ("net_failover", "depends=failover"),
            ("failover", ""),
            ("unused", ""),
        ]);
        assert_eq!(
            shipped.closure(&wanted(&["virtio_pci", "virtio-net"])).unwrap(),
            [
                "kernel/virtio_ring.ko",
                "kernel/virtio.ko",
                "kernel/virtio-pci.ko",
                "kernel/failover.ko",
                "kernel/net_failover.ko",
                "kernel/virtio_net.ko"
            ]
        );
    }

    #[test]
    fn built_in_modules_need_no_file() {
        let mut shipped = shipped(&[("sd_mod", "depends=scsi_mod")]);
        shipped.add_builtin("kernel/drivers/scsi/scsi_mod.ko\nkernel/drivers/nvme/host/nvme-core.ko\n");
        assert_eq!(shipped.closure(&wanted(&["sd_mod", "nvme_core"])).unwrap(), ["kernel/sd_mod.ko"]);
    }

    #[test]
    fn soft_dependencies_are_taken_when_they_are_there() {
        let shipped = shipped(&[("ext4", "softdep=pre: crc32c absent post: late"), ("crc32c", ""), ("late", "depends=ext4")]);
        let order = shipped.closure(&wanted(&["ext4"])).unwrap();
        assert_eq!(order, ["kernel/crc32c.ko", "kernel/ext4.ko", "kernel/late.ko"]);
    }

    #[test]
    fn a_soft_dependency_may_be_an_alias() {
        let shipped =
            shipped(&[("libcrc32c", "softdep=pre: crypto-crc32c"), ("crc32c_intel", "alias=crc32c|alias=crypto-crc32c")]);
        assert_eq!(shipped.closure(&wanted(&["libcrc32c"])).unwrap(), ["kernel/crc32c_intel.ko", "kernel/libcrc32c.ko"]);
    }

    #[test]
    fn what_a_module_stands_on_is_found_through_others() {
        let shipped = shipped(&[("qedf", "depends=libfcoe"), ("libfcoe", "depends=libfc"), ("libfc", ""), ("ahci", "")]);
        let on_fc = |name| shipped.stands_on(&ModuleName::new(name), &|needed| needed.as_str() == "libfc");
        assert_eq!((on_fc("qedf"), on_fc("libfcoe"), on_fc("libfc"), on_fc("ahci")), (true, true, false, false));
    }

    #[test]
    fn a_missing_module_is_named_with_the_one_that_needs_it() {
        let shipped = shipped(&[("a", "depends=b"), ("b", "depends=gone")]);
        let error = shipped.closure(&wanted(&["a"])).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no module gone, neither as a file nor built in (needed by b)");
        let error = shipped.closure(&wanted(&["e1000"])).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no module e1000, neither as a file nor built in");
    }

    #[test]
    fn modules_that_need_each_other_are_refused() {
        let shipped = shipped(&[("a", "depends=b"), ("b", "depends=c"), ("c", "depends=b")]);
        assert_eq!(shipped.closure(&wanted(&["a"])), Err(ModuleError::Cycle(wanted(&["b", "c"]))));
    }

    #[test]
    fn soft_dependencies_on_each_other_do_no_harm() {
        let shipped = shipped(&[("a", "softdep=pre: b"), ("b", "softdep=pre: a")]);
        assert_eq!(shipped.closure(&wanted(&["a"])).unwrap(), ["kernel/b.ko", "kernel/a.ko"]);
    }

    proptest! {
        #[test]
        fn no_module_stands_before_what_it_needs(needs in proptest::collection::vec(proptest::collection::vec(0usize..20, 0..4), 1..20)) {
            // Module N depends on modules with lower numbers only, so there is always an order.
            let mut shipped = ShippedModules::default();
            let path = |n: usize| format!("kernel/m{n}.ko");
            let depends = |n: usize, list: &[usize]| list.iter().filter(|of| **of < n).copied().collect::<Vec<_>>();
            for (n, list) in needs.iter().enumerate() {
                let names = depends(n, list).iter().map(|of| format!("m{of}")).collect::<Vec<_>>().join(",");
                shipped.add(&path(n), ModInfo::parse(format!("depends={names}").as_bytes()));
            }
            let all: Vec<_> = (0..needs.len()).rev().map(|n| ModuleName::new(&format!("m{n}"))).collect();
            let order = shipped.closure(&all).unwrap();
            prop_assert_eq!(order.len(), needs.len());
            let place = |n: usize| order.iter().position(|at| *at == path(n)).unwrap();
            for (n, list) in needs.iter().enumerate() {
                for of in depends(n, list) {
                    prop_assert!(place(of) < place(n));
                }
            }
        }
    }
}
