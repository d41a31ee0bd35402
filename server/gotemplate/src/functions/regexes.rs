//! Regular expressions. Go's syntax is read here and written anew for the `regex` crate. Its `\d`, `\w`, `\s` and `\b` mean
//! more than Go's, and it knows operators that are plain text in Go.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::{Captures, Regex, RegexBuilder};

use super::arguments::{int, string, text};
use super::{Context, Entry, Param, plain};
use crate::print::Buffer;
use crate::strconv;
use crate::value::{List, Text, Type, Value};

const S: Param = Param::Text;
const I: Param = Param::Int;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("regexMatch", &[S, S], |context, args| {
        let Ok(found) = pattern(context, args)? else { return Ok(Value::Bool(false)) };
        Ok(Value::Bool(found.is_match(&text(args, 1).lossy())))
    }),
    plain("mustRegexMatch", &[S, S], |context, args| Ok(Value::Bool(pattern(context, args)??.is_match(&text(args, 1).lossy())))),
    plain("regexFind", &[S, S], |context, args| find(context, args, &*must(context, args)?)),
    plain("mustRegexFind", &[S, S], |context, args| find(context, args, &*pattern(context, args)??)),
    plain("regexFindAll", &[S, S, I], |context, args| find_all(context, args, &*must(context, args)?)),
    plain("mustRegexFindAll", &[S, S, I], |context, args| find_all(context, args, &*pattern(context, args)??)),
    plain("regexReplaceAll", &[S, S, S], |context, args| replace(context, args, &*must(context, args)?, true)),
    plain("mustRegexReplaceAll", &[S, S, S], |context, args| replace(context, args, &*pattern(context, args)??, true)),
    plain("regexReplaceAllLiteral", &[S, S, S], |context, args| replace(context, args, &*must(context, args)?, false)),
    plain("mustRegexReplaceAllLiteral", &[S, S, S], |context, args| replace(context, args, &*pattern(context, args)??, false)),
    plain("regexSplit", &[S, S, I], |context, args| split(context, args, &*must(context, args)?)),
    plain("mustRegexSplit", &[S, S, I], |context, args| split(context, args, &*pattern(context, args)??)),
    plain("regexQuoteMeta", &[S], |context, args| {
        let text = text(args, 0);
        let quoted = text.iter().flat_map(|byte| [b"\\.+*?()|[]{}^$".contains(byte).then_some(b'\\'), Some(*byte)]).flatten();
        context.budget.text(quoted.collect::<Vec<u8>>())
    }),
];

/// The expressions of one rendering that are compiled.
#[derive(Default)]
pub(crate) struct Cache(RefCell<HashMap<String, Compiled>>);

type Compiled = Result<Rc<Regex>, String>;

/// A compiled expression may take this much, and as many are kept.
const SIZE: usize = 1 << 20;
const KEPT: usize = 32;

/// The outer error is the budget's. Matching costs by the lengths of text and pattern.
fn pattern(context: &Context<'_>, args: &[Value]) -> Result<Compiled, String> {
    let pattern = string(args, 0);
    context.budget.work(1 + (text(args, 1).len() as u64 * (pattern.len() as u64 / 16 + 1)) / 16)?;
    if let Some(known) = context.regexes.0.borrow().get(&pattern) {
        return Ok(known.clone());
    }
    context.budget.work(2_000 + pattern.len() as u64 * 20)?;
    context.budget.take(pattern.len() * 64 + 4096)?;
    let compiled = translate(&pattern).and_then(|translated| {
        let built = RegexBuilder::new(&translated).size_limit(SIZE).dfa_size_limit(SIZE).nest_limit(1_000).build();
        built.map(Rc::new).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "error parsing regexp: expression too large".to_owned(),
            _ => format!("error parsing regexp: invalid expression: `{pattern}`"),
        })
    });
    let mut kept = context.regexes.0.borrow_mut();
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(pattern, compiled.clone());
    Ok(compiled)
}

/// `regexp.MustCompile` panics with more words than `Compile` has.
fn must(context: &Context<'_>, args: &[Value]) -> Result<Rc<Regex>, String> {
    pattern(context, args)?.map_err(|error| {
        let source = text(args, 0);
        let quoted =
            if strconv::can_backquote(&source) { format!("`{}`", source.lossy()) } else { strconv::quote(&source, false) };
        format!("regexp: Compile({quoted}): {error}")
    })
}

fn find(context: &Context<'_>, args: &[Value], regex: &Regex) -> Result<Value, String> {
    let text = text(args, 1);
    context.budget.text(regex.find(&text.lossy()).map_or("", |found| found.as_str()))
}

fn limit(args: &[Value], index: usize) -> usize {
    usize::try_from(int(args, index)).unwrap_or(usize::MAX)
}

fn find_all(context: &Context<'_>, args: &[Value], regex: &Regex) -> Result<Value, String> {
    let text = text(args, 1);
    let mut found = Vec::new();
    for part in regex.find_iter(&text.lossy()).take(limit(args, 2)) {
        found.push(context.budget.text(part.as_str())?);
    }
    if found.is_empty() { Ok(Value::List(Rc::new(List::nil(Type::Text)))) } else { context.budget.list(Type::Text, found) }
}

fn split(context: &Context<'_>, args: &[Value], regex: &Regex) -> Result<Value, String> {
    let (whole, most) = (string(args, 1), limit(args, 2));
    if most > 0 && !regex.is_match(&whole) {
        // As it is, even where it is not UTF-8.
        return context.budget.list(Type::Text, vec![Value::Text(text(args, 1))]);
    }
    if most == 0 {
        return Ok(Value::List(Rc::new(List::nil(Type::Text))));
    }
    if !text(args, 0).is_empty() && whole.is_empty() {
        return context.budget.texts([""]);
    }
    let (mut parts, mut begin, mut end) = (Vec::new(), 0, 0);
    for found in regex.find_iter(&whole).take(most) {
        if parts.len() + 1 == most {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(context.budget.text(whole.get(begin..end).unwrap_or_default())?);
        }
        begin = found.end();
    }
    if end != whole.len() {
        parts.push(context.budget.text(whole.get(begin..).unwrap_or_default())?);
    }
    context.budget.list(Type::Text, parts)
}

fn replace(context: &Context<'_>, args: &[Value], regex: &Regex, expands: bool) -> Result<Value, String> {
    let (whole, with) = (string(args, 1), text(args, 2));
    if !regex.is_match(&whole) {
        return Ok(Value::Text(text(args, 1)));
    }
    let mut out = Buffer::new(context.budget.remaining());
    let mut last = 0;
    for found in regex.captures_iter(&whole) {
        let Some(all) = found.get(0) else { continue };
        out.push(whole.get(last..all.start()).unwrap_or_default());
        if expands {
            expand(&mut out, &with, &found);
        } else {
            out.push(&*with);
        }
        if out.is_full() {
            break;
        }
        context.budget.step()?;
        last = all.end();
    }
    out.push(whole.get(last..).unwrap_or_default());
    Ok(Value::Text(Text::from(out.finish(context.budget)?)))
}

/// `Regexp.Expand`: `$1`, `${name}` and `$$`.
fn expand(out: &mut Buffer, template: &[u8], found: &Captures<'_>) {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        out.push(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix(b"$") {
            out.push("$");
            rest = after;
            continue;
        }
        let braced = rest.starts_with(b"{");
        let body = if braced { rest.get(1..).unwrap_or_default() } else { rest };
        let shown = String::from_utf8_lossy(body);
        let length = shown.find(|letter: char| !(letter == '_' || letter.is_alphanumeric())).unwrap_or(shown.len());
        let name = shown.get(..length).unwrap_or_default().to_owned();
        let closed = !braced || body.get(length) == Some(&b'}');
        if name.is_empty() || !closed || length > body.len() {
            out.push("$");
            continue;
        }
        rest = body.get(length + usize::from(braced)..).unwrap_or_default();
        let group = match name.parse::<usize>() {
            Ok(number) if name.bytes().all(|byte| byte.is_ascii_digit()) => found.get(number),
            _ => found.name(&name),
        };
        if let Some(group) = group {
            out.push(group.as_str());
        }
    }
    out.push(rest);
}

fn bad(what: &str, part: &str) -> String {
    format!("error parsing regexp: {what}: `{part}`")
}

/// Go's expression in the words of the `regex` crate.
fn translate(pattern: &str) -> Result<String, String> {
    let mut translator =
        Translator { pattern, at: 0, out: String::with_capacity(pattern.len() + 16), open: 0, operand: Operand::Missing };
    while let Some(letter) = translator.peek() {
        translator.step(letter)?;
    }
    if translator.open > 0 {
        return Err(bad("missing closing )", pattern));
    }
    Ok(translator.out)
}

/// What stands before a repetition operator.
#[derive(Clone, Copy, PartialEq)]
enum Operand {
    Missing,
    There,
    /// Repeated already, by the operator at this place.
    Repeated(usize),
}

struct Translator<'p> {
    pattern: &'p str,
    at: usize,
    out: String,
    open: usize,
    operand: Operand,
}

const DIGITS: &str = "0-9";
const WORDS: &str = "0-9A-Za-z_";
const SPACES: &str = r"\t\n\x0C\r\x20";

impl<'p> Translator<'p> {
    fn rest(&self) -> &'p str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn literal(&mut self, letter: char) {
        self.out.push_str(&format!("\\x{{{:X}}}", u32::from(letter)));
        self.operand = Operand::There;
    }

    fn step(&mut self, letter: char) -> Result<(), String> {
        match letter {
            '(' => self.group()?,
            ')' => {
                if self.open == 0 {
                    return Err(bad("unexpected )", self.pattern));
                }
                self.open -= 1;
                self.out.push(')');
                self.at += 1;
                self.operand = Operand::There;
            }
            '|' => {
                self.out.push('|');
                self.at += 1;
                self.operand = Operand::Missing;
            }
            '[' => self.class()?,
            '\\' => self.escape()?,
            '*' | '+' | '?' => self.repeat(letter.to_string())?,
            '{' => match counts(self.rest()) {
                Some(length) => {
                    let operator = self.rest().get(..length).unwrap_or_default().to_owned();
                    self.repeat(operator)?;
                }
                None => {
                    self.at += 1;
                    self.literal('{');
                }
            },
            '.' | '^' | '$' => {
                self.out.push(letter);
                self.at += 1;
                self.operand = Operand::There;
            }
            other => {
                self.at += other.len_utf8();
                self.literal(other);
            }
        }
        Ok(())
    }

    fn repeat(&mut self, operator: String) -> Result<(), String> {
        let start = self.at;
        match self.operand {
            Operand::Missing => return Err(bad("missing argument to repetition operator", &operator)),
            Operand::Repeated(first) => {
                let end = start + operator.len();
                return Err(bad("invalid nested repetition operator", self.pattern.get(first..end).unwrap_or_default()));
            }
            Operand::There => {}
        }
        if let Some(body) = operator.strip_prefix('{') {
            let body = body.trim_end_matches('}');
            let (least, most) = body.split_once(',').unwrap_or((body, body));
            let number = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
            if number(least) > 1_000 || (!most.is_empty() && (number(most) > 1_000 || number(least) > number(most))) {
                return Err(bad("invalid repeat count", &operator));
            }
        }
        self.at += operator.len();
        self.out.push_str(&operator);
        if self.peek() == Some('?') {
            self.out.push('?');
            self.at += 1;
        }
        self.operand = Operand::Repeated(start);
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.operand = Operand::Missing;
        let rest = self.rest();
        if !rest.starts_with("(?") {
            self.open += 1;
            self.out.push('(');
            self.at += 1;
            return Ok(());
        }
        if let Some(named) = rest.strip_prefix("(?P<").or_else(|| rest.strip_prefix("(?<")) {
            let end = named.find('>').ok_or_else(|| bad("invalid named capture", rest))?;
            let name = named.get(..end).unwrap_or_default();
            let head = rest.get(..rest.len() - named.len() + end + 1).unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return Err(bad("invalid named capture", head));
            }
            self.open += 1;
            // A name may begin with a digit in Go.
            self.out.push_str(&format!(
                "(?P<{}{name}>",
                if name.starts_with(|first: char| first.is_ascii_digit()) { "_" } else { "" }
            ));
            self.at += head.len();
            return Ok(());
        }
        let flags = rest.get(2..).unwrap_or_default();
        let Some(end) = flags.find([':', ')']) else { return Err(bad("missing argument to repetition operator", "?")) };
        let body = flags.get(..end).unwrap_or_default();
        let good = body.chars().all(|flag| matches!(flag, 'i' | 'm' | 's' | 'U' | '-')) && body.matches('-').count() <= 1;
        if !good || body.ends_with('-') || (body.is_empty() && flags.starts_with(')')) {
            let bad_at = body.find(|flag| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-')).unwrap_or(end);
            let length = body.get(bad_at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            return Err(bad("invalid or unsupported Perl syntax", rest.get(..2 + bad_at + length).unwrap_or(rest)));
        }
        let opens = flags.as_bytes().get(end) == Some(&b':');
        self.open += usize::from(opens);
        self.out.push_str(rest.get(..2 + end + 1).unwrap_or_default());
        self.at += 2 + end + 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let Some(letter) = rest.chars().nth(1) else { return Err(bad("trailing backslash at end of expression", "")) };
        self.operand = Operand::There;
        let fixed = match letter {
            'A' => r"\A",
            'z' => r"\z",
            'b' => r"(?-u:\b)",
            'B' => r"(?-u:\B)",
            'Q' => {
                let body = rest.get(2..).unwrap_or_default();
                let (quoted, length) =
                    body.find(r"\E").map_or((body, body.len()), |end| (body.get(..end).unwrap_or_default(), end + 2));
                for letter in quoted.chars() {
                    self.literal(letter);
                }
                self.at += 2 + length;
                return Ok(());
            }
            _ => "",
        };
        if !fixed.is_empty() {
            self.out.push_str(fixed);
            self.at += 2;
            return Ok(());
        }
        match self.unit()? {
            Unit::Char(letter) => self.literal(letter),
            Unit::Set(set) => self.out.push_str(&format!("[{set}]")),
        }
        Ok(())
    }

    /// An escape that is a character or a set of them, inside or outside of brackets.
    fn unit(&mut self) -> Result<Unit, String> {
        let rest = self.rest();
        let mut letters = rest.chars();
        letters.next();
        let Some(letter) = letters.next() else { return Err(bad("trailing backslash at end of expression", "")) };
        let short = rest.get(..1 + letter.len_utf8()).unwrap_or_default();
        let invalid = |part: &str| Err(bad("invalid escape sequence", part));
        let set = match letter {
            'd' => DIGITS.to_owned(),
            'D' => format!("[^{DIGITS}]"),
            'w' => WORDS.to_owned(),
            'W' => format!("[^{WORDS}]"),
            's' => SPACES.to_owned(),
            'S' => format!("[^{SPACES}]"),
            'p' | 'P' => return self.property(letter == 'P'),
            _ => String::new(),
        };
        if !set.is_empty() {
            self.at += 2;
            return Ok(Unit::Set(set));
        }
        let (value, length) = match letter {
            'a' => (7, 2),
            'f' => (12, 2),
            'n' => (10, 2),
            'r' => (13, 2),
            't' => (9, 2),
            'v' => (11, 2),
            '1'..='7' if !rest.as_bytes().get(2).is_some_and(|byte| (b'0'..=b'7').contains(byte)) => return invalid(short),
            '0'..='7' => {
                let digits = rest.bytes().skip(1).take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                (u32::from_str_radix(rest.get(1..1 + digits).unwrap_or_default(), 8).unwrap_or(0), 1 + digits)
            }
            'x' => {
                let body = rest.get(2..).unwrap_or_default();
                let braced =
                    body.strip_prefix('{').and_then(|body| body.split_once('}')).map(|(digits, _)| (digits, digits.len() + 4));
                let (digits, length) = braced.unwrap_or((body.get(..2).unwrap_or_default(), 4));
                let good = !digits.is_empty()
                    && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && (braced.is_some() || digits.len() == 2);
                match u32::from_str_radix(digits, 16).ok().filter(|value| good && *value <= 0x10_ffff) {
                    Some(value) => (value, length),
                    None => return invalid(rest.get(..4.min(rest.len())).unwrap_or(short)),
                }
            }
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => (u32::from(other), 2),
            _ => return invalid(short),
        };
        let Some(letter) = char::from_u32(value) else { return invalid(short) };
        self.at += length;
        Ok(Unit::Char(letter))
    }

    fn property(&mut self, negated: bool) -> Result<Unit, String> {
        let rest = self.rest();
        let body = rest.get(2..).unwrap_or_default();
        let (name, length) = match body.strip_prefix('{') {
            Some(braced) => {
                let end = braced.find('}').ok_or_else(|| bad("invalid character class range", rest))?;
                (braced.get(..end).unwrap_or_default(), end + 4)
            }
            None => {
                let width = body.chars().next().map_or(0, char::len_utf8);
                (body.get(..width).unwrap_or_default(), 2 + width)
            }
        };
        let shown = rest.get(..length).unwrap_or(rest);
        let (negated, name) = name.strip_prefix('^').map_or((negated, name), |name| (!negated, name));
        if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphabetic()) {
            return Err(bad("invalid character class range", shown));
        }
        let property = format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' });
        if name != "Any" && Regex::new(&property).is_err() {
            return Err(bad("invalid character class range", shown));
        }
        self.at += length;
        Ok(Unit::Set(property))
    }

    fn class(&mut self) -> Result<(), String> {
        let start = self.at;
        let whole = self.rest();
        self.out.push('[');
        self.at += 1;
        if self.peek() == Some('^') {
            self.out.push('^');
            self.at += 1;
        }
        let mut first = true;
        loop {
            let Some(letter) = self.peek() else { return Err(bad("missing closing ]", whole)) };
            if letter == ']' && !first {
                break;
            }
            let rest = self.rest();
            // A dash stands alone at either end only.
            if letter == '-' && !first && !rest.starts_with("-]") && !rest.is_empty() {
                let next = rest.chars().nth(1).map_or(0, char::len_utf8);
                return Err(bad("invalid character class range", rest.get(..1 + next).unwrap_or(rest)));
            }
            first = false;
            if let Some(named) = rest.strip_prefix("[:")
                && let Some(end) = named.find(":]")
            {
                let shown = rest.get(..end + 4).unwrap_or(rest);
                let name = named.get(..end).unwrap_or_default();
                const NAMES: [&str; 14] = [
                    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
                    "word", "xdigit",
                ];
                if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(bad("invalid character class range", shown));
                }
                self.out.push_str(shown);
                self.at += shown.len();
                continue;
            }
            self.class_item()?;
        }
        self.out.push(']');
        self.at += 1;
        self.operand = Operand::There;
        debug_assert!(self.at > start);
        Ok(())
    }

    fn class_char(&mut self) -> Result<Unit, String> {
        match self.peek() {
            Some('\\') => self.unit(),
            Some(letter) => {
                self.at += letter.len_utf8();
                Ok(Unit::Char(letter))
            }
            None => Err(bad("missing closing ]", self.pattern)),
        }
    }

    fn class_item(&mut self) -> Result<(), String> {
        let start = self.at;
        let low = match self.class_char()? {
            Unit::Set(set) => {
                self.out.push_str(&set);
                return Ok(());
            }
            Unit::Char(letter) => letter,
        };
        let mut high = low;
        let rest = self.rest();
        if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
            self.at += 1;
            match self.class_char()? {
                Unit::Char(letter) if letter >= low => high = letter,
                _ => return Err(bad("invalid character class range", self.pattern.get(start..self.at).unwrap_or_default())),
            }
        }
        self.out.push_str(&format!("\\x{{{:X}}}", u32::from(low)));
        if high != low {
            self.out.push_str(&format!("-\\x{{{:X}}}", u32::from(high)));
        }
        Ok(())
    }
}

enum Unit {
    Char(char),
    Set(String),
}

/// The length of `{2}`, `{2,}` or `{2,3}`; in Go any other brace is text.
fn counts(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let body = text.get(1..end)?;
    let number = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
    };
    let good = match body.split_once(',') {
        Some((least, most)) => number(least) && (most.is_empty() || number(most)),
        None => number(body),
    };
    good.then_some(end + 1)
}
