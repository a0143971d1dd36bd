//! Labels, annotations, taints and finalizers that mean something to more than one part of the program.
//!
//! Those of Karpenter: <https://karpenter.sh/docs/reference/>; our own are under `supercargo.dev/`.

/// Instance type of a node.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Zone of a node.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Region of a node.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Processor architecture of a node.
pub const ARCH: &str = "kubernetes.io/arch";
/// Operating system of a node.
pub const OS: &str = "kubernetes.io/os";
/// Host name of a node.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Keeps the load balancers of the cloud away from a node.
pub const EXCLUDE_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// How a node's machine is paid for.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// The pool that a node or claim belongs to.
pub const NODE_POOL: &str = "karpenter.sh/nodepool";
/// On a node whose claim has found it.
pub const REGISTERED: &str = "karpenter.sh/registered";
/// On a node that is ready for pods.
pub const INITIALIZED: &str = "karpenter.sh/initialized";
/// On a node or class whose taints are its own affair.
pub const DO_NOT_SYNC_TAINTS: &str = "karpenter.sh/do-not-sync-taints";

/// On a pod, node or claim that is not to be disrupted.
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// The hash of a pool's template, on the pool and on its claims.
pub const NODE_POOL_HASH: &str = "karpenter.sh/nodepool-hash";
/// How that hash was made.
pub const NODE_POOL_HASH_VERSION: &str = "karpenter.sh/nodepool-hash-version";
/// On a claim: whether fewer values were to be had than `minValues` asks for.
pub const MIN_VALUES_RELAXED: &str = "karpenter.sh/nodeclaim-min-values-relaxed";
/// The time at which a drain is over, whatever is left on the node.
pub const TERMINATION_TIME: &str = "karpenter.sh/nodeclaim-termination-timestamp";
/// The offering that a claim was planned with: `m7i.large spot us-east-1a`.
pub const PLANNED: &str = "supercargo.dev/planned-offering";
/// On a claim that is to take the place of another one: that one's name.
pub const REPLACES: &str = "supercargo.dev/replaces";

/// On a claim: who led when it was made.
pub const MADE_BY: &str = "supercargo.dev/made-by";

/// Taint of a node whose claim has not found it yet.
pub const UNREGISTERED: &str = "karpenter.sh/unregistered";
/// Taint of a node that is being emptied.
pub const DISRUPTED: &str = "karpenter.sh/disrupted";

/// Finalizer of claims and nodes.
pub const TERMINATION: &str = "karpenter.sh/termination";
