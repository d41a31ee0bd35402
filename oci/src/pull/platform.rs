//! The platform in an image's configuration. An index has it, too, but a manifest alone does not.

use serde::Deserialize;

use crate::manifest::{Processor, normal};

#[derive(Debug, Default, Deserialize)]
struct Built {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
}

/// Systems and architectures that images are built for, in Go's words.
const SYSTEMS: [&str; 10] =
    ["aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "netbsd", "openbsd", "solaris", "windows"];
const ARCHITECTURES: [&str; 15] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x",
    "sparc64", "wasm",
];

/// The platform of an image that this processor cannot run. What a configuration does not say, or says in a word of its
/// own, is not held against it: the image runs elsewhere too.
pub(super) fn foreign(config: &[u8], processor: &Processor) -> Option<String> {
    let Built { os, architecture } = serde_json::from_slice(config).unwrap_or_default();
    let os = os.unwrap_or_default().trim().to_ascii_lowercase();
    let architecture = normal(&architecture.unwrap_or_default());
    let other_system = SYSTEMS.contains(&os.as_str());
    let other_kind = ARCHITECTURES.contains(&architecture.as_str()) && !runs(processor.architecture, &architecture);
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    (other_system || other_kind).then(|| format!("{}/{}", or(os, "linux"), or(architecture, processor.architecture)))
}

/// The 64-bit processors run the programs of their 32-bit ancestors.
fn runs(machine: &str, architecture: &str) -> bool {
    matches!((machine, architecture), ("amd64", "386") | ("arm64", "arm")) || machine == architecture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_another_machine_is_recognised_by_its_configuration() {
        let amd64 = Processor { architecture: "amd64", level: 1 };
        let arm64 = Processor { architecture: "arm64", level: 8 };
        for (case, config, machine, want) in [
            ("its own", r#"{"os":"linux","architecture":"amd64"}"#, amd64, None),
            ("another", r#"{"os":"linux","architecture":"arm64"}"#, amd64, Some("linux/arm64")),
            ("the other way", r#"{"os":"linux","architecture":"amd64"}"#, arm64, Some("linux/amd64")),
            ("the kernel's name", r#"{"os":"linux","architecture":"aarch64"}"#, arm64, None),
            ("32-bit programs", r#"{"os":"linux","architecture":"386"}"#, amd64, None),
            ("32-bit programs on arm64", r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, arm64, None),
            ("a rare one", r#"{"os":"linux","architecture":"riscv64"}"#, amd64, Some("linux/riscv64")),
            ("another system", r#"{"os":"windows","architecture":"amd64"}"#, amd64, Some("windows/amd64")),
            ("nothing said", r#"{"config":{}}"#, amd64, None),
            ("said empty", r#"{"os":"","architecture":""}"#, amd64, None),
            ("null", r#"{"os":null,"architecture":null}"#, amd64, None),
            ("in capitals", r#"{"os":"Linux","architecture":"AMD64"}"#, amd64, None),
            ("another, in capitals", r#"{"os":"Linux","architecture":"AARCH64"}"#, amd64, Some("linux/arm64")),
            ("words of a tool of its own", r#"{"os":"debian","architecture":"x64"}"#, amd64, None),
            ("not known to the tool", r#"{"os":"unknown","architecture":"unknown"}"#, amd64, None),
            ("another system alone", r#"{"os":"darwin"}"#, amd64, Some("darwin/amd64")),
            ("a number", r#"{"os":7,"architecture":"arm64"}"#, amd64, None),
            ("not JSON", "<html>", amd64, None),
        ] {
            assert_eq!(foreign(config.as_bytes(), &machine).as_deref(), want, "{case}");
        }
    }
}
