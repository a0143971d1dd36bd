//! How many volumes pods can have attached to a machine.

use super::{InstanceType, KubeletSettings};

/// The most that a machine of Xen takes beside its root volume: the driver counts 39 devices there
/// (<https://github.com/kubernetes-sigs/aws-ebs-csi-driver>, `pkg/cloud/limits`).
const MOST_ON_XEN: i64 = 38;

/// The most EBS volumes that pods can have on a node of an instance type, as the driver `ebs.csi.aws.com` reports it in the
/// node's CSINode; `None` where the catalogue does not know.
///
/// EC2's own figure (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-limits.html>) stands in the catalogue: 28
/// less the first network interface and the local disks, where the limit is shared between all devices, and up to 128
/// where EBS has one of its own. The root volume and those that the class mounts besides are taken off. The driver never
/// reports less than 1, because 0 would mean no limit. Network interfaces that are added later take room from volumes on
/// machines with a shared limit; neither the driver nor this knows of them.
pub fn volume_limit(instance: &InstanceType, settings: &KubeletSettings) -> Option<i64> {
    let stated = i64::from(instance.max_volume_attachments?);
    let xen = instance.labels.get("karpenter.k8s.aws/instance-hypervisor").is_some_and(|text| text == "xen");
    let most = if xen { stated.min(MOST_ON_XEN) } else { stated };
    Some((most - i64::from(settings.extra_volumes)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_the_volumes_of_the_class_are_taken_off() {
        let mut instance = InstanceType { max_volume_attachments: Some(26), ..InstanceType::default() };
        let class = KubeletSettings { extra_volumes: 2, ..KubeletSettings::default() };
        assert_eq!(volume_limit(&instance, &KubeletSettings::default()), Some(26));
        assert_eq!(volume_limit(&instance, &class), Some(24));
        instance.max_volume_attachments = Some(2);
        assert_eq!(volume_limit(&instance, &class), Some(1));
        instance.max_volume_attachments = Some(39);
        instance.labels.insert("karpenter.k8s.aws/instance-hypervisor".to_owned(), "xen".to_owned());
        assert_eq!(volume_limit(&instance, &KubeletSettings::default()), Some(38));
        assert_eq!(volume_limit(&InstanceType::default(), &class), None);
    }
}
