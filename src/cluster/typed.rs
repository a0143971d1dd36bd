//! From an untyped value to one of Kubernetes' types, with the path of what is wrong and of what is not known.
//!
//! Kubernetes' types skip fields they do not know, as the API server does unless it is told to validate. A typing error
//! (`replicas: many` for `repilcas: 3`) should not pass in silence, so this deserializer compares every map with the
//! fields of the type it becomes, and remembers what is left over.

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// A field that the type does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownField {
    /// Path from the object, with the field itself.
    pub path: String,
    /// The field of the type that is spelled most alike, if any is near.
    pub nearest: Option<&'static str>,
}

/// A value that does not fit the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Path from the object.
    pub path: String,
    /// What the type wants.
    pub problem: String,
}

/// Makes a `T` of `value`, and says which fields `T` does not have.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<(T, Vec<UnknownField>), Misfit> {
    let mut track = Track::default();
    match T::deserialize(Typed { value, track: &mut track }) {
        Ok(object) => Ok((object, track.unknown)),
        Err(error) => Err(Misfit { path: track.path(), problem: error.to_string() }),
    }
}

#[derive(Default)]
struct Track {
    /// Where we are; after an error, where it happened.
    steps: Vec<Step>,
    unknown: Vec<UnknownField>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Track {
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            match step {
                Step::Key(key) => push_key(&mut path, key),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}

/// Adds a map key to a path: `.key`, or `["key"]` where the key has a dot or a slash in it.
pub(crate) fn push_key(path: &mut String, key: &str) {
    if key.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character)) && !key.is_empty() {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        path.push_str(&format!("[\"{key}\"]"));
    }
}

struct Typed<'t> {
    value: Value,
    track: &'t mut Track,
}

impl Typed<'_> {
    /// Takes out and remembers what is not among `fields`.
    fn drop_unknown(&mut self, fields: &'static [&'static str]) {
        let Value::Object(map) = &mut self.value else { return };
        if map.keys().all(|key| fields.contains(&key.as_str())) {
            return;
        }
        let unknown: Vec<String> = map.keys().filter(|key| !fields.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            map.remove(&key);
            let mut path = self.track.path();
            push_key(&mut path, &key);
            self.track.unknown.push(UnknownField { path, nearest: nearest(&key, fields) });
        }
    }
}

/// The one of `names` spelled most like `name`, if it is near.
pub(crate) fn nearest(name: &str, names: &'static [&'static str]) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let (candidate, distance) = names
        .iter()
        .map(|known| (*known, strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase())))
        .min_by_key(|(_, distance)| *distance)?;
    (distance * 3 <= name.len().max(3)).then_some(candidate)
}

impl<'de> Deserializer<'de> for Typed<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => number.deserialize_any(visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0, track: self.track }),
            Value::Object(map) => {
                visitor.visit_map(Entries { entries: map.into_iter(), pending: None, track: self.track })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.drop_unknown(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier
    }
}

struct Items<'t> {
    items: std::vec::IntoIter<Value>,
    index: usize,
    track: &'t mut Track,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.items.next() else { return Ok(None) };
        self.track.steps.push(Step::Index(self.index));
        self.index += 1;
        // After an error the steps stay as they are: they are its path.
        let element = seed.deserialize(Typed { value, track: self.track })?;
        self.track.steps.pop();
        Ok(Some(element))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'t> {
    entries: <Map<String, Value> as IntoIterator>::IntoIter,
    pending: Option<Value>,
    track: &'t mut Track,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.pending = Some(value);
        self.track.steps.push(Step::Key(key.clone()));
        let deserializer: StringDeserializer<Error> = key.into_deserializer();
        seed.deserialize(deserializer).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.pending.take().unwrap_or(Value::Null);
        let value = seed.deserialize(Typed { value, track: self.track })?;
        self.track.steps.pop();
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_path_of_a_misfit() {
        let value = json!({"kind": "Pod", "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [
            {"containerPort": "http"}]}]}});
        let misfit = from_value::<Pod>(value).unwrap_err();
        assert_eq!(misfit.path, "spec.containers[1].ports[0].containerPort");
        assert!(misfit.problem.contains("string \"http\""), "{}", misfit.problem);
    }

    #[test]
    fn unknown_fields_with_what_was_meant() {
        let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
            "spec": {"repilcas": 3, "template": {"spec": {"containers": [{"name": "a", "zzzzzzzzzz": 1}]}}}});
        let (deployment, unknown) = from_value::<Deployment>(value).unwrap();
        assert_eq!(deployment.metadata.name.as_deref(), Some("x"));
        let found: Vec<(&str, Option<&str>)> =
            unknown.iter().map(|field| (field.path.as_str(), field.nearest)).collect();
        assert_eq!(found, [("spec.repilcas", Some("replicas")), ("spec.template.spec.containers[0].zzzzzzzzzz", None)]);
    }
}
