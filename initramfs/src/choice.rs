//! From a selection to the modules of the base ramdisk and of each pack.

use crate::error::BuildError;
use crate::listing::Listing;
use crate::modules::{ModuleError, ModuleFiles};
use crate::profile::{self, Profile};
use devices::module::ModuleName;
use std::collections::BTreeSet;

/// The devices that the ramdisk shall drive.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub profile: Profile,
    /// Families beyond the profile's.
    pub with: Vec<String>,
    /// Only these families, in place of the profile's.
    pub only: Option<Vec<String>>,
    /// Only what these machines' devices ask for, in place of whole families.
    pub machines: Vec<Listing>,
    /// Modules beyond all that.
    pub modules: Vec<String>,
    /// The families left out become packs.
    pub packs: bool,
}

/// Paths in the kernel package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice<'a> {
    pub base: Vec<&'a str>,
    pub packs: Vec<PackChoice<'a>>,
}

/// What a family has beyond the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackChoice<'a> {
    pub family: &'static str,
    pub about: &'static str,
    pub modules: Vec<&'a str>,
}

impl Selection {
    pub fn name(&self) -> &'static str {
        if self.machines.is_empty() && self.only.is_none() { self.profile.name() } else { "machine" }
    }

    pub fn choose<'a>(&self, files: &'a ModuleFiles, fail: impl Fn(ModuleError) -> BuildError) -> Result<Choice<'a>, BuildError> {
        let families = self.families()?;
        let catalogue = files.catalogue();
        let sorted = profile::sorted(&catalogue);
        let mut wanted: Vec<ModuleName> = profile::REQUIRED.iter().map(|name| ModuleName::new(name)).collect();
        wanted.extend(families.iter().filter_map(|family| sorted.get(family)).flatten().cloned());
        wanted.extend(self.machines.iter().flat_map(|machine| machine.drivers(&catalogue)));
        wanted.extend(self.modules.iter().map(|name| ModuleName::new(name)));
        let base = files.closure(&catalogue, &wanted).map_err(&fail)?;
        let mut choice = Choice { base, packs: Vec::new() };
        if !self.packs {
            return Ok(choice);
        }
        let inside: BTreeSet<&str> = choice.base.iter().copied().collect();
        for family in profile::families().filter(|family| !families.contains(family.name)) {
            let Some(names) = sorted.get(family.name) else { continue };
            let mut modules = files.closure(&catalogue, names).map_err(&fail)?;
            modules.retain(|path| !inside.contains(path));
            if !modules.is_empty() {
                choice.packs.push(PackChoice { family: family.name, about: family.about, modules });
            }
        }
        Ok(choice)
    }

    fn families(&self) -> Result<BTreeSet<&'static str>, BuildError> {
        let mut families: BTreeSet<&'static str> = match &self.only {
            None if self.machines.is_empty() => self.profile.families().iter().copied().collect(),
            None => BTreeSet::from(["core"]),
            Some(only) => only.iter().map(|name| known(name)).collect::<Result<_, _>>()?,
        };
        families.insert("core");
        for name in &self.with {
            families.insert(known(name)?);
        }
        Ok(families)
    }
}

fn known(name: &str) -> Result<&'static str, BuildError> {
    let known: Vec<&'static str> = profile::families().map(|family| family.name).collect();
    known.iter().find(|known| **known == name).copied().ok_or(BuildError::Family { name: name.to_owned(), known })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modinfo::ModInfo;
    use std::path::PathBuf;

    fn files() -> ModuleFiles {
        let files = [
            ("fs/overlayfs/overlay", ""),
            ("drivers/net/virtio_net", "alias=virtio:d00000001v*"),
            ("drivers/net/ethernet/intel/igb/igb", "alias=pci:v00008086d00001521sv*sd*bc*sc*i*|depends=dca"),
            ("drivers/dca/dca", ""),
            ("drivers/scsi/lpfc/lpfc", "alias=pci:v000010DFd*sv*sd*bc*sc*i*|depends=scsi_transport_fc"),
            ("drivers/scsi/scsi_transport_fc", ""),
        ];
        ModuleFiles::new(files.map(|(path, info)| (format!("{path}.ko"), ModInfo::of_text(info))), String::new())
    }

    fn chosen(selection: &Selection) -> (Vec<String>, Vec<String>) {
        let files = files();
        let fail = |source| BuildError::Modules { path: PathBuf::new(), source };
        let choice = selection.choose(&files, fail).unwrap();
        let name = |path: &&str| ModuleName::of_path(path).to_string();
        let packs =
            choice.packs.iter().flat_map(|pack| pack.modules.iter().map(|path| format!("{}/{}", pack.family, name(path))));
        (choice.base.iter().map(name).collect(), packs.collect())
    }

    #[test]
    fn what_a_profile_leaves_out_is_in_packs_and_in_no_two_places() {
        let cloud = Selection { packs: true, ..Selection::default() };
        let (base, packs) = chosen(&cloud);
        assert_eq!(base, ["overlay", "virtio_net"]);
        assert_eq!(packs, ["ethernet/dca", "ethernet/igb", "san/lpfc", "san/scsi_transport_fc"]);
        let metal = Selection { profile: Profile::Metal, packs: true, with: vec!["san".into()], ..Selection::default() };
        let (base, packs) = chosen(&metal);
        assert_eq!(base, ["dca", "igb", "lpfc", "overlay", "scsi_transport_fc", "virtio_net"]);
        assert!(packs.is_empty());
    }

    #[test]
    fn a_machine_gets_its_own_drivers_only() {
        let machine = Listing::parse("00:03.0 Ethernet controller [0200]: Intel [8086:1521]").unwrap();
        let selection = Selection { profile: Profile::Metal, machines: vec![machine], ..Selection::default() };
        assert_eq!(chosen(&selection).0, ["dca", "igb", "overlay"]);
    }

    #[test]
    fn an_unknown_family_is_refused_with_the_known_ones() {
        let wrong = Selection { with: vec!["raids".into()], ..Selection::default() };
        let fail = |source| BuildError::Modules { path: PathBuf::new(), source };
        let error = wrong.choose(&files(), fail).unwrap_err().to_string();
        assert!(error.starts_with("raids is not a family of drivers; the families are core, bonding,"), "{error}");
    }
}
