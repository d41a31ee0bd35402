//! `regexp`: RFC 9485 with `~` in place of `\`. quamina's revision supports `.`, `|`, `[...]` and `(...)` of it.
//!
//! Without quantifiers a matching text is not longer than the regexp, so it needs no backtracking.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

const ESCAPE: char = '~';
const MAX_LENGTH: usize = 4096;
const MAX_DEPTH: usize = 32;

/// Alternatives of sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regexp(Vec<Vec<Atom>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Atom {
    Any,
    /// One character in any of these ranges.
    Class(Vec<(char, char)>),
    Group(Regexp),
}

impl Regexp {
    /// # Errors
    /// What is wrong, with the position of the character counted from 1.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a regexp has at most {MAX_LENGTH} bytes"));
        }
        let mut reader = Reader { letters: text.chars().peekable(), at: 0 };
        let parsed = reader.alternatives(0)?;
        match reader.next() {
            None => Ok(parsed),
            Some(_) => Err(reader.fault("')' has no '(' before it")),
        }
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        if text.len() > 4 * MAX_LENGTH {
            return false; // no regexp can match such a long text
        }
        let letters: Vec<char> = text.chars().collect();
        self.ends(&letters, &BTreeSet::from([0])).contains(&letters.len())
    }

    /// The positions where matches end that begin at one of these positions.
    fn ends(&self, letters: &[char], begins: &BTreeSet<usize>) -> BTreeSet<usize> {
        self.0
            .iter()
            .flat_map(|sequence| sequence.iter().fold(begins.clone(), |begins, atom| atom.ends(letters, &begins)))
            .collect()
    }
}

impl Atom {
    fn ends(&self, letters: &[char], begins: &BTreeSet<usize>) -> BTreeSet<usize> {
        let one = |is_meant: &dyn Fn(char) -> bool| {
            let is_meant = |begin: &&usize| letters.get(**begin).is_some_and(|letter| is_meant(*letter));
            begins.iter().filter(is_meant).map(|begin| begin + 1).collect()
        };
        match self {
            Self::Any => one(&|_| true),
            Self::Class(ranges) => one(&|letter| ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter))),
            Self::Group(regexp) => regexp.ends(letters, begins),
        }
    }

    const fn letter(letter: char) -> (char, char) {
        (letter, letter)
    }
}

struct Reader<'t> {
    letters: Peekable<Chars<'t>>,
    /// How many characters were read.
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        self.at += 1;
        self.letters.next()
    }

    fn fault(&self, message: &str) -> String {
        format!("{message}, at character {}", self.at)
    }

    /// Reads up to the `)` of the group, or to the end.
    fn alternatives(&mut self, depth: usize) -> Result<Regexp, String> {
        if depth > MAX_DEPTH {
            return Err(self.fault("groups are nested deeper than 32 levels"));
        }
        let mut found = Vec::new();
        loop {
            let sequence = self.sequence(depth)?;
            let (is_empty, bar) = (sequence.is_empty(), self.letters.next_if_eq(&'|').is_some());
            // quamina ignores an empty alternative at the end of the whole, and reads one in a group as a quotation mark.
            match (is_empty, depth) {
                (true, 0) if !bar && !found.is_empty() => {}
                (true, 1..) => found.push(vec![Atom::Class(vec![Atom::letter('"')])]),
                _ => found.push(sequence),
            }
            if !bar {
                return Ok(Regexp(found));
            }
            self.at += 1;
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Atom>, String> {
        let mut atoms = Vec::new();
        while let Some(letter) = self.letters.next_if(|letter| !matches!(letter, '|' | ')')) {
            self.at += 1;
            atoms.push(match letter {
                '.' => Atom::Any,
                '[' => Atom::Class(self.class()?),
                '(' => {
                    let group = self.alternatives(depth + 1)?;
                    match self.next() {
                        Some(')') => Atom::Group(group),
                        _ => return Err(self.fault("')' is missing")),
                    }
                }
                ESCAPE => Atom::Class(vec![Atom::letter(self.escaped()?)]),
                '*' | '+' | '?' | '{' => return Err(self.fault(&format!("quantifiers such as '{letter}' are not supported"))),
                ']' | '}' | char::REPLACEMENT_CHARACTER => return Err(self.fault(&format!("'{letter}' must be escaped with ~"))),
                other => Atom::Class(vec![Atom::letter(other)]),
            });
        }
        Ok(atoms)
    }

    /// Reads a class after its `[`.
    fn class(&mut self) -> Result<Vec<(char, char)>, String> {
        let mut ranges = Vec::new();
        match self.letters.peek() {
            Some('^') => return Err(self.fault("negated classes are not supported")),
            Some('-') => ranges.push(Atom::letter(self.next().unwrap_or_default())),
            _ => {}
        }
        loop {
            match self.next() {
                None => return Err(self.fault("']' is missing")),
                Some(']') if ranges.is_empty() => return Err(self.fault("a class must have at least one character")),
                Some(']') => return Ok(ranges),
                Some('-') if self.letters.peek() == Some(&']') => ranges.push(Atom::letter('-')),
                Some(letter) => {
                    let low = self.in_class(letter)?;
                    if self.letters.next_if_eq(&'-').is_none() {
                        ranges.push(Atom::letter(low));
                        continue;
                    }
                    self.at += 1;
                    if self.letters.peek() == Some(&']') {
                        ranges.extend([Atom::letter(low), Atom::letter('-')]);
                        continue;
                    }
                    let high = self.next().ok_or_else(|| self.fault("']' is missing"))?;
                    let high = self.in_class(high)?;
                    if low > high {
                        return Err(self.fault(&format!("the range {low}-{high} is empty")));
                    }
                    ranges.push((low, high));
                }
            }
        }
    }

    fn in_class(&mut self, letter: char) -> Result<char, String> {
        match letter {
            ESCAPE => self.escaped(),
            '-' | '[' | ']' | char::REPLACEMENT_CHARACTER | '\u{11000}'.. => {
                Err(self.fault(&format!("'{letter}' cannot stand here in a class")))
            }
            other => Ok(other),
        }
    }

    /// Reads the character after `~`.
    fn escaped(&mut self) -> Result<char, String> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some(letter @ ('('..='+' | '-' | '.' | '?' | '['..='^' | '{'..='}' | ESCAPE)) => Ok(letter),
            Some('p' | 'P') => Err(self.fault("~p and ~P are not supported")),
            Some(letter) => Err(self.fault(&format!("~{letter} is not a known escape"))),
            None => Err(self.fault("~ at the end has nothing to escape")),
        }
    }
}
