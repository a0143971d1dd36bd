//! `EC2NodeClass` of `karpenter.k8s.aws/v1`: how EC2 makes a machine.
//!
//! <https://karpenter.sh/docs/concepts/nodeclasses/>.

mod machine;
mod selectors;
mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use supercargo_models::kubernetes::schema::rule;

pub use machine::{
    BlockDevice, BlockDeviceMapping, ConnectionTracking, CpuOptions, EnclaveOptions, MetadataOptions, NetworkInterface,
};
pub use selectors::{
    AmiSelectorTerm, CapacityReservationSelectorTerm, PlacementGroupSelector, SecurityGroupSelectorTerm,
    SubnetSelectorTerm,
};
pub use status::{EC2NodeClassStatus, ResolvedAmi, ResolvedCapacityReservation, ResolvedSecurityGroup, ResolvedSubnet};

/// The families of images that an alias can name, and what `amiFamily` calls them.
const FAMILIES: [(&str, &str); 6] = [
    ("al2", "AL2"),
    ("al2023", "AL2023"),
    ("bottlerocket", "Bottlerocket"),
    ("windows2019", "Windows2019"),
    ("windows2022", "Windows2022"),
    ("windows2025", "Windows2025"),
];

/// How EC2 makes a machine.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.k8s.aws",
    version = "v1",
    kind = "EC2NodeClass",
    plural = "ec2nodeclasses",
    status = "EC2NodeClassStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "How EC2 makes a machine: image, network, disks, identity.",
    category = "karpenter",
    shortname = "ec2nc",
    shortname = "ec2ncs",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = class_rules()))]
pub struct EC2NodeClassSpec {
    /// How user data is written and which disks there are. It may be left out where an alias says it, and can then only be
    /// the alias's family or `Custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = families()))]
    pub ami_family: Option<String>,
    /// Images, any of these.
    #[schemars(length(min = 1, max = 30))]
    #[x_kube(
        validation = (
            "self.all(x, has(x.tags) || has(x.id) || has(x.name) || has(x.alias) || has(x.ssmParameter))",
            "expected at least one, got none, ['tags', 'id', 'name', 'alias', 'ssmParameter']"
        ),
        validation = (
            "!self.exists(x, has(x.id) && (has(x.alias) || has(x.tags) || has(x.name) || has(x.owner)))",
            "'id' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms"
        ),
        validation = (
            "!self.exists(x, has(x.alias) && (has(x.id) || has(x.tags) || has(x.name) || has(x.owner)))",
            "'alias' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms"
        ),
        validation = (
            "!(self.exists(x, has(x.alias)) && self.size() != 1)",
            "'alias' is mutually exclusive, cannot be set with a combination of other amiSelectorTerms"
        )
    )]
    pub ami_selector_terms: Vec<AmiSelectorTerm>,
    /// Whether machines get a public address.
    #[serde(default, rename = "associatePublicIPAddress", skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    /// Disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[x_kube(validation = (
        "self.filter(x, has(x.rootVolume) ? x.rootVolume : false).size() <= 1",
        "must have only one blockDeviceMappings with rootVolume"
    ))]
    pub block_device_mappings: Option<Vec<BlockDeviceMapping>>,
    /// Capacity reservations, any of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    #[x_kube(
        validation = (
            "self.all(x, has(x.tags) || has(x.id) || has(x.instanceMatchCriteria))",
            "expected at least one, got none, ['tags', 'id', 'instanceMatchCriteria']"
        ),
        validation = (
            "!self.all(x, has(x.id) && (has(x.tags) || has(x.ownerID) || has(x.instanceMatchCriteria)))",
            "'id' is mutually exclusive, cannot be set along with other fields in a capacity reservation selector term"
        )
    )]
    pub capacity_reservation_selector_terms: Option<Vec<CapacityReservationSelectorTerm>>,
    /// How long idle connections are kept track of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_tracking: Option<ConnectionTracking>,
    /// A field that EC2 reserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Settings of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_options: Option<CpuOptions>,
    /// Whether CloudWatch measures machines each minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detailed_monitoring: Option<bool>,
    /// Nitro Enclaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave_options: Option<EnclaveOptions>,
    /// The instance profile of machines; either this or `role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self != ''", "instanceProfile cannot be empty"))]
    pub instance_profile: Option<String>,
    /// What is made of disks that belong to the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["RAID0"]))]
    pub instance_store_policy: Option<String>,
    /// How many IPv4 prefixes the network interface gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ip_prefix_count: Option<i32>,
    /// Settings of the kubelet; `maxPods`, `podsPerCore`, `kubeReserved`, `systemReserved`, `evictionHard` and
    /// `evictionSoft` change what a node leaves for pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_fields")]
    pub kubelet: Option<BTreeMap<String, Value>>,
    /// The metadata service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {
        "httpEndpoint": "enabled",
        "httpProtocolIPv6": "disabled",
        "httpPutResponseHopLimit": 1,
        "httpTokens": "required",
    }))]
    pub metadata_options: Option<MetadataOptions>,
    /// Network interfaces, in place of the one that EC2 chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 150))]
    #[x_kube(
        validation = (
            "self.size() == 0 || \
             self.exists(x, x.deviceIndex == 0 && x.networkCardIndex == 0 && x.interfaceType == 'interface')",
            "networkInterfaces must include a primary interface with interfaceType='interface'"
        ),
        validation = (
            "self.all(x, self.filter(y, x.networkCardIndex == y.networkCardIndex && \
             x.deviceIndex == y.deviceIndex).size() == 1 && (x.interfaceType != 'efa-only' || self.filter(y, \
             x.networkCardIndex == y.networkCardIndex && y.interfaceType == 'efa-only').size() == 1))",
            "networkInterfaces must not have duplicate networkCardIndex and deviceIndex pairs, and can have at most one \
             efa device per network card"
        )
    )]
    pub network_interfaces: Option<Vec<NetworkInterface>>,
    /// The placement group of all machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement_group_selector: Option<PlacementGroupSelector>,
    /// The role of machines; either this or `instanceProfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self != ''", "role cannot be empty"))]
    pub role: Option<String>,
    /// Security groups, all that any of these selects.
    #[schemars(length(max = 30))]
    #[x_kube(
        validation = ("self.size() != 0", "securityGroupSelectorTerms cannot be empty"),
        validation = (
            "self.all(x, has(x.tags) || has(x.id) || has(x.name))",
            "expected at least one, got none, ['tags', 'id', 'name']"
        ),
        validation = (
            "!self.all(x, has(x.id) && (has(x.tags) || has(x.name)))",
            "'id' is mutually exclusive, cannot be set with a combination of other fields in a security group selector term"
        ),
        validation = (
            "!self.all(x, has(x.name) && (has(x.tags) || has(x.id)))",
            "'name' is mutually exclusive, cannot be set with a combination of other fields in a security group selector \
             term"
        )
    )]
    pub security_group_selector_terms: Vec<SecurityGroupSelectorTerm>,
    /// Subnets, any of these.
    #[schemars(length(max = 30))]
    #[x_kube(
        validation = ("self.size() != 0", "subnetSelectorTerms cannot be empty"),
        validation = ("self.all(x, has(x.tags) || has(x.id))", "expected at least one, got none, ['tags', 'id']"),
        validation = (
            "!self.all(x, has(x.id) && has(x.tags))",
            "'id' is mutually exclusive, cannot be set with a combination of other fields in a subnet selector term"
        )
    )]
    pub subnet_selector_terms: Vec<SubnetSelectorTerm>,
    /// Tags of all that is made on EC2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = ("self.all(k, k != '')", "empty tag keys aren't supported"),
        validation = (
            "self.all(k, k != 'eks:eks-cluster-name')",
            "tag contains a restricted tag matching eks:eks-cluster-name"
        ),
        validation = (
            "self.all(k, !k.startsWith('kubernetes.io/cluster'))",
            "tag contains a restricted tag matching kubernetes.io/cluster/"
        ),
        validation = (
            "self.all(k, k != 'karpenter.sh/nodepool')",
            "tag contains a restricted tag matching karpenter.sh/nodepool"
        ),
        validation = (
            "self.all(k, k != 'karpenter.sh/nodeclaim')",
            "tag contains a restricted tag matching karpenter.sh/nodeclaim"
        ),
        validation = (
            "self.all(k, k != 'karpenter.k8s.aws/ec2nodeclass')",
            "tag contains a restricted tag matching karpenter.k8s.aws/ec2nodeclass"
        )
    )]
    pub tags: Option<BTreeMap<String, String>>,
    /// User data, in the form that the image's family reads; what a node needs to join is merged into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

fn families() -> Vec<&'static str> {
    FAMILIES.iter().map(|(_, family)| *family).chain(["Custom"]).collect()
}

/// The rules that more than one field is in.
fn class_rules() -> Vec<Value> {
    let identity = rule(
        "(has(self.role) && !has(self.instanceProfile)) || (!has(self.role) && has(self.instanceProfile))",
        "must specify exactly one of ['role', 'instanceProfile']",
    );
    let of_alias = FAMILIES.iter().map(|(alias, family)| {
        rule(
            &format!(
                "!has(self.amiFamily) || \
                 (self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == '{alias}') \
                 ? (self.amiFamily == 'Custom' || self.amiFamily == '{family}') : true)"
            ),
            &format!("if set, amiFamily must be '{family}' or 'Custom' when using {} {family} alias", article(family)),
        )
    });
    let family = rule(
        "self.amiSelectorTerms.exists(x, has(x.alias)) ? true : has(self.amiFamily)",
        "must specify amiFamily if amiSelectorTerms does not contain an alias",
    );
    [identity].into_iter().chain(of_alias).chain([family]).collect()
}

fn article(word: &str) -> &'static str {
    if word.starts_with('A') { "an" } else { "a" }
}

/// A map whose fields are another's to know.
fn any_fields(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
