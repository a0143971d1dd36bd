//! When a machine is broken, as its node tells.

use std::time::Duration;

/// A node condition that means that a machine is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPolicy {
    /// Type of the condition.
    pub condition: String,
    /// Its status when the machine is broken.
    pub status: String,
    /// How long to hope.
    pub patience: Duration,
}

/// Those of the AWS provider (`RepairPolicies` in its `pkg/cloudprovider/cloudprovider.go`): the kubelet's own condition,
/// and those of EKS' node monitoring agent (<https://docs.aws.amazon.com/eks/latest/userguide/node-health-nma.html>).
pub fn repair_policies() -> Vec<RepairPolicy> {
    let all = [
        ("Ready", "False", 30),
        ("Ready", "Unknown", 30),
        ("AcceleratedHardwareReady", "False", 10),
        ("StorageReady", "False", 30),
        ("NetworkingReady", "False", 30),
        ("KernelReady", "False", 30),
        ("ContainerRuntimeReady", "False", 30),
    ];
    let policy = |(condition, status, minutes): (&str, &str, u64)| RepairPolicy {
        condition: condition.into(),
        status: status.into(),
        patience: Duration::from_secs(60 * minutes),
    };
    all.map(policy).into()
}
