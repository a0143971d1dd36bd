#!/usr/bin/env python3
"""Makes the bundled workloads (fixtures/workloads), always the same bytes, with nothing but Python's standard library.

openb.yaml is made where --openb gives openb_pod_list_default.csv of Alibaba's cluster-trace-gpu-v2023. --scale DIR
writes the workloads of 10,000 and 100,000 pods instead, which are too large to be worth keeping, and --variants DIR
other draws of mixed and shop, which nothing was tuned on.
"""

import argparse
import json
import pathlib

from workloads import fleets, openb, scale, shop, variants, yaml


def main():
    """Reads the arguments and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("fixtures/workloads"), help="folder to write to")
    parser.add_argument("--openb", type=pathlib.Path, help="the trace's openb_pod_list_default.csv")
    parser.add_argument("--scale", type=pathlib.Path, help="write the large workloads to this folder, and nothing else")
    parser.add_argument("--variants", type=pathlib.Path, help="write other draws of mixed and shop, and nothing else")
    arguments = parser.parse_args()
    if arguments.scale:
        for pods, shapes in scale.SIZES:
            write_json(arguments.scale / f"pods-{pods}-shapes-{shapes}.json", scale.documents(pods, shapes))
        write_json(arguments.scale / "pods-10000-shapes-500-ruled.json", scale.documents(10_000, 500, ruled=0.3))
        return
    if arguments.variants:
        for name, documents in variants.all_of_them():
            write(arguments.variants / f"{name}.yaml", yaml.stream(documents, variants.__doc__))
        return
    write(arguments.out / "shop.yaml", yaml.stream(shop.documents(), shop.COMMENT))
    for name, make in fleets.BUNDLES.items():
        write(arguments.out / f"{name}.yaml", yaml.stream(make(), f"{make.__doc__}\n{fleets.MADE_BY}"))
    if arguments.openb:
        write(arguments.out / "openb.yaml", yaml.stream(openb.documents(arguments.openb), openb.COMMENT))


def write_json(path, documents):
    """Writes objects as one `kind: List`."""
    listing = {"apiVersion": "v1", "kind": "List", "items": documents}
    write(path, json.dumps(listing, separators=(",", ":")) + "\n")


def write(path, text):
    """Writes a file, and its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{path}  {len(text):,} bytes")


if __name__ == "__main__":
    main()
