//! sprig's arithmetic. Every value becomes a number, and a value that is not a number becomes 0.

use super::arguments::{int, rest, take};
use super::{Context, Entry, Param, more, plain};
use crate::value::{Type, Value};
use crate::{print, strconv};

const A: Param = Param::Any;
const I: Param = Param::Int;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("int", &[A], |_, args| Ok(Value::Int(to_int(&take(args, 0))))),
    plain("int64", &[A], |_, args| Ok(Value::Int64(to_int(&take(args, 0))))),
    plain("float64", &[A], |_, args| Ok(Value::Float(to_float(&take(args, 0))))),
    plain("toDecimal", &[A], |context, args| {
        let shown = print::plain(context.budget, &take(args, 0))?;
        Ok(Value::Int64(strconv::parse_int(&String::from_utf8_lossy(&shown), 8).unwrap_or(0)))
    }),
    plain("add1", &[A], |_, args| Ok(Value::Int64(to_int(&take(args, 0)).wrapping_add(1)))),
    more(plain("add", &[], |_, args| Ok(Value::Int64(args.iter().map(to_int).fold(0, i64::wrapping_add)))), A),
    plain("sub", &[A, A], |_, args| Ok(Value::Int64(to_int(&take(args, 0)).wrapping_sub(to_int(&take(args, 1)))))),
    plain("div", &[A, A], |_, args| divide(args, i64::wrapping_div)),
    plain("mod", &[A, A], |_, args| divide(args, i64::wrapping_rem)),
    more(plain("mul", &[A], |_, args| Ok(Value::Int64(args.iter().map(to_int).fold(1, i64::wrapping_mul)))), A),
    more(plain("max", &[A], |_, args| Ok(Value::Int64(args.iter().map(to_int).max().unwrap_or(0)))), A),
    more(plain("biggest", &[A], |_, args| Ok(Value::Int64(args.iter().map(to_int).max().unwrap_or(0)))), A),
    more(plain("min", &[A], |_, args| Ok(Value::Int64(args.iter().map(to_int).min().unwrap_or(0)))), A),
    more(plain("maxf", &[A], |_, args| Ok(Value::Float(extreme(args, true)))), A),
    more(plain("minf", &[A], |_, args| Ok(Value::Float(extreme(args, false)))), A),
    plain("ceil", &[A], |_, args| Ok(Value::Float(to_float(&take(args, 0)).ceil()))),
    plain("floor", &[A], |_, args| Ok(Value::Float(to_float(&take(args, 0)).floor()))),
    more(plain("round", &[A, I], |_, args| Ok(Value::Float(round(args)))), Param::Float),
    plain("add1f", &[A], |_, args| Ok(Value::Float(decimal(&take(args, 0), &[Value::Int(1)], Op::Add)?))),
    more(plain("addf", &[], |_, args| Ok(Value::Float(decimal(&Value::Float(0.0), args, Op::Add)?))), A),
    more(plain("subf", &[A], |_, args| Ok(Value::Float(decimal(&take(args, 0), rest(args, 1), Op::Sub)?))), A),
    more(plain("mulf", &[A], |_, args| Ok(Value::Float(decimal(&take(args, 0), rest(args, 1), Op::Mul)?))), A),
    more(plain("divf", &[A], |_, args| Ok(Value::Float(decimal(&take(args, 0), rest(args, 1), Op::Div)?))), A),
    plain("until", &[I], |context, args| {
        let count = int(args, 0);
        counted(context, &steps(context, 0, count, if count < 0 { -1 } else { 1 })?)
    }),
    plain("untilStep", &[I, I, I], |context, args| counted(context, &steps(context, int(args, 0), int(args, 1), int(args, 2))?)),
    more(plain("seq", &[], sequence), I),
    plain("randInt", &[I, I], |_, args| {
        let (least, end) = (int(args, 0), int(args, 1));
        let span = usize::try_from(end.wrapping_sub(least)).ok().filter(|span| *span > 0).ok_or("invalid argument to Intn")?;
        Ok(Value::Int(least.wrapping_add(i64::try_from(random(span)).unwrap_or(0))))
    }),
];

/// `1.00` is read as `1`.
fn without_zeros(text: &str) -> &str {
    match text.rsplit_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    }
}

/// Go's conversion on amd64, where every value that does not fit becomes the smallest number.
#[allow(clippy::cast_possible_truncation)]
fn truncated(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}

/// `cast.ToInt64`.
pub(super) fn to_int(value: &Value) -> i64 {
    match value.indirect().0 {
        Value::Float(number) => truncated(number),
        Value::Text(text) => strconv::parse_int(without_zeros(&text.lossy()), 0).unwrap_or(0),
        Value::Bool(truth) => i64::from(truth),
        // `cast` knows months and weekdays, and no durations.
        Value::Named(named, _) if named.kind == "int64" => 0,
        #[allow(clippy::cast_possible_wrap)] // as Go converts
        Value::Uint64(number) => number as i64,
        other => other.integer().or_else(|| i64::try_from(other.unsigned()?).ok()).unwrap_or(0),
    }
}

/// `cast.ToFloat64`.
#[allow(clippy::cast_precision_loss)]
fn to_float(value: &Value) -> f64 {
    match value.indirect().0 {
        Value::Float(number) => number,
        Value::Text(text) => strconv::parse_float(&text.lossy()).unwrap_or(0.0),
        Value::Bool(truth) => f64::from(u8::from(truth)),
        Value::Named(named, _) if named.kind == "int64" => 0.0,
        other => other.integer().map(|number| number as f64).or_else(|| Some(other.unsigned()? as f64)).unwrap_or(0.0),
    }
}

fn divide(args: &mut [Value], op: fn(i64, i64) -> i64) -> Result<Value, String> {
    let (one, other) = (to_int(&take(args, 0)), to_int(&take(args, 1)));
    if other == 0 {
        return Err("runtime error: integer divide by zero".to_owned());
    }
    Ok(Value::Int64(op(one, other)))
}

/// `math.Max` and `math.Min`. If one number is NaN, so is the result.
fn extreme(args: &[Value], most: bool) -> f64 {
    let numbers = args.iter().map(to_float);
    numbers
        .reduce(|one, other| match (one.is_nan() || other.is_nan(), most) {
            (true, _) => f64::NAN,
            (_, true) => one.max(other),
            (_, false) => one.min(other),
        })
        .unwrap_or(0.0)
}

fn round(args: &[Value]) -> f64 {
    let value = args.first().map_or(0.0, to_float);
    let on = args.get(2).map_or(0.5, to_float);
    #[allow(clippy::cast_precision_loss)]
    let power = 10_f64.powf(int(args, 1) as f64);
    let digit = power * value;
    let rounded = if digit.fract() >= on { digit.ceil() } else { digit.floor() };
    rounded / power
}

#[derive(Clone, Copy)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
}

/// A decimal number: `digits * 10^-scale`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn of(number: f64) -> Option<Self> {
        let shown = format!("{number:e}");
        let (mantissa, exponent) = shown.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()? - exponent.parse::<i32>().ok()?;
        if scale >= 0 {
            return Some(Self { digits, scale: u32::try_from(scale).ok()? });
        }
        Some(Self { digits: digits.checked_mul(10_i128.checked_pow(scale.unsigned_abs())?)?, scale: 0 })
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let up = |one: Self| one.digits.checked_mul(10_i128.checked_pow(scale - one.scale)?);
        Some((up(self)?, up(other)?, scale))
    }

    fn apply(self, other: Self, op: Op) -> Option<Self> {
        Some(match op {
            Op::Add | Op::Sub => {
                let (one, other, scale) = self.aligned(other)?;
                let digits = if matches!(op, Op::Add) { one.checked_add(other)? } else { one.checked_sub(other)? };
                Self { digits, scale }
            }
            Op::Mul => Self { digits: self.digits.checked_mul(other.digits)?, scale: self.scale + other.scale },
            Op::Div => {
                let (one, other, _) = self.aligned(other)?;
                let (mut quotient, mut left) = (one / other, one % other);
                for _ in 0..16 {
                    let next = left.checked_mul(10)?;
                    quotient = quotient.checked_mul(10)?.checked_add(next / other)?;
                    left = next % other;
                }
                let away = if (one < 0) == (other < 0) { 1 } else { -1 };
                let up = left.unsigned_abs().checked_mul(2)? >= other.unsigned_abs();
                Self { digits: if up { quotient + away } else { quotient }, scale: 16 }
            }
        })
    }

    fn float(self) -> f64 {
        format!("{}e-{}", self.digits, self.scale).parse().unwrap_or(0.0)
    }
}

/// sprig calculates with decimal numbers. Beyond 38 digits this uses binary ones.
fn decimal(first: &Value, others: &[Value], op: Op) -> Result<f64, String> {
    let first = to_float(first);
    let (mut exact, mut close) = (Decimal::of(first), first);
    if !first.is_finite() {
        return Err(format!("Cannot create a Decimal from {}", strconv::format_float(first, 'f', None).trim_start_matches('+')));
    }
    for other in others {
        let other = to_float(other);
        if !other.is_finite() {
            return Err(format!(
                "Cannot create a Decimal from {}",
                strconv::format_float(other, 'f', None).trim_start_matches('+')
            ));
        }
        if matches!(op, Op::Div) && other == 0.0 {
            return Err("decimal division by 0".to_owned());
        }
        close = match op {
            Op::Add => close + other,
            Op::Sub => close - other,
            Op::Mul => close * other,
            Op::Div => close / other,
        };
        exact = exact.and_then(|exact| exact.apply(Decimal::of(other)?, op));
        if matches!(op, Op::Div) && close.abs() < 5e-17 {
            // Decimals have 16 places here.
            (exact, close) = (Some(Decimal { digits: 0, scale: 0 }), 0.0);
        }
    }
    Ok(exact.map_or(close, Decimal::float))
}

/// The numbers of `untilStep`.
fn steps(context: &Context<'_>, start: i64, stop: i64, step: i64) -> Result<Vec<i64>, String> {
    let forward = stop >= start;
    if step == 0 || (step > 0) != forward {
        return Ok(Vec::new());
    }
    let span = (i128::from(stop) - i128::from(start)).unsigned_abs();
    let count = usize::try_from(span.div_ceil(i128::from(step).unsigned_abs())).unwrap_or(usize::MAX);
    context.budget.take(count.saturating_mul(8))?;
    context.budget.work(count as u64)?;
    Ok((0..count).map(|index| start.wrapping_add(step.wrapping_mul(i64::try_from(index).unwrap_or(0)))).collect())
}

fn counted(context: &Context<'_>, numbers: &[i64]) -> Result<Value, String> {
    context.budget.take(numbers.len().saturating_mul(crate::value::CELL))?;
    context.budget.list(Type::Int, numbers.iter().map(|number| Value::Int(*number)).collect())
}

fn sequence(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let numbers: Vec<i64> = args.iter().filter_map(Value::integer).collect();
    let (start, step, end) = match numbers.as_slice() {
        [end] => (1, if *end < 1 { -1 } else { 1 }, *end),
        [start, end] => (*start, if end < start { -1 } else { 1 }, *end),
        [start, step, end] if end < start && *step > 0 => return context.budget.text(""),
        [start, step, end] => (*start, *step, *end),
        _ => return context.budget.text(""),
    };
    let beyond = if end < start { -1 } else { 1 };
    let found = steps(context, start, end.wrapping_add(beyond), step)?;
    context.budget.take(found.len().saturating_mul(40))?;
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    context.budget.text(shown.join(" "))
}

/// A number below `end`. Its randomness is the seed of the standard library's hashes, which the system provides.
pub(super) fn random(end: usize) -> usize {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    usize::try_from(bits % (end.max(1) as u64)).unwrap_or(0)
}
