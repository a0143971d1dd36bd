//! What may be in an EC2NodeClass and in a KWOKNodeClass.

use serde_json::{Value, json};

use super::case::{ACCEPTED, Base, Case, put};

/// The least that an EC2NodeClass says.
pub fn least() -> Base {
    Base(json!({
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": "case"},
        "spec": {
            "role": "KarpenterNodeRole",
            "amiSelectorTerms": [{"alias": "al2023@latest"}],
            "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": "cluster"}}],
            "securityGroupSelectorTerms": [{"tags": {"karpenter.sh/discovery": "cluster"}}],
        },
    }))
}

pub fn cases() -> Vec<Case> {
    let base = least();
    let mut cases = vec![base.with("spec.context", Value::Null, ACCEPTED)];
    cases.extend(images(&base));
    cases.extend(selectors(&base));
    cases.extend(identity_and_tags(&base));
    cases.extend(machine(&base));
    cases.extend(kwok());
    cases
}

fn images(base: &Base) -> Vec<Case> {
    const PATH: &str = "spec.amiSelectorTerms";
    // Without an alias the family has to be said.
    let mut custom = Base(base.0.clone());
    put(&mut custom.0, "spec.amiFamily", json!("AL2023"));
    let terms = |terms: Value, refusal| custom.with(PATH, terms, refusal);
    let many = |count: usize| json!(vec![json!({"id": "ami-1"}); count]);
    let alias = |alias: &str, refusal| base.with(PATH, json!([{"alias": alias}]), refusal);
    let alone = "'alias' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms";
    let family = |alias: &str, family: &str, refusal| {
        let mut other = Base(base.0.clone());
        put(&mut other.0, PATH, json!([{"alias": alias}]));
        other.with("spec.amiFamily", json!(family), refusal)
    };
    vec![
        alias("al2@latest", ACCEPTED),
        alias("al2023@v20240625", ACCEPTED),
        alias("bottlerocket@v1.10.0", ACCEPTED),
        alias("windows2022@latest", ACCEPTED),
        alias("windows2025@latest", ACCEPTED),
        alias("al2023", "'alias' is improperly formatted, must match the format 'family@version'"),
        alias("ubuntu@latest", "family is not supported"),
        alias("windows2022@v1.0.0", "windows families may only specify version 'latest'"),
        alias("al2023@v20240625-of-a-very-long-name", "may not be more than 30"),
        base.with(PATH, json!([{"alias": "al2023@latest", "id": "ami-1"}]), alone),
        base.with(PATH, json!([{"alias": "al2023@latest", "tags": {"a": "b"}}]), alone),
        base.with(
            PATH,
            json!([{"alias": "al2023@latest"}, {"id": "ami-1"}]),
            "'alias' is mutually exclusive, cannot be set with a combination of other amiSelectorTerms",
        ),
        base.with(
            PATH,
            json!([{"id": "ami-1"}]),
            "must specify amiFamily if amiSelectorTerms does not contain an alias",
        ),
        terms(json!([{"id": "ami-0123456789abcdef0"}]), ACCEPTED),
        terms(json!([{"id": "image-1"}]), "should match"),
        terms(json!([{"name": "mine", "owner": "self"}, {"tags": {"a": "*"}}]), ACCEPTED),
        terms(json!([{"ssmParameter": "/my/image"}]), ACCEPTED),
        terms(
            json!([{"id": "ami-1", "owner": "self"}]),
            "'id' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms",
        ),
        terms(
            json!([{"owner": "self"}]),
            "expected at least one, got none, ['tags', 'id', 'name', 'alias', 'ssmParameter']",
        ),
        terms(json!([]), "should have at least 1 items"),
        terms(Value::Null, "spec.amiSelectorTerms: Required value"),
        terms(many(30), ACCEPTED),
        terms(many(31), "must have at most 30 items"),
        family("al2023@latest", "AL2023", ACCEPTED),
        family("bottlerocket@latest", "Custom", ACCEPTED),
        family("al2@latest", "AL2023", "if set, amiFamily must be 'AL2' or 'Custom' when using an AL2 alias"),
        family("al2023@latest", "AL2", "if set, amiFamily must be 'AL2023' or 'Custom' when using an AL2023 alias"),
        family("bottlerocket@latest", "AL2", "if set, amiFamily must be 'Bottlerocket' or 'Custom' when using a"),
        family("windows2019@latest", "AL2", "if set, amiFamily must be 'Windows2019' or 'Custom' when using a"),
        family("windows2022@latest", "AL2", "if set, amiFamily must be 'Windows2022' or 'Custom' when using a"),
        family("windows2025@latest", "AL2", "if set, amiFamily must be 'Windows2025' or 'Custom' when using a"),
        family("al2023@latest", "Debian", "Unsupported value: \"Debian\""),
    ]
}

fn selectors(base: &Base) -> Vec<Case> {
    let tags = json!({"team": "web"});
    let many_tags = |count: usize| (0..count).map(|number| (format!("tag-{number}"), json!("x"))).collect::<Value>();
    let subnets = |terms: Value, refusal| base.with("spec.subnetSelectorTerms", terms, refusal);
    let groups = |terms: Value, refusal| base.with("spec.securityGroupSelectorTerms", terms, refusal);
    let reservations = |terms: Value, refusal| base.with("spec.capacityReservationSelectorTerms", terms, refusal);
    let placement = |selector: Value, refusal| base.with("spec.placementGroupSelector", selector, refusal);
    vec![
        subnets(json!([{"id": "subnet-1"}, {"tags": tags}]), ACCEPTED),
        subnets(json!([{"id": "net-1"}]), "should match"),
        subnets(json!([]), "subnetSelectorTerms cannot be empty"),
        subnets(json!([{}]), "expected at least one, got none, ['tags', 'id']"),
        subnets(json!([{"id": "subnet-1", "tags": tags}]), "'id' is mutually exclusive"),
        subnets(json!([{"tags": {"": "x"}}]), "empty tag keys or values aren't supported"),
        subnets(json!([{"tags": {"x": ""}}]), "empty tag keys or values aren't supported"),
        subnets(json!([{"tags": many_tags(20)}]), ACCEPTED),
        subnets(json!([{"tags": many_tags(21)}]), "must have at most 20 items"),
        subnets(json!(vec![json!({"id": "subnet-1"}); 30]), ACCEPTED),
        subnets(json!(vec![json!({"id": "subnet-1"}); 31]), "must have at most 30 items"),
        subnets(Value::Null, "spec.subnetSelectorTerms: Required value"),
        groups(json!([{"id": "sg-1"}, {"name": "nodes"}, {"tags": tags}]), ACCEPTED),
        groups(json!([{"id": "group-1"}]), "should match"),
        groups(json!([]), "securityGroupSelectorTerms cannot be empty"),
        groups(json!([{}]), "expected at least one, got none, ['tags', 'id', 'name']"),
        groups(json!([{"id": "sg-1", "tags": tags}]), "'id' is mutually exclusive"),
        groups(json!([{"name": "nodes", "tags": tags}]), "'name' is mutually exclusive"),
        groups(json!(vec![json!({"id": "sg-1"}); 30]), ACCEPTED),
        groups(json!(vec![json!({"id": "sg-1"}); 31]), "must have at most 30 items"),
        groups(Value::Null, "spec.securityGroupSelectorTerms: Required value"),
        reservations(json!([{"id": "cr-1"}, {"tags": tags, "ownerID": "012345678901"}]), ACCEPTED),
        reservations(json!([{"instanceMatchCriteria": "open"}]), ACCEPTED),
        reservations(json!([{"instanceMatchCriteria": "closed"}]), "Unsupported value"),
        reservations(json!([{"id": "reservation"}]), "should match"),
        reservations(json!([{"ownerID": "012345678901"}]), "expected at least one, got none"),
        reservations(json!([{"tags": tags, "ownerID": "me"}]), "should match"),
        reservations(json!([{"id": "cr-1", "tags": tags}]), "'id' is mutually exclusive"),
        reservations(json!(vec![json!({"id": "cr-1"}); 30]), ACCEPTED),
        reservations(json!(vec![json!({"id": "cr-1"}); 31]), "must have at most 30 items"),
        placement(json!({"id": "pg-1"}), ACCEPTED),
        placement(json!({"name": "near"}), ACCEPTED),
        placement(json!({}), "expected at least one, got none, ['name', 'id']"),
        placement(json!({"id": "pg-1", "name": "near"}), "'name' and 'id' are mutually exclusive"),
        placement(json!({"id": "group"}), "should match"),
        placement(json!({"name": ""}), "should be at least 1 chars long"),
    ]
}

fn identity_and_tags(base: &Base) -> Vec<Case> {
    let mut profile = Base(base.0.clone());
    put(&mut profile.0, "spec.role", Value::Null);
    let tag = |key: &str, refusal| base.with("spec.tags", json!({key: "x"}), refusal);
    vec![
        profile.with("spec.instanceProfile", json!("nodes"), ACCEPTED),
        profile.with("spec.instanceProfile", json!(""), "instanceProfile cannot be empty"),
        profile.with("spec.role", Value::Null, "must specify exactly one of ['role', 'instanceProfile']"),
        base.with("spec.instanceProfile", json!("nodes"), "must specify exactly one of ['role', 'instanceProfile']"),
        base.with("spec.role", json!(""), "role cannot be empty"),
        tag("team", ACCEPTED),
        tag("", "empty tag keys aren't supported"),
        tag("eks:eks-cluster-name", "tag contains a restricted tag matching eks:eks-cluster-name"),
        tag("kubernetes.io/cluster/mine", "tag contains a restricted tag matching kubernetes.io/cluster/"),
        tag("karpenter.sh/nodepool", "tag contains a restricted tag matching karpenter.sh/nodepool"),
        tag("karpenter.sh/nodeclaim", "tag contains a restricted tag matching karpenter.sh/nodeclaim"),
        tag("karpenter.k8s.aws/ec2nodeclass", "tag contains a restricted tag matching karpenter.k8s.aws/ec2nodeclass"),
    ]
}

fn machine(base: &Base) -> Vec<Case> {
    let volume = |volume: Value, refusal| {
        base.with("spec.blockDeviceMappings", json!([{"deviceName": "/dev/xvda", "ebs": volume}]), refusal)
    };
    let root = json!({"rootVolume": true, "ebs": {"volumeSize": "20Gi"}});
    let interface = |card: i32, device: i32, kind: &str| json!({"networkCardIndex": card, "deviceIndex": device, "interfaceType": kind});
    let interfaces = |interfaces: Value, refusal| base.with("spec.networkInterfaces", interfaces, refusal);
    let tracking = |tracking: Value, refusal| base.with("spec.connectionTracking", tracking, refusal);
    let mut cases = vec![
        base.with("spec.blockDeviceMappings", json!([root]), ACCEPTED),
        base.with(
            "spec.blockDeviceMappings",
            json!([root, root]),
            "must have only one blockDeviceMappings with rootVolume",
        ),
        base.with(
            "spec.blockDeviceMappings",
            json!(vec![json!({"deviceName": "/dev/xvdb"}); 51]),
            "must have at most 50 items",
        ),
        volume(json!({"volumeSize": "100Gi", "volumeType": "gp3", "iops": 3000, "throughput": 125}), ACCEPTED),
        volume(json!({"snapshotID": "snap-1", "volumeInitializationRate": 100}), ACCEPTED),
        volume(json!({"volumeType": "gp3"}), "snapshotID or volumeSize must be defined"),
        volume(
            json!({"volumeSize": "1Ti", "volumeInitializationRate": 100}),
            "snapshotID must be set when volumeInitializationRate is set",
        ),
        volume(
            json!({"snapshotID": "snap-1", "volumeInitializationRate": 99}),
            "should be greater than or equal to 100",
        ),
        volume(json!({"volumeSize": "100"}), "should match"),
        volume(json!({"volumeSize": "100Gi", "volumeType": "floppy"}), "Unsupported value"),
        base.with("spec.metadataOptions", json!({"httpTokens": "optional", "httpPutResponseHopLimit": 2}), ACCEPTED),
        base.with("spec.metadataOptions", json!({"httpTokens": "never"}), "Unsupported value"),
        base.with("spec.metadataOptions", json!({"httpPutResponseHopLimit": 65}), "should be less than or equal to 64"),
        base.with("spec.instanceStorePolicy", json!("RAID0"), ACCEPTED),
        base.with("spec.instanceStorePolicy", json!("RAID5"), "Unsupported value"),
        base.with("spec.ipPrefixCount", json!(-1), "should be greater than or equal to 0"),
        base.with("spec.cpuOptions", json!({"nestedVirtualization": "enabled"}), ACCEPTED),
        base.with("spec.cpuOptions", json!({"nestedVirtualization": "maybe"}), "Unsupported value"),
        base.with("spec.enclaveOptions", json!({"enabled": true}), ACCEPTED),
        base.with("spec.enclaveOptions", json!({}), "enabled: Required value"),
        interfaces(json!([interface(0, 0, "interface"), interface(1, 1, "efa-only")]), ACCEPTED),
        interfaces(json!([interface(1, 0, "interface")]), "networkInterfaces must include a primary interface"),
        interfaces(
            json!([interface(0, 0, "interface"), interface(0, 0, "interface")]),
            "networkInterfaces must not have duplicate networkCardIndex and deviceIndex pairs",
        ),
        interfaces(
            json!([interface(0, 0, "interface"), interface(1, 1, "efa-only"), interface(1, 2, "efa-only")]),
            "can have at most one efa device per network card",
        ),
        tracking(json!({"udpTimeout": 30}), ACCEPTED),
        tracking(json!({}), "at least one of tcpEstablishedTimeout, udpStreamTimeout, or udpTimeout must be set"),
        tracking(json!({"udpTimeout": 61}), "should be less than or equal to 60"),
    ];
    let kubelet = json!({"maxPods": 110, "clusterDNS": ["10.0.1.100"], "evictionHard": {"memory.available": "5%"}});
    cases.push(base.with("spec.kubelet", kubelet, ACCEPTED));
    cases
}

fn kwok() -> Vec<Case> {
    let base = Base(json!({
        "apiVersion": "karpenter.kwok.sh/v1alpha1",
        "kind": "KWOKNodeClass",
        "metadata": {"name": "case"},
    }));
    vec![
        base.with("spec", Value::Null, ACCEPTED),
        base.with("spec.nodeRegistrationDelay", json!("30s"), ACCEPTED),
        base.with("spec.nodeRegistrationDelay", json!("soon"), "should match"),
    ]
}
