//! The module lists that depmod writes on an installed system, for the modules of this ramdisk, in kmod's text
//! forms: `modules.dep`, `modules.alias`, `modules.softdep`; and two of our own, `modules.load` and `modules.firmware`.

use crate::modinfo::{ModInfo, ModuleName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A module as it lies in the ramdisk; `path` is relative to the kernel's folder below `/lib/modules`.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    pub path: &'a str,
    pub info: &'a ModInfo,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// `PATH: NEEDED...`, everything a module needs; who loads them goes from the last to the first.
    pub dep: String,
    /// `alias PATTERN NAME`
    pub alias: String,
    /// `softdep NAME pre: A B post: C`
    pub softdep: String,
    /// `NAME FILE...`
    pub firmware: String,
}

impl Lists {
    /// Name below `modules.` and text, in a fixed order.
    pub fn files(&self) -> [(&'static str, &str); 4] {
        [("dep", &self.dep), ("alias", &self.alias), ("softdep", &self.softdep), ("firmware", &self.firmware)]
    }
}

/// Softdeps that the kernel's files lack. cdc_subset takes any interface of a USB network gadget that is free, with an
/// address made up: the drivers that go by the class, and ask the device for its address, come first.
const SOFTDEPS: &[(&str, &str)] = &[("cdc_subset", "pre: cdc_ether rndis_host")];

/// The lists of `modules`; what they need may also be in `others` (a pack's modules stand on the base's).
pub fn of(modules: &[Listed<'_>], others: &[Listed<'_>]) -> Lists {
    let all: Vec<Listed<'_>> = others.iter().chain(modules).copied().collect();
    let graph = Graph::of(&all);
    let mut lists = Lists::default();
    // Writing to a String cannot fail.
    for module in modules {
        let Some(name) = ModuleName::of_path(module.path) else { continue };
        let _ = write!(lists.dep, "{}:", module.path);
        for needed in graph.needed_by(&name) {
            let _ = write!(lists.dep, " {needed}");
        }
        lists.dep.push('\n');
        for pattern in &module.info.aliases {
            let _ = writeln!(lists.alias, "alias {pattern} {name}");
        }
        let more = SOFTDEPS.iter().filter(|(module, _)| *module == name.as_str()).map(|(_, softdep)| *softdep);
        for softdep in module.info.softdeps.iter().map(String::as_str).chain(more) {
            let _ = writeln!(lists.softdep, "softdep {name} {softdep}");
        }
        if !module.info.firmware.is_empty() {
            let _ = writeln!(lists.firmware, "{name} {}", module.info.firmware.join(" "));
        }
    }
    lists
}

/// Who needs whom, with depmod's order: modules that nobody needs first, what many need last.
struct Graph<'a> {
    modules: BTreeMap<ModuleName, Listed<'a>>,
    rank: BTreeMap<ModuleName, usize>,
}

impl<'a> Graph<'a> {
    fn of(all: &[Listed<'a>]) -> Self {
        let named = all.iter().filter_map(|module| Some((ModuleName::of_path(module.path)?, *module)));
        let modules: BTreeMap<ModuleName, Listed<'a>> = named.collect();
        let mut users: BTreeMap<&ModuleName, usize> = BTreeMap::new();
        for needed in modules.values().flat_map(|module| &module.info.depends) {
            *users.entry(needed).or_default() += 1;
        }
        let in_order = all.iter().filter_map(|module| ModuleName::of_path(module.path));
        let mut free: Vec<ModuleName> = in_order.filter(|name| !users.contains_key(name)).collect();
        let mut rank = BTreeMap::new();
        while let Some(name) = free.pop() {
            let next = rank.len();
            let depends = modules.get(&name).map(|module| module.info.depends.as_slice()).unwrap_or_default();
            rank.insert(name, next);
            for needed in depends {
                let Some(left) = users.get_mut(needed) else { continue };
                *left = left.saturating_sub(1);
                if *left == 0 {
                    free.push(needed.clone());
                }
            }
        }
        Self { modules, rank }
    }

    /// Paths of everything that `name` needs, directly or not; what is built in has none.
    fn needed_by(&self, name: &ModuleName) -> Vec<&'a str> {
        let mut found = BTreeSet::new();
        let mut open = vec![name];
        while let Some(module) = open.pop().and_then(|name| self.modules.get(name)) {
            for needed in &module.info.depends {
                if let Some(there) = self.modules.get(needed)
                    && found.insert((self.rank.get(needed).copied().unwrap_or_default(), needed, there.path))
                {
                    open.push(needed);
                }
            }
        }
        found.into_iter().map(|(_, _, path)| path).collect()
    }
}

#[cfg(test)]
mod tests;
