//! Requirements on labels: node selectors and affinity, NodePool requirements, label selectors.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#operators>; NodePools add `Gte` and `Lte`
//! (<https://karpenter.sh/docs/concepts/nodepools/>).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use thiserror::Error;

use super::node_pool::NodeSelectorRequirementWithMinValues;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is an integer above the value.
    Gt,
    /// The label is an integer below the value.
    Lt,
    /// The label is an integer, and at least the value.
    Gte,
    /// The label is an integer, and at most the value.
    Lte,
}

/// Why a requirement is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequirementError {
    /// No such operator.
    #[error("key {key}: operator {operator:?} is not known")]
    Operator {
        /// Label key.
        key: String,
        /// What was read.
        operator: String,
    },
    /// `In` and `NotIn` need values.
    #[error("key {key}: operator {operator} needs at least one value")]
    NoValues {
        /// Label key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// `Exists` and `DoesNotExist` take no values.
    #[error("key {key}: operator {operator} takes no values")]
    Values {
        /// Label key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// `Gt`, `Lt`, `Gte` and `Lte` need one integer.
    #[error("key {key}: operator {operator} needs exactly one integer value")]
    Number {
        /// Label key.
        key: String,
        /// The operator.
        operator: String,
    },
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// Label key, in its current name (see [`current_key`]).
    pub key: String,
    /// How it compares.
    pub operator: Operator,
    /// What it compares with, sorted.
    pub values: Vec<String>,
    /// The number of `Gt`, `Lt`, `Gte` and `Lte`.
    number: i64,
}

impl Requirement {
    /// Reads a requirement as the API writes it.
    pub fn new(key: &str, operator: &str, values: &[String]) -> Result<Requirement, RequirementError> {
        let parsed = match operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            "Gte" => Operator::Gte,
            "Lte" => Operator::Lte,
            _ => return Err(RequirementError::Operator { key: key.to_owned(), operator: operator.to_owned() }),
        };
        let names = || (key.to_owned(), operator.to_owned());
        let mut number = 0;
        match parsed {
            Operator::In | Operator::NotIn if values.is_empty() => {
                let (key, operator) = names();
                return Err(RequirementError::NoValues { key, operator });
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                let (key, operator) = names();
                return Err(RequirementError::Values { key, operator });
            }
            Operator::Gt | Operator::Lt | Operator::Gte | Operator::Lte => match values {
                [value] if value.parse::<i64>().is_ok() => number = value.parse().unwrap_or_default(),
                _ => {
                    let (key, operator) = names();
                    return Err(RequirementError::Number { key, operator });
                }
            },
            _ => {}
        }
        let mut values = values.to_vec();
        values.sort();
        values.dedup();
        Ok(Requirement { key: current_key(key).to_owned(), operator: parsed, values, number })
    }

    /// Reads a requirement on offerings, of a pool, claim or overlay, as Karpenter takes it (`NewRequirementWithFlexibility` in
    /// `pkg/scheduling/requirement.go`): `Exists` and `DoesNotExist` pass over values, and `NotIn` without any is `Exists`.
    pub fn of_offering(key: &str, operator: &str, values: &[String]) -> Result<Requirement, RequirementError> {
        match operator {
            "Exists" | "DoesNotExist" => Requirement::new(key, operator, &[]),
            "NotIn" if values.is_empty() => Requirement::new(key, "Exists", &[]),
            _ => Requirement::new(key, operator, values),
        }
    }

    /// `key in (value)`.
    pub fn equals(key: &str, value: &str) -> Requirement {
        Requirement {
            key: current_key(key).to_owned(),
            operator: Operator::In,
            values: vec![value.to_owned()],
            number: 0,
        }
    }

    /// Whether a label of this value (or its absence) satisfies the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|allowed| allowed == value);
        let compare = |holds: fn(i64, i64) -> bool| {
            value.and_then(|value| value.parse().ok()).is_some_and(|value| holds(value, self.number))
        };
        match self.operator {
            Operator::In => value.is_some_and(among),
            Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => compare(|value, number| value > number),
            Operator::Lt => compare(|value, number| value < number),
            Operator::Gte => compare(|value, number| value >= number),
            Operator::Lte => compare(|value, number| value <= number),
        }
    }

    /// The requirement in words: `disktype in (ssd)`.
    pub fn describe(&self) -> String {
        let key = &self.key;
        match self.operator {
            Operator::In if self.values.len() == 1 => format!("{key}={}", self.values[0]),
            Operator::In => format!("{key} in ({})", self.values.join(",")),
            Operator::NotIn => format!("{key} not in ({})", self.values.join(",")),
            Operator::Exists => format!("{key} exists"),
            Operator::DoesNotExist => format!("{key} does not exist"),
            Operator::Gt => format!("{key} > {}", self.number),
            Operator::Lt => format!("{key} < {}", self.number),
            Operator::Gte => format!("{key} >= {}", self.number),
            Operator::Lte => format!("{key} <= {}", self.number),
        }
    }
}

/// The current name of a label that has had others, and of a volume driver's own name for the zone.
pub fn current_key(key: &str) -> &str {
    match key {
        "failure-domain.beta.kubernetes.io/zone" | "topology.ebs.csi.aws.com/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        _ => key,
    }
}

/// All of these requirements; the name of the node is under [`NAME_FIELD`].
pub type Term = Vec<Requirement>;

/// The key under which `matchFields` looks up a node's name.
pub const NAME_FIELD: &str = "metadata.name";

/// What nodes a pod may stand on: each conjunct must hold, each is an OR of terms.
///
/// A conjunct with no terms never holds (as in Kubernetes, where an empty term matches no node).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeRequirements {
    /// The conjuncts.
    pub all_of: Vec<Vec<Term>>,
}

impl NodeRequirements {
    /// Whether a node's labels (by a look-up) satisfy all of it.
    pub fn matches<'a>(&self, label: &impl Fn(&str) -> Option<&'a str>) -> bool {
        self.all_of.iter().all(|terms| {
            terms.iter().any(|term| term.iter().all(|requirement| requirement.matches(label(&requirement.key))))
        })
    }

    /// Adds the labels of `spec.nodeSelector`.
    pub fn add_labels(&mut self, labels: &BTreeMap<String, String>) {
        let term: Term = labels.iter().map(|(key, value)| Requirement::equals(key, value)).collect();
        if !term.is_empty() {
            self.all_of.push(vec![term]);
        }
    }

    /// Adds a node selector: an OR of terms.
    pub fn add_selector(&mut self, selector: &NodeSelector) -> Result<(), RequirementError> {
        let mut terms = Vec::new();
        for term in &selector.node_selector_terms {
            let term = read_term(term)?;
            if !term.is_empty() {
                terms.push(term);
            }
        }
        self.all_of.push(terms);
        Ok(())
    }

    /// All requirements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.all_of.iter().flatten().flatten()
    }

    /// In words.
    pub fn describe(&self) -> String {
        let term = |term: &Term| term.iter().map(Requirement::describe).collect::<Vec<_>>().join(" and ");
        let conjuncts: Vec<_> = self
            .all_of
            .iter()
            .map(|terms| match terms.as_slice() {
                [] => "a term that matches no node".to_owned(),
                [one] => term(one),
                more => format!("({})", more.iter().map(term).collect::<Vec<_>>().join(" or ")),
            })
            .collect();
        conjuncts.join(" and ")
    }
}

impl TryFrom<&NodeSelectorRequirementWithMinValues> for Requirement {
    type Error = RequirementError;

    fn try_from(one: &NodeSelectorRequirementWithMinValues) -> Result<Self, Self::Error> {
        Requirement::of_offering(&one.key, &one.operator, one.values.as_deref().unwrap_or_default())
    }
}

impl TryFrom<&NodeSelectorRequirement> for Requirement {
    type Error = RequirementError;

    fn try_from(one: &NodeSelectorRequirement) -> Result<Self, Self::Error> {
        Requirement::new(&one.key, &one.operator, one.values.as_deref().unwrap_or_default())
    }
}

/// Reads one node selector term; the result is empty where the term is.
pub fn read_term(term: &NodeSelectorTerm) -> Result<Term, RequirementError> {
    term.match_expressions
        .iter()
        .flatten()
        .chain(term.match_fields.iter().flatten())
        .map(Requirement::try_from)
        .collect()
}

/// A selector of pods or namespaces by label; empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// All of these must hold.
    pub requirements: Vec<Requirement>,
}

impl Selector {
    /// Reads a label selector of the API.
    pub fn new(selector: &LabelSelector) -> Result<Selector, RequirementError> {
        let mut requirements: Vec<Requirement> = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(exact(key, "In", std::slice::from_ref(value))?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.as_deref().unwrap_or_default();
            requirements.push(exact(&expression.key, &expression.operator, values)?);
        }
        requirements.sort();
        requirements.dedup();
        Ok(Selector { requirements })
    }

    /// Adds `key in (value)` (or `not in`), as `matchLabelKeys` and `mismatchLabelKeys` do.
    pub fn require(&mut self, key: &str, value: &str, equal: bool) {
        let operator = if equal { Operator::In } else { Operator::NotIn };
        self.requirements.push(Requirement {
            key: key.to_owned(),
            operator,
            values: vec![value.to_owned()],
            number: 0,
        });
        self.requirements.sort();
        self.requirements.dedup();
    }

    /// Whether labels satisfy it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels.get(&requirement.key).map(String::as_str)))
    }

    /// In words.
    pub fn describe(&self) -> String {
        if self.requirements.is_empty() {
            return "all pods".to_owned();
        }
        self.requirements.iter().map(Requirement::describe).collect::<Vec<_>>().join(",")
    }
}

/// A requirement on a pod's label: keys of pods have no older names.
fn exact(key: &str, operator: &str, values: &[String]) -> Result<Requirement, RequirementError> {
    let mut requirement = Requirement::new(key, operator, values)?;
    requirement.key = key.to_owned();
    Ok(requirement)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn holds(operator: &str, values: &[&str], label: Option<&str>) -> bool {
        let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
        Requirement::new("key", operator, &values).unwrap().matches(label)
    }

    #[test]
    fn operators() {
        assert!(holds("In", &["a", "b"], Some("b")) && !holds("In", &["a"], None) && !holds("In", &["a"], Some("c")));
        assert!(
            holds("NotIn", &["a"], None) && holds("NotIn", &["a"], Some("b")) && !holds("NotIn", &["a"], Some("a"))
        );
        assert!(holds("Exists", &[], Some("")) && !holds("Exists", &[], None));
        assert!(holds("DoesNotExist", &[], None) && !holds("DoesNotExist", &[], Some("x")));
        assert!(holds("Gt", &["4"], Some("5")) && !holds("Gt", &["4"], Some("4")) && !holds("Gt", &["4"], Some("x")));
        assert!(holds("Lt", &["4"], Some("-1")) && !holds("Lt", &["4"], Some("4")) && !holds("Lt", &["4"], None));
        assert!(holds("Gte", &["4"], Some("4")) && !holds("Gte", &["4"], Some("3")));
        assert!(holds("Lte", &["4"], Some("4")) && !holds("Lte", &["4"], Some("5")));
    }

    #[test]
    fn malformed_requirements_are_named() {
        let error = |operator: &str, values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            Requirement::new("zone", operator, &values).unwrap_err().to_string()
        };
        assert_eq!(error("in", &["a"]), "key zone: operator \"in\" is not known");
        assert_eq!(error("In", &[]), "key zone: operator In needs at least one value");
        assert_eq!(error("Exists", &["a"]), "key zone: operator Exists takes no values");
        assert_eq!(error("Gt", &["a"]), "key zone: operator Gt needs exactly one integer value");
    }

    #[test]
    fn offerings_are_required_as_karpenter_reads_it() {
        let read = |operator: &str, values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            Requirement::of_offering("zone", operator, &values).map(|one| one.describe())
        };
        assert_eq!(read("Exists", &["a"]).unwrap(), "zone exists");
        assert_eq!(read("DoesNotExist", &["a"]).unwrap(), "zone does not exist");
        assert_eq!(read("NotIn", &[]).unwrap(), "zone exists");
        assert_eq!(read("NotIn", &["a"]).unwrap(), "zone not in (a)");
        assert!(read("In", &[]).is_err() && read("Gt", &["1", "2"]).is_err());
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_one_matches_nothing() {
        let selector = |value| serde_json::from_value::<NodeSelector>(value).unwrap();
        let mut requirements = NodeRequirements::default();
        requirements
            .add_selector(&selector(json!({"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
            ]})))
            .unwrap();
        assert!(requirements.matches(&|key: &str| (key == "a").then_some("1")));
        assert!(requirements.matches(&|key: &str| (key == NAME_FIELD).then_some("n")));
        assert!(!requirements.matches(&|_: &str| None));
        requirements.add_selector(&selector(json!({"nodeSelectorTerms": [{}]}))).unwrap();
        assert!(!requirements.matches(&|_: &str| Some("1")));
    }

    #[test]
    fn old_label_names_mean_the_current_ones() {
        assert_eq!(Requirement::equals("beta.kubernetes.io/arch", "arm64").key, "kubernetes.io/arch");
        assert_eq!(Requirement::equals("topology.ebs.csi.aws.com/zone", "a").key, "topology.kubernetes.io/zone");
    }
}
