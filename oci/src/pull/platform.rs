//! What an image's configuration says it was built for. An index says it too, but a manifest alone has none.

use serde::Deserialize;

use crate::manifest::Processor;

#[derive(Debug, Default, Deserialize)]
struct Built {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
}

/// The platform of an image that this processor cannot run. What a configuration does not say is not held against it.
pub(super) fn foreign(config: &[u8], processor: &Processor) -> Option<String> {
    let Built { os, architecture } = serde_json::from_slice(config).unwrap_or_default();
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let os = said(os).unwrap_or_else(|| "linux".to_owned());
    let architecture = said(architecture).unwrap_or_else(|| processor.architecture.to_owned());
    let runs = os == "linux" && runs(processor.architecture, &architecture);
    (!runs).then(|| format!("{os}/{architecture}"))
}

/// Some tools write the kernel's names. The 64-bit processors run the programs of their 32-bit ancestors.
fn runs(machine: &str, architecture: &str) -> bool {
    match architecture {
        "amd64" | "x86_64" | "x86-64" | "386" | "i386" | "i686" => machine == "amd64",
        "arm64" | "aarch64" | "arm" | "armv7l" => machine == "arm64",
        other => machine == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_another_machine_is_known_by_its_configuration() {
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
            ("not JSON", "<html>", amd64, None),
        ] {
            assert_eq!(foreign(config.as_bytes(), &machine).as_deref(), want, "{case}");
        }
    }
}
