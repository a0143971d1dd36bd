//! Names, labels and selectors: what Kubernetes accepts as such.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>,
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::path::{Checked, Path};

/// Letters, digits and `-`, beginning and ending with a letter or digit, at most 63 long.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=63).contains(&bytes.len()) && bytes.iter().all(inner) && bytes[0] != b'-' && bytes[bytes.len() - 1] != b'-'
}

/// DNS labels joined by dots, at most 253 long.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        !bytes.is_empty() && bytes.iter().all(inner) && bytes[0] != b'-' && bytes[bytes.len() - 1] != b'-'
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// What a label's value and the last part of its key may be: at most 63 of letters, digits, `-`, `_` and `.`,
/// beginning and ending with a letter or digit.
fn is_label_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes[0].is_ascii_alphanumeric()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
}

/// An optional DNS subdomain and a slash, then a name.
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_part(name),
        None => is_label_part(text),
    }
}

/// Empty, or at most 63 of letters, digits, `-`, `_` and `.`.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_part(text)
}

/// Checks a label key.
pub(crate) fn label_key(key: &str, path: &Path<'_>) -> Checked {
    if key.is_empty() {
        return path.fail("is missing");
    }
    if !is_label_key(key) {
        return path.fail(format!("{key:?} is not a label key (an optional DNS name and a slash, then at most 63 letters, digits, '-', '_' or '.')"));
    }
    Ok(())
}

/// Checks a label value.
pub(crate) fn label_value(value: &str, path: &Path<'_>) -> Checked {
    if !is_label_value(value) {
        return path.fail(format!("{value:?} is not a label value (at most 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit)"));
    }
    Ok(())
}

/// Checks keys and values of a map of labels.
pub(crate) fn labels(labels: Option<&BTreeMap<String, String>>, path: &Path<'_>) -> Checked {
    for (key, value) in labels.into_iter().flatten() {
        if !is_label_key(key) {
            return label_key(key, path);
        }
        if !is_label_value(value) {
            return label_value(value, &path.key(key));
        }
    }
    Ok(())
}

/// Checks a label selector.
pub(crate) fn selector(selector: &LabelSelector, path: &Path<'_>) -> Checked {
    labels(selector.match_labels.as_ref(), &path.key("matchLabels"))?;
    let list = path.key("matchExpressions");
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = list.index(index);
        label_key(&requirement.key, &path.key("key"))?;
        let values = requirement.values.as_deref().unwrap_or_default();
        match requirement.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                return path.key("values").fail(format!("operator {} needs at least one value", requirement.operator));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                return path.key("values").fail(format!("operator {} takes no values", requirement.operator));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                return path
                    .key("operator")
                    .fail(format!("{other:?} is not one of In, NotIn, Exists and DoesNotExist"));
            }
        }
        for (index, value) in values.iter().enumerate() {
            label_value(value, &path.key("values").index(index))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_keys_and_values() {
        for key in ["app", "app.kubernetes.io/name", "a_b.c-d", "A", "example.com/A"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "/x", "x/", "a/b/c", "-a", "a-", "UPPER.com/x", "a b"] {
            assert!(!is_label_key(key), "{key}");
        }
        let long = "x".repeat(64);
        assert!(is_label_value("") && is_label_value("a.b-c_D1"));
        assert!(!is_label_value(&long) && !is_label_value("-x") && !is_label_value("a/b"));
    }

    #[test]
    fn dns_names() {
        assert!(is_dns_label("a-1") && !is_dns_label("a.b") && !is_dns_label("A") && !is_dns_label(""));
        assert!(is_dns_subdomain("a.b-c.d") && !is_dns_subdomain("a..b") && !is_dns_subdomain("a_b"));
    }
}
