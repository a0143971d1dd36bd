//! Supercargo.

pub mod cluster;
