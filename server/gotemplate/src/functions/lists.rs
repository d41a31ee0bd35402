//! sprig's functions of lists. They do not change the lists that they are given.

use std::rc::Rc;

use super::arguments::{NIL_POINTER, int, rest, take};
use super::logic::{deep_equal, is_empty, items};
use super::numbers::to_int;
use super::{Body, Context, Entry, Function, Param, any, more, plain};
use crate::value::{List, Type, Value};

const A: Param = Param::Any;
const I: Param = Param::Int;

/// The same function under two names: the `must` variants return an error where the others panic.
const fn twin(name: &'static str, params: &'static [Param], rest: Option<Param>, any: bool, body: super::Plain) -> Entry {
    (name, Function { params, rest, any, body: Body::Plain(body) })
}

pub(super) static FUNCTIONS: &[Entry] = &[
    more(plain("list", &[], |context, args| context.budget.list(Type::Any, args.to_vec())), A),
    more(plain("tuple", &[], |context, args| context.budget.list(Type::Any, args.to_vec())), A),
    twin("append", &[A, A], None, false, push),
    twin("push", &[A, A], None, false, push),
    twin("mustAppend", &[A, A], None, false, push),
    twin("mustPush", &[A, A], None, false, push),
    twin("prepend", &[A, A], None, false, prepend),
    twin("mustPrepend", &[A, A], None, false, prepend),
    twin("first", &[A], None, true, first),
    twin("mustFirst", &[A], None, true, first),
    twin("last", &[A], None, true, last),
    twin("mustLast", &[A], None, true, last),
    twin("rest", &[A], None, false, tail),
    twin("mustRest", &[A], None, false, tail),
    twin("initial", &[A], None, false, initial),
    twin("mustInitial", &[A], None, false, initial),
    twin("reverse", &[A], None, false, reverse),
    twin("mustReverse", &[A], None, false, reverse),
    twin("compact", &[A], None, false, compact),
    twin("mustCompact", &[A], None, false, compact),
    twin("uniq", &[A], None, false, uniq),
    twin("mustUniq", &[A], None, false, uniq),
    twin("without", &[A], Some(A), false, without),
    twin("mustWithout", &[A], Some(A), false, without),
    twin("has", &[A, A], None, false, has),
    twin("mustHas", &[A, A], None, false, has),
    twin("slice", &[A], Some(A), true, slice),
    twin("mustSlice", &[A], Some(A), true, slice),
    twin("chunk", &[I, A], None, false, chunk),
    twin("mustChunk", &[I, A], None, false, chunk),
    more(any("concat", &[], concat), A),
];

fn found(context: &Context<'_>, args: &mut [Value], index: usize, word: &str) -> Result<Vec<Value>, String> {
    let (items, _) = items(&take(args, index), |kind| format!("Cannot {word} type {kind}"))?;
    context.budget.work(1 + items.len() as u64 / 8)?;
    context.budget.take(items.len() * crate::value::CELL)?;
    Ok(items)
}

fn push(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut items = found(context, args, 0, "push on")?;
    items.push(take(args, 1));
    context.budget.list(Type::Any, items)
}

fn prepend(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut items = found(context, args, 0, "prepend on")?;
    items.insert(0, take(args, 1));
    context.budget.list(Type::Any, items)
}

fn first(_: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    match take(args, 0) {
        Value::Nil => Err(NIL_POINTER.to_owned()),
        Value::List(list) => Ok(list.get(0).unwrap_or(Value::Nil)),
        other => Err(format!("Cannot find first on type {}", other.kind())),
    }
}

fn last(_: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    match take(args, 0) {
        Value::Nil => Err(NIL_POINTER.to_owned()),
        Value::List(list) => Ok(list.len().checked_sub(1).and_then(|at| list.get(at)).unwrap_or(Value::Nil)),
        other => Err(format!("Cannot find last on type {}", other.kind())),
    }
}

fn nil_list() -> Value {
    Value::List(Rc::new(List::nil(Type::Any)))
}

fn tail(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut items = found(context, args, 0, "find rest on")?;
    if items.is_empty() {
        return Ok(nil_list());
    }
    items.remove(0);
    context.budget.list(Type::Any, items)
}

fn initial(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut items = found(context, args, 0, "find initial on")?;
    if items.pop().is_none() {
        return Ok(nil_list());
    }
    context.budget.list(Type::Any, items)
}

fn reverse(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut items = found(context, args, 0, "find reverse on")?;
    items.reverse();
    context.budget.list(Type::Any, items)
}

fn compact(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut items = found(context, args, 0, "compact on")?;
    items.retain(|item| !is_empty(item));
    context.budget.list(Type::Any, items)
}

fn contains(context: &Context<'_>, list: &[Value], item: &Value) -> Result<bool, String> {
    for other in list {
        if deep_equal(context, item, other, 0)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn uniq(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut kept = Vec::new();
    for item in found(context, args, 0, "find uniq on")? {
        if !contains(context, &kept, &item)? {
            kept.push(item);
        }
    }
    context.budget.list(Type::Any, kept)
}

fn without(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut kept = Vec::new();
    for item in found(context, args, 0, "find without on")? {
        if !contains(context, rest(args, 1), &item)? {
            kept.push(item);
        }
    }
    context.budget.list(Type::Any, kept)
}

fn has(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    if matches!(args.get(1), Some(Value::Nil)) {
        return Ok(Value::Bool(false));
    }
    let items = found(context, args, 1, "find has on")?;
    Ok(Value::Bool(contains(context, &items, &take(args, 0))?))
}

fn slice(_: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let list = match take(args, 0) {
        Value::Nil => return Err(NIL_POINTER.to_owned()),
        Value::List(list) => list,
        other => return Err(format!("list should be type of slice or array but {}", other.kind())),
    };
    if list.len() == 0 {
        return Ok(Value::Nil);
    }
    let start = args.get(1).map_or(0, to_int);
    let end = args.get(2).map_or(i64::try_from(list.len()).unwrap_or(i64::MAX), to_int);
    let (start, end) = (usize::try_from(start), usize::try_from(end));
    match (start, end) {
        (Ok(start), Ok(end)) if start <= end && end <= list.capacity() => Ok(Value::List(Rc::new(list.slice(start, end)))),
        _ => Err("reflect.Value.Slice: slice index out of bounds".to_owned()),
    }
}

fn chunk(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let items = found(context, args, 1, "chunk")?;
    let size = int(args, 0);
    // Go calculates with floats here, and a negative size may give an empty list.
    #[allow(clippy::cast_precision_loss)]
    let count = ((items.len() as f64 - 1.0) / size as f64).floor() + 1.0;
    if count == 0.0 {
        return context.budget.list(Type::List(&Type::Any), Vec::new());
    }
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    let size = size.ok_or("runtime error: makeslice: len out of range")?;
    let chunks = items.chunks(size).map(|chunk| context.budget.list(Type::Any, chunk.to_vec())).collect::<Result<_, _>>()?;
    context.budget.list(Type::List(&Type::Any), chunks)
}

fn concat(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let mut all = Vec::new();
    for value in args.iter() {
        let (mut items, _) = items(value, |kind| format!("Cannot concat type {kind} as list"))?;
        context.budget.take(items.len() * crate::value::CELL)?;
        all.append(&mut items);
    }
    if all.is_empty() { Ok(nil_list()) } else { context.budget.list(Type::Any, all) }
}
