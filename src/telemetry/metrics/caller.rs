//! Which controller it is that does something, for the label `controller`.

use std::future::Future;

tokio::task_local! {
    static CONTROLLER: &'static str;
}

/// What a future does is done by a controller of this name.
pub fn acting_as<Done>(controller: &'static str, work: impl Future<Output = Done>) -> impl Future<Output = Done> {
    CONTROLLER.scope(controller, work)
}

/// Whoever acts now; empty for none.
pub(super) fn caller() -> &'static str {
    CONTROLLER.try_with(|controller| *controller).unwrap_or_default()
}
