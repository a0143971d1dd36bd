"""The pods of the openb trace as Deployments, one a distinct shape."""

import csv
from collections import Counter

from . import fleets
from . import manifests as k
from .manifests import INSTANCE

COMMENT = """
The 8,152 pods of the openb trace, a production GPU cluster of Alibaba's: cpu, memory and GPUs as traced, pods of one
shape together in a Deployment. A share of a GPU (gpu_milli below 1000) counts as a whole one, since the extended
resource nvidia.com/gpu knows no shares; the share is kept as an annotation.

From openb_pod_list_default.csv (Apache-2.0), described in: Weng et al., "Beware of Fragmentation: Scheduling
GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC 2023. Changed as said above by
scripts/make_workloads.py.
"""


def documents(path):
    """All objects, from the trace's list of pods."""
    team = "openb"
    shapes = Counter()
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            shapes[tuple(int(row[key]) for key in ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli"))] += 1
    found = [
        k.namespace(team),
        k.node_class(team),
        k.node_pool("openb-cpu", team, [fleets.AMD64, fleets.GENERAL, fleets.CURRENT, fleets.ON_DEMAND]),
        k.node_pool(
            "openb-gpu", team,
            [
                fleets.AMD64, fleets.ON_DEMAND,
                k.requirement(INSTANCE + "category", "In", "g", "p"),
                k.requirement(INSTANCE + "gpu-manufacturer", "In", "nvidia"),
                k.requirement(INSTANCE + "generation", "Gt", "3"),
            ],
            taints=[fleets.GPU_TAINT],
        ),
    ]
    for (millicores, mebibytes, gpus, share), replicas in sorted(shapes.items(), key=lambda item: (-item[1], item[0])):
        kind = f"gpu{gpus}" if gpus else "cpu"
        name = f"{kind}-{millicores}m-{mebibytes}mi" + (f"-{share}" if 0 < share < 1000 else "")
        asked = k.requests(millicores, mebibytes)
        limits, tolerations = None, ()
        if gpus:
            limits, tolerations = {"nvidia.com/gpu": str(gpus)}, fleets.ON_GPU
            asked["nvidia.com/gpu"] = str(gpus)
        pod = k.template(team, name, [k.container("main", "openb/pod:2023", asked, limits)], tolerations=tolerations)
        if 0 < share < 1000:
            pod["metadata"]["annotations"] = {"openb/gpu-milli": str(share)}
        found.append(k.deployment(team, name, replicas, pod))
    return found
