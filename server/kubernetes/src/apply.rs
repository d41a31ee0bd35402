//! Server-side apply, and the bookkeeping of ordinary writes: who owns which field.

use serde_json::{Map, Value};

use crate::fields::{Entry, Set, at, leaves, remove, shown};
use crate::status::Status;

/// The writer of a change, and its time.
#[derive(Debug, Clone)]
pub struct Manager<'m> {
    pub name: &'m str,
    pub api_version: String,
    /// The subresource, or nothing.
    pub status: bool,
    pub time: &'m str,
    pub force: bool,
}

impl Manager<'_> {
    const fn subresource(&self) -> &'static str {
        if self.status { "status" } else { "" }
    }

    fn is(&self, entry: &Entry, apply: bool) -> bool {
        entry.manager == self.name
            && entry.apply == apply
            && entry.api_version == self.api_version
            && entry.subresource == self.subresource()
    }

    fn entry(&self, apply: bool) -> Entry {
        Entry {
            manager: self.name.to_owned(),
            apply,
            api_version: self.api_version.clone(),
            time: self.time.to_owned(),
            subresource: self.subresource().to_owned(),
            fields: Set::new(),
        }
    }

    /// Gives the fields to the manager's entry. Its time stays while its fields do.
    fn set(&self, entries: &mut Vec<Entry>, apply: bool, fields: Set) {
        match entries.iter_mut().find(|entry| self.is(entry, apply)) {
            Some(entry) if entry.fields == fields => {}
            Some(entry) => (entry.fields, entry.time) = (fields, self.time.to_owned()),
            None => entries.push(Entry { fields, ..self.entry(apply) }),
        }
    }
}

/// The object after an apply. `body` names what its manager wants; the rest stays.
///
/// # Errors
/// 409 with each field of another manager that has another value.
pub fn apply(current: &Value, body: &Value, manager: &Manager<'_>) -> Result<Value, Status> {
    let mut entries = Entry::read(current.get("metadata").unwrap_or(&Value::Null));
    let wanted = leaves(body, manager.status);
    let mut conflicts = Vec::new();
    for (path, value) in &wanted {
        if at(current, path).is_some_and(|live| agrees(live, value)) {
            continue;
        }
        for entry in entries.iter_mut().filter(|entry| !manager.is(entry, true) && entry.fields.contains(path)) {
            if manager.force || (entry.manager == manager.name && !entry.apply) {
                entry.fields.remove(path);
            } else {
                conflicts.push((entry.manager.clone(), entry.api_version.clone(), shown(path)));
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(Status::apply_conflict(&conflicts));
    }
    let mut object = current.clone();
    let fields: Set = wanted.iter().map(|(path, _)| path.clone()).collect();
    let before = entries.iter().find(|entry| manager.is(entry, true)).map(|entry| entry.fields.clone()).unwrap_or_default();
    for path in before.difference(&fields) {
        let others = entries.iter().any(|entry| !manager.is(entry, true) && entry.fields.contains(path));
        // What has become a map since is not this leaf any more.
        let is_inside = fields.iter().any(|other| other.starts_with(path));
        if !others && !is_inside {
            remove(&mut object, path);
        }
    }
    for (path, value) in wanted {
        if at(&object, &path).is_none_or(|live| !agrees(live, value)) {
            put(&mut object, &path, value);
        }
    }
    manager.set(&mut entries, true, fields);
    write_entries(&mut object, &entries);
    Ok(object)
}

/// An empty map asks only that there is a map.
fn agrees(live: &Value, wanted: &Value) -> bool {
    live == wanted || (live.is_object() && wanted.as_object().is_some_and(Map::is_empty))
}

fn put(object: &mut Value, path: &[String], value: &Value) {
    let Some((first, rest)) = path.split_first() else {
        *object = value.clone();
        return;
    };
    match first.strip_prefix("f:") {
        Some(key) => {
            let next_is_entry = rest.first().is_some_and(|next| !next.starts_with("f:"));
            if !object.is_object() {
                *object = Value::Object(Map::new());
            }
            let Value::Object(fields) = object else { return };
            let empty = || if next_is_entry { Value::Array(Vec::new()) } else { Value::Null };
            put(fields.entry(key.to_owned()).or_insert_with(empty), rest, value);
        }
        None => {
            let exists = at(object, std::slice::from_ref(first)).is_some();
            if let (true, Value::Array(_)) = (exists, &*object) {
                remove(object, std::slice::from_ref(first));
            }
            if let Value::Array(items) = object {
                items.push(value.clone());
            }
        }
    }
}

/// An ordinary write: the leaves that it changed belong to its manager from now on.
pub fn updated(old: &Value, new: &mut Value, manager: &Manager<'_>) {
    let before = leaves(old, manager.status);
    let after = leaves(new, manager.status);
    let changed: Set = after.iter().filter(|(path, value)| at(old, path) != Some(value)).map(|(path, _)| path.clone()).collect();
    let gone: Set = before.iter().filter(|(path, _)| at(new, path).is_none()).map(|(path, _)| path.clone()).collect();
    // The client may have set the entries themselves: kubectl does when it takes over what it applied before.
    let mut entries = Entry::read(new.get("metadata").unwrap_or(&Value::Null));
    if changed.is_empty() && gone.is_empty() {
        write_entries(new, &entries);
        return;
    }
    for entry in &mut entries {
        let own = manager.is(entry, false);
        entry.fields.retain(|path| !gone.contains(path) && (own || !changed.contains(path)));
    }
    if !changed.is_empty() {
        let own = entries.iter().find(|entry| manager.is(entry, false)).map(|entry| entry.fields.clone()).unwrap_or_default();
        manager.set(&mut entries, false, own.into_iter().chain(changed).collect());
    }
    write_entries(new, &entries);
}

fn write_entries(object: &mut Value, entries: &[Entry]) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        Entry::write(entries, metadata);
    }
}

#[cfg(test)]
mod tests;
