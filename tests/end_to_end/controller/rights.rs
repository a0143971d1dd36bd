//! What becomes of a controller that may not do all that it has to.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use serde_json::{Value, json};

use super::operation::holder;
use super::stage::run;
use crate::fixture::account;

fn bound(kind: &str) -> Value {
    json!({
        "metadata": {"name": "controller"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "controller"},
        "subjects": [{"kind": "ServiceAccount", "name": "controller", "namespace": "default"}],
    })
}

/// It may hold its own lease, and do everything else; but not see the leases of other namespaces.
#[test]
fn who_may_not_see_whether_a_karpenter_leads_elsewhere_does_nothing() {
    run(async |stage| {
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        let groups = [
            "",
            "apps",
            "policy",
            "storage.k8s.io",
            "scheduling.k8s.io",
            "events.k8s.io",
            "node.k8s.io",
            "karpenter.sh",
            "karpenter.kwok.sh",
        ];
        let all = json!({"metadata": {"name": "controller"}, "rules": [
            {"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}]});
        stage.create(&stage.all::<ClusterRole>(), all).await;
        stage.create(&stage.all::<ClusterRoleBinding>(), bound("ClusterRole")).await;
        let own = json!({"metadata": {"name": "controller"}, "rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}]});
        stage.create(&Api::<Role>::namespaced(stage.client.clone(), "kube-system"), own).await;
        stage.create(&Api::<RoleBinding>::namespaced(stage.client.clone(), "kube-system"), bound("Role")).await;
        let kubeconfig = account(&stage.control_plane, &stage.client, "default", "controller").await;

        let mut controller = stage.controller_as(&kubeconfig, &["--cloud", "kwok"]);
        assert_eq!(controller.ended(Duration::from_secs(20)), Some(1));
        let log = controller.log();
        let rule = "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch]}";
        assert!(log.contains("cannot list resource \"leases\"") && log.contains(rule), "{log}");
        assert!(!log.contains("leading") && stage.claims().await.is_empty(), "{log}");
        // Whoever may see it need not wait for the lease to end.
        assert_eq!(holder(&stage).await, None);

        let leases = json!({"metadata": {"name": "leases"}, "rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch"]}]});
        stage.create(&stage.all::<ClusterRole>(), leases).await;
        let mut binding = bound("ClusterRole");
        binding["metadata"]["name"] = json!("leases");
        binding["roleRef"]["name"] = json!("leases");
        stage.create(&stage.all::<ClusterRoleBinding>(), binding).await;
        let _allowed = stage.controller_as(&kubeconfig, &["--cloud", "kwok"]);
        stage.run_pods(1).await;
    });
}
