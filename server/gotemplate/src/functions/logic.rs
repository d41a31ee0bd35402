//! sprig's defaults, choices, types and comparisons.

use super::arguments::{NIL_POINTER, string, take};
use super::{Context, Entry, Param, any, more, plain};
use crate::value::{Type, Value};

const A: Param = Param::Any;
const S: Param = Param::Text;

pub(super) static FUNCTIONS: &[Entry] = &[
    more(
        any("default", &[A], |_, args| {
            let given = args.get(1).filter(|given| !is_empty(given)).cloned();
            Ok(given.unwrap_or_else(|| take(args, 0)))
        }),
        A,
    ),
    plain("empty", &[A], |_, args| Ok(Value::Bool(is_empty(&take(args, 0))))),
    more(any("coalesce", &[], |_, args| Ok(args.iter().find(|value| !is_empty(value)).cloned().unwrap_or(Value::Nil))), A),
    more(plain("all", &[], |_, args| Ok(Value::Bool(!args.iter().any(is_empty)))), A),
    more(plain("any", &[], |_, args| Ok(Value::Bool(args.iter().any(|value| !is_empty(value))))), A),
    any("ternary", &[A, A, Param::Bool], |_, args| {
        let chosen = usize::from(!matches!(args.get(2), Some(Value::Bool(true))));
        Ok(take(args, chosen))
    }),
    plain("typeOf", &[A], |context, args| context.budget.text(take(args, 0).type_name())),
    plain("typeIs", &[S, A], |_, args| Ok(Value::Bool(string(args, 0) == take(args, 1).type_name()))),
    plain("typeIsLike", &[S, A], |_, args| {
        let (target, name) = (string(args, 0), take(args, 1).type_name());
        Ok(Value::Bool(target == name || format!("*{target}") == name))
    }),
    plain("kindOf", &[A], |context, args| context.budget.text(take(args, 0).kind())),
    plain("kindIs", &[S, A], |_, args| Ok(Value::Bool(string(args, 0) == take(args, 1).kind()))),
    plain("deepEqual", &[A, A], |context, args| Ok(Value::Bool(deep_equal(context, &take(args, 0), &take(args, 1), 0)?))),
    plain("fail", &[S], |_, args| Err(string(args, 0))),
    any("deepCopy", &[A], |context, args| {
        deep_copy(context, &take(args, 0), 0).map_err(|error| format!("deepCopy error: {error}"))
    }),
    any("mustDeepCopy", &[A], |context, args| deep_copy(context, &take(args, 0), 0)),
];

/// sprig's `empty`.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Struct(_) | Value::Time(_) | Value::Version(_) => false,
        Value::Pointer(pointer) => pointer.value.is_none(),
        other => !other.is_true(),
    }
}

fn too_deep(context: &Context<'_>, depth: usize) -> Result<(), String> {
    context.budget.step()?;
    if depth > context.budget.limits().depth { Err(format!("a value is nested deeper than {depth} levels")) } else { Ok(()) }
}

/// `reflect.DeepEqual`.
#[allow(clippy::float_cmp)]
pub(super) fn deep_equal(context: &Context<'_>, one: &Value, other: &Value, depth: usize) -> Result<bool, String> {
    too_deep(context, depth)?;
    Ok(match (one, other) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => a == b,
        (Value::Int32(a), Value::Int32(b)) => a == b,
        (Value::Uint8(a), Value::Uint8(b)) => a == b,
        (Value::Uint32(a), Value::Uint32(b)) => a == b,
        (Value::Uint64(a), Value::Uint64(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        (Value::Text(a), Value::Text(b)) => {
            context.budget.read(a.len())?;
            a == b
        }
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Semver(a), Value::Semver(b)) | (Value::Version(a), Value::Version(b)) => a == b,
        (Value::Named(one, a), Value::Named(other, b)) => std::ptr::eq(*one, *other) && a == b,
        (Value::List(a), Value::List(b)) => {
            a.elem.same(b.elem) && a.nil == b.nil && a.len() == b.len() && all_equal(context, a.iter().zip(b.iter()), depth)?
        }
        (Value::Map(a), Value::Map(b)) => {
            if !a.elem.same(b.elem) || a.is_nil() != b.is_nil() || a.len() != b.len() {
                return Ok(false);
            }
            for (key, value) in a.iter() {
                let Some(against) = b.get(&key) else { return Ok(false) };
                if !deep_equal(context, &value, &against, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Struct(a), Value::Struct(b)) => {
            std::ptr::eq(a.ty, b.ty) && all_equal(context, a.fields.iter().cloned().zip(b.fields.iter().cloned()), depth)?
        }
        (Value::Pointer(a), Value::Pointer(b)) => match (&a.value, &b.value) {
            (Some(a), Some(b)) => deep_equal(context, a, b, depth + 1)?,
            (None, None) => a.to.same(*b.to),
            _ => false,
        },
        _ => false,
    })
}

fn all_equal(context: &Context<'_>, mut pairs: impl Iterator<Item = (Value, Value)>, depth: usize) -> Result<bool, String> {
    // Stops at the first difference or error.
    pairs
        .try_fold(true, |_, (one, other)| match deep_equal(context, &one, &other, depth + 1) {
            Ok(true) => Ok(true),
            Ok(false) => Err(None),
            Err(message) => Err(Some(message)),
        })
        .or_else(|stopped| stopped.map_or(Ok(false), Err))
}

/// `copystructure.Copy`.
fn deep_copy(context: &Context<'_>, value: &Value, depth: usize) -> Result<Value, String> {
    too_deep(context, depth)?;
    Ok(match value {
        Value::List(list) if !list.nil => {
            let items = list.iter().map(|item| deep_copy(context, &item, depth + 1)).collect::<Result<_, _>>()?;
            context.budget.list(list.elem, items)?
        }
        Value::Map(map) if !map.is_nil() => {
            let copies = map.iter().map(|(key, value)| Ok((key, deep_copy(context, &value, depth + 1)?)));
            Value::Map(context.budget.map(map.elem, copies.collect::<Result<_, String>>()?)?)
        }
        // copystructure copies no fields that are not exported.
        Value::Version(_) => Type::Version.zero(),
        other => other.clone(),
    })
}

/// The items of a list. If the value is not a list, Go's error names its type, and nil fails.
pub(super) fn items(value: &Value, wrong: impl Fn(&str) -> String) -> Result<(Vec<Value>, Type), String> {
    match value {
        Value::Nil => Err(NIL_POINTER.to_owned()),
        Value::List(list) => Ok((list.to_vec(), list.elem)),
        other => Err(wrong(other.kind())),
    }
}
