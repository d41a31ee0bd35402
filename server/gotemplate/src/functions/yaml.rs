//! `toYaml` and `fromYaml` of `sigs.k8s.io/yaml`: the words of YAML 1.1, the numbers of JSON, and the layout of go-yaml.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use model::yaml::{Content, Key, Node, Twice};

use super::arguments::{take, text};
use super::json;
use super::{Context, Entry, Param, any, plain};
use crate::print::Buffer;
use crate::strconv;
use crate::time::Time;
use crate::value::{List, Text, Type, Value};

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("toYaml", &[Param::Any], |context, args| to_yaml(context, &take(args, 0))),
    any("fromYaml", &[Param::Text], |context, args| from_yaml(context, &text(args, 0))),
];

/// What a plain scalar means in YAML 1.1.
enum Plain {
    Nil,
    Bool(bool),
    /// As JSON has it, and as text where it is a whole number.
    Number(f64, Option<String>),
    /// Quoted where it is written, and text where it is read.
    Time,
    Text,
}

fn resolve(text: &str) -> Plain {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Plain::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Plain::Bool(false),
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Nil,
        ".nan" | ".NaN" | ".NAN" => return Plain::Number(f64::NAN, None),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Plain::Number(f64::INFINITY, None),
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Number(f64::NEG_INFINITY, None),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => strconv::parse_float(text).map_or(Plain::Text, |number| Plain::Number(number, None)),
        Some(b'+' | b'-' | b'0'..=b'9') => Time::of_yaml(text).map_or_else(|| number(text), |_| Plain::Time),
        _ => Plain::Text,
    }
}

#[allow(clippy::cast_precision_loss)]
fn number(text: &str) -> Plain {
    let digits = text.replace('_', "");
    let whole = strconv::parse_int(&digits, 0).map(|number| (number as f64, number.to_string()));
    let whole = whole.or_else(|| strconv::parse_uint(&digits, 0).map(|number| (number as f64, number.to_string())));
    if let Some((number, shown)) = whole {
        return Plain::Number(number, Some(shown));
    }
    let body = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let (mantissa, exponent) =
        body.split_once(['e', 'E']).map_or((body, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (before, after) = mantissa.split_once('.').map_or((mantissa, None), |(before, after)| (before, Some(after)));
    let figures = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_ok = figures(before)
        && match after {
            Some(after) => figures(after) && (!before.is_empty() || !after.is_empty()),
            None => !before.is_empty(),
        };
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && figures(exponent)
    });
    match strconv::parse_float(&digits).filter(|_| mantissa_ok && exponent_ok) {
        Some(number) => Plain::Number(number, None),
        None => Plain::Text,
    }
}

const NO_JSON: &str = "fromYaml: error converting YAML to JSON: ";

fn from_yaml(context: &Context<'_>, source: &[u8]) -> Result<Value, String> {
    if source.is_empty() {
        return Err("fromYaml: empty YAML input".to_owned());
    }
    context.budget.read(source.len())?;
    context.budget.take(source.len().saturating_mul(16))?;
    let source = std::str::from_utf8(source).map_err(|_| format!("{NO_JSON}yaml: invalid UTF-8"))?;
    let (documents, mistakes) = model::yaml::documents(source, "", Twice::LastWins);
    if let Some(mistake) = mistakes.first() {
        let line = if mistake.line > 1 { format!("line {}: ", mistake.line) } else { String::new() };
        return Err(format!("{NO_JSON}yaml: {line}{}", mistake.message));
    }
    documents.first().map_or(Ok(Value::Nil), |node| value(context, node))
}

fn value(context: &Context<'_>, node: &Node) -> Result<Value, String> {
    context.budget.step()?;
    match &node.content {
        Content::Scalar { text, plain: false } => context.budget.text(text),
        Content::Scalar { text, plain: true } => Ok(match resolve(text) {
            Plain::Nil => Value::Nil,
            Plain::Bool(truth) => Value::Bool(truth),
            Plain::Number(number, _) if !number.is_finite() => {
                let shown = strconv::format_float(number, 'g', None);
                return Err(format!("{NO_JSON}json: unsupported value: {shown}"));
            }
            Plain::Number(number, _) => Value::Float(number),
            // go-yaml leaves timestamps as they are written.
            Plain::Time | Plain::Text => context.budget.text(text)?,
        }),
        Content::List(items) => {
            context.budget.take(items.len() * crate::value::CELL)?;
            let items = items.iter().map(|item| value(context, item)).collect::<Result<_, _>>()?;
            context.budget.list(Type::Any, items)
        }
        Content::Map(entries) => {
            let mut made = BTreeMap::new();
            for (key, item) in entries {
                made.insert(Text::from(&key_text(key)?), value(context, item)?);
            }
            Ok(Value::Map(context.budget.map(Type::Any, made)?))
        }
    }
}

/// Keys become text, after YAML has understood them.
fn key_text(key: &Key) -> Result<String, String> {
    if !key.plain {
        return Ok(key.text.clone());
    }
    Ok(match resolve(&key.text) {
        Plain::Nil => return Err(format!("{NO_JSON}unsupported map key of type: %!s(<nil>), key: <nil>")),
        Plain::Bool(truth) => truth.to_string(),
        Plain::Number(_, Some(whole)) => whole,
        Plain::Number(number, None) if number.is_finite() => strconv::format_float(number, 'g', None),
        _ => key.text.clone(),
    })
}

fn to_yaml(context: &Context<'_>, value: &Value) -> Result<Value, String> {
    // As in Go, JSON comes first. It reports values that cannot be shown, and it knows the fields of the structs.
    if let Err(error) = json::encode(context, value, true, false)? {
        return Err(format!("toYaml: error marshaling into JSON: {error}"));
    }
    let mut emitter = Emitter { context, out: Buffer::new(context.budget, context.budget.remaining()), column: 0 };
    emitter.node(value, Place { indent: None, in_mapping: false, after_dash: false })?;
    let mut out = emitter.out.finish(context.budget)?;
    if out.last() == Some(&b'\n') {
        out.pop();
    }
    Ok(Value::Text(Text::from(out)))
}

/// The position of a node in the document.
#[derive(Clone, Copy)]
struct Place {
    /// The indent of the surrounding block, or `None` at the top.
    indent: Option<usize>,
    in_mapping: bool,
    after_dash: bool,
}

struct Emitter<'c, 'r> {
    context: &'c Context<'r>,
    out: Buffer,
    column: usize,
}

const WIDTH: usize = 80;

/// go-yaml's order of keys: numbers in them count by their value.
fn natural(one: &str, other: &str) -> Ordering {
    let digits = |text: &str, start: i64| {
        let digits = text.chars().map_while(|letter| letter.to_digit(10));
        digits.fold((start, 0_usize), |(value, count), digit| (value.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1))
    };
    let mut pairs = one.char_indices().zip(other.chars());
    let Some(((at, x), y)) = pairs.find(|((_, x), y)| x != y) else { return one.len().cmp(&other.len()) };
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        _ => {}
    }
    let (before, a) = one.split_at(at);
    let mut start = 0;
    if x == '0' || y == '0' {
        let mut before = before.chars().rev().take_while(|letter| letter.is_numeric());
        if before.any(|letter| letter != '0') {
            start = 1;
        }
    }
    let ((an, ai), (bn, bi)) = (digits(a, start), digits(other.get(at..).unwrap_or_default(), start));
    an.cmp(&bn).then(ai.cmp(&bi)).then(x.cmp(&y))
}

/// Merges sorted halves. go-yaml's order can go in a circle, `01` `0a` `1`, and the standard library may panic of that.
fn sorted(mut entries: Vec<(String, Value)>) -> Vec<(String, Value)> {
    if entries.len() < 2 {
        return entries;
    }
    let right = sorted(entries.split_off(entries.len() / 2));
    let (mut left, mut right) = (sorted(entries).into_iter().peekable(), right.into_iter().peekable());
    let mut merged = Vec::with_capacity(left.len() + right.len());
    while let (Some((one, _)), Some((other, _))) = (left.peek(), right.peek()) {
        let next = if natural(one, other).is_gt() { right.next() } else { left.next() };
        merged.extend(next);
    }
    merged.extend(left.chain(right));
    merged
}

impl Emitter<'_, '_> {
    fn push(&mut self, text: &str) {
        match text.rfind('\n') {
            Some(at) => self.column = text.get(at + 1..).unwrap_or_default().chars().count(),
            None => self.column += text.chars().count(),
        }
        self.out.push(text);
    }

    fn new_line(&mut self, indent: usize) {
        if self.column > 0 {
            self.push("\n");
        }
        self.push(&" ".repeat(indent));
    }

    /// The entries of a map, or the fields of a struct that JSON shows.
    fn entries(&self, value: &Value) -> Option<Vec<(String, Value)>> {
        let entries: Vec<(String, Value)> = match value {
            Value::Map(map) if !map.is_nil() => {
                map.entries().into_iter().map(|(key, value)| (key.lossy().into_owned(), value)).collect()
            }
            Value::Struct(inner) => {
                let kept = inner.ty.fields.iter().zip(&inner.fields);
                let kept = kept.filter(|(field, value)| !field.optional || value.is_true() || matches!(value, Value::Struct(_)));
                kept.map(|(field, value)| (field.json.to_owned(), value.clone())).collect()
            }
            _ => return None,
        };
        Some(sorted(entries))
    }

    fn node(&mut self, value: &Value, place: Place) -> Result<(), String> {
        self.context.budget.step()?;
        if self.out.is_full() {
            self.context.budget.take(usize::MAX)?;
        }
        let value = value.indirect().0;
        if let Some(entries) = self.entries(&value) {
            return self.mapping(entries, place);
        }
        if let Value::List(list) = &value
            && !list.nil
        {
            return self.sequence(list, place);
        }
        if place.in_mapping || place.after_dash {
            self.push(" ");
        }
        let indent = place.indent.map_or(2, |indent| indent + 2);
        match &value {
            Value::Bool(truth) => self.push(if *truth { "true" } else { "false" }),
            Value::Float(number) => {
                let shown = strconv::format_float(*number, 'f', None);
                let whole = strconv::parse_int(&shown, 10).map(|number| number.to_string());
                let whole = whole.or_else(|| strconv::parse_uint(&shown, 10).map(|number| number.to_string()));
                let whole = whole.filter(|_| number.abs() < 1e21);
                self.push(&whole.unwrap_or_else(|| strconv::format_float(*number, 'g', None)));
            }
            Value::Text(text) => self.scalar(&text.lossy(), indent, false),
            Value::Time(time) => self.scalar(&time.rfc3339(), indent, false),
            Value::Semver(version) | Value::Version(version) => self.scalar(&version.to_string(), indent, false),
            other => {
                let shown = other.integer().map(|number| number.to_string());
                let shown = shown.or_else(|| other.unsigned().map(|number| number.to_string()));
                self.push(&shown.unwrap_or_else(|| "null".to_owned()));
            }
        }
        if self.column > 0 {
            self.push("\n");
        }
        Ok(())
    }

    fn mapping(&mut self, entries: Vec<(String, Value)>, place: Place) -> Result<(), String> {
        if entries.is_empty() {
            self.push(if place.in_mapping || place.after_dash { " {}\n" } else { "{}\n" });
            return Ok(());
        }
        let indent = place.indent.map_or(0, |indent| indent + 2);
        let mut first = true;
        for (key, value) in entries {
            if std::mem::take(&mut first) && place.after_dash {
                self.push(" ");
            } else {
                self.new_line(indent);
            }
            if key.contains('\n') || key.len() > 128 {
                self.push("? ");
                self.scalar(&key, indent + 2, false);
                self.new_line(indent);
            } else {
                self.scalar(&key, indent + 2, true);
            }
            self.push(":");
            self.node(&value, Place { indent: Some(indent), in_mapping: true, after_dash: false })?;
        }
        Ok(())
    }

    fn sequence(&mut self, items: &List, place: Place) -> Result<(), String> {
        if items.len() == 0 {
            self.push(if place.in_mapping || place.after_dash { " []\n" } else { "[]\n" });
            return Ok(());
        }
        // In a mapping the dashes have the same indent as the key.
        let indent = match place.indent {
            None => 0,
            Some(indent) if place.in_mapping => indent,
            Some(indent) => indent + 2,
        };
        let mut first = true;
        for item in items.iter() {
            if std::mem::take(&mut first) && place.after_dash {
                self.push(" ");
            } else {
                self.new_line(indent);
            }
            self.push("-");
            self.node(&item, Place { indent: Some(indent), in_mapping: false, after_dash: true })?;
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, indent: usize, key: bool) {
        let shape = Shape::of(text);
        let plain = matches!(resolve(text), Plain::Text) && !is_base60(text);
        if text.contains('\n') && shape.block && !key {
            self.literal(text, indent);
        } else if !text.contains('\n') && plain && shape.plain && !(text.is_empty() && key) {
            self.folded(text, indent, key, "");
        } else if !text.contains('\n') && plain && shape.single {
            self.folded(&text.replace('\'', "''"), indent, key, "'");
        } else {
            self.double(text, indent, key);
        }
    }

    /// A plain or single-quoted scalar, broken into lines after column 80.
    fn folded(&mut self, text: &str, indent: usize, key: bool, quote: &str) {
        self.push(quote);
        let (mut spaces, mut broken) = (false, false);
        let letters: Vec<char> = text.chars().collect();
        for (index, letter) in letters.iter().enumerate() {
            // Other characters that break a line are written as they are, and the next line is indented.
            if is_break(*letter) {
                self.push(letter.encode_utf8(&mut [0; 4]));
                (self.column, broken) = (0, true);
                continue;
            }
            if std::mem::take(&mut broken) {
                self.push(&" ".repeat(indent));
            }
            let inside = quote.is_empty() || (index > 0 && index + 1 < letters.len());
            let breaks = !key && !spaces && inside && self.column > WIDTH && letters.get(index + 1) != Some(&' ');
            spaces = *letter == ' ';
            if spaces && breaks {
                self.push("\n");
                self.push(&" ".repeat(indent));
            } else {
                self.push(letter.encode_utf8(&mut [0; 4]));
            }
        }
        self.push(quote);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.push("|");
        if text.starts_with([' ', '\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            self.push("2");
        }
        let body = text.trim_end_matches('\n');
        match text.len() - body.len() {
            0 => self.push("-"),
            1 if !body.is_empty() => {}
            _ => self.push("+"),
        }
        self.push("\n");
        let mut breaks = true;
        for line in text.split_inclusive('\n') {
            let (content, end) = line.strip_suffix('\n').map_or((line, ""), |content| (content, "\n"));
            if !content.is_empty() {
                if breaks {
                    self.push(&" ".repeat(indent));
                }
                self.push(content);
            }
            self.push(end);
            breaks = !end.is_empty();
        }
    }

    fn double(&mut self, text: &str, indent: usize, key: bool) {
        self.push("\"");
        let letters: Vec<char> = text.chars().collect();
        let mut spaces = false;
        // Behind a byte order mark go-yaml takes every character for one.
        let marked = text.starts_with('\u{feff}');
        for (index, letter) in letters.iter().enumerate() {
            if marked || !is_printable(*letter) || matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' | '"' | '\\')
            {
                self.push(&escaped(*letter));
                spaces = false;
            } else if *letter == ' ' {
                let breaks = !key && !spaces && self.column > WIDTH && index > 0 && index + 1 < letters.len();
                if breaks {
                    self.push("\n");
                    self.push(&" ".repeat(indent));
                    if letters.get(index + 1) == Some(&' ') {
                        self.push("\\");
                    }
                } else {
                    self.push(" ");
                }
                spaces = true;
            } else {
                self.push(letter.encode_utf8(&mut [0; 4]));
                spaces = false;
            }
        }
        self.push("\"");
    }
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && letter != '\u{feff}'
}

fn escaped(letter: char) -> String {
    match letter {
        '\0' => "\\0".into(),
        '\x07' => "\\a".into(),
        '\x08' => "\\b".into(),
        '\t' => "\\t".into(),
        '\n' => "\\n".into(),
        '\x0b' => "\\v".into(),
        '\x0c' => "\\f".into(),
        '\r' => "\\r".into(),
        '\x1b' => "\\e".into(),
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\u{85}' => "\\N".into(),
        '\u{2028}' => "\\L".into(),
        '\u{2029}' => "\\P".into(),
        other if u32::from(other) <= 0xff => format!("\\x{:02X}", u32::from(other)),
        other if u32::from(other) <= 0xffff => format!("\\u{:04X}", u32::from(other)),
        other => format!("\\U{:08X}", u32::from(other)),
    }
}

/// `12:30` is a number in YAML 1.1, so it is written with quotes.
fn is_base60(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = body.split(':');
    let Some(first) = parts.next() else { return false };
    let mut rest: Vec<&str> = parts.collect();
    let Some(last) = rest.pop() else { return false };
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    rest.push(last);
    let sixty = |part: &&str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    first.starts_with(|letter: char| letter.is_ascii_digit()) && digits(first) && rest.iter().all(sixty) && digits(fraction)
}

/// The ways in which a scalar may be written.
struct Shape {
    plain: bool,
    single: bool,
    block: bool,
}

impl Shape {
    /// `yaml_emitter_analyze_scalar`.
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self { plain: true, single: true, block: false };
        }
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut break_space, mut space_break, mut breaks) = (false, false, false, false);
        let (mut after_blank, mut after_space, mut after_break) = (true, false, false);
        let mut letters = text.chars().peekable();
        let mut first = true;
        while let Some(letter) = letters.next() {
            let blank_follows = letters.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
            indicators |= match letter {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if first => true,
                '?' | '-' if first => blank_follows,
                ':' => blank_follows,
                '#' => after_blank,
                _ => false,
            };
            special |= !is_printable(letter);
            breaks |= is_break(letter);
            break_space |= letter == ' ' && after_break;
            space_break |= is_break(letter) && after_space;
            (after_space, after_break) = (letter == ' ', is_break(letter));
            after_blank = matches!(letter, ' ' | '\t') || is_break(letter);
            first = false;
        }
        let edge = |letter: Option<char>| letter.is_some_and(|letter| letter == ' ' || is_break(letter));
        let edges = edge(text.chars().next()) || edge(text.chars().next_back());
        let bad = space_break || special;
        Self {
            plain: !(indicators || edges || break_space || bad || breaks),
            single: !(break_space || bad),
            block: !(text.ends_with(' ') || bad),
        }
    }
}
