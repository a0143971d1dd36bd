//! What a pod needs and a node gives, in Kubernetes' own terms.

pub mod admission;
mod node_claim;
mod node_overlay;
mod node_pool;
pub mod ports;
pub mod quantity;
pub mod requests;
pub mod requirements;
pub mod restricted;
pub mod runtime_class;
pub mod schema;
mod snapshot;
pub mod taints;
pub mod volumes;

pub use node_claim::{NodeClaim, NodeClaimSpec, NodeClaimStatus};
pub use node_overlay::{NodeOverlay, NodeOverlaySpec, PriceChange, PriceChangeError};
pub use node_pool::{
    Budget, Disruption, NodeClaimTemplate, NodeClaimTemplateMeta, NodeClaimTemplateSpec, NodeClassReference, NodePool,
    NodePoolSpec, NodeSelectorRequirementWithMinValues,
};
pub use snapshot::{Owner, PodGroup, PodNames, Snapshot};
