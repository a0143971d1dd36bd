//! What serde says of a value that does not fit, in our words.

use super::typed::{Misfit, UnknownField, push_key};
use super::validate::Fault;

impl From<Misfit> for Fault {
    fn from(Misfit { mut path, problem }: Misfit) -> Self {
        if let Some(field) = problem.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            push_key(&mut path, field);
            return Fault { field: path, problem: "is missing".into(), fix: None };
        }
        Fault { field: path, problem: wording(&problem), fix: fix(&problem).map(Into::into) }
    }
}

impl From<UnknownField> for Fault {
    fn from(UnknownField { path, nearest }: UnknownField) -> Self {
        let fix = nearest.map(|nearest| format!("did you mean {nearest}?"));
        Fault { field: path, problem: "is not a known field".into(), fix }
    }
}

fn wording(problem: &str) -> String {
    let invalid = ["invalid type: ", "invalid value: "].iter().find_map(|prefix| problem.strip_prefix(prefix));
    let Some((found, expected)) = invalid.and_then(|rest| rest.split_once(", expected ")) else {
        return problem.to_string();
    };
    let found = match found {
        "sequence" => "a list".to_string(),
        "map" => "a map".to_string(),
        "null" | "unit value" => "nothing".to_string(),
        other => other.replace('`', "").replacen("string", "the text", 1),
    };
    let expected = match expected {
        "i32" | "i64" if problem.starts_with("invalid value") => "a smaller one",
        "u32" | "u64" if found.starts_with("integer -") => "a whole number from 0 on",
        "u32" | "u64" if problem.starts_with("invalid value") => "a smaller one",
        "i32" | "i64" | "u32" | "u64" => "a whole number",
        "a string" | "a borrowed string" => "text",
        "struct" | "a map" => "a map",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "Quantity" => "a quantity such as 500m or 2Gi",
        "Time" | "MicroTime" => "a time such as 2026-01-31T12:00:00Z",
        "IntOrString" => "a whole number or text",
        // Types call themselves by their name, and are all maps.
        other if other.starts_with("struct ") || other.starts_with(char::is_uppercase) => "a map",
        other => other,
    };
    format!("is {found}, and should be {expected}")
}

fn fix(problem: &str) -> Option<&'static str> {
    let quoting = problem.ends_with("expected a string")
        && ["integer", "floating point", "boolean"]
            .iter()
            .any(|kind| problem.starts_with(&format!("invalid type: {kind}")));
    quoting.then_some("put it in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(problem: &str) -> String {
        let fault = Fault::from(Misfit { path: "spec.a".into(), problem: problem.into() });
        format!("{}: {}", fault.field, fault.problem)
    }

    #[test]
    fn misfits_are_told_in_the_words_of_manifests() {
        assert_eq!(told("missing field `kind`"), "spec.a.kind: is missing");
        assert_eq!(
            told("invalid type: integer `4`, expected struct NodeClassReference"),
            "spec.a: is integer 4, and should be a map"
        );
        assert_eq!(
            told("invalid value: integer `-1`, expected u32"),
            "spec.a: is integer -1, and should be a whole number from 0 on"
        );
        assert_eq!(
            told("invalid value: integer `99999999999`, expected i32"),
            "spec.a: is integer 99999999999, and should be a smaller one"
        );
    }
}
