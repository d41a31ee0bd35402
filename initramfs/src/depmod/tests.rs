use super::*;

fn modules(rows: &[(&str, &str)]) -> Vec<(String, ModInfo)> {
    rows.iter().map(|(path, info)| ((*path).to_owned(), ModInfo::of_text(info))).collect()
}

fn listed(modules: &[(String, ModInfo)]) -> Vec<Listed<'_>> {
    modules.iter().map(|(path, info)| Listed { path, info }).collect()
}

/// What depmod 30 writes for the same files in this order of `modules.order`.
#[test]
fn the_lists_have_the_form_of_kmod() {
    let modules = modules(&[
        ("kernel/drivers/net/virtio_net.ko", "alias=virtio:d00000001v*|depends=net_failover,virtio,virtio_ring"),
        ("kernel/drivers/net/net_failover.ko", "depends=failover"),
        ("kernel/drivers/virtio/virtio.ko", "depends=virtio_ring"),
        ("kernel/drivers/virtio/virtio_ring.ko", "depends="),
        ("kernel/net/core/failover.ko", ""),
        ("kernel/fs/fat/vfat.ko.zst", "alias=fs-vfat|depends=fat|softdep=pre: nls_cp437 post: x|softdep=pre: y"),
        ("kernel/drivers/net/usb/cdc_subset.ko", "softdep=post: z"),
        ("kernel/drivers/net/tg3.ko", "firmware=tigon/tg3.bin|firmware=tigon/tg3_tso.bin"),
    ]);
    let [dep, alias, softdep, firmware] = lists(&listed(&modules), &[]).map(|(_, text)| text);
    assert_eq!(
        dep,
        "kernel/drivers/net/virtio_net.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko \
         kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko\n\
         kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko\n\
         kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko\n\
         kernel/drivers/virtio/virtio_ring.ko:\n\
         kernel/net/core/failover.ko:\n\
         kernel/fs/fat/vfat.ko.zst:\n\
         kernel/drivers/net/usb/cdc_subset.ko:\n\
         kernel/drivers/net/tg3.ko:\n"
    );
    assert_eq!(alias, "alias virtio:d00000001v* virtio_net\nalias fs-vfat vfat\n");
    assert_eq!(
        softdep,
        "softdep vfat pre: nls_cp437 post: x\nsoftdep vfat pre: y\nsoftdep cdc_subset post: z\nsoftdep cdc_subset pre: cdc_ether rndis_host\n"
    );
    assert_eq!(firmware, "tg3 tigon/tg3.bin tigon/tg3_tso.bin\n");
}

#[test]
fn a_pack_stands_on_the_modules_of_the_base() {
    let (base, pack) = (modules(&[("a/libata.ko", "")]), modules(&[("a/ahci.ko", "alias=pci:x|depends=libata")]));
    let [dep, alias, ..] = lists(&listed(&pack), &listed(&base)).map(|(_, text)| text);
    assert_eq!(dep, "a/ahci.ko: a/libata.ko\n");
    assert_eq!(alias, "alias pci:x ahci\n");
}

/// The lists of this machine's own kernel, if it has modules here: depmod is the reference.
#[test]
fn depmod_agrees_on_a_whole_kernel() {
    let Some(folder) = installed_kernel() else {
        eprintln!("not compared: no kernel with a modules.dep below /lib/modules");
        return;
    };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let paths: Vec<String> = read("modules.order").lines().map(str::to_owned).collect();
    let modules: Vec<(String, ModInfo)> = paths
        .iter()
        .filter(|path| path.ends_with(".ko"))
        .filter_map(|path| Some((path.clone(), ModInfo::of_module(&std::fs::read(folder.join(path)).ok()?).ok()?)))
        .collect();
    let [dep, alias, softdep, _] = lists(&listed(&modules), &[]).map(|(_, text)| text);
    // If several orders are valid, depmod's depends on the order of symbols in the file. So the sets are compared.
    let sets = |text: &str| -> BTreeMap<String, BTreeSet<String>> {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(path, needs)| (path.to_owned(), needs.split_whitespace().map(str::to_owned).collect())).collect()
    };
    let lines =
        |text: &str| -> BTreeSet<String> { text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect() };
    assert_eq!(sets(&dep), sets(&read("modules.dep")));
    assert_eq!(lines(&alias), lines(&read("modules.alias")));
    let of_the_kernel = |line: &String| !SOFTDEPS.iter().any(|(name, softdep)| *line == format!("softdep {name} {softdep}"));
    assert_eq!(lines(&softdep).into_iter().filter(of_the_kernel).collect::<BTreeSet<_>>(), lines(&read("modules.softdep")));
}

fn installed_kernel() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("THIMBLE_TEST_MODULES").map(std::path::PathBuf::from);
    let installed = || std::fs::read_dir("/lib/modules").ok()?.filter_map(Result::ok).map(|entry| entry.path()).max();
    named.or_else(installed).filter(|folder| folder.join("modules.dep").exists())
}
