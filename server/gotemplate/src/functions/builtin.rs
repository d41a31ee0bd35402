//! The functions of `text/template` itself.

use super::{Body, Context, Entry, Function, Param};
use crate::value::{Held, Text, Value};
use crate::{print, strconv};

const R: Param = Param::Reflect;

type Reflect = fn(&Context<'_>, &[Held]) -> Result<Held, String>;

const fn reflect(name: &'static str, params: &'static [Param], rest: Option<Param>, body: Reflect) -> Entry {
    (name, Function { params, rest, any: false, body: Body::Reflect(body) })
}

pub(super) static FUNCTIONS: &[Entry] = &[
    ("and", Function { params: &[R], rest: Some(R), any: false, body: Body::Logic(false) }),
    ("or", Function { params: &[R], rest: Some(R), any: false, body: Body::Logic(true) }),
    ("call", Function { params: &[R], rest: Some(R), any: false, body: Body::Call }),
    reflect("not", &[R], None, |_, args| Ok(truth(!first(args).value.is_true()))),
    reflect("index", &[R], Some(R), |_, args| index(args)),
    reflect("slice", &[R], Some(R), slice),
    reflect("len", &[R], None, |_, args| length(&first(args))),
    reflect("eq", &[R], Some(R), |context, args| Ok(truth(equal(context, args)?))),
    reflect("ne", &[R, R], None, |context, args| Ok(truth(!equal(context, args)?))),
    reflect("lt", &[R, R], None, |_, args| Ok(truth(less(args)?))),
    reflect("le", &[R, R], None, |context, args| Ok(truth(less_or_equal(context, args)?))),
    reflect("gt", &[R, R], None, |context, args| Ok(truth(!less_or_equal(context, args)?))),
    reflect("ge", &[R, R], None, |_, args| Ok(truth(!less(args)?))),
    super::more(super::plain("print", &[], |context, args| made(print::sprint(context.budget, args))), Param::Any),
    super::more(super::plain("println", &[], |context, args| made(print::sprintln(context.budget, args))), Param::Any),
    super::more(
        super::plain("printf", &[Param::Text], |context, args| {
            let format = super::arguments::text(args, 0);
            made(print::sprintf(context.budget, &format, super::arguments::rest(args, 1)))
        }),
        Param::Any,
    ),
    super::more(super::plain("html", &[], |context, args| escaped(context, args, html)), Param::Any),
    super::more(super::plain("js", &[], |context, args| escaped(context, args, javascript)), Param::Any),
    super::more(super::plain("urlquery", &[], |context, args| escaped(context, args, query)), Param::Any),
];

fn made(bytes: Result<Vec<u8>, String>) -> Result<Value, String> {
    Ok(Value::Text(Text::from(bytes?)))
}

fn truth(truth: bool) -> Held {
    Held::of(Value::Bool(truth))
}

/// The parameter lists guarantee a first argument.
fn first(args: &[Held]) -> Held {
    args.first().cloned().unwrap_or(Held::INVALID)
}

/// Functions cannot be values here, so nothing can be called.
pub(crate) fn call(callee: &str, args: &[Held]) -> Result<Held, String> {
    match args.first().map(|held| &held.value) {
        None | Some(Value::Nil) => Err("call of nil".to_owned()),
        Some(other) => Err(format!("non-function {callee} of type {}", other.type_name())),
    }
}

fn index_number(index: &Value, capacity: usize) -> Result<usize, String> {
    let number = match (index.integer(), index.unsigned(), index) {
        (Some(number), ..) => number,
        (_, Some(number), _) => i64::try_from(number).unwrap_or(-1),
        (.., Value::Nil) => return Err("cannot index slice/array with nil".to_owned()),
        _ => return Err(format!("cannot index slice/array with type {}", index.type_name())),
    };
    let usable = usize::try_from(number).ok().filter(|number| *number <= capacity);
    usable.ok_or_else(|| format!("index out of range: {number}"))
}

fn index(args: &[Held]) -> Result<Held, String> {
    let (item, indexes) = args.split_first().ok_or("index of untyped nil")?;
    let mut item = item.clone();
    if matches!(item.value, Value::Nil) {
        return Err("index of untyped nil".to_owned());
    }
    for index in indexes {
        let (value, nil) = item.value.indirect();
        if nil || matches!(value, Value::Nil) {
            return Err("index of nil pointer".to_owned());
        }
        item = match &value {
            Value::List(list) => {
                let at = index_number(&index.value, list.len())?;
                let found = list.get(at).ok_or("reflect: slice index out of range")?;
                Held::element(found, list.elem)
            }
            Value::Text(text) => {
                let at = index_number(&index.value, text.len())?;
                Held::of(Value::Uint8(*text.get(at).ok_or("reflect: string index out of range")?))
            }
            Value::Map(map) => match &index.value {
                Value::Text(key) => Held::element(map.get(key).unwrap_or_else(|| map.elem.zero()), map.elem),
                Value::Nil => return Err("value is nil; should be of type string".to_owned()),
                other => return Err(format!("value has type {}; should be string", other.type_name())),
            },
            other => return Err(format!("can't index item of type {}", target_name(other))),
        };
    }
    Ok(item)
}

fn slice(context: &Context<'_>, args: &[Held]) -> Result<Held, String> {
    let (item, indexes) = args.split_first().ok_or("slice of untyped nil")?;
    if matches!(item.value, Value::Nil) {
        return Err("slice of untyped nil".to_owned());
    }
    let (value, nil) = item.value.indirect();
    if nil {
        return Err("slice of nil pointer".to_owned());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let (length, capacity) = match &value {
        Value::Text(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text) => (text.len(), text.len()),
        Value::List(list) => (list.len(), list.capacity()),
        other => return Err(format!("can't slice item of type {}", target_name(other))),
    };
    let mut bounds = [0, length, capacity];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = index_number(&index.value, capacity)?;
    }
    let [start, end, most] = bounds;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    if indexes.len() == 3 && end > most {
        return Err(format!("invalid slice index: {end} > {most}"));
    }
    Ok(Held::of(match &value {
        Value::Text(text) => context.budget.text(text.get(start..end).unwrap_or_default())?,
        Value::List(list) => Value::List(std::rc::Rc::new(list.slice(start, end))),
        other => other.clone(),
    }))
}

/// The type that a pointer leads to.
fn target_name(value: &Value) -> String {
    value.type_name().trim_start_matches('*').to_owned()
}

fn length(item: &Held) -> Result<Held, String> {
    if !item.is_valid() {
        return Err("reflect: call of reflect.Value.Type on zero Value".to_owned());
    }
    let (value, nil) = item.value.indirect();
    if nil || matches!(value, Value::Nil) {
        return Err("len of nil pointer".to_owned());
    }
    let length = match &value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        other => return Err(format!("len of type {}", target_name(other))),
    };
    Ok(Held::of(Value::Int(i64::try_from(length).unwrap_or(i64::MAX))))
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Basic {
    Bool,
    Complex,
    Int,
    Float,
    Text,
    Uint,
    Other,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Complex(..) => Basic::Complex,
        Value::Float(_) => Basic::Float,
        Value::Text(_) => Basic::Text,
        _ if value.integer().is_some() => Basic::Int,
        _ if value.unsigned().is_some() => Basic::Uint,
        _ => Basic::Other,
    }
}

#[allow(clippy::float_cmp)] // Go compares them exactly, too
fn equal(context: &Context<'_>, args: &[Held]) -> Result<bool, String> {
    let (one, others) = args.split_first().ok_or("missing argument for comparison")?;
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    let one = &one.value;
    for other in others {
        let other = &other.value;
        let same = match (one, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
            (Value::Text(a), Value::Text(b)) => {
                context.budget.read(a.len())?;
                a == b
            }
            _ => match (basic(one), basic(other)) {
                (Basic::Int | Basic::Uint, Basic::Int | Basic::Uint) => whole(one) == whole(other),
                (Basic::Other, Basic::Other) => identical(context, one, other)?,
                _ if matches!(one, Value::Nil) || matches!(other, Value::Nil) => false,
                _ => {
                    return Err(format!("incompatible types for comparison: {} and {}", one.type_name(), other.type_name()));
                }
            },
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn whole(value: &Value) -> i128 {
    value.integer().map(i128::from).or_else(|| value.unsigned().map(i128::from)).unwrap_or_default()
}

/// Values that are neither numbers nor text: nil, or another type that Go can compare.
fn identical(context: &Context<'_>, one: &Value, other: &Value) -> Result<bool, String> {
    if one.kind() != other.kind() && !matches!(one, Value::Nil) && !matches!(other, Value::Nil) {
        let a = plain(context, one)?;
        let b = print::plain(context.budget, other)?;
        let b = String::from_utf8_lossy(&b);
        return Err(format!("non-comparable types {a}: {}, {}: {b}", one.type_name(), other.type_name()));
    }
    if one.is_nil() || other.is_nil() {
        return Ok(one.is_nil() == other.is_nil());
    }
    match (one, other) {
        (Value::Pointer(a), Value::Pointer(b)) => Ok(match (&a.value, &b.value) {
            (Some(a), Some(b)) => std::rc::Rc::ptr_eq(a, b),
            _ => false,
        }),
        (Value::Semver(a), Value::Semver(b)) => Ok(std::rc::Rc::ptr_eq(a, b)),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Version(a), Value::Version(b)) => Ok(a == b),
        (Value::Struct(a), Value::Struct(b)) if a.ty.is_comparable() => {
            if !std::ptr::eq(a.ty, b.ty) {
                return Ok(false);
            }
            for (x, y) in a.fields.iter().zip(&b.fields) {
                if !equal(context, &[Held::of(x.clone()), Held::of(y.clone())])? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => {
            let shown = plain(context, other)?;
            // `%s` of a reflect.Value of a struct or list, and `%v` of its type
            Err(format!("non-comparable type {shown}: {}", other.type_name()))
        }
    }
}

fn plain(context: &Context<'_>, value: &Value) -> Result<String, String> {
    Ok(String::from_utf8_lossy(&print::sprintf(context.budget, b"%s", std::slice::from_ref(value))?).into_owned())
}

fn less(args: &[Held]) -> Result<bool, String> {
    let [one, other] = args else { return Err("missing argument for comparison".to_owned()) };
    let (one, other) = (&one.value, &other.value);
    const BAD: &str = "invalid type for comparison";
    let (a, b) = (basic(one), basic(other));
    if a == Basic::Other || b == Basic::Other {
        return Err(BAD.to_owned());
    }
    match (one, other) {
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Text(a), Value::Text(b)) => Ok(a < b),
        _ => match (a, b) {
            (Basic::Int | Basic::Uint, Basic::Int | Basic::Uint) => Ok(whole(one) < whole(other)),
            _ if a == b => Err(BAD.to_owned()),
            _ => Err(format!("incompatible types for comparison: {} and {}", one.type_name(), other.type_name())),
        },
    }
}

fn less_or_equal(context: &Context<'_>, args: &[Held]) -> Result<bool, String> {
    Ok(less(args)? || equal(context, args)?)
}

/// `evalArgs`: a single text is returned as it is, anything else as `print` shows it.
fn joined(context: &Context<'_>, args: &[Value]) -> Result<Vec<u8>, String> {
    if let [Value::Text(text)] = args {
        context.budget.read(text.len())?;
        return Ok(text.to_vec());
    }
    let shown: Vec<Value> = args
        .iter()
        .map(|value| match value.indirect().0 {
            Value::Nil => Value::Text(Text::from("<no value>")),
            other => other,
        })
        .collect();
    print::sprint(context.budget, &shown)
}

/// One byte becomes six at most.
fn escaped(context: &Context<'_>, args: &[Value], escape: fn(&[u8]) -> Vec<u8>) -> Result<Value, String> {
    let text = joined(context, args)?;
    context.budget.work(text.len() as u64 / 4)?;
    context.budget.take(text.len().saturating_mul(6))?;
    Ok(Value::Text(Text::from(escape(&text))))
}

fn html(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            other => out.push(*other),
        }
    }
    out
}

fn javascript(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for letter in strconv::letters(text) {
        match letter {
            Err(byte) => out.push(byte),
            Ok(letter @ ('\\' | '\'' | '"')) => out.extend([b'\\', letter as u8]),
            Ok(letter)
                if letter < ' '
                    || matches!(letter, '<' | '>' | '&' | '=')
                    || !(letter.is_ascii() || strconv::is_print(letter)) =>
            {
                out.extend_from_slice(format!("\\u{:04X}", u32::from(letter)).as_bytes());
            }
            Ok(letter) => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

fn query(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            other => out.extend_from_slice(format!("%{other:02X}").as_bytes()),
        }
    }
    out
}
