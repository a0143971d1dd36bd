//! What older Karpenters called it: Provisioner and AWSNodeTemplate (`v1alpha5`, `v1alpha1`) and the `v1beta1` NodePool
//! become the NodePool and EC2NodeClass of `v1`.
//!
//! Field by field after <https://karpenter.sh/v1.0/upgrading/v1beta1-migration/> and
//! <https://karpenter.sh/v1.0/upgrading/v1-migration/>. What a Provisioner left out its webhook filled in (Linux,
//! amd64, on-demand, categories c, m and r above generation 2), so the same is written out here.

use serde_json::{Map, Value, json};

use super::validate::{Fault, Path};

const PROVIDER_GROUP: &str = "karpenter.k8s.aws";

/// An object in today's form.
#[derive(Debug)]
pub(crate) struct Converted {
    /// The object.
    pub object: Value,
    /// Settings of the kubelet that now belong to the class of this name.
    pub kubelet: Option<(String, Value)>,
    /// What has no successor, one sentence each.
    pub lost: Vec<String>,
}

/// Whether this is a NodePool in the form of `v1beta1`.
pub(crate) fn is_beta(pool: &Map<String, Value>) -> bool {
    pool.get("apiVersion").and_then(Value::as_str) == Some("karpenter.sh/v1beta1")
}

/// The kind of an object that [`convert`] takes, `None` for all others.
pub(crate) fn kind(object: &Value) -> Option<&'static str> {
    let map = object.as_object()?;
    let group = map.get("apiVersion")?.as_str()?.split('/').next()?;
    match (map.get("kind")?.as_str()?, group) {
        ("Provisioner", "karpenter.sh") => Some("Provisioner"),
        ("AWSNodeTemplate", PROVIDER_GROUP) => Some("AWSNodeTemplate"),
        ("NodePool", _) if is_beta(map) => Some("NodePool"),
        _ => None,
    }
}

/// Converts an object of `kind` (Provisioner, AWSNodeTemplate, or NodePool of `v1beta1`).
pub(crate) fn convert(kind: &str, object: Value) -> Result<Converted, Fault> {
    let Value::Object(mut source) = object else { return Err(Path::ROOT.fault("is not a map")) };
    let metadata = kept_metadata(&mut source);
    let spec = match source.shift_remove("spec") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(spec)) => spec,
        Some(_) => return Err(Path::ROOT.key("spec").fault("is not a map")),
    };
    match kind {
        "Provisioner" => provisioner(metadata, spec),
        "AWSNodeTemplate" => node_template(metadata, spec),
        _ => beta_pool(metadata, spec),
    }
}

/// Name, labels and annotations; what the API server wrote stays behind.
fn kept_metadata(source: &mut Map<String, Value>) -> Value {
    let Some(Value::Object(metadata)) = source.shift_remove("metadata") else { return Value::Null };
    let mut kept: Map<String, Value> =
        metadata.into_iter().filter(|(key, _)| ["name", "labels", "annotations"].contains(&key.as_str())).collect();
    if let Some(Value::Object(annotations)) = kept.get_mut("annotations") {
        annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            kept.shift_remove("annotations");
        }
    }
    Value::Object(kept)
}

fn provisioner(metadata: Value, mut spec: Map<String, Value>) -> Result<Converted, Fault> {
    let path = Path::ROOT.key("spec");
    let mut lost = Vec::new();
    let mut template_metadata = Map::new();
    for field in ["labels", "annotations"] {
        if let Some(value) = spec.shift_remove(field) {
            template_metadata.insert(field.into(), value);
        }
    }
    let mut requirements = take_list(&mut spec, "requirements", &path)?;
    rename_keys(&mut requirements);
    add_defaults(&mut requirements, &template_metadata);
    let class = match spec.shift_remove("providerRef") {
        None | Some(Value::Null) => {
            lost.push("spec.providerRef is missing: the EC2NodeClass is taken to be called default".into());
            "default".to_string()
        }
        Some(Value::Object(reference)) => match reference.get("name") {
            Some(Value::String(name)) => name.clone(),
            _ => return Err(path.key("providerRef").key("name").fault("is missing")),
        },
        Some(_) => return Err(path.key("providerRef").fault("is not a map")),
    };
    let mut template_spec = Map::new();
    template_spec.insert("requirements".into(), Value::Array(requirements));
    for field in ["taints", "startupTaints"] {
        if let Some(value) = spec.shift_remove(field).filter(|value| !value.is_null()) {
            template_spec.insert(field.into(), value);
        }
    }
    template_spec.insert("nodeClassRef".into(), class_reference(&class));
    let expire = seconds(&mut spec, "ttlSecondsUntilExpired", &path)?;
    template_spec.insert("expireAfter".into(), json!(expire.unwrap_or_else(|| "Never".into())));

    let consolidates = match spec.shift_remove("consolidation") {
        Some(Value::Object(consolidation)) => consolidation.get("enabled") == Some(&Value::Bool(true)),
        None | Some(Value::Null) => false,
        Some(_) => return Err(path.key("consolidation").fault("is not a map")),
    };
    let empty = seconds(&mut spec, "ttlSecondsAfterEmpty", &path)?;
    if consolidates && empty.is_some() {
        return Err(path.key("ttlSecondsAfterEmpty").fault("and consolidation.enabled exclude each other"));
    }
    let disruption = match (consolidates, empty) {
        (true, _) => json!({"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "0s"}),
        (false, Some(after)) => json!({"consolidationPolicy": "WhenEmpty", "consolidateAfter": after}),
        (false, None) => json!({"consolidationPolicy": "WhenEmpty", "consolidateAfter": "Never"}),
    };
    let mut template = Map::new();
    if !template_metadata.is_empty() {
        template.insert("metadata".into(), Value::Object(template_metadata));
    }
    template.insert("spec".into(), Value::Object(template_spec));
    let mut pool = json!({"template": template, "disruption": disruption});
    match spec.shift_remove("limits") {
        Some(Value::Object(mut limits)) => {
            if let Some(resources) = limits.shift_remove("resources").filter(|value| !value.is_null()) {
                pool["limits"] = resources;
            }
            left_over(limits, "spec.limits.", &mut lost);
        }
        None | Some(Value::Null) => {}
        Some(_) => return Err(path.key("limits").fault("is not a map")),
    }
    if let Some(weight) = spec.shift_remove("weight").filter(|weight| !weight.is_null() && *weight != json!(0)) {
        pool["weight"] = weight;
    }
    let kubelet = take_kubelet(&mut spec, "kubeletConfiguration", &path, &mut lost)?;
    if spec.shift_remove("provider").is_some_and(|provider| !provider.is_null()) {
        lost.push("spec.provider has no successor: what it says belongs into an EC2NodeClass".into());
    }
    left_over(spec, "spec.", &mut lost);
    let object = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": metadata, "spec": pool});
    Ok(Converted { object, kubelet: kubelet.map(|kubelet| (class, kubelet)), lost })
}

fn class_reference(name: &str) -> Value {
    json!({"group": PROVIDER_GROUP, "kind": "EC2NodeClass", "name": name})
}

/// The label that nodes carried their Provisioner's name in has a new key.
fn rename_keys(requirements: &mut [Value]) {
    for requirement in requirements {
        if requirement.get("key") == Some(&json!("karpenter.sh/provisioner-name")) {
            requirement["key"] = json!("karpenter.sh/nodepool");
        }
    }
}

/// What the webhook of `v1alpha5` filled in.
fn add_defaults(requirements: &mut Vec<Value>, metadata: &Map<String, Value>) {
    let labelled = |key: &str| metadata.get("labels").and_then(|labels| labels.get(key)).is_some();
    let has = |requirements: &[Value], key: &str| {
        labelled(key) || requirements.iter().any(|requirement| requirement.get("key") == Some(&json!(key)))
    };
    for (key, value) in
        [("kubernetes.io/os", "linux"), ("kubernetes.io/arch", "amd64"), ("karpenter.sh/capacity-type", "on-demand")]
    {
        if !has(requirements, key) {
            requirements.push(json!({"key": key, "operator": "In", "values": [value]}));
        }
    }
    let chosen = [
        "node.kubernetes.io/instance-type",
        "karpenter.k8s.aws/instance-family",
        "karpenter.k8s.aws/instance-category",
        "karpenter.k8s.aws/instance-generation",
    ];
    if !chosen.iter().any(|key| has(requirements, key)) {
        requirements.push(json!(
            {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c", "m", "r"]}));
        requirements.push(json!(
            {"key": "karpenter.k8s.aws/instance-generation", "operator": "Gt", "values": ["2"]}));
    }
}

fn take_list(spec: &mut Map<String, Value>, field: &str, path: &Path<'_>) -> Result<Vec<Value>, Fault> {
    match spec.shift_remove(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(path.key(field).fault("is not a list")),
    }
}

fn seconds(spec: &mut Map<String, Value>, field: &str, path: &Path<'_>) -> Result<Option<String>, Fault> {
    match spec.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) => Ok(Some(format!("{seconds}s"))),
            None => Err(path.key(field).fault(format!("{value} is not a number of seconds"))),
        },
    }
}

fn take_kubelet(
    spec: &mut Map<String, Value>,
    field: &str,
    path: &Path<'_>,
    lost: &mut Vec<String>,
) -> Result<Option<Value>, Fault> {
    match spec.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(mut kubelet)) => {
            if kubelet.shift_remove("containerRuntime").is_some() {
                lost.push(format!("spec.{field}.containerRuntime has no successor: containerd is the only one"));
            }
            Ok((!kubelet.is_empty()).then_some(Value::Object(kubelet)))
        }
        Some(_) => Err(path.key(field).fault("is not a map")),
    }
}

fn left_over(fields: Map<String, Value>, prefix: &str, lost: &mut Vec<String>) {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    lost.extend(fields.map(|(field, _)| format!("{prefix}{field} has no successor and is left out")));
}

fn node_template(metadata: Value, mut spec: Map<String, Value>) -> Result<Converted, Fault> {
    let path = Path::ROOT.key("spec");
    let mut lost = Vec::new();
    let mut class = Map::new();
    let family = spec.shift_remove("amiFamily").and_then(|family| family.as_str().map(str::to_string));
    let images = selector_terms(&mut spec, "amiSelector", &path)?;
    if images.is_empty() {
        let family = family.as_deref().unwrap_or("AL2");
        match family {
            "AL2" | "AL2023" | "Bottlerocket" | "Windows2019" | "Windows2022" => {
                let alias = format!("{}@latest", family.to_lowercase());
                class.insert("amiSelectorTerms".into(), json!([{"alias": alias}]));
            }
            other => {
                lost.push(format!("amiFamily {other} has no alias: amiSelectorTerms must be written by hand"));
                class.insert("amiFamily".into(), json!(other));
            }
        }
    } else {
        class.insert("amiFamily".into(), json!(family.as_deref().unwrap_or("AL2")));
        class.insert("amiSelectorTerms".into(), Value::Array(images));
    }
    for (old, new) in
        [("subnetSelector", "subnetSelectorTerms"), ("securityGroupSelector", "securityGroupSelectorTerms")]
    {
        let terms = selector_terms(&mut spec, old, &path)?;
        if terms.is_empty() {
            lost.push(format!("spec.{old} is missing: {new} must be written by hand"));
        } else {
            class.insert(new.into(), Value::Array(terms));
        }
    }
    match spec.shift_remove("instanceProfile").filter(|profile| !profile.is_null()) {
        Some(profile) => {
            class.insert("instanceProfile".into(), profile);
        }
        None => {
            lost.push("spec.role has no predecessor: put the nodes' IAM role for $KARPENTER_NODE_ROLE".into());
            class.insert("role".into(), json!("$KARPENTER_NODE_ROLE"));
        }
    }
    for field in ["userData", "tags", "metadataOptions", "blockDeviceMappings", "detailedMonitoring", "context"] {
        if let Some(value) = spec.shift_remove(field).filter(|value| !value.is_null()) {
            class.insert(field.into(), value);
        }
    }
    let template = ["launchTemplate", "launchTemplateName"].map(|field| spec.shift_remove(field));
    if template.iter().flatten().any(|value| !value.is_null()) {
        lost.push("spec.launchTemplate has no successor: write what the template says into the EC2NodeClass".into());
    }
    left_over(spec, "spec.", &mut lost);
    let object =
        json!({"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": metadata, "spec": class});
    Ok(Converted { object, kubelet: None, lost })
}

/// A selector of old was one map, all of whose entries had to hold; `aws::ids` and the like were keys of it, and commas
/// parted alternatives. Now each alternative is a term of its own.
fn selector_terms(spec: &mut Map<String, Value>, field: &str, path: &Path<'_>) -> Result<Vec<Value>, Fault> {
    let entries = match spec.shift_remove(field) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(path.key(field).fault("is not a map")),
    };
    let mut terms = vec![Map::new()];
    for (key, value) in entries {
        let Value::String(value) = value else { return Err(path.key(field).key(&key).fault("is not text")) };
        let plain = match key.as_str() {
            "aws-ids" | "aws::ids" => Some("id"),
            "aws::name" => Some("name"),
            "aws::owners" => Some("owner"),
            _ => None,
        };
        let alternatives: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let combined = terms.len().saturating_mul(alternatives.len().max(1));
        if combined > 100 {
            return Err(path.key(field).fault("stands for more than 100 terms"));
        }
        let mut next = Vec::with_capacity(combined);
        for term in &terms {
            for alternative in &alternatives {
                let mut term: Map<String, Value> = term.clone();
                match plain {
                    Some(plain) => {
                        term.insert(plain.into(), json!(alternative));
                    }
                    None => {
                        let tags = term.entry("tags").or_insert_with(|| Value::Object(Map::new()));
                        tags[&key] = json!(alternative);
                    }
                }
                next.push(term);
            }
        }
        if !next.is_empty() {
            terms = next;
        }
    }
    Ok(terms.into_iter().filter(|term| !term.is_empty()).map(Value::Object).collect())
}

/// `v1beta1` to `v1`: the same but for where a few fields stand.
fn beta_pool(metadata: Value, mut spec: Map<String, Value>) -> Result<Converted, Fault> {
    let path = Path::ROOT.key("spec");
    let mut lost = Vec::new();
    let expire = match spec.get_mut("disruption") {
        Some(Value::Object(disruption)) => {
            if disruption.get("consolidationPolicy") == Some(&json!("WhenUnderutilized")) {
                disruption["consolidationPolicy"] = json!("WhenEmptyOrUnderutilized");
                disruption.entry("consolidateAfter").or_insert(json!("0s"));
            }
            disruption.shift_remove("expireAfter")
        }
        _ => None,
    };
    let mut kubelet = None;
    if let Some(template) = spec.get_mut("template") {
        let Some(Value::Object(inner)) = template.get_mut("spec") else {
            return Err(path.key("template").key("spec").fault("is missing"));
        };
        // The default of v1beta1 was 720h, as it is in v1; it is written out only where it was.
        if let Some(expire) = expire {
            inner.entry("expireAfter").or_insert(expire);
        }
        let mut class = "default".to_string();
        if let Some(Value::Object(reference)) = inner.get_mut("nodeClassRef") {
            let version = reference.shift_remove("apiVersion");
            let group = version.as_ref().and_then(Value::as_str).and_then(|version| version.split('/').next());
            reference.entry("group").or_insert(json!(group.unwrap_or(PROVIDER_GROUP)));
            reference.entry("kind").or_insert(json!("EC2NodeClass"));
            if let Some(Value::String(name)) = reference.get("name") {
                class = name.clone();
            }
        }
        let path = path.key("template");
        kubelet = take_kubelet(inner, "kubelet", &path.key("spec"), &mut lost)?.map(|kubelet| (class, kubelet));
        if inner.shift_remove("resources").is_some_and(|resources| !resources.is_null()) {
            lost.push("spec.template.spec.resources has no successor and is left out".into());
        }
    }
    let object = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": metadata, "spec": spec});
    Ok(Converted { object, kubelet, lost })
}

/// Puts kubelet settings into the class they belong to: `None` where the class has others already.
pub(crate) fn put_kubelet(class: &mut Value, kubelet: &Value) -> Option<()> {
    let spec = class.as_object_mut()?.entry("spec").or_insert_with(|| Value::Object(Map::new()));
    let present = spec.as_object_mut()?.entry("kubelet").or_insert_with(|| kubelet.clone());
    (present == kubelet).then_some(())
}

/// A class that is known only by the pools that name it.
pub(crate) fn bare_class(name: &str) -> Value {
    json!({"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": name}, "spec": {}})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_provisioner_becomes_a_node_pool() {
        let source = json!({"apiVersion": "karpenter.sh/v1alpha5", "kind": "Provisioner",
            "metadata": {"name": "web", "uid": "1"},
            "spec": {"requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
                    {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m5"]}],
                "labels": {"team": "a"}, "taints": [{"key": "x", "effect": "NoSchedule"}], "weight": 10,
                "limits": {"resources": {"cpu": "100"}}, "ttlSecondsAfterEmpty": 30, "ttlSecondsUntilExpired": 3600,
                "providerRef": {"name": "base"},
                "kubeletConfiguration": {"maxPods": 20, "containerRuntime": "dockerd"}}});
        let converted = convert("Provisioner", source).unwrap();
        assert_eq!(
            converted.object,
            json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "web"},
                "spec": {"template": {"metadata": {"labels": {"team": "a"}},
                    "spec": {"requirements": [
                        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
                        {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m5"]},
                        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
                    "taints": [{"key": "x", "effect": "NoSchedule"}],
                    "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "base"},
                    "expireAfter": "3600s"}},
                "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s"},
                "limits": {"cpu": "100"}, "weight": 10}})
        );
        assert_eq!(converted.kubelet, Some(("base".into(), json!({"maxPods": 20}))));
        assert_eq!(
            converted.lost,
            ["spec.kubeletConfiguration.containerRuntime has no successor: containerd is the only one"]
        );
    }

    #[test]
    fn a_node_template_becomes_a_node_class() {
        let source = json!({"metadata": {"name": "base"}, "spec": {"amiFamily": "Bottlerocket",
            "subnetSelector": {"karpenter.sh/discovery": "a,b", "zone": "x"},
            "securityGroupSelector": {"aws-ids": "sg-1, sg-2"}, "launchTemplate": "mine", "instanceProfile": "p",
            "tags": {"a": "b"}}});
        let converted = convert("AWSNodeTemplate", source).unwrap();
        assert_eq!(
            converted.object["spec"],
            json!({"amiSelectorTerms": [{"alias": "bottlerocket@latest"}],
                "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": "a", "zone": "x"}},
                    {"tags": {"karpenter.sh/discovery": "b", "zone": "x"}}],
                "securityGroupSelectorTerms": [{"id": "sg-1"}, {"id": "sg-2"}],
                "instanceProfile": "p", "tags": {"a": "b"}})
        );
        assert_eq!(converted.lost.len(), 1, "{:?}", converted.lost);
    }

    #[test]
    fn a_beta_pool_moves_its_fields() {
        let source = json!({"apiVersion": "karpenter.sh/v1beta1", "metadata": {"name": "p"}, "spec": {
            "template": {"spec": {"requirements": [], "kubelet": {"maxPods": 8},
                "nodeClassRef": {"apiVersion": "karpenter.k8s.aws/v1beta1", "kind": "EC2NodeClass", "name": "c"}}},
            "disruption": {"consolidationPolicy": "WhenUnderutilized", "expireAfter": "Never"}}});
        let converted = convert("NodePool", source).unwrap();
        assert_eq!(
            converted.object["spec"],
            json!({"template": {"spec": {"requirements": [], "nodeClassRef": {"kind": "EC2NodeClass", "name": "c",
                "group": "karpenter.k8s.aws"}, "expireAfter": "Never"}},
                "disruption": {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "0s"}})
        );
        assert_eq!(converted.kubelet, Some(("c".into(), json!({"maxPods": 8}))));
    }
}
