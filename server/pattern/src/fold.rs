//! `equals-ignore-case`: each character has at most one other form, as in quamina's table of simple case folding.

pub fn equals_ignoring_case(wanted: &str, text: &str) -> bool {
    let (mut wanted, mut text) = (wanted.chars(), text.chars());
    loop {
        match (wanted.next(), text.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other || other_form(one) == Some(other) => {}
            _ => return false,
        }
    }
}

fn other_form(one: char) -> Option<char> {
    match one {
        // These characters have several forms, of which the table has one.
        '\u{3b9}' => return Some('\u{345}'),
        '\u{3bc}' => return Some('\u{b5}'),
        '\u{a64b}' => return Some('\u{1c88}'),
        // These characters fold to several characters, or do not fold.
        '\u{131}' | '\u{1e9e}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}' => return None,
        '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}' | '\u{1fa8}'..='\u{1faf}' => return None,
        _ => {}
    }
    let different = |form: Option<char>| form.filter(|form| *form != one);
    if let Some(lower) = different(single(one.to_lowercase())) {
        return Some(lower);
    }
    let upper = different(single(one.to_uppercase()))?;
    different(single(upper.to_lowercase())).or(Some(upper))
}

fn single(mut forms: impl Iterator<Item = char>) -> Option<char> {
    let first = forms.next();
    first.filter(|_| forms.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::other_form;

    #[test]
    fn a_character_has_the_other_form_that_quamina_gives_it() {
        for (one, other) in [
            ('a', Some('A')),
            ('A', Some('a')),
            ('1', None),
            ('É', Some('é')),
            ('Ж', Some('ж')),
            ('\u{212a}', Some('k')), // KELVIN SIGN
            ('k', Some('K')),
            ('ς', Some('σ')),
            ('σ', Some('Σ')),
            ('µ', Some('μ')),
            ('ß', None),
            ('ı', None),
            ('İ', None),
            ('\u{1f88}', None),
            ('\u{1f80}', None),
            ('\u{10400}', Some('\u{10428}')),
        ] {
            assert_eq!(other_form(one), other, "{one}");
        }
    }
}
