//! A real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok
//! in place of kubelets. No container engine, no root, no fixed port; several can run side by side.
//!
//! [`ControlPlane::start`] is for tests: what it starts ends with the process that started it, however that ends.
//! [`ControlPlane::start_detached`] is behind `make cluster`.

mod certificates;
mod configuration;
mod control_plane;
mod health;
mod parts;
mod processes;

pub use configuration::PLAYED;
pub use control_plane::{ControlPlane, State, client};
pub use parts::Parts;
