//! What the lists of one kernel's modules say about a name or an alias.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::alias::Wanted;
use crate::lists::{self, Wishes};
use crate::module::{ModuleName, stem};
use crate::plan::{Plan, Planned, Rank};
use crate::policy::Policy;

/// The texts in the forms of [`crate::lists`]. There may be several of each, because a driver pack brings its own.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    pub dep: Vec<String>,
    pub alias: Vec<String>,
    pub softdep: Vec<String>,
    pub builtin: String,
}

/// The one catalogue of PID 1 and of the ramdisk's builder. A kernel package has no lists, so the builder writes them first.
/// The catalogue borrows from the lists, because every copy would be memory of the machine.
pub struct Catalogue<'a> {
    lists: &'a Lists,
    /// By name.
    modules: Vec<Module<'a>>,
    softdeps: BTreeMap<ModuleName, Wishes<'a>>,
}

struct Module<'a> {
    name: Cow<'a, str>,
    path: &'a str,
    needs: &'a str,
}

impl Module<'_> {
    fn needs(&self) -> impl Iterator<Item = ModuleName> {
        self.needs.split_whitespace().map(ModuleName::of_path)
    }
}

/// What a search for several aliases found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub modules: BTreeSet<ModuleName>,
    /// Left out, since the policy denies them.
    pub denied: BTreeSet<ModuleName>,
}

impl<'a> Catalogue<'a> {
    pub fn new(lists: &'a Lists) -> Self {
        let lines = lists.dep.iter().flat_map(|text| text.lines()).filter_map(lists::dep);
        let mut modules: Vec<Module<'a>> = lines.map(|(path, needs)| Module { name: normal(stem(path)), path, needs }).collect();
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        modules.dedup_by(|later, first| later.name == first.name);
        let mut softdeps: BTreeMap<ModuleName, Wishes<'a>> = BTreeMap::new();
        for (name, wishes) in lists.softdep.iter().flat_map(|text| text.lines()).filter_map(lists::softdep) {
            let all = softdeps.entry(name).or_default(); // btrfs has a line for each of its checksums
            all.pre.extend(wishes.pre);
            all.post.extend(wishes.post);
        }
        Self { lists, modules, softdeps }
    }

    /// Name and path of every module, by name.
    pub fn modules(&self) -> impl Iterator<Item = (ModuleName, &'a str)> {
        self.modules.iter().map(|module| (ModuleName::new(&module.name), module.path))
    }

    /// Every pattern with its module's name.
    pub fn aliases(&self) -> impl Iterator<Item = (&'a str, ModuleName)> {
        let lines = self.lists.alias.iter().flat_map(|text| text.lines()).filter_map(lists::alias);
        lines.map(|(pattern, module)| (pattern, ModuleName::new(module)))
    }

    /// What the module needs, directly or not.
    pub fn needs(&self, name: &ModuleName) -> impl Iterator<Item = ModuleName> {
        self.module(name.as_str()).into_iter().flat_map(Module::needs)
    }

    pub fn len(&self) -> usize {
        self.modules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    pub fn has(&self, name: &str) -> bool {
        self.module(&normal(name)).is_some()
    }

    pub fn is_builtin(&self, name: &str) -> bool {
        let name = ModuleName::new(name);
        lists::builtin(&self.lists.builtin).any(|builtin| builtin == name)
    }

    /// The modules that devices (or other aliases) call for.
    pub fn find(&self, wanted: &Wanted, policy: &Policy) -> Found {
        let mut found = Found::default();
        wanted.search(self.lists.alias.iter().map(String::as_str), |_, module| {
            let module = ModuleName::new(module);
            if policy.denies(module.as_str()) {
                found.denied.insert(module)
            } else {
                found.modules.insert(module)
            };
        });
        found
    }

    /// A module by its name or, as the kernel asks for some, by an alias. Empty if neither is found.
    pub fn named(&self, name: &str) -> BTreeSet<ModuleName> {
        if self.has(name) {
            return [ModuleName::new(name)].into();
        }
        self.find(&Wanted::new([name.to_owned()]), &Policy::default()).modules
    }

    /// These modules and all they need.
    pub fn plan(&self, roots: impl IntoIterator<Item = ModuleName>) -> Plan {
        let mut planned: BTreeMap<ModuleName, Planned> = BTreeMap::new();
        let mut todo: Vec<ModuleName> = roots.into_iter().collect();
        let mut later: Vec<(ModuleName, ModuleName)> = Vec::new();
        while let Some(name) = todo.pop() {
            if planned.contains_key(&name) {
                continue;
            }
            let Some(module) = self.module(name.as_str()) else { continue };
            let needs: Vec<ModuleName> = module.needs().collect();
            let (before, after) = self.softdeps.get(&name).map_or((&[][..], &[][..]), |wishes| (&wishes.pre, &wishes.post));
            let wishes: Vec<ModuleName> = before.iter().flat_map(|wish| self.named(wish)).collect();
            let followers: Vec<ModuleName> = after.iter().flat_map(|wish| self.named(wish)).collect();
            todo.extend(needs.iter().chain(&wishes).chain(&followers).cloned());
            later.extend(followers.into_iter().map(|follower| (follower, name.clone())));
            let (path, rank) = (module.path.to_owned(), Rank::of_path(module.path));
            planned.insert(name.clone(), Planned { name, path, rank, needs, wishes });
        }
        // What a NIC needs is as urgent as the NIC.
        let urgent = planned.values().filter(|module| module.rank == Rank::Network);
        let needed: Vec<ModuleName> = urgent.flat_map(|module| module.needs.iter().cloned()).collect();
        for name in needed {
            if let Some(module) = planned.get_mut(&name) {
                module.rank = Rank::Network;
            }
        }
        for (follower, leader) in later {
            if let Some(module) = planned.get_mut(&follower) {
                module.wishes.push(leader);
            }
        }
        Plan { modules: planned.into_values().collect() }
    }

    fn module(&self, name: &str) -> Option<&Module<'a>> {
        let index = self.modules.binary_search_by(|module| module.name.as_ref().cmp(name)).ok()?;
        self.modules.get(index)
    }
}

fn normal(name: &str) -> Cow<'_, str> {
    if name.contains('-') { Cow::Owned(name.replace('-', "_")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Lists {
        Lists {
            dep: vec![
                "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko\nkernel/fs/jbd2/jbd2.ko:\nkernel/crypto/crc32c_generic.ko:\n\
                 kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko\n\
                 kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko\nkernel/net/core/failover.ko:\n"
                    .to_owned(),
                "kernel/drivers/char/ipmi/ipmi-msghandler.ko.zst:\nkernel/drivers/char/ipmi/ipmi_devintf.ko.zst: \
                 kernel/drivers/char/ipmi/ipmi-msghandler.ko.zst\nkernel/drivers/char/ipmi/ipmi_si.ko.zst:\n"
                    .to_owned(),
            ],
            alias: vec![
                "alias fs-ext4 ext4\nalias crypto-crc32c crc32c_generic\nalias virtio:d00000001v* virtio_net\n".to_owned(),
                "alias acpi*:IPI0001:* ipmi_si\n".to_owned(),
            ],
            softdep: vec![
                "softdep ext4 pre: gone\nsoftdep ext4 pre: crypto-crc32c gone\nsoftdep ext4 post:\nsoftdep ipmi_msghandler post: ipmi_devintf\nsoftdep a b\n".to_owned(),
            ],
            builtin: "kernel/drivers/nvme/host/nvme-core.ko\n".to_owned(),
        }
    }

    #[test]
    fn what_a_nic_needs_is_as_urgent_as_the_nic() {
        let lists = lists();
        let catalogue = Catalogue::new(&lists);
        let plan = catalogue.plan(["virtio_net", "ext4"].map(ModuleName::new));
        let urgent = plan.modules.iter().filter(|module| module.rank == Rank::Network).map(|module| module.name.as_str());
        assert_eq!(urgent.collect::<Vec<_>>(), ["failover", "net_failover", "virtio_net"]);
    }

    fn plan(name: &str) -> Vec<String> {
        let lists = lists();
        let catalogue = Catalogue::new(&lists);
        let joined = |names: &[ModuleName]| names.iter().map(ModuleName::as_str).collect::<Vec<_>>().join(",");
        let plan = catalogue.plan(catalogue.named(name));
        plan.modules
            .iter()
            .map(|module| format!("{} <{} ~{}", module.name, joined(&module.needs), joined(&module.wishes)))
            .collect()
    }

    #[test]
    fn a_plan_has_all_that_a_module_needs_and_wishes() {
        for (name, expected) in [
            ("fs-ext4", vec!["crc32c_generic < ~", "ext4 <jbd2 ~crc32c_generic", "jbd2 < ~"]),
            ("virtio-net", vec!["failover < ~", "net_failover <failover ~", "virtio_net <net_failover,failover ~"]),
            ("ipmi_msghandler", vec!["ipmi_devintf <ipmi_msghandler ~ipmi_msghandler", "ipmi_msghandler < ~"]),
            ("nothing", vec![]),
        ] {
            assert_eq!(plan(name), expected, "{name}");
        }
    }

    #[test]
    fn needs_and_aliases_are_listed_by_module() {
        let lists = lists();
        let catalogue = Catalogue::new(&lists);
        let needs = catalogue.needs(&ModuleName::new("virtio-net")).map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(needs, ["net_failover", "failover"]);
        assert_eq!(catalogue.needs(&ModuleName::new("gone")).count(), 0);
        let aliases = catalogue.aliases().filter(|(_, module)| module.as_str() == "ipmi_si").map(|(pattern, _)| pattern);
        assert_eq!(aliases.collect::<Vec<_>>(), ["acpi*:IPI0001:*"]);
        let paths = catalogue.modules().filter(|(name, _)| name.as_str() == "ipmi_msghandler").map(|(_, path)| path);
        assert_eq!(paths.collect::<Vec<_>>(), ["kernel/drivers/char/ipmi/ipmi-msghandler.ko.zst"]);
    }

    #[test]
    fn what_is_built_in_is_known() {
        let lists = lists();
        let catalogue = Catalogue::new(&lists);
        assert!(catalogue.is_builtin("nvme_core") && catalogue.is_builtin("nvme-core") && !catalogue.is_builtin("nvme"));
        assert!(catalogue.has("ipmi-msghandler") && !catalogue.has("nvme_core"));
        assert_eq!(catalogue.len(), 9);
    }

    #[test]
    fn a_denied_module_is_left_out_and_said() {
        let lists = lists();
        let wanted = Wanted::new(["acpi:IPI0001:".to_owned(), "virtio:d00000001v00001AF4".to_owned()]);
        let policy = Policy::new(&cmdline::Arguments::default());
        let found = Catalogue::new(&lists).find(&wanted, &policy);
        assert_eq!(found.modules, [ModuleName::new("virtio_net")].into());
        assert_eq!(found.denied, [ModuleName::new("ipmi_si")].into());
    }
}
