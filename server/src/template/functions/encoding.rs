//! Values to text and back: Base64, JSON, YAML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gotmpl::Value;
use serde_json::Value as Json;

use super::arguments::Arguments;
use super::{Outcome, Table};
use crate::template::data::from_json;

pub(super) const TABLE: Table = &[
    ("b64enc", |a| a.bounded(STANDARD.encode(a.text(0)?))),
    ("b64dec", |a| a.bounded(decoded(&a.text(0)?))),
    ("toJson", |a| a.bounded(to_json(a.at(0)?).to_string())),
    ("toPrettyJson", |a| a.bounded(serde_json::to_string_pretty(&to_json(a.at(0)?)).map_err(|error| a.error(error))?)),
    ("fromJson", |a| serde_json::from_str(&a.text(0)?).map(|json: Json| from_json(&json)).map_err(|error| a.error(error))),
    ("toYaml", |a| {
        a.bounded(serde_saphyr::to_string(&to_json(a.at(0)?)).map_err(|error| a.error(error))?.trim_end_matches('\n').to_owned())
    }),
    ("fromYaml", from_yaml),
];

/// sprig answers with the error's text instead of failing.
fn decoded(text: &str) -> String {
    match STANDARD.decode(text) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(truth) => Json::from(*truth),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::from(text.as_ref()),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(map) => map.iter().map(|(key, value)| (key.to_string(), to_json(value))).collect(),
        _ => Json::Null,
    }
}

fn from_yaml(args: &Arguments<'_>) -> Outcome {
    match model::parse_values(&args.text(0)?, "text") {
        Ok(documents) => Ok(documents.first().map_or(Value::Nil, from_json)),
        Err(mistakes) => Err(args.error(mistakes.first().map(ToString::to_string).unwrap_or_default())),
    }
}
