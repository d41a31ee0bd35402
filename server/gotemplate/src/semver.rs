//! Semantic versions and constraints, as `Masterminds/semver` 3.4 reads them.

use std::cmp::Ordering;
use std::fmt;
use std::sync::OnceLock;

use regex::Regex;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Semver {
    pub(crate) numbers: [u64; 3],
    pub(crate) pre: String,
    pub(crate) metadata: String,
    pub(crate) original: String,
}

impl fmt::Display for Semver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(out, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(out, "-{}", self.pre)?;
        }
        if !self.metadata.is_empty() {
            write!(out, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

const VERSION: &str =
    r"v?([0-9]+)(\.[0-9]+)?(\.[0-9]+)?(-([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?(\+([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?";
const PARTIAL: &str = r"v?([0-9|x|X|\*]+)(\.[0-9|x|X|\*]+)?(\.[0-9|x|X|\*]+)?(-([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?(\+([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?";
const OPS: &str = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";

/// The patterns are constants, so each one compiles. A pattern that did not compile would match nothing.
fn pattern(cell: &'static OnceLock<Option<Regex>>, text: impl FnOnce() -> String) -> Option<&'static Regex> {
    cell.get_or_init(|| Regex::new(&text()).ok()).as_ref()
}

impl Semver {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
        const INVALID: &str = "invalid semantic version";
        let found = pattern(&PATTERN, || format!("^{VERSION}$")).and_then(|pattern| pattern.captures(text)).ok_or(INVALID)?;
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        let mut numbers = [0; 3];
        for (number, index) in numbers.iter_mut().zip(1..) {
            let digits = part(index).trim_start_matches('.');
            if !digits.is_empty() {
                let shown = crate::strconv::quote(digits.as_bytes(), false);
                *number = digits.parse().map_err(|_| {
                    format!("error parsing version segment: strconv.ParseUint: parsing {shown}: value out of range")
                })?;
            }
        }
        let pre = part(5).to_owned();
        if !pre.is_empty() {
            valid_prerelease(&pre)?;
        }
        Ok(Self { numbers, pre, metadata: part(8).to_owned(), original: text.to_owned() })
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => prerelease(&self.pre, &other.pre),
        })
    }

    /// The version with the number at `index` incremented.
    pub(crate) fn raised(&self, index: usize) -> Self {
        let mut next = self.clone();
        if index < 2 || self.pre.is_empty() {
            for (at, number) in next.numbers.iter_mut().enumerate() {
                *number = match at.cmp(&index) {
                    Ordering::Less => *number,
                    Ordering::Equal => number.wrapping_add(1),
                    Ordering::Greater => 0,
                };
            }
        }
        next.pre.clear();
        next.metadata.clear();
        next.renamed()
    }

    fn renamed(mut self) -> Self {
        self.original = format!("{}{self}", if self.original.starts_with('v') { "v" } else { "" });
        self
    }

    pub(crate) fn with_prerelease(mut self, pre: String) -> Result<Self, String> {
        if !pre.is_empty() {
            valid_prerelease(&pre)?;
        }
        self.pre = pre;
        Ok(self.renamed())
    }

    pub(crate) fn with_metadata(mut self, metadata: String) -> Result<Self, String> {
        if !metadata.is_empty() && !metadata.split('.').all(is_identifier) {
            return Err("invalid metadata string".to_owned());
        }
        self.metadata = metadata;
        Ok(self.renamed())
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn valid_prerelease(pre: &str) -> Result<(), String> {
    for identifier in pre.split('.') {
        if !is_identifier(identifier) {
            return Err("invalid prerelease string".to_owned());
        }
        if identifier.len() > 1 && identifier.starts_with('0') && identifier.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("version segment starts with 0".to_owned());
        }
    }
    Ok(())
}

fn prerelease(one: &str, other: &str) -> Ordering {
    let (a, b): (Vec<&str>, Vec<&str>) = (one.split('.').collect(), other.split('.').collect());
    for index in 0..a.len().max(b.len()) {
        let order = match (a.get(index), b.get(index)) {
            (None, _) => Ordering::Less,
            (_, None) => Ordering::Greater,
            (Some(x), Some(y)) => match (x.parse::<u64>(), y.parse::<u64>()) {
                (Ok(x), Ok(y)) => x.cmp(&y),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                _ => x.cmp(y),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

struct Constraint {
    version: Semver,
    op: String,
    dirty: bool,
    minor_dirty: bool,
    patch_dirty: bool,
}

/// Whether a version satisfies one of several constraints.
pub(crate) fn satisfies(constraints: &str, version: &str) -> Result<bool, String> {
    let alternatives = ranges(constraints).split("||").map(all_of).collect::<Result<Vec<_>, _>>()?;
    let version = Semver::parse(version)?;
    Ok(alternatives.iter().any(|all| {
        // A prerelease counts only in a group of constraints that names one.
        let included = version.pre.is_empty() || all.iter().any(|constraint| !constraint.version.pre.is_empty());
        included && all.iter().all(|constraint| constraint.allows(&version))
    }))
}

/// `1.2 - 3` means `>= 1.2, <= 3`.
fn ranges(text: &str) -> String {
    static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
    let Some(pattern) = pattern(&PATTERN, || format!(r"[\t\n\f\r ]*({PARTIAL})[\t\n\f\r ]+-[\t\n\f\r ]+({PARTIAL})[\t\n\f\r ]*"))
    else {
        return text.to_owned();
    };
    let mut out = text.to_owned();
    for found in pattern.captures_iter(text) {
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        out = out.replacen(part(0), &format!(">= {}, <= {} ", part(1), part(11)), 1);
    }
    out
}

fn all_of(text: &str) -> Result<Vec<Constraint>, String> {
    static VALID: OnceLock<Option<Regex>> = OnceLock::new();
    static FIND: OnceLock<Option<Regex>> = OnceLock::new();
    const S: &str = r"[\t\n\f\r ]";
    let improper = || format!("improper constraint: {text}");
    let valid = pattern(&VALID, || format!("^({S}*({OPS}){S}*({PARTIAL}){S}*)((?:{S}+|,{S}*)({OPS}){S}*({PARTIAL}){S}*)*$"));
    if !valid.is_some_and(|valid| valid.is_match(text)) {
        return Err(improper());
    }
    let find = pattern(&FIND, || format!("({OPS}){S}*({PARTIAL})")).ok_or_else(improper)?;
    find.find_iter(text).map(|found| Constraint::parse(found.as_str())).collect()
}

impl Constraint {
    fn parse(text: &str) -> Result<Self, String> {
        static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
        let pattern = pattern(&PATTERN, || format!(r"^[\t\n\f\r ]*({OPS})[\t\n\f\r ]*({PARTIAL})[\t\n\f\r ]*$"));
        let found = pattern.and_then(|pattern| pattern.captures(text)).ok_or_else(|| format!("improper constraint: {text}"))?;
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        let any = |part: &str| matches!(part.trim_start_matches('.'), "" | "x" | "X" | "*");
        let (mut dirty, mut minor_dirty, mut patch_dirty) = (true, false, false);
        let shown = if any(part(3)) {
            format!("0.0.0{}", part(6))
        } else if any(part(4)) {
            minor_dirty = true;
            format!("{}.0.0{}", part(3), part(6))
        } else if any(part(5)) {
            patch_dirty = true;
            format!("{}{}.0{}", part(3), part(4), part(6))
        } else {
            dirty = false;
            part(2).to_owned()
        };
        let version = Semver::parse(&shown).map_err(|_| "constraint parser error")?;
        Ok(Self { version, op: part(1).to_owned(), dirty, minor_dirty, patch_dirty })
    }

    fn allows(&self, version: &Semver) -> bool {
        let order = version.compare(&self.version);
        let [major, minor, patch] = version.numbers;
        let [own_major, own_minor, own_patch] = self.version.numbers;
        if self.op == "!=" {
            return self.differs(version);
        }
        match self.op.as_str() {
            "" | "=" if self.dirty => self.tilde(version),
            "" | "=" => order == Ordering::Equal,
            ">" if !self.dirty => order == Ordering::Greater,
            ">" => match major.cmp(&own_major) {
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal if self.minor_dirty => false,
                Ordering::Equal if self.patch_dirty => minor > own_minor,
                Ordering::Equal => order == Ordering::Greater,
            },
            "<" => order == Ordering::Less,
            ">=" | "=>" => order != Ordering::Less,
            "<=" | "=<" if !self.dirty => order != Ordering::Greater,
            "<=" | "=<" => major <= own_major && !(major == own_major && minor > own_minor && !self.minor_dirty),
            "~" | "~>" => self.tilde(version),
            _ if order == Ordering::Less => false,
            _ if own_major > 0 || self.minor_dirty => major == own_major,
            _ if major > 0 => false,
            _ if own_minor > 0 || self.patch_dirty => minor == own_minor,
            _ => minor == 0 && patch == own_patch,
        }
    }

    fn tilde(&self, version: &Semver) -> bool {
        if version.compare(&self.version) == Ordering::Less {
            return false;
        }
        if self.version.numbers == [0, 0, 0] && !self.minor_dirty && !self.patch_dirty {
            return true;
        }
        let ([major, minor, _], [own_major, own_minor, _]) = (version.numbers, self.version.numbers);
        major == own_major && (minor == own_minor || self.minor_dirty)
    }

    fn differs(&self, version: &Semver) -> bool {
        if self.dirty {
            let ([major, minor, patch], [own_major, own_minor, own_patch]) = (version.numbers, self.version.numbers);
            if major != own_major || (minor != own_minor && !self.minor_dirty) {
                return true;
            }
            if self.minor_dirty {
                return false;
            }
            if patch != own_patch && !self.patch_dirty {
                return true;
            }
            if self.patch_dirty {
                return prerelease(&version.pre, &self.version.pre) != Ordering::Equal
                    && (!version.pre.is_empty() || !self.version.pre.is_empty());
            }
        }
        version.compare(&self.version) != Ordering::Equal
    }
}
