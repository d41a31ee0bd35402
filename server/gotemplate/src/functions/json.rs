//! `encoding/json` in both directions, as sprig uses it.

use std::collections::BTreeMap;

use super::arguments::{take, text};
use super::{Context, Entry, Param, any, plain};
use crate::print::Buffer;
use crate::strconv;
use crate::value::{Text, Type, Value};

const A: Param = Param::Any;
const S: Param = Param::Text;

pub(super) static FUNCTIONS: &[Entry] = &[
    any("fromJson", &[S], |context, args| Ok(decode(context, &text(args, 0))?.unwrap_or(Value::Nil))),
    any("mustFromJson", &[S], |context, args| decode(context, &text(args, 0))?),
    plain("toJson", &[A], |context, args| lenient(encode(context, &take(args, 0), true, false))),
    plain("toPrettyJson", &[A], |context, args| lenient(encode(context, &take(args, 0), true, true))),
    plain("toRawJson", &[A], |context, args| encode(context, &take(args, 0), false, false)?.map(Value::Text)),
    plain("mustToJson", &[A], |context, args| encode(context, &take(args, 0), true, false)?.map(Value::Text)),
    plain("mustToPrettyJson", &[A], |context, args| encode(context, &take(args, 0), true, true)?.map(Value::Text)),
    plain("mustToRawJson", &[A], |context, args| encode(context, &take(args, 0), false, false)?.map(Value::Text)),
];

/// The outer error is the budget's, the inner one is JSON's.
type Encoded<T> = Result<Result<T, String>, String>;

fn lenient(encoded: Encoded<Text>) -> Result<Value, String> {
    Ok(Value::Text(encoded?.unwrap_or_else(|_| Text::from(""))))
}

pub(super) fn encode(context: &Context<'_>, value: &Value, html: bool, pretty: bool) -> Encoded<Text> {
    let mut encoder = Encoder { context, out: Buffer::new(context.budget, context.budget.remaining()), html, pretty };
    if let Err(error) = encoder.value(value, 0)? {
        return Ok(Err(error));
    }
    Ok(Ok(Text::from(encoder.out.finish(context.budget)?)))
}

struct Encoder<'c, 'r> {
    context: &'c Context<'r>,
    out: Buffer,
    html: bool,
    pretty: bool,
}

impl Encoder<'_, '_> {
    fn line(&mut self, depth: usize) {
        if self.pretty {
            self.out.push("\n");
            self.out.push("  ".repeat(depth));
        }
    }

    fn value(&mut self, value: &Value, depth: usize) -> Encoded<()> {
        self.context.budget.step()?;
        if self.out.is_full() || depth > self.context.budget.limits().depth {
            self.context.budget.take(usize::MAX)?;
        }
        if value.is_nil() {
            self.out.push("null");
            return Ok(Ok(()));
        }
        if let Some(number) = value.integer() {
            self.out.push(number.to_string());
            return Ok(Ok(()));
        }
        if let Some(number) = value.unsigned() {
            self.out.push(number.to_string());
            return Ok(Ok(()));
        }
        match value {
            Value::Bool(truth) => self.out.push(if *truth { "true" } else { "false" }),
            Value::Float(number) if number.is_finite() => self.out.push(float(*number)),
            Value::Float(number) => {
                let shown = strconv::format_float(*number, 'g', None);
                return Ok(Err(format!("json: unsupported value: {shown}")));
            }
            Value::Text(text) => self.text(text)?,
            Value::Time(time) => self.out.push(format!("\"{}\"", time.rfc3339())),
            Value::Semver(version) | Value::Version(version) => self.out.push(string(version.to_string().as_bytes(), self.html)),
            Value::List(list) => return self.block("[]", list.iter().map(|item| (None, item)), depth),
            Value::Map(map) => {
                return self.block("{}", map.iter().map(|(key, item)| (Some(key), item)), depth);
            }
            Value::Struct(inner) => {
                let kept = inner.ty.fields.iter().zip(&inner.fields).filter(|(field, value)| !(field.optional && is_zero(value)));
                return self.block("{}", kept.map(|(field, value)| (Some(Text::from(field.json)), value.clone())), depth);
            }
            Value::Pointer(pointer) => match &pointer.value {
                Some(inner) => return self.value(inner, depth),
                None => self.out.push("null"),
            },
            other => return Ok(Err(format!("json: unsupported type: {}", other.type_name()))),
        }
        Ok(Ok(()))
    }

    /// A character can become six.
    fn text(&mut self, text: &[u8]) -> Result<(), String> {
        self.context.budget.work(text.len() as u64 / 4)?;
        self.context.budget.take(text.len().saturating_mul(6))?;
        self.out.push(string(text, self.html));
        Ok(())
    }

    fn block(&mut self, ends: &str, entries: impl Iterator<Item = (Option<Text>, Value)>, depth: usize) -> Encoded<()> {
        let (open, close) = ends.split_at(1);
        self.out.push(open);
        let mut empty = true;
        for (index, (key, value)) in entries.enumerate() {
            empty = false;
            if index > 0 {
                self.out.push(",");
            }
            self.line(depth + 1);
            if let Some(key) = key {
                self.text(&key)?;
                self.out.push(if self.pretty { ": " } else { ":" });
            }
            if let Err(error) = self.value(&value, depth + 1)? {
                return Ok(Err(error));
            }
        }
        if !empty {
            self.line(depth);
        }
        self.out.push(close);
        Ok(Ok(()))
    }
}

/// The values that `omitempty` leaves out.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Struct(_) | Value::Time(_) | Value::Semver(_) | Value::Version(_) => false,
        other => !other.is_true(),
    }
}

fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let shown = strconv::format_float(number, 'e', None);
        // Go writes e-9 for e-09.
        return shown.replace("e-0", "e-");
    }
    strconv::format_float(number, 'f', None)
}

fn string(text: &[u8], html: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in strconv::letters(text) {
        match letter {
            Err(_) => out.push_str("\\ufffd"),
            Ok('"') => out.push_str("\\\""),
            Ok('\\') => out.push_str("\\\\"),
            Ok('\x08') => out.push_str("\\b"),
            Ok('\x0c') => out.push_str("\\f"),
            Ok('\n') => out.push_str("\\n"),
            Ok('\r') => out.push_str("\\r"),
            Ok('\t') => out.push_str("\\t"),
            Ok(letter @ ('<' | '>' | '&')) if html => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            Ok(letter) if letter < ' ' || matches!(letter, '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            Ok(letter) => out.push(letter),
        }
    }
    out.push('"');
    out
}

fn decode(context: &Context<'_>, text: &[u8]) -> Encoded<Value> {
    context.budget.read(text.len())?;
    let mut decoder = Decoder { context, text, at: 0, spent: None };
    let decoded = decoder.value(0).and_then(|value| match decoder.next_letter() {
        None => Ok(value),
        Some(letter) => Err(decoder.invalid(letter, "after top-level value")),
    });
    match decoder.spent {
        Some(error) => Err(error),
        None => Ok(decoded),
    }
}

struct Decoder<'c, 'r, 't> {
    context: &'c Context<'r>,
    text: &'t [u8],
    at: usize,
    /// The budget is used up.
    spent: Option<String>,
}

impl Decoder<'_, '_, '_> {
    fn next_letter(&mut self) -> Option<u8> {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn invalid(&self, letter: u8, context: &str) -> String {
        let shown = match letter {
            b'\'' => "'\\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            other => strconv::quote_char(char::from(other), false),
        };
        format!("invalid character {shown} {context}")
    }

    fn end(&self) -> String {
        "unexpected end of JSON input".to_owned()
    }

    fn kept<T>(&mut self, result: Result<T, String>) -> Result<T, String> {
        if let Err(error) = &result {
            self.spent = Some(error.clone());
        }
        result
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        let stepped = self.context.budget.step();
        self.kept(stepped)?;
        if depth > self.context.budget.limits().depth.min(10_000) {
            return Err("exceeded max depth".to_owned());
        }
        match self.next_letter() {
            None => Err(self.end()),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let text = self.string()?;
                let made = self.context.budget.text(&text);
                self.kept(made)
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Nil),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(letter) => Err(self.invalid(letter, "looking for beginning of value")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        for expected in word.bytes() {
            match self.text.get(self.at) {
                None => {
                    let wanted = strconv::quote_char(char::from(expected), false);
                    return Err(self.invalid(b' ', &format!("in literal {word} (expecting {wanted})")));
                }
                Some(found) if *found == expected => self.at += 1,
                Some(found) => {
                    let wanted = strconv::quote_char(char::from(expected), false);
                    return Err(self.invalid(*found, &format!("in literal {word} (expecting {wanted})")));
                }
            }
        }
        Ok(value)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        // At the end of its input, Go's decoder sees a space.
        let needs = |decoder: &Self, what: &str| decoder.invalid(decoder.text.get(decoder.at).copied().unwrap_or(b' '), what);
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else if self.digits() == 0 {
            return Err(needs(self, "in numeric literal"));
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(needs(self, "after decimal point in numeric literal"));
            }
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(needs(self, "in exponent of numeric literal"));
            }
        }
        let shown = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default());
        match strconv::parse_float(&shown) {
            Some(number) => Ok(Value::Float(number)),
            None => Err(format!("json: cannot unmarshal number {shown} into Go value of type float64")),
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let value = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        self.at += 4;
        Some(value)
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        self.at += 1;
        let mut raw = Vec::new();
        loop {
            let letter = *self.text.get(self.at).ok_or_else(|| self.end())?;
            self.at += 1;
            match letter {
                b'"' => break,
                b'\\' => self.escape(&mut raw)?,
                0..=0x1f => return Err(self.invalid(letter, "in string literal")),
                other => raw.push(other),
            }
        }
        // Each byte that is not UTF-8 becomes U+FFFD.
        let letters = strconv::letters(&raw).map(|letter| letter.unwrap_or('\u{fffd}'));
        Ok(letters.collect::<String>().into_bytes())
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let letter = self.text.get(self.at).copied().unwrap_or(b' ');
        self.at += 1;
        out.push(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let bad =
                    self.text.get(self.at..).unwrap_or_default().iter().take(4).find(|byte| !byte.is_ascii_hexdigit()).copied();
                let first = self.hex();
                let first = first.ok_or_else(|| self.invalid(bad.unwrap_or(b' '), "in \\u hexadecimal character escape"))?;
                let mut code = first;
                if (0xd800..0xdc00).contains(&first) && self.text.get(self.at..).unwrap_or_default().starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    match self.hex() {
                        Some(second) if (0xdc00..0xe000).contains(&second) => {
                            code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        }
                        _ => self.at = back,
                    }
                }
                let letter = char::from_u32(code).unwrap_or('\u{fffd}');
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            other => return Err(self.invalid(other, "in string escape code")),
        });
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.next_letter() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                items.push(self.value(depth + 1)?);
                let taken = self.context.budget.take(crate::value::CELL);
                self.kept(taken)?;
                match self.next_letter() {
                    Some(b',') => self.at += 1,
                    Some(b']') => {
                        self.at += 1;
                        break;
                    }
                    Some(letter) => return Err(self.invalid(letter, "after array element")),
                    None => return Err(self.end()),
                }
            }
        }
        let made = self.context.budget.list(Type::Any, items);
        self.kept(made)
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut entries = BTreeMap::new();
        let mut first = true;
        loop {
            match self.next_letter() {
                Some(b'}') if first => {
                    self.at += 1;
                    break;
                }
                Some(b'"') => {}
                Some(letter) => {
                    return Err(self.invalid(letter, "looking for beginning of object key string"));
                }
                None => return Err(self.end()),
            }
            first = false;
            let key = Text::from(self.string()?);
            match self.next_letter() {
                Some(b':') => self.at += 1,
                Some(letter) => return Err(self.invalid(letter, "after object key")),
                None => return Err(self.end()),
            }
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
            match self.next_letter() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                Some(letter) => return Err(self.invalid(letter, "after object key:value pair")),
                None => return Err(self.end()),
            }
        }
        let made = self.context.budget.map(Type::Any, entries);
        self.kept(made).map(Value::Map)
    }
}
