//! `semver` and `semverCompare`.

use std::rc::Rc;

use super::arguments::string;
use super::{Context, Entry, Param, plain};
use crate::semver::{Semver, satisfies};
use crate::value::Value;

const S: Param = Param::Text;
const V: Param = Param::Semver;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("semver", &[S], |_, args| Ok(Value::Semver(Rc::new(Semver::parse(&string(args, 0))?)))),
    plain("semverCompare", &[S, S], |context, args| {
        let (constraint, version) = (string(args, 0), string(args, 1));
        context.budget.work((constraint.len() + version.len()) as u64)?;
        Ok(Value::Bool(satisfies(&constraint, &version)?))
    }),
];

/// The first value is the version itself.
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
    plain("Compare", &[V], |_, args| Ok(Value::Int(version(args, 0).compare(&version(args, 1)) as i64))),
    plain("Equal", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_eq()))),
    plain("LessThan", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_lt()))),
    plain("LessThanEqual", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_le()))),
    plain("GreaterThan", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_gt()))),
    plain("GreaterThanEqual", &[V], |_, args| Ok(Value::Bool(version(args, 0).compare(&version(args, 1)).is_ge()))),
];

fn version(args: &[Value], index: usize) -> Semver {
    match args.get(index) {
        Some(Value::Semver(version)) => Semver::clone(version),
        _ => Semver { numbers: [0; 3], pre: String::new(), metadata: String::new(), original: String::new() },
    }
}

fn number(args: &[Value], index: usize) -> u64 {
    version(args, 0).numbers.get(index).copied().unwrap_or(0)
}

fn raised(context: &Context<'_>, args: &[Value], index: usize) -> Result<Value, String> {
    context.budget.step()?;
    Ok(Value::Semver(Rc::new(version(args, 0).raised(index))))
}
