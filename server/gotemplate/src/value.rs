//! The Go values that templates can meet, with their types. `printf "%T"`, comparisons and error texts show the types.

mod types;

pub use self::types::{Field, Named, StructType, Type};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, Deref};
use std::rc::Rc;

use crate::budget::Budget;
use crate::semver::Semver;
use crate::time::Time;

/// A Go string: bytes that are usually UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Rc<[u8]>);

impl Text {
    #[must_use]
    pub fn lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Deref for Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Text {
    fn from(bytes: &T) -> Self {
        Self(Rc::from(bytes.as_ref()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Rc::from(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Rc::from(bytes))
    }
}

/// A value; `Nil` has no type.
#[derive(Clone)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Int64(i64),
    Int32(i32),
    Uint8(u8),
    Uint32(u32),
    Uint64(u64),
    Float(f64),
    Complex(f64, f64),
    Text(Text),
    List(Rc<List>),
    Map(Map),
    Struct(Rc<Structure>),
    Pointer(Pointer),
    Time(Rc<Time>),
    Semver(Rc<Semver>),
    Version(Rc<Semver>),
    Named(&'static Named, i64),
}

/// A Go slice. Slices of one list share its cells.
pub struct List {
    pub(crate) elem: Type,
    cells: Rc<RefCell<Vec<Value>>>,
    start: usize,
    len: usize,
    pub(crate) nil: bool,
    /// How deep lists are nested in this one. Maps do not count, because the budget empties them.
    nested: usize,
}

pub(crate) type Cells = Rc<RefCell<BTreeMap<Text, Value>>>;

/// A Go map with string keys. Copies share its cells, and a nil map has none.
#[derive(Clone)]
pub struct Map {
    pub(crate) elem: Type,
    cells: Option<Cells>,
}

pub struct Structure {
    pub(crate) ty: &'static StructType,
    pub(crate) fields: Vec<Value>,
}

#[derive(Clone)]
pub struct Pointer {
    pub(crate) to: &'static Type,
    pub(crate) value: Option<Rc<Value>>,
}

pub(crate) const CELL: usize = std::mem::size_of::<Value>();

impl List {
    pub(crate) fn nil(elem: Type) -> Self {
        Self { elem, cells: Rc::default(), start: 0, len: 0, nil: true, nested: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn capacity(&self) -> usize {
        self.cells.borrow().len() - self.start
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value> {
        (index < self.len).then(|| self.cells.borrow().get(self.start + index).cloned())?
    }

    /// One by one. A walk through values that contain each other holds no copies of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len).map_while(|index| self.get(index))
    }

    pub(crate) fn to_vec(&self) -> Vec<Value> {
        self.cells.borrow().get(self.start..self.start + self.len).unwrap_or_default().to_vec()
    }

    pub(crate) fn slice(&self, start: usize, end: usize) -> Self {
        let cells = Rc::clone(&self.cells);
        Self { elem: self.elem, cells, start: self.start + start, len: end - start, nil: self.nil, nested: self.nested }
    }

    /// Go's `sort.Strings` on a `[]string`: every slice that shares the cells sees the new order.
    pub(crate) fn sort_in_place(&self) {
        if let Some(cells) = self.cells.borrow_mut().get_mut(self.start..self.start + self.len) {
            cells.sort_by(|one, other| match (one, other) {
                (Value::Text(one), Value::Text(other)) => one.cmp(other),
                _ => std::cmp::Ordering::Equal,
            });
        }
    }
}

impl Map {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Value> {
        self.cells.as_ref()?.borrow().get(key).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.as_ref().map_or(0, |cells| cells.borrow().len())
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.cells.is_none()
    }

    pub(crate) fn entries(&self) -> Vec<(Text, Value)> {
        let copy = |cells: &Cells| cells.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        self.cells.as_ref().map(copy).unwrap_or_default()
    }

    /// The same one by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Text, Value)> + '_ {
        let mut last: Option<Text> = None;
        std::iter::from_fn(move || {
            let after = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let cells = self.cells.as_ref()?.borrow();
            let (key, value) = cells.range::<[u8], _>((after, Bound::Unbounded)).next()?;
            let next = (key.clone(), value.clone());
            last = Some(next.0.clone());
            Some(next)
        })
    }

    /// False for a nil map.
    pub(crate) fn insert(&self, key: Text, value: Value) -> bool {
        let Some(cells) = &self.cells else { return false };
        let old = cells.borrow_mut().insert(key, value);
        drop(old);
        true
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        if let Some(cells) = &self.cells {
            let old = cells.borrow_mut().remove(key);
            drop(old);
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.cells, &other.cells) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Structure {
    pub(crate) fn field(&self, name: &str) -> Option<(&'static Field, &Value)> {
        self.ty.fields.iter().zip(&self.fields).find(|(field, _)| field.name == name)
    }
}

impl Budget {
    pub(crate) fn text(&self, text: impl AsRef<[u8]>) -> Result<Value, String> {
        self.take(text.as_ref().len() + 16)?;
        Ok(Value::Text(Text::from(text.as_ref())))
    }

    pub(crate) fn list(&self, elem: Type, items: Vec<Value>) -> Result<Value, String> {
        self.take(items.len() * CELL + 64)?;
        let nested = 1 + items.iter().map(Value::nested).max().unwrap_or(0);
        if nested > self.limits().depth {
            return Err(format!("lists are nested deeper than {} levels", self.limits().depth));
        }
        let len = items.len();
        Ok(Value::List(Rc::new(List { elem, cells: Rc::new(RefCell::new(items)), start: 0, len, nil: false, nested })))
    }

    pub(crate) fn texts<T: AsRef<[u8]>>(&self, items: impl IntoIterator<Item = T>) -> Result<Value, String> {
        let items = items.into_iter().map(|item| self.text(item)).collect::<Result<Vec<_>, _>>()?;
        self.list(Type::Text, items)
    }

    pub(crate) fn map(&self, elem: Type, entries: BTreeMap<Text, Value>) -> Result<Map, String> {
        self.take(entries.len() * (CELL + 64) + 64)?;
        let cells = Rc::new(RefCell::new(entries));
        self.remember(&cells);
        Ok(Map { elem, cells: Some(cells) })
    }

    /// JSON as `encoding/json` decodes it into an empty interface. Every number becomes a float64.
    pub(crate) fn decoded_json(&self, json: &serde_json::Value) -> Result<Value, String> {
        use serde_json::Value as Json;
        Ok(match json {
            Json::Null => Value::Nil,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
            Json::String(text) => self.text(text)?,
            Json::Array(items) => {
                let items = items.iter().map(|item| self.decoded_json(item)).collect::<Result<_, _>>()?;
                self.list(Type::Any, items)?
            }
            Json::Object(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((Text::from(key), self.decoded_json(value)?)));
                Value::Map(self.map(Type::Any, entries.collect::<Result<_, String>>()?)?)
            }
        })
    }

    /// The top level of a template's data: a JSON object and one more entry.
    pub(crate) fn top(&self, json: &serde_json::Value, key: &str, value: Value) -> Result<Value, String> {
        let top = self.decoded_json(json)?;
        if let Value::Map(map) = &top {
            map.insert(Text::from(key), value);
        }
        Ok(top)
    }

    /// JSON as `encoding/json` decodes it into a Go type. A value that is missing or has another type becomes the zero
    /// value.
    pub(crate) fn typed(&self, ty: Type, json: Option<&serde_json::Value>) -> Result<Value, String> {
        let Some(json) = json.filter(|json| !json.is_null()) else { return Ok(ty.zero()) };
        Ok(match (ty, json) {
            (Type::Bool, _) => Value::Bool(json.as_bool().unwrap_or_default()),
            (Type::Int, _) => Value::Int(json.as_i64().unwrap_or_default()),
            (Type::Int64, _) => Value::Int64(json.as_i64().unwrap_or_default()),
            (Type::Text, serde_json::Value::String(text)) => self.text(text)?,
            (Type::List(of), serde_json::Value::Array(items)) => {
                let items = items.iter().map(|item| self.typed(*of, Some(item))).collect::<Result<_, _>>()?;
                self.list(*of, items)?
            }
            (Type::Struct(of), _) => {
                self.take(of.fields.len() * CELL)?;
                let fields = of.fields.iter().map(|field| self.typed(field.ty, json.get(field.json)));
                Value::Struct(Rc::new(Structure { ty: of, fields: fields.collect::<Result<_, _>>()? }))
            }
            (Type::Pointer(to), _) => Value::Pointer(Pointer { to, value: Some(Rc::new(self.typed(*to, Some(json))?)) }),
            (Type::Any, _) => self.decoded_json(json)?,
            _ => ty.zero(),
        })
    }
}

impl Value {
    pub(crate) fn type_of(&self) -> Option<Type> {
        Some(match self {
            Self::Nil => return None,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Int64(_) => Type::Int64,
            Self::Int32(_) => Type::Int32,
            Self::Uint8(_) => Type::Uint8,
            Self::Uint32(_) => Type::Uint32,
            Self::Uint64(_) => Type::Uint64,
            Self::Float(_) => Type::Float64,
            Self::Complex(..) => Type::Complex128,
            Self::Text(_) => Type::Text,
            Self::List(list) => return Some(list_type(list.elem)),
            Self::Map(map) => return Some(map_type(map.elem)),
            Self::Struct(value) => Type::Struct(value.ty),
            Self::Pointer(pointer) => Type::Pointer(pointer.to),
            Self::Time(_) => Type::Time,
            Self::Semver(_) => Type::Semver,
            Self::Version(_) => Type::Version,
            Self::Named(named, _) => Type::Named(named),
        })
    }

    /// The type as `%T` prints it.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::List(list) => format!("[]{}", list.elem),
            Self::Map(map) => format!("map[string]{}", map.elem),
            _ => self.type_of().map_or_else(|| "<nil>".to_owned(), |ty| ty.to_string()),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.type_of().map_or("invalid", Type::kind)
    }

    /// The `String` method of those that have one.
    pub(crate) fn stringer(&self) -> Option<String> {
        Some(match self {
            Self::Time(time) => time.to_string(),
            Self::Semver(version) | Self::Version(version) => version.to_string(),
            Self::Named(named, number) => (named.text)(*number),
            _ => return None,
        })
    }

    fn nested(&self) -> usize {
        if let Self::List(list) = self { list.nested } else { 0 }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        Some(match self {
            Self::Int(number) | Self::Int64(number) | Self::Named(_, number) => *number,
            Self::Int32(number) => i64::from(*number),
            _ => return None,
        })
    }

    pub(crate) fn unsigned(&self) -> Option<u64> {
        Some(match self {
            Self::Uint8(number) => u64::from(*number),
            Self::Uint32(number) => u64::from(*number),
            Self::Uint64(number) => *number,
            _ => return None,
        })
    }

    /// Truth as `text/template` defines it.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(truth) => *truth,
            Self::Float(number) => *number != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => list.len() > 0,
            Self::Map(map) => map.len() > 0,
            Self::Pointer(pointer) => pointer.value.is_some(),
            Self::Struct(_) | Self::Time(_) | Self::Semver(_) | Self::Version(_) => true,
            _ => self.integer().map_or_else(|| self.unsigned() != Some(0), |number| number != 0),
        }
    }

    /// Follows pointers. The flag says that a nil pointer was found, which is then returned.
    pub(crate) fn indirect(&self) -> (Self, bool) {
        let mut value = self.clone();
        while let Self::Pointer(pointer) = &value {
            match &pointer.value {
                Some(inner) => value = Self::clone(inner),
                None => return (value, true),
            }
        }
        (value, false)
    }

    pub(crate) fn is_nil(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::List(list) => list.nil,
            Self::Map(map) => map.is_nil(),
            Self::Pointer(pointer) => pointer.value.is_none(),
            _ => false,
        }
    }
}

/// Types are static. These are the types of elements that lists can have.
fn list_type(elem: Type) -> Type {
    static ANY: Type = Type::Any;
    static TEXT: Type = Type::Text;
    static INT: Type = Type::Int;
    static LISTS: Type = Type::List(&ANY);
    match elem {
        Type::Text => Type::List(&TEXT),
        Type::Int => Type::List(&INT),
        Type::List(_) => Type::List(&LISTS),
        _ => Type::List(&ANY),
    }
}

fn map_type(elem: Type) -> Type {
    static ANY: Type = Type::Any;
    static TEXT: Type = Type::Text;
    if matches!(elem, Type::Text) { Type::Map(&TEXT) } else { Type::Map(&ANY) }
}

/// Go's `reflect.Value`: a value, and whether its variable has the type `interface {}`.
#[derive(Clone)]
pub(crate) struct Held {
    pub value: Value,
    pub any: bool,
}

impl Held {
    /// Not a value at all, not even a nil interface.
    pub(crate) const INVALID: Self = Self { value: Value::Nil, any: false };

    pub(crate) fn of(value: Value) -> Self {
        Self { value, any: false }
    }

    pub(crate) fn element(value: Value, elem: Type) -> Self {
        Self { value, any: elem.is_any() }
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.any || !matches!(self.value, Value::Nil)
    }

    pub(crate) fn type_name(&self) -> String {
        if self.any { Type::Any.to_string() } else { self.value.type_name() }
    }
}
