//! Whether the machines of a pool join the cluster as nodes, as Karpenter judges it (`pkg/state/nodepoolhealth/tracker.go`,
//! `pkg/controllers/nodepool/registrationhealth`, and the life cycle of its claims).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use kube::ResourceExt;

use super::super::conditions::{self, Conditions, Known, LAUNCHED, REGISTERED};
use super::super::context::{Context, lock};
use crate::api::NodeClaim;

/// The machines of a pool join the cluster.
const HEALTHY: &str = "NodeRegistrationHealthy";
/// So many of the last machines count.
const LAST: usize = 4;
/// So many of them that have not joined are too many.
const TOO_MANY: usize = 2;

/// What became of the last machines of each pool, by the pool's uid. What was so before a restart is read off the condition.
#[derive(Debug, Default)]
pub struct Registrations(HashMap<String, Machines>);

/// What became of the last machines of a pool.
#[derive(Debug, Default)]
pub(super) struct Machines {
    /// By the claim's uid: whether it has joined. The last one is at the end.
    outcomes: VecDeque<(String, bool)>,
    /// Whether the condition was read that was there before.
    known: bool,
    /// Reason and message of the last that has not joined.
    failure: Option<(String, String)>,
}

impl Registrations {
    /// The machines of a pool.
    pub(super) fn of(&mut self, pool: &str) -> &mut Machines {
        self.0.entry(pool.to_owned()).or_default()
    }
}

impl Machines {
    /// A claim's machine has joined, or has not in time. It counts once, however often that is told.
    fn add(&mut self, claim: &str, joined: bool) {
        if self.outcomes.iter().any(|(known, _)| known == claim) {
            return;
        }
        self.outcomes.push_back((claim.to_owned(), joined));
        self.shorten();
    }

    fn shorten(&mut self) {
        while self.outcomes.len() > LAST {
            self.outcomes.pop_front();
        }
    }

    /// Takes what the condition says for the outcomes that it was made of.
    fn read(&mut self, status: &str) {
        let before: &[bool] = match status {
            "True" => &[true],
            "False" => &[false; TOO_MANY],
            _ => &[],
        };
        before.iter().for_each(|joined| self.outcomes.push_front((String::new(), *joined)));
        self.shorten();
    }
}

impl Context {
    /// The machine of a claim has joined.
    pub fn has_joined(&self, claim: &NodeClaim) {
        self.count(claim, Ok(()));
    }

    /// The machine of a claim has not joined, or not been launched, in time.
    pub fn has_not_joined(&self, claim: &NodeClaim) {
        let launched = conditions::find(claim, LAUNCHED).filter(|condition| condition.status != "True");
        let why = launched.map_or(("RegistrationFailed", "Failed to register node"), |condition| {
            (condition.reason.as_str(), condition.message.as_str())
        });
        self.count(claim, Err(why));
    }

    fn count(&self, claim: &NodeClaim, outcome: Result<(), (&str, &str)>) {
        let Some(pool) = self.stores.pool_of(claim) else { return };
        let is_owner = |uid: &String| claim.owner_references().iter().any(|owner| owner.uid == *uid);
        let Some(uid) = pool.metadata.uid.as_ref().filter(|uid| is_owner(uid)) else { return };
        let there: HashSet<String> = self.stores.pools.state().iter().filter_map(|pool| pool.uid()).collect();
        let mut all = lock(&self.registrations);
        all.0.retain(|uid, _| there.contains(uid));
        let machines = all.of(uid);
        machines.add(&claim.uid().unwrap_or_default(), outcome.is_ok());
        if let Err((reason, message)) = outcome {
            machines.failure = Some((reason.to_owned(), message.to_owned()));
        }
        drop(all);
        self.bells.pool(&pool.name_any());
    }
}

/// Keeps `NodeRegistrationHealthy` up to date: unknown anew whenever the pool or its class has changed, false once too many of
/// the last machines have not joined, true once one has joined and few enough have not.
pub(super) fn judge(conditions: &mut Conditions, claims: &[Arc<NodeClaim>], same_class: bool, machines: &mut Machines) {
    if !same_class || !conditions.is_current(HEALTHY) {
        conditions.set(
            HEALTHY,
            Known::Unknown,
            "AwaitingReconciliation",
            "no machine has joined since the last change",
        );
        *machines = Machines { known: true, ..Machines::default() };
    }
    let Some(now) = conditions.get(HEALTHY) else { return };
    if !std::mem::replace(&mut machines.known, true) {
        machines.read(&now.status);
    }
    // One that had joined before it could be counted.
    let since = now.last_transition_time.0;
    let joined = |claim: &&Arc<NodeClaim>| conditions::true_since(claim, REGISTERED).is_some_and(|time| time >= since);
    if now.status == "Unknown"
        && machines.outcomes.is_empty()
        && let Some(claim) = claims.iter().find(joined)
    {
        machines.add(&claim.uid().unwrap_or_default(), true);
    }
    let is_false = now.status == "False";
    let failed = machines.outcomes.iter().filter(|(_, joined)| !joined).count();
    if failed >= TOO_MANY {
        if !is_false && let Some((reason, message)) = &machines.failure {
            conditions.set(HEALTHY, Known::False, reason, message);
        }
    } else if failed < machines.outcomes.len() {
        conditions.achieve(HEALTHY);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use serde_json::json;

    use super::*;

    fn claim(joined: &str) -> Arc<NodeClaim> {
        let registered = json!({"type": "Registered", "status": "True", "reason": "Registered", "message": "",
            "lastTransitionTime": joined});
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "c", "uid": joined},
                "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
                "status": {"conditions": [registered]},
            }))
            .unwrap(),
        )
    }

    fn at(minute: u32) -> Timestamp {
        format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap()
    }

    #[test]
    fn a_pool_is_healthy_once_a_machine_has_joined_since_it_changed() {
        let mut list = Vec::new();
        let mut told = |generation: i64, minute: u32, claims: &[Arc<NodeClaim>], same_class: bool| {
            let mut conditions = Conditions::new(list.clone(), Some(generation), at(minute));
            // As after a restart: the claims alone tell.
            judge(&mut conditions, claims, same_class, &mut Machines::default());
            list = conditions.into_list();
            list[0].status.clone()
        };
        let early = claim("2026-01-01T00:05:00Z");
        assert_eq!(told(1, 1, &[], true), "Unknown");
        assert_eq!(told(1, 6, &[Arc::clone(&early)], true), "True");
        assert_eq!(told(1, 7, &[], true), "True");
        assert_eq!(told(2, 8, &[Arc::clone(&early)], true), "Unknown");
        assert_eq!(told(2, 10, &[early, claim("2026-01-01T00:09:00Z")], true), "True");
        assert_eq!(told(2, 11, &[], false), "Unknown");
    }

    /// A pool whose machines join or do not.
    struct Pool {
        list: Vec<Condition>,
        machines: Machines,
        minute: u32,
    }

    impl Pool {
        fn new() -> Self {
            Pool { list: Vec::new(), machines: Machines::default(), minute: 0 }
        }

        fn fail(&mut self, claim: &str) {
            self.machines.add(claim, false);
            self.machines.failure = Some(("RegistrationFailed".into(), claim.into()));
        }

        /// Status and message after a look at it.
        fn told(&mut self, generation: i64) -> [String; 2] {
            self.minute += 1;
            let mut conditions = Conditions::new(self.list.clone(), Some(generation), at(self.minute));
            judge(&mut conditions, &[], true, &mut self.machines);
            self.list = conditions.into_list();
            [&self.list[0].status, &self.list[0].message].map(Clone::clone)
        }
    }

    #[test]
    fn a_pool_is_sick_when_half_of_its_last_machines_have_not_joined() {
        let mut pool = Pool::new();
        assert_eq!(pool.told(1)[0], "Unknown");
        pool.fail("a");
        assert_eq!(pool.told(1)[0], "Unknown");
        // Told twice, it is still one.
        pool.fail("a");
        assert_eq!(pool.told(1)[0], "Unknown");
        pool.machines.add("b", true);
        assert_eq!(pool.told(1)[0], "True");
        pool.fail("c");
        assert_eq!(pool.told(1), ["False", "c"]);
        // The reason is that of the change.
        pool.fail("d");
        assert_eq!(pool.told(1), ["False", "c"]);
        for (joins, status) in [("e", "False"), ("f", "False"), ("g", "True")] {
            pool.machines.add(joins, true);
            assert_eq!(pool.told(1)[0], status, "{joins}");
        }
        pool.fail("h");
        pool.fail("i");
        assert_eq!(pool.told(1), ["False", "i"]);
        assert_eq!(pool.told(2)[0], "Unknown");
        pool.fail("j");
        assert_eq!(pool.told(2)[0], "Unknown");
    }

    #[test]
    fn what_was_known_before_a_restart_counts_after_it() {
        let mut pool = Pool::new();
        pool.told(1);
        pool.fail("a");
        pool.fail("b");
        assert_eq!(pool.told(1), ["False", "b"]);
        pool.machines = Machines::default();
        for (joins, status) in [("c", "False"), ("d", "False"), ("e", "True")] {
            pool.machines.add(joins, true);
            assert_eq!(pool.told(1)[0], status, "{joins}");
        }
        pool.machines = Machines::default();
        pool.fail("f");
        assert_eq!(pool.told(1)[0], "True");
        pool.fail("g");
        assert_eq!(pool.told(1), ["False", "g"]);
    }
}
