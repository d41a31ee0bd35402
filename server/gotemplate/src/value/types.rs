//! Go's types, and the values that have nothing but their type.

use std::fmt;
use std::rc::Rc;

use super::{List, Map, Pointer, Structure, Text, Value};
use crate::time::Time;

/// A Go type.
#[derive(Clone, Copy)]
pub enum Type {
    Any,
    Bool,
    Int,
    Int64,
    Int32,
    Uint8,
    Uint32,
    Uint64,
    Float64,
    Complex128,
    Text,
    Time,
    /// `*semver.Version`.
    Semver,
    /// `semver.Version`.
    Version,
    Named(&'static Named),
    List(&'static Type),
    Map(&'static Type),
    Struct(&'static StructType),
    Pointer(&'static Type),
}

/// An integer type with a name and a `String` method.
pub struct Named {
    /// With its package, as Go prints it.
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) text: fn(i64) -> String,
}

pub struct StructType {
    /// The name with its package, as Go prints it.
    pub name: &'static str,
    pub fields: &'static [Field],
}

pub struct Field {
    pub name: &'static str,
    pub json: &'static str,
    pub ty: Type,
    /// Whether the field's tag has `omitempty`.
    pub optional: bool,
}

impl StructType {
    /// Whether Go's `==` accepts the type.
    pub(crate) fn is_comparable(&self) -> bool {
        self.fields.iter().all(|field| match field.ty {
            Type::List(_) | Type::Map(_) => false,
            Type::Struct(inner) => inner.is_comparable(),
            _ => true,
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("interface {}"),
            Self::Bool => out.write_str("bool"),
            Self::Int => out.write_str("int"),
            Self::Int64 => out.write_str("int64"),
            Self::Int32 => out.write_str("int32"),
            Self::Uint8 => out.write_str("uint8"),
            Self::Uint32 => out.write_str("uint32"),
            Self::Uint64 => out.write_str("uint64"),
            Self::Float64 => out.write_str("float64"),
            Self::Complex128 => out.write_str("complex128"),
            Self::Text => out.write_str("string"),
            Self::Time => out.write_str("time.Time"),
            Self::Semver => out.write_str("*semver.Version"),
            Self::Version => out.write_str("semver.Version"),
            Self::Named(named) => out.write_str(named.name),
            Self::List(of) => write!(out, "[]{of}"),
            Self::Map(of) => write!(out, "map[string]{of}"),
            Self::Struct(of) => out.write_str(of.name),
            Self::Pointer(to) => write!(out, "*{to}"),
        }
    }
}

impl Type {
    pub(crate) fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::List(one), Self::List(other))
            | (Self::Map(one), Self::Map(other))
            | (Self::Pointer(one), Self::Pointer(other)) => one.same(*other),
            (Self::Struct(one), Self::Struct(other)) => std::ptr::eq(one, other),
            (Self::Named(one), Self::Named(other)) => std::ptr::eq(one, other),
            _ => std::mem::discriminant(&self) == std::mem::discriminant(&other),
        }
    }

    pub(crate) fn is_any(self) -> bool {
        matches!(self, Self::Any)
    }

    /// `reflect.Kind`.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Any => "interface",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Int32 => "int32",
            Self::Uint8 => "uint8",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Float64 => "float64",
            Self::Complex128 => "complex128",
            Self::Text => "string",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Time | Self::Version | Self::Struct(_) => "struct",
            Self::Named(named) => named.kind,
            Self::Semver | Self::Pointer(_) => "ptr",
        }
    }

    pub(crate) fn zero(self) -> Value {
        match self {
            Self::Any => Value::Nil,
            Self::Bool => Value::Bool(false),
            Self::Int => Value::Int(0),
            Self::Int64 => Value::Int64(0),
            Self::Int32 => Value::Int32(0),
            Self::Uint8 => Value::Uint8(0),
            Self::Uint32 => Value::Uint32(0),
            Self::Uint64 => Value::Uint64(0),
            Self::Float64 => Value::Float(0.0),
            Self::Complex128 => Value::Complex(0.0, 0.0),
            Self::Text => Value::Text(Text::from("")),
            Self::Time => Value::Time(Rc::new(Time::zero())),
            Self::Semver => Value::Pointer(Pointer { to: &Self::Any, value: None }),
            Self::Version => Value::Version(Rc::default()),
            Self::Named(named) => Value::Named(named, 0),
            Self::List(of) => Value::List(Rc::new(List::nil(*of))),
            Self::Map(of) => Value::Map(Map { elem: *of, cells: None }),
            Self::Struct(of) => {
                Value::Struct(Rc::new(Structure { ty: of, fields: of.fields.iter().map(|field| field.ty.zero()).collect() }))
            }
            Self::Pointer(to) => Value::Pointer(Pointer { to, value: None }),
        }
    }
}
