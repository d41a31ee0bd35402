//! Functions on lists and dicts, and those that choose between values.

use std::sync::Arc;

use gotmpl::Value;

use super::arguments::{Arguments, MAX_LIST, shown};
use super::{Outcome, Table};

pub(super) const TABLE: Table = &[
    ("default", |a| Ok(chosen(a.last()?, a.at(0)?))),
    ("empty", |a| Ok(Value::Bool(!a.at(0)?.is_truthy()))),
    ("coalesce", |a| Ok(a.values.iter().find(|value| value.is_truthy()).cloned().unwrap_or(Value::Nil))),
    ("all", |a| Ok(Value::Bool(a.values.iter().all(Value::is_truthy)))),
    ("any", |a| Ok(Value::Bool(a.values.iter().any(Value::is_truthy)))),
    ("ternary", |a| Ok(if a.at(2)?.is_truthy() { a.at(0)? } else { a.at(1)? }.clone())),
    ("fail", |a| Err(a.error(a.text(0)?))),
    ("kindOf", |a| Ok(Value::String(kind(a.at(0)?).into()))),
    ("kindIs", |a| Ok(Value::Bool(kind(a.at(1)?) == a.text(0)?))),
    ("list", |a| Ok(Value::List(a.values.into()))),
    ("tuple", |a| Ok(Value::List(a.values.into()))),
    ("first", |a| Ok(a.list(0)?.first().cloned().unwrap_or(Value::Nil))),
    ("last", |a| Ok(a.list(0)?.last().cloned().unwrap_or(Value::Nil))),
    ("rest", |a| Ok(Value::List(a.list(0)?.iter().skip(1).cloned().collect()))),
    ("initial", |a| Ok(Value::List(a.list(0)?.split_last().map(|(_, rest)| rest.into()).unwrap_or_default()))),
    ("append", |a| bounded(a, a.list(0)?.iter().chain([a.at(1)?]))),
    ("prepend", |a| bounded(a, [a.at(1)?].into_iter().chain(a.list(0)?))),
    ("concat", concat),
    ("reverse", |a| Ok(Value::List(a.list(0)?.iter().rev().cloned().collect()))),
    ("uniq", uniq),
    ("compact", |a| Ok(Value::List(a.list(0)?.iter().filter(|item| item.is_truthy()).cloned().collect()))),
    ("without", |a| {
        Ok(Value::List(a.list(0)?.iter().filter(|item| !a.values.iter().skip(1).any(|other| other == *item)).cloned().collect()))
    }),
    ("has", |a| Ok(Value::Bool(a.list(1)?.contains(a.at(0)?)))),
    ("sortAlpha", sort_alpha),
    ("dict", dict),
    ("get", |a| Ok(a.map(0)?.get(a.text(1)?.as_str()).cloned().unwrap_or_else(|| Value::String("".into())))),
    ("hasKey", |a| Ok(Value::Bool(a.map(0)?.contains_key(a.text(1)?.as_str())))),
    ("keys", |a| Ok(Value::List(a.map(0)?.keys().map(|key| Value::String(Arc::clone(key))).collect()))),
    ("values", |a| Ok(Value::List(a.map(0)?.values().cloned().collect()))),
    ("pick", |a| chosen_keys(a, |wanted| wanted)),
    ("omit", |a| chosen_keys(a, |wanted| !wanted)),
    ("merge", merge),
    ("dig", dig),
];

fn chosen(value: &Value, fallback: &Value) -> Value {
    if value.is_truthy() { value.clone() } else { fallback.clone() }
}

/// Go's reflect kinds.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::Int(_) => "int64",
        Value::Uint(_) => "uint64",
        Value::List(_) => "slice",
        other => other.type_name(),
    }
}

fn bounded<'v>(args: &Arguments<'_>, items: impl Iterator<Item = &'v Value>) -> Outcome {
    let items: Vec<Value> = items.take(MAX_LIST + 1).cloned().collect();
    if items.len() > MAX_LIST {
        Err(args.error(format!("the list has more than {MAX_LIST} entries")))
    } else {
        Ok(Value::List(items.into()))
    }
}

fn concat(args: &Arguments<'_>) -> Outcome {
    let lists = (0..args.values.len()).map(|index| args.list(index)).collect::<Result<Vec<_>, _>>()?;
    bounded(args, lists.into_iter().flatten())
}

fn uniq(args: &Arguments<'_>) -> Outcome {
    let mut kept: Vec<Value> = Vec::new();
    for item in args.list(0)? {
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    Ok(Value::List(kept.into()))
}

fn sort_alpha(args: &Arguments<'_>) -> Outcome {
    let mut words: Vec<String> = args.list(0)?.iter().map(shown).collect();
    words.sort();
    Ok(Value::List(words.into_iter().map(|word| Value::String(word.into())).collect()))
}

fn dict(args: &Arguments<'_>) -> Outcome {
    let pairs = args.values.chunks(2).map(|pair| match pair {
        [key, value] => (shown(key).into(), value.clone()),
        rest => (rest.first().map(shown).unwrap_or_default().into(), Value::String("".into())),
    });
    Ok(Value::Map(Arc::new(pairs.collect())))
}

fn chosen_keys(args: &Arguments<'_>, keep: impl Fn(bool) -> bool) -> Outcome {
    let named: Vec<String> = args.values.iter().skip(1).map(shown).collect();
    let entries = args.map(0)?.iter().filter(|(key, _)| keep(named.iter().any(|name| name.as_str() == key.as_ref())));
    Ok(Value::Map(Arc::new(entries.map(|(key, value)| (Arc::clone(key), value.clone())).collect())))
}

/// The first dict that has a key wins.
fn merge(args: &Arguments<'_>) -> Outcome {
    let mut merged = args.map(0)?.clone();
    for index in 1..args.values.len() {
        for (key, value) in args.map(index)? {
            merged.entry(Arc::clone(key)).or_insert_with(|| value.clone());
        }
    }
    Ok(Value::Map(Arc::new(merged)))
}

/// `dig "a" "b" "otherwise" dict`: the value below a path of keys.
fn dig(args: &Arguments<'_>) -> Outcome {
    let [path @ .., otherwise, dict] = args.values else { return Err(args.error("keys, a default and a dict are needed")) };
    let mut found = dict;
    for key in path {
        match found.field(&shown(key)) {
            Some(below) => found = below,
            None => return Ok(otherwise.clone()),
        }
    }
    Ok(found.clone())
}
