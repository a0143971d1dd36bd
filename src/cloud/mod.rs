//! Where machines come from: one trait, and the clouds behind it.
//!
//! A machine belongs to the NodeClaim it was made for, and is known by that claim's uid: whoever asks for it twice gets the
//! same machine, so a controller that died between asking and writing down what it got asks again.

mod choice;
mod class;
pub mod kwok;
mod metered;
mod refused;
mod rehearsal;
mod repair;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
pub use choice::{Choice, Lack, choices, label_of, lack};
pub(crate) use class::unready;
use jiff::Timestamp;
pub use metered::Metered;
pub use refused::Refused;
pub use rehearsal::Rehearsal;
pub use repair::{RepairPolicy, repair_policies};
use serde_json::Value;
use supercargo_models::catalog::{Catalog, InstanceType, Offering};
use supercargo_models::kubernetes::NodeClassReference;
use supercargo_models::kubernetes::quantity::Resources;

use crate::api::NodeClaim;

/// What sells machines.
///
/// All methods may be called at any time, again, and by several programs at once; each says what that does.
#[async_trait]
pub trait CloudProvider: Send + Sync {
    /// What it is called in metrics and messages: `kwok`.
    fn name(&self) -> &'static str;

    /// Launches the machine of a claim: the cheapest offering that its requirements allow and that holds its requests, of
    /// those in `catalog`: [`CloudProvider::catalog`] at the prices and with the devices that the claim's pool sees.
    ///
    /// Idempotent by the claim's uid: a claim that has a machine gets that machine again, whatever its spec says by now.
    ///
    /// Where cheaper offerings were refused, the machine is a substitute, and [`Launch::refused`] names them: as EC2's
    /// CreateFleet returns errors beside instances
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html>).
    ///
    /// # Errors
    /// [`CloudError::InsufficientCapacity`] where none of the offerings can be had now; [`CloudError::ClassNotReady`] where
    /// the class is missing or not ready; else the cloud failed, and the call may be repeated.
    async fn create(&self, claim: &NodeClaim, catalog: &Catalog) -> Result<Launch, CloudError>;

    /// Asks for the end of a claim's machine. It may take time: [`CloudProvider::get`] says when the machine is gone.
    ///
    /// Asking again changes nothing.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] where the claim has no machine, or none any more; else the call may be repeated.
    async fn delete(&self, claim: &ClaimKey) -> Result<(), CloudError>;

    /// The machine of a claim.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] where there is none, or none any more.
    async fn get(&self, claim: &ClaimKey) -> Result<Machine, CloudError>;

    /// All machines of this cluster that are there or ending.
    ///
    /// # Errors
    /// If the cloud does not answer; never a part of the machines.
    async fn list(&self) -> Result<Vec<Machine>, CloudError>;

    /// Whether machines of such a class are this cloud's: claims of all others are somebody else's to carry.
    fn makes(&self, class: &NodeClassReference) -> bool;

    /// Whether a node's `spec.providerID` names a machine of this cloud, be it there or gone.
    fn names(&self, provider_id: &str) -> bool;

    /// What can be bought, with prices; the same one as long as nothing of it has changed.
    fn catalog(&self) -> Arc<Catalog>;

    /// The class object that a pool or claim names, for the planner and to know whether machines can be made of it.
    ///
    /// # Errors
    /// [`CloudError::ClassNotReady`] where it is missing, leaving or not ready.
    fn node_class(&self, reference: &NodeClassReference) -> Result<Value, CloudError>;

    /// Claims whose machines the cloud has said it will take back soon.
    fn interrupted(&self) -> Vec<ClaimKey>;

    /// Waits until there may be more of [`CloudProvider::interrupted`] than before. Nothing is lost if it is not awaited for
    /// a while: one that came meanwhile ends the next wait at once.
    async fn interruption(&self);

    /// Why a claim's machine is no longer what its class asks for, as the reason of a condition (`AMIDrift`); `None` where it
    /// is. Asked whenever a claim is looked at, so the answer is to be at hand.
    ///
    /// # Errors
    /// If the cloud does not answer, or [`CloudError::NotFound`].
    async fn drifted(&self, claim: &NodeClaim) -> Result<Option<String>, CloudError>;

    /// Conditions of a node on which its machine is to be replaced.
    fn repair_policies(&self) -> Vec<RepairPolicy>;
}

/// Which claim a machine belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimKey {
    /// The claim's name.
    pub name: String,
    /// The claim's uid: a later claim of the same name is another one.
    pub uid: String,
}

impl ClaimKey {
    /// The key of a claim that the API server holds.
    pub fn of(claim: &NodeClaim) -> Self {
        ClaimKey {
            name: claim.metadata.name.clone().unwrap_or_default(),
            uid: claim.metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// A machine that was launched.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The claim that it was launched for.
    pub claim: ClaimKey,
    /// What its node says in `spec.providerID`.
    pub provider_id: String,
    /// The image it runs.
    pub image_id: String,
    /// What was bought.
    pub offering: Offer,
    /// Labels that its node will bear: those of the instance type, zone and capacity type.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub capacity: Resources,
    /// What it offers to pods.
    pub allocatable: Resources,
    /// When it was launched.
    pub launched: Timestamp,
}

/// What became of a launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The machine that was had.
    pub machine: Machine,
    /// What was refused on the way to it, in the order in which it was asked for: not to be asked for again for some
    /// minutes. Empty where the first choice was had, or the machine was there already.
    pub refused: Vec<Offer>,
}

impl From<Machine> for Launch {
    /// One without refusals.
    fn from(machine: Machine) -> Self {
        Launch { machine, refused: Vec::new() }
    }
}

/// One thing that can be bought.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offer {
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// `on-demand`, `spot` or `reserved`.
    pub capacity_type: String,
}

impl Offer {
    /// An offering of the catalogue.
    pub fn of(instance: &InstanceType, offering: &Offering) -> Self {
        Offer {
            instance_type: instance.name.clone(),
            zone: offering.zone.clone(),
            capacity_type: offering.capacity_type.clone(),
        }
    }

    /// Reads what its `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(instance_type), Some(capacity_type), Some(zone), None) => {
                Some(Offer { instance_type, zone, capacity_type })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} {} {}", self.instance_type, self.capacity_type, self.zone)
    }
}

/// Why the cloud did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// None of the offerings that a claim allows can be had now.
    #[error("no capacity: {message}")]
    InsufficientCapacity {
        /// What was refused: not to be asked for again for some minutes.
        refused: Vec<Offer>,
        /// The cloud's words.
        message: String,
    },
    /// The class that a claim or pool names is missing or not ready.
    #[error("the node class is not ready: {message}")]
    ClassNotReady {
        /// Why, in the API's word: `NodeClassNotFound`, `NodeClassTerminating`, `NodeClassReadinessUnknown`, or what the class
        /// says itself.
        reason: String,
        /// In words.
        message: String,
    },
    /// There is no such machine, or none any more.
    #[error("no such machine")]
    NotFound,
    /// Anything else: the call may be repeated.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offering_is_read_as_it_is_written() {
        let offer = Offer { instance_type: "m5.large".into(), zone: "us-east-1a".into(), capacity_type: "spot".into() };
        assert_eq!(Offer::parse(&offer.to_string()), Some(offer));
        assert_eq!(Offer::parse("m5.large spot"), None);
    }
}
