//! From text to documents: YAML streams, JSON, JSON one after the other, and lists of objects taken apart.

use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::UserMessageFormatter;

use super::error::InputError;
use super::lines::line_of;
use super::objects::is_kind;
use super::sources::Source;

/// The most values that the aliases of one YAML stream may stand for.
const MAX_REPLAYED: usize = 100_000;

/// One object, untyped, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The object.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// Where an object stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    source: Arc<Source>,
    /// Number of the document, from 0.
    index: u32,
    /// Whether its file has others.
    several: bool,
    /// Position in a list, from 0.
    item: Option<u32>,
}

impl Place {
    /// A source that is one document and has no text.
    pub fn whole(name: &str) -> Self {
        let source = Source { name: name.into(), text: String::new() };
        Place { source: Arc::new(source), index: 0, several: false, item: None }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// Number of the document, from 1, where its file has several.
    pub fn document(&self) -> Option<u32> {
        self.several.then_some(self.index + 1)
    }

    /// `file: document 3`, for notes.
    pub fn describe(&self) -> String {
        match self.document() {
            Some(document) => format!("{}: document {document}", self.file()),
            None => self.file().to_string(),
        }
    }

    /// An error at `field` of this object (which `object` names; where it has no name, its position does).
    pub fn error(&self, object: Option<&str>, field: &str, problem: &str, fix: Option<&str>) -> InputError {
        let within = match self.item {
            Some(item) if field.is_empty() => format!("items[{item}]"),
            Some(item) => format!("items[{item}].{field}"),
            None => field.to_string(),
        };
        let line = line_of(&self.source.text, self.index, &within);
        InputError { line, ..self.unplaced_error(object, field, problem, fix) }
    }

    /// The same without its line, which takes a second look at the whole file: for what there may be many of.
    pub fn unplaced_error(&self, object: Option<&str>, field: &str, problem: &str, fix: Option<&str>) -> InputError {
        let field = match (object, self.item) {
            (None, Some(item)) if field.is_empty() => format!("items[{item}]"),
            (None, Some(item)) => format!("items[{item}].{field}"),
            _ => field.to_string(),
        };
        InputError {
            file: self.file().into(),
            document: self.document(),
            line: None,
            object: object.map(Into::into),
            field: (!field.is_empty()).then(|| field.into()),
            problem: problem.into(),
            fix: fix.map(Into::into),
        }
    }
}

/// Takes a source apart into its objects: `kind: List`, typed lists and plain arrays give one document an item, empty
/// documents give none.
pub(crate) fn split(source: Source) -> Result<Vec<Document>, InputError> {
    let values = parse(&source)?;
    let several = values.len() > 1;
    let source = Arc::new(source);
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let place = Place { source: source.clone(), index: index as u32, several, item: None };
        flatten(value, place, &mut documents)?;
    }
    Ok(documents)
}

/// The items of a list that an API server gave, which need not say their version and kind again.
pub(crate) fn of_list(
    source: Arc<Source>,
    version: &str,
    kind: &str,
    items: Vec<Value>,
) -> Result<Vec<Document>, InputError> {
    let list = serde_json::json!({"apiVersion": version, "kind": format!("{kind}List"), "items": items});
    let mut documents = Vec::new();
    flatten(list, Place { source, index: 0, several: false, item: None }, &mut documents)?;
    Ok(documents)
}

fn flatten(value: Value, place: Place, documents: &mut Vec<Document>) -> Result<(), InputError> {
    let (items, element) = match value {
        Value::Null => return Ok(()),
        Value::Array(items) => (items, None),
        Value::Object(mut map) => {
            let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default().to_string();
            match (kind.strip_suffix("List"), map.get("items")) {
                (Some(_), Some(Value::Array(_))) => {
                    // The items of a typed list (`DeploymentList`) need not say what they are again.
                    let version = map.get("apiVersion").and_then(Value::as_str).map(str::to_string);
                    let element = kind.strip_suffix("List").filter(|name| !name.is_empty()).map(str::to_string);
                    let Some(Value::Array(items)) = map.remove("items") else { return Ok(()) };
                    (items, element.map(|kind| (version, kind)))
                }
                (Some(_), Some(Value::Null) | None) if kind == "List" => return Ok(()),
                (Some(element), Some(other)) if !other.is_null() && (kind == "List" || is_kind(element)) => {
                    return Err(place.error(None, "items", &format!("is not a list but {}", describe(other)), None));
                }
                _ => {
                    documents.push(Document { value: Value::Object(map), place });
                    return Ok(());
                }
            }
        }
        other => {
            let problem = format!("is not a Kubernetes object but {}", describe(&other));
            return Err(place.error(None, "", &problem, None));
        }
    };
    for (item, mut value) in items.into_iter().enumerate() {
        let place = Place { item: Some(item as u32), ..place.clone() };
        if let (Value::Object(map), Some((version, kind))) = (&mut value, &element) {
            map.entry("kind").or_insert_with(|| Value::String(kind.clone()));
            if let Some(version) = version {
                map.entry("apiVersion").or_insert_with(|| Value::String(version.clone()));
            }
        }
        match value {
            Value::Object(_) => documents.push(Document { value, place }),
            other => {
                let problem = format!("is not a Kubernetes object but {}", describe(&other));
                return Err(place.error(None, "", &problem, None));
            }
        }
    }
    Ok(())
}

/// What a value is, for messages.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(text) if text.chars().count() > 40 => "a piece of text".into(),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

fn parse(source: &Source) -> Result<Vec<Value>, InputError> {
    let named_json = source.name.strip_suffix(".gz").unwrap_or(&source.name).ends_with(".json");
    if named_json || source.text.trim_start().starts_with(['{', '[']) {
        let parsed: Result<Vec<Value>, serde_json::Error> =
            serde_json::Deserializer::from_str(&source.text).into_iter().collect();
        match parsed {
            Ok(values) => return Ok(values),
            Err(error) if named_json => {
                let line = u32::try_from(error.line()).ok().filter(|line| *line > 0);
                let text = error.to_string();
                let problem = text.split(" at line ").next().unwrap_or(&text);
                let error = InputError::of_file(&source.name, format!("is not valid JSON: {problem}"));
                return Err(InputError { line, ..error });
            }
            // A YAML stream may begin with a flow mapping or list too.
            Err(_) => {}
        }
    }
    serde_saphyr::from_multiple_with_options::<Value>(&source.text, yaml_options()).map_err(|error| {
        let line = error.location().and_then(|location| u32::try_from(location.line()).ok()).filter(|line| *line > 0);
        let bare = error.without_snippet();
        let text = bare.render_with_formatter(&UserMessageFormatter);
        let text = text.lines().next().unwrap_or_default();
        let problem = match text.find(" at line ") {
            Some(end) => &text[..end],
            None => text,
        };
        // What goes wrong in the value of an alias comes with both places around it.
        let cause = match bare {
            serde_saphyr::Error::AliasError { error, .. } => error.without_snippet(),
            other => other,
        };
        let problem = match cause {
            serde_saphyr::Error::AliasReplayLimitExceeded { .. } => {
                format!("its aliases stand for more than {MAX_REPLAYED} values")
            }
            _ => problem.chars().take(200).collect(),
        };
        let error = InputError::of_file(&source.name, format!("is not valid YAML: {problem}"));
        let error = InputError { line, ..error };
        match source.text.contains("{{") {
            true => error.with_fix("it looks like a template: render it first, as with helm template"),
            false => error,
        }
    })
}

/// Room for exports of whole clusters, little for what repeats itself by alias.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 50_000_000,
            max_depth: 128,
            max_documents: 1_000_000,
            max_aliases: 20_000,
            max_anchors: 20_000,
            max_recorded_anchor_bytes: 8 << 20,
            max_total_scalar_bytes: 512 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: 32,
        },
        emit_comments: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn split_text(name: &str, text: &str) -> Result<Vec<Document>, InputError> {
        split(Source { name: name.into(), text: text.into() })
    }

    #[test]
    fn lists_are_taken_apart_and_typed_lists_lend_their_kind() {
        let text = "kind: List\nitems:\n- kind: A\n- kind: B\n---\napiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata: {name: x}\n---\n# nothing\n";
        let documents = split_text("a.yaml", text).unwrap();
        let kinds: Vec<&str> = documents.iter().map(|document| document.value["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["A", "B", "Deployment"]);
        assert_eq!(documents[2].value["apiVersion"], "apps/v1");
    }

    #[test]
    fn json_streams_are_read() {
        let documents = split_text("-", "{\"kind\":\"A\"}\n{\"kind\":\"B\"}").unwrap();
        assert_eq!(documents.len(), 2);
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let error = split_text("bomb.yaml", &text).unwrap_err().to_string();
        assert!(error.starts_with("bomb.yaml"), "{error}");
        assert!(error.contains("is not valid YAML"), "{error}");
    }

    #[test]
    fn a_long_text_repeated_by_alias_is_refused() {
        let mut text = format!("a: &a {}\nb:\n", "x".repeat(1 << 20));
        text.push_str(&"- *a\n".repeat(5000));
        assert!(split_text("bomb.yaml", &text).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "- ".repeat(50_000)] {
            assert!(split_text("deep.yaml", &text).is_err());
            assert!(split_text("deep.json", &text).is_err());
        }
    }
}
