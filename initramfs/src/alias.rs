//! Does a device's modalias match a driver's alias? The patterns are the shell's: `*`, `?` and `[...]`.

/// As fnmatch(3) without flags; `-` and `_` are the same, as kmod has it.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where the last star stands, and how much of the text it took.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(from) {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
        } else if let Some(length) = one(pattern.get(at..).unwrap_or_default(), *byte) {
            at += length;
            from += 1;
        } else if let Some((place, took)) = star {
            star = Some((place, took + 1));
            at = place + 1;
            from = took + 1;
        } else {
            return false;
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first element if it takes `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().skip(2).position(|byte| *byte == b']')? + 2;
            let set = pattern.get(1..end)?;
            let (negated, set) = match set.split_first() {
                Some((b'!' | b'^', rest)) => (true, rest),
                _ => (false, set),
            };
            (in_set(set, byte) != negated).then_some(end + 1)
        }
        first => (same(*first) == same(byte)).then_some(1),
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    while let Some((first, rest)) = set.split_first() {
        if let [b'-', last, rest @ ..] = rest {
            if (*first..=*last).contains(&byte) {
                return true;
            }
            set = rest;
        } else {
            if *first == byte {
                return true;
            }
            set = rest;
        }
    }
    false
}

fn same(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_the_shell_has_it() {
        for (pattern, text, expected) in [
            ("pci:v00008086d000010D3sv*sd*bc*sc*i*", "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00", true),
            ("pci:v00008086d000010D3sv*sd*bc*sc*i*", "pci:v00008086d000010D4sv00008086sd0000A01Fbc02sc00i00", false),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true),
            ("usb:v0BDAp815[2-6]d*", "usb:v0BDAp8153d3000dc00", true),
            ("usb:v0BDAp815[2-6]d*", "usb:v0BDAp8157d3000dc00", false),
            ("usb:v0BDAp815[!2]d*", "usb:v0BDAp8153d3000", true),
            ("scsi:t-0x00*", "scsi:t-0x00", true),
            ("virtio-net", "virtio_net", true),
            ("mdio:0000000000011100110010010001????", "mdio:00000000000111001100100100010110", true),
            ("a[", "a[", false),
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[ab*?\\[\\]!-]{0,12}", text in "[ab\\[\\]-]{0,12}") {
            let _ = matches(&pattern, &text);
        }
    }
}
