//! Whether machines can be made of a class, as far as the object itself says so.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};

use super::CloudError;

/// A class that is not ready, for a reason that is the API's.
pub(crate) fn unready(reason: &str, message: String) -> CloudError {
    CloudError::ClassNotReady { reason: reason.into(), message }
}

/// A class as it came, if it may be used; `conditions` are those of its status.
///
/// # Errors
/// [`CloudError::ClassNotReady`] where it is missing, leaving or not ready, with Karpenter's reasons
/// (`pkg/controllers/nodepool/readiness/controller.go`).
pub(super) fn usable<K>(
    store: &Store<K>,
    name: &str,
    conditions: impl Fn(&K) -> Option<&Vec<Condition>>,
) -> Result<Arc<K>, CloudError>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let called = format!("{} {name}", K::kind(&()));
    let Some(class) = store.get(&ObjectRef::new(name)) else {
        return Err(unready("NodeClassNotFound", format!("{called} is not there")));
    };
    if class.meta().deletion_timestamp.is_some() {
        return Err(unready("NodeClassTerminating", format!("{called} is being deleted")));
    }
    match conditions(&class).and_then(|conditions| fault(conditions)) {
        Some((reason, words)) => Err(unready(reason, format!("{called} {words}"))),
        None => Ok(class),
    }
}

/// Why a class with these conditions is not ready, as reason and words. One that says nothing of it is: nobody may be there
/// who has to find anything for it.
fn fault(conditions: &[Condition]) -> Option<(&str, String)> {
    let ready = conditions.iter().find(|one| one.type_ == "Ready")?;
    match ready.status.as_str() {
        "True" => None,
        "False" if !ready.reason.is_empty() => Some((&ready.reason, format!("is not ready: {}", ready.message))),
        "False" => Some(("NodeClassNotReady", format!("is not ready: {}", ready.message))),
        _ => Some(("NodeClassReadinessUnknown", "may not be ready yet".into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::KWOKNodeClass;

    /// What is wrong with a class.
    fn wrong(meta: Value, status: Value) -> Option<(String, String)> {
        let (store, mut writer) = reflector::store();
        let mut metadata = json!({"name": "there"});
        metadata.as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
        let class = json!({"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": metadata,
            "spec": {}, "status": status});
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(class).unwrap()));
        match usable(&store, "there", |class: &KWOKNodeClass| class.status.as_ref()?.conditions.as_ref()) {
            Ok(_) => None,
            Err(CloudError::ClassNotReady { reason, message }) => Some((reason, message)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_class_is_used_unless_it_is_missing_leaving_or_not_ready() {
        let says = |status: &str, reason: &str| {
            let one = json!({"type": "Ready", "status": status, "reason": reason, "message": "no subnet",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            wrong(json!({}), json!({"conditions": [one]}))
        };
        assert_eq!(wrong(json!({}), Value::Null), None);
        assert_eq!(says("True", "Ready"), None);
        let told = ("SubnetsNotFound".to_owned(), "KWOKNodeClass there is not ready: no subnet".to_owned());
        assert_eq!(says("False", "SubnetsNotFound"), Some(told));
        assert_eq!(says("Unknown", "Ready").unwrap().0, "NodeClassReadinessUnknown");
        let leaving = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(wrong(leaving, Value::Null).unwrap().0, "NodeClassTerminating");
        let (empty, _writer) = reflector::store::<KWOKNodeClass>();
        let missing = usable(&empty, "there", |_: &KWOKNodeClass| None).unwrap_err();
        assert!(matches!(missing, CloudError::ClassNotReady { reason, .. } if reason == "NodeClassNotFound"));
    }
}
