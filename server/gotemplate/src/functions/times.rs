//! Dates and durations. What asks for the present or for a zone is not hermetic, so upstream has removed it; `ago` it kept.

use std::rc::Rc;

use super::arguments::{string, take};
use super::{Context, Entry, Param, plain};
use crate::time::{Time, duration_text, parse_duration};
use crate::value::Value;

const A: Param = Param::Any;
const S: Param = Param::Text;
const T: Param = Param::Time;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("ago", &[A], |context, args| {
        let then = match take(args, 0) {
            Value::Time(time) => time.seconds,
            Value::Int(seconds) | Value::Int64(seconds) => seconds,
            _ => context.now,
        };
        context.budget.text(duration_text(context.now.saturating_sub(then).saturating_mul(1_000_000_000)))
    }),
    plain("duration", &[A], |context, args| {
        let seconds = match take(args, 0) {
            Value::Text(text) => clamped(&text.lossy()),
            Value::Int64(seconds) => seconds,
            _ => 0,
        };
        context.budget.text(duration_text(seconds.wrapping_mul(1_000_000_000)))
    }),
    plain("durationRound", &[A], |context, args| {
        let nanos = match take(args, 0) {
            Value::Text(text) => parse_duration(&text.lossy()).unwrap_or(0),
            Value::Int64(nanos) => nanos,
            Value::Time(time) => context.now.saturating_sub(time.seconds).saturating_mul(1_000_000_000),
            _ => 0,
        };
        context.budget.text(rounded(nanos.unsigned_abs()))
    }),
    plain("toDate", &[S, S], |_, args| {
        let time = Time::parse(&string(args, 0), &string(args, 1)).unwrap_or_else(|_| Time::zero());
        Ok(Value::Time(Rc::new(time)))
    }),
    plain("mustToDate", &[S, S], |_, args| Ok(Value::Time(Rc::new(Time::parse(&string(args, 0), &string(args, 1))?)))),
    plain("mustDateModify", &[S, T], modified),
    plain("must_date_modify", &[S, T], modified),
    plain("unixEpoch", &[T], |context, args| context.budget.text(time(args).seconds.to_string())),
];

/// The first value is the time itself.
pub(super) static METHODS: &[Entry] = &[
    plain("Format", &[S], |context, args| context.budget.text(time(args).format(&string(args, 1)))),
    plain("String", &[], |context, args| context.budget.text(time(args).to_string())),
    plain("Unix", &[], |_, args| Ok(Value::Int64(time(args).seconds))),
    plain("Year", &[], |_, args| Ok(Value::Int(time(args).part("Year")))),
    plain("Day", &[], |_, args| Ok(Value::Int(time(args).part("Day")))),
    plain("Hour", &[], |_, args| Ok(Value::Int(time(args).part("Hour")))),
    plain("Minute", &[], |_, args| Ok(Value::Int(time(args).part("Minute")))),
    plain("Second", &[], |_, args| Ok(Value::Int(time(args).part("Second")))),
    plain("YearDay", &[], |_, args| Ok(Value::Int(time(args).part("YearDay")))),
    plain("Nanosecond", &[], |_, args| Ok(Value::Int(time(args).part("Nanosecond")))),
    plain("IsZero", &[], |_, args| Ok(Value::Bool(time(args).seconds == Time::zero().seconds))),
];

fn time(args: &[Value]) -> Rc<Time> {
    let found = args.iter().find_map(|value| if let Value::Time(time) = value { Some(Rc::clone(time)) } else { None });
    found.unwrap_or_else(|| Rc::new(Time::zero()))
}

fn modified(_: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let nanos = parse_duration(&string(args, 0))?;
    Ok(Value::Time(Rc::new(time(args).add(nanos))))
}

/// `strconv.ParseInt` without its error.
fn clamped(text: &str) -> i64 {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })
}

fn rounded(nanos: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    const UNITS: [(u64, &str); 6] = [
        (SECOND * 3600 * 24 * 365, "y"),
        (SECOND * 3600 * 24 * 30, "mo"),
        (SECOND * 3600 * 24, "d"),
        (SECOND * 3600, "h"),
        (SECOND * 60, "m"),
        (SECOND, "s"),
    ];
    let unit = UNITS.iter().find(|(size, _)| nanos > *size);
    unit.map_or_else(|| "0s".to_owned(), |(size, name)| format!("{}{name}", nanos / size))
}
