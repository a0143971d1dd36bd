//! Priced offerings: what EC2 sells, where, and for how much.

mod allocatable;
mod check;
mod error;
mod kubelet;
mod volumes;

use std::collections::BTreeMap;

pub use allocatable::{allocatable, capacity};
pub use check::check;
pub use error::CatalogError;
pub use kubelet::KubeletSettings;
use serde::{Deserialize, Serialize};
pub use volumes::volume_limit;

/// The offerings of one region at one date.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// Region, `us-east-1`.
    pub region: String,
    /// Date of the prices, `2026-07-20`.
    pub as_of: String,
    /// Zones of the region.
    pub zones: Vec<String>,
    /// The instance types.
    pub instance_types: Vec<InstanceType>,
}

/// One instance type, with what it is made of and where it is sold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceType {
    /// Name, `m7i.xlarge`.
    pub name: String,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MiB, as EC2 states it.
    #[serde(rename = "memoryMiB")]
    pub memory_mib: u64,
    /// The most pods that a kubelet takes on it (ENIs and their addresses).
    pub max_pods: u32,
    /// How many volumes can be attached to it besides its root volume; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_volume_attachments: Option<u32>,
    /// Accelerators by extended resource name (`nvidia.com/gpu`, `amd.com/gpu`, `aws.amazon.com/neuron`, ...).
    #[serde(default)]
    pub gpus: BTreeMap<String, u64>,
    /// Labels that a node of this type bears, but for zone and capacity type.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it offers to pods, as Kubernetes quantities; where given it wins over the computed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocatable: Option<BTreeMap<String, serde_json::Value>>,
    /// Where it is sold, and for how much.
    pub offerings: Vec<Offering>,
}

/// One way to buy an instance type.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// Availability zone.
    pub zone: String,
    /// `on-demand`, `spot` or `reserved`.
    pub capacity_type: String,
    /// Dollars an hour.
    pub price: f64,
    /// Whether the price is an estimate and not a quoted one.
    #[serde(default)]
    pub estimated: bool,
    /// Interruption band of spot: 0: < 5 %, 1: 5-10, 2: 10-15, 3: 15-20, 4: > 20 % a month.
    #[serde(default)]
    pub interruption: Option<u8>,
}
