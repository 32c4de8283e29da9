//! What the hot path reads: immutable, swapped whole behind one `ArcSwap`.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use k8s::model::{Filter, ObjectName, Timeouts, Trust};

use crate::{table::RouteTable, tls::CertificateStore, upstream::BackendCell};

/// The one shared state. `control` stores, everybody else loads: once per request, once per handshake.
pub type SharedDataplane = Arc<ArcSwap<Dataplane>>;

#[derive(Debug, Default)]
pub struct Dataplane {
    /// By the address that was bound (not the one a connection came to, which differs under a wildcard).
    pub sockets: HashMap<SocketAddr, Arc<Socket>>,
}

/// Everything one listening socket serves.
#[derive(Debug)]
pub struct Socket {
    pub entry_point: Arc<str>,
    pub trust: Trust,
    /// The port clients use, for redirects and X-Forwarded-Port.
    pub port: u16,
    /// Set on plain HTTP sockets that only redirect: the port of the HTTPS listener.
    pub redirect_to_https: Option<u16>,
    /// None is plain HTTP.
    pub certificates: Option<Arc<CertificateStore>>,
    pub table: RouteTable<Arc<Action>>,
}

/// What a matched rule does.
#[derive(Debug)]
pub struct Action {
    pub route: ObjectName,
    /// The rule's place in its route, from 0.
    pub rule: usize,
    pub filters: Vec<Filter>,
    pub backends: Vec<WeightedCell>,
    pub timeouts: Timeouts,
}

#[derive(Debug)]
pub struct WeightedCell {
    pub weight: u32,
    pub target: CellTarget,
    pub filters: Vec<Filter>,
}

#[derive(Debug)]
pub enum CellTarget {
    Cell(Arc<BackendCell>),
    /// Answers 500.
    Invalid(Arc<str>),
}
