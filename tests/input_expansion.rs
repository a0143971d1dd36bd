//! What workloads, pods and older kinds become in a snapshot.
#![allow(clippy::unwrap_used)]

use supercargo::cluster::{Loaded, ReadOptions, read};
use supercargo_models::kubernetes::{PodGroup, PodNames};

fn load(text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, text).unwrap();
    read(&[path.display().to_string()], &ReadOptions::default()).unwrap()
}

/// `kind owner: namespace/prefix x count` or `kind owner: namespace/name`.
fn described(group: &PodGroup) -> String {
    let names = match &group.names {
        PodNames::Replicas { prefix, count } => format!("{prefix} x {count}"),
        PodNames::Single(name) => name.clone(),
    };
    format!("{} {}: {}/{names}", group.owner.kind, group.owner.name, group.namespace)
}

fn groups(text: &str) -> Vec<String> {
    load(text).snapshot.pending.iter().map(described).collect()
}

fn workload(version: &str, kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec} template: {{metadata: \
         {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: c}}]}}}}}}\n"
    )
}

fn pod(name: &str, owner: &str, spec: &str, status: &str) -> String {
    let owners = match owner.split_once(' ') {
        Some((kind, owner)) => format!(
            ", ownerReferences: [{{apiVersion: apps/v1, kind: {kind}, name: {owner}, uid: u, controller: true}}]"
        ),
        None => String::new(),
    };
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{pod-template-hash: abc}}{owners}}}\nspec: \
         {{containers: [{{name: c}}]{spec}}}\nstatus: {{{status}}}\n"
    )
}

const NODE: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n";

#[test]
fn each_kind_makes_its_pods() {
    let text = [
        workload("apps/v1", "Deployment", "one", ""),
        workload("apps/v1", "Deployment", "none", "replicas: 0,"),
        workload("apps/v1", "ReplicaSet", "set", "replicas: 2,"),
        workload("apps/v1", "StatefulSet", "db", "replicas: 3,"),
        workload("batch/v1", "Job", "narrow", "parallelism: 5, completions: 3,"),
        workload("batch/v1", "Job", "queue", "parallelism: 4,"),
        workload("batch/v1", "Job", "asleep", "suspend: true,"),
        "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly, namespace: ops}\nspec: {schedule: '0 0 * * *', jobTemplate: {spec: {parallelism: 2, template: {spec: {containers: [{name: c}]}}}}}\n".into(),
        pod("alone", "", "", ""),
    ]
    .concat();
    let loaded = load(&text);
    let found: Vec<String> = loaded.snapshot.pending.iter().map(described).collect();
    assert_eq!(
        found,
        [
            "Pod alone: default/alone",
            "Deployment one: default/one x 1",
            "ReplicaSet set: default/set x 2",
            "StatefulSet db: default/db x 3",
            "Job narrow: default/narrow x 3",
            "Job queue: default/queue x 4",
            "CronJob nightly: ops/nightly x 2",
        ]
    );
    assert!(
        loaded.notes.contains(&"left out, because they are suspended: default/asleep".to_string()),
        "{:?}",
        loaded.notes
    );
}

#[test]
fn replicas_that_are_there_are_not_planned_again() {
    let replica_set = "---\napiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: web-abc, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}\nspec: {replicas: 5, template: {spec: {containers: [{name: c}]}}}\n";
    let pods = [
        pod("web-abc-1", "ReplicaSet web-abc", ", nodeName: n1", "phase: Running"),
        pod("web-abc-2", "ReplicaSet web-abc", "", "phase: Pending"),
        pod("web-abc-3", "ReplicaSet web-abc", ", nodeName: n1", "phase: Failed"),
        pod("web-abc-4", "ReplicaSet web-abc", ", nodeName: far", "phase: Running"),
    ]
    .concat();
    let deployment = workload("apps/v1", "Deployment", "web", "replicas: 5,");
    let expected = ["Deployment web: default/web-abc-2", "Deployment web: default/web x 2"];
    // With the replica set, and without it (it is then known by the template's hash), whichever comes first.
    for text in [[NODE, replica_set, &pods, &deployment].concat(), [&deployment, NODE, &pods].concat()] {
        let loaded = load(&text);
        let found: Vec<String> = loaded.snapshot.pending.iter().map(described).collect();
        assert_eq!(found, expected);
        let bound: Vec<&str> = loaded.snapshot.bound.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(bound, ["web-abc-1"]);
        let note = "left out, because they run on nodes that are not in the input: default/web-abc-4";
        assert!(loaded.notes.iter().any(|found| found == note), "{:?}", loaded.notes);
    }
}

#[test]
fn daemons_are_bound_or_nothing() {
    let daemon_set = workload("apps/v1", "DaemonSet", "agent", "");
    let pods = [
        pod("agent-1", "DaemonSet agent", ", nodeName: n1", "phase: Running"),
        pod("agent-2", "DaemonSet agent", "", "phase: Pending"),
    ]
    .concat();
    let loaded = load(&[NODE, &daemon_set, &pods].concat());
    assert!(loaded.snapshot.pending.is_empty());
    assert_eq!(loaded.snapshot.bound.len(), 1);
    assert_eq!(loaded.snapshot.daemon_sets.len(), 1);
}

#[test]
fn gates_and_other_schedulers() {
    let text = [
        pod("gated", "", ", schedulingGates: [{name: wait}]", ""),
        pod("foreign", "", ", schedulerName: volcano", ""),
        pod("ours", "", ", schedulerName: default-scheduler", ""),
    ]
    .concat();
    let loaded = load(&text);
    // Whoever places a pod, it needs room.
    let names: Vec<&str> = loaded.snapshot.pending.iter().map(|group| group.owner.name.as_str()).collect();
    assert_eq!(names, ["foreign", "ours"]);
    let out: Vec<&String> = loaded.notes.iter().filter(|note| note.starts_with("left out")).collect();
    assert_eq!(out, ["left out, because they wait at scheduling gates: default/gated"]);
}

#[test]
fn stateful_sets_bring_their_claims() {
    let set = "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 3, template: {spec: {containers: [{name: c}]}}, volumeClaimTemplates: [{metadata: {name: data}, spec: {storageClassName: gp3}}]}\n";
    let loaded = load(set);
    assert_eq!(loaded.snapshot.pending.iter().map(described).collect::<Vec<_>>(), ["StatefulSet db: default/db x 3"]);
    let claim = &loaded.snapshot.volume_claims[0];
    assert_eq!(claim.metadata.name.as_deref(), Some("data-db-*"));
    assert_eq!(claim.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("gp3"));

    let own = "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-db-1}\nspec: {volumeName: v}\n";
    let loaded = load(&[set, own].concat());
    let found: Vec<(String, String)> = loaded
        .snapshot
        .pending
        .iter()
        .map(|group| {
            let volumes = group.spec.volumes.as_ref().unwrap();
            (described(group), volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name.clone())
        })
        .collect();
    let expected = [
        ("StatefulSet db: default/db-0", "data-db-*"),
        ("StatefulSet db: default/db-2", "data-db-*"),
        ("StatefulSet db: default/db-1", "data-db-1"),
    ];
    assert_eq!(found, expected.map(|(group, claim)| (group.to_string(), claim.to_string())));
}

#[test]
fn controllers_labels_are_added() {
    let text = [workload("apps/v1", "Deployment", "web", ""), workload("batch/v1", "Job", "sum", "")].concat();
    let loaded = load(&text);
    assert_eq!(loaded.snapshot.pending[0].labels["pod-template-hash"].len(), 10);
    assert_eq!(loaded.snapshot.pending[1].labels["batch.kubernetes.io/job-name"], "sum");
}

#[test]
fn names_stay_apart() {
    let text = [
        workload("apps/v1", "Deployment", "web", "replicas: 2,"),
        workload("apps/v1", "StatefulSet", "web", "replicas: 2,"),
    ]
    .concat();
    assert_eq!(groups(&text), ["Deployment web: default/web x 2", "StatefulSet web: default/web-statefulset x 2"]);
}

#[test]
fn admission_is_applied() {
    let text = [
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l, namespace: default}\nspec: {limits: [{type: Container, defaultRequest: {cpu: 300m}}]}\n",
        "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: usual}\nvalue: 7\nglobalDefault: true\n",
        &workload("apps/v1", "Deployment", "web", ""),
        &workload("apps/v1", "DaemonSet", "agent", ""),
    ]
    .concat();
    let snapshot = load(&text).snapshot;
    let group = &snapshot.pending[0];
    let cpu = |container: &k8s_openapi::api::core::v1::Container| {
        container.resources.as_ref().unwrap().requests.as_ref().unwrap()["cpu"].0.clone()
    };
    assert_eq!((group.priority, cpu(&group.spec.containers[0])), (7, "300m".to_string()));
    let daemon = snapshot.daemon_sets[0].spec.template.spec.as_ref().unwrap();
    assert_eq!((daemon.priority, cpu(&daemon.containers[0])), (Some(7), "300m".to_string()));
}

const KATA: &str = "---\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: kata}\nhandler: kata-qemu\n\
    overhead: {podFixed: {cpu: 250m, memory: 160Mi}}\n\
    scheduling: {nodeSelector: {sandbox: kata}, tolerations: [{key: sandbox, operator: Exists}]}\n";

/// A workload whose pods name the runtime class `kata`, and state what `spec` says.
fn sandboxed(version: &str, kind: &str, spec: &str) -> String {
    workload(version, kind, &kind.to_lowercase(), "")
        .replace("containers:", &format!("runtimeClassName: kata, {spec} containers:"))
}

#[test]
fn a_runtime_class_counts_for_its_pods() {
    let text = [
        KATA.to_owned(),
        sandboxed("apps/v1", "Deployment", "nodeSelector: {disk: ssd},"),
        sandboxed("apps/v1", "StatefulSet", ""),
        sandboxed("batch/v1", "Job", "overhead: {cpu: 0.25, memory: 160Mi},"),
        sandboxed("apps/v1", "DaemonSet", ""),
        pod("alone", "", ", runtimeClassName: kata", ""),
        // The class was another one when this pod was made.
        pod("older", "", ", runtimeClassName: kata, overhead: {cpu: 100m}", ""),
        pod("plain", "", "", ""),
    ]
    .concat();
    let loaded = load(&text);
    assert!(!loaded.notes.iter().any(|note| note.contains("untime")), "{:?}", loaded.notes);
    let snapshot = loaded.snapshot;
    let daemons = snapshot.daemon_sets.iter().map(|set| set.spec.template.spec.as_ref().unwrap());
    let specs = snapshot.pending.iter().map(|group| (group.owner.name.as_str(), &*group.spec));
    let found: Vec<String> = specs
        .chain(daemons.map(|spec| ("daemonset", spec)))
        .map(|(name, spec)| {
            let cpu = supercargo_models::kubernetes::requests::pod_requests(spec).unwrap().get("cpu").copied();
            let keys: Vec<&str> = spec.node_selector.iter().flatten().map(|(key, _)| key.as_str()).collect();
            let tolerations = spec.tolerations.as_ref().map_or(0, Vec::len);
            format!("{name} {} {} {tolerations}", cpu.unwrap_or(0), keys.join("+"))
        })
        .collect();
    let expected = [
        "alone 250 sandbox 1",
        "older 100 sandbox 1",
        "plain 0  0",
        "deployment 250 disk+sandbox 1",
        "statefulset 250 sandbox 1",
        "job 250 sandbox 1",
        "daemonset 250 sandbox 1",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_runtime_class_that_is_not_there_is_noted() {
    let stated = "overhead: {cpu: 100m},";
    let text = [sandboxed("apps/v1", "Deployment", ""), sandboxed("apps/v1", "StatefulSet", stated)].concat();
    let loaded = load(&text);
    assert_eq!(
        loaded.notes.iter().filter(|note| note.contains("RuntimeClass")).collect::<Vec<_>>(),
        ["RuntimeClass kata is not in the input: its pods (Deployment default/deployment, ...) count without its \
          overhead, nodeSelector and tolerations"]
    );
    assert_eq!(loaded.snapshot.pending[1].spec.overhead.as_ref().unwrap()["cpu"].0, "100m");
}

#[test]
fn without_a_pool_one_stands_in() {
    let loaded = load(&pod("a", "", "", ""));
    let pool = &loaded.snapshot.node_pools[0];
    assert_eq!(pool.metadata.name.as_deref(), Some("default"));
    assert!(loaded.notes[0].starts_with("no NodePool in the input"), "{:?}", loaded.notes);
}

#[test]
fn other_kinds_are_counted_in_one_note() {
    let other = |kind: &str, name: &str| format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n");
    let text = [other("ConfigMap", "a"), other("ConfigMap", "b"), other("Service", "c"), pod("p", "", "", "")].concat();
    assert_eq!(load(&text).notes[0], "skipped 3 objects of kinds that do not matter here: ConfigMap 2, Service 1");
}

#[test]
fn a_provisioner_is_a_pool() {
    let path = "fixtures/manifests/legacy/provisioner.yaml";
    let loaded = read(&[path.to_owned()], &ReadOptions::default()).unwrap();
    let pool = &loaded.snapshot.node_pools[0];
    assert_eq!((pool.metadata.name.as_deref(), pool.spec.weight), (Some("default"), Some(20)));
    assert_eq!(pool.spec.limits.as_ref().unwrap()["cpu"].0, "1000");
    assert_eq!(loaded.snapshot.node_classes[0]["spec"]["kubelet"]["maxPods"], 58);
    assert!(loaded.notes.iter().any(|note| note.contains("launchTemplate has no successor")), "{:?}", loaded.notes);
}

fn odd(name: &str) -> Loaded {
    let path = format!("fixtures/manifests/odd/{name}");
    read(&[path], &ReadOptions::default()).unwrap()
}

#[test]
fn exports_are_read_with_all_that_is_in_them() {
    let loaded = odd("exported.yaml");
    let found: Vec<String> = loaded.snapshot.pending.iter().map(described).collect();
    assert_eq!(found, ["Deployment cart: shop/cart x 3"]);
    assert_eq!(loaded.snapshot.pending[0].labels["pod-template-hash"], "5d9c8b7f6");
    assert_eq!(loaded.snapshot.bound.len(), 1);
}

#[test]
fn json_streams_typed_lists_and_generated_names() {
    let found: Vec<String> = odd("stream.json").snapshot.pending.iter().map(described).collect();
    assert_eq!(found, ["Pod run-0: default/run-0", "Pod run-1: default/run-1", "Deployment a: default/a x 2"]);
}

#[test]
fn packed_folders_read_like_plain_files() {
    use std::io::Write;
    let text = pod("a", "", "", "");
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("x.yaml.gz")).unwrap();
    let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap();
    let loaded = read(&[folder.path().display().to_string()], &ReadOptions::default()).unwrap();
    assert_eq!(loaded.snapshot.pending.len(), 1);
}

/// Text that was valid, changed at random: read or refused with a short error, never a panic.
#[test]
fn mutations_never_panic() {
    let base = [
        NODE.to_string(),
        workload("apps/v1", "Deployment", "web", "replicas: 5,"),
        workload("apps/v1", "StatefulSet", "db", "replicas: 3,"),
        pod("web-abc-1", "ReplicaSet web-abc", ", nodeName: n1, tolerations: [{key: a, operator: Exists}]", ""),
        "---\n".to_string(),
        std::fs::read_to_string("fixtures/manifests/legacy/provisioner.yaml").unwrap(),
    ]
    .concat();
    let bits = [
        "{",
        "}",
        "[",
        "]",
        ":",
        "-",
        "\n",
        "  ",
        "&a ",
        "*a",
        "null",
        "-1",
        "1e99",
        "\"",
        "'",
        "---\n",
        "|",
        "é",
        "\0",
        "{}",
        "[]",
        "99999999999999999999",
    ];
    let mut state = 7_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    let mut read_well = 0;
    for _ in 0..1500 {
        let mut text: Vec<char> = base.chars().collect();
        for _ in 0..=next(3) {
            let at = next(text.len());
            match next(3) {
                0 => drop(text.drain(at..(at + 1 + next(12)).min(text.len()))),
                1 => drop(text.splice(at..at, bits[next(bits.len())].chars())),
                _ => {
                    let end = (at + 1 + next(6)).min(text.len());
                    drop(text.splice(at..end, bits[next(bits.len())].chars()));
                }
            }
        }
        std::fs::write(&path, text.into_iter().collect::<String>()).unwrap();
        match read(&[path.display().to_string()], &ReadOptions::default()) {
            Ok(_) => read_well += 1,
            Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
        }
    }
    assert!((1..1500).contains(&read_well), "{read_well}");
}

#[test]
fn replicas_are_not_called_like_a_pod_that_is_none_of_them() {
    let web = || workload("apps/v1", "Deployment", "web", "replicas: 2,");
    let text = [web(), pod("web-0", "", "", "")].concat();
    assert_eq!(groups(&text), ["Pod web-0: default/web-0", "Deployment web: default/web-deployment x 2"]);
    let bound = [NODE.to_owned(), web(), pod("web-1", "", ", nodeName: n1", "phase: Running")].concat();
    assert_eq!(groups(&bound), ["Deployment web: default/web-deployment x 2"]);
    // One of its own keeps its name, and so does one that only begins alike.
    let own = [web(), pod("web-0", "Deployment web", "", ""), pod("web-0a", "", "", "")].concat();
    let found = groups(&own);
    assert!(found.iter().any(|group| group.starts_with("Deployment web: default/web x ")), "{found:?}");
}
