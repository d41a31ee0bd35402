use super::*;
use crate::modinfo::ModInfo;
use crate::modules::ModuleFiles;

fn families_of(modules: &[(&str, &str)]) -> Vec<(String, &'static str)> {
    let files = modules.iter().map(|(path, info)| (format!("kernel/{path}.ko"), ModInfo::of_text(info)));
    let files = ModuleFiles::new(files, String::new());
    let sorted = sorted(&files.catalogue());
    let mut all: Vec<_> =
        sorted.iter().flat_map(|(family, names)| names.iter().map(|name| (name.to_string(), *family))).collect();
    all.sort();
    all
}

#[test]
fn a_module_is_sorted_by_its_folder_and_by_the_buses_it_serves() {
    let sorted = families_of(&[
        ("drivers/net/ethernet/intel/e1000e/e1000e", "alias=pci:v00008086d0000105Esv*"),
        ("drivers/net/ethernet/8390/pcnet_cs", "alias=pcmcia:m0143*"),
        ("drivers/net/ethernet/chelsio/cxgb4/cxgb4", "alias=pci:v00001425d00004400*"),
        ("drivers/net/phy/realtek", "alias=mdio:0000*"),
        ("drivers/net/wireless/mac80211_hwsim", "alias=virtio:d0000001Dv*"),
        ("drivers/net/virtio_net", "alias=virtio:d00000001v*"),
        ("drivers/net/usb/r8152", "alias=usb:v0BDAp8153*"),
        ("drivers/net/xen-netfront", "alias=xen:vif"),
        ("drivers/net/vmxnet3/vmxnet3", "alias=pci:v000015ADd000007B0*"),
        ("drivers/scsi/lpfc/lpfc", "alias=pci:v000010DF*|depends=scsi_transport_fc"),
        ("drivers/scsi/scsi_transport_fc", ""),
        ("drivers/scsi/hv_storvsc", "alias=vmbus:d96361baa*|depends=scsi_transport_fc"),
        ("drivers/scsi/megaraid/megaraid_sas", "alias=pci:v00001000*"),
        ("drivers/gpu/drm/virtio/virtio-gpu", "alias=virtio:d00000010v*"),
        ("drivers/firmware/efi/efi-pstore", "alias=platform:efivars"),
    ]);
    let expected = [
        ("cxgb4", "converged"),
        ("e1000e", "ethernet"),
        ("efi_pstore", "core"),
        ("hv_storvsc", "hyperv"),
        ("lpfc", "san"),
        ("megaraid_sas", "storage"),
        ("r8152", "usb-net"),
        ("realtek", "ethernet"),
        ("virtio_net", "virtio"),
        ("vmxnet3", "vmware"),
        ("xen_netfront", "xen"),
    ];
    assert_eq!(sorted, expected.map(|(name, family)| (name.to_owned(), family)));
}

#[test]
fn a_profile_names_families_that_exist() {
    for profile in [Profile::Cloud, Profile::Metal] {
        for name in profile.families() {
            assert!(families().any(|family| family.name == *name), "{name} of {}", profile.name());
        }
    }
}
