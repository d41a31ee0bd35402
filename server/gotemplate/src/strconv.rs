//! Go's `strconv`: quoting, and numbers to and from text.

/// Whether Go prints the character unescaped.
pub(crate) fn is_print(letter: char) -> bool {
    match letter {
        ' '..='~' => true,
        _ if letter.is_ascii() => false,
        // A combining mark is not escaped after another letter.
        _ => format!("a{letter}").escape_debug().count() == 2,
    }
}

/// Go's `unicode.IsUpper`: numbers and symbols such as `Ⅷ` are not.
pub(crate) fn is_upper(letter: char) -> bool {
    letter.is_uppercase()
        && !matches!(letter, '\u{2160}'..='\u{216f}' | '\u{24b6}'..='\u{24cf}' | '\u{1f130}'..='\u{1f149}' | '\u{1f150}'..='\u{1f169}' | '\u{1f170}'..='\u{1f189}')
}

/// The characters of a byte string; `Err` is a byte that is not UTF-8.
pub(crate) fn letters(bytes: &[u8]) -> impl Iterator<Item = Result<char, u8>> + '_ {
    bytes.utf8_chunks().flat_map(|chunk| chunk.valid().chars().map(Ok).chain(chunk.invalid().iter().map(|byte| Err(*byte))))
}

fn escaped(out: &mut String, letter: char, quote: char, ascii: bool) {
    match letter {
        _ if letter == quote || letter == '\\' => {
            out.push('\\');
            out.push(letter);
        }
        _ if is_print(letter) && (!ascii || letter.is_ascii()) => out.push(letter),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        _ if letter < ' ' || letter == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
        _ if u32::from(letter) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(letter))),
    }
}

/// `strconv.Quote` and `QuoteToASCII`.
pub(crate) fn quote(bytes: &[u8], ascii: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for letter in letters(bytes) {
        match letter {
            Ok(letter) => escaped(&mut out, letter, '"', ascii),
            Err(byte) => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// One character of a quoted text.
pub(crate) fn quoted(letter: Result<char, u8>, ascii: bool) -> String {
    let mut out = String::new();
    match letter {
        Ok(letter) => escaped(&mut out, letter, '"', ascii),
        Err(byte) => out.push_str(&format!("\\x{byte:02x}")),
    }
    out
}

/// `strconv.QuoteRune`.
pub(crate) fn quote_char(letter: char, ascii: bool) -> String {
    let mut out = String::from("'");
    escaped(&mut out, letter, '\'', ascii);
    out.push('\'');
    out
}

pub(crate) fn can_backquote(bytes: &[u8]) -> bool {
    letters(bytes).all(|letter| matches!(letter, Ok(letter) if letter != '\u{feff}' && letter != '`' && letter != '\x7f' && (letter >= ' ' || letter == '\t')))
}

/// `strconv.Unquote` of a string in double quotes or backquotes.
pub(crate) fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let mut letters = quoted.chars();
    let (open, close) = (letters.next()?, letters.next_back()?);
    if open != close {
        return None;
    }
    let mut rest = letters.as_str();
    if open == '`' {
        return Some(rest.replace('\r', "").into_bytes());
    }
    let mut out = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (unit, after) = unquote_char(rest, open)?;
        match unit {
            Unit::Char(letter) => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(byte) => out.push(byte),
        }
        rest = after;
    }
    Some(out)
}

enum Unit {
    Char(char),
    Byte(u8),
}

fn unquote_char(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut letters = text.chars();
    match letters.next()? {
        letter if letter == quote || letter == '\n' => return None,
        '\\' => {}
        letter => return Some((Unit::Char(letter), letters.as_str())),
    }
    let digits = |rest: &'_ str, count: usize, radix: u32| -> Option<(u32, usize)> {
        let digits = rest.get(..count)?;
        let good = digits.bytes().all(|byte| char::from(byte).is_digit(radix));
        good.then(|| u32::from_str_radix(digits, radix).ok().map(|value| (value, count)))?
    };
    let escape = letters.next()?;
    let rest = letters.as_str();
    let unit = match escape {
        'a' => Unit::Char('\x07'),
        'b' => Unit::Char('\x08'),
        'f' => Unit::Char('\x0c'),
        'n' => Unit::Char('\n'),
        'r' => Unit::Char('\r'),
        't' => Unit::Char('\t'),
        'v' => Unit::Char('\x0b'),
        '\\' => Unit::Char('\\'),
        '\'' | '"' if escape == quote => Unit::Char(escape),
        'x' => {
            let (value, count) = digits(rest, 2, 16)?;
            return Some((Unit::Byte(u8::try_from(value).ok()?), rest.get(count..)?));
        }
        'u' | 'U' => {
            let (value, count) = digits(rest, if escape == 'u' { 4 } else { 8 }, 16)?;
            return Some((Unit::Char(char::from_u32(value)?), rest.get(count..)?));
        }
        '0'..='7' => {
            let (value, _) = digits(text.get(1..)?, 3, 8)?;
            return Some((Unit::Byte(u8::try_from(value).ok()?), text.get(4..)?));
        }
        _ => return None,
    };
    Some((unit, rest))
}

/// A constant of a template, in every type it can have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Number {
    pub int: Option<i64>,
    pub uint: Option<u64>,
    pub float: Option<f64>,
    pub complex: Option<(f64, f64)>,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::float_cmp)]
impl Number {
    pub(crate) fn character(text: &str) -> Result<Self, String> {
        let malformed = || format!("malformed character constant: {text}");
        let (unit, rest) = unquote_char(text.get(1..).unwrap_or_default(), '\'').ok_or("invalid syntax")?;
        if rest != "'" {
            return Err(malformed());
        }
        let value = match unit {
            Unit::Char(letter) => u32::from(letter),
            Unit::Byte(byte) => u32::from(byte),
        };
        Ok(Self { int: Some(value.into()), uint: Some(value.into()), float: Some(value.into()), complex: None })
    }

    fn of_complex(real: f64, imaginary: f64) -> Self {
        let mut number = Self { complex: Some((real, imaginary)), ..Self::default() };
        if imaginary == 0.0 {
            number.float = Some(real);
            number.int = (real as i64 as f64 == real).then_some(real as i64);
            number.uint = (real as u64 as f64 == real).then_some(real as u64);
        }
        number
    }

    pub(crate) fn complex(text: &str) -> Result<Self, String> {
        let bad = || "syntax error scanning complex number".to_owned();
        let body = text.strip_suffix('i').ok_or_else(bad)?;
        let signs = body.char_indices().skip(1).filter(|(at, letter)| {
            matches!(letter, '+' | '-') && !matches!(body.as_bytes().get(at - 1), Some(b'e' | b'E' | b'p' | b'P'))
        });
        let (split, _) = signs.last().ok_or_else(bad)?;
        let (real, imaginary) = body.split_at(split);
        Ok(Self::of_complex(parse_float(real).ok_or_else(bad)?, parse_float(imaginary).ok_or_else(bad)?))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(imaginary) = text.strip_suffix('i').and_then(parse_float) {
            return Ok(Self::of_complex(0.0, imaginary));
        }
        let mut number = Self { int: parse_int(text, 0), uint: parse_uint(text, 0), ..Self::default() };
        if number.int == Some(0) {
            number.uint = Some(0);
        }
        number.float = number.int.map(|int| int as f64).or(number.uint.map(|uint| uint as f64));
        if number.float.is_none()
            && let Some(float) = parse_float(text)
        {
            if !text.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", quote(text.as_bytes(), false)));
            }
            number.float = Some(float);
            number.int = (float as i64 as f64 == float).then_some(float as i64);
            number.uint = (float as u64 as f64 == float).then_some(float as u64);
        }
        if number.float.is_none() {
            return Err(format!("illegal number syntax: {}", quote(text.as_bytes(), false)));
        }
        Ok(number)
    }
}

/// Whether underscores stand only between digits or after a base prefix.
fn underscores_ok(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let bytes = text.as_bytes();
    let prefixed = bytes.len() >= 2 && bytes[0] == b'0' && matches!(bytes[1].to_ascii_lowercase(), b'b' | b'o' | b'x');
    let hex = prefixed && bytes[1].eq_ignore_ascii_case(&b'x');
    let (mut before, rest) = if prefixed { (b'0', &bytes[2..]) } else { (b'^', bytes) };
    for &byte in rest {
        let digit = byte.is_ascii_digit() || (hex && byte.is_ascii_hexdigit());
        before = match byte {
            _ if digit => b'0',
            b'_' if before != b'0' => return false,
            b'_' => b'_',
            _ if before == b'_' => return false,
            _ => b'!',
        };
    }
    before != b'_'
}

/// Parses the magnitude, or returns `None` if it does not fit. Base 0 takes the base from the prefix.
fn magnitude(text: &str, base: u32) -> Option<u64> {
    if base != 0 {
        return u64::from_str_radix(text.strip_prefix('+').map_or(text, |_| "x"), base).ok();
    }
    let prefix = text.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, digits) = match prefix.as_str() {
        "0x" => (16, text.get(2..)?),
        "0b" => (2, text.get(2..)?),
        "0o" => (8, text.get(2..)?),
        _ if text.len() > 1 && text.starts_with('0') => (8, text.get(1..)?),
        _ => (10, text),
    };
    if text.contains('_') && !underscores_ok(text) {
        return None;
    }
    let digits = digits.replace('_', "");
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(&digits, radix).ok()
}

/// `strconv.ParseUint(text, base, 64)`.
pub(crate) fn parse_uint(text: &str, base: u32) -> Option<u64> {
    magnitude(text, base)
}

/// `strconv.ParseInt(text, base, 64)`.
pub(crate) fn parse_int(text: &str, base: u32) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let value = i128::from(magnitude(digits, base)?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// `strconv.ParseFloat(text, 64)`. As in Go, a number out of range is an error.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match lower.as_str() {
        "inf" | "infinity" => return Some(f64::INFINITY * sign),
        "nan" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    if let Some(hex) = lower.strip_prefix("0x") {
        return hex_float(hex).map(|value| value * sign);
    }
    let first = lower.bytes().next()?;
    if (lower.contains('_') && !underscores_ok(&lower)) || !(first.is_ascii_digit() || first == b'.') || lower == "." {
        return None;
    }
    text.replace('_', "").parse::<f64>().ok().filter(|value| value.is_finite())
}

#[allow(clippy::cast_precision_loss)]
fn hex_float(hex: &str) -> Option<f64> {
    let (mantissa, exponent) = hex.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}").replace('_', "");
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()? as f64;
    let shift = exponent - 4 * i32::try_from(fraction.len()).ok()?;
    Some(value * f64::from(shift).exp2()).filter(|value| value.is_finite())
}

/// `strconv.FormatFloat(value, format, precision, 64)`. Without a precision it writes as many digits as needed.
pub(crate) fn format_float(value: f64, format: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match format {
        'f' | 'F' => precision.map_or_else(|| format!("{value}"), |digits| format!("{value:.digits$}")),
        'e' | 'E' => exponential(value, precision, format),
        'b' => binary(value),
        'x' | 'X' => hexadecimal(value, precision, format),
        _ => {
            let significant = precision.map(|digits| digits.max(1));
            let e = exponential(value, significant.map(|digits| digits - 1), 'e');
            let (mantissa, exponent) = e.split_once('e').unwrap_or((&e, "0"));
            let exponent: i32 = exponent.parse().unwrap_or_default();
            let trimmed = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
            let shown = trimmed.bytes().filter(u8::is_ascii_digit).count();
            let count = i32::try_from(shown).unwrap_or(i32::MAX);
            let mut limit = i32::try_from(significant.unwrap_or(6)).unwrap_or(i32::MAX);
            if significant.is_some() && limit > count && count > exponent {
                limit = count;
            }
            if exponent < -4 || exponent >= limit {
                let out = format!("{trimmed}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
                return if format == 'G' { out.replace('e', "E") } else { out };
            }
            let decimals = usize::try_from((count - 1 - exponent).max(0)).unwrap_or(0);
            format!("{value:.decimals$}")
        }
    }
}

fn exponential(value: f64, precision: Option<usize>, letter: char) -> String {
    let plain = precision.map_or_else(|| format!("{value:e}"), |digits| format!("{value:.digits$e}"));
    let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    format!("{mantissa}{letter}{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The mantissa and the exponent from the bits.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 { (fraction, -1074) } else { (fraction | (1 << 52), exponent - 1075) }
}

fn binary(value: f64) -> String {
    let (mantissa, exponent) = parts(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{mantissa}p{exponent:+}")
}

fn hexadecimal(value: f64, precision: Option<usize>, letter: char) -> String {
    let (mut mantissa, mut exponent) = parts(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if mantissa == 0 {
        exponent = 0;
    } else {
        while mantissa & (1 << 52) == 0 {
            mantissa <<= 1;
            exponent -= 1;
        }
        exponent += 52;
    }
    if let Some(digits) = precision.filter(|digits| *digits < 13) {
        let drop = 52 - 4 * u32::try_from(digits).unwrap_or(0);
        let rest = mantissa & ((1 << drop) - 1);
        mantissa >>= drop;
        let half = 1_u64 << (drop - 1);
        if rest > half || (rest == half && mantissa & 1 == 1) {
            mantissa += 1;
        }
        mantissa <<= drop;
        if mantissa >> 53 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let mut fraction = format!("{:013x}", mantissa & ((1 << 52) - 1));
    match precision {
        None => fraction.truncate(fraction.trim_end_matches('0').len()),
        Some(digits) => {
            fraction.truncate(digits);
            while fraction.len() < digits.min(4096) {
                fraction.push('0');
            }
        }
    }
    let dot = if fraction.is_empty() { "" } else { "." };
    let power = format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    let out = format!("{sign}0x{}{dot}{fraction}p{power}", mantissa >> 52);
    if letter == 'X' { out.to_uppercase() } else { out }
}
