//! `Sprintf`: the directives of a format.

use super::{Flags, NIL, Printer};
use crate::budget::Budget;
use crate::strconv;
use crate::value::Value;

pub(crate) fn sprintf(budget: &Budget, format: &[u8], values: &[Value]) -> Result<Vec<u8>, String> {
    budget.read(format.len())?;
    let mut printer = Printer::new(budget, budget.remaining());
    Format { printer: &mut printer, format, at: 0, values, next: 0, reordered: false, good: true }.run();
    printer.out.finish(budget)
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
