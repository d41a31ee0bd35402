//! The lexer of `text/template/parse`: trim markers, comments and the tokens inside of actions.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "block" => Self::Block,
            "break" => Self::Break,
            "continue" => Self::Continue,
            "define" => Self::Define,
            "else" => Self::Else,
            "end" => Self::End,
            "if" => Self::If,
            "range" => Self::Range,
            "nil" => Self::Nil,
            "template" => Self::Template,
            "with" => Self::With,
            _ => return None,
        })
    }

    fn is_keyword(self) -> bool {
        matches!(
            self,
            Self::Block
                | Self::Break
                | Self::Continue
                | Self::Dot
                | Self::Define
                | Self::Else
                | Self::End
                | Self::If
                | Self::Nil
                | Self::Range
                | Self::Template
                | Self::With
        )
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub kind: Kind,
    pub pos: usize,
    pub val: String,
    pub line: usize,
}

impl std::fmt::Display for Item {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Eof => out.write_str("EOF"),
            Kind::Error => out.write_str(&self.val),
            kind if kind.is_keyword() => write!(out, "<{}>", self.val),
            _ if self.val.len() > 10 => {
                let start: String = self.val.chars().take(10).collect();
                write!(out, "{}...", crate::strconv::quote(start.as_bytes(), false))
            }
            _ => write!(out, "{}", crate::strconv::quote(self.val.as_bytes(), false)),
        }
    }
}

pub(crate) struct Lexer<'t> {
    input: &'t str,
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    parens: usize,
    inside: bool,
    broken: bool,
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

pub(crate) fn is_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

fn left_trim_marker(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next() == Some('-') && letters.next().is_some_and(is_space)
}

fn right_trim_marker(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(is_space) && letters.next() == Some('-')
}

fn right_delim_at(text: &str) -> (bool, bool) {
    if right_trim_marker(text) && text.get(2..).is_some_and(|text| text.starts_with(RIGHT)) {
        return (true, true);
    }
    (text.starts_with(RIGHT), false)
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// `%#U` of `fmt`.
fn code_point(letter: Option<char>) -> String {
    match letter {
        Some(letter) if !crate::strconv::is_print(letter) => format!("U+{:04X}", u32::from(letter)),
        Some(letter) => format!("U+{:04X} '{letter}'", u32::from(letter)),
        None => "U+FFFFFFFFFFFFFFFF".to_owned(),
    }
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(input: &'t str) -> Self {
        Self { input, pos: 0, start: 0, line: 1, start_line: 1, parens: 0, inside: false, broken: false }
    }

    fn rest(&self) -> &'t str {
        self.input.get(self.pos..).unwrap_or_default()
    }

    fn taken(&self) -> &'t str {
        self.input.get(self.start..self.pos).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.pos += letter.len_utf8();
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn item(&mut self, kind: Kind) -> Item {
        let item = Item { kind, pos: self.start, val: self.taken().to_owned(), line: self.start_line };
        (self.start, self.start_line) = (self.pos, self.line);
        item
    }

    /// Skips `bytes` bytes and counts their lines.
    fn skip(&mut self, bytes: usize) {
        self.pos = (self.pos + bytes).min(self.input.len());
        self.line += newlines(self.taken());
        (self.start, self.start_line) = (self.pos, self.line);
    }

    fn error(&mut self, message: impl Into<String>) -> Item {
        self.broken = true;
        Item { kind: Kind::Error, pos: self.start, val: message.into(), line: self.start_line }
    }

    pub(crate) fn next_item(&mut self) -> Item {
        if self.broken {
            return Item { kind: Kind::Eof, pos: self.pos, val: "EOF".into(), line: self.start_line };
        }
        if self.inside { self.action() } else { self.text() }
    }

    fn text(&mut self) -> Item {
        loop {
            let Some(at) = self.rest().find(LEFT) else {
                let rest = self.rest();
                if rest.is_empty() {
                    return Item { kind: Kind::Eof, pos: self.pos, val: "EOF".into(), line: self.start_line };
                }
                self.pos = self.input.len();
                self.line += newlines(rest);
                return self.item(Kind::Text);
            };
            let before = self.rest().get(..at).unwrap_or_default();
            let trimmed = self.rest().get(at + 2..).is_some_and(left_trim_marker);
            let kept = if trimmed { before.trim_end_matches(is_space) } else { before };
            self.pos += kept.len();
            self.line += newlines(kept);
            let item = self.item(Kind::Text);
            self.skip(before.len() - kept.len());
            if !item.val.is_empty() {
                return item;
            }
            if let Some(item) = self.left_delim() {
                return item;
            }
        }
    }

    /// Returns nothing for a comment.
    fn left_delim(&mut self) -> Option<Item> {
        self.pos += LEFT.len();
        let marker = if left_trim_marker(self.rest()) { 2 } else { 0 };
        if self.rest().get(marker..).is_some_and(|text| text.starts_with("/*")) {
            self.skip(marker);
            return self.comment();
        }
        let item = self.item(Kind::LeftDelim);
        self.inside = true;
        self.skip(marker);
        self.parens = 0;
        Some(item)
    }

    fn comment(&mut self) -> Option<Item> {
        let Some(end) = self.rest().get(2..).and_then(|text| text.find("*/")) else {
            return Some(self.error("unclosed comment"));
        };
        let length = 2 + end + 2;
        let (closes, trims) = right_delim_at(self.rest().get(length..).unwrap_or_default());
        if !closes {
            return Some(self.error("comment ends before closing delimiter"));
        }
        self.skip(length + RIGHT.len() + if trims { 2 } else { 0 });
        if trims {
            self.skip_spaces();
        }
        None
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// Whether an action ends here, and whether it trims the text after it.
    fn at_right_delim(&self) -> (bool, bool) {
        right_delim_at(self.rest())
    }

    fn right_delim(&mut self, trims: bool) -> Item {
        if trims {
            self.skip(2);
        }
        self.pos += RIGHT.len();
        let item = self.item(Kind::RightDelim);
        if trims {
            self.skip_spaces();
        }
        self.inside = false;
        item
    }

    fn action(&mut self) -> Item {
        let (closes, trims) = self.at_right_delim();
        if closes {
            return if self.parens == 0 { self.right_delim(trims) } else { self.error("unclosed left paren") };
        }
        let Some(letter) = self.peek() else { return self.error("unclosed action") };
        if is_space(letter) {
            return self.space();
        }
        if matches!(letter, '+' | '-' | '0'..='9') {
            return self.number();
        }
        if letter != '.' && is_word(letter) {
            return self.identifier();
        }
        self.next();
        match letter {
            '=' => self.item(Kind::Assign),
            ':' if self.next() == Some('=') => self.item(Kind::Declare),
            ':' => self.error("expected :="),
            '|' => self.item(Kind::Pipe),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => self.raw(),
            '$' => self.field_or_variable(Kind::Variable),
            '.' if self.peek().is_none_or(|next| !next.is_ascii_digit()) => self.field_or_variable(Kind::Field),
            '.' => {
                self.pos -= 1;
                self.number()
            }
            '(' => {
                self.parens += 1;
                self.item(Kind::LeftParen)
            }
            ')' if self.parens == 0 => self.error("unexpected right paren"),
            ')' => {
                self.parens -= 1;
                self.item(Kind::RightParen)
            }
            ' '..='~' => self.item(Kind::Char),
            _ => self.error(format!("unrecognized character in action: {}", code_point(Some(letter)))),
        }
    }

    /// A run of spaces. A trim marker after it needs the last space.
    fn space(&mut self) -> Item {
        while self.peek().is_some_and(is_space) && !self.at_right_delim().1 {
            self.next();
        }
        if self.taken().is_empty() { self.right_delim(true) } else { self.item(Kind::Space) }
    }

    fn word(&mut self) {
        while self.peek().is_some_and(is_word) {
            self.next();
        }
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(letter) => is_space(letter) || self.rest().starts_with(RIGHT),
        }
    }

    fn identifier(&mut self) -> Item {
        self.word();
        if !self.at_terminator() {
            let bad = code_point(self.peek());
            return self.error(format!("bad character {bad}"));
        }
        let kind = match self.taken() {
            "true" | "false" => Kind::Bool,
            word => Kind::of(word).unwrap_or(Kind::Identifier),
        };
        self.item(kind)
    }

    fn field_or_variable(&mut self, kind: Kind) -> Item {
        if self.at_terminator() {
            return self.item(if kind == Kind::Variable { kind } else { Kind::Dot });
        }
        self.word();
        if !self.at_terminator() {
            let bad = code_point(self.peek());
            return self.error(format!("bad character {bad}"));
        }
        self.item(kind)
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Item {
        loop {
            match self.next() {
                Some('\\') if !matches!(self.next(), None | Some('\n')) => {}
                None | Some('\n' | '\\') => return self.error(unterminated),
                Some(letter) if letter == quote => return self.item(kind),
                Some(_) => {}
            }
        }
    }

    fn raw(&mut self) -> Item {
        loop {
            match self.next() {
                None => return self.error("unterminated raw quoted string"),
                Some('`') => return self.item(Kind::RawString),
                Some(_) => {}
            }
        }
    }

    fn accept(&mut self, valid: &str) -> bool {
        let found = self.peek().is_some_and(|letter| valid.contains(letter));
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn number(&mut self) -> Item {
        if !self.scan_number() {
            let bad = crate::strconv::quote(self.taken().as_bytes(), false);
            return self.error(format!("bad number syntax: {bad}"));
        }
        if matches!(self.peek(), Some('+' | '-')) {
            if !self.scan_number() || !self.taken().ends_with('i') {
                let bad = crate::strconv::quote(self.taken().as_bytes(), false);
                return self.error(format!("bad number syntax: {bad}"));
            }
            return self.item(Kind::Complex);
        }
        self.item(Kind::Number)
    }

    fn scan_number(&mut self) -> bool {
        const DECIMAL: &str = "0123456789_";
        const HEX: &str = "0123456789abcdefABCDEF_";
        self.accept("+-");
        let mut digits = DECIMAL;
        if self.accept("0") {
            if self.accept("xX") {
                digits = HEX;
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if (digits == DECIMAL && self.accept("eE")) || (digits == HEX && self.accept("pP")) {
            self.accept("+-");
            self.accept_run(DECIMAL);
        }
        self.accept("i");
        if self.peek().is_some_and(is_word) {
            self.next();
            return false;
        }
        true
    }
}
