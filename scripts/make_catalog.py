#!/usr/bin/env python3
"""Makes the bundled catalogue of one region (contract 1.4, gzip) from public facts.

    python3 -m venv venv && venv/bin/pip install --no-deps moto==5.2.5
    venv/bin/python scripts/make_catalog.py --on-demand on-demand-us-east-1.csv --spot-advisor spot-advisor.csv \\
        --reference allocatable-us-east-1.csv --as-of 2026-07-20 --output fixtures/catalog/us-east-1.json.gz

Sources:
- instance types and the zones that offer them: the answers of DescribeInstanceTypes and DescribeInstanceTypeOfferings
  in the package moto (Apache-2.0);
- on-demand prices: a CSV `instance_type,usd_per_hour`;
- spot: a CSV `region,instance_type,savings_percent,interruption_band` of AWS's Spot Advisor. A spot price is estimated as
  on-demand x (1 - savings), the same in every zone; a type that the advisor doesn't know gets no spot offering;
- `--reference`: a CSV with the columns `instance_type,allocatable_pods` of Karpenter's instance type reference. Its pod
  count wins where EC2's answer leads to another one (each is told on standard error).

Labels follow https://karpenter.sh/docs/reference/instance-types/. Types without an on-demand price are left out and
counted on standard error. The same input makes the same bytes.
"""

import argparse
import csv
import gzip
import importlib.util
import io
import json
import pathlib
import re
import sys

GROUP = "karpenter.k8s.aws/instance-"
ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
GPU_RESOURCES = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu", "Habana": "habana.ai/gaudi"}
TYPE_NAME = re.compile(r"^([a-z]+)(-[0-9]+tb)?([0-9]+).*\.")


def resources_of_moto():
    found = importlib.util.find_spec("moto")
    if found is None or not found.submodule_search_locations:
        sys.exit("make_catalog: the package moto is not installed (pip install --no-deps moto)")
    return pathlib.Path(found.submodule_search_locations[0]) / "ec2" / "resources"


def read_json(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def kebab(text):
    return text.replace(" ", "-").lower()


def max_pods(info):
    """ENIs of the default network card x (addresses of an ENI - 1) + 2, as the VPC CNI hands addresses out."""
    network = info["NetworkInfo"]
    interfaces = network["NetworkCards"][network["DefaultNetworkCardIndex"]]["MaximumNetworkInterfaces"]
    return interfaces * (network["Ipv4AddressesPerInterface"] - 1) + 2


def network_bandwidth(info):
    """Megabits a second: the stated bandwidth where it is constant, the baseline where it is "up to"."""
    network = info["NetworkInfo"]
    text = network["NetworkPerformance"]
    constant = re.fullmatch(r"(?:(\d+)x )?([\d.]+) Gigabit", text)
    if constant:
        return round(float(constant[2]) * 1000) * int(constant[1] or 1)
    if re.fullmatch(r"Up to [\d.]+ Gigabit", text):
        baseline = network["NetworkCards"][network["DefaultNetworkCardIndex"]].get("BaselineBandwidthInGbps")
        return round(baseline * 1000) if baseline else None
    return None


def extended_resources(info):
    counts = {}

    def add(resource, count):
        if count:
            counts[resource] = counts.get(resource, 0) + count

    for gpu in info.get("GpuInfo", {}).get("Gpus", []):
        resource = GPU_RESOURCES.get(gpu["Manufacturer"])
        if resource:
            add(resource, gpu["Count"])
    for device in info.get("NeuronInfo", {}).get("NeuronDevices", []):
        add("aws.amazon.com/neuron", device["Count"])
        add("aws.amazon.com/neuroncore", device["Count"] * device["CoreInfo"]["Count"])
    add("vpc.amazonaws.com/efa", info["NetworkInfo"].get("EfaInfo", {}).get("MaximumEfaInterfaces", 0))
    return dict(sorted(counts.items()))


def labels(name, arch, info, region):
    family, size = name.split(".", 1)
    found = {
        "kubernetes.io/arch": arch,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": name,
        "topology.kubernetes.io/region": region,
        GROUP + "family": family,
        GROUP + "size": size,
        GROUP + "cpu": info["VCpuInfo"]["DefaultVCpus"],
        GROUP + "cpu-manufacturer": kebab(info["ProcessorInfo"]["Manufacturer"]),
        GROUP + "memory": info["MemoryInfo"]["SizeInMiB"],
        GROUP + "encryption-in-transit-supported": str(info["NetworkInfo"]["EncryptionInTransitSupported"]).lower(),
        GROUP + "capability-flex": str("-flex" in family).lower(),
        GROUP + "tenancy": "default",
        GROUP + "network-bandwidth": network_bandwidth(info),
        GROUP + "hypervisor": info.get("Hypervisor"),
    }
    parts = TYPE_NAME.match(name)
    if parts:
        found[GROUP + "category"] = parts[1]
        found[GROUP + "generation"] = parts[3]
    clock = info["ProcessorInfo"].get("SustainedClockSpeedInGhz", 0)
    found[GROUP + "cpu-sustained-clock-speed-mhz"] = int(clock * 1000 + 0.5)
    disks = info.get("InstanceStorageInfo")
    if disks and disks["NvmeSupport"] != "unsupported":
        found[GROUP + "local-nvme"] = disks["TotalSizeInGB"]
    block = info["EbsInfo"]
    if block["EbsOptimizedSupport"] == "default" and "EbsOptimizedInfo" in block:
        found[GROUP + "ebs-bandwidth"] = block["EbsOptimizedInfo"]["MaximumBandwidthInMbps"]
    gpus = info.get("GpuInfo", {}).get("Gpus", [])
    if len(gpus) == 1:
        found[GROUP + "gpu-name"] = kebab(gpus[0]["Name"])
        found[GROUP + "gpu-manufacturer"] = kebab(gpus[0]["Manufacturer"])
        found[GROUP + "gpu-count"] = gpus[0]["Count"]
        found[GROUP + "gpu-memory"] = gpus[0]["MemoryInfo"]["SizeInMiB"]
    neurons = info.get("NeuronInfo", {}).get("NeuronDevices", [])
    inference = info.get("InferenceAcceleratorInfo", {}).get("Accelerators", [])
    if len(neurons) == 1:
        accelerator = {"Name": neurons[0]["Name"], "Manufacturer": "aws", "Count": neurons[0]["Count"]}
    elif len(inference) == 1 and not neurons:
        accelerator = inference[0]
    else:
        accelerator = None
    if accelerator:
        found[GROUP + "accelerator-name"] = kebab(accelerator["Name"])
        found[GROUP + "accelerator-manufacturer"] = kebab(accelerator["Manufacturer"])
        found[GROUP + "accelerator-count"] = accelerator["Count"]
    return {key: str(value) for key, value in sorted(found.items()) if value is not None}


def main():
    parser = argparse.ArgumentParser(description="Make the bundled catalogue of one region.")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--on-demand", required=True, help="CSV instance_type,usd_per_hour")
    parser.add_argument("--spot-advisor", required=True, help="CSV region,instance_type,savings_percent,interruption_band")
    parser.add_argument("--reference", help="CSV with instance_type,allocatable_pods: the pod counts that win")
    parser.add_argument("--as-of", required=True, help="date of the on-demand prices, YYYY-MM-DD")
    parser.add_argument("--output", required=True, help="a file .json.gz")
    arguments = parser.parse_args()

    resources = resources_of_moto()
    types = read_json(resources / "instance_types.json.gz")
    zones_of = {}
    path = resources / "instance_type_offerings" / "availability-zone" / f"{arguments.region}.json.gz"
    for offering in read_json(path):
        zones_of.setdefault(offering["InstanceType"], set()).add(offering["Location"])
    on_demand = {row["instance_type"]: float(row["usd_per_hour"]) for row in read_csv(arguments.on_demand)}
    advice = {
        row["instance_type"]: (int(row["savings_percent"]), int(row["interruption_band"]))
        for row in read_csv(arguments.spot_advisor)
        if row["region"] == arguments.region
    }
    reference = {}
    if arguments.reference:
        reference = {row["instance_type"]: int(row["allocatable_pods"]) for row in read_csv(arguments.reference)}

    made, no_price, no_facts, no_advice = [], [], [], []
    for name in sorted(zones_of):
        info = types.get(name)
        arch = info and next((ARCHITECTURES[a] for a in info["ProcessorInfo"]["SupportedArchitectures"] if a in ARCHITECTURES), None)
        if not info or not arch:
            no_facts.append(name)
            continue
        if name not in on_demand:
            no_price.append(name)
            continue
        usage = info["SupportedUsageClasses"]
        price = on_demand[name]
        spot = None
        if "spot" in usage:
            if name in advice:
                spot = advice[name]
            else:
                no_advice.append(name)
        offerings = []
        for zone in sorted(zones_of[name]):
            if "on-demand" in usage:
                offerings.append({"zone": zone, "capacityType": "on-demand", "price": price, "estimated": False, "interruption": None})
            if spot:
                estimate = round(price * (100 - spot[0]) / 100, 6)
                offerings.append({"zone": zone, "capacityType": "spot", "price": estimate, "estimated": True, "interruption": spot[1]})
        pods = max_pods(info)
        if reference.get(name, pods) != pods:
            print(f"{name}: {pods} pods by EC2's answer, {reference[name]} by the reference, which is taken", file=sys.stderr)
            pods = reference[name]
        made.append({
            "name": name,
            "arch": arch,
            "vcpu": info["VCpuInfo"]["DefaultVCpus"],
            "memoryMiB": info["MemoryInfo"]["SizeInMiB"],
            "maxPods": pods,
            # EC2 counts the root volume in; the first network interface, local disks and GPUs are taken off already.
            "maxVolumeAttachments": max(info["EbsInfo"]["MaximumEbsAttachments"] - 1, 0),
            "gpus": extended_resources(info),
            "labels": labels(name, arch, info, arguments.region),
            "offerings": offerings,
        })
    catalog = {
        "region": arguments.region,
        "asOf": arguments.as_of,
        "zones": sorted({zone for zones in zones_of.values() for zone in zones}),
        "instanceTypes": made,
    }
    text = json.dumps(catalog, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as file:
        file.write(text)
    pathlib.Path(arguments.output).write_bytes(packed.getvalue())

    count = sum(len(t["offerings"]) for t in made)
    print(f"{len(made)} instance types, {count} offerings, {len(packed.getvalue())} bytes in {arguments.output}", file=sys.stderr)
    print(f"left out, no on-demand price: {len(no_price)} ({', '.join(no_price)})", file=sys.stderr)
    print(f"left out, no instance type facts for amd64 or arm64: {len(no_facts)} ({', '.join(no_facts)})", file=sys.stderr)
    unsold = sorted(set(on_demand) - set(zones_of))
    print(f"priced, but offered in no zone: {len(unsold)} ({', '.join(unsold)})", file=sys.stderr)
    print(f"without spot, unknown to the advisor: {len(no_advice)}", file=sys.stderr)


if __name__ == "__main__":
    main()
