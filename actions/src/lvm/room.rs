//! What of a volume group is known before its disks are erased: whether the name is free, and whether the volumes fit. Pure.

use super::Volume;
use std::path::{Path, PathBuf};

/// LVM's usual extent, and what it keeps at the start of each disk.
const EXTENT: u64 = 4 << 20;
const KEPT: u64 = 1 << 20;

/// A disk that is in a group of this name, and not among those that are erased. `listing` is that of `pvs`: the path and the group.
pub fn elsewhere(listing: &str, group: &str, devices: &[PathBuf]) -> Option<PathBuf> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lines = listing.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let members = lines.filter_map(|words| match words.as_slice() {
        [path, found] if *found == group => Some(PathBuf::from(path)),
        _ => None,
    });
    members.into_iter().find(|member| !devices.iter().any(|device| real(device) == real(member)))
}

/// # Errors
/// The volume that has no room, in words. `sizes` are those of the disks, in bytes.
pub fn fits(volumes: &[Volume], sizes: &[u64]) -> Result<(), String> {
    let total: u64 = sizes.iter().map(|size| size.saturating_sub(KEPT) / EXTENT).sum();
    let mut left = total;
    for Volume { name, size: [_, text], .. } in volumes {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number = number.parse::<u64>().unwrap_or(u64::MAX);
        let bytes = |shift: u32| number.saturating_mul(1 << shift).div_ceil(EXTENT);
        let percent = |of: u64| number.saturating_mul(of) / 100;
        let wanted = match unit {
            "M" => bytes(20),
            "G" => bytes(30),
            "T" => bytes(40),
            "%FREE" => percent(left),
            // LVM takes what is left, if that is less.
            _ => percent(total).min(left),
        };
        if wanted == 0 || wanted > left {
            let (left, total) = ((left * EXTENT) >> 20, (total * EXTENT) >> 20);
            return Err(format!("{name}:{text} has no room: {left} MiB of {total} MiB are left for it"));
        }
        left -= wanted;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_that_do_not_fit_the_disks_are_named() {
        let volume =
            |(name, size): (&str, &str)| Volume { name: name.into(), size: [String::new(), size.into()], ..Volume::default() };
        // 255 extents of 4 MiB each: the first MiB is LVM's.
        let disk = 1 << 30;
        for (volumes, disks, expected) in [
            (&[("root", "1020M")][..], 1, None),
            (&[("root", "1021M")], 1, Some("root:1021M has no room: 1020 MiB of 1020 MiB are left for it")),
            (&[("root", "1G")], 2, None),
            (&[("a", "512M"), ("b", "512M")], 1, Some("b:512M has no room: 508 MiB of 1020 MiB")),
            (&[("a", "50%VG"), ("b", "100%FREE")], 1, None),
            (&[("a", "100%VG"), ("b", "100%FREE")], 1, Some("b:100%FREE has no room: 0 MiB")),
            (&[("a", "60%VG"), ("b", "60%VG")], 1, None),
            (&[("a", "101%FREE")], 1, Some("a:101%FREE")),
            (&[("a", "18446744073709551615T")], 1, Some("has no room")),
        ] {
            let volumes: Vec<Volume> = volumes.iter().copied().map(volume).collect();
            match (fits(&volumes, &vec![disk; disks]), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{error}"),
                (found, _) => panic!("{found:?}, wanted {expected:?}"),
            }
        }
        assert!(fits(&[volume(("a", "4M"))], &[3 << 20]).is_err());
    }

    #[test]
    fn a_group_of_this_name_on_another_disk_is_found() {
        let listing = "  /dev/sdx1 vg0\n  /dev/sdy\n  /dev/sdz  vg1\n";
        let (one, none): ([PathBuf; 1], [PathBuf; 0]) = (["/dev/sdx1".into()], []);
        assert_eq!(elsewhere(listing, "vg0", &none).as_deref(), Some(Path::new("/dev/sdx1")));
        assert_eq!(elsewhere(listing, "vg0", &one), None, "its only disk is erased");
        assert_eq!(elsewhere(listing, "vg1", &one).as_deref(), Some(Path::new("/dev/sdz")));
        assert_eq!(elsewhere(listing, "vg2", &none), None);
        assert_eq!(elsewhere("", "vg0", &none), None);
    }
}
