//! Objects from a live cluster: paged lists, and nothing but lists.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config};
use serde_json::Value;

use super::documents::{self, Document};
use super::sources::Source;

/// Objects a page. The API server's own tools ask for as many.
const PAGE: u32 = 500;
/// The longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the cluster is called where messages name a file otherwise.
const NAME: &str = "the cluster";

/// What is read: resource, kind, and the API versions that it may be had in, the one that is wanted most first; an empty
/// one is the core group's `v1`. Pods come before nodes and volumes, so that what a pod is bound to is there.
///
/// Workloads are not read: their pods that wait are pods of the cluster already.
const RESOURCES: [(&str, &str, &[&str]); 18] = [
    ("pods", "Pod", &["v1"]),
    ("nodes", "Node", &["v1"]),
    ("namespaces", "Namespace", &["v1"]),
    ("limitranges", "LimitRange", &["v1"]),
    ("persistentvolumeclaims", "PersistentVolumeClaim", &["v1"]),
    ("persistentvolumes", "PersistentVolume", &["v1"]),
    ("storageclasses", "StorageClass", &["storage.k8s.io/v1"]),
    ("csinodes", "CSINode", &["storage.k8s.io/v1"]),
    ("daemonsets", "DaemonSet", &["apps/v1"]),
    ("priorityclasses", "PriorityClass", &["scheduling.k8s.io/v1"]),
    ("runtimeclasses", "RuntimeClass", &["node.k8s.io/v1"]),
    ("poddisruptionbudgets", "PodDisruptionBudget", &["policy/v1"]),
    ("nodepools", "NodePool", &["karpenter.sh/v1", "karpenter.sh/v1beta1"]),
    ("nodeclaims", "NodeClaim", &["karpenter.sh/v1"]),
    ("nodeoverlays", "NodeOverlay", &["karpenter.sh/v1alpha1"]),
    ("ec2nodeclasses", "EC2NodeClass", &["karpenter.k8s.aws/v1", "karpenter.k8s.aws/v1beta1"]),
    ("provisioners", "Provisioner", &["karpenter.sh/v1alpha5"]),
    ("awsnodetemplates", "AWSNodeTemplate", &["karpenter.k8s.aws/v1alpha1"]),
];

/// Which cluster.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// A kubeconfig; without it `KUBECONFIG`, then `~/.kube/config`, then the cluster that this program runs in.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it in place of the current one.
    pub context: Option<String>,
}

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// No kubeconfig, and not in a cluster.
    #[error("no objects to plan for")]
    Nowhere,
    /// In a cluster, but what a pod is given to speak to it can't be used.
    #[error("no kubeconfig, and the service account of this pod cannot be used: {0}")]
    ServiceAccount(String),
    /// A kubeconfig that can't be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// The cluster does not know us, or does not let us list.
    #[error("the cluster refuses to list {resource}: {message}")]
    Refused {
        /// The resource with its group, `nodepools.karpenter.sh`.
        resource: String,
        /// The API server's words.
        message: String,
    },
    /// No answer, or one that makes no sense.
    #[error("the cluster cannot be read: listing {resource}: {message}")]
    Failed {
        /// The resource with its group.
        resource: String,
        /// What went wrong.
        message: String,
    },
    /// An object that is none.
    #[error(transparent)]
    Input(#[from] super::InputError),
}

/// Lists everything that matters, in one pass over [`RESOURCES`]. A custom resource that is not installed has no objects.
pub(crate) fn read(target: &Target) -> Result<Vec<Document>, LiveError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LiveError::Kubeconfig(error.to_string()))?;
    runtime.block_on(async {
        let mut config = configuration(target).await?;
        config.read_timeout = Some(PATIENCE);
        let client = Client::try_from(config).map_err(|error| unusable(&error))?;
        let mut found = Vec::new();
        for (resource, kind, versions) in RESOURCES {
            for version in versions {
                if let Some(items) = list(&client, resource, version).await? {
                    let source = Source { name: NAME.into(), text: String::new() };
                    found.extend(documents::of_list(Arc::new(source), version, kind, items)?);
                    break;
                }
            }
        }
        Ok(found)
    })
}

fn unusable(error: &dyn std::error::Error) -> LiveError {
    LiveError::Kubeconfig(with_causes(error))
}

/// How a cluster is spoken to, without a limit to how long an answer may take: watches last.
///
/// # Errors
/// If there is none, or its kubeconfig can't be used.
pub async fn configuration(target: &Target) -> Result<Config, LiveError> {
    let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
    Ok(match (&target.kubeconfig, &target.context) {
        (Some(file), _) => {
            let read = Kubeconfig::read_from(file).map_err(|error| unusable(&error))?;
            Config::from_custom_kubeconfig(read, &options).await.map_err(|error| unusable(&error))?
        }
        (None, context) if context.is_some() || has_kubeconfig() => {
            Config::from_kubeconfig(&options).await.map_err(|error| unusable(&error))?
        }
        _ => Config::incluster().map_err(|error| match error {
            InClusterError::ReadEnvironmentVariable(_) => LiveError::Nowhere,
            error => LiveError::ServiceAccount(with_causes(&error)),
        })?,
    })
}

fn has_kubeconfig() -> bool {
    std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty())
        || std::env::home_dir().is_some_and(|home| home.join(".kube/config").exists())
}

/// All objects of a resource; `None` if the cluster does not have it.
async fn list(client: &Client, resource: &str, version: &str) -> Result<Option<Vec<Value>>, LiveError> {
    let path = match version.contains('/') {
        true => format!("/apis/{version}/{resource}"),
        false => format!("/api/{version}/{resource}"),
    };
    let full_name = match version.split_once('/') {
        Some((group, _)) => format!("{resource}.{group}"),
        None => resource.to_owned(),
    };
    let failed = |message: String| LiveError::Failed { resource: full_name.clone(), message };
    let mut items = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let request = Request::new(path.as_str()).list(&page).map_err(|error| failed(error.to_string()))?;
        let mut answer: Value = match client.request(request).await {
            Ok(answer) => answer,
            Err(kube::Error::Api(status)) => match status.code {
                404 => return Ok(None),
                401 | 403 => {
                    let message = status.message.clone();
                    return Err(LiveError::Refused { resource: full_name, message });
                }
                // The pages go back to one moment, which the cluster has forgotten: begin again, all at once.
                410 if page.limit.is_some() => {
                    items.clear();
                    page = ListParams::default();
                    continue;
                }
                code => return Err(failed(format!("{code} {}", status.message))),
            },
            Err(error) => return Err(failed(with_causes(&error))),
        };
        match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(more)) => items.extend(more),
            Some(Value::Null) => {}
            _ => return Err(failed("the answer is not a list".into())),
        }
        match answer.pointer("/metadata/continue").and_then(Value::as_str) {
            Some(token) if !token.is_empty() => page = ListParams::default().limit(PAGE).continue_token(token),
            _ => return Ok(Some(items)),
        }
    }
}

/// An error and what it comes from, in one line; what a cause only repeats is left out.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}
