//! sprig's functions of texts. Like Go's, most of them count bytes.

use super::arguments::{int, string, strval, take, text};
use super::{Context, Entry, Param, more, plain};
use crate::print::{self, Buffer};
use crate::strconv;
use crate::value::{Text, Type, Value};

const S: Param = Param::Text;
const I: Param = Param::Int;
const A: Param = Param::Any;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("hello", &[], |context, _| context.budget.text("Hello!")),
    plain("trunc", &[I, S], |context, args| context.budget.text(trunc(int(args, 0), &text(args, 1)))),
    plain("trim", &[S], |context, args| each(context, &text(args, 0), |text| trim(text, char::is_whitespace).to_vec())),
    plain("upper", &[S], |context, args| each(context, &text(args, 0), |text| map_letters(text, upper))),
    plain("lower", &[S], |context, args| each(context, &text(args, 0), |text| map_letters(text, lower))),
    plain("substr", &[I, I, S], |context, args| context.budget.text(substr(int(args, 0), int(args, 1), &text(args, 2))?)),
    plain("repeat", &[I, S], |context, args| {
        let (count, text) = (int(args, 0), text(args, 1));
        let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count")?;
        context.budget.take(text.len().saturating_mul(count))?;
        Ok(Value::Text(Text::from(text.repeat(count))))
    }),
    plain("trimall", &[S, S], trim_all),
    plain("trimAll", &[S, S], trim_all),
    plain("trimSuffix", &[S, S], |context, args| {
        let (suffix, text) = (text(args, 0), text(args, 1));
        context.budget.read(text.len())?;
        context.budget.text(text.strip_suffix(&*suffix).unwrap_or(&text))
    }),
    plain("trimPrefix", &[S, S], |context, args| {
        let (prefix, text) = (text(args, 0), text(args, 1));
        context.budget.read(text.len())?;
        context.budget.text(text.strip_prefix(&*prefix).unwrap_or(&text))
    }),
    plain("contains", &[S, S], |context, args| {
        let (part, whole) = (text(args, 0), text(args, 1));
        context.budget.read(whole.len())?;
        Ok(Value::Bool(find(&whole, &part).is_some()))
    }),
    plain("hasPrefix", &[S, S], |_, args| Ok(Value::Bool(text(args, 1).starts_with(&text(args, 0))))),
    plain("hasSuffix", &[S, S], |_, args| Ok(Value::Bool(text(args, 1).ends_with(&text(args, 0))))),
    more(plain("quote", &[], |context, args| quoted(context, args, true)), A),
    more(plain("squote", &[], |context, args| quoted(context, args, false)), A),
    more(plain("cat", &[], cat), A),
    plain("indent", &[I, S], |context, args| indent(context, args, "")),
    plain("nindent", &[I, S], |context, args| indent(context, args, "\n")),
    plain("replace", &[S, S, S], |context, args| replace(context, &text(args, 0), &text(args, 1), &text(args, 2))),
    plain("plural", &[S, S, I], |_, args| {
        let many = int(args, 2) != 1;
        Ok(take(args, usize::from(many)))
    }),
    plain("toString", &[A], |context, args| Ok(Value::Text(strval(context.budget, &take(args, 0))?))),
    plain("toStrings", &[A], |context, args| strings(context, &take(args, 0))),
    plain("join", &[S, A], join),
    plain("sortAlpha", &[A], sort_alpha),
    plain("split", &[S, S], |context, args| split(context, &text(args, 0), &text(args, 1), -1)),
    plain("splitn", &[S, I, S], |context, args| split(context, &text(args, 0), &text(args, 2), int(args, 1))),
    plain("splitList", &[S, S], |context, args| context.budget.texts(parts(context, &text(args, 1), &text(args, 0), -1)?)),
    plain("atoi", &[S], |_, args| Ok(Value::Int(atoi(&string(args, 0))))),
];

pub(super) fn each(context: &Context<'_>, text: &[u8], change: impl Fn(&[u8]) -> Vec<u8>) -> Result<Value, String> {
    context.budget.read(text.len())?;
    // A byte that is not UTF-8 becomes three.
    context.budget.take(text.len().saturating_mul(3))?;
    Ok(Value::Text(Text::from(change(text))))
}

/// Go's simple case mappings map one character to one character.
pub(super) fn upper(letter: char) -> char {
    let mut mapped = letter.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

pub(super) fn lower(letter: char) -> char {
    if letter == 'İ' {
        return 'i';
    }
    let mut mapped = letter.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

pub(super) fn title(letter: char) -> char {
    match letter {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        'ა'..='ჿ' => letter,
        _ => upper(letter),
    }
}

/// `strings.Map`: bytes that are not UTF-8 become U+FFFD, unless the whole text is ASCII.
pub(super) fn map_letters(text: &[u8], mut map: impl FnMut(char) -> char) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for letter in strconv::letters(text) {
        let mapped = map(letter.unwrap_or('\u{fffd}'));
        out.extend_from_slice(mapped.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out
}

fn trim(text: &[u8], cut: impl Fn(char) -> bool) -> &[u8] {
    let letters = strconv::letters(text).map(|letter| letter.map_or((1, '\u{fffd}'), |letter| (letter.len_utf8(), letter)));
    let start: usize = letters.take_while(|(_, letter)| cut(*letter)).map(|(width, _)| width).sum();
    let mut rest = text.get(start..).unwrap_or_default();
    while let Some((width, letter)) = last_letter(rest)
        && cut(letter)
    {
        rest = rest.get(..rest.len() - width).unwrap_or_default();
    }
    rest
}

/// The last character and its length; a byte that is not UTF-8 is U+FFFD.
fn last_letter(text: &[u8]) -> Option<(usize, char)> {
    let whole = (1..=text.len().min(4)).find_map(|width| {
        let end = std::str::from_utf8(text.get(text.len() - width..)?).ok()?;
        Some((width, end.chars().next()?))
    });
    whole.or((!text.is_empty()).then_some((1, '\u{fffd}')))
}

fn trim_all(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let (set, text) = (string(args, 0), text(args, 1));
    each(context, &text, |text| trim(text, |letter| set.contains(letter)).to_vec())
}

fn trunc(count: i64, text: &[u8]) -> &[u8] {
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let at = |bytes: i64| usize::try_from(bytes).unwrap_or(0);
    match count {
        _ if count < 0 && length + count > 0 => text.get(at(length + count)..).unwrap_or_default(),
        _ if count >= 0 && length > count => text.get(..at(count)).unwrap_or_default(),
        _ => text,
    }
}

fn substr(start: i64, end: i64, text: &[u8]) -> Result<&[u8], String> {
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let bad = |what: String| Err(format!("runtime error: slice bounds out of range {what}"));
    let at = |bytes: i64| usize::try_from(bytes).unwrap_or(0);
    if start < 0 {
        return match end {
            _ if end < 0 => bad(format!("[:{end}]")),
            _ if end > length => bad(format!("[:{end}] with length {length}")),
            _ => Ok(text.get(..at(end)).unwrap_or_default()),
        };
    }
    let end = if end < 0 || end > length { length } else { end };
    if start > end {
        return bad(format!("[{start}:{end}]"));
    }
    Ok(text.get(at(start)..at(end)).unwrap_or_default())
}

pub(super) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

fn quoted(context: &Context<'_>, args: &[Value], double: bool) -> Result<Value, String> {
    let mut out = Buffer::new(context.budget, context.budget.remaining());
    let mut first = true;
    for value in args.iter().filter(|value| !matches!(value, Value::Nil)) {
        if !std::mem::take(&mut first) {
            out.push(" ");
        }
        if double {
            let text = strval(context.budget, value)?;
            context.budget.work(text.len() as u64 / 4)?;
            context.budget.take(text.len().saturating_mul(4))?;
            out.push(strconv::quote(&text, false));
        } else {
            out.push("'");
            out.push(print::plain(context.budget, value)?);
            out.push("'");
        }
    }
    Ok(Value::Text(Text::from(out.finish(context.budget)?)))
}

fn cat(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut out = Buffer::new(context.budget, context.budget.remaining());
    let mut first = true;
    for value in args.iter().filter(|value| !matches!(value, Value::Nil)) {
        if !std::mem::take(&mut first) {
            out.push(" ");
        }
        out.push(print::plain(context.budget, value)?);
    }
    Ok(Value::Text(Text::from(out.finish(context.budget)?)))
}

fn indent(context: &Context<'_>, args: &mut [Value], before: &str) -> Result<Value, String> {
    let spaces = usize::try_from(int(args, 0)).map_err(|_| "strings: negative Repeat count")?;
    let text = text(args, 1);
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    context.budget.read(text.len())?;
    context.budget.take(text.len().saturating_add(spaces.saturating_mul(lines)))?;
    let pad = " ".repeat(spaces);
    let mut out = Vec::with_capacity(text.len() + spaces * lines + 1);
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(pad.as_bytes());
    for byte in text.iter() {
        out.push(*byte);
        if *byte == b'\n' {
            out.extend_from_slice(pad.as_bytes());
        }
    }
    Ok(Value::Text(Text::from(out)))
}

fn replace(context: &Context<'_>, old: &[u8], new: &[u8], text: &[u8]) -> Result<Value, String> {
    context.budget.read(text.len())?;
    let mut out = Buffer::new(context.budget, context.budget.remaining());
    if old.is_empty() {
        out.push(new);
        for letter in strconv::letters(text) {
            match letter {
                Ok(letter) => out.push(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(byte) => out.push([byte]),
            }
            out.push(new);
        }
    } else {
        let mut last = 0;
        for at in memchr::memmem::find_iter(text, old) {
            out.push(text.get(last..at).unwrap_or_default());
            out.push(new);
            last = at + old.len();
        }
        out.push(text.get(last..).unwrap_or_default());
    }
    Ok(Value::Text(Text::from(out.finish(context.budget)?)))
}

/// sprig's `strslice`.
pub(super) fn strings(context: &Context<'_>, value: &Value) -> Result<Value, String> {
    match value {
        Value::List(list) if matches!(list.elem, Type::Text) => Ok(value.clone()),
        Value::List(list) => {
            let items = list.to_vec();
            let kept = items.iter().filter(|item| !matches!(item, Value::Nil));
            let texts = kept.map(|item| Ok(Value::Text(strval(context.budget, item)?))).collect::<Result<Vec<_>, String>>()?;
            context.budget.list(Type::Text, texts)
        }
        Value::Nil => context.budget.list(Type::Text, Vec::new()),
        other => {
            let text = Value::Text(strval(context.budget, other)?);
            context.budget.list(Type::Text, vec![text])
        }
    }
}

fn join(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let separator = text(args, 0);
    let mut out = Buffer::new(context.budget, context.budget.remaining());
    let Value::List(list) = strings(context, &take(args, 1))? else { return context.budget.text("") };
    for (index, item) in list.to_vec().iter().enumerate() {
        if index > 0 {
            out.push(&*separator);
        }
        out.push(&*strval(context.budget, item)?);
    }
    Ok(Value::Text(Text::from(out.finish(context.budget)?)))
}

fn sort_alpha(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let value = take(args, 0).indirect().0;
    let sorted = match &value {
        Value::List(_) => strings(context, &value)?,
        other => {
            let text = Value::Text(strval(context.budget, other)?);
            return context.budget.list(Type::Text, vec![text]);
        }
    };
    if let Value::List(list) = &sorted {
        context.budget.work(list.len() as u64)?;
        list.sort_in_place();
    }
    Ok(sorted)
}

/// `strings.SplitN`.
pub(super) fn parts(context: &Context<'_>, text: &[u8], separator: &[u8], count: i64) -> Result<Vec<Vec<u8>>, String> {
    context.budget.read(text.len())?;
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    if most == 0 {
        return Ok(found);
    }
    let mut rest = text;
    if separator.is_empty() {
        context.budget.take(text.len().min(most).saturating_mul(48))?;
        while let Some(letter) = strconv::letters(rest).next() {
            if found.len() + 1 == most {
                break;
            }
            let width = letter.map_or(1, char::len_utf8);
            found.push(rest.get(..width).unwrap_or_default().to_vec());
            rest = rest.get(width..).unwrap_or_default();
        }
        if !rest.is_empty() {
            found.push(rest.to_vec());
        }
        return Ok(found);
    }
    let mut last = 0;
    for at in memchr::memmem::find_iter(text, separator) {
        if found.len() + 1 == most {
            break;
        }
        context.budget.take(48 + at - last)?;
        found.push(text.get(last..at).unwrap_or_default().to_vec());
        last = at + separator.len();
    }
    rest = text.get(last..).unwrap_or_default();
    context.budget.take(48 + rest.len())?;
    found.push(rest.to_vec());
    Ok(found)
}

fn split(context: &Context<'_>, separator: &[u8], text: &[u8], count: i64) -> Result<Value, String> {
    let found = parts(context, text, separator, count)?;
    let entries =
        found.into_iter().enumerate().map(|(index, part)| (Text::from(format!("_{index}")), Value::Text(Text::from(part))));
    Ok(Value::Map(context.budget.map(Type::Text, entries.collect())?))
}

/// `strconv.Atoi` without its error: a number out of range becomes the nearest one in range.
fn atoi(text: &str) -> i64 {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })
}
