//! Small random clusters: what is for sale, what waits, what is there.

use proptest::prelude::*;
use serde_json::{Value, json};
use supercargo_models::catalog::{Catalog, InstanceType};
use supercargo_models::kubernetes::Snapshot;

use super::{bound, catalog, claim, instance, node, overlay, pool, workload};

const ZONES: [&str; 3] = ["a", "b", "c"];
const ZONE: &str = "topology.kubernetes.io/zone";
const HOSTNAME: &str = "kubernetes.io/hostname";
const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// A label that only some pools give their nodes.
const TEAM: &str = "example.com/team";

/// An instance type: CPUs, GiB, pods, Graviton or not, zones as bits, whether spot is sold, cents an hour, the
/// most volumes.
#[derive(Clone, Debug)]
pub struct TypeSpec {
    cpu: u32,
    memory: u64,
    pods: u32,
    arm: bool,
    zones: u8,
    spot: bool,
    cents: u32,
    volumes: Option<u32>,
}

/// A pool: which requirement, tainted or not, weight, limits by resource, `minValues` by key.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    requirement: u8,
    taint: bool,
    weight: Option<u8>,
    limits: Vec<(u8, u8)>,
    min_values: Option<(u8, u8)>,
}

/// A daemon set: tenths of a CPU, where it lands, whether it tolerates the taint, its host port and volume, and what only
/// some nodes have.
#[derive(Clone, Debug)]
pub struct DaemonSpec {
    cpu: u32,
    lands: u8,
    tolerates: bool,
    port: Option<u8>,
    disk: bool,
    device: bool,
    gibibytes: u8,
}

/// A rule of a workload; `target` is the workload it selects, itself included.
#[derive(Clone, Debug)]
pub enum RuleSpec {
    Zone(u8),
    Spot(bool),
    Arch(bool),
    ZoneNotIn(u8),
    LargeOrZone(u8),
    Team(u8),
    Spread { key: u8, skew: u8, target: u8, min_domains: Option<u8>, ignore_affinity: bool, honor_taints: bool },
    Affinity { key: u8, target: u8 },
    Anti { key: u8, target: u8 },
    Port(u8),
    Volume(u8),
    Disks(u8),
    Device,
}

/// A workload: pods, quarters of a CPU, quarters of a GiB, rules.
#[derive(Clone, Debug)]
pub struct WorkSpec {
    count: u32,
    cpu: u32,
    memory: u32,
    tolerates: bool,
    rules: Vec<RuleSpec>,
}

/// A pod on a node: whose labels it bears, quarters of a CPU, and whom it keeps away from its zone or node.
type BoundPod = (u8, u32, Option<(u8, u8)>);

/// A node that is there, with pods: which workload's labels, quarters of a CPU, whom it keeps away from its zone or node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// A node, a claim without one (launched, not launched, being deleted), or a node that is starting.
    state: u8,
    cpu: u32,
    zone: u8,
    taint: bool,
    pooled: bool,
    team: Option<bool>,
    volumes: Option<i32>,
    bound: Vec<BoundPod>,
}

/// An overlay: what it selects, what it makes of prices, how many devices it gives, weight.
#[derive(Clone, Debug)]
pub struct OverlaySpec {
    selects: u8,
    price: Option<u8>,
    devices: Option<u8>,
    weight: Option<u8>,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Case {
    types: Vec<TypeSpec>,
    pools: Vec<PoolSpec>,
    work: Vec<WorkSpec>,
    nodes: Vec<NodeSpec>,
    daemons: Vec<DaemonSpec>,
    overlays: Vec<OverlaySpec>,
}

/// A resource that only overlays give.
const DEVICE: &str = "example.com/device";

/// The class of volumes that are made for their pod.
const CLASS: &str = "gp3";

/// The most pods of a case.
const MOST_PODS: u32 = 6;

fn type_spec() -> impl Strategy<Value = TypeSpec> {
    let volumes = prop::option::of(1..4_u32);
    (1..=4_u32, 1..=6_u64, 2..=6_u32, prop::bool::weighted(0.25), 1..8_u8, any::<bool>(), 4..40_u32, volumes).prop_map(
        |(cpu, memory, pods, arm, zones, spot, cents, volumes)| TypeSpec {
            cpu,
            memory,
            pods,
            arm,
            zones,
            spot,
            cents,
            volumes,
        },
    )
}

fn pool_spec() -> impl Strategy<Value = PoolSpec> {
    (
        prop_oneof![8 => 0..9_u8, 1 => Just(5_u8)],
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, 1..3_u8),
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec((0..4_u8, 1..6_u8), 1..3)],
        prop::option::weighted(0.15, (0..4_u8, 1..4_u8)),
    )
        .prop_map(|(requirement, taint, weight, limits, min_values)| PoolSpec {
            requirement,
            taint,
            weight,
            limits,
            min_values,
        })
}

fn daemon_spec() -> impl Strategy<Value = DaemonSpec> {
    let cpu = prop_oneof![4 => 1..6_u32, 1 => 10..30_u32];
    let gibibytes = prop_oneof![4 => Just(0_u8), 1 => 1..6_u8];
    let (device, disk) = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (cpu, 0..4_u8, any::<bool>(), prop::option::weighted(0.2, 0..2_u8), disk, device, gibibytes).prop_map(
        |(cpu, lands, tolerates, port, disk, device, gibibytes)| DaemonSpec {
            cpu,
            lands,
            tolerates,
            port,
            disk,
            device,
            gibibytes,
        },
    )
}

fn affinity_key() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0..2_u8, 1 => Just(3_u8)]
}

fn rule_spec() -> impl Strategy<Value = RuleSpec> {
    prop_oneof![
        1 => (0..3_u8).prop_map(RuleSpec::Zone),
        1 => any::<bool>().prop_map(RuleSpec::Spot),
        1 => any::<bool>().prop_map(RuleSpec::Arch),
        1 => (0..3_u8).prop_map(RuleSpec::ZoneNotIn),
        1 => (0..3_u8).prop_map(RuleSpec::LargeOrZone),
        1 => (0..3_u8).prop_map(RuleSpec::Team),
        4 => (0..4_u8, 1..3_u8, 0..4_u8, prop::option::weighted(0.2, 2..4_u8), prop::bool::weighted(0.2),
              prop::bool::weighted(0.2))
            .prop_map(|(key, skew, target, min_domains, ignore_affinity, honor_taints)| RuleSpec::Spread {
                key, skew, target, min_domains, ignore_affinity, honor_taints
            }),
        2 => (affinity_key(), 0..4_u8).prop_map(|(key, target)| RuleSpec::Affinity { key, target }),
        3 => (affinity_key(), 0..4_u8).prop_map(|(key, target)| RuleSpec::Anti { key, target }),
        1 => (0..2_u8).prop_map(RuleSpec::Port),
        1 => (0..3_u8).prop_map(RuleSpec::Volume),
        1 => (1..3_u8).prop_map(RuleSpec::Disks),
        1 => Just(RuleSpec::Device),
    ]
}

fn work_spec() -> impl Strategy<Value = WorkSpec> {
    (1..=3_u32, 1..=8_u32, 1..=8_u32, prop::bool::weighted(0.4), prop::collection::vec(rule_spec(), 0..3))
        .prop_map(|(count, cpu, memory, tolerates, rules)| WorkSpec { count, cpu, memory, tolerates, rules })
}

fn node_spec() -> impl Strategy<Value = NodeSpec> {
    let pods = (0..4_u8, 1..4_u32, prop::option::weighted(0.2, (affinity_key(), 0..3_u8)));
    let state = prop_oneof![4 => Just(0_u8), 1 => 1..5_u8];
    let volumes = prop::option::weighted(0.3, 0..3_i32);
    let team = prop::option::weighted(0.3, any::<bool>());
    let bound = prop::collection::vec(pods, 0..3);
    (state, 1..=3_u32, 0..3_u8, prop::bool::weighted(0.2), any::<bool>(), team, volumes, bound).prop_map(
        |(state, cpu, zone, taint, pooled, team, volumes, bound)| NodeSpec {
            state,
            cpu,
            zone,
            taint,
            pooled,
            team,
            volumes,
            bound,
        },
    )
}

fn overlay_spec() -> impl Strategy<Value = OverlaySpec> {
    (0..6_u8, prop::option::weighted(0.8, 0..5_u8), prop::option::weighted(0.4, 1..4_u8), prop::option::of(1..3_u8))
        .prop_map(|(selects, price, devices, weight)| OverlaySpec { selects, price, devices, weight })
}

/// Random clusters.
pub fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(type_spec(), 1..4),
        prop::collection::vec(pool_spec(), 1..3),
        prop::collection::vec(work_spec(), 1..4),
        prop::collection::vec(node_spec(), 0..3),
        prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(daemon_spec(), 1..3)],
        prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(overlay_spec(), 1..4)],
    )
        .prop_map(|(types, pools, work, nodes, daemons, overlays)| Case {
            types,
            pools,
            work,
            nodes,
            daemons,
            overlays,
        })
}

fn taint() -> Value {
    json!([{"key": "team", "value": "x", "effect": "NoSchedule"}])
}

fn key(index: u8) -> &'static str {
    [ZONE, HOSTNAME, CAPACITY_TYPE, TEAM][usize::from(index)]
}

fn selector(target: u8) -> Value {
    // The last target is everyone.
    if target == 3 { json!({}) } else { json!({"matchLabels": {"app": format!("w{target}")}}) }
}

impl PoolSpec {
    fn requirements(&self) -> Value {
        let mut list = match self.requirement {
            1 => json!([{"key": ZONE, "operator": "In", "values": ["a", "b"]}]),
            2 => json!([{"key": CAPACITY_TYPE, "operator": "NotIn", "values": ["spot"]}]),
            3 => json!([{"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gte", "values": ["2"]}]),
            4 => json!([{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]),
            5 => json!([{"key": TEAM, "operator": "In", "values": ["x", "y"]}]),
            6 => json!([{"key": "karpenter.k8s.aws/instance-cpu", "operator": "Lt", "values": ["4"]}]),
            7 => json!([{"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "DoesNotExist"}]),
            _ => json!([]),
        };
        if let (Some((key, least)), Some(list)) = (self.min_values, list.as_array_mut()) {
            let key = ["node.kubernetes.io/instance-type", ZONE, CAPACITY_TYPE, "karpenter.k8s.aws/instance-cpu"]
                [usize::from(key)];
            list.push(json!({"key": key, "operator": "Exists", "minValues": least}));
        }
        list
    }
}

impl WorkSpec {
    fn spec(&self, index: usize, claims: &mut Vec<(String, u8)>) -> Value {
        let mut spec = json!({});
        let mut selects = json!({});
        let mut expressions: Vec<Value> = Vec::new();
        let (mut spreads, mut near, mut apart) = (Vec::new(), Vec::new(), Vec::new());
        let mut volumes = Vec::new();
        let mut ports = Vec::new();
        let mut device = false;
        let mut terms: Option<Value> = None;
        for rule in &self.rules {
            match rule {
                RuleSpec::Zone(zone) => selects[ZONE] = json!(ZONES[usize::from(*zone)]),
                RuleSpec::Spot(spot) => selects[CAPACITY_TYPE] = json!(if *spot { "spot" } else { "on-demand" }),
                RuleSpec::Arch(arm) => selects["kubernetes.io/arch"] = json!(if *arm { "arm64" } else { "amd64" }),
                RuleSpec::Team(2) => expressions.push(json!({"key": TEAM, "operator": "NotIn", "values": ["x"]})),
                RuleSpec::Team(value) => selects[TEAM] = json!(["x", "y"][usize::from(*value)]),
                RuleSpec::ZoneNotIn(zone) => {
                    expressions.push(json!({"key": ZONE, "operator": "NotIn", "values": [ZONES[usize::from(*zone)]]}))
                }
                RuleSpec::LargeOrZone(zone) => {
                    terms = Some(json!([
                        {"matchExpressions": [{"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["2"]}]},
                        {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [ZONES[usize::from(*zone)]]}]}
                    ]));
                }
                RuleSpec::Spread { key: by, skew, target, min_domains, ignore_affinity, honor_taints } => {
                    let mut spread = json!({"topologyKey": key(*by), "maxSkew": skew, "labelSelector": selector(*target),
                        "whenUnsatisfiable": "DoNotSchedule"});
                    if let Some(least) = min_domains {
                        spread["minDomains"] = json!(least);
                    }
                    if *ignore_affinity {
                        spread["nodeAffinityPolicy"] = json!("Ignore");
                    }
                    if *honor_taints {
                        spread["nodeTaintsPolicy"] = json!("Honor");
                    }
                    spreads.push(spread);
                }
                RuleSpec::Affinity { key: by, target } => {
                    near.push(json!({"topologyKey": key(*by), "labelSelector": selector(*target)}));
                }
                RuleSpec::Anti { key: by, target } => {
                    apart.push(json!({"topologyKey": key(*by), "labelSelector": selector(*target)}));
                }
                RuleSpec::Disks(count) => {
                    let scratch = json!({"volumeClaimTemplate": {"spec": {"storageClassName": CLASS}}});
                    for _ in 0..*count {
                        volumes.push(json!({"name": format!("disk-{}", volumes.len()), "ephemeral": scratch}));
                    }
                }
                RuleSpec::Device => device = true,
                RuleSpec::Port(port) => ports.push(json!({"containerPort": 80, "hostPort": 8000 + u32::from(*port)})),
                RuleSpec::Volume(zone) => {
                    let claim = format!("claim-{index}-{}", volumes.len());
                    volumes.push(json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
                    claims.push((claim, *zone));
                }
            }
        }
        if !expressions.is_empty() {
            let more = json!({"matchExpressions": expressions});
            terms = Some(match terms {
                None => json!([more]),
                Some(mut list) => {
                    list.as_array_mut().into_iter().for_each(|list| list.push(more.clone()));
                    list
                }
            });
        }
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        if let Some(terms) = terms {
            spec["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"] = terms;
        }
        if !near.is_empty() {
            spec["affinity"]["podAffinity"][required] = json!(near);
        }
        if !apart.is_empty() {
            spec["affinity"]["podAntiAffinity"][required] = json!(apart);
        }
        if !spreads.is_empty() {
            spec["topologySpreadConstraints"] = json!(spreads);
        }
        if selects != json!({}) {
            spec["nodeSelector"] = selects;
        }
        if !volumes.is_empty() {
            spec["volumes"] = json!(volumes);
        }
        if self.tolerates {
            spec["tolerations"] = json!([{"key": "team", "operator": "Exists"}]);
        }
        if !ports.is_empty() || device {
            let mut requests =
                json!({"cpu": format!("{}m", self.cpu * 250), "memory": format!("{}Mi", self.memory * 256)});
            if device {
                requests[DEVICE] = json!("1");
            }
            spec["containers"] = json!([{"name": "main", "ports": ports, "resources": {"requests": requests}}]);
        }
        spec
    }
}

impl OverlaySpec {
    fn spec(&self) -> Value {
        let one = |key: &str, value: &str| json!([{"key": key, "operator": "In", "values": [value]}]);
        let requirements = match self.selects {
            1 => one(ZONE, "a"),
            2 => one(CAPACITY_TYPE, "spot"),
            3 => one("node.kubernetes.io/instance-type", "m0.size"),
            4 => one("karpenter.sh/nodepool", "p0"),
            5 => one("node.kubernetes.io/instance-type", "m1.size"),
            _ => json!([]),
        };
        let mut spec = json!({"requirements": requirements});
        match self.price {
            Some(0) => spec["price"] = json!("0.05"),
            Some(1) => spec["priceAdjustment"] = json!("-30%"),
            Some(2) => spec["priceAdjustment"] = json!("+12.5%"),
            Some(3) => spec["priceAdjustment"] = json!("-0.1"),
            Some(_) => spec["priceAdjustment"] = json!("+0.07"),
            None => {}
        }
        if let Some(devices) = self.devices {
            spec["capacity"] = json!({DEVICE: devices.to_string()});
        }
        if let Some(weight) = self.weight {
            spec["weight"] = json!(weight);
        }
        spec
    }
}

impl Case {
    /// What is for sale.
    pub fn catalog(&self) -> Catalog {
        let types = self.types.iter().enumerate().map(|(index, kind)| {
            let price = f64::from(kind.cents) / 100.0;
            let zones = ZONES.into_iter().enumerate().filter(|(zone, _)| kind.zones & (1 << zone) != 0);
            let sold: Vec<(&str, &str, f64)> = zones
                .flat_map(|(at, zone)| {
                    // Spot prices differ by zone, on-demand ones don't.
                    let spot = (zone, "spot", ((price * 0.4 + 0.01 * at as f64) * 1000.0).round() / 1000.0);
                    [(zone, "on-demand", price)].into_iter().chain(kind.spot.then_some(spot))
                })
                .collect();
            let arch = if kind.arm { "arm64" } else { "amd64" };
            let name = format!("m{index}.size");
            InstanceType {
                max_volume_attachments: kind.volumes,
                ..instance(&name, arch, kind.cpu * 1000, kind.memory * 1024, kind.pods, &sold)
            }
        });
        catalog(types.collect())
    }

    /// What waits and what is there.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (index, spec) in self.pools.iter().enumerate() {
            let mut more = json!({});
            if spec.taint {
                more["template"]["spec"]["taints"] = taint();
            }
            if let Some(weight) = spec.weight {
                more["weight"] = json!(weight);
            }
            for (resource, amount) in &spec.limits {
                let (resource, unit) =
                    [("nodes", ""), ("cpu", ""), ("memory", "Gi"), (DEVICE, "")][usize::from(*resource)];
                more["limits"][resource] = json!(format!("{amount}{unit}"));
            }
            snapshot.node_pools.push(pool(&format!("p{index}"), spec.requirements(), more));
        }
        let overlays = self.overlays.iter().enumerate();
        snapshot.node_overlays = overlays.map(|(index, spec)| overlay(&format!("o{index}"), spec.spec())).collect();
        let mut claims = Vec::new();
        let mut left = MOST_PODS;
        for (index, spec) in self.work.iter().enumerate() {
            let count = spec.count.min(left);
            left -= count;
            if count > 0 {
                let (cpu, memory) = (format!("{}m", spec.cpu * 250), format!("{}Mi", spec.memory * 256));
                let more = spec.spec(index, &mut claims);
                snapshot.pending.push(workload(&format!("w{index}"), count, &cpu, &memory, more));
            }
        }
        for (claim, zone) in claims {
            let zone = ZONES[usize::from(zone)];
            let volume = json!({"metadata": {"name": claim}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms":
                [{"matchExpressions": [{"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": [zone]}]}]}}}});
            snapshot.volumes.push(serde_json::from_value(volume).unwrap());
            let claim = json!({"metadata": {"name": claim, "namespace": "default"}, "spec": {"volumeName": claim}});
            snapshot.volume_claims.push(serde_json::from_value(claim).unwrap());
        }
        let class = json!({"metadata": {"name": CLASS}, "provisioner": "ebs.csi.aws.com",
            "volumeBindingMode": "WaitForFirstConsumer"});
        snapshot.storage_classes.push(serde_json::from_value(class).unwrap());
        for (index, spec) in self.nodes.iter().enumerate() {
            let name = format!("n{index}");
            let mut labels = json!({ZONE: ZONES[usize::from(spec.zone)], CAPACITY_TYPE: "on-demand",
                "kubernetes.io/arch": "amd64", "karpenter.k8s.aws/instance-cpu": spec.cpu.to_string()});
            if spec.pooled {
                labels["karpenter.sh/nodepool"] = json!("p0");
            }
            if let Some(team) = spec.team {
                labels[TEAM] = json!(if team { "x" } else { "y" });
            }
            let taints = if spec.taint { json!({"taints": taint()}) } else { json!({}) };
            let cpu = spec.cpu.to_string();
            if spec.state > 0 {
                let mut more = json!({"spec": taints});
                match spec.state {
                    2 => more["status"] = json!({"capacity": null, "allocatable": null}),
                    3 => more["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                    4 => more["spec"] = json!({"startupTaints": taint()}),
                    _ => {}
                }
                snapshot.node_claims.push(claim(&name, &cpu, "4Gi", labels.clone(), more));
            }
            if (1..4).contains(&spec.state) {
                continue;
            }
            let mut spec_of_node = taints;
            spec_of_node["providerID"] = json!(format!("aws:///a/{name}"));
            let mut node = node(&name, &cpu, "4Gi", labels, spec_of_node);
            if spec.state == 4 {
                let starting = json!([{"type": "Ready", "status": "False"}]);
                node.status.as_mut().unwrap().conditions = Some(serde_json::from_value(starting).unwrap());
            }
            snapshot.nodes.push(node);
            if let Some(count) = spec.volumes {
                let driver = json!({"name": "ebs.csi.aws.com", "nodeID": name, "allocatable": {"count": count}});
                let drivers = json!({"metadata": {"name": name}, "spec": {"drivers": [driver]}});
                snapshot.csi_nodes.push(serde_json::from_value(drivers).unwrap());
            }
            for (at, (app, cpu, apart)) in spec.bound.iter().enumerate() {
                let more = apart.map_or_else(
                    || json!({}),
                    |(by, target)| {
                        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                            [{"topologyKey": key(by), "labelSelector": selector(target)}]}}})
                    },
                );
                let labels = json!({"app": format!("w{app}")});
                let cpu = format!("{}m", cpu * 250);
                snapshot.bound.push(bound(&format!("b{index}-{at}"), &name, &cpu, labels, more));
            }
        }
        for (index, spec) in self.daemons.iter().enumerate() {
            let mut requests = json!({"cpu": format!("{}m", spec.cpu * 100)});
            if spec.device {
                requests[DEVICE] = json!("1");
            }
            if spec.gibibytes > 0 {
                requests["memory"] = json!(format!("{}Gi", spec.gibibytes));
            }
            let container = json!({"name": "main", "resources": {"requests": requests},
                "ports": spec.port.map(|port| json!([{"containerPort": 80, "hostPort": 8000 + u32::from(port)}]))});
            let mut pod = json!({"containers": [container]});
            match spec.lands {
                1 => pod["nodeSelector"] = json!({"kubernetes.io/arch": "amd64"}),
                2 => pod["nodeSelector"] = json!({ZONE: "a"}),
                3 => pod["nodeSelector"] = json!({CAPACITY_TYPE: "spot"}),
                _ => {}
            }
            if spec.tolerates {
                pod["tolerations"] = json!([{"key": "team", "operator": "Exists"}]);
            }
            if spec.disk {
                let scratch = json!({"volumeClaimTemplate": {"spec": {"storageClassName": CLASS}}});
                pod["volumes"] = json!([{"name": "disk", "ephemeral": scratch}]);
            }
            let daemon = json!({"metadata": {"name": format!("agent-{index}"), "namespace": "kube-system"},
                "spec": {"selector": {}, "template": {"spec": pod}}});
            snapshot.daemon_sets.push(serde_json::from_value(daemon).unwrap());
        }
        snapshot
    }

    /// Whether some pods need the company of any pod.
    pub fn has_followers(&self) -> bool {
        let any = |rule: &RuleSpec| matches!(rule, RuleSpec::Affinity { target: 3, .. });
        self.work.iter().any(|work| work.rules.iter().any(any))
    }

    /// Whether pools differ in weight, so that cost is not all that counts.
    pub fn has_weights(&self) -> bool {
        self.pools.iter().any(|pool| pool.weight.unwrap_or(0) != self.pools[0].weight.unwrap_or(0))
    }
}
