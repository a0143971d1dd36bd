//! Volumes and what makes them: where they can be reached from.
//!
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#node-affinity>,
//! <https://kubernetes.io/docs/concepts/storage/storage-classes/#allowed-topologies>.

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;

use super::names::label_key;
use super::path::{Checked, Path};
use super::scheduling::node_selector_term;

/// Checks a volume.
pub(crate) fn volume(object: &PersistentVolume) -> Checked {
    let affinity = object.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) else { return Ok(()) };
    let path = Path::ROOT.key("spec");
    let path = path.key("nodeAffinity");
    let path = path.key("required");
    let list = path.key("nodeSelectorTerms");
    if required.node_selector_terms.is_empty() {
        return list.fail("needs at least one term");
    }
    for (index, term) in required.node_selector_terms.iter().enumerate() {
        node_selector_term(term, &list.index(index))?;
    }
    Ok(())
}

/// Checks a class of volumes.
pub(crate) fn storage_class(object: &StorageClass) -> Checked {
    if let Some(mode) = object.volume_binding_mode.as_deref()
        && !["Immediate", "WaitForFirstConsumer"].contains(&mode)
    {
        let field = Path::ROOT.key("volumeBindingMode");
        return field.fail(format!("{mode:?} is not one of Immediate and WaitForFirstConsumer"));
    }
    let list = Path::ROOT.key("allowedTopologies");
    for (index, term) in object.allowed_topologies.iter().flatten().enumerate() {
        let path = list.index(index);
        let list = path.key("matchLabelExpressions");
        for (index, expression) in term.match_label_expressions.iter().flatten().enumerate() {
            let path = list.index(index);
            label_key(&expression.key, &path.key("key"))?;
            if expression.values.is_empty() {
                return path.key("values").fail("needs at least one value");
            }
        }
    }
    Ok(())
}
