//! One manifest and what the API server says of it.

use serde_json::{Map, Value, json};

/// A manifest, and what becomes of it.
pub struct Case {
    /// The whole object.
    pub manifest: Value,
    /// What was changed, for messages.
    pub change: String,
    /// What the refusal says; empty where there is none.
    pub refusal: &'static str,
}

/// The verdict of a manifest that is accepted.
pub const ACCEPTED: &str = "";

/// A manifest that a table's lines change, each in one place.
pub struct Base(pub Value);

impl Base {
    /// The manifest with `value` at `path` (`spec.weight`), or without what is there where `value` is null.
    pub fn with(&self, path: &str, value: Value, refusal: &'static str) -> Case {
        let mut manifest = self.0.clone();
        let change = format!("{path}: {value}");
        put(&mut manifest, path, value);
        Case { manifest, change, refusal }
    }

    /// The manifest with each of the values at the path.
    pub fn with_each(&self, path: &str, values: &[&str], refusal: &'static str) -> Vec<Case> {
        values.iter().map(|value| self.with(path, json!(value), refusal)).collect()
    }
}

/// Sets a field, and makes the maps on the way to it.
pub fn put(object: &mut Value, path: &str, value: Value) {
    let (parents, field) = path.rsplit_once('.').unwrap_or(("", path));
    let mut place = object;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        place = place.as_object_mut().unwrap().entry(parent).or_insert_with(|| Value::Object(Map::new()));
    }
    let place = place.as_object_mut().unwrap();
    match value {
        Value::Null => drop(place.remove(field)),
        value => drop(place.insert(field.to_owned(), value)),
    }
}
