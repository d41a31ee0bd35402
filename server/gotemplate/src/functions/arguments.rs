//! Arguments of functions. They were checked against the parameters before.

use crate::budget::Budget;
use crate::print;
use crate::value::{Map, Text, Value};

/// Takes the argument at `index`. A missing one becomes `Nil`, but the parameter lists exclude that.
pub(crate) fn take(values: &mut [Value], index: usize) -> Value {
    values.get_mut(index).map_or(Value::Nil, |value| std::mem::replace(value, Value::Nil))
}

pub(crate) fn text(values: &[Value], index: usize) -> Text {
    match values.get(index) {
        Some(Value::Text(text)) => text.clone(),
        _ => Text::from(""),
    }
}

pub(crate) fn string(values: &[Value], index: usize) -> String {
    text(values, index).lossy().into_owned()
}

pub(crate) fn int(values: &[Value], index: usize) -> i64 {
    values.get(index).and_then(Value::integer).unwrap_or_default()
}

pub(crate) fn map(values: &[Value], index: usize) -> Option<Map> {
    match values.get(index) {
        Some(Value::Map(map)) => Some(map.clone()),
        _ => None,
    }
}

pub(crate) fn rest(values: &[Value], from: usize) -> &[Value] {
    values.get(from..).unwrap_or_default()
}

/// sprig's `strval`.
pub(crate) fn strval(budget: &Budget, value: &Value) -> Result<Text, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => Ok(match other.stringer() {
            Some(text) => Text::from(text),
            None => Text::from(print::plain(budget, other)?),
        }),
    }
}

/// Go's error when a nil pointer is followed, such as in `reflect.TypeOf(nil).Kind()`.
pub(crate) const NIL_POINTER: &str = "runtime error: invalid memory address or nil pointer dereference";
