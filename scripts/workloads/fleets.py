"""Workloads of one kind each: GPUs, batch, one web service, two architectures, databases, small and mixed."""

import random

from . import manifests as k
from .manifests import CAPACITY_TYPE, HOSTNAME, INSTANCE, ZONE

GPU_TAINT = k.taint("nvidia.com/gpu", "present")
ON_GPU = [k.tolerate("nvidia.com/gpu")]
AMD64 = k.requirement("kubernetes.io/arch", "In", "amd64")
ARM64 = k.requirement("kubernetes.io/arch", "In", "arm64")
GENERAL = k.requirement(INSTANCE + "category", "In", "c", "m", "r")
CURRENT = k.requirement(INSTANCE + "generation", "Gt", "5")
ON_DEMAND = k.requirement(CAPACITY_TYPE, "In", "on-demand")
SPOT = k.requirement(CAPACITY_TYPE, "In", "spot")
EITHER = k.requirement(CAPACITY_TYPE, "In", "spot", "on-demand")
ZONES = k.requirement(ZONE, "In", "us-east-1a", "us-east-1b", "us-east-1c")


def simple(team, name, replicas, asked, labels=None, tolerations=(), limits=None, **spec):
    """A Deployment with one container."""
    main = k.container(name, f"{team}/{name}:1.0.0", asked, limits)
    return k.deployment(team, name, replicas, k.template(team, name, [main], labels, tolerations, **spec))


def accelerated(team, name, resource, count, millicores, mebibytes):
    """A container that asks for accelerators."""
    asked = {**k.requests(millicores, mebibytes), resource: str(count)}
    return k.container(name, f"{team}/{name}:1.0.0", asked, {resource: str(count)})


def gpu_fleet():
    """Training and inference on GPUs and Inferentia, fed by arm64 CPU nodes."""
    team = "vision"
    nvidia, neuron = "nvidia.com/gpu", "aws.amazon.com/neuron"
    on_neuron = [k.tolerate(neuron)]
    gpu_name = INSTANCE + "gpu-name"

    def pod(name, main, tolerations, **spec):
        return k.template(team, name, [main], tolerations=tolerations, **spec)

    found = [
        k.namespace(team),
        k.node_class(team, volume_gib=200),
        k.node_pool("vision-gpu", team, [AMD64, k.requirement(INSTANCE + "category", "In", "g", "p"), EITHER],
                    taints=[GPU_TAINT], labels={"vision/pool": "gpu"}),
        k.node_pool("vision-neuron", team, [k.requirement(INSTANCE + "family", "In", "inf2", "trn1"), ON_DEMAND],
                    taints=[k.taint(neuron, "present")], limits={neuron: "64"}),
        k.node_pool("vision-feeders", team, [ARM64, GENERAL, CURRENT, EITHER]),
        k.daemon_set(team, "device-plugin", pod(
            "device-plugin", k.container("plugin", "nvidia/k8s-device-plugin:v0.17.0", k.requests(50, 128)),
            ON_GPU, nodeSelector={"vision/pool": "gpu"},
        )),
        k.daemon_set(team, "log-agent", pod(
            "log-agent", k.container("agent", "fluent/fluent-bit:3.1", k.requests(50, 100)), [*ON_GPU, *on_neuron],
        )),
        k.job(team, "pretrain", 2, 2, pod(
            "pretrain", accelerated(team, "pretrain", nvidia, 8, 80000, 768 * 1024), ON_GPU,
            nodeSelector={CAPACITY_TYPE: "on-demand"},
            affinity=k.on_nodes([k.requirement(gpu_name, "In", "a100", "h100")]),
        )),
        k.job(team, "fine-tune", 6, 6, pod("fine-tune", accelerated(team, "fine-tune", nvidia, 4, 40000, 147456), ON_GPU)),
        k.job(team, "distill", 12, 12, pod("distill", accelerated(team, "distill", nvidia, 1, 7000, 28672), ON_GPU)),
        k.deployment(team, "detector", 24, pod(
            "detector", accelerated(team, "detector", nvidia, 1, 3000, 12288), ON_GPU,
            affinity=k.on_nodes([k.requirement(gpu_name, "In", "l4", "a10g")]),
        )),
        k.deployment(team, "segmenter", 16, pod(
            "segmenter", accelerated(team, "segmenter", nvidia, 1, 6000, 24576), ON_GPU,
            affinity=k.on_nodes([k.requirement(INSTANCE + "gpu-memory", "Gt", "20000")]),
        )),
        k.deployment(team, "captioner", 4, pod(
            "captioner", accelerated(team, "captioner", nvidia, 2, 14000, 65536), ON_GPU,
            nodeSelector={CAPACITY_TYPE: "on-demand"},
        )),
        k.deployment(team, "thumbnailer", 10, pod(
            "thumbnailer", accelerated(team, "thumbnailer", nvidia, 1, 2500, 9000), ON_GPU,
            affinity=k.on_nodes([k.requirement(gpu_name, "NotIn", "a100", "h100", "h200")]),
        )),
        k.deployment(team, "embedder", 12, pod(
            "embedder", accelerated(team, "embedder", neuron, 1, 3000, 10240), on_neuron,
        )),
        k.deployment(team, "translator", 3, pod(
            "translator", accelerated(team, "translator", neuron, 6, 48000, 196608), on_neuron,
        )),
    ]
    for name, replicas, millicores, mebibytes in (
        ("decoder", 40, 1900, 3500), ("augmenter", 32, 3700, 7000), ("shuffler", 20, 1000, 15000),
        ("uploader", 16, 500, 1024), ("tokenizer", 24, 900, 1400),
    ):
        asked = {**k.requests(millicores, mebibytes), "ephemeral-storage": "6Gi"}
        found.append(simple(team, name, replicas, asked))
    return found


def batch():
    """Jobs and cron jobs of log-normal sizes, mostly on spot."""
    team, rng = "batch", random.Random(20261101)
    found = [
        k.namespace(team),
        k.node_class(team),
        k.node_pool("batch-spot", team, [AMD64, GENERAL, CURRENT, SPOT], labels={"batch/tier": "spot"}),
        k.node_pool("batch-steady", team, [AMD64, GENERAL, CURRENT, ON_DEMAND], labels={"batch/tier": "steady"}),
    ]
    words = ("etl", "rollup", "score", "export", "audit", "render", "simulate", "compact")
    for index in range(44):
        name = f"{rng.choice(words)}-{index:02}"
        millicores = min(30000, max(100, round(rng.lognormvariate(7.0, 0.9) / 50) * 50))
        mebibytes = min(120 * 1024, max(128, round(millicores * rng.lognormvariate(1.0, 0.5) / 64) * 64))
        spec = {"nodeSelector": {"batch/tier": "steady"}} if rng.random() < 0.2 else {}
        pod = k.template(team, name, [k.container(name, f"batch/{name}:1.0.0", k.requests(millicores, mebibytes))], **spec)
        pods = rng.choice((1, 2, 4, 8, 12, 20))
        if index % 4 == 3:
            found.append(k.cron_job(team, name, f"{rng.randrange(60)} {rng.randrange(24)} * * *", pods, pods, pod))
        else:
            found.append(k.job(team, name, pods, pods * rng.choice((1, 1, 3)), pod))
    return found


def web():
    """One Deployment of fifty pods."""
    team = "web"
    return [
        k.namespace(team),
        k.node_class(team),
        k.node_pool("web", team, [AMD64, GENERAL, CURRENT, EITHER, ZONES]),
        simple(team, "web", 50, k.requests(500, 1024)),
    ]


def mixed(seed=20261102, pods=1000, shapes=100):
    """A hundred shapes, a thousand pods, and any mix of rules."""
    team, rng = "mixed", random.Random(seed)
    found = [
        k.namespace(team),
        k.node_class(team),
        k.node_pool("mixed", team, [AMD64, GENERAL, CURRENT, EITHER, ZONES], labels={"mixed/pool": "general"}),
        k.node_pool("mixed-reserved", team, [AMD64, GENERAL, CURRENT, ON_DEMAND, ZONES],
                    taints=[k.taint("mixed/reserved", "true")], limits={"cpu": "400"}),
        k.daemon_set(team, "agent", k.template(
            team, "agent", [k.container("agent", "mixed/agent:1.0.0", k.requests(80, 160))],
            tolerations=[k.tolerate("mixed/reserved")],
        )),
    ]
    for index, replicas in enumerate(shares(rng, pods, shapes)):
        name = f"app-{index:02}"
        millicores = min(12000, max(50, round(rng.lognormvariate(6.3, 0.9) / 10) * 10))
        mebibytes = min(48 * 1024, max(64, round(millicores * rng.lognormvariate(0.8, 0.6) / 16) * 16))
        found.append(simple(team, name, replicas, k.requests(millicores, mebibytes), **some_rules(rng, name, replicas)))
    return found


def some_rules(rng, name, replicas):
    """No rule, one or two for an app, such that its pods can always be placed."""
    rules = {}
    draw = rng.random()
    if draw < 0.15:
        rules["topologySpreadConstraints"] = [k.spread(ZONE, name)]
    elif draw < 0.25:
        rules["topologySpreadConstraints"] = [k.spread(HOSTNAME, name, rng.choice((1, 2, 4)))]
    elif draw < 0.30:
        rules["topologySpreadConstraints"] = [k.spread(CAPACITY_TYPE, name, 1 + replicas // 4)]
    elif draw < 0.36 and replicas <= 12:
        rules["affinity"] = k.apart(HOSTNAME, name)
    elif draw < 0.40:
        rules["affinity"] = k.near(ZONE, name)
    elif draw < 0.48:
        rules["affinity"] = k.on_nodes([k.requirement(INSTANCE + "generation", "Gt", "6")])
    elif draw < 0.54:
        rules["affinity"] = k.rather_on(30, k.requirement(ZONE, "In", "us-east-1a"))
    draw = rng.random()
    if draw < 0.15 and "topologySpreadConstraints" not in rules:
        rules["nodeSelector"] = {CAPACITY_TYPE: "on-demand"}
    elif draw < 0.30:
        rules["tolerations"] = [k.tolerate("mixed/reserved", "true")]
    return rules


def shares(rng, pods, shapes):
    """So many pods dealt out to so many shapes, unevenly, at least one each."""
    weights = [rng.paretovariate(1.2) for _ in range(shapes)]
    total = sum(weights)
    counts = [1 + int((pods - shapes) * weight / total) for weight in weights]
    for index in range(pods - sum(counts)):
        counts[index % shapes] += 1
    return counts


def architectures():
    """Services for amd64, for arm64, and for whichever is cheaper."""
    team, rng = "platform", random.Random(20261103)
    found = [
        k.namespace(team),
        k.node_class(team),
        k.node_pool("platform", team, [k.requirement("kubernetes.io/arch", "In", "amd64", "arm64"), GENERAL, CURRENT, EITHER]),
    ]
    for index, replicas in enumerate(shares(rng, 400, 40)):
        millicores = rng.choice((100, 250, 500, 750, 1000, 1500, 2000, 4000))
        mebibytes = round(millicores * rng.choice((1, 2, 4, 7)) / 64 + 1) * 64
        arch = rng.choice(("amd64", "arm64", None, None))
        spec = {"nodeSelector": {"kubernetes.io/arch": arch}} if arch else {}
        found.append(simple(team, f"svc-{index:02}", replicas, k.requests(millicores, mebibytes), **spec))
    return found


def small():
    """Sixty pods in six shapes: small enough to be proven optimal at once."""
    team = "small"
    sizes = ((18, 250, 512), (14, 500, 1024), (10, 1000, 2048), (8, 700, 5000), (6, 2200, 3000), (4, 3500, 14000))
    apps = [
        simple(team, f"app-{index}", replicas, k.requests(millicores, mebibytes))
        for index, (replicas, millicores, mebibytes) in enumerate(sizes)
    ]
    pool = k.node_pool("small", team, [AMD64, GENERAL, CURRENT, EITHER, ZONES])
    return [k.namespace(team), k.node_class(team), pool, *apps]


def stateful():
    """Databases and queues whose volumes tie them to zones."""
    team, zones = "data", ("us-east-1a", "us-east-1b", "us-east-1c")
    found = [
        k.namespace(team),
        k.node_class(team),
        k.node_pool("data", team, [AMD64, GENERAL, CURRENT, ON_DEMAND, ZONES]),
        k.storage_class("data-gp3"),
        k.storage_class("data-gp3-ab", zones=zones[:2]),
    ]

    def member(name, image, millicores, mebibytes, **spec):
        return k.template(team, name, [k.container(name, image, k.requests(millicores, mebibytes))], **spec)

    for name, replicas, millicores, mebibytes in (("postgres", 3, 4000, 30000), ("kafka", 6, 3000, 12288), ("cassandra", 9, 3500, 26000)):
        for index in range(replicas):
            claim, volume = f"data-{name}-{index}", f"pv-{name}-{index}"
            found.append(k.claim(claim, "data-gp3", "500Gi", team, volume))
            found.append(k.volume(volume, "data-gp3", "500Gi", zones[index % 3], team, claim))
        pod = member(name, f"data/{name}:4.0", millicores, mebibytes, affinity=k.apart(HOSTNAME, name))
        found.append(k.stateful_set(team, name, replicas, pod, [k.claim("data", "data-gp3", "500Gi")]))
    found += [
        k.stateful_set(team, "etcd", 3, member(
            "etcd", "data/etcd:3.6", 1000, 4096, topologySpreadConstraints=[k.spread(ZONE, "etcd")]
        ), [k.claim("data", "data-gp3", "20Gi")]),
        k.stateful_set(team, "search", 8, member("search", "data/search:2.17", 2000, 15000), [k.claim("data", "data-gp3-ab", "300Gi")]),
        k.stateful_set(team, "redis", 12, member(
            "redis", "redis:7.4", 500, 6144, topologySpreadConstraints=[k.spread(ZONE, "redis", 2), k.spread(HOSTNAME, "redis", 2)]
        ), [k.claim("data", "data-gp3", "10Gi")]),
        k.disruption_budget(team, "etcd", maxUnavailable=1),
        k.disruption_budget(team, "kafka", maxUnavailable=1),
        simple(team, "proxy", 9, k.requests(400, 512), affinity=k.near(ZONE, "postgres")),
        simple(team, "backup", 1, k.requests(1500, 4096), volumes=[
            {"name": "target", "persistentVolumeClaim": {"claimName": "backup"}}
        ]),
        k.claim("backup", "data-gp3", "1000Gi", team, "pv-backup"),
        k.volume("pv-backup", "data-gp3", "1000Gi", zones[1], team, "backup"),
    ]
    return found


MADE_BY = "Made by scripts/make_workloads.py from a fixed seed; all of its pods can be placed."

BUNDLES = {
    "gpu-fleet": gpu_fleet,
    "batch": batch,
    "web-50": web,
    "mixed-1000": mixed,
    "arch-mix": architectures,
    "small-60": small,
    "stateful": stateful,
}
