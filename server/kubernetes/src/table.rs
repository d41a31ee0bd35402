//! Objects as clients ask to see them: whole, as rows of a Table, or their metadata only.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::request::{Form, Include};
use crate::resources::{AGE_PATH, Column, Resource};
use crate::selector::at;

/// What stands before the items of a list, and after them. Commas separate the items.
#[must_use]
pub fn frame(resource: &Resource, metadata: &Value, form: Form) -> (String, &'static str) {
    let (head, items) = match form {
        Form::Whole => (json!({"apiVersion": resource.api_version(), "kind": format!("{}List", resource.kind)}), "items"),
        Form::Metadata => (json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList"}), "items"),
        Form::Table(version) => {
            (json!({"apiVersion": version, "kind": "Table", "columnDefinitions": definitions(resource)}), "rows")
        }
    };
    let head = head.to_string();
    let open = head.strip_suffix('}').unwrap_or(&head);
    (format!("{open},\"metadata\":{metadata},\"{items}\":["), "]}")
}

/// One item of a list, in its form.
#[must_use]
pub fn item(resource: &Resource, object: Value, form: Form, include: Include, now: Timestamp) -> Value {
    match form {
        Form::Whole => object,
        Form::Metadata => partial(object),
        Form::Table(_) => row(resource, object, include, now),
    }
}

/// A list as text, in its form.
#[must_use]
pub fn list(resource: &Resource, items: Vec<Value>, metadata: &Value, form: Form, include: Include, now: Timestamp) -> String {
    let (mut text, end) = frame(resource, metadata, form);
    for (place, object) in items.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&item(resource, object, form, include, now).to_string());
    }
    text + end
}

/// One object, in its form. `first` says whether a Table names its columns; those of a watch do so once.
#[must_use]
pub fn one(resource: &Resource, object: Value, form: Form, include: Include, first: bool, now: Timestamp) -> Value {
    match form {
        Form::Whole => object,
        Form::Metadata => partial(object),
        Form::Table(version) => {
            let metadata = json!({"resourceVersion": at(&object, ".metadata.resourceVersion")});
            let columns = if first { definitions(resource) } else { Value::Null };
            table(version, metadata, columns, vec![row(resource, object, include, now)])
        }
    }
}

/// A bookmark: no object, only how far the watch is.
#[must_use]
pub fn bookmark(resource: &Resource, revision: u64, ends_initial_events: bool, form: Form) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let (true, Some(metadata)) = (ends_initial_events, metadata.as_object_mut()) {
        metadata.insert("annotations".to_owned(), json!({"k8s.io/initial-events-end": "true"}));
    }
    match form {
        Form::Whole => json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata}),
        Form::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
        Form::Table(version) => table(version, metadata, Value::Null, Vec::new()),
    }
}

/// Takes the values as they are: `json!` copies them.
fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn table(version: &str, metadata: Value, columns: Value, rows: Vec<Value>) -> Value {
    fields([
        ("kind", "Table".into()),
        ("apiVersion", version.into()),
        ("metadata", metadata),
        ("columnDefinitions", columns),
        ("rows", rows.into()),
    ])
}

fn partial(mut object: Value) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
    fields([("kind", "PartialObjectMetadata".into()), ("apiVersion", "meta.k8s.io/v1".into()), ("metadata", metadata)])
}

fn definitions(resource: &Resource) -> Value {
    let name = json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
    let others = resource.columns.iter().map(|column| {
        let priority = i32::from(column.wide);
        json!({"name": column.name, "type": "string", "format": "", "description": "", "priority": priority})
    });
    std::iter::once(name).chain(others).collect()
}

fn row(resource: &Resource, object: Value, include: Include, now: Timestamp) -> Value {
    let name = at(&object, ".metadata.name").cloned().unwrap_or_default();
    let cells: Vec<Value> =
        std::iter::once(name).chain(resource.columns.iter().map(|column| cell(&object, column, now))).collect();
    match include {
        Include::Metadata => fields([("cells", cells.into()), ("object", partial(object))]),
        Include::Object => fields([("cells", cells.into()), ("object", object)]),
        Include::None => fields([("cells", cells.into())]),
    }
}

fn cell(object: &Value, column: &Column, now: Timestamp) -> Value {
    if let Some(path) = column.path.strip_suffix('#') {
        let count = at(object, path).and_then(Value::as_object).map_or(0, serde_json::Map::len);
        return json!(count.to_string());
    }
    let found = at(object, column.path).filter(|value| !value.is_null());
    let is_time = column.path == AGE_PATH || matches!(column.name, "Since" | "Last Seen");
    match found {
        Some(Value::String(text)) if is_time => match text.parse::<Timestamp>() {
            Ok(then) => json!(age(now.duration_since(then).as_secs())),
            Err(_) => json!("<unknown>"),
        },
        None if is_time => json!("<unknown>"),
        Some(Value::String(text)) => json!(text),
        Some(other) => json!(other.to_string()),
        None => Value::Null,
    }
}

/// As kubectl writes a time since: `5s`, `2m5s`, `10m`, `3h20m`, `5d4h`, `2y10d`.
fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () => pair(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    #[test]
    fn ages_are_kubectls() {
        for (seconds, text) in [
            (-3, "0s"),
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (12_000, "3h20m"),
            (100_000, "27h"),
            (446_400, "5d4h"),
            (86_400 * 30, "30d"),
            (86_400 * 740, "2y10d"),
        ] {
            assert_eq!(age(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_row_has_the_columns_of_its_kind() {
        let workflows = find("tinkerbell.org", "v1alpha1", "workflows").unwrap();
        let object = json!({
            "metadata": {"name": "w", "namespace": "a", "resourceVersion": "5", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"templateRef": "t"}, "status": {"state": "PENDING"},
        });
        let now: Timestamp = "2026-01-02T03:05:05Z".parse().unwrap();
        let found = one(workflows, object.clone(), Form::Table("meta.k8s.io/v1"), Include::Metadata, true, now);
        assert_eq!(found["rows"][0]["cells"], json!(["w", "t", "PENDING", null, null, null, null, null, null, "60s"]));
        assert_eq!(found["columnDefinitions"].as_array().unwrap().len(), 10);
        assert_eq!(found["rows"][0]["object"]["metadata"], object["metadata"]);
        let later = one(workflows, object, Form::Table("meta.k8s.io/v1"), Include::None, false, now);
        assert!(later["columnDefinitions"].is_null() && later["rows"][0].get("object").is_none());
        let mark = bookmark(workflows, 9, true, Form::Table("meta.k8s.io/v1"));
        assert_eq!((mark["metadata"]["resourceVersion"].as_str(), mark["rows"].as_array().unwrap().len()), (Some("9"), 0));
    }

    #[test]
    fn a_list_is_its_items_in_each_form() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let items = || ["a", "b"].map(|name| json!({"metadata": {"name": name}, "spec": {}})).to_vec();
        let metadata = json!({"resourceVersion": "7"});
        for (form, kind, items_are, first) in [
            (Form::Whole, "HardwareList", "items", items()[0].clone()),
            (
                Form::Metadata,
                "PartialObjectMetadataList",
                "items",
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}),
            ),
            (Form::Table("meta.k8s.io/v1"), "Table", "rows", Value::Null),
        ] {
            for items in [items(), vec![]] {
                let text = list(hardware, items.clone(), &metadata, form, Include::None, Timestamp::UNIX_EPOCH);
                let found: Value = serde_json::from_str(&text).unwrap();
                assert_eq!((found["kind"].as_str(), &found["metadata"]), (Some(kind), &metadata), "{text}");
                assert_eq!(found[items_are].as_array().map(Vec::len), Some(items.len()), "{text}");
                assert!(items.is_empty() || first.is_null() || found[items_are][0] == first, "{text}");
                assert!(items.is_empty() || !first.is_null() || found[items_are][0]["cells"][0] == "a", "{text}");
                assert_eq!(found["columnDefinitions"].is_array(), kind == "Table", "{text}");
            }
        }
    }

    #[test]
    fn secrets_show_how_much_they_have_and_not_what() {
        let secrets = find("", "v1", "secrets").unwrap();
        let object = json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": "Yg==", "c": "Yg=="}});
        let found = one(secrets, object, Form::Table("meta.k8s.io/v1"), Include::Metadata, true, Timestamp::UNIX_EPOCH);
        assert_eq!(found["rows"][0]["cells"], json!(["s", "Opaque", "2", "<unknown>"]));
    }
}
