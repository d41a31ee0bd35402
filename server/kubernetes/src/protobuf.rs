//! Kubernetes' protobuf bodies as JSON. Clients send their own kinds so, and do not try again in JSON.

mod messages;
mod wire;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use messages::{Field, Type, message};
use wire::{Fields, Payload};
pub use wire::{Malformed, Writer};

const MAGIC: &[u8] = b"k8s\0";
/// Deeper than any message of these kinds.
const MAX_DEPTH: usize = 12;

/// The object in a body, with `apiVersion` and `kind`.
///
/// # Errors
/// When it is not the message of a kind that is known here.
pub fn decode(bytes: &[u8]) -> Result<Map<String, Value>, Malformed> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Malformed::Magic)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields::of(rest) {
        match field? {
            (1, Payload::Bytes(meta)) => {
                for field in Fields::of(meta) {
                    match field? {
                        (1, Payload::Bytes(text)) => version = utf8(text)?,
                        (2, Payload::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(found)) => raw = found,
            _ => {}
        }
    }
    let fields =
        message(&version, &kind).ok_or_else(|| Malformed::Kind(format!("{version} {kind}").chars().take(128).collect()))?;
    let mut object = read(raw, fields, 0)?;
    object.insert("apiVersion".to_owned(), Value::from(version));
    object.insert("kind".to_owned(), Value::from(kind));
    Ok(object)
}

fn utf8(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Text)
}

fn read(bytes: &[u8], fields: &[Field], depth: usize) -> Result<Map<String, Value>, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed::Deep);
    }
    let mut found = Map::new();
    for item in Fields::of(bytes) {
        let (number, payload) = item?;
        let Some(field) = fields.iter().find(|field| field.number == number) else { continue };
        let Some(value) = value(&payload, &field.kind, depth)? else { continue };
        if field.repeated {
            if let Value::Array(items) = found.entry(field.key).or_insert_with(|| Value::Array(Vec::new())) {
                items.push(value);
            }
        } else if let (Type::Map(_), Value::Object(entry)) = (&field.kind, &value) {
            if let Value::Object(map) = found.entry(field.key).or_insert_with(|| Value::Object(Map::new())) {
                map.extend(entry.clone());
            }
        } else {
            found.insert(field.key.to_owned(), value);
        }
    }
    Ok(found)
}

/// None for what is on the wire only because this protobuf writes empty values.
fn value(payload: &Payload<'_>, kind: &Type, depth: usize) -> Result<Option<Value>, Malformed> {
    Ok(match (kind, payload) {
        (Type::Text, Payload::Bytes(bytes)) => Some(utf8(bytes)?).filter(|text| !text.is_empty()).map(Value::from),
        (Type::Entry, Payload::Bytes(bytes)) => Some(Value::from(utf8(bytes)?)),
        (Type::Base64, Payload::Bytes(bytes)) => Some(Value::from(STANDARD.encode(bytes))),
        (Type::Json, Payload::Bytes(bytes)) => raw_json(bytes)?,
        (Type::Int, Payload::Number(number)) => Some(number.cast_signed()).filter(|number| *number != 0).map(Value::from),
        (Type::IntOrZero, Payload::Number(number)) => Some(Value::from(number.cast_signed())),
        (Type::Bool, Payload::Number(number)) => Some(Value::from(*number != 0)),
        (Type::Message(fields), Payload::Bytes(bytes)) => {
            Some(read(bytes, fields, depth + 1)?).filter(|message| !message.is_empty()).map(Value::Object)
        }
        (Type::Time, Payload::Bytes(bytes)) => time(bytes, false)?,
        (Type::MicroTime, Payload::Bytes(bytes)) => time(bytes, true)?,
        (Type::Map(of), Payload::Bytes(bytes)) => {
            let (mut key, mut entry) = (String::new(), empty_entry(of));
            for field in Fields::of(bytes) {
                match field? {
                    (1, Payload::Bytes(text)) => key = utf8(text)?,
                    (2, payload) => entry = value(&payload, of, depth + 1)?.unwrap_or(entry),
                    _ => {}
                }
            }
            Some(Value::Object(Map::from_iter([(key, entry)])))
        }
        _ => return Err(Malformed::WireType),
    })
}

fn empty_entry(of: &Type) -> Value {
    if matches!(of, Type::Message(_)) { Value::Object(Map::new()) } else { Value::from("") }
}

/// `fieldsV1` carries its JSON in a message of one field.
fn raw_json(bytes: &[u8]) -> Result<Option<Value>, Malformed> {
    for field in Fields::of(bytes) {
        if let (1, Payload::Bytes(json)) = field? {
            return serde_json::from_slice(json).map(Some).map_err(|_| Malformed::Json);
        }
    }
    Ok(None)
}

fn time(bytes: &[u8], micro: bool) -> Result<Option<Value>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, Payload::Number(number)) => seconds = number.cast_signed(),
            (2, Payload::Number(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    let nanos = i32::try_from(nanos).ok().filter(|nanos| (0..1_000_000_000).contains(nanos)).ok_or(Malformed::Time)?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| Malformed::Time)?;
    Ok(Some(Value::from(if micro { format!("{time:.6}") } else { format!("{time:.0}") })))
}

#[cfg(test)]
mod tests;
