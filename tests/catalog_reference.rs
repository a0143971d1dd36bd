//! The computed allocatable against Karpenter's instance type reference, for every type that both know.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use supercargo::catalog;
use supercargo_models::catalog::{KubeletSettings, allocatable, capacity, check};

const REFERENCE: &str = "fixtures/catalog/allocatable-us-east-1.csv";
const DEVICES: [&str; 4] = ["amd.com/gpu", "aws.amazon.com/neuron", "aws.amazon.com/neuroncore", "nvidia.com/gpu"];
const MIB: i64 = 1 << 20;

#[test]
fn allocatable_is_the_references_for_every_type() {
    let catalog = catalog::embedded().unwrap();
    let by_name: BTreeMap<&str, _> = catalog.instance_types.iter().map(|found| (found.name.as_str(), found)).collect();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for row in csv::Reader::from_path(REFERENCE).unwrap().deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let name = row["instance_type"].as_str();
        let Some(instance) = by_name.get(name) else { continue };
        compared += 1;
        let offered = allocatable(instance, &KubeletSettings::default()).unwrap();
        let number = |column: &str| row[column].parse::<i64>().unwrap();
        let mut expect = |what: &str, computed: i64, stated: i64| {
            if computed != stated {
                wrong.push(format!("{name}: {what} is {computed}, {stated} in the reference"));
            }
        };
        expect("cpu", offered["cpu"], number("allocatable_cpu_millicores"));
        expect("memory", offered["memory"], number("allocatable_memory_mib") * MIB);
        expect("pods", offered["pods"], number("allocatable_pods"));
        for device in DEVICES {
            expect(device, offered.get(device).copied().unwrap_or_default(), number(device));
        }
        assert_eq!(instance.arch, row["arch"], "{name}");
        assert_eq!(capacity(instance)["cpu"], number("vcpu") * 1000, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(compared, 1340, "types in both");
}

#[test]
fn the_embedded_catalogue_makes_sense() {
    let catalog = catalog::embedded().unwrap();
    check(&catalog).unwrap();
    assert_eq!(catalog.region, "us-east-1");
    assert_eq!(catalog.zones.len(), 6);
    assert!(catalog.instance_types.len() > 1300);
    for instance in &catalog.instance_types {
        let name = &instance.name;
        assert!(!instance.offerings.is_empty(), "{name}");
        assert_eq!(instance.labels["node.kubernetes.io/instance-type"], *name);
        assert_eq!(instance.labels["kubernetes.io/arch"], instance.arch, "{name}");
        assert_eq!(instance.labels["karpenter.k8s.aws/instance-cpu"], instance.vcpu.to_string(), "{name}");
        assert_eq!(instance.labels["karpenter.k8s.aws/instance-memory"], instance.memory_mib.to_string(), "{name}");
        assert!(instance.max_volume_attachments.is_some(), "{name}");
        for offering in &instance.offerings {
            assert!(offering.price > 0.0, "{name}");
            assert_eq!(offering.estimated, offering.capacity_type == "spot", "{name}");
            assert_eq!(offering.interruption.is_some(), offering.capacity_type == "spot", "{name}");
        }
    }
}
