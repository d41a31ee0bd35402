//! Functions on texts, with sprig's order of arguments: the text itself comes last.

use std::sync::Arc;

use gotmpl::Value;
use regex::Regex;

use super::arguments::{Arguments, MAX_LIST, MAX_TEXT, shown};
use super::{Outcome, Table};

pub(super) const TABLE: Table = &[
    ("quote", |a| quoted(a, go_quote)),
    ("squote", |a| quoted(a, |text| format!("'{text}'"))),
    ("toString", |a| string(a.text(0)?)),
    ("lower", |a| string(a.text(0)?.to_lowercase())),
    ("upper", |a| string(a.text(0)?.to_uppercase())),
    ("title", |a| string(title(&a.text(0)?))),
    ("untitle", |a| string(untitle(&a.text(0)?))),
    ("nospace", |a| string(a.text(0)?.split_whitespace().collect())),
    ("trim", |a| string(a.text(0)?.trim().to_owned())),
    ("trimAll", |a| with_set(a, |text, set| text.trim_matches(|letter| set.contains(letter)).to_owned())),
    ("trimPrefix", |a| with_set(a, |text, prefix| text.strip_prefix(prefix).unwrap_or(text).to_owned())),
    ("trimSuffix", |a| with_set(a, |text, suffix| text.strip_suffix(suffix).unwrap_or(text).to_owned())),
    ("contains", |a| Ok(Value::Bool(a.text(1)?.contains(&a.text(0)?)))),
    ("hasPrefix", |a| Ok(Value::Bool(a.text(1)?.starts_with(&a.text(0)?)))),
    ("hasSuffix", |a| Ok(Value::Bool(a.text(1)?.ends_with(&a.text(0)?)))),
    ("replace", replace),
    ("repeat", repeat),
    ("trunc", trunc),
    ("substr", substr),
    ("indent", |a| a.bounded(indent(a.count(0)?, &a.text(1)?))),
    ("nindent", |a| a.bounded(format!("\n{}", indent(a.count(0)?, &a.text(1)?)))),
    ("join", join),
    ("split", split),
    ("splitList", |a| Ok(Value::List(pieces(&a.text(0)?, &a.text(1)?).into_iter().map(text).collect()))),
    ("cat", |a| string(a.values.iter().map(shown).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))),
    ("regexMatch", |a| Ok(Value::Bool(regex(a)?.is_match(&a.text(1)?)))),
    ("regexFind", |a| string(regex(a)?.find(&a.text(1)?).map_or("", |found| found.as_str()).to_owned())),
    ("regexReplaceAll", regex_replace),
    ("regexReplaceAllLiteral", regex_replace_literal),
    ("regexSplit", regex_split),
];

#[allow(clippy::unnecessary_wraps)] // so that the table reads evenly
fn string(text: String) -> Outcome {
    Ok(Value::String(text.into()))
}

fn text(piece: &str) -> Value {
    Value::String(piece.into())
}

/// Go's `%q`, which YAML reads back.
fn go_quote(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        control if control.is_ascii_control() => format!("\\x{:02x}", u32::from(control)),
        other => other.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn quoted(args: &Arguments<'_>, quote: impl Fn(&str) -> String) -> Outcome {
    let words = args.values.iter().filter(|value| !matches!(value, Value::Nil)).map(|value| quote(&shown(value)));
    string(words.collect::<Vec<_>>().join(" "))
}

fn with_set(args: &Arguments<'_>, change: impl Fn(&str, &str) -> String) -> Outcome {
    string(change(&args.text(1)?, &args.text(0)?))
}

fn title(text: &str) -> String {
    let mut first = true;
    let raise = |letter: char| {
        let raised = if first { letter.to_uppercase().collect::<String>() } else { letter.to_string() };
        first = letter.is_whitespace();
        raised
    };
    text.chars().map(raise).collect()
}

fn untitle(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn indent(width: usize, text: &str) -> String {
    let pad = " ".repeat(width.min(1024));
    format!("{pad}{}", text.replace('\n', &format!("\n{pad}")))
}

fn replace(args: &Arguments<'_>) -> Outcome {
    let (old, new, text) = (args.text(0)?, args.text(1)?, args.text(2)?);
    if text.len().saturating_mul(new.len().max(1)) > MAX_TEXT * 64 {
        return Err(args.error("the result would be too long"));
    }
    args.bounded(text.replace(&old, &new))
}

fn repeat(args: &Arguments<'_>) -> Outcome {
    let (times, text) = (args.count(0)?, args.text(1)?);
    if text.len().saturating_mul(times) > MAX_TEXT {
        return Err(args.error(format!("the result has more than {MAX_TEXT} bytes")));
    }
    string(text.repeat(times))
}

/// `trunc 5` keeps the first five characters, `trunc -5` the last.
fn trunc(args: &Arguments<'_>) -> Outcome {
    let (width, text) = (args.int(0)?, args.text(1)?);
    let keep = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    let skip = if width < 0 { text.chars().count().saturating_sub(keep) } else { 0 };
    string(text.chars().skip(skip).take(keep).collect())
}

fn substr(args: &Arguments<'_>) -> Outcome {
    let (start, end, text) = (args.int(0)?, args.int(1)?, args.text(2)?);
    let start = usize::try_from(start).unwrap_or(0);
    let end = usize::try_from(end).unwrap_or(usize::MAX);
    string(text.chars().skip(start).take(end.saturating_sub(start)).collect())
}

fn join(args: &Arguments<'_>) -> Outcome {
    let words = match args.at(1)? {
        Value::List(items) => items.iter().map(shown).collect::<Vec<_>>().join(&args.text(0)?),
        other => shown(other),
    };
    args.bounded(words)
}

fn pieces<'t>(separator: &str, text: &'t str) -> Vec<&'t str> {
    text.split(separator).take(MAX_LIST).collect()
}

/// A dict with keys `_0`, `_1`, ...
fn split(args: &Arguments<'_>) -> Outcome {
    let (separator, whole) = (args.text(0)?, args.text(1)?);
    let entries = pieces(&separator, &whole).into_iter().enumerate().map(|(n, piece)| (format!("_{n}").into(), text(piece)));
    Ok(Value::Map(Arc::new(entries.collect())))
}

fn regex(args: &Arguments<'_>) -> Result<Regex, gotmpl::TemplateError> {
    Regex::new(&args.text(0)?).map_err(|error| args.error(error))
}

/// Go writes `$1x` for the group named "1x" as this engine does; `${1}` is the same in both.
fn regex_replace(args: &Arguments<'_>) -> Outcome {
    args.bounded(regex(args)?.replace_all(&args.text(1)?, args.text(2)?.as_str()).into_owned())
}

fn regex_replace_literal(args: &Arguments<'_>) -> Outcome {
    args.bounded(regex(args)?.replace_all(&args.text(1)?, regex::NoExpand(&args.text(2)?)).into_owned())
}

fn regex_split(args: &Arguments<'_>) -> Outcome {
    let (whole, limit) = (args.text(1)?, args.int(2)?);
    let limit = usize::try_from(limit).unwrap_or(MAX_LIST);
    Ok(Value::List(regex(args)?.splitn(&whole, limit).map(text).collect()))
}
