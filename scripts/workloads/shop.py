"""A web shop of some twenty services, in which every rule that a plan can obey is asked for by someone."""

from . import manifests as k
from .manifests import CAPACITY_TYPE, HOSTNAME, INSTANCE, ZONE

COMMENT = """
A web shop: about twenty services, their databases, jobs and daemons, an existing node, and every scheduling rule that
a plan obeys. Made by scripts/make_workloads.py; all of its pods can be placed.
"""

TEAM = "shop"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
NODE = "ip-10-0-17-42.ec2.internal"


def documents():
    """All objects of the shop."""
    return [*cluster_objects(), *daemons(), *front(), *middle(), *data(), *jobs(), *what_is_there()]


def service(name, replicas, millicores, mebibytes, labels=None, tolerations=(), image=None, **spec):
    """A Deployment with one container."""
    main = k.container(name, image or f"shop/{name}:2.4.1", k.requests(millicores, mebibytes))
    return k.deployment(TEAM, name, replicas, k.template(TEAM, name, [main], labels, tolerations, **spec))


def cluster_objects():
    """Node pools, classes, and what holds in the whole namespace."""
    here = k.requirement(ZONE, "In", *ZONES)
    modern = [
        k.requirement("kubernetes.io/arch", "In", "amd64"),
        k.requirement(INSTANCE + "generation", "Gt", "5"),
        k.requirement(INSTANCE + "cpu", "Gte", "2"),
        k.requirement(INSTANCE + "cpu", "Lte", "48"),
        here,
    ]
    agent = k.taint("node.cilium.io/agent-not-ready", "true", "NoExecute")
    return [
        k.namespace(TEAM),
        k.node_class(TEAM, volume_gib=100),
        k.node_pool(
            "shop-committed",
            TEAM,
            [
                *modern,
                k.requirement(INSTANCE + "family", "In", "m7i", "c7i", "r7i"),
                k.requirement(CAPACITY_TYPE, "In", "on-demand"),
            ],
            startup_taints=[agent],
            weight=100,
            limits={"cpu": "32", "memory": "160Gi"},
            labels={"shop/tier": "committed"},
        ),
        k.node_pool(
            "shop-general",
            TEAM,
            [
                *modern,
                k.requirement(INSTANCE + "category", "In", "c", "m", "r"),
                k.requirement(INSTANCE + "family", "Exists", min_values=3),
                k.requirement(CAPACITY_TYPE, "In", "spot", "on-demand"),
            ],
            startup_taints=[agent],
            weight=10,
            limits={"cpu": "1000", "memory": "4000Gi"},
            labels={"shop/tier": "general"},
        ),
        k.node_pool(
            "shop-interruptible",
            TEAM,
            [
                *modern,
                k.requirement(INSTANCE + "category", "NotIn", "g", "p", "t", "x"),
                k.requirement(CAPACITY_TYPE, "In", "spot"),
            ],
            taints=[k.taint("shop/interruptible", "true")],
            limits={"cpu": "200", "nodes": "40"},
            labels={"shop/tier": "interruptible"},
        ),
        k.thing(
            "v1",
            "LimitRange",
            k.metadata("defaults", TEAM),
            spec={"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m", "memory": "192Mi"}}]},
        ),
        k.priority_class("shop-critical", 100000),
        k.priority_class("shop-background", -10),
        k.storage_class("shop-gp3", zones=ZONES[:2]),
        k.disruption_budget(TEAM, "checkout", maxUnavailable=1),
        k.disruption_budget(TEAM, "cart-redis", minAvailable=2),
    ]


def daemons():
    """Daemons: one on every node of the shop, one on spot nodes only."""
    ports = [{"name": "metrics", "containerPort": 9100, "hostPort": 9100}]
    agent = k.container("agent", "shop/metrics-agent:1.9.0", k.requests(60, 128), ports=ports)
    logs = k.container("logs", "fluent/fluent-bit:3.1", k.requests(40, 96), {"memory": "192Mi"})
    watcher = k.container("watcher", "shop/spot-watcher:1.0.3", k.requests(20, 48))
    boot = [k.tolerate("node.cilium.io/agent-not-ready", effect=None)]
    return [
        k.daemon_set(TEAM, "node-agent", k.template(TEAM, "node-agent", [agent, logs], tolerations=[
            *boot, k.tolerate("shop/interruptible")
        ])),
        k.daemon_set(TEAM, "spot-watcher", k.template(
            TEAM, "spot-watcher", [watcher], tolerations=[*boot, k.tolerate("shop/interruptible")],
            nodeSelector={CAPACITY_TYPE: "spot"},
        )),
    ]


def front():
    """What customers meet first."""
    gateway_ports = [{"name": "https", "containerPort": 8443, "hostPort": 8443}]
    gateway = k.container("api-gateway", "envoyproxy/envoy:v1.31", k.requests(1000, 768), ports=gateway_ports)
    return [
        service(
            "storefront", 96, 250, 384,
            topologySpreadConstraints=[
                k.spread(ZONE, "storefront", matchLabelKeys=["pod-template-hash"]),
                k.spread(HOSTNAME, "storefront", 4, "ScheduleAnyway"),
            ],
        ),
        k.thing("v1", "Service", k.metadata("storefront", TEAM), spec={
            "selector": {"app": "storefront"}, "ports": [{"port": 80, "targetPort": 8080}],
        }),
        k.deployment(TEAM, "api-gateway", 6, k.template(TEAM, "api-gateway", [gateway])),
        service("edge-cache", 6, 500, 2048, image="varnish:7.5", affinity={
            **k.near(HOSTNAME, "api-gateway"), **k.apart(HOSTNAME, "edge-cache"),
        }),
        service("reviews", 30, 150, 320, topologySpreadConstraints=[
            k.spread(HOSTNAME, "reviews", 3), k.spread(ZONE, "reviews", 1, "ScheduleAnyway"),
        ]),
        service("wishlist", 14, 100, 256, affinity={"podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 50, "podAffinityTerm": k.pod_term(ZONE, "storefront")}
            ],
        }, **k.rather_on(20, k.requirement(INSTANCE + "cpu-manufacturer", "In", "amd"))}),
        service("notifications", 20, 120, 200, topologySpreadConstraints=[
            k.spread(ZONE, "notifications", 2, nodeTaintsPolicy="Honor", nodeAffinityPolicy="Ignore")
        ]),
    ]


def middle():
    """What the shop does."""
    loader = k.container("load-model", "shop/model-loader:0.8", k.requests(2000, 3072))
    metrics = k.container("metrics", "prom/statsd-exporter:v0.27.1", k.requests(50, 64), restartPolicy="Always")
    mesh = k.container("mesh", "shop/mesh-proxy:1.22", k.requests(100, 128), restartPolicy="Always")
    recommend = k.container("recommendations", "shop/recommendations:5.0.2", k.requests(700, 1792))
    stock = [k.container("inventory", "shop/inventory:3.3.0"), k.container("watch", "shop/inventory-watch:3.3.0")]
    limits_only = k.container("session-cache", "memcached:1.6", limits=k.requests(300, 1024))
    mail = k.container("email-worker", "shop/email-worker:1.1.7")
    in_transit = k.requirement(INSTANCE + "encryption-in-transit-supported", "In", "true")
    return [
        service("catalog-api", 64, 300, 512, topologySpreadConstraints=[
            k.spread(CAPACITY_TYPE, "catalog-api", 16), k.spread(HOSTNAME, "catalog-api", 8),
        ]),
        service("cart", 30, 200, 256, affinity=k.near(ZONE, "cart-redis")),
        service(
            "checkout", 24, 400, 640,
            priorityClassName="shop-critical",
            nodeSelector={CAPACITY_TYPE: "on-demand"},
            topologySpreadConstraints=[k.spread(ZONE, "checkout", minDomains=3)],
        ),
        service("payment", 9, 500, 1024, priorityClassName="shop-critical", affinity=k.on_nodes(
            [in_transit, k.requirement(INSTANCE + "family", "NotIn", "c7i-flex", "m7i-flex", "m8i-flex", "c8i-flex")],
        )),
        service("fraud-scanner", 10, 800, 1536, affinity=k.apart(HOSTNAME, "payment")),
        service("search", 16, 1500, 6144, affinity=k.on_nodes(
            [k.requirement(INSTANCE + "category", "In", "r"), k.requirement(INSTANCE + "cpu", "Gt", "3")],
            [k.requirement(INSTANCE + "memory", "Gt", "30000"), k.requirement(INSTANCE + "cpu", "Lt", "17")],
        )),
        k.deployment(TEAM, "recommendations", 20, k.template(
            TEAM, "recommendations", [recommend], initContainers=[metrics, loader]
        )),
        k.deployment(TEAM, "inventory", 18, k.template(
            TEAM, "inventory", stock, resources={"requests": k.requests(450, 900)}
        )),
        service(
            "pricing", 15, 250, 400, runtimeClassName="kata", overhead={"cpu": "250m", "memory": "160Mi"},
        ),
        k.deployment(TEAM, "session-cache", 8, k.template(TEAM, "session-cache", [limits_only], affinity={
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "podAffinityTerm": k.pod_term(HOSTNAME, "session-cache")}
            ]},
        })),
        k.deployment(TEAM, "email-worker", 12, k.template(
            TEAM, "email-worker", [mail], initContainers=[mesh], priorityClassName="shop-background"
        )),
        service(
            "media-resizer", 25, 900, 1200,
            tolerations=[k.tolerate("shop/interruptible", "true")],
            nodeSelector={"shop/tier": "interruptible"},
            topologySpreadConstraints=[
                k.spread(ZONE, "media-resizer", nodeTaintsPolicy="Honor", nodeAffinityPolicy="Honor")
            ],
        ),
        service("price-feed", 3, 150, 256, affinity=k.apart(ZONE, "price-feed")),
        service("stock-ledger", 5, 600, 2048, affinity=k.near(ZONE, "stock-ledger")),
        service("receipt-renderer", 4, 350, 700, affinity=k.near(HOSTNAME, "receipt-renderer")),
    ]


def data():
    """Databases and their volumes: one set whose volumes are still to be made, one whose volumes are there."""
    redis = k.container("redis", "redis:7.4", k.requests(500, 3072))
    orders = k.container("postgres", "postgres:17", k.requests(2000, 8192))
    claims = [k.claim("data", "shop-gp3", "50Gi")]
    there = []
    for index, zone in enumerate(ZONES):
        name = f"data-orders-db-{index}"
        there.append(k.claim(name, "shop-gp3", "200Gi", TEAM, f"pv-orders-{index}"))
        there.append(k.volume(f"pv-orders-{index}", "shop-gp3", "200Gi", zone, TEAM, name))
    return [
        k.stateful_set(TEAM, "cart-redis", 3, k.template(
            TEAM, "cart-redis", [redis], affinity=k.apart(HOSTNAME, "cart-redis")
        ), claims),
        k.stateful_set(TEAM, "orders-db", 3, k.template(
            TEAM, "orders-db", [orders], priorityClassName="shop-critical", nodeSelector={CAPACITY_TYPE: "on-demand"}
        ), [k.claim("data", "shop-gp3", "200Gi")]),
        *there,
    ]


def jobs():
    """Work that ends."""
    scratch = k.container("reindex", "shop/reindex:4.0.0", {**k.requests(1800, 3500), "ephemeral-storage": "8Gi"})
    report = k.container("report", "shop/nightly-report:1.4.4", k.requests(1000, 4096))
    interruptible = [k.tolerate("shop/interruptible", "true")]
    return [
        k.job(TEAM, "reindex", 8, 8, k.template(TEAM, "reindex", [scratch], tolerations=interruptible)),
        k.cron_job(TEAM, "nightly-report", "15 2 * * *", 4, 4, k.template(
            TEAM, "nightly-report", [report], priorityClassName="shop-background"
        )),
    ]


def what_is_there():
    """A node that is paid for already, with what runs on it."""
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        HOSTNAME: NODE,
        ZONE: ZONES[0],
        "topology.kubernetes.io/region": "us-east-1",
        "node.kubernetes.io/instance-type": "m7i.2xlarge",
        CAPACITY_TYPE: "on-demand",
        "karpenter.sh/nodepool": "shop-general",
        INSTANCE + "category": "m",
        INSTANCE + "family": "m7i",
        INSTANCE + "generation": "7",
        INSTANCE + "cpu": "8",
        INSTANCE + "cpu-manufacturer": "intel",
        INSTANCE + "memory": "32768",
        INSTANCE + "encryption-in-transit-supported": "true",
        "shop/tier": "general",
        k.TEAM_LABEL: TEAM,
    }
    room = {"cpu": "7910m", "memory": "29317Mi", "pods": "58", "ephemeral-storage": "89Gi"}
    node = k.thing(
        "v1",
        "Node",
        k.metadata(NODE, labels=labels),
        spec={"providerID": "aws:///us-east-1a/i-0f1e2d3c4b5a69788", "taints": [k.taint(k.TEAM_LABEL, TEAM)]},
        status={
            "capacity": {**room, "cpu": "8", "memory": "32768Mi"},
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    )
    return [
        node,
        bound("node-agent-x7k2p", "node-agent", "DaemonSet", "node-agent", 100, 224),
        bound("back-office-6d9f7c-4jq8z", "back-office", "ReplicaSet", "back-office-6d9f7c", 900, 2560),
        bound("back-office-6d9f7c-w5m6t", "back-office", "ReplicaSet", "back-office-6d9f7c", 900, 2560),
        bound("storefront-canary-5b8d-hp2lq", "storefront", "ReplicaSet", "storefront-canary-5b8d", 250, 384),
    ]


def bound(name, app, owner_kind, owner, millicores, mebibytes):
    """A pod that runs on the node that is there."""
    meta = k.metadata(name, TEAM, {"app": app})
    meta["ownerReferences"] = [{
        "apiVersion": "apps/v1", "kind": owner_kind, "name": owner, "controller": True,
        "uid": "9b0f7a54-0000-4000-8000-000000000001",
    }]
    main = k.container(app, f"shop/{app}:2.4.1", k.requests(millicores, mebibytes))
    spec = {"nodeName": NODE, "containers": [main], "tolerations": [k.tolerate(k.TEAM_LABEL, TEAM)]}
    return k.thing("v1", "Pod", meta, spec=spec, status={"phase": "Running"})
