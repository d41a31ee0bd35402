//! sprig's functions of dictionaries. `set`, `unset` and the merges change the dictionary that they are given.

use std::collections::BTreeMap;

use super::arguments::{map, strval, take, text};
use super::logic::is_empty;
use super::{Context, Entry, Param, any, more, plain};
use crate::value::{Map, Text, Type, Value};

const A: Param = Param::Any;
const M: Param = Param::Map;
const S: Param = Param::Text;

pub(super) static FUNCTIONS: &[Entry] = &[
    more(plain("dict", &[], dict), A),
    any("get", &[M, S], |_, args| {
        let value = map(args, 0).and_then(|map| map.get(&text(args, 1)));
        Ok(value.unwrap_or_else(|| Value::Text(Text::from(""))))
    }),
    plain("set", &[M, S, A], |context, args| {
        let key = text(args, 1);
        context.budget.take(key.len() + crate::value::CELL + 64)?;
        let value = take(args, 2);
        match map(args, 0) {
            Some(map) if map.insert(key, value) => Ok(take(args, 0)),
            _ => Err("assignment to entry in nil map".to_owned()),
        }
    }),
    plain("unset", &[M, S], |_, args| {
        if let Some(map) = map(args, 0) {
            map.remove(&text(args, 1));
        }
        Ok(take(args, 0))
    }),
    plain("hasKey", &[M, S], |_, args| Ok(Value::Bool(map(args, 0).is_some_and(|map| map.get(&text(args, 1)).is_some())))),
    more(
        plain("pluck", &[S], |context, args| {
            let key = text(args, 0);
            let found = (1..args.len()).filter_map(|index| map(args, index)?.get(&key)).collect();
            context.budget.list(Type::Any, found)
        }),
        M,
    ),
    more(
        plain("keys", &[], |context, args| {
            let entries = (0..args.len()).filter_map(|index| map(args, index)).flat_map(|map| map.entries());
            context.budget.texts(entries.map(|(key, _)| key))
        }),
        M,
    ),
    plain("values", &[M], |context, args| {
        let entries = map(args, 0).map(|map| map.entries()).unwrap_or_default();
        context.budget.list(Type::Any, entries.into_iter().map(|(_, value)| value).collect())
    }),
    more(plain("pick", &[M], |context, args| chosen(context, args, true)), S),
    more(plain("omit", &[M], |context, args| chosen(context, args, false)), S),
    more(any("merge", &[M], |context, args| merged(context, args, false)), M),
    more(any("mustMerge", &[M], |context, args| merged(context, args, false)), M),
    more(any("mergeOverwrite", &[M], |context, args| merged(context, args, true)), M),
    more(any("mustMergeOverwrite", &[M], |context, args| merged(context, args, true)), M),
    more(any("dig", &[], dig), A),
];

fn dict(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut entries = BTreeMap::new();
    for pair in args.chunks(2) {
        let [key, ..] = pair else { continue };
        let key = strval(context.budget, key)?;
        context.budget.take(key.len())?;
        entries.insert(key, pair.get(1).cloned().unwrap_or_else(|| Value::Text(Text::from(""))));
    }
    Ok(Value::Map(context.budget.map(Type::Any, entries)?))
}

fn chosen(context: &Context<'_>, args: &[Value], keep: bool) -> Result<Value, String> {
    let keys: std::collections::BTreeSet<Text> = (1..args.len()).map(|index| text(args, index)).collect();
    let mut entries = map(args, 0).map(|map| map.entries()).unwrap_or_default();
    entries.retain(|(key, _)| keys.contains(key) == keep);
    Ok(Value::Map(context.budget.map(Type::Any, entries.into_iter().collect())?))
}

fn merged(context: &Context<'_>, args: &mut [Value], overwrite: bool) -> Result<Value, String> {
    let into = match map(args, 0).filter(|map| !map.is_nil()) {
        Some(map) => map,
        None => context.budget.map(Type::Any, BTreeMap::new())?,
    };
    for index in 1..args.len() {
        if let Some(from) = map(args, index) {
            merge(context, &into, &from, overwrite, 0)?;
        }
    }
    Ok(Value::Map(into))
}

/// What `mergo` does with two maps: nested maps are merged too, and lists are not.
fn merge(context: &Context<'_>, into: &Map, from: &Map, overwrite: bool, depth: usize) -> Result<(), String> {
    context.budget.step()?;
    if depth > context.budget.limits().depth {
        return Err(format!("a value is nested deeper than {depth} levels"));
    }
    if into.same(from) {
        return Ok(());
    }
    for (key, value) in from.iter() {
        context.budget.take(crate::value::CELL + 64)?;
        let old = into.get(&key);
        let set = match (&value, &old) {
            (Value::Nil, _) => overwrite,
            (Value::Map(inner), Some(Value::Map(target))) if !target.is_nil() => {
                merge(context, target, inner, overwrite, depth + 1)?;
                target.len() == 0
            }
            (_, None) => true,
            (_, Some(old)) => overwrite || (is_empty(old) && !matches!(old, Value::Struct(_))),
        };
        if set {
            into.insert(key, value);
        }
    }
    Ok(())
}

/// Go's error when a value does not have the type that the code expects.
fn converted(value: &Value, wanted: &str) -> String {
    let found = if matches!(value, Value::Nil) { "nil".to_owned() } else { value.type_name() };
    format!("interface conversion: interface {{}} is {found}, not {wanted}")
}

fn dig(_: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    const MAP: &str = "map[string]interface {}";
    let [keys @ .., default, last] = &*args else {
        return Err("dig needs at least three arguments".to_owned());
    };
    if keys.is_empty() {
        return Err("dig needs at least three arguments".to_owned());
    }
    let mut at = last.clone();
    if !matches!(&at, Value::Map(map) if map.elem.is_any()) {
        return Err(converted(&at, MAP));
    }
    if let Some(other) = keys.iter().find(|key| !matches!(key, Value::Text(_))) {
        return Err(converted(other, "string"));
    }
    for index in 0..keys.len() {
        let Value::Map(map) = &at else { return Err(converted(&at, MAP)) };
        if !map.elem.is_any() {
            return Err(converted(&at, MAP));
        }
        match map.get(&text(keys, index)) {
            Some(next) => at = next,
            None => return Ok(default.clone()),
        }
    }
    Ok(at)
}
