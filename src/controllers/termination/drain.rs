//! Asking pods to leave a node, by the Eviction API, which keeps their disruption budgets; those whose time is over are not
//! asked. What is told of it: `pkg/controllers/node/termination/terminator` of <https://github.com/kubernetes-sigs/karpenter>.

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, Preconditions};
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use tracing::{debug, info, warn};

use super::super::conditions::{self, DISRUPTION_REASON};
use super::super::context::{Context, Error};
use super::eviction::{grace, step};
use crate::api::NodeClaim;

/// Evictions that are asked for at once.
const AT_ONCE: usize = 16;
/// Why pods leave a node whose end we did not choose, in Karpenter's words.
const FORCED: &str = "Forceful Termination";
/// What the API server says to an eviction that it can't judge.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/#how-api-initiated-eviction-works>
const SEVERAL_BUDGETS: &str = "more than one PodDisruptionBudget";

/// A node that its pods are to leave.
pub(super) struct Drain<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its claim, if it has one.
    pub claim: Option<&'a NodeClaim>,
    /// When it is over, whatever is left.
    pub deadline: Option<Timestamp>,
    /// The cluster.
    pub context: &'a Context,
}

impl Drain<'_> {
    /// Does the next step; how many pods it waits for.
    ///
    /// # Errors
    /// If the API server does not delete a pod whose time is over. One that it does not evict is asked again at the next
    /// step.
    pub(super) async fn step(&self, now: Timestamp) -> Result<usize, Error> {
        let pods = self.context.stores.pods_on(&self.node.name_any());
        let step = step(&pods, self.deadline, now);
        for (pod, seconds) in &step.delete {
            self.delete(pod, *seconds).await?;
        }
        let evictions = stream::iter(step.evict).map(|pod| self.evict(pod));
        evictions.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        if step.left > 0 {
            self.failed(None, &format!("{} pods are waiting to be evicted", step.left)).await;
        }
        Ok(step.left)
    }

    async fn evict(&self, pod: &Pod) {
        let Drain { context, .. } = self;
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
        let asked = EvictParams { delete_options: Some(same(pod)), ..EvictParams::default() };
        match pods.evict(&name, &asked).await {
            Ok(_) => {
                debug!(pod = name, "evicted");
                let reason = reason(self.claim);
                context.metrics.eviction_requested(200);
                context.metrics.pod_drained(reason);
                context.tell(pod, EventType::Normal, "Evicted", format!("Evicted pod: {reason}")).await;
            }
            Err(kube::Error::Api(status)) => {
                context.metrics.eviction_requested(status.code);
                let obstacle = match status.code {
                    // Gone, or another one of that name.
                    404 | 409 => return,
                    429 => "evicting pod violates a PDB",
                    _ if status.message.contains(SEVERAL_BUDGETS) => "eviction does not support multiple PDBs",
                    _ => return warn!(pod = name, "not evicted: {}", status.message),
                };
                debug!(pod = name, "not evicted: {}", status.message);
                self.failed(Some(pod), &format!("{obstacle} (Pod={namespace}/{name})")).await;
            }
            Err(error) => warn!(pod = name, "not evicted: {error}"),
        }
    }

    /// Deletes a pod whose time is over, whatever its budget and annotations say.
    async fn delete(&self, pod: &Pod, seconds: u32) -> Result<(), Error> {
        let Drain { context, .. } = self;
        let name = pod.name_any();
        let pods: Api<Pod> = Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
        let given = DeleteParams { grace_period_seconds: Some(seconds), ..same(pod) };
        match pods.delete(&name, &given).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        info!(pod = name, node = self.node.name_any(), "deleted with {seconds} s of its {} s of grace", grace(pod));
        context.metrics.pod_drained(reason(self.claim));
        let note = format!(
            "Deleting the pod to accommodate the terminationTime {} of the node: it is given {seconds} seconds of its {} \
             terminationGracePeriodSeconds, whatever its PDB and do-not-disrupt annotation say",
            self.deadline.map(|deadline| deadline.to_string()).unwrap_or_default(),
            grace(pod)
        );
        context.tell(pod, EventType::Normal, "Disrupted", note).await;
        Ok(())
    }

    async fn failed(&self, pod: Option<&Pod>, obstacle: &str) {
        let note = format!("Failed to drain node, {obstacle}");
        let pod = pod.map(|pod| pod.object_ref(&()));
        self.context.tell_with(self.node, pod, EventType::Warning, "FailedDraining", note).await;
    }
}

/// What deletes this pod alone, and no namesake.
fn same(pod: &Pod) -> DeleteParams {
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// Why pods leave the node of a claim: for the reason that we had to disrupt it, or because somebody ended it. Empty where
/// there is no claim.
fn reason(claim: Option<&NodeClaim>) -> &str {
    let Some(claim) = claim else { return "" };
    let ours = conditions::find(claim, DISRUPTION_REASON).filter(|condition| condition.status == "True");
    ours.map_or(FORCED, |condition| &condition.reason)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::controllers::conditions::{Conditions, Known};

    #[test]
    fn pods_leave_for_the_reason_of_their_claim() {
        assert_eq!(reason(None), "");
        let mut claim = NodeClaim::default();
        assert_eq!(reason(Some(&claim)), "Forceful Termination");
        let mut told = |known| {
            let mut conditions = Conditions::of(&claim, Timestamp::UNIX_EPOCH);
            conditions.set(DISRUPTION_REASON, known, "Drifted", "Drifted");
            claim.status.get_or_insert_default().conditions = Some(conditions.into_list());
            reason(Some(&claim)).to_owned()
        };
        assert_eq!(told(Known::True), "Drifted");
        assert_eq!(told(Known::False), "Forceful Termination");
    }
}
