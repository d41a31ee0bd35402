//! Names of PCI devices. Agents in a small ramdisk send numbers, but rules and people need the names that Tinkerbell's
//! agent sends.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

/// The paths of Debian's package pci.ids and of other distributions. Without the file the numbers stay.
const FILES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let found = FILES.iter().find_map(|file| fs::read(file).ok());
    found.map(|bytes| Names::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
});

/// The known names, or the agent's own values for the rest.
#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    pub vendor: Option<String>,
    pub product: Option<String>,
    pub class: Option<String>,
}

pub fn of(vendor: Option<&str>, product: Option<&str>, class: Option<&str>) -> Described {
    NAMES.describe(vendor, product, class)
}

#[derive(Debug, Default)]
struct Names {
    vendors: BTreeMap<u16, String>,
    products: BTreeMap<(u16, u16), String>,
    /// Names of classes, by base class and subclass.
    classes: BTreeMap<u16, String>,
}

impl Names {
    /// `VVVV  Name`, below it `TAB PPPP  Name`; `C BB  Name`, below it `TAB SS  Name`.
    fn parse(text: &str) -> Self {
        let (mut names, mut vendor, mut class) = (Self::default(), None, None);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (body, depth) = (line.trim_start_matches('\t'), line.len() - line.trim_start_matches('\t').len());
            let in_class = body.strip_prefix("C ").filter(|_| depth == 0);
            let Some((id, name)) = in_class.unwrap_or(body).split_once("  ") else { continue };
            let Ok(id) = u16::from_str_radix(id, 16) else { continue };
            match (depth, vendor, class) {
                (0, ..) if in_class.is_some() => (vendor, class) = (None, Some(id)),
                (0, ..) => {
                    (vendor, class) = (Some(id), None);
                    names.vendors.insert(id, name.to_owned());
                }
                (1, Some(vendor), _) => drop(names.products.insert((vendor, id), name.to_owned())),
                (1, _, Some(class)) => drop(names.classes.insert(class << 8 | id & 0xff, name.to_owned())),
                _ => {}
            }
        }
        names
    }

    fn describe(&self, vendor: Option<&str>, product: Option<&str>, class: Option<&str>) -> Described {
        let number = |text: Option<&str>| text.filter(|text| text.len() == 4).and_then(|text| u16::from_str_radix(text, 16).ok());
        let (vendor_id, product_id) = (number(vendor), number(product));
        let class_id = class.filter(|class| class.len() == 6).and_then(|class| number(class.get(..4)));
        let of_product = vendor_id.zip(product_id).and_then(|both| self.products.get(&both));
        let or = |name: Option<&String>, given: Option<&str>| name.cloned().or_else(|| given.map(str::to_owned));
        Described {
            vendor: or(vendor_id.and_then(|id| self.vendors.get(&id)), vendor),
            product: or(of_product, product),
            class: or(class_id.and_then(|id| self.classes.get(&id)), class),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &str = "# comment\n8086  Intel Corporation\n\t1533  I210 Gigabit Network Connection\n\t\t103c 0003  Adapter\n\
        C 02  Network controller\n\t00  Ethernet controller\n\t\t01  x\nzz  nonsense\n";

    fn described(vendor: &str, product: &str, class: &str) -> Described {
        Described { vendor: Some(vendor.into()), product: Some(product.into()), class: Some(class.into()) }
    }

    #[test]
    fn numbers_become_names_where_they_are_known() {
        let names = Names::parse(IDS);
        for (given, expected) in [
            (
                ("8086", "1533", "020000"),
                described("Intel Corporation", "I210 Gigabit Network Connection", "Ethernet controller"),
            ),
            (("8086", "ffff", "ff0000"), described("Intel Corporation", "ffff", "ff0000")),
            (("1af4", "1533", "020000"), described("1af4", "1533", "Ethernet controller")),
            // The values that Tinkerbell's agent sends.
            (("Intel Corporation", "I210", "Network"), described("Intel Corporation", "I210", "Network")),
        ] {
            assert_eq!(names.describe(Some(given.0), Some(given.1), Some(given.2)), expected);
        }
        assert_eq!(Names::parse("").describe(None, None, None), Described { vendor: None, product: None, class: None });
    }
}
