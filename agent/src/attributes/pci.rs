//! PCI devices by number. Names would need pci.ids, which costs too much memory here.

use std::path::Path;

use proto::{Gpu, Pci};

use super::{names, read_word};

/// Base class 03: display controllers.
const DISPLAY: &str = "03";

pub fn devices(bus: &Path) -> (Vec<Pci>, Vec<Gpu>) {
    let pci: Vec<Pci> = names(bus).iter().map(|name| device(&bus.join(name))).collect();
    let display = pci.iter().filter(|d| d.class.as_deref().is_some_and(|c| c.starts_with(DISPLAY)));
    let gpu = display.cloned().map(|d| Gpu { vendor: d.vendor, product: d.product, class: d.class, driver: d.driver }).collect();
    (pci, gpu)
}

fn device(path: &Path) -> Pci {
    let number = |file: &str| read_word(&path.join(file)).map(|hex| hex.trim_start_matches("0x").to_owned());
    let driver = std::fs::read_link(path.join("driver")).ok();
    Pci {
        vendor: number("vendor"),
        product: number("device"),
        class: number("class"),
        driver: driver.and_then(|d| d.file_name().map(|n| n.to_string_lossy().into_owned())),
    }
}
