//! Pods and what makes them: what the API server accepts.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::names::{is_dns_label, label_key, label_value, labels, selector};
use super::path::{Checked, Path};
use super::resources::{Holder, amounts, requirements};
use super::scheduling::{affinity, spreads, tolerations};

/// Checks what a pod asks for.
pub(crate) fn pod_spec(spec: &PodSpec, path: &Path<'_>) -> Checked {
    if spec.containers.is_empty() {
        return path.key("containers").fail("needs at least one container");
    }
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    let host_network = spec.host_network.unwrap_or(false);
    let lists =
        [("initContainers", spec.init_containers.as_deref().unwrap_or_default()), ("containers", &spec.containers)];
    for (field, containers) in lists {
        let list = path.key(field);
        for (index, container) in containers.iter().enumerate() {
            let path = list.index(index);
            if container.name.is_empty() {
                return path.key("name").fail("is missing");
            }
            if !is_dns_label(&container.name) {
                return path.key("name").fail(format!("{:?} is not a DNS label", container.name));
            }
            if !names.insert(container.name.as_str()) {
                return path.key("name").fail(format!("a second container is called {:?}", container.name));
            }
            if let Some(resources) = &container.resources {
                requirements(resources, Holder::Container, &path.key("resources"))?;
            }
            // Init containers run one after the other, so only the long-running ones compete for ports.
            let lasting = field == "containers" || container.restart_policy.as_deref() == Some("Always");
            ports(container, host_network, lasting.then_some(&mut host_ports), &path)?;
        }
    }
    if let Some(resources) = &spec.resources {
        requirements(resources, Holder::Pod, &path.key("resources"))?;
    }
    amounts(spec.overhead.as_ref(), &path.key("overhead"))?;
    if let Some(system) = &spec.os
        && !["linux", "windows"].contains(&system.name.as_str())
    {
        let path = path.key("os");
        return path.key("name").fail(format!("{:?} is not one of linux and windows", system.name));
    }
    for (key, value) in spec.node_selector.iter().flatten() {
        let path = path.key("nodeSelector");
        label_key(key, &path)?;
        label_value(value, &path.key(key))?;
    }
    if let Some(rules) = &spec.affinity {
        affinity(rules, &path.key("affinity"))?;
    }
    tolerations(spec.tolerations.as_deref(), &path.key("tolerations"))?;
    spreads(spec.topology_spread_constraints.as_deref(), &path.key("topologySpreadConstraints"))?;
    volumes(spec, path)
}

fn volumes(spec: &PodSpec, path: &Path<'_>) -> Checked {
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.key("volumes");
        let path = path.index(index);
        if !is_dns_label(&volume.name) {
            return path.key("name").fail(format!("{:?} is not a DNS label", volume.name));
        }
        if !names.insert(volume.name.as_str()) {
            return path.key("name").fail(format!("a second volume is called {:?}", volume.name));
        }
        if volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name.is_empty()) {
            return path.key("persistentVolumeClaim").key("claimName").fail("is missing");
        }
    }
    Ok(())
}

type HostPorts = BTreeSet<(i32, String, String)>;

fn ports(container: &Container, host_network: bool, mut taken: Option<&mut HostPorts>, path: &Path<'_>) -> Checked {
    let list = path.key("ports");
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let path = list.index(index);
        if !(1..=65535).contains(&port.container_port) {
            return path.key("containerPort").fail(format!("{} is not in the range 1 to 65535", port.container_port));
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            return path.key("protocol").fail(format!("{protocol:?} is not one of TCP, UDP and SCTP"));
        }
        let Some(host_port) = port.host_port.filter(|port| *port != 0) else { continue };
        let path = path.key("hostPort");
        if !(1..=65535).contains(&host_port) {
            return path.fail(format!("{host_port} is not in the range 1 to 65535"));
        }
        if host_network && host_port != port.container_port {
            return path
                .fail(format!("{host_port} is not containerPort {}, as hostNetwork wants", port.container_port));
        }
        if let Some(taken) = taken.as_deref_mut() {
            let address = port.host_ip.clone().unwrap_or_default();
            if !taken.insert((host_port, protocol.to_string(), address)) {
                return path.fail(format!("{host_port}/{protocol} is taken twice in one pod"));
            }
        }
    }
    Ok(())
}

/// Checks a workload's pod template, and that the workload's selector takes in what it makes.
pub(crate) fn template(template: &PodTemplateSpec, select: Option<&LabelSelector>, path: &Path<'_>) -> Checked {
    let path = path.key("template");
    let metadata = template.metadata.as_ref();
    let made = metadata.and_then(|metadata| metadata.labels.as_ref());
    labels(made, &path.key("metadata").key("labels"))?;
    if let Some(select) = select {
        let selector_path = Path::ROOT;
        let selector_path = selector_path.key("spec");
        let selector_path = selector_path.key("selector");
        selector(select, &selector_path)?;
        for (key, value) in select.match_labels.iter().flatten() {
            if made.and_then(|labels| labels.get(key)) != Some(value) {
                let path = selector_path.key("matchLabels");
                return path.key(key).fail(format!("{value:?} is not among the labels of the pod template"));
            }
        }
    }
    match &template.spec {
        Some(spec) => pod_spec(spec, &path.key("spec")),
        None => path.key("spec").fail("is missing"),
    }
}
