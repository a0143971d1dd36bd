"""Builders of Kubernetes objects, one function a kind.

All teams can be planned as one input: each has a namespace and node pools of its own, whose nodes are labelled and
tainted `team=<team>`, so that a team's pods cost the same alone and beside the others.
"""

TEAM_LABEL = "team"
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
CAPACITY_TYPE = "karpenter.sh/capacity-type"
INSTANCE = "karpenter.k8s.aws/instance-"


def metadata(name, namespace=None, labels=None):
    """Object metadata without what is empty."""
    return without_empty({"name": name, "namespace": namespace, "labels": labels})


def without_empty(mapping):
    """The mapping without keys whose value is None or an empty container."""
    return {key: value for key, value in mapping.items() if value is not None and value != {} and value != []}


def thing(api_version, kind, meta, **fields):
    """An object of any kind."""
    return without_empty({"apiVersion": api_version, "kind": kind, "metadata": meta, **fields})


def namespace(name):
    """A Namespace."""
    return thing("v1", "Namespace", metadata(name, labels={TEAM_LABEL: name}))


def requirement(key, operator, *values, min_values=None):
    """A requirement of a NodePool, or a match expression of a node affinity term."""
    return without_empty({"key": key, "operator": operator, "values": list(values), "minValues": min_values})


def node_pool(name, team, requirements, taints=(), startup_taints=(), weight=None, limits=None, labels=None):
    """A NodePool whose nodes are for one team's pods."""
    spec = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": team},
        "taints": [taint(TEAM_LABEL, team), *taints],
        "startupTaints": list(startup_taints),
        "requirements": [requirement("kubernetes.io/os", "In", "linux"), *requirements],
        "expireAfter": "720h",
    }
    template = {"metadata": {"labels": {TEAM_LABEL: team, **(labels or {})}}, "spec": without_empty(spec)}
    disruption = {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "1m"}
    pool_spec = {"template": template, "disruption": disruption, "limits": limits, "weight": weight}
    return thing("karpenter.sh/v1", "NodePool", metadata(name), spec=without_empty(pool_spec))


def node_class(name, volume_gib=None):
    """An EC2NodeClass, with a root volume of some size."""
    spec = {
        "role": f"node-{name}",
        "amiSelectorTerms": [{"alias": "al2023@latest"}],
        "subnetSelectorTerms": [{"tags": {"network": "nodes"}}],
        "securityGroupSelectorTerms": [{"tags": {"network": "nodes"}}],
    }
    if volume_gib:
        ebs = {"volumeSize": f"{volume_gib}Gi", "volumeType": "gp3", "encrypted": True}
        spec["blockDeviceMappings"] = [{"deviceName": "/dev/xvda", "rootVolume": True, "ebs": ebs}]
    return thing("karpenter.k8s.aws/v1", "EC2NodeClass", metadata(name), spec=spec)


def taint(key, value=None, effect="NoSchedule"):
    """A taint."""
    return without_empty({"key": key, "value": value, "effect": effect})


def tolerate(key, value=None, effect="NoSchedule"):
    """A toleration of a taint: of one value, or of all."""
    operator = "Equal" if value else "Exists"
    return without_empty({"key": key, "operator": operator, "value": value, "effect": effect})


def container(name, image, requests=None, limits=None, **fields):
    """A container."""
    resources = without_empty({"requests": requests, "limits": limits})
    return without_empty({"name": name, "image": image, "resources": resources, **fields})


def requests(millicores, mebibytes):
    """Requests for cpu and memory."""
    return {"cpu": cpu(millicores), "memory": memory(mebibytes)}


def cpu(millicores):
    """A quantity of cpu, as people write it."""
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def memory(mebibytes):
    """A quantity of memory, as people write it."""
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"


def template(team, name, containers, labels=None, tolerations=(), **spec):
    """A pod template: labelled with its app's name and tolerating its team's taint."""
    pod_spec = {"containers": containers, "tolerations": [tolerate(TEAM_LABEL, team), *tolerations], **spec}
    return {"metadata": {"labels": {"app": name, **(labels or {})}}, "spec": without_empty(pod_spec)}


def deployment(team, name, replicas, pod):
    """A Deployment."""
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod}
    return thing("apps/v1", "Deployment", metadata(name, team, {"app": name}), spec=spec)


def stateful_set(team, name, replicas, pod, claims=()):
    """A StatefulSet, with templates of the claims of each replica."""
    spec = {
        "replicas": replicas,
        "serviceName": name,
        "selector": {"matchLabels": {"app": name}},
        "template": pod,
        "volumeClaimTemplates": list(claims),
    }
    return thing("apps/v1", "StatefulSet", metadata(name, team, {"app": name}), spec=without_empty(spec))


def daemon_set(team, name, pod):
    """A DaemonSet."""
    spec = {"selector": {"matchLabels": {"app": name}}, "template": pod}
    return thing("apps/v1", "DaemonSet", metadata(name, team, {"app": name}), spec=spec)


def job_spec(parallelism, completions, pod):
    """The spec of a Job."""
    pod = {**pod, "spec": {**pod["spec"], "restartPolicy": "Never"}}
    return {"parallelism": parallelism, "completions": completions, "backoffLimit": 4, "template": pod}


def job(team, name, parallelism, completions, pod):
    """A Job."""
    meta = metadata(name, team, {"app": name})
    return thing("batch/v1", "Job", meta, spec=job_spec(parallelism, completions, pod))


def cron_job(team, name, schedule, parallelism, completions, pod):
    """A CronJob."""
    jobs = {"spec": job_spec(parallelism, completions, pod)}
    spec = {"schedule": schedule, "concurrencyPolicy": "Forbid", "jobTemplate": jobs}
    return thing("batch/v1", "CronJob", metadata(name, team, {"app": name}), spec=spec)


def claim(name, storage_class, size, team=None, volume=None):
    """A PersistentVolumeClaim, or the template of one; bound where it names its volume."""
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": size}},
        "volumeName": volume,
    }
    status = {"phase": "Bound"} if volume else None
    meta = metadata(name, team)
    return thing("v1", "PersistentVolumeClaim", meta, spec=without_empty(spec), status=status)


def volume(name, storage_class, size, zone, team, claim_name):
    """A PersistentVolume on EBS: reachable from one zone."""
    terms = [{"matchExpressions": [requirement(ZONE, "In", zone)]}]
    spec = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": team, "name": claim_name},
        "csi": {"driver": "ebs.csi.aws.com", "fsType": "ext4", "volumeHandle": f"vol-{name}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
    }
    return thing("v1", "PersistentVolume", metadata(name), spec=spec, status={"phase": "Bound"})


def storage_class(name, zones=(), binding="WaitForFirstConsumer"):
    """A StorageClass on EBS, perhaps of some zones only."""
    topologies = [{"matchLabelExpressions": [{"key": ZONE, "values": list(zones)}]}] if zones else None
    return thing(
        "storage.k8s.io/v1",
        "StorageClass",
        metadata(name),
        provisioner="ebs.csi.aws.com",
        parameters={"type": "gp3"},
        volumeBindingMode=binding,
        allowedTopologies=topologies,
    )


def priority_class(name, value):
    """A PriorityClass."""
    return thing("scheduling.k8s.io/v1", "PriorityClass", metadata(name), value=value)


def disruption_budget(team, name, **spec):
    """A PodDisruptionBudget over an app's pods."""
    spec = {**spec, "selector": {"matchLabels": {"app": name}}}
    return thing("policy/v1", "PodDisruptionBudget", metadata(name, team), spec=spec)


def spread(key, name, max_skew=1, when="DoNotSchedule", **fields):
    """A topology spread constraint over an app's pods."""
    selector = {"matchLabels": {"app": name}}
    return {"maxSkew": max_skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector, **fields}


def pod_term(key, *apps):
    """A pod affinity term towards the pods of some apps of the same namespace."""
    return {"labelSelector": {"matchExpressions": [requirement("app", "In", *apps)]}, "topologyKey": key}


def near(key, *apps):
    """A required pod affinity."""
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [pod_term(key, *apps)]}}


def apart(key, *apps):
    """A required pod anti-affinity."""
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [pod_term(key, *apps)]}}


def on_nodes(*terms):
    """A required node affinity: one of the terms, each a list of requirements."""
    found = [{"matchExpressions": list(term)} for term in terms]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": found}}}


def rather_on(weight, *expressions):
    """A preferred node affinity."""
    preference = {"weight": weight, "preference": {"matchExpressions": list(expressions)}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
