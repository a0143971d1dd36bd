//! Supercargo.
