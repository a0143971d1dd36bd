//! Against a real control plane: what supercargo reads, plans and promises is what Kubernetes does.

#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)]

mod cluster;
mod controller;
mod definitions;
mod fixture;
mod live;
mod pages;
mod plans;
mod random_clusters;
