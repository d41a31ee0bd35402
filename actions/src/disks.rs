//! The available disks, for the error about a missing one.

use std::fs;
use std::path::Path;

const SECTOR: u64 = 512; // sysfs counts in these, whatever the disk uses
/// Block devices that are not installed to.
const OTHERS: [&str; 6] = ["loop", "ram", "zram", "sr", "fd", "nbd"];

/// `/dev/nvme0n1 (953 GiB, Samsung SSD 990), /dev/sda (16 MiB)`, or `no disk at all`.
pub fn list(sysfs: &Path) -> String {
    let entries = fs::read_dir(sysfs.join("block")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !OTHERS.iter().any(|other| name.starts_with(other))).collect();
    names.sort();
    let disks: Vec<String> = names.iter().map(|name| describe(name, &sysfs.join("block").join(name))).collect();
    if disks.is_empty() { "no disk at all: is its driver in the ramdisk?".to_owned() } else { disks.join(", ") }
}

fn describe(name: &str, disk: &Path) -> String {
    let attribute = |path: &str| fs::read_to_string(disk.join(path)).ok().map(|text| text.trim().to_owned());
    let bytes = attribute("size").and_then(|text| text.parse::<u64>().ok()).map_or(0, |sectors| sectors.saturating_mul(SECTOR));
    let size = if bytes >= 10 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) };
    let model = attribute("device/model").filter(|model| !model.is_empty());
    format!("/dev/{name} ({size}{})", model.map(|model| format!(", {model}")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_listed_with_size_and_model() {
        let sysfs = tempfile::tempdir().unwrap();
        assert!(list(sysfs.path()).starts_with("no disk at all"));
        for (name, sectors, model) in
            [("vda", "32768", None), ("nvme0n1", "2000409264", Some("Samsung SSD 990  ")), ("loop0", "8", None)]
        {
            let disk = sysfs.path().join("block").join(name);
            fs::create_dir_all(disk.join("device")).unwrap();
            fs::write(disk.join("size"), format!("{sectors}\n")).unwrap();
            if let Some(model) = model {
                fs::write(disk.join("device/model"), format!("{model}\n")).unwrap();
            }
        }
        assert_eq!(list(sysfs.path()), "/dev/nvme0n1 (953 GiB, Samsung SSD 990), /dev/vda (16 MiB)");
    }
}
