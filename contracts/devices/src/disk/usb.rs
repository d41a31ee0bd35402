//! What USB disks call themselves, in the words of udev's usb_id.

use super::path::Address;
use super::scsi::Scsi;
use super::text::{replaced, squeezed};

/// The USB device above a disk. Most of the name comes from the SCSI device below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usb {
    pub manufacturer: Option<String>,
    pub product: Option<String>,
    pub vendor_id: String,
    pub product_id: String,
    pub serial: Option<String>,
}

impl Usb {
    pub fn serial(&self, scsi: &Scsi) -> Option<String> {
        let clean = |text: &str| replaced(&squeezed(text));
        let first = |texts: [Option<&str>; 3]| texts.into_iter().flatten().map(clean).find(|text| !text.is_empty());
        let vendor = first([Some(&scsi.vendor), self.manufacturer.as_deref(), Some(&self.vendor_id)])?;
        let model = first([Some(&scsi.model), self.product.as_deref(), Some(&self.product_id)])?;
        // Microsoft's rule for serial numbers. Firmware that breaks it sends rubbish.
        let sane = |serial: &&str| serial.bytes().all(|byte| (0x20..0x80).contains(&byte) && byte != b',');
        let serial = self.serial.as_deref().filter(sane).map(clean).filter(|serial| !serial.is_empty());
        let instance = Address::parse(&scsi.address).map(|address| format!("-{}:{}", address.target, address.lun));
        Some(format!(
            "{vendor}_{model}{}{}",
            serial.map(|serial| format!("_{serial}")).unwrap_or_default(),
            instance.unwrap_or_default()
        ))
    }
}
