//! `supercargo controller --cloud kwok` on the real control plane: machines come when pods wait and go when they don't, and
//! nothing is lost on the way.

mod audit;
mod binding;
mod claims;
mod crash;
mod drift;
mod dry_run;
mod emptiness;
mod environment;
mod fail_points;
mod failover;
mod farewell;
mod faults;
mod operation;
mod order;
mod overlays;
mod policies;
mod pools;
mod repair;
mod rights;
mod scaling;
mod stage;
mod static_capacity;
mod substitutes;
mod termination;
mod timeouts;
mod told;
mod volumes;
