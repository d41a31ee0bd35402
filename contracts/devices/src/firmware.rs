//! The kernel's message about a missing firmware file:
//! `4,512,3141592,-;e100 0000:00:03.0: Direct firmware load for e100/d101m_ucode.bin failed with error -2`.

use machine::MissingFirmware;

/// What one record of `/dev/kmsg` says, if it is about missing firmware.
pub fn missing(record: &[u8]) -> Option<MissingFirmware<'_>> {
    let (header, rest) = std::str::from_utf8(record).ok()?.split_once(';')?;
    let level: u32 = header.split(',').next()?.parse().ok()?;
    if level >= 8 {
        return None; // not from the kernel, whatever it says
    }
    let (message, _) = rest.split_once('\n').unwrap_or((rest, ""));
    let (source, failure) = message.split_once(": Direct firmware load for ")?;
    let (file, error) = failure.rsplit_once(" failed with error ")?;
    let (driver, device) = source.split_once(' ')?;
    (error == "-2").then_some(MissingFirmware { file, driver, device })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_word_counts() {
        let text = "e100 0000:00:03.0: Direct firmware load for e100/d101m_ucode.bin failed with error -2";
        for (case, record, expected) in [
            (
                "a missing file",
                format!("4,512,3141592,-;{text}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:03.0\n"),
                Some("firmware missing: e100/d101m_ucode.bin needed by e100 (0000:00:03.0)"),
            ),
            ("a program saying so", format!("12,512,3141592,-;{text}\n"), None),
            ("another error", format!("4,512,3141592,-;{}\n", text.replace("-2", "-12")), None),
            ("something else", "6,1,0,-;Linux version 6.1\n".to_owned(), None),
            ("nothing", String::new(), None),
        ] {
            assert_eq!(missing(record.as_bytes()).map(|missing| missing.to_string()).as_deref(), expected, "{case}");
        }
    }
}
