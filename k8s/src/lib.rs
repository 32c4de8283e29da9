//! Everything both binaries know about Kubernetes.
//!
//! An object's way through this crate, top to bottom:
//!
//! ```text
//! source::{cluster, directory}   watch, and hand over every change in order
//!   └─ snapshot::Snapshot        all watched objects at one instant
//!        └─ translate()          pure: references resolved, problems found
//!             ├─ model::Model    plain data that `gateway` and `router` compile
//!             ├─ status::Desired   what is written back, beside all that, by one `router`
//!             └─ translate::names()   pure: what DNS is asked for, and what becomes of it
//! ```

pub mod admin;
pub mod background;
pub mod cli;
pub mod cluster_trust_bundle;
pub mod config;
pub mod config_map;
pub mod external_dns;
pub mod gateway_api;
mod kind;
pub mod model;
pub mod problem;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod telemetry;
pub mod translate;
