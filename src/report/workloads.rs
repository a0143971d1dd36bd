//! Which workload a pod of the plan belongs to, and what it asks for.

use std::collections::BTreeMap;

/// What one pod asks for, and as part of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// `namespace/workload`.
    pub workload: String,
    /// Amounts by resource: millicores of cpu, bytes of memory, ones of others.
    pub requests: BTreeMap<String, i64>,
}

/// The demand of each pod, by the name it has in the plan.
///
/// Where nothing is known (a plan read from a file), the workload is the pod's name without its running number.
#[derive(Clone, Debug, Default)]
pub struct Workloads {
    replicas: BTreeMap<String, Demand>,
    singles: BTreeMap<String, Demand>,
}

impl Workloads {
    /// Adds replicas named `prefix-0`, `prefix-1`, ... (`prefix` with its namespace).
    pub fn add_replicas(&mut self, prefix: String, demand: Demand) {
        self.replicas.insert(prefix, demand);
    }

    /// Adds one pod by its whole name (`namespace/name`).
    pub fn add_single(&mut self, pod: String, demand: Demand) {
        self.singles.insert(pod, demand);
    }

    /// What is known of a pod of the plan.
    pub fn demand(&self, pod: &str) -> Option<&Demand> {
        self.singles.get(pod).or_else(|| self.replicas.get(without_number(pod)))
    }

    /// The workload of a pod, `namespace/workload`.
    pub fn name<'a>(&'a self, pod: &'a str) -> &'a str {
        self.demand(pod).map_or_else(|| without_number(pod), |demand| &demand.workload)
    }
}

/// `shop/web-12` without its running number: `shop/web`.
fn without_number(pod: &str) -> &str {
    match pod.rsplit_once('-') {
        Some((stem, number))
            if !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && !stem.is_empty()
                && !stem.ends_with('/') =>
        {
            stem
        }
        _ => pod,
    }
}

/// The running number of a pod, if its name ends in one.
pub(super) fn number(pod: &str) -> Option<u64> {
    let stem = without_number(pod);
    pod.get(stem.len() + 1..).and_then(|number| number.parse().ok())
}

/// The pods of a node in few words: runs of numbers together, `shop/web-0…5 shop/api-2`.
pub(super) fn in_runs(pods: &[String], through: &str) -> Vec<String> {
    let mut sorted: Vec<(&str, Option<u64>, &str)> =
        pods.iter().map(|pod| (without_number(pod), number(pod), pod.as_str())).collect();
    sorted.sort();
    let mut runs: Vec<(&str, Option<u64>, Option<u64>, &str)> = Vec::new();
    for (stem, number, pod) in sorted {
        match (runs.last_mut(), number) {
            (Some((last_stem, _, Some(last), _)), Some(number)) if *last_stem == stem && *last + 1 == number => {
                *last = number;
            }
            _ => runs.push((stem, number, number, pod)),
        }
    }
    runs.into_iter()
        .map(|(_, first, last, pod)| match (first, last) {
            (Some(first), Some(last)) if last > first => format!("{pod}{through}{last}"),
            _ => pod.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_number_is_no_part_of_the_workload() {
        let none = Workloads::default();
        assert_eq!(none.name("shop/web-12"), "shop/web");
        assert_eq!(none.name("shop/web-v2"), "shop/web-v2");
        assert_eq!(none.name("shop/web"), "shop/web");
        assert_eq!(none.name("shop/-3"), "shop/-3");
    }

    #[test]
    fn a_pod_known_by_its_own_name_goes_before_a_workload_of_that_name() {
        let demand = |workload: &str| Demand { workload: workload.into(), requests: BTreeMap::new() };
        let mut workloads = Workloads::default();
        workloads.add_replicas("shop/web".into(), demand("shop/web"));
        workloads.add_single("shop/web-3".into(), demand("shop/lonely"));
        assert_eq!(workloads.name("shop/web-2"), "shop/web");
        assert_eq!(workloads.name("shop/web-3"), "shop/lonely");
    }

    #[test]
    fn neighbours_are_told_together() {
        let pods = ["a/web-2", "a/web-10", "a/web-0", "a/web-1", "a/db", "a/web-12"].map(String::from);
        assert_eq!(in_runs(&pods, ".."), ["a/db", "a/web-0..2", "a/web-10", "a/web-12"]);
    }
}
