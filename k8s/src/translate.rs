//! Snapshot to model: every reference resolved, every problem found. Pure and total.

use crate::{config::Config, model::Model, problem::Problem, snapshot::Snapshot};

/// What a snapshot asks for, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    pub model: Model,
    /// Sorted, without duplicates.
    pub problems: Vec<Problem>,
}

/// Never fails: what cannot take effect is left out or made to answer an error, and said in `problems`.
pub fn translate(_snapshot: &Snapshot, _config: &Config) -> Translation {
    Translation::default()
}
