//! sprig's functions from `goutils` and `xstrings`: words, cases, wrapping and abbreviations.

use super::arguments::{int, text};
use super::strings::{each, lower, map_letters, title, upper};
use super::{Context, Entry, Param, plain};
use crate::print::Buffer;
use crate::strconv;
use crate::value::{Text, Value};

const S: Param = Param::Text;
const I: Param = Param::Int;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("abbrev", &[I, S], |context, args| {
        let (width, text) = (int(args, 0), text(args, 1));
        context.budget.text(if width < 4 { text.to_vec() } else { abbreviate(&text, 0, width) })
    }),
    plain("abbrevboth", &[I, I, S], |context, args| {
        let (left, right, text) = (int(args, 0), int(args, 1), text(args, 2));
        let kept = right < 4 || (left > 0 && right < 7);
        context.budget.text(if kept { text.to_vec() } else { abbreviate(&text, left, right) })
    }),
    plain("title", &[S], |context, args| each(context, &text(args, 0), titled)),
    plain("untitle", &[S], |context, args| each(context, &text(args, 0), untitled)),
    plain("swapcase", &[S], |context, args| each(context, &text(args, 0), swapped)),
    plain("nospace", &[S], |context, args| each(context, &text(args, 0), without_space)),
    plain("initials", &[S], |context, args| each(context, &text(args, 0), initials)),
    plain("camelcase", &[S], |context, args| each(context, &text(args, 0), pascal_case)),
    plain("snakecase", &[S], |context, args| each(context, &text(args, 0), |text| separated(text, '_'))),
    plain("kebabcase", &[S], |context, args| each(context, &text(args, 0), |text| separated(text, '-'))),
    plain("shuffle", &[S], |context, args| {
        context.budget.work(text(args, 0).len() as u64)?;
        each(context, &text(args, 0), shuffled)
    }),
    plain("wrap", &[I, S], |context, args| wrap(context, &text(args, 1), int(args, 0), b"\n", false)),
    plain("wrapWith", &[I, S, S], |context, args| {
        let separator = text(args, 1);
        wrap(context, &text(args, 2), int(args, 0), if separator.is_empty() { b"\n" } else { &separator }, true)
    }),
];

fn part(text: &[u8], start: usize, end: usize) -> &[u8] {
    text.get(start..end).unwrap_or_default()
}

/// `goutils.AbbreviateFull`.
fn abbreviate(text: &[u8], offset: i64, width: i64) -> Vec<u8> {
    let (length, width) = (text.len(), usize::try_from(width).unwrap_or(0));
    if width < 4 {
        return Vec::new();
    }
    if length <= width {
        return text.to_vec();
    }
    let mut offset = i64::min(offset, i64::try_from(length).unwrap_or(i64::MAX));
    if i64::try_from(length).unwrap_or(i64::MAX) - offset < i64::try_from(width - 3).unwrap_or(i64::MAX) {
        offset = i64::try_from(length - (width - 3)).unwrap_or(0);
    }
    if offset <= 4 {
        return [part(text, 0, width - 3), b"..."].concat();
    }
    if width < 7 {
        return Vec::new();
    }
    let offset = usize::try_from(offset).unwrap_or(0);
    if offset + width - 3 < length {
        let rest = abbreviate(part(text, offset, length), 0, i64::try_from(width - 3).unwrap_or(0));
        return [b"...".as_slice(), &rest].concat();
    }
    [b"...", part(text, length - (width - 3), length)].concat()
}

/// `strings.Title`.
fn titled(text: &[u8]) -> Vec<u8> {
    let mut before = ' ';
    map_letters(text, |letter| {
        let separates = if before.is_ascii() {
            !(before.is_ascii_alphanumeric() || before == '_')
        } else {
            !before.is_alphanumeric() && before.is_whitespace()
        };
        before = letter;
        if separates { title(letter) } else { letter }
    })
}

fn untitled(text: &[u8]) -> Vec<u8> {
    let mut next = true;
    map_letters(text, |letter| {
        if letter.is_whitespace() {
            next = true;
            letter
        } else if std::mem::take(&mut next) {
            lower(letter)
        } else {
            letter
        }
    })
}

fn swapped(text: &[u8]) -> Vec<u8> {
    let mut space = true;
    map_letters(text, |letter| {
        if strconv::is_upper(letter)
            || title(letter) == letter && upper(letter) != letter && letter.is_alphabetic() && !letter.is_lowercase()
        {
            space = false;
            lower(letter)
        } else if letter.is_lowercase() {
            if std::mem::take(&mut space) { title(letter) } else { upper(letter) }
        } else {
            space = letter.is_whitespace();
            letter
        }
    })
}

/// Reads bytes as Latin-1, as `goutils` does.
fn latin(bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    bytes.map(char::from).collect::<String>().into_bytes()
}

fn without_space(text: &[u8]) -> Vec<u8> {
    let space = |byte: &u8| char::from(*byte).is_whitespace();
    if !text.iter().any(space) {
        return text.to_vec();
    }
    latin(text.iter().copied().filter(|byte| !space(byte)))
}

fn initials(text: &[u8]) -> Vec<u8> {
    let mut gap = true;
    latin(text.iter().copied().filter(|byte| {
        let space = char::from(*byte).is_whitespace();
        let starts = !space && gap;
        gap = space;
        starts
    }))
}

fn is_connector(letter: char) -> bool {
    letter == '-' || letter == '_' || letter.is_whitespace()
}

/// `xstrings.ToPascalCase`.
fn pascal_case(text: &[u8]) -> Vec<u8> {
    let mut letters = strconv::letters(text).map(|letter| letter.unwrap_or('\u{fffd}')).peekable();
    let mut out = String::with_capacity(text.len());
    let mut first_upper = false;
    let mut current = None;
    for letter in letters.by_ref() {
        if is_connector(letter) {
            out.push(letter);
            current = None;
            continue;
        }
        first_upper = strconv::is_upper(letter);
        current = Some(upper(letter));
        break;
    }
    let Some(mut current) = current else {
        // A text of connectors only ends with its last one, twice.
        if let Some(last) = out.chars().last() {
            out.push(last);
        }
        return out.into_bytes();
    };
    for letter in letters {
        let before = std::mem::replace(&mut current, letter);
        if is_connector(current) && is_connector(before) {
            out.push(before);
            continue;
        }
        if is_connector(before) {
            first_upper = strconv::is_upper(current);
            current = upper(current);
        } else {
            if first_upper {
                if strconv::is_upper(current) {
                    current = lower(current);
                } else {
                    first_upper = false;
                }
            }
            out.push(before);
        }
    }
    out.push(current);
    out.into_bytes()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Invalid,
    Number,
    Upper,
    Alphabet,
    Connector,
    Punctuation,
    Other,
}

fn is_punctuation(letter: char) -> bool {
    match letter {
        '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~' => false,
        _ if letter.is_ascii() => letter.is_ascii_punctuation(),
        _ => {
            matches!(u32::from(letter), 0xa1 | 0xa7 | 0xab | 0xb6 | 0xb7 | 0xbb | 0xbf | 0x2010..=0x2027 | 0x2030..=0x2043 | 0x2045..=0x2051 | 0x2053..=0x205e | 0x3001..=0x3003 | 0x3008..=0x3011 | 0x3014..=0x301f)
        }
    }
}

/// `xstrings` does not count Chinese characters as letters.
fn is_alphabet(letter: char) -> bool {
    if !letter.is_alphabetic() {
        return false;
    }
    !matches!(u32::from(letter), 0x3400..=0x4d85 | 0x4e00..=0x9fcc | 0x20000..=0x2b81d)
}

fn next_word(text: &str) -> (Word, &str, &str) {
    let Some(first) = text.chars().next() else { return (Word::Invalid, "", "") };
    let run = |matches: &dyn Fn(char) -> bool| text.find(|letter| !matches(letter)).unwrap_or(text.len());
    let (word, end) = if is_connector(first) {
        (Word::Connector, run(&is_connector))
    } else if is_punctuation(first) {
        (Word::Punctuation, run(&is_punctuation))
    } else if strconv::is_upper(first) {
        (Word::Upper, upper_word(text))
    } else if is_alphabet(first) {
        (Word::Alphabet, run(&|letter| is_alphabet(letter) && !strconv::is_upper(letter)))
    } else if first.is_numeric() {
        (Word::Number, run(&char::is_numeric))
    } else {
        let ends = |letter| is_connector(letter) || is_alphabet(letter) || letter.is_numeric() || is_punctuation(letter);
        (Word::Other, run(&|letter| !ends(letter)))
    };
    let (word_text, rest) = text.split_at(end);
    (word, word_text, rest)
}

/// In `HTTPServer` this finds `HTTP`, because `Server` is one word.
fn upper_word(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    let Some(&(second_at, second)) = letters.peek() else { return text.len() };
    if strconv::is_upper(second) {
        let mut last = second_at;
        for (at, letter) in letters {
            if !strconv::is_upper(letter) {
                return if is_alphabet(letter) { last } else { at };
            }
            last = at;
        }
        return text.len();
    }
    if is_alphabet(second) {
        return letters.find(|(_, letter)| !is_alphabet(*letter) || strconv::is_upper(*letter)).map_or(text.len(), |(at, _)| at);
    }
    second_at
}

/// `xstrings.ToSnakeCase` and `ToKebabCase`.
fn separated(text: &[u8], connector: char) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    if text.is_empty() {
        return Vec::new();
    }
    let mut out = String::with_capacity(text.len() + 8);
    let lowered = |out: &mut String, kind: Word, word: &str| match kind {
        Word::Connector => out.extend(word.chars().map(|_| connector)),
        Word::Upper => out.extend(word.chars().map(lower)),
        _ => out.push_str(word),
    };
    let ends = |kind: Word| matches!(kind, Word::Connector | Word::Punctuation);
    let words = |kind: Word| matches!(kind, Word::Alphabet | Word::Number);
    let (mut kind, mut word, mut rest) = next_word(&text);
    while !rest.is_empty() {
        if kind != Word::Connector {
            lowered(&mut out, kind, word);
        }
        let (before, last) = (kind, word);
        (kind, word, rest) = next_word(rest);
        match before {
            Word::Number => {
                while words(kind) {
                    lowered(&mut out, kind, word);
                    (kind, word, rest) = next_word(rest);
                }
                if kind != Word::Invalid && !ends(kind) {
                    out.push(connector);
                }
            }
            Word::Connector => lowered(&mut out, before, last),
            Word::Punctuation => {}
            _ if kind != Word::Number => {
                if !ends(kind) {
                    out.push(connector);
                }
            }
            _ if rest.is_empty() => {}
            _ => {
                let digits = word;
                (kind, word, rest) = next_word(rest);
                if kind != Word::Alphabet {
                    lowered(&mut out, Word::Number, digits);
                    if !ends(kind) {
                        out.push(connector);
                    }
                    continue;
                }
                out.push(connector);
                lowered(&mut out, Word::Number, digits);
                while words(kind) {
                    lowered(&mut out, kind, word);
                    (kind, word, rest) = next_word(rest);
                }
                if kind != Word::Invalid && !ends(kind) {
                    out.push(connector);
                }
            }
        }
    }
    lowered(&mut out, kind, word);
    out.into_bytes()
}

fn shuffled(text: &[u8]) -> Vec<u8> {
    let mut letters: Vec<char> = strconv::letters(text).map(|letter| letter.unwrap_or('\u{fffd}')).collect();
    for index in (1..letters.len()).rev() {
        letters.swap(index, super::numbers::random(index + 1));
    }
    letters.into_iter().collect::<String>().into_bytes()
}

/// `goutils.WrapCustom`.
fn wrap(context: &Context<'_>, text: &[u8], width: i64, separator: &[u8], long_words: bool) -> Result<Value, String> {
    context.budget.read(text.len())?;
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let mut out = Buffer::new(context.budget, context.budget.remaining());
    let mut offset = 0;
    while text.len() - offset > width && !out.is_full() {
        if text.get(offset) == Some(&b' ') {
            offset += 1;
            continue;
        }
        let last_space = part(text, offset, offset + width + 1).iter().rposition(|byte| *byte == b' ');
        let end = match last_space {
            Some(at) => offset + at,
            None if long_words => {
                out.push(part(text, offset, offset + width));
                out.push(separator);
                offset += width;
                continue;
            }
            None => match part(text, offset + width, text.len()).iter().position(|byte| *byte == b' ') {
                Some(at) => offset + width + at,
                None => {
                    out.push(part(text, offset, text.len()));
                    offset = text.len();
                    continue;
                }
            },
        };
        out.push(part(text, offset, end));
        out.push(separator);
        offset = end + 1;
    }
    out.push(part(text, offset, text.len()));
    Ok(Value::Text(Text::from(out.finish(context.budget)?)))
}
