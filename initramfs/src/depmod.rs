//! The module lists that depmod writes on an installed system, for the modules of this ramdisk.

use crate::modinfo::ModInfo;
use devices::lists::{self as form, ALIAS, DEP, FIRMWARE, SOFTDEP};
use devices::module::ModuleName;
use std::collections::{BTreeMap, BTreeSet};

/// A module in the ramdisk or package. `path` is relative to the kernel's folder below `/lib/modules`.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    pub path: &'a str,
    pub info: &'a ModInfo,
}

/// Soft dependencies that the kernel's files lack. cdc_subset takes any free interface of a USB network gadget, and invents
/// an address. The drivers for the device class ask the device for its address, so they come first.
const SOFTDEPS: &[(&str, &str)] = &[("cdc_subset", "pre: cdc_ether rndis_host")];

/// File and text of the lists of `modules`. What they need may also be in `others`: modules of a pack need modules of the
/// base.
pub fn lists(modules: &[Listed<'_>], others: &[Listed<'_>]) -> [(&'static str, String); 4] {
    let all: Vec<Listed<'_>> = others.iter().chain(modules).copied().collect();
    let graph = Graph::of(&all);
    let [mut dep, mut alias, mut softdep, mut firmware] = [const { String::new() }; 4];
    for Listed { path, info } in modules {
        let Some(name) = ModuleName::of_file(path) else { continue };
        dep += &form::dep_line(path, graph.needed_by(&name));
        alias.extend(info.aliases.iter().map(|pattern| form::alias_line(pattern, &name)));
        let more = SOFTDEPS.iter().filter(|(module, _)| *module == name.as_str()).map(|(_, wishes)| *wishes);
        let wishes = info.softdeps.iter().map(String::as_str).chain(more);
        softdep.extend(wishes.map(|wishes| form::softdep_line(&name, wishes)));
        if !info.firmware.is_empty() {
            firmware += &form::firmware_line(&name, &info.firmware);
        }
    }
    [(DEP, dep), (ALIAS, alias), (SOFTDEP, softdep), (FIRMWARE, firmware)]
}

/// Which module needs which, with depmod's order: a module that no other needs is first, what many need is last.
struct Graph<'a> {
    modules: BTreeMap<ModuleName, Listed<'a>>,
    rank: BTreeMap<ModuleName, usize>,
}

impl<'a> Graph<'a> {
    fn of(all: &[Listed<'a>]) -> Self {
        let named = all.iter().filter_map(|module| Some((ModuleName::of_file(module.path)?, *module)));
        let modules: BTreeMap<ModuleName, Listed<'a>> = named.collect();
        let mut users: BTreeMap<&ModuleName, usize> = BTreeMap::new();
        for needed in modules.values().flat_map(|module| &module.info.depends) {
            *users.entry(needed).or_default() += 1;
        }
        let in_order = all.iter().filter_map(|module| ModuleName::of_file(module.path));
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

    /// Paths of everything that `name` needs, directly or not. What is built in has no path.
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
