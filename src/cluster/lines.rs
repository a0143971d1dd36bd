//! On which line of a text a field stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::documents::yaml_options;

/// The line that the value at `path` begins on: the text is parsed again, with positions, and so only after an error.
pub(super) fn line_of(text: &str, document: u32, path: &str) -> Option<u32> {
    match json_document(text, document) {
        Some((begin, text)) => {
            // What YAML can't read of JSON (some escapes) leaves the document's first line.
            let within = line_in(text, 0, path).unwrap_or(1);
            Some(begin + within - 1)
        }
        None => line_in(text, document, path),
    }
}

/// A document of JSON texts one after the other, and the line that it begins on; `None` where the text is another one.
fn json_document(text: &str, document: u32) -> Option<(u32, &str)> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut found = None;
    let mut index = 0;
    loop {
        let begin = stream.byte_offset();
        match stream.next() {
            Some(Ok(_)) if index == document => found = text.get(begin..stream.byte_offset()).map(|part| (begin, part)),
            Some(Ok(_)) => {}
            Some(Err(_)) => return None,
            None => break,
        }
        index += 1;
    }
    let (begin, part) = found?;
    let trimmed = part.trim_start();
    let before = &text[..begin + part.len() - trimmed.len()];
    Some((u32::try_from(before.matches('\n').count()).ok()? + 1, trimmed))
}

fn line_in(text: &str, document: u32, path: &str) -> Option<u32> {
    let documents = serde_saphyr::from_multiple_with_options::<Located>(text, yaml_options()).ok()?;
    let mut node = documents.get(document as usize)?;
    let mut line = node.line;
    for step in steps(path) {
        let next = match (&node.content, step) {
            (Content::Map(entries), Step::Key(key)) => {
                entries.iter().find(|(name, _)| *name == key).map(|(_, child)| child)
            }
            (Content::List(items), Step::Index(index)) => items.get(index),
            _ => None,
        };
        let Some(next) = next else { break };
        node = next;
        line = node.line;
    }
    (line > 0).then_some(line)
}

#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Takes `a.b[0]["c/d.e"].f` apart.
fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let Some((key, tail)) = quoted.split_once("\"]") else { break };
            steps.push(Step::Key(key));
            rest = tail;
        } else if let Some(bracketed) = rest.strip_prefix('[') {
            let Some((index, tail)) = bracketed.split_once(']') else { break };
            let Ok(index) = index.parse() else { break };
            steps.push(Step::Index(index));
            rest = tail;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            steps.push(Step::Key(&rest[..end]));
            rest = &rest[end..];
        }
    }
    steps
}

/// A value's shape with the lines it stands on.
#[derive(Debug)]
struct Located {
    line: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Map(Vec<(String, Located)>),
    List(Vec<Located>),
    Scalar,
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        let line = u32::try_from(spanned.referenced.line()).unwrap_or(0);
        Ok(Located { line, content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<serde_json::Value>()? {
            match key {
                serde_json::Value::String(key) => entries.push((key, access.next_value()?)),
                _ => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(
            steps("a.b[2][\"x/y.z\"].c"),
            [Step::Key("a"), Step::Key("b"), Step::Index(2), Step::Key("x/y.z"), Step::Key("c")]
        );
    }

    #[test]
    fn lines_of_fields() {
        let text = "# head\na: 1\n---\nkind: X\nspec:\n  list:\n  - name: a\n  - name: b\n    size: 3\n";
        assert_eq!(line_of(text, 1, "spec.list[1].size"), Some(9));
        assert_eq!(line_of(text, 1, "spec.list[1].missing"), Some(8));
        assert_eq!(line_of("{\"a\":\n{\"b\":\n1}}", 0, "a.b"), Some(3));
    }

    #[test]
    fn lines_of_json_documents_one_after_the_other() {
        let text = "{\"a\": 1}\n\n{\"b\": {\n\t\"c\": \"\\ud83d\\ude00\",\n\"d\": 2}} {\"e\":\n3}";
        assert_eq!(line_of(text, 0, "a"), Some(1));
        assert_eq!(line_of(text, 1, "b.d"), Some(5));
        assert_eq!(line_of(text, 2, "e"), Some(6));
        assert_eq!(line_of("{a: 1}\n---\n{b: 2}", 1, "b"), Some(3));
    }
}
