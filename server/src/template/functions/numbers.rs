//! Arithmetic on whole numbers, as sprig has it.

use gotmpl::{TemplateError, Value};

use super::arguments::{Arguments, MAX_LIST, to_int};
use super::{Outcome, Table};

pub(super) const TABLE: Table = &[
    ("int", |a| Ok(Value::Int(to_int(a.at(0)?).unwrap_or(0)))),
    ("int64", |a| Ok(Value::Int(to_int(a.at(0)?).unwrap_or(0)))),
    ("atoi", |a| Ok(Value::Int(to_int(a.at(0)?).unwrap_or(0)))),
    ("float64", |a| Ok(Value::Float(a.text(0)?.parse().unwrap_or(0.0)))),
    ("add", |a| fold(a, i64::checked_add)),
    ("add1", |a| a.int(0)?.checked_add(1).map(Value::Int).ok_or_else(|| a.error("the result is too large"))),
    ("sub", |a| fold(a, i64::checked_sub)),
    ("mul", |a| fold(a, i64::checked_mul)),
    ("div", |a| fold(a, i64::checked_div)),
    ("mod", |a| fold(a, i64::checked_rem)),
    ("max", |a| fold(a, |one, other| Some(one.max(other)))),
    ("min", |a| fold(a, |one, other| Some(one.min(other)))),
    ("until", |a| counted(a, 0, a.int(0)?, 1)),
    ("untilStep", |a| counted(a, a.int(0)?, a.int(1)?, a.int(2)?)),
    ("toDecimal", |a| Ok(Value::Int(i64::from_str_radix(&a.text(0)?, 8).unwrap_or(0)))),
];

fn fold(args: &Arguments<'_>, step: impl Fn(i64, i64) -> Option<i64>) -> Outcome {
    let mut result = args.int(0)?;
    for index in 1..args.values.len() {
        result = step(result, args.int(index)?).ok_or_else(|| args.error("the result is not a number of 64 bits"))?;
    }
    Ok(Value::Int(result))
}

fn counted(args: &Arguments<'_>, from: i64, to: i64, step: i64) -> Result<Value, TemplateError> {
    let step = if step == 0 { return Ok(Value::List([].into())) } else { step };
    let mut items = Vec::new();
    let mut next = from;
    while (step > 0 && next < to) || (step < 0 && next > to) {
        if items.len() == MAX_LIST {
            return Err(args.error(format!("more than {MAX_LIST} numbers")));
        }
        items.push(Value::Int(next));
        next = next.saturating_add(step);
    }
    Ok(Value::List(items.into()))
}
