//! The patterns of `modules.alias`: `*`, `?` and `[...]`, with dash and underscore the same, as kmod has it.

/// Whether the whole of `text` is what `pattern` describes. Linear in memory, and in time but for a star's retries.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (pattern, text);
    // The pattern behind the last star, and the text it was tried at: with several stars only the last needs retries.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = p {
            if rest.is_empty() {
                return true;
            }
            retry = Some((rest, t));
            p = rest;
            continue;
        }
        if let Some((next_p, next_t)) = step(p, t) {
            (p, t) = (next_p, next_t);
            if p.is_empty() && t.is_empty() {
                return true;
            }
            continue;
        }
        if p.is_empty() && t.is_empty() {
            return true;
        }
        let Some((after, [_, later @ ..])) = retry else { return false };
        retry = Some((after, later));
        (p, t) = (after, later);
    }
}

/// One character of the text against what the pattern has for it; the rest of both.
fn step<'p, 't>(pattern: &'p [u8], text: &'t [u8]) -> Option<(&'p [u8], &'t [u8])> {
    let ([want, pattern @ ..], [have, text @ ..]) = (pattern, text) else { return None };
    let rest = match want {
        b'?' => pattern,
        b'[' => in_set(pattern, *have)?,
        b'\\' => match pattern {
            [literal, rest @ ..] if literal == have => rest,
            _ => return None,
        },
        literal => (same(*literal) == same(*have)).then_some(pattern)?,
    };
    Some((rest, text))
}

/// What stands behind the `]`, if the character is in the set.
fn in_set(pattern: &[u8], have: u8) -> Option<&[u8]> {
    let (negated, mut set) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let (mut found, mut first) = (false, true);
    loop {
        match set {
            [b']', rest @ ..] if !first => return (found != negated).then_some(rest),
            [low, b'-', high, rest @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&have);
                set = rest;
            }
            [one, rest @ ..] => {
                found |= *one == have;
                set = rest;
            }
            [] => return None, // a set without an end matches nothing
        }
        first = false;
    }
}

/// Dashes and underscores are the same letter in names of modules and aliases.
pub fn same(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// How many bytes stand in front of the first character that is not itself.
pub fn literal_len(pattern: &[u8]) -> usize {
    pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')).unwrap_or(pattern.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_describe_whole_texts() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a", "ab", false),
            ("ab", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*c*e", "abcde", true),
            ("*c*e", "abcdef", false),
            ("*aab", "aaaab", true),
            ("a**b", "ab", true),
            ("fs-ext4", "fs_ext4", true),
            ("d01[0-2]*", "d0119", true),
            ("d01[0-2]*", "d0139", false),
            ("[!0-9]", "5", false),
            ("[^0-9]", "x", true),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("[ab", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", false),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc01i80", false),
            ("acpi*:PNP0C0A:*", "acpi:PNP0C0A:", true),
            ("cpu:type:x86,ven*fam*mod*:feature:*0094*", "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0094,00C0", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} and {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_described_by_itself_and_by_a_star_in_its_place(text in "[a-z0-9:,]{0,20}", at in 0usize..20) {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
            let at = at.min(text.len());
            let star = format!("{}*", &text[..at]);
            prop_assert!(matches(star.as_bytes(), text.as_bytes()));
            let inner = format!("{}*{}", &text[..at], &text[at..]);
            prop_assert!(matches(inner.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_pattern_makes_it_fail(pattern in "[-a-b*?!^\\\\\\[\\]]{0,12}", text in "[-ab\\]]{0,12}") {
            let _ = matches(pattern.as_bytes(), text.as_bytes());
        }
    }
}
