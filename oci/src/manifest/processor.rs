//! Which manifest of an index is for this machine's processor.

use serde::Deserialize;

use super::{Descriptor, null_is_empty};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Platform {
    #[serde(deserialize_with = "null_is_empty")]
    pub os: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub architecture: String,
    pub variant: Option<String>,
}

impl Platform {
    pub(super) fn is_empty(&self) -> bool {
        self.os.is_empty() && self.architecture.is_empty()
    }
}

/// The manifest for this processor: the least demanding one that it can run, the first of equals. Where none is for it, the
/// first one without a platform is, as for skopeo.
pub fn for_machine(manifests: &[Descriptor], processor: &Processor) -> Option<Descriptor> {
    let rank = |d: &&Descriptor| d.platform.as_ref().and_then(|p| processor.runs(p)).unwrap_or(u8::MAX);
    let best = manifests.iter().min_by_key(rank).filter(|d| rank(d) < u8::MAX);
    best.or_else(|| manifests.iter().find(|d| d.platform.is_none())).cloned()
}

/// What the processor runs, in Go's words, which images use.
#[derive(Debug, Clone, Copy)]
pub struct Processor {
    pub architecture: &'static str,
    /// `v1` to `v4` of amd64, `v8` of arm64.
    pub level: u8,
}

impl Processor {
    pub fn this() -> Self {
        let architecture = architecture();
        Self { architecture, level: if architecture == "arm64" { 8 } else { level() } }
    }

    /// A machine of this one's architecture that has every extension of it.
    pub fn any_of_this_kind() -> Self {
        Self { architecture: architecture(), level: u8::MAX }
    }

    /// How much an image asks for, if it runs here: the level of its variant, which without one is the architecture's
    /// first. As for containerd, an image of 32 bits comes after all of 64.
    fn runs(&self, platform: &Platform) -> Option<u8> {
        let architecture = normal(&platform.architecture);
        let asked = match platform.variant.as_deref().map(str::trim) {
            None | Some("") => None,
            Some(_) if architecture == "386" => None, // it is about the coprocessor, which all have
            Some(variant) => Some(variant.strip_prefix(['v', 'V'])?.split('.').next()?.parse::<u8>().ok()?),
        };
        let linux = platform.os.is_empty() || platform.os.eq_ignore_ascii_case("linux");
        let rank = match (self.architecture, architecture.as_str()) {
            (own, asked_for) if own == asked_for => asked.or(Some(0)).filter(|asked| *asked <= self.level),
            ("amd64", "386") => Some(NARROW),
            // Of these the most demanding one is the best: version 8 is what the processor is.
            ("arm64", "arm") => Some(asked.unwrap_or(7)).filter(|asked| (5..=8).contains(asked)).map(|asked| NARROW + 8 - asked),
            _ => None,
        };
        rank.filter(|_| linux)
    }
}

/// The rank of images of 32 bits for a processor of 64: behind every variant.
const NARROW: u8 = 100;

/// Go's word for an architecture. Some tools write the kernel's.
pub(crate) fn normal(architecture: &str) -> String {
    let lower = architecture.trim().to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i486" | "i586" | "i686" | "x86" => "386",
        "armhf" | "armel" | "armv5l" | "armv6l" | "armv7l" => "arm",
        "ppc64el" | "powerpc64le" => "ppc64le",
        other => other,
    }
    .to_owned()
}

/// The level of the x86-64 psABI, by the features that distinguish the levels.
#[cfg(target_arch = "x86_64")]
fn level() -> u8 {
    use std::arch::is_x86_feature_detected as has;
    match () {
        () if !(has!("sse4.2") && has!("ssse3") && has!("popcnt")) => 1,
        () if !(has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma") && has!("lzcnt")) => 2,
        () if !(has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl")) => 3,
        () => 4,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn level() -> u8 {
    0
}

/// The machine's architecture in Go's words, which images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<(&str, &str, Option<&str>)>, digit: &str) -> Descriptor {
        let platform = platform.map(|(os, arch, variant)| Platform {
            os: os.into(),
            architecture: arch.into(),
            variant: variant.map(Into::into),
        });
        let digest = format!("sha256:{}", digit.repeat(64)).parse().unwrap();
        Descriptor { platform, ..Descriptor::of(&digest, 1) }
    }

    #[test]
    fn the_manifest_for_the_machine_is_chosen_and_attestations_are_not() {
        let index = [
            entry(Some(("unknown", "unknown", None)), "a"),
            entry(Some(("linux", "arm64", Some("v8"))), "b"),
            entry(Some(("linux", "amd64", Some("v3"))), "c"),
            entry(Some(("linux", "amd64", None)), "d"),
            entry(Some(("windows", "amd64", None)), "e"),
            entry(Some(("linux", "s390x", Some("z13"))), "f"),
        ];
        let wide = [entry(Some(("linux", "386", None)), "7"), entry(Some(("linux", "amd64", Some("v3"))), "c")];
        let arms = ["v6", "v8", "v7"].map(|variant| entry(Some(("linux", "arm", Some(variant))), &variant[1..]));
        let (amd64, arm64) = (Processor { architecture: "amd64", level: 3 }, Processor { architecture: "arm64", level: 8 });
        for (case, index, machine, want) in [
            ("the plain one before a variant", &index[..], amd64, Some("d")),
            ("a variant the processor has", &index[..3], amd64, Some("c")),
            ("no variant beyond the processor", &index[..3], Processor { level: 2, ..amd64 }, None),
            ("arm64 is v8", &index[..], arm64, Some("b")),
            ("no other architecture", &index[..], Processor { architecture: "riscv64", level: 0 }, None),
            ("an unknown variant", &index[..], Processor { architecture: "s390x", level: 0 }, None),
            ("an index without platforms", &[entry(None, "9"), entry(None, "8")], amd64, Some("9")),
            (
                "one without a platform, if none is for it",
                &[entry(Some(("linux", "riscv64", None)), "7"), entry(None, "9")],
                amd64,
                Some("9"),
            ),
            ("x86_64 is amd64, and no system is linux", &[entry(Some(("", "x86_64", None)), "9")], amd64, Some("9")),
            ("386 on amd64, if nothing else is for it", &[entry(Some(("linux", "386", None)), "7")], amd64, Some("7")),
            ("386 by another name", &[entry(Some(("linux", "i686", None)), "7")], amd64, Some("7")),
            ("386 of any kind", &[entry(Some(("linux", "386", Some("softfloat"))), "7")], amd64, Some("7")),
            ("any amd64 before 386", &wide, amd64, Some("c")),
            ("386 before one that is too demanding", &wide, Processor { level: 1, ..amd64 }, Some("7")),
            ("the newest arm on arm64", &arms, arm64, Some("8")),
            ("no arm on amd64", &arms, amd64, None),
            ("arm without a variant is version 7", &[entry(Some(("linux", "arm", None)), "7")], arm64, Some("7")),
            ("no arm that is newer than the processor", &[entry(Some(("linux", "arm", Some("v9"))), "9")], arm64, None),
        ] {
            let chosen = for_machine(index, &machine).map(|d| d.digest.hex()[..1].to_owned());
            assert_eq!(chosen.as_deref(), want, "{case}");
        }
    }
}
