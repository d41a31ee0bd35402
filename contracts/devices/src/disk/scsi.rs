//! What SCSI and ATA disks call themselves: the answers to INQUIRY that the kernel keeps in sysfs.

use super::text::{escaped, replaced, squeezed};

#[derive(Debug, Clone, Default)]
pub struct Scsi {
    pub vendor: String,
    pub model: String,
    /// `0:0:0:0`
    pub address: String,
    /// Serial number page, identification page, ATA information page; each with its header.
    pub page_80: Vec<u8>,
    pub page_83: Vec<u8>,
    pub page_89: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub bus: &'static str,
    pub serial: Option<String>,
    /// `0x5000c500a1b2c3d4`
    pub wwn: Option<String>,
}

impl Scsi {
    pub fn names(&self) -> Names {
        match self.identify() {
            Some(identify) if self.vendor.trim_end() == "ATA" => ata(identify),
            _ => self.scsi(),
        }
    }

    /// The answer to ATA IDENTIFY DEVICE, within the ATA information page.
    fn identify(&self) -> Option<&[u8]> {
        self.page_89.get(60..60 + 512)
    }

    fn scsi(&self) -> Names {
        let best = SEARCH.iter().find_map(|wanted| self.descriptors().find(|one| wanted.matches(one)));
        let (serial, wwn) = match best {
            Some(one) => {
                let value = one.value();
                let vendor = if one.kind == VENDOR_SPECIFIC { self.vendor_model() } else { String::new() };
                let wwn = (one.kind == NAA).then(|| format!("0x{}", replaced(&value.chars().take(32).collect::<String>())));
                (Some(format!("{:x}{vendor}{value}", one.kind)), wwn)
            }
            None => (self.serial_page().map(|serial| format!("S{}{serial}", self.vendor_model())), None),
        };
        Names { bus: "scsi", serial: serial.map(|serial| escaped(&squeezed(&serial)).replace('/', "_")), wwn }
    }

    /// Padded, as INQUIRY has them.
    fn vendor_model(&self) -> String {
        format!("{:<8.8}{:<16.16}", self.vendor, self.model)
    }

    fn serial_page(&self) -> Option<String> {
        let length = usize::from(*self.page_80.get(3)?);
        let text = self.page_80.get(4..)?;
        let serial = String::from_utf8_lossy(text.get(..length).unwrap_or(text)).into_owned();
        (!serial.trim().is_empty()).then_some(serial)
    }

    fn descriptors(&self) -> impl Iterator<Item = Descriptor<'_>> {
        let length = self.page_83.get(2..4).map_or(0, |two| two.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
        let mut rest = self.page_83.get(4..).unwrap_or_default();
        rest = rest.get(..length).unwrap_or(rest);
        std::iter::from_fn(move || {
            let [code, kind, _, length, after @ ..] = rest else { return None };
            let (data, next) = after.split_at_checked(usize::from(*length))?;
            rest = next;
            Some(Descriptor { code_set: code & 0xf, association: kind >> 4 & 3, kind: kind & 0xf, data })
        })
    }
}

const BINARY: u8 = 1;
const ASCII: u8 = 2;
const VENDOR_SPECIFIC: u8 = 0;
const T10: u8 = 1;
const EUI64: u8 = 2;
const NAA: u8 = 3;

/// An identifier of the identification page.
struct Descriptor<'a> {
    code_set: u8,
    /// 0: the logical unit itself.
    association: u8,
    kind: u8,
    data: &'a [u8],
}

impl Descriptor<'_> {
    fn value(&self) -> String {
        match self.code_set {
            ASCII => String::from_utf8_lossy(self.data).trim_end_matches('\0').to_owned(),
            _ => self.data.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

struct Search {
    kind: u8,
    naa: Option<u8>,
    code_set: u8,
}

impl Search {
    const fn of(kind: u8, naa: Option<u8>, code_set: u8) -> Self {
        Self { kind, naa, code_set }
    }

    fn matches(&self, one: &Descriptor<'_>) -> bool {
        let naa = one.data.first().map(|first| first >> 4);
        one.association == 0
            && one.kind == self.kind
            && one.code_set == self.code_set
            && !one.data.is_empty()
            && (self.naa.is_none() || self.naa == naa)
    }
}

/// scsi_id's order of preference: an identifier that is unique in the world comes first.
const SEARCH: [Search; 12] = [
    Search::of(NAA, Some(6), BINARY),
    Search::of(NAA, Some(6), ASCII),
    Search::of(NAA, Some(5), BINARY),
    Search::of(NAA, Some(5), ASCII),
    Search::of(NAA, None, BINARY),
    Search::of(NAA, None, ASCII),
    Search::of(EUI64, None, BINARY),
    Search::of(EUI64, None, ASCII),
    Search::of(T10, None, BINARY),
    Search::of(T10, None, ASCII),
    Search::of(VENDOR_SPECIFIC, None, BINARY),
    Search::of(VENDOR_SPECIFIC, None, ASCII),
];

fn ata(identify: &[u8]) -> Names {
    let word = |index: usize| {
        identify
            .get(2 * index..2 * index + 2)
            .map_or(0, |two| two.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let text = |words: std::ops::Range<usize>| {
        let bytes: Vec<u8> = words.flat_map(|index| (word(index) as u16).to_be_bytes()).filter(|byte| *byte != 0).collect();
        escaped(&squeezed(&String::from_utf8_lossy(&bytes))).replace('/', "_")
    };
    let (model, serial) = (text(27..47), text(10..20));
    let wwn = (word(108) >> 12 == 5).then(|| format!("0x{:016x}", (108..112).fold(0, |sum, index| sum << 16 | word(index))));
    let name = if serial.is_empty() { model } else { format!("{model}_{serial}") };
    Names { bus: "ata", serial: (!name.is_empty()).then_some(name), wwn }
}
