//! The kind of client: an operating system wants an address, firmware wants a program, and iPXE wants a script.

use std::fmt;

use dhcp::v4::{Packet, code};

use crate::ipxe::Arch;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// Wants an address, not a boot.
    Plain,
    /// PXE firmware: an NBP by TFTP.
    Pxe { archs: Vec<Arch> },
    /// UEFI HTTP boot: an NBP by HTTP.
    Http { archs: Vec<Arch> },
    /// An iPXE: from a ROM, from boots, or from another server.
    Ipxe { archs: Vec<Arch>, build: IpxeBuild },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpxeBuild {
    /// User class `Tinkerbell`: a build of smee, which expects a script.
    Tinkerbell,
    /// It does not say that it lacks HTTP.
    Stock,
    /// It lists its features, and HTTP is not among them.
    WithoutHttp,
}

/// iPXE's feature number for HTTP in option 175.
const FEATURE_HTTP: u8 = 0x13;
const FEATURE_FIRST: u8 = 0x10;
const FEATURE_LAST: u8 = 0x2f;

impl Client {
    #[must_use]
    pub fn of(request: &Packet) -> Self {
        let class = request.vendor_class();
        let archs = || archs(request);
        if request.has_user_class(b"Tinkerbell") {
            return Self::Ipxe { archs: archs(), build: IpxeBuild::Tinkerbell };
        }
        if request.has_user_class(b"iPXE") || request.options.contains(code::IPXE) {
            return Self::Ipxe { archs: archs(), build: build(request) };
        }
        if class.starts_with(b"HTTPClient") {
            return Self::Http { archs: archs() };
        }
        if class.starts_with(b"PXEClient") { Self::Pxe { archs: archs() } } else { Self::Plain }
    }

    #[must_use]
    pub fn archs(&self) -> &[Arch] {
        match self {
            Self::Plain => &[],
            Self::Pxe { archs } | Self::Http { archs } | Self::Ipxe { archs, .. } => archs,
        }
    }
}

/// An iPXE that lists features but not HTTP cannot fetch a script. It needs a fuller build first.
fn build(request: &Packet) -> IpxeBuild {
    let lists_features = (FEATURE_FIRST..=FEATURE_LAST).any(|feature| request.ipxe(feature).is_some());
    match lists_features && request.ipxe(FEATURE_HTTP).is_none() {
        true => IpxeBuild::WithoutHttp,
        false => IpxeBuild::Stock,
    }
}

/// From option 93, else from option 60 (`PXEClient:Arch:00007:…`), else a PC's BIOS.
fn archs(request: &Packet) -> Vec<Arch> {
    let listed = request.client_archs();
    if !listed.is_empty() {
        return listed.into_iter().map(Arch).collect();
    }
    let class = std::str::from_utf8(request.vendor_class()).unwrap_or_default();
    let named = class.split(':').skip_while(|part| *part != "Arch").nth(1).and_then(|arch| arch.parse().ok());
    vec![Arch(named.unwrap_or(0))]
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Plain => return f.write_str("DHCP client"),
            Self::Pxe { .. } => "PXE firmware",
            Self::Http { .. } => "HTTP boot firmware",
            Self::Ipxe { build: IpxeBuild::Tinkerbell, .. } => "Tinkerbell iPXE",
            Self::Ipxe { build: IpxeBuild::Stock, .. } => "iPXE",
            Self::Ipxe { build: IpxeBuild::WithoutHttp, .. } => "iPXE without HTTP",
        };
        let archs: Vec<String> = self.archs().iter().map(|arch| arch.0.to_string()).collect();
        write!(f, "{name} arch {}", archs.join(","))
    }
}
