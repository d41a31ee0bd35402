//! Parses JSON text into the leaves of a pattern.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::glob::Glob;
use crate::leaf::Alternative;
use crate::regexp::Regexp;
use crate::{Fault, MAX_DEPTH, MAX_LEAVES, MAX_LENGTH};

/// JSON that keeps the order of keys, and keys that occur twice.
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

pub fn pattern(text: &str) -> Result<Vec<(String, Vec<Alternative>)>, Fault> {
    if text.len() > MAX_LENGTH {
        return Err(fault("pattern", format!("it has {} bytes, and the most is {MAX_LENGTH}", text.len())));
    }
    let json: Json = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        fault(&format!("line {}, column {}", error.line(), error.column()), message)
    })?;
    let Json::Object(members) = json else { return Err(fault("pattern", "a pattern must be a JSON object")) };
    let mut leaves = Vec::new();
    object(members, &mut Vec::new(), &mut leaves)?;
    leaves.sort_by(|(one, _), (other, _)| one.cmp(other));
    if let Some(twice) =
        leaves.windows(2).find_map(|pair| Some(&pair.first()?.0).filter(|path| Some(*path) == pair.last().map(|(path, _)| path)))
    {
        return Err(fault(&twice.replace('\n', "."), "this key occurs twice"));
    }
    Ok(leaves)
}

fn fault(place: &str, message: impl Into<String>) -> Fault {
    Fault { place: place.to_owned(), message: message.into() }
}

fn object(
    members: Vec<(String, Json)>,
    path: &mut Vec<String>,
    leaves: &mut Vec<(String, Vec<Alternative>)>,
) -> Result<(), Fault> {
    for (index, (key, value)) in members.into_iter().enumerate() {
        path.push(key);
        let place = path.join(".");
        if path.len() > MAX_DEPTH {
            return Err(fault("pattern", format!("objects are nested deeper than {MAX_DEPTH} levels")));
        }
        if leaves.len() > MAX_LEAVES || index > MAX_LEAVES {
            return Err(fault(&place, format!("a pattern has at most {MAX_LEAVES} leaves")));
        }
        match value {
            Json::Object(members) => object(members, path, leaves)?,
            Json::List(alternatives) => leaves.push((path.join("\n"), list(alternatives, &place)?)),
            other => return Err(fault(&place, format!("a leaf is a list: write [{other}]"))),
        }
        path.pop();
    }
    Ok(())
}

fn list(elements: Vec<Json>, place: &str) -> Result<Vec<Alternative>, Fault> {
    let alone = elements.len() == 1;
    let one = |(index, element): (usize, Json)| {
        let place = format!("{place}[{index}]");
        let Json::Object(members) = element else { return plain(element, &place) };
        let mut members = members.into_iter();
        let (Some((operator, operand)), None) = (members.next(), members.next()) else {
            return Err(fault(&place, "an object in a list must have exactly one key, such as \"prefix\""));
        };
        if !alone && ["anything-but", "exists", "regexp"].contains(&operator.as_str()) {
            return Err(fault(&place, format!("{operator:?} must be the only element of its list")));
        }
        special(&operator, operand).map_err(|message| fault(&format!("{place}.{operator}"), message))
    };
    elements.into_iter().enumerate().map(one).collect()
}

fn plain(element: Json, place: &str) -> Result<Alternative, Fault> {
    Ok(match element {
        Json::Null => Alternative::Null,
        Json::Bool(value) => Alternative::Bool(value),
        Json::Number(number) => Alternative::Number(number.to_bits()),
        Json::Text(text) => Alternative::Text(text),
        Json::List(_) | Json::Object(_) => return Err(fault(place, "a list cannot be an alternative")),
    })
}

fn special(operator: &str, operand: Json) -> Result<Alternative, String> {
    Ok(match (operator, operand) {
        ("exists", Json::Bool(exists)) => Alternative::Exists(exists),
        ("exists", _) => return Err("the value must be true or false".to_owned()),
        ("anything-but", Json::List(texts)) if !texts.is_empty() => {
            let text = |text| if let Json::Text(text) = text { Ok(text) } else { Err("strings only".to_owned()) };
            Alternative::AnythingBut(texts.into_iter().map(text).collect::<Result<_, _>>()?)
        }
        ("anything-but", _) => return Err("the value must be a list of at least one string".to_owned()),
        ("prefix", Json::Text(prefix)) => Alternative::Prefix(prefix),
        ("wildcard", Json::Text(text)) => Alternative::Glob(Glob::wildcard(&text)?),
        ("shellstyle", Json::Text(text)) => Alternative::Glob(Glob::shellstyle(&text)?),
        ("equals-ignore-case", Json::Text(text)) => Alternative::EqualsIgnoreCase(text),
        ("regexp", Json::Text(text)) => Alternative::Regexp(Regexp::parse(&text)?),
        ("prefix" | "wildcard" | "shellstyle" | "equals-ignore-case" | "regexp", _) => return Err("a string".to_owned()),
        _ => {
            let known = "anything-but, equals-ignore-case, exists, prefix, regexp, shellstyle and wildcard";
            return Err(format!("this operator is not known; the operators are {known}"));
        }
    })
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Number(number) => write!(out, "{number}"),
            Self::Text(text) => write!(out, "{:?}", text.chars().take(40).collect::<String>()),
            Self::List(_) | Self::Object(_) => out.write_str("..."),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "the language compares numbers as 64-bit floats")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "the language compares numbers as 64-bit floats")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Json::Object(object))
    }
}
