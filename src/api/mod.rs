//! The cluster's API: the custom resources of Karpenter as types, and their definitions.
//!
//! Wire-compatible with `karpenter.sh`, `karpenter.k8s.aws`, `karpenter.kwok.sh` and `autoscaling.x-k8s.io`: field names,
//! defaults, rules, columns and short names are those of Karpenter 1.15
//! (<https://github.com/kubernetes-sigs/karpenter/tree/main/pkg/apis/crds>,
//! <https://github.com/aws/karpenter-provider-aws/tree/main/pkg/apis/crds>), so that manifests, dashboards and habits
//! carry over. What the planner decides with stands in [`supercargo_models::kubernetes`] and is used from there.

// Columns of one kind may have the same type and priority.
#![allow(clippy::duplicated_attributes)]

mod capacity_buffer;
mod definitions;
mod ec2_node_class;
mod kwok_node_class;
mod node_claim;
mod node_overlay;
mod node_pool;
mod schema;

pub use capacity_buffer::{
    CapacityBuffer, CapacityBufferSpec, CapacityBufferStatus, PodTemplateReference, ScalableReference,
};
pub use definitions::{Definition, definitions};
pub use ec2_node_class::{
    AmiSelectorTerm, BlockDevice, BlockDeviceMapping, CapacityReservationSelectorTerm, ConnectionTracking, CpuOptions,
    EC2NodeClass, EC2NodeClassSpec, EC2NodeClassStatus, EnclaveOptions, MetadataOptions, NetworkInterface,
    PlacementGroupSelector, ResolvedAmi, ResolvedCapacityReservation, ResolvedSecurityGroup, ResolvedSubnet,
    SecurityGroupSelectorTerm, SubnetSelectorTerm,
};
pub use kwok_node_class::{KWOKNodeClass, KWOKNodeClassSpec, KWOKNodeClassStatus};
pub use node_claim::{NodeClaim, NodeClaimResources, NodeClaimSpec, NodeClaimStatus};
pub use node_overlay::{NodeOverlay, NodeOverlaySpec, NodeOverlayStatus};
pub use node_pool::{NodePool, NodePoolSpec, NodePoolStatus};
pub use supercargo_models::kubernetes::{
    Budget, Disruption, NodeClaimTemplate, NodeClaimTemplateMeta, NodeClaimTemplateSpec, NodeClassReference,
    NodeSelectorRequirementWithMinValues,
};
