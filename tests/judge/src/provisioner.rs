//! In place of a CSI driver's provisioner: a volume for each claim that names its node.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use supercargo::binding::SELECTED_NODE;

use crate::volumes::DRIVER;

/// How often to look for claims.
const PERIOD: Duration = Duration::from_millis(300);

/// A provisioner that works until it is dropped.
#[derive(Debug)]
pub(crate) struct Provisioner(tokio::task::JoinHandle<()>);

impl Provisioner {
    pub(crate) fn start(client: Client, namespaces: Vec<String>) -> Self {
        Provisioner(tokio::spawn(async move {
            loop {
                for namespace in &namespaces {
                    // What fails is tried again at the next look.
                    let _ = serve(&client, namespace).await;
                }
                tokio::time::sleep(PERIOD).await;
            }
        }))
    }
}

impl Drop for Provisioner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(client: &Client, namespace: &str) -> kube::Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    for claim in claims.list(&Default::default()).await? {
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref());
        let node = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SELECTED_NODE));
        if let (None, Some(node)) = (volume, node) {
            let node = Api::<Node>::all(client.clone()).get(node).await?;
            if let Some(volume) = made_for(&claim, &node) {
                match Api::all(client.clone()).create(&PostParams::default(), &volume).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    answer => drop::<PersistentVolume>(answer?),
                }
            }
        }
    }
    Ok(())
}

/// A volume in the node's zone, as the EBS driver's provisioner makes them.
fn made_for(claim: &PersistentVolumeClaim, node: &Node) -> Option<PersistentVolume> {
    const TOPOLOGY: &str = "topology.ebs.csi.aws.com/zone";
    let zone = node.metadata.labels.as_ref()?.get(TOPOLOGY)?;
    let spec = claim.spec.as_ref()?;
    let name = format!("pvc-{}", claim.metadata.uid.as_ref()?);
    let capacity: BTreeMap<_, _> = spec.resources.as_ref()?.requests.clone()?;
    let volume = json!({
        "metadata": {"name": name},
        "spec": {
            "capacity": capacity,
            "accessModes": spec.access_modes,
            "storageClassName": spec.storage_class_name,
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.metadata.namespace,
                "name": claim.metadata.name, "uid": claim.metadata.uid},
            "csi": {"driver": DRIVER, "volumeHandle": name},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": TOPOLOGY, "operator": "In", "values": [zone]}]}]}},
        },
    });
    serde_json::from_value(volume).ok()
}
