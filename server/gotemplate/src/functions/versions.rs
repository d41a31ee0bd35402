//! `semver` and `semverCompare`.

use std::rc::Rc;

use super::arguments::string;
use super::{Context, Entry, Param, any, plain};
use crate::semver::{Semver, satisfies};
use crate::value::Value;

const S: Param = Param::Text;
const V: Param = Param::Semver;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("semver", &[S], |context, args| {
        context.budget.work(string(args, 0).len() as u64)?;
        Ok(Value::Semver(Rc::new(Semver::parse(&string(args, 0))?)))
    }),
    plain("semverCompare", &[S, S], |context, args| {
        let (constraint, version) = (string(args, 0), string(args, 1));
        // The expressions that read them are slow.
        context.budget.work((constraint.len() + version.len()) as u64 * 32)?;
        Ok(Value::Bool(satisfies(&constraint, &version)?))
    }),
];

/// The first argument is the version itself.
pub(super) static METHODS: &[Entry] = &[
    plain("Major", &[], |_, args| Ok(Value::Uint64(number(args, 0)))),
    plain("Minor", &[], |_, args| Ok(Value::Uint64(number(args, 1)))),
    plain("Patch", &[], |_, args| Ok(Value::Uint64(number(args, 2)))),
    plain("Prerelease", &[], |context, args| context.budget.text(version(args, 0).pre)),
    plain("Metadata", &[], |context, args| context.budget.text(version(args, 0).metadata)),
    plain("Original", &[], |context, args| context.budget.text(version(args, 0).original)),
    plain("String", &[], |context, args| context.budget.text(version(args, 0).to_string())),
    plain("IncMajor", &[], |context, args| raised(context, args, 0)),
    plain("IncMinor", &[], |context, args| raised(context, args, 1)),
    plain("IncPatch", &[], |context, args| raised(context, args, 2)),
    plain("SetPrerelease", &[S], |context, args| changed(context, args, true)),
    plain("SetMetadata", &[S], |context, args| changed(context, args, false)),
    any("Value", &[], |context, args| context.budget.text(version(args, 0).to_string())),
    plain("Compare", &[V], |_, args| Ok(Value::Int(version(args, 0).compare(&version(args, 1)) as i64))),
    plain("Equal", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_eq()))),
    plain("LessThan", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_lt()))),
    plain("LessThanEqual", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_le()))),
    plain("GreaterThan", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_gt()))),
    plain("GreaterThanEqual", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_ge()))),
];

/// Go calls the other methods on a pointer only, and what `IncMajor` gives is not one.
pub(super) fn is_of_value(method: &str) -> bool {
    const VALUE: [&str; 12] = [
        "String",
        "Major",
        "Minor",
        "Patch",
        "Prerelease",
        "Metadata",
        "IncMajor",
        "IncMinor",
        "IncPatch",
        "SetPrerelease",
        "SetMetadata",
        "Value",
    ];
    VALUE.contains(&method)
}

fn version(args: &[Value], index: usize) -> Semver {
    match args.get(index) {
        Some(Value::Semver(version) | Value::Version(version)) => Semver::clone(version),
        _ => Semver::default(),
    }
}

fn number(args: &[Value], index: usize) -> u64 {
    version(args, 0).numbers.get(index).copied().unwrap_or(0)
}

fn raised(context: &Context<'_>, args: &[Value], index: usize) -> Result<Value, String> {
    context.budget.step()?;
    Ok(Value::Version(Rc::new(version(args, 0).raised(index))))
}

fn changed(context: &Context<'_>, args: &[Value], prerelease: bool) -> Result<Value, String> {
    let (version, part) = (version(args, 0), string(args, 1));
    context.budget.read(part.len())?;
    Ok(Value::Version(Rc::new(if prerelease { version.with_prerelease(part)? } else { version.with_metadata(part)? })))
}
