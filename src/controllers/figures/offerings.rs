//! What is on sale, as the AWS provider tells it (`pkg/providers/instancetype/metrics.go` of
//! <https://github.com/aws/karpenter-provider-aws>).

use supercargo_models::catalog::Catalog;

use crate::cloud::Offer;
use crate::telemetry::Gauges;

/// All figures of offerings; `refused` says of one whether the cloud had none of it of late.
pub(super) fn gauges(catalog: &Catalog, refused: impl Fn(&Offer) -> bool) -> Vec<Gauges> {
    let mut cores =
        Gauges::new("karpenter_cloudprovider_instance_type_cpu_cores", "Virtual processors of an instance type");
    let mut memory =
        Gauges::new("karpenter_cloudprovider_instance_type_memory_bytes", "Memory of an instance type, in bytes");
    let mut available = Gauges::new(
        "karpenter_cloudprovider_instance_type_offering_available",
        "Whether an offering is to be had, as far as is known",
    );
    let mut price = Gauges::new(
        "karpenter_cloudprovider_instance_type_offering_price_estimate",
        "Dollars an hour of an offering, without overlays",
    );
    for instance in &catalog.instance_types {
        let named = || vec![("instance_type", instance.name.clone())];
        cores.add(named(), f64::from(instance.vcpu));
        memory.add(named(), instance.memory_mib as f64 * f64::from(1 << 20));
        for offering in &instance.offerings {
            let offer = Offer::of(instance, offering);
            let is_refused = refused(&offer);
            let labels = vec![
                ("instance_type", offer.instance_type),
                ("capacity_type", offer.capacity_type),
                ("zone", offer.zone),
            ];
            available.add(labels.clone(), if is_refused { 0.0 } else { 1.0 });
            price.add(labels, offering.price);
        }
    }
    vec![cores, memory, available, price]
}

#[cfg(test)]
mod tests {
    use supercargo_models::catalog::{InstanceType, Offering};

    use super::*;

    #[test]
    fn offerings_are_told_with_price_and_whether_they_were_refused() {
        let offering = |zone: &str, price| Offering {
            zone: zone.into(),
            capacity_type: "spot".into(),
            price,
            ..Offering::default()
        };
        let instance = InstanceType {
            name: "m5.large".into(),
            vcpu: 2,
            memory_mib: 8192,
            offerings: vec![offering("a", 0.1), offering("b", 0.2)],
            ..InstanceType::default()
        };
        let catalog = Catalog { instance_types: vec![instance], ..Catalog::default() };
        let values: Vec<Vec<f64>> = gauges(&catalog, |offer| offer.zone == "b")
            .into_iter()
            .map(|gauges| gauges.series.into_iter().map(|(_, value)| value).collect())
            .collect();
        assert_eq!(values, [vec![2.0], vec![8.0 * (1_u64 << 30) as f64], vec![1.0, 0.0], vec![0.1, 0.2]]);
    }
}
