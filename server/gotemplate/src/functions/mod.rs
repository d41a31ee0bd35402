//! The functions that templates call: Go's own, the hermetic set of sprig 3.3, and Tinkerbell's.

pub(crate) mod arguments;
pub(crate) mod builtin;
mod crypto;
mod dicts;
mod json;
mod lists;
mod logic;
mod numbers;
mod paths;
mod regexes;
mod strings;
pub(crate) mod times;
mod tinkerbell;
mod versions;
mod words;
mod yaml;

pub(crate) use regexes::Cache as Regexes;

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use crate::budget::Budget;
use crate::value::{Held, Type, Value};

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    /// `reflect.Value`: Go's builtin functions take the value as it is.
    Reflect,
    Any,
    Text,
    Int,
    Uint32,
    Float,
    Bool,
    Map,
    Time,
    Duration,
    Semver,
}

impl fmt::Display for Param {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Reflect => "reflect.Value",
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Uint32 => "uint32",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::Map => "map[string]interface {}",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::Semver => "*semver.Version",
        })
    }
}

impl Param {
    pub(crate) fn can_be_nil(self) -> bool {
        matches!(self, Self::Reflect | Self::Any | Self::Map | Self::Semver)
    }

    pub(crate) fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Reflect | Self::Any, _)
            | (Self::Text, Value::Text(_))
            | (Self::Int, Value::Int(_))
            | (Self::Uint32, Value::Uint32(_))
            | (Self::Float, Value::Float(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Time, Value::Time(_))
            | (Self::Semver, Value::Semver(_)) => true,
            (Self::Duration, Value::Named(named, _)) => std::ptr::eq(*named, &raw const times::DURATION),
            (Self::Map, Value::Map(map)) => map.elem.same(Type::Any),
            _ => false,
        }
    }

    /// Go's name for the constant that it expects here.
    pub(crate) fn expected(self) -> Option<&'static str> {
        Some(match self {
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Int | Self::Duration => "integer",
            Self::Uint32 => "unsigned integer",
            Self::Float => "float",
            _ => return None,
        })
    }
}

/// What functions need besides their arguments.
pub(crate) struct Context<'r> {
    pub budget: &'r Budget,
    /// Seconds since 1970, for `ago`.
    pub now: i64,
    pub regexes: regexes::Cache,
}

pub(crate) type Plain = fn(&Context<'_>, &mut [Value]) -> Result<Value, String>;

#[derive(Clone, Copy)]
pub(crate) enum Body {
    Plain(Plain),
    Reflect(fn(&Context<'_>, &[Held]) -> Result<Held, String>),
    /// `or` stops at true, `and` at false.
    Logic(bool),
    Call,
    /// A method that Go refuses to call from a template, in its words.
    Refused(&'static str),
}

pub(crate) struct Function {
    pub params: &'static [Param],
    /// The type of any further arguments.
    pub rest: Option<Param>,
    /// The result has the type `interface {}`.
    pub any: bool,
    pub body: Body,
}

pub(crate) type Entry = (&'static str, Function);

/// A function with fixed arguments and a fixed result type.
pub(crate) const fn plain(name: &'static str, params: &'static [Param], body: Plain) -> Entry {
    (name, Function { params, rest: None, any: false, body: Body::Plain(body) })
}

/// A function whose result has the type `interface {}`.
pub(crate) const fn any(name: &'static str, params: &'static [Param], body: Plain) -> Entry {
    (name, Function { params, rest: None, any: true, body: Body::Plain(body) })
}

impl Function {
    pub(crate) const fn rest(mut self, rest: Param) -> Self {
        self.rest = Some(rest);
        self
    }
}

/// A function that takes further arguments.
pub(crate) const fn more((name, function): Entry, rest: Param) -> Entry {
    (name, function.rest(rest))
}

static FAMILIES: &[&[Entry]] = &[
    builtin::FUNCTIONS,
    strings::FUNCTIONS,
    words::FUNCTIONS,
    numbers::FUNCTIONS,
    logic::FUNCTIONS,
    lists::FUNCTIONS,
    dicts::FUNCTIONS,
    json::FUNCTIONS,
    yaml::FUNCTIONS,
    paths::FUNCTIONS,
    regexes::FUNCTIONS,
    times::FUNCTIONS,
    versions::FUNCTIONS,
    crypto::FUNCTIONS,
    tinkerbell::FUNCTIONS,
];

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static ALL: OnceLock<HashMap<&'static str, &'static Function>> = OnceLock::new();
    // A later family wins: sprig's `slice` replaces Go's.
    let all = ALL.get_or_init(|| FAMILIES.iter().flat_map(|family| family.iter()).map(|(name, f)| (*name, f)).collect());
    all.get(name).copied()
}

pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = FAMILIES.iter().flat_map(|family| family.iter()).map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The method of a time or a version.
pub(crate) fn method(value: &Value, name: &str) -> Option<&'static Function> {
    let methods = match value {
        Value::Time(_) => times::METHODS,
        Value::Semver(_) => versions::METHODS,
        Value::Version(_) if versions::is_of_value(name) => versions::METHODS,
        Value::Named(named, _) if std::ptr::eq(*named, &raw const times::DURATION) => times::DURATIONS,
        Value::Named(..) => times::NAMED,
        _ => return None,
    };
    methods.iter().find(|(known, _)| *known == name).map(|(_, function)| function)
}
