//! What is wrong with a text a person wrote: where, what, and what was probably meant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One mistake in a file, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    pub file: String,
    /// Counted from 1; 0 when the mistake belongs to no line.
    pub line: usize,
    pub column: usize,
    /// Where in the document, for example `spec.interfaces[0].dhcp.mac`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if self.line > 0 {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(out, ": {}", self.path)?;
        }
        write!(out, ": {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(out, " ({hint})"))
    }
}

impl std::error::Error for Mistake {}

/// The known word closest to an unknown one, if it is close enough to have been meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (word.chars().count() / 3).clamp(1, 3);
    let lower = word.to_lowercase();
    known
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(far, _)| *far <= bound)
        .min()
        .map(|(_, near)| near)
}

/// Edits (insert, remove, replace) from one word to the other; separators count as nothing, so `allow_pxe` is `allowPXE`.
fn distance(one: &str, other: &str) -> usize {
    let letters = |word: &str| word.chars().filter(|letter| !matches!(letter, '_' | '-')).take(64).collect::<Vec<_>>();
    let (one, other) = (letters(one), letters(other));
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for ((b, pair), left) in other.iter().zip(row.windows(2)).zip(0..) {
            let (&[diagonal, above], Some(&before)) = (pair, next.get(left)) else { continue };
            next.push((diagonal + usize::from(a != b)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let known = ["allowPXE", "hostname", "lease_time", "mac", "name_servers"];
        for (word, meant) in [
            ("allow_pxe", Some("allowPXE")),
            ("hostnam", Some("hostname")),
            ("leaseTime", Some("lease_time")),
            ("nameserver", Some("name_servers")),
            ("mca", None),
            ("mcc", Some("mac")),
            ("gateway", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word}");
        }
    }
}
