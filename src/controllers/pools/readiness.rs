//! Whether a pool can be bought for: the planner understands it, and machines can be made of its class.

use serde_json::Value;
use supercargo_models::catalog::KubeletSettings;
use supercargo_models::problem::build::check_pool;

use crate::api::NodePool;
use crate::cloud::{CloudError, CloudProvider, unready};

/// Whether a pool can be bought for. The planner refuses all of its question for one pool that it does not understand.
pub fn is_ready(pool: &NodePool, cloud: &dyn CloudProvider) -> bool {
    fault(pool).is_none() && class(pool, cloud).is_ok()
}

/// What of a pool means nothing to the planner, although the API server takes it (a limit that is too large a number).
pub(super) fn fault(pool: &NodePool) -> Option<String> {
    check_pool(&pool.clone().into()).err().map(|error| error.problem)
}

/// The class of a pool, if machines can be made of it and the planner understands it.
///
/// # Errors
/// [`CloudError::ClassNotReady`] where it is not so.
pub(super) fn class(pool: &NodePool, cloud: &dyn CloudProvider) -> Result<Value, CloudError> {
    let Some(reference) = &pool.spec.template.spec.node_class_ref else {
        return Err(unready("NodeClassNotFound", "no class is named".into()));
    };
    let class = cloud.node_class(reference)?;
    match KubeletSettings::from_node_class(&class) {
        Ok(_) => Ok(class),
        Err(error) => Err(unready("NodeClassNotReady", error.to_string())),
    }
}
