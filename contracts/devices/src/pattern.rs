//! The patterns of `modules.alias`, with the semantics of kmod: fnmatch(3) without flags, and a dash equals an underscore.
//!
//! `*` takes any text, `?` any character, `[...]` one of a set, and a backslash makes the next character literal.
//! A set may be negated by `!` or `^`, and a `]` at its beginning is a member. A `[` without a `]` stands for itself.
//! Classes such as `[[:digit:]]` are missing: kmod refuses them in an alias.

/// Whether `pattern` describes the whole of `text`. Memory is linear, and so is time apart from the retries of a star.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (pattern, text);
    // The pattern behind the last star, and the text it was tried at: with several stars only the last needs retries.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match p {
            [b'*'] => return true,
            [b'*', rest @ ..] => {
                retry = Some((rest, t));
                p = rest;
                continue;
            }
            [] if t.is_empty() => return true,
            _ => {}
        }
        if let Some(next) = step(p, t) {
            (p, t) = next;
            continue;
        }
        let Some((after, [_, later @ ..])) = retry else { return false };
        retry = Some((after, later));
        (p, t) = (after, later);
    }
}

/// Takes one character of the text and what the pattern has for it, and returns the rest of both.
fn step<'p, 't>(pattern: &'p [u8], text: &'t [u8]) -> Option<(&'p [u8], &'t [u8])> {
    let ([want, pattern @ ..], [have, text @ ..]) = (pattern, text) else { return None };
    let literal = |want: u8, rest| (same(want) == same(*have)).then_some(rest);
    let rest = match (want, pattern) {
        (b'?', rest) => rest,
        (b'\\', [escaped, rest @ ..]) => literal(*escaped, rest)?,
        (b'\\', []) => return None,
        (b'[', _) => match set(pattern, *have) {
            Some((is_in_set, rest)) => is_in_set.then_some(rest)?,
            None => literal(b'[', pattern)?,
        },
        (other, rest) => literal(*other, rest)?,
    };
    Some((rest, text))
}

/// Whether a set takes the character, and the pattern after its `]`. `None` if the set has no end.
fn set(pattern: &[u8], have: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let (mut found, mut is_first) = (false, true);
    loop {
        match rest {
            [b']', after @ ..] if !is_first => return Some((found != negated, after)),
            _ => is_first = false,
        }
        let (low, after) = member(rest)?;
        let (high, after) = match after {
            [b'-', end @ ..] if !end.starts_with(b"]") => member(end)?,
            _ => (low, after),
        };
        found |= (low..=high).contains(&have);
        rest = after;
    }
}

/// The first character of a set's rest, which a backslash may escape.
fn member(set: &[u8]) -> Option<(u8, &[u8])> {
    match set {
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
    }
}

/// Dashes and underscores are the same letter in names of modules and aliases.
pub fn same(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// How many bytes of the pattern stand only for themselves, before the first special character.
pub fn literal_len(pattern: &[u8]) -> usize {
    pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')).unwrap_or(pattern.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rows without dashes are what fnmatch(3) of glibc 2.36 answers.
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
            ("[]x]", "y", false),
            ("[!]x]", "]", false),
            ("[!]x]", "y", true),
            ("[^]x]", "]", false),
            ("[^]x]", "x", false),
            ("[^]x]", "y", true),
            ("[]-a]", "_", true),
            ("[!^]", "^", false),
            ("[^!]", "!", false),
            ("[a-]", "-", true),
            ("[--0]", ".", true),
            ("[b-a]", "b", false),
            ("[ab", "a", false),
            ("[ab", "[ab", true),
            ("[]", "[]", true),
            ("*[a", "x[a", true),
            ("[\\]x]", "]", true),
            ("[\\]x]", "\\", false),
            ("[a\\-c]", "b", false),
            ("[a\\-c]", "-", true),
            ("[a-\\c]", "b", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\a", "a", true),
            ("\\-", "_", true),
            ("\\", "\\", false),
            ("a\\", "a\\", false),
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
