//! `supercargo controller --cloud kwok` on the real control plane: machines come when pods wait and go when they don't, and
//! nothing is lost on the way.

mod crash;
mod operation;
mod scaling;
mod stage;
mod termination;
