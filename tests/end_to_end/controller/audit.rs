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
            let made = made(&self.control_plane.audit_log().unwrap());
            (made.len() >= machines).then_some(made)
        })
        .await;
        assert_eq!(made.len(), machines, "{made:#?}");
    }
}

/// The machines that were made, and when it was first heard of them: those whose record somebody has made. Of one whose
/// maker was killed before the answer came the log may say that it failed, and then it is heard of when somebody changes it.
fn made(log: &[Value]) -> Vec<String> {
    let mut made: Vec<[String; 2]> = Vec::new();
    for event in log.iter().filter(|event| event["objectRef"]["resource"] == "configmaps") {
        let Some(name) = event["objectRef"]["name"].as_str().filter(|name| name.starts_with("kwok-")) else { continue };
        let is_done = event["responseStatus"]["code"].as_u64().is_some_and(|code| (200..300).contains(&code));
        let is_known = made.iter().any(|[known, _]| known == name);
        // The same machine made twice is two.
        if is_done && (event["verb"] == "create" || !is_known) {
            made.push([name.to_owned(), event["stageTimestamp"].to_string()]);
        }
    }
    made.into_iter().map(|[name, time]| format!("{name} at {time}")).collect()
}
