//! Regular expressions. Go's syntax is read here and translated for the `regex` crate. In that crate `\d`, `\w`, `\s` and
//! `\b` match more than in Go, and some plain text of Go is an operator.

mod translate;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::{Captures, Regex, RegexBuilder};

use self::translate::{bad, translate};
use super::arguments::{int, string, text};
use super::{Context, Entry, Param, plain};
use crate::print::Buffer;
use crate::strconv;
use crate::value::{List, Text, Type, Value};

const S: Param = Param::Text;
const I: Param = Param::Int;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("regexMatch", &[S, S], |context, args| {
        let Ok(found) = pattern(context, args)? else { return Ok(Value::Bool(false)) };
        Ok(Value::Bool(found.regex.is_match(&text(args, 1).lossy())))
    }),
    plain("mustRegexMatch", &[S, S], |context, args| {
        Ok(Value::Bool(pattern(context, args)??.regex.is_match(&text(args, 1).lossy())))
    }),
    plain("regexFind", &[S, S], |context, args| find(context, args, &*must(context, args)?)),
    plain("mustRegexFind", &[S, S], |context, args| find(context, args, &*pattern(context, args)??)),
    plain("regexFindAll", &[S, S, I], |context, args| find_all(context, args, &*must(context, args)?)),
    plain("mustRegexFindAll", &[S, S, I], |context, args| find_all(context, args, &*pattern(context, args)??)),
    plain("regexReplaceAll", &[S, S, S], |context, args| replace(context, args, &*must(context, args)?, true)),
    plain("mustRegexReplaceAll", &[S, S, S], |context, args| replace(context, args, &*pattern(context, args)??, true)),
    plain("regexReplaceAllLiteral", &[S, S, S], |context, args| replace(context, args, &*must(context, args)?, false)),
    plain("mustRegexReplaceAllLiteral", &[S, S, S], |context, args| replace(context, args, &*pattern(context, args)??, false)),
    plain("regexSplit", &[S, S, I], |context, args| split(context, args, &*must(context, args)?)),
    plain("mustRegexSplit", &[S, S, I], |context, args| split(context, args, &*pattern(context, args)??)),
    plain("regexQuoteMeta", &[S], |context, args| {
        let text = text(args, 0);
        let quoted = text.iter().flat_map(|byte| [b"\\.+*?()|[]{}^$".contains(byte).then_some(b'\\'), Some(*byte)]).flatten();
        context.budget.text(quoted.collect::<Vec<u8>>())
    }),
];

/// The compiled expressions of one rendering.
#[derive(Default)]
pub(crate) struct Cache(RefCell<HashMap<String, Compiled>>);

type Compiled = Result<Rc<Expression>, String>;

struct Expression {
    regex: Regex,
    /// The names of its groups. Two groups may have the same in Go.
    names: Vec<Option<String>>,
    /// How many characters and sets it has once its repetitions are written out.
    weight: u64,
}

/// The largest size of a compiled expression.
const SIZE: usize = 1 << 20;
const KEPT: usize = 8;

/// The outer error is the budget's. Matching costs by the length of the text and the weight of the expression.
fn pattern(context: &Context<'_>, args: &[Value]) -> Result<Compiled, String> {
    let pattern = string(args, 0);
    if let Err(error) = std::str::from_utf8(&text(args, 0)) {
        let rest = text(args, 0);
        let rest = String::from_utf8_lossy(rest.get(error.valid_up_to()..).unwrap_or_default());
        return Ok(Err(bad("invalid UTF-8", &rest)));
    }
    let known = context.regexes.0.borrow().get(&pattern).cloned();
    let compiled = known.map_or_else(|| compiled(context, pattern), Ok)?;
    if let Ok(expression) = &compiled {
        let length = text(args, 1).len() as u64;
        context.budget.work(1 + length.saturating_mul(expression.weight / 16 + 1) / 16)?;
    }
    Ok(compiled)
}

fn compiled(context: &Context<'_>, pattern: String) -> Result<Compiled, String> {
    context.budget.work(2_000 + pattern.len() as u64 * 20)?;
    context.budget.take(pattern.len() * 64 + 16_384)?;
    let compiled = translate(&pattern).and_then(|(translated, names, weight)| {
        let built = RegexBuilder::new(&translated).size_limit(SIZE).dfa_size_limit(SIZE).nest_limit(1_000).build();
        built.map(|regex| Rc::new(Expression { regex, names, weight })).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "error parsing regexp: expression too large".to_owned(),
            _ => format!("error parsing regexp: invalid expression: `{pattern}`"),
        })
    });
    let mut kept = context.regexes.0.borrow_mut();
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(pattern, compiled.clone());
    Ok(compiled)
}

/// `regexp.MustCompile` panics with more words than `Compile` has.
fn must(context: &Context<'_>, args: &[Value]) -> Result<Rc<Expression>, String> {
    pattern(context, args)?.map_err(|error| {
        let source = text(args, 0);
        let quoted =
            if strconv::can_backquote(&source) { format!("`{}`", source.lossy()) } else { strconv::quote(&source, false) };
        format!("regexp: Compile({quoted}): {error}")
    })
}

fn find(context: &Context<'_>, args: &[Value], Expression { regex, .. }: &Expression) -> Result<Value, String> {
    let text = text(args, 1);
    context.budget.text(regex.find(&text.lossy()).map_or("", |found| found.as_str()))
}

/// Before it finds the next match, an expression may look at all that is left of the text.
fn looked(context: &Context<'_>, length: usize, end: usize) -> Result<(), String> {
    context.budget.work(1 + (length.saturating_sub(end) / 4096) as u64)
}

fn limit(args: &[Value], index: usize) -> usize {
    usize::try_from(int(args, index)).unwrap_or(usize::MAX)
}

fn find_all(context: &Context<'_>, args: &[Value], Expression { regex, .. }: &Expression) -> Result<Value, String> {
    let text = text(args, 1);
    let mut found = Vec::new();
    for part in regex.find_iter(&text.lossy()).take(limit(args, 2)) {
        looked(context, text.len(), part.end())?;
        found.push(context.budget.text(part.as_str())?);
    }
    if found.is_empty() { Ok(Value::List(Rc::new(List::nil(Type::Text)))) } else { context.budget.list(Type::Text, found) }
}

fn split(context: &Context<'_>, args: &[Value], Expression { regex, .. }: &Expression) -> Result<Value, String> {
    let (whole, most) = (string(args, 1), limit(args, 2));
    if most > 0 && !regex.is_match(&whole) {
        // The text is returned unchanged, even if it is not UTF-8.
        return context.budget.list(Type::Text, vec![Value::Text(text(args, 1))]);
    }
    if most == 0 {
        return Ok(Value::List(Rc::new(List::nil(Type::Text))));
    }
    if !text(args, 0).is_empty() && whole.is_empty() {
        return context.budget.texts([""]);
    }
    let (mut parts, mut begin, mut end) = (Vec::new(), 0, 0);
    for found in regex.find_iter(&whole).take(most) {
        if parts.len() + 1 == most {
            break;
        }
        looked(context, whole.len(), found.end())?;
        end = found.start();
        if found.end() != 0 {
            parts.push(context.budget.text(whole.get(begin..end).unwrap_or_default())?);
        }
        begin = found.end();
    }
    if end != whole.len() {
        parts.push(context.budget.text(whole.get(begin..).unwrap_or_default())?);
    }
    context.budget.list(Type::Text, parts)
}

fn replace(
    context: &Context<'_>,
    args: &[Value],
    Expression { regex, names, .. }: &Expression,
    expands: bool,
) -> Result<Value, String> {
    let (whole, with) = (string(args, 1), text(args, 2));
    if !regex.is_match(&whole) {
        return Ok(Value::Text(text(args, 1)));
    }
    let mut out = Buffer::new(context.budget, context.budget.remaining());
    let mut last = 0;
    for found in regex.captures_iter(&whole) {
        let Some(all) = found.get(0) else { continue };
        out.push(whole.get(last..all.start()).unwrap_or_default());
        if expands {
            expand(&mut out, &with, &found, names);
        } else {
            out.push(&*with);
        }
        if out.is_full() {
            break;
        }
        looked(context, whole.len(), all.end())?;
        last = all.end();
    }
    out.push(whole.get(last..).unwrap_or_default());
    Ok(Value::Text(Text::from(out.finish(context.budget)?)))
}

/// `Regexp.Expand`: `$1`, `${name}` and `$$`.
fn expand(out: &mut Buffer, template: &[u8], found: &Captures<'_>, names: &[Option<String>]) {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        out.push(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix(b"$") {
            out.push("$");
            rest = after;
            continue;
        }
        let braced = rest.starts_with(b"{");
        let body = if braced { rest.get(1..).unwrap_or_default() } else { rest };
        let shown = String::from_utf8_lossy(body);
        let length = shown.find(|letter: char| !(letter == '_' || letter.is_alphanumeric())).unwrap_or(shown.len());
        let name = shown.get(..length).unwrap_or_default().to_owned();
        let closed = !braced || body.get(length) == Some(&b'}');
        if name.is_empty() || !closed || length > body.len() {
            out.push("$");
            continue;
        }
        rest = body.get(length + usize::from(braced)..).unwrap_or_default();
        let group = match name.parse::<usize>() {
            Ok(number) if name.bytes().all(|byte| byte.is_ascii_digit()) => found.get(number),
            _ => {
                let named = (1..).zip(names).filter(|(_, known)| known.as_deref() == Some(&name));
                named.filter_map(|(index, _)| found.get(index)).next()
            }
        };
        if let Some(group) = group {
            out.push(group.as_str());
        }
    }
    out.push(rest);
}
