//! What the API server's audit log tells of who asked for what.

use serde_json::Value;

use super::stage::Stage;
use crate::fixture::until;

impl Stage {
    /// All requests of a user so far, as the audit log writes them down.
    pub fn requests(&self, user: &str) -> Vec<Value> {
        let mut log = self.control_plane.audit_log().unwrap();
        log.retain(|event| event["user"]["username"] == user);
        log
    }

    /// Sees to it that exactly so many machines were ever made, with those that are gone again.
    pub async fn made(&self, machines: usize) {
        let made = until("the machines in the audit log", async || {
            let log = self.control_plane.audit_log().unwrap();
            let made: Vec<String> = log.iter().filter_map(machine).collect();
            (made.len() >= machines).then_some(made)
        })
        .await;
        assert_eq!(made.len(), machines, "{made:#?}");
    }
}

/// The machine that a request made, and when: the record of a machine of the simulated cloud.
fn machine(event: &Value) -> Option<String> {
    let what = &event["objectRef"];
    let name = what["name"].as_str().filter(|name| name.starts_with("kwok-"))?;
    let is_made =
        event["verb"] == "create" && what["resource"] == "configmaps" && event["responseStatus"]["code"] == 201;
    is_made.then(|| format!("{name} at {}", event["stageTimestamp"]))
}
