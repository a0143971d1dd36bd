//! What the API server's admission does to the pods.

use k8s_openapi::api::core::v1::{LimitRange, PodSpec};
use supercargo_models::kubernetes::admission::{self, AdmissionError};
use supercargo_models::kubernetes::runtime_class::{self, RuntimeClassError};

use super::Expansion;
use crate::cluster::error::InputError;
use crate::cluster::objects::Origin;
use crate::cluster::validate::Path;

/// Path of the spec of a pod that is there; all other paths are those of templates, whose pods are yet to be admitted.
pub(super) const OF_POD: &str = "spec";

impl Expansion {
    /// What admission does to a pod with its spec at `field`; its priority.
    pub(super) fn admit(
        &mut self,
        spec: &mut PodSpec,
        namespace: &str,
        origin: &Origin,
        field: &str,
    ) -> Result<i32, InputError> {
        admission::default_host_ports(spec);
        let ranges: Vec<&LimitRange> =
            self.limit_ranges.iter().filter(|range| range.metadata.namespace.as_deref() == Some(namespace)).collect();
        if let Err(AdmissionError::LimitRange { field: inner, limit_range, problem }) =
            admission::apply_limit_ranges(spec, &ranges)
            && !self.admitted
        {
            let problem = format!("{problem} (LimitRange {namespace}/{limit_range})");
            return Err(origin.error(&format!("{field}.{inner}"), &problem, None));
        }
        if !(self.admitted && field == OF_POD) {
            self.run(spec, origin, field)?;
        }
        match admission::priority(spec, &self.priority_classes) {
            Ok(priority) => Ok(priority),
            Err(AdmissionError::NoPriorityClass(class)) => {
                self.absent_classes.entry(class).or_insert_with(|| origin.label.clone());
                Ok(0)
            }
            Err(error) => Err(origin.error(field, &error.to_string(), None)),
        }
    }

    /// What a pod's runtime class does to it.
    fn run(&mut self, spec: &mut PodSpec, origin: &Origin, field: &str) -> Result<(), InputError> {
        let Some(name) = runtime_class::name(spec) else { return Ok(()) };
        let Some(class) = self.runtime_classes.iter().find(|class| class.metadata.name.as_deref() == Some(name)) else {
            // Only admission states an overhead, so that pods that have one are complete.
            if spec.overhead.as_ref().is_none_or(|overhead| overhead.is_empty()) {
                self.absent_runtimes.entry(name.to_owned()).or_insert_with(|| origin.label.clone());
            }
            return Ok(());
        };
        let overhead = match runtime_class::apply_overhead(spec, class) {
            // The class may have changed after the pod was admitted.
            Err(RuntimeClassError::Overhead { .. }) if field == OF_POD => Ok(()),
            applied => applied,
        };
        let refused = match overhead.and_then(|()| runtime_class::apply_scheduling(spec, class)) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let path = match &refused {
            RuntimeClassError::Overhead { .. } => format!("{field}.overhead"),
            RuntimeClassError::Selector { key, .. } => format!("{field}.{}", Path::ROOT.key("nodeSelector").key(key)),
        };
        if self.admitted {
            self.refused.push(format!("{}: {path}: {refused}", origin.label));
            return Ok(());
        }
        Err(origin.error(&path, &refused.to_string(), None))
    }
}
