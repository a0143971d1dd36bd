//! The record of a simulated machine (a ConfigMap, so that it outlives the program) and the node that it becomes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use supercargo_models::kubernetes::quantity::{self, Resources};

use crate::api::NodeClaim;
use crate::cloud::{Choice, ClaimKey, Machine, Offer};
use crate::labels;

/// Label of every ConfigMap of the simulated cloud, with the value [`MACHINE`] on its machines.
pub const LABEL: &str = "supercargo.dev/kwok";
/// Value of [`LABEL`] on a machine's record.
pub const MACHINE: &str = "machine";
/// By this annotation kwok knows the nodes it plays the kubelet of.
const PLAYED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// The key of a ConfigMap's data that holds the record.
const KEY: &str = "machine.json";
/// Prefix of a machine's provider id.
pub(super) const PROVIDER: &str = "kwok://";

/// What is written down about a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    claim_name: String,
    claim_uid: String,
    instance_type: String,
    zone: String,
    capacity_type: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    capacity: Resources,
    allocatable: Resources,
    launched: Timestamp,
    boots: Timestamp,
    /// Whether it became a node: it does so once.
    booted: bool,
    /// When it is taken back, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Timestamp>,
    /// When it is gone, once its end was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Timestamp>,
}

/// The name of the ConfigMap that holds a claim's machine: one claim, one machine.
pub fn record_name(claim_uid: &str) -> String {
    format!("kwok-{claim_uid}")
}

impl Record {
    /// The machine that a claim gets with a choice. The kubelet's first words are what a claim's user data would tell it:
    /// its own taints, the start-up taints, and that it is not registered.
    pub fn new(claim: &NodeClaim, choice: &Choice, now: Timestamp, boot_delay: Duration) -> Self {
        let key = ClaimKey::of(claim);
        let unregistered = Taint { key: labels::UNREGISTERED.into(), effect: "NoExecute".into(), ..Taint::default() };
        let template = &claim.spec.template;
        let taints = template.taints.iter().flatten().chain(template.startup_taints.iter().flatten());
        Record {
            claim_name: key.name,
            claim_uid: key.uid,
            instance_type: choice.offer.instance_type.clone(),
            zone: choice.offer.zone.clone(),
            capacity_type: choice.offer.capacity_type.clone(),
            labels: choice.labels.clone(),
            taints: taints.cloned().chain([unregistered]).collect(),
            capacity: choice.capacity.clone(),
            allocatable: choice.allocatable.clone(),
            launched: now,
            boots: now.checked_add(boot_delay).unwrap_or(Timestamp::MAX),
            booted: false,
            ends: None,
            gone: None,
        }
    }

    /// Reads the record of a ConfigMap; `None` where it holds none that makes sense.
    pub fn read(map: &ConfigMap) -> Option<Self> {
        serde_json::from_str(map.data.as_ref()?.get(KEY)?).ok()
    }

    /// The ConfigMap that holds it.
    ///
    /// # Errors
    /// None that can happen: all of a record is text and numbers.
    pub fn config_map(&self, namespace: &str) -> Result<ConfigMap, serde_json::Error> {
        Ok(ConfigMap {
            metadata: ObjectMeta {
                name: Some(record_name(&self.claim_uid)),
                namespace: Some(namespace.to_owned()),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), MACHINE.to_owned())])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), serde_json::to_string(self)?)])),
            ..ConfigMap::default()
        })
    }

    /// When its node shows the first sign of life; `None` once it did, or will never.
    pub fn boots(&self) -> Option<Timestamp> {
        (!self.booted && !self.is_shutting_down() && self.boots != Timestamp::MAX).then_some(self.boots)
    }

    /// The same after its node showed the first sign of life.
    pub fn booted(self) -> Self {
        Record { booted: true, ..self }
    }

    /// When it is taken back, once that is known.
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// The same once it is known when it is taken back.
    pub fn ending(self, at: Timestamp) -> Self {
        Record { ends: Some(at), ..self }
    }

    /// Whether its end was asked for.
    pub fn is_shutting_down(&self) -> bool {
        self.gone.is_some()
    }

    /// The same once its end was asked for.
    pub fn shutting_down(self, gone: Timestamp) -> Self {
        Record { gone: Some(gone), ..self }
    }

    /// When there is no machine any more, as far as that is known: it shuts down, or is taken back.
    pub fn over(&self) -> Option<Timestamp> {
        self.gone.into_iter().chain(self.ends).min()
    }

    /// As the trait tells it.
    pub fn machine(&self) -> Machine {
        Machine {
            claim: ClaimKey { name: self.claim_name.clone(), uid: self.claim_uid.clone() },
            provider_id: format!("{PROVIDER}{}", self.claim_name),
            image_id: "kwok".into(),
            offering: Offer {
                instance_type: self.instance_type.clone(),
                zone: self.zone.clone(),
                capacity_type: self.capacity_type.clone(),
            },
            labels: self.labels.clone(),
            capacity: self.capacity.clone(),
            allocatable: self.allocatable.clone(),
            launched: self.launched,
        }
    }

    /// The node as its kubelet would register it.
    pub fn node(&self) -> Node {
        let mut own = self.labels.clone();
        own.insert(labels::HOSTNAME.into(), self.claim_name.clone());
        Node {
            metadata: ObjectMeta {
                name: Some(self.claim_name.clone()),
                labels: Some(own),
                annotations: Some(BTreeMap::from([(PLAYED.0.to_owned(), PLAYED.1.to_owned())])),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                provider_id: Some(self.machine().provider_id),
                taints: Some(self.taints.clone()),
                ..NodeSpec::default()
            }),
            status: Some(NodeStatus {
                capacity: Some(quantities(&self.capacity)),
                allocatable: Some(quantities(&self.allocatable)),
                ..NodeStatus::default()
            }),
        }
    }
}

/// Amounts as the API writes them.
pub fn quantities(amounts: &Resources) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(name, amount)| (name.clone(), Quantity(quantity::format(name, *amount)))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_survives_its_config_map_and_becomes_a_node() {
        let claim: NodeClaim = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "default-x", "uid": "u-1"},
            "spec": {
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                "requirements": [],
                "taints": [{"key": "gpu", "effect": "NoSchedule"}],
                "startupTaints": [{"key": "cni", "effect": "NoExecute"}],
            },
        }))
        .unwrap();
        let choice = Choice {
            offer: Offer { instance_type: "m5.large".into(), zone: "a".into(), capacity_type: "spot".into() },
            price: 0.1,
            labels: BTreeMap::from([("kubernetes.io/arch".into(), "amd64".into())]),
            capacity: Resources::from([("cpu".into(), 2000)]),
            allocatable: Resources::from([("cpu".into(), 1930)]),
        };
        let record = Record::new(&claim, &choice, Timestamp::UNIX_EPOCH, Duration::from_secs(30));
        assert_eq!(record.boots().unwrap().as_second(), 30);
        let map = record.config_map("kube-system").unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("kwok-u-1"));
        assert_eq!(Record::read(&map).unwrap(), record);
        assert_eq!(record.clone().booted().boots(), None);
        let ends = record.clone().shutting_down(Timestamp::UNIX_EPOCH);
        assert!(ends.is_shutting_down() && ends.boots().is_none());
        assert_eq!(Record::read(&ends.config_map("kube-system").unwrap()).unwrap(), ends);
        let at = |second| Timestamp::from_second(second).unwrap();
        let both = |gone, ends| record.clone().shutting_down(at(gone)).ending(at(ends)).over();
        assert_eq!((record.over(), both(5, 9), both(9, 5)), (None, Some(at(5)), Some(at(5))));
        let node = record.node();
        let spec = node.spec.unwrap();
        assert_eq!(spec.provider_id.as_deref(), Some("kwok://default-x"));
        let taints: Vec<String> = spec.taints.unwrap().iter().map(|taint| taint.key.clone()).collect();
        assert_eq!(taints, ["gpu", "cni", "karpenter.sh/unregistered"]);
        assert_eq!(node.status.unwrap().allocatable.unwrap()["cpu"].0, "1930m");
        assert_eq!(node.metadata.labels.unwrap()["kubernetes.io/hostname"], "default-x");
    }
}
