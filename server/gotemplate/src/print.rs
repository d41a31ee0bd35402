//! Go's `fmt`: `%v` and the other verbs, `Sprint` and `Sprintln`.

mod buffer;
mod format;
mod numbers;

pub(crate) use self::buffer::Buffer;
pub(crate) use self::format::sprintf;

use crate::budget::Budget;
use crate::strconv;
use crate::value::{Pointer, Text, Type, Value};

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
