//! Which values make sense for each kind of argument, and how they reach their fields. An empty value means "not set".

use std::str::FromStr;

use crate::{EmbeddedImages, OnFailure, Problem};

pub(crate) fn one<T>(field: &mut Option<T>, value: &str, read: impl Fn(&str) -> Result<T, Problem>) -> Result<(), Problem> {
    *field = if value.is_empty() { None } else { Some(read(value)?) };
    Ok(())
}

pub(crate) fn list<T>(field: &mut Vec<T>, value: &str, read: impl Fn(&str) -> Result<T, Problem>) -> Result<(), Problem> {
    *field = value.split(',').filter(|item| !item.is_empty()).map(read).collect::<Result<_, _>>()?;
    Ok(())
}

pub(crate) fn add<T>(field: &mut Vec<T>, value: &str, read: impl Fn(&str) -> Result<T, Problem>) -> Result<(), Problem> {
    if !value.is_empty() {
        field.push(read(value)?);
    }
    Ok(())
}

pub(crate) fn text(value: &str) -> Result<String, Problem> {
    Ok(value.to_owned())
}

/// A type that reads itself.
pub(crate) fn parsed<T: FromStr<Err: Into<Problem>>>(value: &str) -> Result<T, Problem> {
    value.parse().map_err(Into::into)
}

/// The words Go's `strconv.ParseBool` takes, since Go programs render and read these arguments too.
pub(crate) fn boolean(value: &str) -> Result<bool, Problem> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Problem::NotABool),
    }
}

pub(crate) fn number<T>(value: &str, min: T, max: T) -> Result<T, Problem>
where
    T: FromStr + PartialOrd + Copy + TryInto<i64>,
{
    let bound = |bound: T, other: i64| bound.try_into().unwrap_or(other);
    let outside = Problem::NotInRange { min: bound(min, i64::MIN), max: bound(max, i64::MAX) };
    value.parse().ok().filter(|n| (min..=max).contains(n)).ok_or(outside)
}

pub(crate) fn authority(value: &str) -> Result<String, Problem> {
    let (host, port) = value.rsplit_once(':').ok_or(Problem::NotAnAuthority)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_is_fine = !host.is_empty() && (bracketed || !host.contains(':')) && !host.contains(['/', ' ', '@']);
    match port.parse::<u16>() {
        Ok(port) if port > 0 && host_is_fine => Ok(value.to_owned()),
        _ => Err(Problem::NotAnAuthority),
    }
}

/// The agent reads the URLs. They must not hold credentials.
pub(crate) fn mirror(value: &str) -> Result<String, Problem> {
    let (registry, urls) = value.split_once('=').ok_or(Problem::NotAMirror)?;
    let is_url = |url: &str| {
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) && !url.contains(['@', ' '])
    };
    if !registry.is_empty() && urls.split(',').all(is_url) { Ok(value.to_owned()) } else { Err(Problem::NotAMirror) }
}

pub(crate) fn on_failure(value: &str) -> Result<OnFailure, Problem> {
    OnFailure::ALL.iter().find(|(_, word)| *word == value).map(|(end, _)| *end).ok_or(Problem::NotAnEnd)
}

pub(crate) fn embedded(value: &str) -> Result<EmbeddedImages, Problem> {
    value.parse()
}

/// What the kernel's `dev_valid_name()` takes.
pub(crate) fn interface(name: &str) -> Result<String, Problem> {
    let is_path = name == "." || name == "..";
    let is_fine = name.len() < 16 && !is_path && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if is_fine { Ok(name.to_owned()) } else { Err(Problem::NotAnInterface) }
}
