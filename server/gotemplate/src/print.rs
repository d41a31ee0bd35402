//! Go's `fmt`: `%v` and the other verbs, `Sprint` and `Sprintln`.

use crate::budget::{Budget, Clock};
use crate::strconv;
use crate::value::{Pointer, Text, Type, Value};

/// Collects text. Text that exceeds the budget is dropped, and `finish` reports that.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    limit: usize,
    /// Looked at now and then.
    clock: Clock,
    pushes: usize,
    full: bool,
}

/// Pushes between two looks at the clock.
const GLANCE: usize = 1 << 12;

impl Buffer {
    pub(crate) fn new(budget: &Budget, limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, clock: budget.clock(), pushes: 0, full: false }
    }

    pub(crate) fn push(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.pushes += 1;
        self.full |= self.bytes.len() + bytes.len() > self.limit;
        self.full |= self.pushes.is_multiple_of(GLANCE) && self.clock.is_over();
        if !self.full {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn fill(&mut self, byte: u8, count: usize) {
        self.full |= self.bytes.len().saturating_add(count) > self.limit;
        if !self.full {
            self.bytes.resize(self.bytes.len() + count, byte);
        }
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn finish(self, budget: &Budget) -> Result<Vec<u8>, String> {
        if self.full && self.clock.is_over() {
            budget.work(GLANCE as u64)?;
        }
        budget.take(if self.full { usize::MAX } else { self.bytes.len() })?;
        budget.read(self.bytes.len())?;
        Ok(self.bytes)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[derive(Default, Clone, Copy)]
struct Flags {
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    plus_v: bool,
    sharp_v: bool,
}

pub(crate) struct Printer {
    pub(crate) out: Buffer,
    flags: Flags,
    erroring: bool,
    max_depth: usize,
}

const NIL: &str = "<nil>";

pub(crate) fn sprint(budget: &Budget, values: &[Value]) -> Result<Vec<u8>, String> {
    let mut printer = Printer::new(budget, budget.remaining());
    for (index, value) in values.iter().enumerate() {
        let text = |value: &Value| matches!(value, Value::Text(_));
        if index > 0 && !text(value) && !values.get(index - 1).is_some_and(text) {
            printer.out.push(" ");
        }
        printer.arg(value, 'v');
    }
    printer.out.finish(budget)
}

pub(crate) fn sprintln(budget: &Budget, values: &[Value]) -> Result<Vec<u8>, String> {
    let mut printer = Printer::new(budget, budget.remaining());
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            printer.out.push(" ");
        }
        printer.arg(value, 'v');
    }
    printer.out.push("\n");
    printer.out.finish(budget)
}

pub(crate) fn sprintf(budget: &Budget, format: &[u8], values: &[Value]) -> Result<Vec<u8>, String> {
    budget.read(format.len())?;
    let mut printer = Printer::new(budget, budget.remaining());
    Format { printer: &mut printer, format, at: 0, values, next: 0, reordered: false, good: true }.run();
    printer.out.finish(budget)
}

/// `%v` of one value.
pub(crate) fn plain(budget: &Budget, value: &Value) -> Result<Vec<u8>, String> {
    sprint(budget, std::slice::from_ref(value))
}

impl Printer {
    pub(crate) fn new(budget: &Budget, limit: usize) -> Self {
        Self { out: Buffer::new(budget, limit), flags: Flags::default(), erroring: false, max_depth: budget.limits().depth }
    }

    fn pad(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let width = self.flags.width.unwrap_or(0);
        if width == 0 {
            return self.out.push(text);
        }
        let padding = width.saturating_sub(strconv::letters(text).count());
        if self.flags.minus {
            self.out.push(text);
            self.out.fill(b' ', padding);
        } else {
            self.out.fill(if self.flags.zero { b'0' } else { b' ' }, padding);
            self.out.push(text);
        }
    }

    fn pad_without_zeros(&mut self, text: impl AsRef<[u8]>) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(text);
        self.flags.zero = zero;
    }

    fn bad_verb(&mut self, verb: char, value: &Value) {
        if self.erroring {
            return self.out.push("?"); // %v accepts every value, so this stops an endless recursion
        }
        self.erroring = true;
        self.out.push(format!("%!{verb}("));
        match value {
            Value::Nil => self.out.push(NIL),
            value => {
                self.out.push(value.type_name());
                self.out.push("=");
                self.arg(value, 'v');
            }
        }
        self.out.push(")");
        self.erroring = false;
    }

    pub(crate) fn arg(&mut self, value: &Value, verb: char) {
        match (value, verb) {
            (Value::Nil, 'T' | 'v') => self.pad(NIL),
            (Value::Nil, _) => self.bad_verb(verb, value),
            (_, 'T') => self.text(value.type_name().as_bytes(), 's', value),
            (_, 'p') => self.pointer(value, verb),
            _ => self.value(value, verb, 0),
        }
    }

    fn value(&mut self, value: &Value, verb: char, depth: usize) {
        if self.out.is_full() || depth > self.max_depth {
            self.out.full = true;
            return;
        }
        if let Some(text) = self.stringer(value, verb) {
            // `GoString` is shown as it is.
            let sharp_v = std::mem::take(&mut self.flags.sharp_v);
            self.text(text.as_bytes(), verb, value);
            self.flags.sharp_v = sharp_v;
            return;
        }
        if let Some(number) = value.integer() {
            return self.integer(number.unsigned_abs(), number < 0, true, verb, value);
        }
        if let Some(number) = value.unsigned() {
            return self.integer(number, false, false, verb, value);
        }
        match value {
            Value::Nil if depth > 0 && verb == 'v' && !self.flags.sharp_v => self.out.push(NIL),
            Value::Nil if depth > 0 && self.flags.sharp_v => self.out.push("interface {}(nil)"),
            Value::Nil => self.out.push(NIL),
            Value::Bool(truth) if matches!(verb, 't' | 'v') => self.pad(if *truth { "true" } else { "false" }),
            Value::Float(number) => self.float(*number, verb, value),
            Value::Complex(real, imaginary) => self.complex(*real, *imaginary, verb, value),
            Value::Text(text) => self.text(&text.clone(), verb, value),
            Value::List(list) => self.list(list, verb, depth),
            Value::Map(map) => self.map(map, verb, depth),
            Value::Struct(inner) => self.structure(inner, verb, depth),
            Value::Pointer(inner) => match inner.value.as_deref() {
                Some(target @ (Value::List(_) | Value::Struct(_) | Value::Map(_))) if depth == 0 => {
                    self.out.push("&");
                    self.value(target, verb, depth + 1);
                }
                _ => self.pointer(value, verb),
            },
            // Go shows the fields if `String` is not called.
            Value::Time(time) => {
                let since_year_1 = time.seconds.saturating_sub(crate::time::Time::zero().seconds);
                let zone = Value::Pointer(Pointer { to: &Type::Time, value: None });
                self.fields("{", &[Value::Uint64(time.nanos.into()), Value::Int64(since_year_1), zone], verb, depth);
            }
            Value::Semver(version) | Value::Version(version) => {
                let [major, minor, patch] = version.numbers.map(Value::Uint64);
                let text = |text: &String| Value::Text(Text::from(text));
                if self.flags.sharp_v && (depth == 0 || matches!(value, Value::Version(_))) {
                    return self.version(version, if matches!(value, Value::Semver(_)) { "&" } else { "" });
                }
                let texts = [text(&version.pre), text(&version.metadata), text(&version.original)];
                let [pre, metadata, original] = texts;
                let open = if matches!(value, Value::Semver(_)) { "&{" } else { "{" };
                self.fields(open, &[major, minor, patch, pre, metadata, original], verb, depth);
            }
            _ => self.bad_verb(verb, value),
        }
    }

    /// `%#v` of a version.
    fn version(&mut self, version: &crate::semver::Semver, pointer: &str) {
        let [major, minor, patch] = version.numbers;
        let [pre, metadata, original] =
            [&version.pre, &version.metadata, &version.original].map(|text| strconv::quote(text.as_bytes(), false));
        self.out.push(format!(
            "{pointer}semver.Version{{major:{major:#x}, minor:{minor:#x}, patch:{patch:#x}, pre:{pre}, metadata:{metadata}, original:{original}}}"
        ));
    }

    fn fields(&mut self, open: &str, values: &[Value], verb: char, depth: usize) {
        self.out.push(open);
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(" ");
            }
            self.value(value, verb, depth + 1);
        }
        self.out.push("}");
    }

    /// The `String` method, or `GoString` for `%#v`.
    fn stringer(&self, value: &Value, verb: char) -> Option<String> {
        if self.erroring || !matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            return None;
        }
        match value {
            Value::Time(time) if self.flags.sharp_v => Some(time.go_text()),
            _ if self.flags.sharp_v => None,
            value => value.stringer(),
        }
    }

    fn list(&mut self, list: &crate::value::List, verb: char, depth: usize) {
        if self.flags.sharp_v {
            self.out.push(format!("[]{}", list.elem));
            if list.nil {
                return self.out.push("(nil)");
            }
        }
        self.out.push(if self.flags.sharp_v { "{" } else { "[" });
        for (index, item) in list.iter().enumerate() {
            if self.out.is_full() {
                return;
            }
            if index > 0 {
                self.out.push(if self.flags.sharp_v { ", " } else { " " });
            }
            self.item(&item, verb, depth + 1);
        }
        self.out.push(if self.flags.sharp_v { "}" } else { "]" });
    }

    /// An element of a list or map, which may be a nil interface.
    fn item(&mut self, value: &Value, verb: char, depth: usize) {
        match value {
            Value::Nil if !self.flags.sharp_v => self.out.push(NIL),
            _ => self.value(value, verb, depth),
        }
    }

    fn map(&mut self, map: &crate::value::Map, verb: char, depth: usize) {
        if self.flags.sharp_v {
            self.out.push(format!("map[string]{}", map.elem));
            if map.is_nil() {
                return self.out.push("(nil)");
            }
        }
        self.out.push(if self.flags.sharp_v { "{" } else { "map[" });
        for (index, (key, value)) in map.iter().enumerate() {
            if self.out.is_full() {
                return;
            }
            if index > 0 {
                self.out.push(if self.flags.sharp_v { ", " } else { " " });
            }
            self.value(&Value::Text(key), verb, depth + 1);
            self.out.push(":");
            self.item(&value, verb, depth + 1);
        }
        self.out.push(if self.flags.sharp_v { "}" } else { "]" });
    }

    fn structure(&mut self, value: &crate::value::Structure, verb: char, depth: usize) {
        if self.flags.sharp_v {
            self.out.push(value.ty.name);
        }
        self.out.push("{");
        for (index, (field, inner)) in value.ty.fields.iter().zip(&value.fields).enumerate() {
            if index > 0 {
                self.out.push(if self.flags.sharp_v { ", " } else { " " });
            }
            if self.flags.plus_v || self.flags.sharp_v {
                self.out.push(field.name);
                self.out.push(":");
            }
            self.item(inner, verb, depth + 1);
        }
        self.out.push("}");
    }

    /// An address has no meaning here. It only matters whether the pointer is nil.
    fn pointer(&mut self, value: &Value, verb: char) {
        const ADDRESS: u64 = 0xc0_0000_0000;
        if !matches!(value, Value::Pointer(_) | Value::Map(_) | Value::List(_) | Value::Semver(_)) {
            return self.bad_verb(verb, value);
        }
        let address = if value.is_nil() { 0 } else { ADDRESS };
        match verb {
            'v' if address == 0 => self.pad(if self.flags.sharp_v { "nil" } else { NIL }),
            'v' | 'p' => {
                let sharp = self.flags.sharp;
                self.flags.sharp = verb == 'v' || !sharp;
                self.number(address, 16, false, verb, b"0123456789abcdefx");
                self.flags.sharp = sharp;
            }
            'b' | 'o' | 'd' | 'x' | 'X' => self.integer(address, false, false, verb, value),
            _ => self.bad_verb(verb, value),
        }
    }

    fn integer(&mut self, magnitude: u64, negative: bool, signed: bool, verb: char, value: &Value) {
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

    fn number(&mut self, mut magnitude: u64, base: u64, negative: bool, verb: char, digits: &[u8; 17]) {
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

    fn float(&mut self, number: f64, verb: char, value: &Value) {
        match verb {
            'v' => self.format_float(number, 'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => self.format_float(number, verb, None),
            'f' | 'e' | 'E' | 'F' => self.format_float(number, verb, Some(6)),
            _ => self.bad_verb(verb, value),
        }
    }

    fn format_float(&mut self, number: f64, verb: char, precision: Option<usize>) {
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

    fn complex(&mut self, real: f64, imaginary: f64, verb: char, value: &Value) {
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

    fn text(&mut self, text: &[u8], verb: char, value: &Value) {
        match verb {
            'v' if self.flags.sharp_v => self.quoted(text),
            'v' | 's' => {
                let cut = self.cut(text);
                self.pad(cut);
            }
            'x' => self.hex(text, b"0123456789abcdefx"),
            'X' => self.hex(text, b"0123456789ABCDEFX"),
            'q' => self.quoted(text),
            _ => self.bad_verb(verb, value),
        }
    }

    /// The first characters of the text, up to the precision.
    fn cut<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let Some(precision) = self.flags.precision else { return text };
        let width = |letter: Result<char, u8>| letter.map_or(1, char::len_utf8);
        let end: usize = strconv::letters(text).take(precision).map(width).sum();
        text.get(..end).unwrap_or(text)
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.cut(text);
        if text.len() > self.out.room() {
            self.out.full = true;
            return;
        }
        if self.flags.sharp && strconv::can_backquote(text) {
            return self.pad([b"`", text, b"`"].concat());
        }
        if self.flags.width.is_some() {
            return self.pad(strconv::quote(text, self.flags.plus));
        }
        self.out.push("\"");
        for letter in strconv::letters(text) {
            if self.out.is_full() {
                return;
            }
            self.out.push(strconv::quoted(letter, self.flags.plus));
        }
        self.out.push("\"");
    }

    fn hex(&mut self, text: &[u8], digits: &[u8; 17]) {
        let flags = self.flags;
        let text = text.get(..flags.precision.unwrap_or(text.len())).unwrap_or(text);
        if text.len() > self.out.room() / 2 {
            self.out.full = true;
            return;
        }
        let mut shown = Vec::with_capacity(text.len() * 2);
        for (index, byte) in text.iter().enumerate() {
            if flags.space && index > 0 {
                shown.push(b' ');
            }
            if flags.sharp && (flags.space || index == 0) {
                shown.extend([b'0', digits[16]]);
            }
            shown.extend([digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
        if text.is_empty() {
            return self.out.fill(if flags.zero && !flags.minus { b'0' } else { b' ' }, flags.width.unwrap_or(0));
        }
        self.pad(shown);
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

/// The state while a format is processed.
struct Format<'p, 'v> {
    printer: &'p mut Printer,
    format: &'v [u8],
    at: usize,
    values: &'v [Value],
    next: usize,
    reordered: bool,
    good: bool,
}

/// Go's limit for width and precision.
const LARGEST: usize = 1_000_000;

impl Format<'_, '_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn run(&mut self) {
        while let Some(rest) = self.format.get(self.at..).filter(|rest| !rest.is_empty()) {
            self.good = true;
            let plain = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
            self.printer.out.push(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            if self.peek().is_none() {
                break;
            }
            self.at += 1;
            self.printer.flags = Flags::default();
            if !self.simple() && !self.directive() {
                break;
            }
            if self.printer.out.is_full() {
                return;
            }
        }
        self.extra();
    }

    /// Reads flags, and a lower-case verb directly after them.
    fn simple(&mut self) -> bool {
        while let Some(byte) = self.peek() {
            let flags = &mut self.printer.flags;
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                b'a'..=b'z' if self.next < self.values.len() => {
                    self.at += 1;
                    self.print(char::from(byte));
                    return true;
                }
                _ => return false,
            }
            self.at += 1;
        }
        false
    }

    fn print(&mut self, verb: char) {
        let flags = &mut self.printer.flags;
        if matches!(verb, 'v' | 'w') {
            flags.sharp_v = std::mem::take(&mut flags.sharp);
            flags.plus_v = std::mem::take(&mut flags.plus);
        }
        if let Some(value) = self.values.get(self.next) {
            if verb == 'w' { self.printer.bad_verb(verb, value) } else { self.printer.arg(value, verb) }
        }
        self.next += 1;
    }

    fn number(&mut self) -> Option<usize> {
        let start = self.at;
        let mut value = 0_usize;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            if value > LARGEST {
                return None;
            }
            value = value * 10 + usize::from(digit - b'0');
            self.at += 1;
        }
        (self.at > start).then_some(value)
    }

    /// An explicit index such as `[2]`.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = self.format.get(self.at..).unwrap_or_default();
        let close = rest.iter().position(|byte| *byte == b']').filter(|_| rest.len() >= 3);
        let Some(close) = close else {
            self.good = false;
            self.at += 1;
            return false;
        };
        let digits = std::str::from_utf8(rest.get(1..close).unwrap_or_default()).unwrap_or_default();
        self.at += close + 1;
        let index = digits.parse::<usize>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match index {
            Some(index) if index >= 1 && index <= self.values.len() => self.next = index - 1,
            Some(_) => {
                self.good = false;
                return true;
            }
            None => {
                self.good = false;
                return false;
            }
        }
        true
    }

    /// `*`: reads a number from the arguments.
    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let number = value.integer().or_else(|| i64::try_from(value.unsigned()?).ok())?;
        (number.unsigned_abs() <= LARGEST as u64).then_some(number)
    }

    /// Reads width, precision and verb. False at the end of the format.
    fn directive(&mut self) -> bool {
        let mut indexed = self.index();
        if self.peek() == Some(b'*') {
            self.at += 1;
            let width = self.star();
            if width.is_none() {
                self.printer.out.push("%!(BADWIDTH)");
            }
            let flags = &mut self.printer.flags;
            flags.width = width.map(|width| usize::try_from(width.unsigned_abs()).unwrap_or(0));
            if width.is_some_and(|width| width < 0) {
                (flags.minus, flags.zero) = (true, false);
            }
            indexed = false;
        } else {
            self.printer.flags.width = self.number();
            self.good &= !(indexed && self.printer.flags.width.is_some());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.good &= !indexed;
            indexed = self.index();
            if self.peek() == Some(b'*') {
                self.at += 1;
                let precision = self.star();
                let usable = precision.and_then(|precision| usize::try_from(precision).ok());
                if usable.is_none() {
                    self.printer.out.push("%!(BADPREC)");
                }
                self.printer.flags.precision = usable;
                indexed = false;
            } else {
                self.printer.flags.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !indexed {
            self.index();
        }
        let rest = self.format.get(self.at..).unwrap_or_default();
        let Some(verb) = strconv::letters(rest).next() else {
            self.printer.out.push("%!(NOVERB)");
            return false;
        };
        self.at += verb.map_or(1, char::len_utf8);
        let verb = verb.unwrap_or('\u{fffd}');
        match verb {
            '%' => self.printer.out.push("%"),
            _ if !self.good => self.printer.out.push(format!("%!{verb}(BADINDEX)")),
            _ if self.next >= self.values.len() => self.printer.out.push(format!("%!{verb}(MISSING)")),
            _ => self.print(verb),
        }
        true
    }

    fn extra(&mut self) {
        if self.reordered || self.next >= self.values.len() {
            return;
        }
        self.printer.flags = Flags::default();
        self.printer.out.push("%!(EXTRA ");
        for (index, value) in self.values.iter().enumerate().skip(self.next) {
            if index > self.next {
                self.printer.out.push(", ");
            }
            match value {
                Value::Nil => self.printer.out.push(NIL),
                value => {
                    self.printer.out.push(value.type_name());
                    self.printer.out.push("=");
                    self.printer.arg(value, 'v');
                }
            }
        }
        self.printer.out.push(")");
    }
}

/// What `{{ x }}` prints. A pointer is followed, and nothing at all is `<no value>`.
pub(crate) fn shown(budget: &Budget, value: &Value, limit: usize) -> Buffer {
    let mut printer = Printer::new(budget, limit);
    let value = value.indirect().0;
    match value {
        Value::Nil => printer.out.push("<no value>"),
        value => printer.arg(&value, 'v'),
    }
    printer.out
}
