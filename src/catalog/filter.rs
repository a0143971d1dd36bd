//! Which offerings to show: `instance-category in (c,m),instance-cpu<=16,arch=arm64`.
//!
//! The grammar is that of label selectors
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>) with `<`, `<=`, `>` and `>=`
//! for numbers. Names need no prefix: `instance-cpu` and `cpu` are `karpenter.k8s.aws/instance-cpu`.

use std::collections::BTreeSet;

use supercargo_models::catalog::{Catalog, InstanceType, Offering};
use thiserror::Error;

use super::nearest;

/// Why a filter is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// A term that is none.
    #[error("--where: {term:?} is not understood: {problem}")]
    Syntax {
        /// The term.
        term: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A label that no instance type of the catalogue bears.
    #[error("--where: no instance type has a label {label:?}{}", suggestion(.nearest))]
    UnknownLabel {
        /// The label as written.
        label: String,
        /// What may have been meant.
        nearest: Vec<String>,
    },
}

fn suggestion(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; nearest: {}", nearest.join(", ")) }
}

/// What must hold of an offering: all terms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    field: Field,
    test: Test,
}

/// What a term speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Label(String),
    Type,
    Arch,
    Region,
    Zone,
    CapacityType,
    Price,
    PricePerVcpu,
    PricePerGib,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Less(f64),
    AtMost(f64),
    More(f64),
    AtLeast(f64),
}

const SPECIAL: [(&str, Field); 15] = [
    ("type", Field::Type),
    ("instance-type", Field::Type),
    ("node.kubernetes.io/instance-type", Field::Type),
    ("arch", Field::Arch),
    ("kubernetes.io/arch", Field::Arch),
    ("region", Field::Region),
    ("topology.kubernetes.io/region", Field::Region),
    ("zone", Field::Zone),
    ("topology.kubernetes.io/zone", Field::Zone),
    ("capacity-type", Field::CapacityType),
    ("karpenter.sh/capacity-type", Field::CapacityType),
    ("price", Field::Price),
    ("price-per-vcpu", Field::PricePerVcpu),
    ("price-per-gib", Field::PricePerGib),
    ("name", Field::Type),
];

impl Filter {
    /// Reads a filter; labels are looked up among those of the catalogue.
    ///
    /// # Errors
    /// Where a term is no term, or speaks of a label that is nowhere in the catalogue.
    pub fn parse(text: &str, catalog: &Catalog) -> Result<Filter, FilterError> {
        let known: BTreeSet<&str> =
            catalog.instance_types.iter().flat_map(|found| found.labels.keys().map(String::as_str)).collect();
        let terms = split(text)?.into_iter().map(|term| parse_term(term, &known)).collect::<Result<_, _>>()?;
        Ok(Filter { terms })
    }

    /// Adds the terms of another filter.
    pub fn and(mut self, other: Filter) -> Filter {
        self.terms.extend(other.terms);
        self
    }

    /// Whether an offering passes.
    pub fn admits(&self, region: &str, instance: &InstanceType, offering: &Offering) -> bool {
        self.terms.iter().all(|term| term.holds(region, instance, offering))
    }
}

impl Term {
    fn holds(&self, region: &str, instance: &InstanceType, offering: &Offering) -> bool {
        let number = |value: f64| (None, Some(value));
        let text = |value: &str| (Some(value.to_owned()), value.parse::<f64>().ok());
        let (text, number) = match &self.field {
            Field::Label(key) => instance.labels.get(key).map_or((None, None), |value| text(value)),
            Field::Type => text(&instance.name),
            Field::Arch => text(&instance.arch),
            Field::Region => text(region),
            Field::Zone => text(&offering.zone),
            Field::CapacityType => text(&offering.capacity_type),
            Field::Price => number(offering.price),
            Field::PricePerVcpu => number(price_per_vcpu(instance, offering)),
            Field::PricePerGib => number(price_per_gib(instance, offering)),
        };
        let is = |wanted: &String| match (&text, number) {
            (Some(text), _) => text == wanted,
            (None, Some(number)) => wanted.parse::<f64>() == Ok(number),
            (None, None) => false,
        };
        match &self.test {
            Test::In(values) => values.iter().any(is),
            // As in label selectors, what lacks the label is not in the list either.
            Test::NotIn(values) => !values.iter().any(is),
            Test::Exists => text.is_some() || number.is_some(),
            Test::Absent => text.is_none() && number.is_none(),
            Test::Less(limit) => number.is_some_and(|number| number < *limit),
            Test::AtMost(limit) => number.is_some_and(|number| number <= *limit),
            Test::More(limit) => number.is_some_and(|number| number > *limit),
            Test::AtLeast(limit) => number.is_some_and(|number| number >= *limit),
        }
    }
}

/// Dollars an hour for one virtual CPU.
pub fn price_per_vcpu(instance: &InstanceType, offering: &Offering) -> f64 {
    offering.price / f64::from(instance.vcpu)
}

/// Dollars an hour for one GiB of memory, as EC2 states it.
pub fn price_per_gib(instance: &InstanceType, offering: &Offering) -> f64 {
    offering.price * 1024.0 / instance.memory_mib as f64
}

/// Cuts a text at the commas outside of parentheses.
fn split(text: &str) -> Result<Vec<&str>, FilterError> {
    let unbalanced = || syntax(text, "its parentheses don't match");
    let mut terms = Vec::new();
    let (mut start, mut open) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' if open => return Err(unbalanced()),
            '(' => open = true,
            ')' if !open => return Err(unbalanced()),
            ')' => open = false,
            ',' if !open => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err(unbalanced());
    }
    terms.push(&text[start..]);
    let terms: Vec<&str> = terms.into_iter().map(str::trim).collect();
    if terms.iter().any(|term| term.is_empty()) {
        return Err(syntax(text, "a term is empty"));
    }
    Ok(terms)
}

fn parse_term(term: &str, known: &BTreeSet<&str>) -> Result<Term, FilterError> {
    if let Some(label) = term.strip_prefix('!') {
        return Ok(Term { field: field(label.trim(), term, known)?, test: Test::Absent });
    }
    let end = term.find(|letter: char| letter.is_whitespace() || "=!<>(".contains(letter)).unwrap_or(term.len());
    let (label, rest) = (&term[..end], term[end..].trim());
    let field = field(label, term, known)?;
    // The longer operators first: `<=` begins with `<`.
    const OPERATORS: [&str; 7] = ["==", "!=", "<=", ">=", "=", "<", ">"];
    let test = if rest.is_empty() {
        Test::Exists
    } else if let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) {
        let value = rest[operator.len()..].trim();
        if value.is_empty() || value.contains(|letter: char| "=!<>()".contains(letter) || letter.is_whitespace()) {
            return Err(syntax(term, &format!("one value is needed after {operator}")));
        }
        let number = || {
            let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| syntax(term, &format!("{value} is not a number")))
        };
        match operator {
            "<" => Test::Less(number()?),
            "<=" => Test::AtMost(number()?),
            ">" => Test::More(number()?),
            ">=" => Test::AtLeast(number()?),
            "!=" => Test::NotIn(vec![value.to_owned()]),
            _ => Test::In(vec![value.to_owned()]),
        }
    } else if let Some(list) = rest.strip_prefix("notin") {
        Test::NotIn(values(list, term)?)
    } else if let Some(list) = rest.strip_prefix("in") {
        Test::In(values(list, term)?)
    } else {
        return Err(syntax(term, "one of =, ==, !=, in (...), notin (...), <, <=, > or >= is needed after the label"));
    };
    Ok(Term { field, test })
}

fn values(list: &str, term: &str) -> Result<Vec<String>, FilterError> {
    let inside = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
    let inside = inside.ok_or_else(|| syntax(term, "a list like (a,b) is needed"))?;
    let values: Vec<String> = inside.split(',').map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return Err(syntax(term, "a value in the list is empty"));
    }
    Ok(values)
}

fn field(label: &str, term: &str, known: &BTreeSet<&str>) -> Result<Field, FilterError> {
    if label.is_empty() {
        return Err(syntax(term, "a label is needed first"));
    }
    if let Some((_, field)) = SPECIAL.iter().find(|(name, _)| *name == label) {
        return Ok(field.clone());
    }
    let found = known.get(label).or_else(|| known.iter().find(|key| short(key) == label)).or_else(|| {
        let wanted = if label == "vcpu" { "cpu" } else { label };
        known.iter().find(|key| short(key).strip_prefix("instance-") == Some(wanted))
    });
    if let Some(key) = found {
        return Ok(Field::Label((*key).to_owned()));
    }
    let prefixed = label.contains('/');
    let whole = label.starts_with("instance-");
    let names = known.iter().map(|key| match short(key) {
        _ if prefixed => *key,
        name if whole => name,
        name => name.strip_prefix("instance-").unwrap_or(name),
    });
    let names = names.chain(SPECIAL.iter().map(|(name, _)| *name).filter(|name| name.contains('/') == prefixed));
    let nearest = nearest(label, names, 3).into_iter().map(str::to_owned).collect();
    Err(FilterError::UnknownLabel { label: label.to_owned(), nearest })
}

/// A label without its prefix.
fn short(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}

fn syntax(term: &str, problem: &str) -> FilterError {
    FilterError::Syntax { term: term.chars().take(80).collect(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn catalog() -> Catalog {
        let instance = |name: &str, arch: &str, vcpu: u32, labels: &[(&str, &str)]| InstanceType {
            name: name.to_owned(),
            arch: arch.to_owned(),
            vcpu,
            memory_mib: 4096,
            labels: labels
                .iter()
                .map(|(key, value)| (format!("karpenter.k8s.aws/{key}"), (*value).to_owned()))
                .collect(),
            offerings: [("on-demand", 0.2), ("spot", 0.1)]
                .map(|(capacity_type, price)| Offering {
                    zone: "us-east-1a".to_owned(),
                    capacity_type: capacity_type.to_owned(),
                    price,
                    ..Offering::default()
                })
                .to_vec(),
            ..InstanceType::default()
        };
        Catalog {
            region: "us-east-1".to_owned(),
            instance_types: vec![
                instance("c7g.xlarge", "arm64", 4, &[("instance-category", "c"), ("instance-cpu", "4")]),
                instance("m7i.8xlarge", "amd64", 32, &[("instance-category", "m"), ("instance-cpu", "32")]),
                instance(
                    "g5.xlarge",
                    "amd64",
                    4,
                    &[("instance-category", "g"), ("instance-cpu", "4"), ("instance-gpu-count", "1")],
                ),
            ],
            ..Catalog::default()
        }
    }

    /// Names with the number of offerings that pass.
    fn passing(text: &str) -> Vec<(String, usize)> {
        let catalog = catalog();
        let filter = Filter::parse(text, &catalog).unwrap();
        let count = |found: &InstanceType| {
            found.offerings.iter().filter(|offering| filter.admits(&catalog.region, found, offering)).count()
        };
        let all = catalog.instance_types.iter().map(|found| (found.name.clone(), count(found)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    fn names(text: &str) -> Vec<String> {
        passing(text).into_iter().map(|(name, _)| name).collect()
    }

    fn message(text: &str) -> String {
        Filter::parse(text, &catalog()).unwrap_err().to_string()
    }

    #[test]
    fn lists_numbers_and_equality() {
        assert_eq!(names("instance-category in (c,m),instance-cpu<=16,arch=arm64"), ["c7g.xlarge"]);
        assert_eq!(names("karpenter.k8s.aws/instance-category notin (c, m)"), ["g5.xlarge"]);
        assert_eq!(names("category==m"), ["m7i.8xlarge"]);
        assert_eq!(names("category != m , vcpu >= 4"), ["c7g.xlarge", "g5.xlarge"]);
        assert_eq!(names("cpu>4"), ["m7i.8xlarge"]);
        assert_eq!(names("cpu<4"), [""; 0]);
        assert_eq!(names("type=g5.xlarge,region=us-east-1,zone=us-east-1a"), ["g5.xlarge"]);
        assert_eq!(names("region=eu-west-1"), [""; 0]);
    }

    #[test]
    fn absent_labels() {
        assert_eq!(names("instance-gpu-count"), ["g5.xlarge"]);
        assert_eq!(names("!instance-gpu-count"), ["c7g.xlarge", "m7i.8xlarge"]);
        assert_eq!(names("gpu-count!=1"), ["c7g.xlarge", "m7i.8xlarge"]);
        assert_eq!(names("gpu-count>=0"), ["g5.xlarge"]);
    }

    #[test]
    fn terms_on_offerings_pick_offerings() {
        assert_eq!(passing("capacity-type=spot,category=c"), [("c7g.xlarge".to_owned(), 1)]);
        assert_eq!(passing("price<0.15,category=c"), [("c7g.xlarge".to_owned(), 1)]);
        assert_eq!(passing("price=0.20,category=c"), [("c7g.xlarge".to_owned(), 1)]);
        assert_eq!(passing("price-per-vcpu<0.01"), [("m7i.8xlarge".to_owned(), 2)]);
        assert_eq!(passing("price-per-gib<=0.05,category=c"), [("c7g.xlarge".to_owned(), 2)]);
    }

    #[test]
    fn an_error_names_the_term_and_what_was_meant() {
        let prefix = "--where: no instance type has a label \"instance-catgory\"; nearest: instance-category";
        assert!(message("instance-catgory=c").starts_with(prefix));
        assert!(message("karpenter.k8s.aws/instance-cpus=1").contains("nearest: karpenter.k8s.aws/instance-cpu"));
        assert!(message("catgory=c").contains("nearest: category"));
        assert!(message("zon=a").contains("nearest: zone"));
        assert!(message("qqqqqqqqqqqq").ends_with("label \"qqqqqqqqqqqq\""));
        assert!(message("cpu<=many").contains("many is not a number"));
        assert!(message("cpu<=NaN").contains("NaN is not a number"));
        assert!(message("cpu in c").contains("a list like (a,b)"));
        assert!(message("cpu in (1,").contains("parentheses"));
        assert!(message("cpu in (1,)").contains("empty"));
        assert!(message("cpu=").contains("one value"));
        assert!(message("cpu=1,,arch=arm64").contains("a term is empty"));
        assert!(message("").contains("a term is empty"));
        assert!(message("=1").contains("a label is needed"));
        assert!(message("cpu like 4").contains("is needed after the label"));
        assert!(message("cpu=<4").contains("one value is needed"));
    }
}
