//! Dates and durations. Upstream removed the functions that need the current time or a time zone, but kept `ago`.

use std::rc::Rc;

use super::arguments::{int, string, take, text};
use super::{Context, Entry, Param, plain};
use crate::time::{Time, duration_text, month_name, parse_duration, weekday_name};
use crate::value::{Named, Value};

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
    plain("toDate", &[S, S], |context, args| {
        context.budget.work(text(args, 0).len() as u64)?;
        let time = Time::parse(&string(args, 0), &string(args, 1)).unwrap_or_else(|_| Time::zero());
        Ok(Value::Time(Rc::new(time)))
    }),
    plain("mustToDate", &[S, S], |context, args| {
        context.budget.work(text(args, 0).len() as u64)?;
        Ok(Value::Time(Rc::new(Time::parse(&string(args, 0), &string(args, 1))?)))
    }),
    plain("mustDateModify", &[S, T], modified),
    plain("must_date_modify", &[S, T], modified),
    plain("unixEpoch", &[T], |context, args| context.budget.text(time(args).seconds.to_string())),
];

pub(crate) static DURATION: Named = Named { name: "time.Duration", kind: "int64", text: duration_text };
static MONTH: Named = Named { name: "time.Month", kind: "int", text: month_name };
static WEEKDAY: Named = Named { name: "time.Weekday", kind: "int", text: weekday_name };

const D: Param = Param::Duration;
const I: Param = Param::Int;

/// The first value is the time itself.
pub(super) static METHODS: &[Entry] = &[
    plain("Format", &[S], |context, args| {
        let layout = string(args, 1);
        context.budget.work(layout.len() as u64)?;
        context.budget.take(layout.len().saturating_mul(4))?;
        context.budget.text(time(args).format(&layout))
    }),
    plain("String", &[], |context, args| context.budget.text(time(args).to_string())),
    plain("GoString", &[], |context, args| context.budget.text(time(args).go_text())),
    plain("Unix", &[], |_, args| Ok(Value::Int64(time(args).seconds))),
    plain("UnixMilli", &[], |_, args| Ok(Value::Int64(time(args).unix(1_000)))),
    plain("UnixMicro", &[], |_, args| Ok(Value::Int64(time(args).unix(1_000_000)))),
    plain("UnixNano", &[], |_, args| Ok(Value::Int64(time(args).unix(1_000_000_000)))),
    plain("Year", &[], |_, args| Ok(Value::Int(time(args).part("Year")))),
    plain("Month", &[], |_, args| Ok(Value::Named(&MONTH, time(args).part("Month")))),
    plain("Day", &[], |_, args| Ok(Value::Int(time(args).part("Day")))),
    plain("Weekday", &[], |_, args| Ok(Value::Named(&WEEKDAY, time(args).part("Weekday")))),
    plain("Hour", &[], |_, args| Ok(Value::Int(time(args).part("Hour")))),
    plain("Minute", &[], |_, args| Ok(Value::Int(time(args).part("Minute")))),
    plain("Second", &[], |_, args| Ok(Value::Int(time(args).part("Second")))),
    plain("YearDay", &[], |_, args| Ok(Value::Int(time(args).part("YearDay")))),
    plain("Nanosecond", &[], |_, args| Ok(Value::Int(time(args).part("Nanosecond")))),
    plain("IsZero", &[], |_, args| Ok(Value::Bool(time(args).nanos == 0 && time(args).seconds == Time::zero().seconds))),
    plain("IsDST", &[], |_, _| Ok(Value::Bool(false))),
    plain("Location", &[], |context, args| context.budget.text(time(args).location())),
    plain("UTC", &[], |_, args| Ok(Value::Time(Rc::new(time(args).in_utc(false))))),
    plain("Local", &[], |_, args| Ok(Value::Time(Rc::new(time(args).in_utc(true))))),
    plain("Add", &[D], |_, args| Ok(Value::Time(Rc::new(time(args).add(int(args, 1)))))),
    plain("AddDate", &[I, I, I], |_, args| {
        let moved = time(args).add_date(int(args, 1), int(args, 2), int(args, 3));
        moved.map(|time| Value::Time(Rc::new(time))).ok_or_else(|| "the date is out of range".to_owned())
    }),
    plain("Truncate", &[D], |_, args| Ok(Value::Time(Rc::new(time(args).rounded(int(args, 1), false))))),
    plain("Round", &[D], |_, args| Ok(Value::Time(Rc::new(time(args).rounded(int(args, 1), true))))),
    plain("Sub", &[T], |_, args| Ok(Value::Named(&DURATION, time(args).since(&other(args))))),
    plain("Compare", &[T], |_, args| Ok(Value::Int(time(args).moment().cmp(&other(args).moment()) as i64))),
    plain("Equal", &[T], |_, args| Ok(Value::Bool(time(args).moment() == other(args).moment()))),
    plain("Before", &[T], |_, args| Ok(Value::Bool(time(args).moment() < other(args).moment()))),
    plain("After", &[T], |_, args| Ok(Value::Bool(time(args).moment() > other(args).moment()))),
    refused("Zone", "invalid function signature for Zone: second return value should be error; is int"),
    refused("ISOWeek", "invalid function signature for ISOWeek: second return value should be error; is int"),
    refused("ZoneBounds", "invalid function signature for ZoneBounds: second return value should be error; is time.Time"),
    refused("Date", "function Date has 3 return values; should be 1 or 2"),
    refused("Clock", "function Clock has 3 return values; should be 1 or 2"),
];

/// The first value is the duration itself.
pub(super) static DURATIONS: &[Entry] = &[
    plain("String", &[], |context, args| context.budget.text(duration_text(int(args, 0)))),
    plain("Nanoseconds", &[], |_, args| Ok(Value::Int64(int(args, 0)))),
    plain("Microseconds", &[], |_, args| Ok(Value::Int64(int(args, 0) / 1_000))),
    plain("Milliseconds", &[], |_, args| Ok(Value::Int64(int(args, 0) / 1_000_000))),
    plain("Seconds", &[], |_, args| Ok(Value::Float(units(int(args, 0), 1_000_000_000, 1.0)))),
    plain("Minutes", &[], |_, args| Ok(Value::Float(units(int(args, 0), 60_000_000_000, 60.0)))),
    plain("Hours", &[], |_, args| Ok(Value::Float(units(int(args, 0), 3_600_000_000_000, 3600.0)))),
    plain("Abs", &[], |_, args| Ok(Value::Named(&DURATION, int(args, 0).saturating_abs()))),
    plain("Truncate", &[D], |_, args| Ok(Value::Named(&DURATION, shortened(int(args, 0), int(args, 1), false)))),
    plain("Round", &[D], |_, args| Ok(Value::Named(&DURATION, shortened(int(args, 0), int(args, 1), true)))),
];

/// The only method of months and weekdays.
pub(super) static NAMED: &[Entry] = &[plain("String", &[], |context, args| {
    let shown = args.first().and_then(Value::stringer).unwrap_or_default();
    context.budget.text(shown)
})];

const fn refused(name: &'static str, message: &'static str) -> Entry {
    (name, super::Function { params: &[], rest: None, any: false, body: super::Body::Refused(message) })
}

/// Whole units and a fraction, added in the order of Go.
#[allow(clippy::cast_precision_loss)]
fn units(nanos: i64, unit: i64, seconds: f64) -> f64 {
    (nanos / unit) as f64 + (nanos % unit) as f64 / (seconds * 1e9)
}

/// `Duration.Truncate` and `Duration.Round`.
fn shortened(nanos: i64, unit: i64, round: bool) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let left = nanos % unit;
    if !round || left.unsigned_abs().saturating_mul(2) < unit.unsigned_abs() {
        return nanos - left;
    }
    if nanos < 0 { (nanos - left).saturating_sub(unit) } else { (nanos - left).saturating_add(unit) }
}

fn other(args: &[Value]) -> Rc<Time> {
    time(args.get(1..).unwrap_or_default())
}

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
