//! Go's expressions in the words of the crate `regex`.

use regex::Regex;

pub(super) fn bad(what: &str, part: &str) -> String {
    format!("error parsing regexp: {what}: `{part}`")
}

/// Go's expression in the words of the `regex` crate.
pub(super) fn translate(pattern: &str) -> Result<(String, Vec<Option<String>>, u64), String> {
    let out = String::with_capacity(pattern.len() + 16);
    let mut translator =
        Translator { pattern, at: 0, out, operand: Operand::Missing, names: Vec::new(), sizes: vec![Size::default()] };
    while let Some(letter) = translator.peek() {
        translator.step(letter)?;
    }
    match translator.sizes.as_slice() {
        [whole] => Ok((translator.out, translator.names, whole.weight)),
        _ => Err(bad("missing closing )", pattern)),
    }
}

/// What precedes a repetition operator.
#[derive(Clone, Copy, PartialEq)]
enum Operand {
    Missing,
    There,
    /// The operator at this position repeats it already.
    Repeated(usize),
}

struct Translator<'p> {
    pattern: &'p str,
    at: usize,
    out: String,
    operand: Operand,
    names: Vec<Option<String>>,
    /// The whole expression, and one for each group that is open.
    sizes: Vec<Size>,
}

/// What an expression becomes when its repetitions are written out.
#[derive(Clone, Copy, Default)]
struct Size {
    weight: u64,
    /// The weight of the last operand.
    last: u64,
    /// The largest product of counts within counts, and that of the last operand.
    counts: u64,
    last_counts: u64,
}

/// Go's bound of a count, and of counts within counts.
const MOST: u64 = 1_000;

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
        self.operand(1, 1);
    }

    fn operand(&mut self, weight: u64, counts: u64) {
        self.operand = Operand::There;
        if let Some(size) = self.sizes.last_mut() {
            size.weight = size.weight.saturating_add(weight);
            size.counts = size.counts.max(counts);
            (size.last, size.last_counts) = (weight, counts);
        }
    }

    fn weigh(&mut self, times: u64) {
        if let Some(size) = self.sizes.last_mut() {
            size.weight = size.weight.saturating_add(size.last.saturating_mul(times.max(1) - 1));
            size.last = size.last.saturating_mul(times.max(1));
        }
    }

    /// Whether the counts within counts stay in their bound.
    fn count(&mut self, least: u64, most: Option<u64>) -> bool {
        self.weigh(most.unwrap_or(least.saturating_add(1)));
        let Some(size) = self.sizes.last_mut() else { return false };
        size.last_counts = size.last_counts.saturating_mul(most.unwrap_or(least));
        size.counts = size.counts.max(size.last_counts);
        size.last_counts <= MOST
    }

    fn step(&mut self, letter: char) -> Result<(), String> {
        match letter {
            '(' => self.group()?,
            ')' => {
                let inner = self.sizes.pop().filter(|_| !self.sizes.is_empty());
                let inner = inner.ok_or_else(|| bad("unexpected )", self.pattern))?;
                self.out.push(')');
                self.at += 1;
                self.operand(inner.weight + 1, inner.counts.max(1));
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
                self.operand(2, 1);
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
            let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
            let (least, most) = (number(least), (!most.is_empty()).then(|| number(most)));
            let in_order = least <= MOST && most.is_none_or(|most| most <= MOST && least <= most);
            if !in_order || !self.count(least, most) {
                return Err(bad("invalid repeat count", &operator));
            }
        } else {
            self.weigh(2);
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
            self.sizes.push(Size::default());
            self.names.push(None);
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
            self.sizes.push(Size::default());
            self.names.push(Some(name.to_owned()));
            self.out.push('(');
            self.at += head.len();
            return Ok(());
        }
        self.flags(rest)
    }

    /// `(?i-s)` and `(?i-s:`, with Go's oddities: none at all is allowed, and each may come twice.
    fn flags(&mut self, rest: &str) -> Result<(), String> {
        let mut said: Vec<(char, bool)> = Vec::new();
        let (mut on, mut any) = (true, false);
        for (at, letter) in rest.char_indices().skip(2) {
            match letter {
                'i' | 'm' | 's' | 'U' => {
                    said.retain(|(flag, _)| *flag != letter);
                    said.push((letter, on));
                    any = true;
                }
                '-' if on => (on, any) = (false, false),
                ':' | ')' if on || any => {
                    let of = |wanted: bool| said.iter().filter(move |(_, on)| *on == wanted).map(|(flag, _)| *flag);
                    let (set, unset): (String, String) = (of(true).collect(), of(false).collect());
                    let dash = if unset.is_empty() { "" } else { "-" };
                    if letter == ':' {
                        self.sizes.push(Size::default());
                        self.out.push_str(&format!("(?{set}{dash}{unset}:"));
                    } else if !said.is_empty() {
                        self.out.push_str(&format!("(?{set}{dash}{unset})"));
                    }
                    self.at += at + 1;
                    return Ok(());
                }
                other => {
                    let read = rest.get(..at + other.len_utf8()).unwrap_or(rest);
                    return Err(bad("invalid or unsupported Perl syntax", read));
                }
            }
        }
        Err(bad("invalid or unsupported Perl syntax", rest))
    }

    fn escape(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let Some(letter) = rest.chars().nth(1) else { return Err(bad("trailing backslash at end of expression", "")) };
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
            self.operand(1, 1);
            return Ok(());
        }
        match self.unit()? {
            Unit::Char(letter) => self.literal(letter),
            Unit::Set(set) => {
                self.out.push_str(&format!("[{set}]"));
                self.operand(set_weight(&set), 1);
            }
        }
        Ok(())
    }

    /// An escape for a character or for a set of characters, inside or outside of brackets.
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
                    None if braced.is_some() => return invalid(read_digits(rest)),
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
        let is = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("is"));
        if is || name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'_' | b'-' | b' ') || byte.is_ascii_alphabetic()) {
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
        let begin = self.out.len();
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
        let weight = set_weight(self.out.get(begin..).unwrap_or_default());
        self.operand(weight, 1);
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
            let escape = self.rest();
            match self.class_char()? {
                Unit::Char(letter) if letter >= low => high = letter,
                Unit::Set(_) => {
                    let escape = escape.get(..escape.len() - self.rest().len().min(escape.len())).unwrap_or_default();
                    return Err(bad("invalid escape sequence", escape));
                }
                Unit::Char(_) => {
                    return Err(bad("invalid character class range", self.pattern.get(start..self.at).unwrap_or_default()));
                }
            }
        }
        self.out.push_str(&format!("\\x{{{:X}}}", u32::from(low)));
        if high != low {
            self.out.push_str(&format!("-\\x{{{:X}}}", u32::from(high)));
        }
        Ok(())
    }
}

/// `\\x{` and its digits up to the first that is none, or makes the number too large.
fn read_digits(escape: &str) -> &str {
    let mut value = 0_u32;
    let bad = |letter: char| {
        value = value.saturating_mul(16).saturating_add(letter.to_digit(16).unwrap_or(0x11_0000));
        value > 0x10_ffff
    };
    let end = escape.get(3..).and_then(|digits| digits.find(bad)).map_or(escape.len(), |at| at + 4);
    escape.get(..end).unwrap_or(escape)
}

/// A set of ASCII takes one state, one of Unicode's properties many.
fn set_weight(set: &str) -> u64 {
    if set.contains(r"\p{") || set.contains(r"\P{") || set.contains('^') { 64 } else { 1 + set.len() as u64 / 16 }
}

enum Unit {
    Char(char),
    Set(String),
}

/// The length of `{2}`, `{2,}` or `{2,3}`. In Go any other brace is plain text.
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
