//! Many cases in one cluster, none of which sees another.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PodSpec, Taint, Toleration};
use serde_json::json;
use supercargo_models::kubernetes::Snapshot;

use crate::fixture::TEST;

/// Gives a case namespaces, names, a label and a taint of its own: its pods can use its nodes only, and only its pods can.
pub fn set_apart(snapshot: &mut Snapshot, name: &str) {
    let prefixed = |own: &mut Option<String>| *own = own.as_ref().map(|own| format!("{name}-{own}"));
    let label = |labels: &mut BTreeMap<String, String>| {
        labels.insert(TEST.to_owned(), name.to_owned());
        if let Some(pool) = labels.get_mut("karpenter.sh/nodepool") {
            *pool = format!("{name}-{pool}");
        }
    };
    let taint = || Taint {
        key: TEST.to_owned(),
        value: Some(name.to_owned()),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    let own = |spec: &mut PodSpec| {
        spec.node_selector.get_or_insert_default().insert(TEST.to_owned(), name.to_owned());
        spec.tolerations.get_or_insert_default().push(Toleration {
            key: Some(TEST.to_owned()),
            operator: Some("Exists".to_owned()),
            ..Toleration::default()
        });
    };
    for pool in &mut snapshot.node_pools {
        prefixed(&mut pool.metadata.name);
        let template = &mut pool.spec.template;
        label(template.metadata.get_or_insert_default().labels.get_or_insert_default());
        template.spec.taints.get_or_insert_default().push(taint());
    }
    for node in &mut snapshot.nodes {
        prefixed(&mut node.metadata.name);
        let labels = node.metadata.labels.get_or_insert_default();
        label(labels);
        labels.insert("kubernetes.io/hostname".to_owned(), node.metadata.name.clone().unwrap_or_default());
        node.spec.get_or_insert_default().taints.get_or_insert_default().push(taint());
    }
    for pod in &mut snapshot.bound {
        pod.metadata.namespace = Some(name.to_owned());
        if let Some(spec) = &mut pod.spec {
            prefixed(&mut spec.node_name);
        }
    }
    for group in &mut snapshot.pending {
        group.namespace = name.to_owned();
        own(Arc::make_mut(&mut group.spec));
    }
    for set in &mut snapshot.daemon_sets {
        // No pod of the case selects pods of another namespace.
        set.metadata.namespace = Some(format!("{name}-daemons"));
        let labels = json!({"app": "agent"});
        set.spec.selector = serde_json::from_value(json!({"matchLabels": labels})).unwrap();
        set.spec.template.metadata = serde_json::from_value(json!({"labels": labels})).unwrap();
        own(set.spec.template.spec.get_or_insert_default());
    }
    for volume in &mut snapshot.volumes {
        prefixed(&mut volume.metadata.name);
    }
    for claim in &mut snapshot.volume_claims {
        claim.metadata.namespace = Some(name.to_owned());
        prefixed(&mut claim.spec.get_or_insert_default().volume_name);
    }
}

/// Whether nodes that its pods can't use decide where they may stand.
pub fn counts_all_nodes(snapshot: &Snapshot) -> bool {
    let spreads = snapshot.pending.iter().flat_map(|group| group.spec.topology_spread_constraints.iter().flatten());
    spreads.into_iter().any(|spread| spread.node_affinity_policy.as_deref() == Some("Ignore"))
}
