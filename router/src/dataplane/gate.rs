//! What a request passes before its route is looked for.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use k8s::model::{ExternalAuth, Listener};

use crate::{control::Cells, upstream::BackendCell};

/// Of the listeners that have one, by their names.
pub type Gates = HashMap<Arc<str>, Gate, RandomState>;

/// What stands before a listener's routes.
#[derive(Debug)]
pub enum Gate {
    /// All of them have to consent, in this order.
    Guarded(Vec<Authorizer>),
    /// Nobody gets in, and why.
    Closed(Arc<str>),
}

/// Who has to consent to requests.
#[derive(Debug)]
pub struct Authorizer {
    /// None consents to nothing.
    pub cell: Option<Arc<BackendCell>>,
    pub auth: ExternalAuth,
}

impl Gate {
    /// None where the routes come first.
    pub fn of(listener: &Listener, cells: &Cells) -> Option<Self> {
        match &listener.authorizers {
            Ok(all) if all.is_empty() => None,
            Ok(all) => Some(Self::Guarded(all.iter().map(|auth| Authorizer::new(auth, cells)).collect())),
            Err(why) => Some(Self::Closed(Arc::clone(why))),
        }
    }
}

impl Authorizer {
    pub fn new(auth: &ExternalAuth, cells: &Cells) -> Self {
        Self { cell: cells.get(&auth.backend).map(Arc::clone), auth: auth.clone() }
    }
}
