//! Backends: their endpoints, and what is known about them across swaps of the dataplane.

pub mod external_name;
mod peer;
mod websocket;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use k8s::model::{Backend, Endpoints};

use self::peer::Verified;
pub use self::peer::peer;

/// One backend's live state. Dataplanes come and go around it.
#[derive(Debug)]
pub struct BackendCell {
    pub backend: Backend,
    pub verified: Option<Verified>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    next: AtomicUsize,
}

#[derive(Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    in_flight: AtomicUsize,
}

/// An endpoint with a request on its way to it, until it is dropped.
#[derive(Debug)]
pub struct Picked(Arc<Endpoint>);

impl BackendCell {
    pub fn new(backend: Backend, endpoints: &Endpoints) -> Self {
        let verified = backend.validation.as_deref().map(Verified::new);
        let cell = Self { backend, verified, endpoints: ArcSwap::default(), next: AtomicUsize::new(0) };
        cell.set_endpoints(endpoints);
        cell
    }

    /// Endpoints that stay keep their counts. The next request already sees the new ones.
    pub fn set_endpoints(&self, endpoints: &Endpoints) {
        let known = self.endpoints.load();
        let endpoint = |address: &SocketAddr| {
            let old = known.iter().find(|endpoint| endpoint.address == *address).cloned();
            old.unwrap_or_else(|| Arc::new(Endpoint { address: *address, in_flight: AtomicUsize::new(0) }))
        };
        self.endpoints.store(Arc::new(endpoints.addresses.iter().map(endpoint).collect()));
    }

    /// The less busy one of the next two in turn: every endpoint is used over a short run, and a slow
    /// one gets less. Those in `tried` come last; None where there is no endpoint at all.
    pub fn pick(&self, tried: &[SocketAddr]) -> Option<Picked> {
        let endpoints = self.endpoints.load();
        let count = endpoints.len();
        let turn = self.next.fetch_add(1, Relaxed);
        let in_turn = |offset: usize| endpoints.get((turn.wrapping_add(offset)) % count.max(1));
        let untried = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.address);
        let picked = if tried.is_empty() {
            let (first, second) = (in_turn(0)?, in_turn(1)?);
            if second.in_flight.load(Relaxed) < first.in_flight.load(Relaxed) { second } else { first }
        } else {
            (0..count).filter_map(in_turn).find(untried).or_else(|| in_turn(0))?
        };
        picked.in_flight.fetch_add(1, Relaxed);
        Some(Picked(Arc::clone(picked)))
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoints.load().iter().map(|endpoint| endpoint.address).collect()
    }
}

impl Picked {
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use k8s::model::{Addressing, BackendId, Protocol, ServiceName};

    use super::*;

    fn endpoints(ports: &[u16]) -> Endpoints {
        Endpoints { addresses: ports.iter().map(|port| SocketAddr::from(([10, 0, 0, 1], *port))).collect() }
    }

    fn cell(ports: &[u16]) -> BackendCell {
        let backend = Backend {
            id: BackendId { service: ServiceName::new("default", "web"), port: 80 },
            protocol: Protocol::Http,
            validation: None,
            addressing: Addressing::EndpointSlices { port_name: "".into() },
        };
        BackendCell::new(backend, &endpoints(ports))
    }

    #[test]
    fn every_endpoint_is_used_over_a_short_run() {
        let cell = cell(&[1, 2, 3]);
        let mut used: Vec<u16> = (0..3).filter_map(|_| cell.pick(&[])).map(|picked| picked.address().port()).collect();
        used.sort_unstable();
        assert_eq!(used, [1, 2, 3]);
    }

    #[test]
    fn a_busy_endpoint_gets_less() {
        let cell = cell(&[1, 2]);
        let busy = cell.pick(&[]).expect("an endpoint");
        for _ in 0..4 {
            assert_ne!(cell.pick(&[]).expect("an endpoint").address(), busy.address());
        }
    }

    #[test]
    fn a_retry_takes_another_endpoint_where_there_is_one() {
        let tried = [SocketAddr::from(([10, 0, 0, 1], 1))];
        for _ in 0..4 {
            assert_eq!(cell(&[1, 2]).pick(&tried).expect("another").address().port(), 2);
        }
        assert_eq!(cell(&[1]).pick(&tried).expect("the same").address().port(), 1);
        assert!(cell(&[]).pick(&tried).is_none() && cell(&[]).pick(&[]).is_none());
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_count() {
        let cell = cell(&[1]);
        let _busy = cell.pick(&[]).expect("an endpoint");
        cell.set_endpoints(&endpoints(&[1, 2]));
        assert_eq!(cell.pick(&[]).expect("an endpoint").address().port(), 2);
        assert_eq!(cell.addresses().len(), 2);
    }
}
