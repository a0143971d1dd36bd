//! One leader at a time: the lease is Karpenter's, so that the two never act on one cluster at once.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Seconds that a lease is valid without being renewed, as controller-runtime has it.
const DURATION: u64 = 15;
/// Seconds before its end at which it is renewed.
const GRACE: u64 = 5;
/// How long to wait for the lease to be given back when the program ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// A candidate for the lease.
#[derive(Debug)]
pub struct Election {
    state: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl Election {
    /// Stands for election.
    ///
    /// # Errors
    /// If the lease can be neither read nor made.
    pub async fn stand(client: Client, namespace: &str, name: &str, identity: &str) -> anyhow::Result<Self> {
        let manager = LeaseManagerBuilder::new(client, name)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build()
            .await?;
        let (state, task) = manager.watch().await;
        Ok(Election { state, task })
    }

    /// Waits until this candidate is the leader.
    ///
    /// # Errors
    /// If the election ended without.
    pub async fn won(&mut self) -> anyhow::Result<()> {
        self.state.wait_for(|leader| *leader).await?;
        Ok(())
    }

    /// Waits until this leader is none any more.
    pub async fn lost(&mut self) {
        // An election that has ended is lost as well.
        let _ = self.state.wait_for(|leader| !*leader).await;
    }

    /// Gives the lease back, so that the next leader need not wait for its end.
    pub async fn resign(self) {
        drop(self.state);
        if tokio::time::timeout(PATIENCE, self.task).await.is_err() {
            tracing::warn!("the lease was not given back in time; it ends by itself");
        }
    }
}
