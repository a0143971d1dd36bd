"""Other draws of the mixed and the shop workload: to see how the solver does on what it was not tried on before."""

import random
import re

from . import fleets, shop

# Pods and shapes of the mixed workloads, in turn; each has its own seed.
MIXED = ((600, 20), (1000, 20), (400, 50), (600, 50), (1000, 50), (400, 100), (600, 100), (1000, 100))
SHOPS = 6


def all_of_them():
    """Name and documents of every variant."""
    for seed, (pods, shapes) in enumerate(MIXED, start=1):
        yield f"mixed-{seed}-{pods}-{shapes}", fleets.mixed(seed, pods, shapes)
    for seed in range(1, SHOPS + 1):
        yield f"shop-{seed}", resized(shop.documents(), random.Random(seed))


def resized(documents, rng):
    """The same services with other replicas and requests, by 0.7 to 1.4 each."""
    for document in documents:
        if document["kind"] != "Deployment":
            continue
        spec = document["spec"]
        spec["replicas"] = max(1, round(spec["replicas"] * rng.uniform(0.7, 1.4)))
        factors = {"cpu": rng.uniform(0.7, 1.4), "memory": rng.uniform(0.7, 1.4)}
        for container in spec["template"]["spec"]["containers"]:
            resources = container.get("resources", {})
            if "limits" in resources:
                continue
            for resource, factor in factors.items():
                if resource in resources.get("requests", {}):
                    resources["requests"][resource] = scaled(resources["requests"][resource], factor)
    return documents


def scaled(quantity, factor):
    """A quantity of cores (rounded to 10m) or bytes (to 16Mi) times a factor."""
    number, unit = re.fullmatch(r"(\d+)(m|Mi|Gi|)", quantity).groups()
    if unit in ("m", ""):
        millicores = int(number) * (1 if unit == "m" else 1000)
        return f"{max(50, round(millicores * factor / 10) * 10)}m"
    mebibytes = int(number) * (1 if unit == "Mi" else 1024)
    return f"{max(64, round(mebibytes * factor / 16) * 16)}Mi"
