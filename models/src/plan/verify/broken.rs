//! The rules a plan is judged by, and the words for one that is broken.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The rules of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The objects themselves can be read: quantities, selectors, volumes.
    Input,
    /// Every waiting pod appears exactly once, and no other pod does.
    Pods,
    /// Node names are unique, and existing nodes exist.
    NodeNames,
    /// A planned node's offering is in the catalogue.
    Offering,
    /// A planned node's price is the offering's.
    Price,
    /// The node's pool exists and its requirements allow the offering.
    PoolRequirements,
    /// Only capacity types that were asked for are bought.
    CapacityType,
    /// `allocatable` is what a node of the offering offers.
    Allocatable,
    /// `requested` is what the node's pods and daemons ask for.
    Requested,
    /// Pods and daemons fit what the node offers.
    Capacity,
    /// Node selectors and required node affinity.
    NodeAffinity,
    /// Taints are tolerated.
    Taints,
    /// Volumes can be reached.
    Volumes,
    /// No more volumes on a node than its drivers can attach.
    VolumeLimits,
    /// No two pods of a node want the same host port.
    HostPorts,
    /// Topology spread constraints with `DoNotSchedule`.
    Spread,
    /// Required pod affinity.
    PodAffinity,
    /// Required pod anti-affinity, in both directions.
    PodAntiAffinity,
    /// A heavier pool is used before a lighter one.
    Weight,
    /// A pool's nodes together stay within its limits.
    Limits,
    /// Enough different offerings could hold a node's pods.
    MinValues,
    /// Each alternative holds the same pods under the same rules.
    Alternatives,
    /// A pod that could have been placed alone on a fresh node is not left over.
    Unschedulable,
    /// The numbers of the summary add up.
    Summary,
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Rule::Input => "input",
            Rule::Pods => "pods",
            Rule::NodeNames => "node names",
            Rule::Offering => "offering",
            Rule::Price => "price",
            Rule::PoolRequirements => "pool requirements",
            Rule::CapacityType => "capacity type",
            Rule::Allocatable => "allocatable",
            Rule::Requested => "requested",
            Rule::Capacity => "capacity",
            Rule::NodeAffinity => "node affinity",
            Rule::Taints => "taints",
            Rule::Volumes => "volumes",
            Rule::VolumeLimits => "volume limits",
            Rule::HostPorts => "host ports",
            Rule::Spread => "topology spread",
            Rule::PodAffinity => "pod affinity",
            Rule::PodAntiAffinity => "pod anti-affinity",
            Rule::Weight => "pool weight",
            Rule::Limits => "pool limits",
            Rule::MinValues => "minValues",
            Rule::Alternatives => "alternatives",
            Rule::Unschedulable => "unschedulable",
            Rule::Summary => "summary",
        })
    }
}

/// A rule that a plan breaks, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{rule}: {subject}: {message}")]
pub struct Broken {
    /// Which rule.
    pub rule: Rule,
    /// The node, pod, pool or field it is about.
    pub subject: String,
    /// What is wrong, in words.
    pub message: String,
}

/// Collects what is broken; at most [`Findings::MOST`] of a rule, since one cause often breaks it thousands of times.
#[derive(Debug, Default)]
pub(super) struct Findings {
    broken: Vec<Broken>,
    dropped: std::collections::BTreeMap<Rule, usize>,
}

impl Findings {
    /// The most that is told of one rule.
    const MOST: usize = 50;

    /// Adds one.
    pub(super) fn add(&mut self, rule: Rule, subject: impl Into<String>, message: impl Into<String>) {
        if self.broken.iter().filter(|broken| broken.rule == rule).count() >= Self::MOST {
            *self.dropped.entry(rule).or_default() += 1;
            return;
        }
        self.broken.push(Broken { rule, subject: subject.into(), message: message.into() });
    }

    /// Everything found, or success.
    pub(super) fn finish(mut self) -> Result<(), Vec<Broken>> {
        for (rule, count) in std::mem::take(&mut self.dropped) {
            self.broken.push(Broken {
                rule,
                subject: "plan".to_owned(),
                message: format!("{count} more of this kind"),
            });
        }
        if self.broken.is_empty() { Ok(()) } else { Err(self.broken) }
    }
}
