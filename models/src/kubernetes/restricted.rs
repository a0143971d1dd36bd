//! Labels that a pool may not choose: those of Karpenter's own domains, but for the few that are there to be chosen by.
//!
//! <https://karpenter.sh/docs/concepts/nodepools/#well-known-labels>, <https://karpenter.sh/docs/reference/instance-types/>.

/// The label that says which pool a node belongs to.
pub const NODE_POOL: &str = "karpenter.sh/nodepool";
/// The label that says which node it is.
pub const HOST_NAME: &str = "kubernetes.io/hostname";

/// Each restricted domain, with its labels that may be chosen by. A domain counts with all that ends like it.
pub const DOMAINS: [(&str, &[&str]); 2] = [
    ("karpenter.sh", &["karpenter.sh/capacity-type", NODE_POOL]),
    (
        "karpenter.k8s.aws",
        &[
            "karpenter.k8s.aws/capacity-reservation-id",
            "karpenter.k8s.aws/capacity-reservation-interruptible",
            "karpenter.k8s.aws/capacity-reservation-type",
            "karpenter.k8s.aws/ec2nodeclass",
            "karpenter.k8s.aws/instance-accelerator-count",
            "karpenter.k8s.aws/instance-accelerator-manufacturer",
            "karpenter.k8s.aws/instance-accelerator-name",
            "karpenter.k8s.aws/instance-capability-flex",
            "karpenter.k8s.aws/instance-category",
            "karpenter.k8s.aws/instance-cpu",
            "karpenter.k8s.aws/instance-cpu-manufacturer",
            "karpenter.k8s.aws/instance-cpu-sustained-clock-speed-mhz",
            "karpenter.k8s.aws/instance-ebs-bandwidth",
            "karpenter.k8s.aws/instance-encryption-in-transit-supported",
            "karpenter.k8s.aws/instance-family",
            "karpenter.k8s.aws/instance-generation",
            "karpenter.k8s.aws/instance-gpu-count",
            "karpenter.k8s.aws/instance-gpu-manufacturer",
            "karpenter.k8s.aws/instance-gpu-memory",
            "karpenter.k8s.aws/instance-gpu-name",
            "karpenter.k8s.aws/instance-hypervisor",
            "karpenter.k8s.aws/instance-local-nvme",
            "karpenter.k8s.aws/instance-memory",
            "karpenter.k8s.aws/instance-network-bandwidth",
            "karpenter.k8s.aws/instance-size",
            "karpenter.k8s.aws/instance-tenancy",
            "karpenter.k8s.aws/placement-group-id",
            "karpenter.k8s.aws/placement-group-partition",
        ],
    ),
];

/// The restricted domain that a label key is of, unless it is one that may be chosen by.
pub fn domain(key: &str) -> Option<&'static str> {
    let of = key.split('/').next().unwrap_or_default();
    let restricted = |(domain, chosen): &&(&'static str, &[&str])| of.ends_with(domain) && !chosen.contains(&key);
    DOMAINS.iter().find(restricted).map(|(domain, _)| *domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_restricted_with_its_exceptions() {
        assert_eq!(domain("karpenter.sh/registered"), Some("karpenter.sh"));
        assert_eq!(domain("node.karpenter.sh/x"), Some("karpenter.sh"));
        assert_eq!(domain("karpenter.k8s.aws/instance-colour"), Some("karpenter.k8s.aws"));
        for free in ["karpenter.sh/capacity-type", "karpenter.k8s.aws/instance-cpu", "karpenter.example.com/x", "team"]
        {
            assert_eq!(domain(free), None, "{free}");
        }
    }
}
