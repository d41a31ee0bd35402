//! The verbs of numbers.

use super::Printer;
use crate::strconv;
use crate::value::Value;

impl Printer {
    pub(super) fn integer(&mut self, magnitude: u64, negative: bool, signed: bool, verb: char, value: &Value) {
        const LOWER: &[u8; 17] = b"0123456789abcdefx";
        const UPPER: &[u8; 17] = b"0123456789ABCDEFX";
        // Go shows the two's complement here.
        let bits = if negative { magnitude.wrapping_neg() } else { magnitude };
        let letter = u32::try_from(bits).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        match verb {
            'v' if self.flags.sharp_v && !signed => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                self.number(magnitude, 16, false, 'v', LOWER);
                self.flags.sharp = sharp;
            }
            'v' | 'd' => self.number(magnitude, 10, negative, verb, LOWER),
            'b' => self.number(magnitude, 2, negative, verb, LOWER),
            'o' | 'O' => self.number(magnitude, 8, negative, verb, LOWER),
            'x' => self.number(magnitude, 16, negative, verb, LOWER),
            'X' => self.number(magnitude, 16, negative, verb, UPPER),
            'c' => self.pad(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            'q' => self.pad(strconv::quote_char(letter, self.flags.plus)),
            'U' => {
                let digits = self.flags.precision.filter(|digits| *digits > 4).unwrap_or(4);
                let mut shown = format!("U+{bits:0digits$X}");
                if self.flags.sharp && char::from_u32(u32::try_from(bits).unwrap_or(u32::MAX)).is_some_and(strconv::is_print) {
                    shown.push_str(&format!(" '{letter}'"));
                }
                self.pad_without_zeros(shown);
            }
            _ => self.bad_verb(verb, value),
        }
    }

    pub(super) fn number(&mut self, mut magnitude: u64, base: u64, negative: bool, verb: char, digits: &[u8; 17]) {
        let flags = self.flags;
        if flags.precision == Some(0) && magnitude == 0 {
            return self.out.fill(b' ', flags.width.unwrap_or(0));
        }
        let mut least = flags.precision.unwrap_or(0);
        if flags.precision.is_none() && flags.zero && !flags.minus {
            let sign = usize::from(negative || flags.plus || flags.space);
            least = flags.width.unwrap_or(0).saturating_sub(sign);
        }
        // The digits are written from the last to the first.
        let mut text = Vec::new();
        loop {
            text.push(digits.get(usize::try_from(magnitude % base).unwrap_or(0)).copied().unwrap_or(b'0'));
            magnitude /= base;
            if magnitude == 0 {
                break;
            }
        }
        text.resize(text.len().max(least), b'0');
        if flags.sharp {
            match base {
                2 => text.extend(b"b0"),
                8 if text.last() != Some(&b'0') => text.push(b'0'),
                16 => text.extend([digits[16], b'0']),
                _ => {}
            }
        }
        if verb == 'O' {
            text.extend(b"o0");
        }
        match (negative, flags.plus, flags.space) {
            (true, ..) => text.push(b'-'),
            (_, true, _) => text.push(b'+'),
            (.., true) => text.push(b' '),
            _ => {}
        }
        text.reverse();
        self.pad_without_zeros(text);
    }

    pub(super) fn float(&mut self, number: f64, verb: char, value: &Value) {
        match verb {
            'v' => self.format_float(number, 'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => self.format_float(number, verb, None),
            'f' | 'e' | 'E' | 'F' => self.format_float(number, verb, Some(6)),
            _ => self.bad_verb(verb, value),
        }
    }

    pub(super) fn format_float(&mut self, number: f64, verb: char, precision: Option<usize>) {
        let flags = self.flags;
        let precision = flags.precision.or(precision);
        let mut text = strconv::format_float(number, verb, precision);
        if !text.starts_with(['-', '+']) {
            text.insert(0, '+');
        }
        if flags.space && text.starts_with('+') && !flags.plus {
            text.replace_range(..1, " ");
        }
        if !number.is_finite() {
            if number.is_nan() && !flags.space && !flags.plus {
                text.remove(0);
            }
            return self.pad_without_zeros(text);
        }
        if flags.sharp && verb != 'b' {
            text = with_point(&text, verb, precision);
        }
        if !flags.plus && text.starts_with('+') {
            return self.pad(text.get(1..).unwrap_or_default());
        }
        let width = flags.width.unwrap_or(0);
        if flags.zero && !flags.minus && width > text.len() {
            self.out.push(text.get(..1).unwrap_or_default());
            self.out.fill(b'0', width - text.len());
            return self.out.push(text.get(1..).unwrap_or_default());
        }
        self.pad(text);
    }

    pub(super) fn complex(&mut self, real: f64, imaginary: f64, verb: char, value: &Value) {
        if !matches!(verb, 'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E') {
            return self.bad_verb(verb, value);
        }
        let plus = self.flags.plus;
        self.out.push("(");
        self.float(real, verb, value);
        self.flags.plus = true;
        self.float(imaginary, verb, value);
        self.out.push("i)");
        self.flags.plus = plus;
    }
}

/// `%#g`: always with a decimal point, and with trailing zeros.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let mut missing = match verb {
        'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let hex = matches!(verb, 'x' | 'X');
    let end = text.find(|letter| matches!(letter, 'p' | 'P') || (!hex && matches!(letter, 'e' | 'E'))).unwrap_or(text.len());
    let (number, tail) = text.split_at(end);
    let mut significant = false;
    for letter in number.chars().skip(1).filter(|letter| *letter != '.') {
        significant |= letter != '0';
        missing = missing.saturating_sub(usize::from(significant));
    }
    let mut out = number.to_owned();
    if !number.contains('.') {
        if number.get(1..) == Some("0") {
            missing = missing.saturating_sub(1);
        }
        out.push('.');
    }
    out.push_str(&"0".repeat(missing.min(1_000_000)));
    out + tail
}
