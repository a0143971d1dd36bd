//! Bad and odd manifests: each gives one clear error that names file, object and field.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use supercargo::cluster::{Loaded, ReadOptions, Validate, read};

fn read_text(name: &str, text: &str) -> Result<Loaded, String> {
    read_text_with(name, text, Validate::Strict)
}

fn read_text_with(name: &str, text: &str, validate: Validate) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    read(&[path.display().to_string()], &ReadOptions { validate })
        .map_err(|error| error.to_string().replace(&prefix, ""))
}

fn error_of(text: &str) -> String {
    read_text("x.yaml", text).unwrap_err()
}

/// A deployment whose pod spec ends with `extra`, which begins on line 11.
fn deployment(extra: &str) -> String {
    let extra: String = extra.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: cart, namespace: shop}}\nspec:\n  template:\n    \
         metadata: {{labels: {{app: cart}}}}\n    spec:\n      containers:\n      - name: main\n        image: a\n{extra}"
    )
}

fn resources(resources: &str) -> String {
    deployment(&format!("  resources: {resources}"))
}

fn pool(spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {{name: web}}\nspec:\n{spec}")
}

fn requirement(rest: &str) -> String {
    pool(&format!("template:\n  spec:\n    requirements:\n    - {{key: a, {rest}}}"))
}

#[test]
fn resources_are_checked() {
    let prefix = "x.yaml:11: Deployment shop/cart: spec.template.spec.containers[0].resources";
    for (text, message) in [
        (
            "{requests: {cpu: abc}}",
            ".requests.cpu: \"abc\" is not a quantity; expected a number with an optional suffix such as 500m, 2Gi or 1e3",
        ),
        ("{requests: {cpu: -1}}", ".requests.cpu: \"-1\" is negative"),
        ("{requests: {cpu: '1e18'}}", ".requests.cpu: quantity \"1e18\" is too large"),
        ("{limits: {cpu: 9e15, memory: 9Ei}}", ".limits.memory: quantity \"9Ei\" is too large"),
        ("{requests: {cpu: 2}, limits: {cpu: 1}}", ".requests.cpu: request 2 is above the limit 1"),
        (
            "{limits: {memory: 1GB}}",
            ".limits.memory: \"1GB\" is not a quantity; expected a number with an optional suffix such as 500m, 2Gi or 1e3",
        ),
        (
            "{requests: {gpu: 1}}",
            ".requests.gpu: \"gpu\" is not a resource that a container can ask for (cpu, memory, ephemeral-storage, hugepages-* or a name with a domain such as nvidia.com/gpu)",
        ),
        (
            "{requests: {nvidia.com/gpu: 1}}",
            ".requests[\"nvidia.com/gpu\"]: nvidia.com/gpu is requested without a limit, and cannot be overcommitted (set limits to 1 as well)",
        ),
        ("{limits: {nvidia.com/gpu: 500m}}", ".limits[\"nvidia.com/gpu\"]: \"500m\" is not a whole number"),
        ("{requests: {cpu: [1]}}", ".requests.cpu: is a list, and should be a quantity such as 500m or 2Gi"),
        ("{request: {cpu: 1}}", ".request: is not a known field (did you mean requests?)"),
    ] {
        assert_eq!(error_of(&resources(text)), format!("{prefix}{message}"));
    }
}

#[test]
fn scheduling_rules_are_checked() {
    let prefix = "Deployment shop/cart: spec.template.spec.";
    for (extra, message) in [
        ("os: {name: plan9}", "os.name: \"plan9\" is not one of linux and windows"),
        (
            "topologySpreadConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]",
            "topologySpreadConstraints[0].maxSkew: 0 is not above 0",
        ),
        (
            "topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: Never}]",
            "topologySpreadConstraints[0].whenUnsatisfiable: \"Never\" is not one of DoNotSchedule and ScheduleAnyway",
        ),
        (
            "topologySpreadConstraints: [{maxSkew: 1, minDomains: 2, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]",
            "topologySpreadConstraints[0].minDomains: is for whenUnsatisfiable DoNotSchedule only",
        ),
        (
            "topologySpreadConstraints: [{maxSkew: 1, minDomains: 0, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]",
            "topologySpreadConstraints[0].minDomains: 0 is not above 0",
        ),
        (
            "topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, nodeTaintsPolicy: No}]",
            "topologySpreadConstraints[0].nodeTaintsPolicy: is boolean false, and should be text (put it in quotes)",
        ),
        (
            "tolerations: [{key: a, operator: Exist}]",
            "tolerations[0].operator: \"Exist\" is not one of Equal, Exists, Lt and Gt",
        ),
        (
            "tolerations: [{value: a}]",
            "tolerations[0].operator: has to be Exists where there is no key (it then tolerates everything)",
        ),
        (
            "tolerations: [{key: a, effect: NoWay}]",
            "tolerations[0].effect: \"NoWay\" is not one of NoSchedule, PreferNoSchedule and NoExecute",
        ),
        (
            "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, preference: {}}]}}",
            "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: 101 is not in the range 1 to 100",
        ),
        (
            "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: [x]}]}]}}}",
            "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]: operator Gt needs an integer, and \"x\" is none",
        ),
        (
            "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}",
            "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: is missing",
        ),
        ("nodeSelector: {a: true}", "nodeSelector.a: is boolean true, and should be text (put it in quotes)"),
        (
            "nodeSelector: {a: b c}",
            "nodeSelector.a: \"b c\" is not a label value (at most 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit)",
        ),
        (
            "  ports: [{containerPort: 80, hostPort: 70000}]",
            "containers[0].ports[0].hostPort: 70000 is not in the range 1 to 65535",
        ),
        ("priorityClass: high", "priorityClass: is not a known field (did you mean priorityClassName?)"),
    ] {
        let error = error_of(&deployment(extra));
        assert_eq!(error, format!("x.yaml:11: {prefix}{message}"));
    }
}

#[test]
fn node_pools_are_checked() {
    let path = "spec.template.spec.requirements[0]";
    for (text, line, message) in [
        (requirement("operator: Gt, values: [x]"), 8, format!("{path}.values[0]: operator Gt needs an integer not below 0, and \"x\" is none")),
        (requirement("operator: Lte, values: ['1', '2']"), 8, format!("{path}.values: operator Lte needs exactly one value")),
        (requirement("operator: Gte, values: ['-1']"), 8, format!("{path}.values[0]: operator Gte needs an integer not below 0, and \"-1\" is none")),
        (requirement("operator: In"), 8, format!("{path}.values: operator In needs at least one value")),
        (requirement("operator: in, values: [x]"), 8, format!("{path}.operator: \"in\" is not one of In, NotIn, Exists, DoesNotExist, Gt, Lt, Gte and Lte")),
        (requirement("operator: In, values: [x], minValues: 2"), 8, format!("{path}.minValues: 2 is more than the 1 values that In allows")),
        (requirement("operator: Exists, minValues: 51"), 8, format!("{path}.minValues: 51 is not in the range 1 to 50")),
        (requirement("operator: In, values: [4]"), 8, format!("{path}.values[0]: is integer 4, and should be text (put it in quotes)")),
        (requirement("operator: Exists").replace("key: a", "key: karpenter.sh/registered"), 8, format!("{path}.key: karpenter.sh/registered cannot be chosen: the label domain karpenter.sh is restricted")),
        (pool("replicas: 2\nlimits: {cpu: 4}\ntemplate: {spec: {}}"), 6, "spec.limits.cpu: is not for pools with replicas; nodes is".into()),
        (pool("template: {spec: {}}\ndisruption: {budgets: [{nodes: '1', schedule: '@noon', duration: 1h}]}"), 6, "spec.disruption.budgets[0].schedule: \"@noon\" is not a schedule (such as '0 9 * * mon-fri' or @daily)".into()),
        (pool("template: {spec: {}}\ndisruption: {budgets: [{nodes: '1', schedule: '@daily', duration: 90s}]}"), 6, "spec.disruption.budgets[0].duration: \"90s\" is not a duration in hours and minutes (such as 8h or 1h30m)".into()),
        (pool("weight: 101\ntemplate: {spec: {}}"), 5, "spec.weight: 101 is not in the range 1 to 100".into()),
        (pool("limits: {cpu: lots}\ntemplate: {spec: {}}"), 5, "spec.limits.cpu: \"lots\" is not a quantity; expected a number with an optional suffix such as 500m, 2Gi or 1e3".into()),
        (pool("template: {spec: {expireAfter: 30d}}"), 5, "spec.template.spec.expireAfter: \"30d\" is not a duration (such as 30s, 1h30m or Never)".into()),
        (pool("wieght: 1\ntemplate: {spec: {}}"), 5, "spec.wieght: is not a known field (did you mean weight?)".into()),
    ] {
        assert_eq!(error_of(&text), format!("x.yaml:{line}: NodePool web: {message}"));
    }
}

#[test]
fn amounts_that_can_not_be_counted_are_found_where_they_stand() {
    let node = |status: &str| format!("apiVersion: v1\nkind: Node\nmetadata: {{name: one}}\nstatus:\n  {status}\n");
    let volume = "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: v}\nspec:\n  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Is}]}]}}\n";
    let class = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: s}\nprovisioner: p\nallowedTopologies:\n- matchLabelExpressions:\n  - {key: a, values: []}\n";
    for (text, message) in [
        (
            deployment("overhead: {cpu: '1e18'}"),
            "11: Deployment shop/cart: spec.template.spec.overhead.cpu: quantity \"1e18\" is too large",
        ),
        (node("allocatable: {cpu: '1e18'}"), "5: Node one: status.allocatable.cpu: quantity \"1e18\" is too large"),
        (
            pool("template: {spec: {}}\nlimits:\n  cpu: '1e18'"),
            "7: NodePool web: spec.limits.cpu: quantity \"1e18\" is too large",
        ),
        (
            volume.to_owned(),
            "5: PersistentVolume v: spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].operator: \"Is\" is \
             not one of In, NotIn, Exists, DoesNotExist, Gt and Lt",
        ),
        (
            class.replace("provisioner: p", "provisioner: p\nvolumeBindingMode: Whenever"),
            "5: StorageClass s: volumeBindingMode: \"Whenever\" is not one of Immediate and WaitForFirstConsumer",
        ),
        (
            class.to_owned(),
            "7: StorageClass s: allowedTopologies[0].matchLabelExpressions[0].values: needs at least one value",
        ),
    ] {
        assert_eq!(error_of(&text), format!("x.yaml:{message}"));
    }
}

#[test]
fn node_classes_are_checked() {
    let class = |spec: &str| {
        let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
        format!("apiVersion: karpenter.k8s.aws/v1\nkind: EC2NodeClass\nmetadata: {{name: web}}\nspec:\n{spec}")
    };
    let root = "blockDeviceMappings:\n- rootVolume: true\n  ebs:";
    for (text, message) in [
        (class("rolle: nodes"), "5: EC2NodeClass web: spec.rolle: is not a known field (did you mean role?)"),
        (
            class(&format!("{root} {{volumeSiez: 100Gi}}")),
            "7: EC2NodeClass web: spec.blockDeviceMappings[0].ebs.volumeSiez: is not a known field (did you mean volumeSize?)",
        ),
        (
            class("subnetSelectorTerms:\n- tag: {a: b}"),
            "6: EC2NodeClass web: spec.subnetSelectorTerms[0].tag: is not a known field (did you mean tags?)",
        ),
        (
            class("kubelet:\n  maxPod: 20"),
            "6: EC2NodeClass web: spec.kubelet.maxPod: is not a known field (did you mean maxPods?)",
        ),
        (class("role: 12"), "5: EC2NodeClass web: spec.role: is integer 12, and should be text (put it in quotes)"),
        (
            class("kubelet:\n  maxPods: -1"),
            "6: EC2NodeClass web: spec.kubelet.maxPods: is integer -1, and should be a whole number from 0 on",
        ),
        (class("enclaveOptions: {}"), "5: EC2NodeClass web: spec.enclaveOptions.enabled: is missing"),
        (
            class(&format!("{root} {{volumeSize: much}}")),
            "7: EC2NodeClass web: spec.blockDeviceMappings[0].ebs.volumeSize: \"much\" is not a quantity; expected a number \
             with an optional suffix such as 500m, 2Gi or 1e3",
        ),
        (
            class("instanceStorePolicy: RAID1"),
            "5: EC2NodeClass web: spec.instanceStorePolicy: RAID0 is needed, not \"RAID1\"",
        ),
        (
            class("{}").replace("spec:\n  {}", "sepc: {}"),
            "4: EC2NodeClass web: sepc: is not a known field (did you mean spec?)",
        ),
    ] {
        assert_eq!(error_of(&text), format!("x.yaml:{message}"));
    }
    // Images and networks are no matter of a plan.
    let loaded = read_text("x.yaml", &class("kubelet: {maxPods: 20}")).unwrap();
    assert_eq!(loaded.snapshot.node_classes[0]["spec"]["kubelet"]["maxPods"], 20);
    for validate in [Validate::Warn, Validate::Ignore] {
        let loaded = read_text_with("x.yaml", &class("rolle: nodes\nkubelet: {maxPod: 20}"), validate).unwrap();
        let told = loaded.notes.iter().filter(|note| note.contains("did you mean")).count();
        assert_eq!(told, if validate == Validate::Warn { 2 } else { 0 }, "{:?}", loaded.notes);
    }
}

#[test]
fn json_and_yaml_are_told_alike() {
    let stream = "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"a\"}}\n{\"apiVersion\": \"v1\",\n\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"},\n\"spec\": {\"container\": []}}";
    assert_eq!(
        read_text("x.json", stream).unwrap_err(),
        "x.json:4: document 2: Pod default/a: spec.container: is not a known field (did you mean containers?)"
    );
    let twice = deployment("nodeSelector: {}\nnodeSelector: {}");
    assert_eq!(
        error_of(&twice),
        "x.yaml:12: is not valid YAML: duplicate mapping key `nodeSelector` is not allowed here"
    );
    assert_eq!(
        error_of(&pool("template: {spec: {nodeClassRef: {name: a}}}")),
        "x.yaml:5: NodePool web: spec.template.spec.nodeClassRef.group: is missing"
    );
    assert_eq!(
        error_of(&pool("template: {spec: {nodeClassRef: a}}")),
        "x.yaml:5: NodePool web: spec.template.spec.nodeClassRef: is the text \"a\", and should be a map"
    );
}

#[test]
fn objects_are_checked() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c}]}\n";
    for (text, message) in [
        (format!("{pod}---\n{pod}"), "x.yaml:6: document 2: Pod default/a: is there twice; first in x.yaml: document 1"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: -1, template: {spec: {containers: [{name: c}]}}}".into(),
            "x.yaml:4: Deployment default/a: spec.replicas: -1 is negative",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: many}".into(),
            "x.yaml:4: Deployment default/a: spec.replicas: is the text \"many\", and should be a whole number",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {app: b}}, template: {spec: {containers: [{name: c}]}}}".into(),
            "x.yaml:4: Deployment default/a: spec.selector.matchLabels.app: \"b\" is not among the labels of the pod template",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2000000, template: {spec: {containers: [{name: c}]}}}".into(),
            "x.yaml:4: Deployment default/a: spec.replicas: brings the pods to 2000000 in all, and the most is 1000000",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}".into(), "x.yaml:4: Pod default/a: spec.containers: needs at least one container"),
        ("apiVersion: v1\nkind: Pod\nspec: {}".into(), "x.yaml:1: Pod: metadata.name: is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 12}".into(), "x.yaml:3: Pod: metadata.name: is not text (put it in quotes)"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: A_b}".into(), "x.yaml:3: Pod default/A_b: metadata.name: \"A_b\" is not a DNS name"),
        ("metadata: {name: a}".into(), "x.yaml:1: is not a Kubernetes object: kind is missing"),
        ("kind: Pod".into(), "x.yaml:1: is not a Kubernetes object: apiVersion is missing"),
        ("apiVersion: v1\nkind: Deployment".into(), "x.yaml:1: apiVersion: \"v1\" has no kind Deployment (did you mean apps/v1?)"),
        ("apiVersion: apps/v1\nkind: deployment".into(), "x.yaml:2: kind: \"deployment\" is not a kind (did you mean Deployment?)"),
        (
            "apiVersion: karpenter.sh/v1beta1\nkind: EC2NodeClass".into(),
            "x.yaml:1: apiVersion: \"karpenter.sh/v1beta1\" has no kind EC2NodeClass (did you mean karpenter.k8s.aws/v1?)",
        ),
        (
            "apiVersion: karpenter.sh/v1beta1\nkind: Provisioner".into(),
            "x.yaml:1: apiVersion: \"karpenter.sh/v1beta1\" has no kind Provisioner (did you mean karpenter.sh/v1alpha5, which `supercargo convert` turns into today's NodePool?)",
        ),
        ("kind: List\napiVersion: v1\nitems: 3".into(), "x.yaml:3: items: is not a list but the number 3"),
        ("kind: PodList\napiVersion: v1\nitems: {}".into(), "x.yaml:3: items: is not a list but a map"),
        ("kind: List\napiVersion: v1\nitems: [12]".into(), "x.yaml:3: items[0]: is not a Kubernetes object but the number 12"),
        ("just some words".into(), "x.yaml:1: is not a Kubernetes object but the text \"just some words\""),
        ("instanceTypes: []".into(), "x.yaml:1: is a catalogue of instance types and not a Kubernetes object (give it with --catalog)"),
        ("".into(), "x.yaml: no objects found (expected Kubernetes objects as YAML or JSON)"),
        ("# nothing\n---\n".into(), "x.yaml: no objects found (expected Kubernetes objects as YAML or JSON)"),
    ] {
        assert_eq!(error_of(&text), message);
    }
}

#[test]
fn limit_ranges_are_enforced() {
    let range = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: caps, namespace: shop}\nspec: {limits: [{type: Container, max: {cpu: 1}}]}\n---\n";
    let error = error_of(&format!("{range}{}", resources("{limits: {cpu: 2}}")));
    assert_eq!(
        error,
        "x.yaml:16: document 2: Deployment shop/cart: spec.template.spec.containers[0].resources.limits.cpu: \
         the container's limit of cpu is more than 1 (LimitRange shop/caps)"
    );
}

#[test]
fn a_runtime_class_refuses_what_contradicts_it() {
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: kata}\nhandler: kata\noverhead: {podFixed: {cpu: 250m}}\nscheduling: {nodeSelector: {a.b/sandbox: kata}}\n---\n";
    for (extra, message) in [
        (
            "runtimeClassName: kata\nnodeSelector: {a.b/sandbox: none}",
            "19: document 2: Deployment shop/cart: spec.template.spec.nodeSelector[\"a.b/sandbox\"]: \"none\" is not \
             \"kata\", which RuntimeClass kata wants; the API server refuses such pods",
        ),
        (
            "runtimeClassName: kata\noverhead: {cpu: 1}",
            "19: document 2: Deployment shop/cart: spec.template.spec.overhead: is not the overhead of RuntimeClass kata \
             (cpu 250m); the API server refuses such pods",
        ),
    ] {
        assert_eq!(error_of(&format!("{class}{}", deployment(extra))), format!("x.yaml:{message}"));
    }
    let bad = class.replace("cpu: 250m", "cpu: '1e18'");
    assert_eq!(error_of(&bad), "x.yaml:5: RuntimeClass kata: overhead.podFixed.cpu: quantity \"1e18\" is too large");
}

#[test]
fn validation_can_be_loosened() {
    let text = deployment("priorityClass: high");
    let warned = read_text_with("x.yaml", &text, Validate::Warn).unwrap();
    let warning = warned.notes.iter().find(|note| note.contains("priorityClass")).unwrap();
    assert!(
        warning.ends_with("spec.template.spec.priorityClass: is not a known field (did you mean priorityClassName?)")
    );
    let ignored = read_text_with("x.yaml", &text, Validate::Ignore).unwrap();
    assert!(!ignored.notes.iter().any(|note| note.contains("priorityClass")));
}

#[test]
fn sources_that_are_not_there() {
    let read = |source: &Path| read(&[source.display().to_string()], &ReadOptions::default()).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().display().to_string();
    assert_eq!(read(&folder.path().join("x.yaml")), format!("{name}/x.yaml: there is no such file or folder"));
    assert_eq!(read(&folder.path().join("*.yaml")), format!("{name}/*.yaml: no file matches this glob"));
    assert_eq!(
        read(folder.path()),
        format!("{name}: this folder holds no manifest (*.yaml, *.yml, *.json, or these with .gz)")
    );
}

#[test]
fn garbage_is_one_short_error() {
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    let binary: Vec<u8> = (0..1 << 20).map(|_| next()).collect();
    let printable: Vec<u8> = (0..1 << 20).map(|_| 32 + next() % 95).collect();
    let lines: Vec<u8> = (0..1 << 20).map(|_| if next() % 40 == 0 { b'\n' } else { 32 + next() % 95 }).collect();
    let words = b"lorem ipsum ".repeat(90_000);
    let brackets: Vec<u8> = (0..1 << 20).map(|_| b"[]{}:,-\n \"'&*"[(next() % 13) as usize]).collect();
    for (index, bytes) in [binary, printable, lines, words, brackets].into_iter().enumerate() {
        for name in ["x.yaml", "x.json"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let started = std::time::Instant::now();
            let error = read(&[path.display().to_string()], &ReadOptions::default()).unwrap_err().to_string();
            assert!(error.contains(name) && error.len() < 500 && !error.contains('\n'), "{index}: {error}");
            assert!(started.elapsed().as_secs() < 20, "{index}: {:?}", started.elapsed());
        }
    }
}

/// Each manifest of `fixtures/manifests/bad` says in its first line what is wrong with it.
#[test]
fn bad_fixtures_say_what_is_wrong() {
    let folder = Path::new("fixtures/manifests/bad");
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# error: ").unwrap();
        let error = read(&[path.display().to_string()], &ReadOptions::default()).unwrap_err().to_string();
        let error = error.replace(&format!("{}/", folder.display()), "");
        if error != expected {
            wrong.push(format!("{expected}\n{error}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count >= 8, "{count}");
}
