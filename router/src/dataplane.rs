//! What the hot path reads: immutable, swapped whole behind one `ArcSwap`.

mod action;
mod gate;

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use k8s::model::{Redirect, Trust};

pub use self::{
    action::{Action, CellTarget, Mirror, WeightedCell},
    gate::{Authorizer, Gate, Gates},
};
use crate::{
    listen::{Kind, Wanted},
    metrics::RouteMetrics,
    stream::{OnlyRoute, Streams},
    table::RouteTable,
    tls::Termination,
    upstream::ClientCertificate,
};

/// The one shared state. `control` stores, everybody else loads: once per request, once per handshake.
/// A handshake comes before its requests, so the two may see different dataplanes.
pub type SharedDataplane = Arc<ArcSwap<Dataplane>>;

#[derive(Debug, Default)]
pub struct Dataplane {
    /// By the address that was bound (not the one a connection came to, which differs under a wildcard).
    pub sockets: HashMap<SocketAddr, Arc<Socket>, RandomState>,
    /// Those that take datagrams; UDP has ports of its own.
    pub datagrams: HashMap<SocketAddr, Arc<DatagramSocket>, RandomState>,
}

/// Everything one listening socket of TCP serves: HTTP, unless `streams` says otherwise.
#[derive(Debug)]
pub struct Socket {
    pub edge: Arc<Edge>,
    /// Set on plain HTTP sockets that only redirect.
    pub redirect_to_https: Option<Redirect>,
    /// None is plain HTTP.
    pub tls: Option<Termination>,
    pub gates: Gates,
    pub table: RouteTable<Arc<Action>>,
    pub streams: Option<Streams>,
}

#[derive(Debug)]
pub struct DatagramSocket {
    pub edge: Arc<Edge>,
    pub only: OnlyRoute,
}

/// What a request keeps of its socket while it runs. A WebSocket of days must not hold a table of days ago.
#[derive(Debug)]
pub struct Edge {
    pub entry_point: Arc<str>,
    pub trust: Trust,
    /// The port clients use, for redirects and X-Forwarded-Port.
    pub port: u16,
    pub is_tls: bool,
    /// Shown to backends that ask for one.
    pub client_certificate: Option<Arc<ClientCertificate>>,
    /// For requests that find no route.
    pub unrouted: Arc<RouteMetrics>,
}

impl Dataplane {
    /// The sockets that have to be open for it.
    pub fn wanted(&self) -> Vec<Wanted> {
        let streams = self.sockets.iter().map(|(address, socket)| Wanted { address: *address, kind: socket.kind() });
        let datagrams = self.datagrams.keys().map(|address| Wanted { address: *address, kind: Kind::Udp });
        streams.chain(datagrams).collect()
    }
}

impl Socket {
    /// What a request for this host passes first.
    pub fn gate(&self, host: &str) -> Option<&Gate> {
        self.gates.get(&self.table.listener(host)?.name)
    }

    fn kind(&self) -> Kind {
        match &self.streams {
            Some(Streams::Tcp(_)) => Kind::Tcp,
            Some(Streams::Tls(_)) => Kind::Tls,
            None if self.edge.is_tls => Kind::Tls,
            None => Kind::Http,
        }
    }
}
