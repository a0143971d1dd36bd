//! Amounts of resources: quantities, and what a pod asks for in all.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Billionths of a unit; exact for every Kubernetes quantity that means anything.
type Nanos = i128;

const NANO: Nanos = 1_000_000_000;

/// Reads a Kubernetes quantity.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn nanos(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("`{text}` is not a quantity");
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (scale, exponent): (Nanos, i32) = match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => match suffix.strip_prefix(['e', 'E']) {
            Some(power) => (1, power.parse().map_err(|_| wrong())?),
            None => return Err(wrong()),
        },
    };
    let (negative, number) = match number.as_bytes().first() {
        Some(b'-') => (true, &number[1..]),
        Some(b'+') => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all: String = [whole, fraction].concat();
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let mantissa: Nanos = all.parse().map_err(|_| wrong())?;
    let power = exponent + 9 - i32::try_from(fraction.len()).map_err(|_| wrong())?;
    let scaled = mantissa.checked_mul(scale).ok_or_else(wrong)?;
    let value = if power >= 0 {
        let factor = (10 as Nanos).checked_pow(power.unsigned_abs()).ok_or_else(wrong)?;
        scaled.checked_mul(factor).ok_or_else(wrong)?
    } else {
        match (10 as Nanos).checked_pow(power.unsigned_abs()) {
            Some(factor) => (scaled + factor - 1) / factor,
            None => Nanos::from(scaled > 0),
        }
    };
    Ok(if negative { -value } else { value })
}

/// Whole units of a resource, rounded up as kube-scheduler does: millicores for `cpu`, ones (bytes) for all others.
fn units(resource: &str, nanos: Nanos) -> Result<i64, String> {
    let step = if resource == "cpu" { NANO / 1000 } else { NANO };
    i64::try_from((nanos + step - 1).div_euclid(step)).map_err(|_| format!("too much {resource}"))
}

/// A quantity as whole units of its resource (see [`units`]).
pub(super) fn read(resource: &str, quantity: &str) -> Result<i64, String> {
    units(resource, nanos(quantity)?)
}

/// The names of the resources that occur, each with its column.
#[derive(Debug, Default)]
pub(super) struct Table {
    names: Vec<String>,
}

/// Column of `cpu`.
pub(super) const CPU: usize = 0;
/// Column of `memory`.
pub(super) const MEMORY: usize = 1;
/// Column of `pods`.
pub(super) const PODS: usize = 2;

impl Table {
    /// A table that knows `cpu`, `memory` and `pods`.
    pub(super) fn new() -> Self {
        Table { names: ["cpu", "memory", "pods"].map(str::to_owned).to_vec() }
    }

    /// The column of a resource, made if it is new.
    pub(super) fn column(&mut self, name: &str) -> usize {
        self.find(name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// The column of a resource, if it occurs.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The names, by column.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

/// Whole units by column of the [`Table`]; columns beyond the end are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Amounts(Vec<i64>);

impl Amounts {
    /// Whether these ask for something of which there is nothing.
    pub(super) fn asks_for_none_of(&self, there: &Amounts) -> bool {
        self.0.iter().enumerate().any(|(column, &amount)| amount > 0 && there.get(column) == 0)
    }

    /// The amount in a column.
    pub(super) fn get(&self, column: usize) -> i64 {
        self.0.get(column).copied().unwrap_or(0)
    }

    /// Sets the amount in a column.
    pub(super) fn set(&mut self, column: usize, amount: i64) {
        if self.0.len() <= column {
            self.0.resize(column + 1, 0);
        }
        self.0[column] = amount;
    }

    /// Adds `times` the other.
    pub(super) fn add(&mut self, other: &Amounts, times: i64) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (sum, amount) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(amount.saturating_mul(times));
        }
    }

    /// The first column in which this is more than `room`, if any. What is not asked for never lacks.
    pub(super) fn exceeds(&self, room: &Amounts) -> Option<usize> {
        (0..self.0.len()).find(|&column| self.0[column] > 0 && self.0[column] > room.get(column))
    }

    /// Columns with an amount above 0.
    pub(super) fn present(&self) -> impl Iterator<Item = (usize, i64)> {
        self.0.iter().copied().enumerate().filter(|(_, amount)| *amount > 0)
    }
}

/// Reads a map of quantities.
pub(super) fn read_map<'a>(
    table: &mut Table,
    quantities: impl IntoIterator<Item = (&'a String, &'a Quantity)>,
) -> Result<Amounts, String> {
    let mut amounts = Amounts::default();
    for (name, quantity) in quantities {
        let amount = read(name, &quantity.0)?;
        amounts.set(table.column(name), amount);
    }
    Ok(amounts)
}

type Sums = BTreeMap<String, Nanos>;

/// Requests of one container; a limit stands in where there is no request (API server defaulting).
fn container_requests(resources: Option<&ResourceRequirements>) -> Result<Sums, String> {
    let mut sums = Sums::new();
    let Some(resources) = resources else { return Ok(sums) };
    for list in [&resources.limits, &resources.requests] {
        for (name, quantity) in list.iter().flatten() {
            let amount = nanos(&quantity.0)?;
            if amount < 0 {
                return Err(format!("{name} is negative"));
            }
            sums.insert(name.clone(), amount);
        }
    }
    Ok(sums)
}

fn add(sums: &mut Sums, other: &Sums) {
    for (name, amount) in other {
        *sums.entry(name.clone()).or_default() += amount;
    }
}

fn keep_larger(sums: &mut Sums, other: &Sums) {
    for (name, amount) in other {
        let held = sums.entry(name.clone()).or_default();
        *held = (*held).max(*amount);
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a pod asks of a node, `pods: 1` included, as kube-scheduler counts it: containers and sidecars together, or the
/// largest moment of the init containers, whichever is more; pod-level requests instead where they are given; overhead.
///
/// <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>,
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-overhead/>, KEP-2837 (pod-level resources).
pub(super) fn pod_requests(table: &mut Table, spec: &PodSpec) -> Result<Amounts, String> {
    let mut running = Sums::new();
    for container in &spec.containers {
        add(&mut running, &container_requests(container.resources.as_ref())?);
    }
    let mut sidecars = Sums::new();
    let mut starting = Sums::new();
    for container in spec.init_containers.iter().flatten() {
        let own = container_requests(container.resources.as_ref())?;
        if is_sidecar(container) {
            add(&mut sidecars, &own);
            keep_larger(&mut starting, &sidecars);
        } else {
            let mut moment = own;
            add(&mut moment, &sidecars);
            keep_larger(&mut starting, &moment);
        }
    }
    add(&mut running, &sidecars);
    keep_larger(&mut running, &starting);
    if let Some(resources) = &spec.resources {
        for (name, quantity) in resources.limits.iter().flatten() {
            if !resources.requests.iter().flatten().any(|(other, _)| other == name) && !running.contains_key(name) {
                running.insert(name.clone(), nanos(&quantity.0)?);
            }
        }
        for (name, quantity) in resources.requests.iter().flatten() {
            if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
                running.insert(name.clone(), nanos(&quantity.0)?);
            }
        }
    }
    for (name, quantity) in spec.overhead.iter().flatten() {
        *running.entry(name.clone()).or_default() += nanos(&quantity.0)?;
    }
    let mut amounts = Amounts::default();
    amounts.set(PODS, 1);
    for (name, amount) in running {
        amounts.set(table.column(&name), units(&name, amount)?);
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        let cases = [
            ("cpu", "250m", 250),
            ("cpu", "0.1", 100),
            ("cpu", "1", 1000),
            ("cpu", "100u", 1),
            ("cpu", "1e-1", 100),
            ("memory", "1Gi", 1 << 30),
            ("memory", "1.5Mi", 3 << 19),
            ("memory", "128974848", 128_974_848),
            ("memory", "129e6", 129_000_000),
            ("memory", "129M", 129_000_000),
            ("memory", "1500m", 2),
            ("pods", "29", 29),
            ("memory", "1E", 1_000_000_000_000_000_000),
        ];
        for (resource, text, expected) in cases {
            assert_eq!(read(resource, text), Ok(expected), "{text}");
        }
        for text in ["", "abc", "1x", "1.2.3", ".", "1 Gi", "--1", "1-1", "99999E99"] {
            assert!(read("memory", text).is_err(), "{text}");
        }
    }

    #[test]
    fn init_containers_sidecars_overhead_and_pod_level_requests_count() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "300m"}, "limits": {"memory": "1Gi"}}}],
            "initContainers": [
                {"name": "first", "resources": {"requests": {"cpu": "700m"}}},
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "200m"}}},
                {"name": "last", "resources": {"requests": {"cpu": "600m"}}}
            ],
            "overhead": {"cpu": "50m"}
        }))
        .unwrap();
        let mut table = Table::new();
        let amounts = pod_requests(&mut table, &spec).unwrap();
        assert_eq!((amounts.get(CPU), amounts.get(MEMORY), amounts.get(PODS)), (850, 1 << 30, 1));
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "300m", "memory": "1Gi"}}}],
            "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "8Gi"}}
        }))
        .unwrap();
        let amounts = pod_requests(&mut table, &spec).unwrap();
        assert_eq!((amounts.get(CPU), amounts.get(MEMORY)), (2000, 1 << 30));
    }
}
