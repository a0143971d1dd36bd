//! Supercargo decides which EC2 machines to buy for the pods that wait, by integer program, proves how far from
//! optimal it can be, and says why.
//!
//! This crate is the edge of the deciding core ([`supercargo_models`]): it reads objects and catalogues, keeps the
//! clock, and reports. [`cli`] turns arguments into one of the [`commands`].

pub mod api;
pub mod binding;
pub mod catalog;
pub mod cli;
pub mod cloud;
pub mod cluster;
pub mod commands;
pub mod control;
pub mod controllers;
mod duration;
pub mod labels;
pub mod report;
pub mod telemetry;
mod watch;
