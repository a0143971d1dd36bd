//! What the end of a node says of itself, on its claim.

use super::super::conditions::{Conditions, DRAINED, Known, VOLUMES_DETACHED};

/// Reason of what was waited for until its time was over.
const ELAPSED: &str = "TerminationGracePeriodElapsed";

/// How far the end of a node has come before its machine is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Pods are still to leave.
    Draining,
    /// They have left, and volumes are still to be detached.
    Detaching,
    /// Nothing is waited for any more, for want of it or of time.
    Done {
        /// Whether pods are left behind.
        pods: bool,
        /// Whether volumes are left behind.
        volumes: bool,
    },
}

impl Progress {
    /// From how many pods and volumes there still are that are waited for, and whether the time for it is over.
    pub(super) fn of(pods: usize, volumes: usize, over: bool) -> Self {
        match (over, pods, volumes) {
            (false, 1.., _) => Progress::Draining,
            (false, 0, 1..) => Progress::Detaching,
            _ => Progress::Done { pods: pods > 0, volumes: volumes > 0 },
        }
    }

    /// Sets all conditions that it decides, with the reasons and messages of the API
    /// (<https://github.com/kubernetes-sigs/karpenter>, `pkg/controllers/node/termination/controller.go`). Messages name no
    /// numbers: each of them would be a write.
    pub(super) fn tell(self, conditions: &mut Conditions) {
        match self {
            Progress::Draining => conditions.set(DRAINED, Known::Unknown, "Draining", "Draining"),
            Progress::Detaching => {
                conditions.achieve(DRAINED);
                let reason = "AwaitingVolumeDetachment";
                conditions.set(VOLUMES_DETACHED, Known::Unknown, reason, reason);
            }
            Progress::Done { pods, volumes } => {
                for (kind, left) in [(DRAINED, pods), (VOLUMES_DETACHED, volumes)] {
                    match left {
                        false => conditions.achieve(kind),
                        true => conditions.set(kind, Known::False, ELAPSED, ELAPSED),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;

    use super::*;
    use crate::api::NodeClaim;

    /// Status and reason of both conditions; empty where there is none.
    fn told(conditions: &Conditions) -> [(&str, &str); 2] {
        [DRAINED, VOLUMES_DETACHED]
            .map(|kind| conditions.get(kind).map_or(("", ""), |one| (one.status.as_str(), one.reason.as_str())))
    }

    #[test]
    fn pods_are_waited_for_before_volumes_and_neither_for_longer_than_there_is_time() {
        assert_eq!(Progress::of(2, 0, false), Progress::Draining);
        assert_eq!(Progress::of(2, 1, false), Progress::Draining);
        assert_eq!(Progress::of(0, 1, false), Progress::Detaching);
        assert_eq!(Progress::of(0, 0, false), Progress::Done { pods: false, volumes: false });
        assert_eq!(Progress::of(2, 1, true), Progress::Done { pods: true, volumes: true });
        assert_eq!(Progress::of(0, 1, true), Progress::Done { pods: false, volumes: true });
    }

    #[test]
    fn one_step_says_all_that_it_knows() {
        let mut conditions = Conditions::of(&NodeClaim::default(), Timestamp::UNIX_EPOCH);
        Progress::Draining.tell(&mut conditions);
        assert_eq!(told(&conditions), [("Unknown", "Draining"), ("", "")]);
        Progress::Detaching.tell(&mut conditions);
        assert_eq!(told(&conditions), [("True", DRAINED), ("Unknown", "AwaitingVolumeDetachment")]);
        let late = Progress::Done { pods: false, volumes: true };
        late.tell(&mut conditions);
        assert_eq!(told(&conditions), [("True", DRAINED), ("False", ELAPSED)]);

        // From nothing at once.
        let mut conditions = Conditions::of(&NodeClaim::default(), Timestamp::UNIX_EPOCH);
        let done = Progress::Done { pods: false, volumes: false };
        done.tell(&mut conditions);
        assert_eq!(told(&conditions), [("True", DRAINED), ("True", VOLUMES_DETACHED)]);
        let mut claim = NodeClaim::default();
        claim.status.get_or_insert_default().conditions = Some(conditions.into_list());
        let mut again = Conditions::of(&claim, Timestamp::UNIX_EPOCH);
        done.tell(&mut again);
        assert!(!again.changed());
        Progress::Done { pods: true, volumes: false }.tell(&mut again);
        assert_eq!(told(&again), [("False", ELAPSED), ("True", VOLUMES_DETACHED)]);
    }
}
