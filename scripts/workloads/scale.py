"""Plain workloads of any size, to see how time grows. No node pools: the default one stands."""

import random

from . import manifests as k
from .fleets import shares
from .manifests import CAPACITY_TYPE, ZONE

SIZES = ((10_000, 500), (10_000, 2_000), (100_000, 300))


def documents(pods, shapes, ruled=0.0):
    """So many pods in so many different shapes of log-normal size, a share of them under a rule."""
    rng = random.Random(pods * 31 + shapes)
    found, seen = [], set()
    for index, replicas in enumerate(shares(rng, pods, shapes)):
        while True:
            millicores = min(16000, max(50, round(rng.lognormvariate(6.2, 0.9) / 10) * 10))
            mebibytes = min(64 * 1024, max(64, round(millicores * rng.lognormvariate(0.9, 0.6) / 8) * 8))
            if (millicores, mebibytes) not in seen:
                break
        seen.add((millicores, mebibytes))
        name, spec = f"app-{index:04}", {}
        if rng.random() < ruled:
            spec = rng.choice((
                {"nodeSelector": {CAPACITY_TYPE: "on-demand"}},
                {"topologySpreadConstraints": [k.spread(ZONE, name)]},
            ))
        main = k.container("main", "scale/app:1.0.0", k.requests(millicores, mebibytes))
        pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [main], **spec}}
        found.append(k.deployment("scale", name, replicas, pod))
    return found
