//! Backends: their endpoints, and what is known about them across swaps of the dataplane.

mod alternative_names;
pub mod balance;
pub mod client;
mod client_certificate;
pub mod clock;
mod ejection;
mod endpoint;
pub mod external_name;
pub mod health_check;
pub mod http1;
mod kept;
mod peer;
pub mod raw;
pub mod retry;
mod websocket;

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use k8s::model::{Backend, Endpoints};
use metrics::Counter;
use ring::hmac;
use tokio_util::sync::CancellationToken;

use self::peer::Verified;
pub use self::{
    client_certificate::ClientCertificate,
    ejection::Failure,
    endpoint::{Endpoint, Picked},
    kept::MOST_IN_ALL as MOST_KEPT,
    peer::{Terms, check_authorities, connect_limit, peer},
    websocket::Upgraded,
};
use crate::metrics::upstream_ejections;

/// One backend's live state. Dataplanes come and go around it.
#[derive(Debug)]
pub struct BackendCell {
    pub backend: Backend,
    pub verified: Option<Verified>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    ejections: Counter,
    retired: CancellationToken,
}

/// What a choice among endpoints depends on.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    pub wish: Wish,
    /// These have failed for this request.
    pub tried: &'a [SocketAddr],
    /// Anything that differs from request to request.
    pub random: u64,
    /// As `clock` has it.
    pub now: u64,
}

/// Which endpoint a request would go to, if that is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    #[default]
    Any,
    /// The one of this token.
    Endpoint(u64),
    /// The same for all requests with this hash.
    Hash(u64),
}

impl BackendCell {
    /// What was known of the endpoints of its predecessor, a cell of the same identity, stays known.
    pub fn new(backend: Backend, endpoints: &Endpoints, predecessor: Option<&Self>) -> Self {
        let known = predecessor.map(Self::endpoints).unwrap_or_default();
        let ejections = upstream_ejections(&backend.id.service);
        let verified = backend.validation.as_deref().map(Verified::new);
        let cell =
            Self { backend, verified, endpoints: ArcSwap::new(known), ejections, retired: CancellationToken::new() };
        cell.set_endpoints(endpoints);
        cell
    }

    /// Endpoints that stay keep what is known of them. The next request already sees the new ones.
    pub fn set_endpoints(&self, endpoints: &Endpoints) {
        let known = self.endpoints.load();
        // The first ones share all of the load from the beginning.
        let joined = (!known.is_empty()).then(clock::now);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.backend.uid.as_bytes());
        let endpoint = |address: &SocketAddr| {
            let token = self.token(&key, *address);
            let old = known.iter().find(|endpoint| endpoint.address == *address && endpoint.token == token);
            old.map_or_else(|| Arc::new(Endpoint::new(*address, token, joined)), Arc::clone)
        };
        self.endpoints.store(Arc::new(endpoints.addresses.iter().map(endpoint).collect()));
    }

    /// Clients see it, and cannot make an address of it: they do not know the Service's uid. Every replica has the same.
    fn token(&self, key: &hmac::Key, address: SocketAddr) -> u64 {
        let tag = hmac::sign(key, format!("{} {address}", self.backend.id).as_bytes());
        tag.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes)
    }

    /// None where there is no endpoint at all. Those in `tried` come last, and before them those that are ejected or
    /// ill: where nothing better is left, one that did not work a moment ago may work now.
    pub fn pick(&self, choice: &Choice<'_>) -> Option<Picked> {
        let endpoints = self.endpoints.load();
        let Choice { wish, tried, random, now } = *choice;
        let is_untried = |endpoint: &Arc<Endpoint>| !tried.contains(&endpoint.address);
        let is_well =
            |endpoint: &Arc<Endpoint>| is_untried(endpoint) && !endpoint.ejection.is_out(now) && !self.is_ill(endpoint);
        // Another request may be faster to probe one that was ejected.
        for _ in 0..2 {
            let wished = match wish {
                Wish::Any => None,
                Wish::Endpoint(token) => endpoints.iter().find(|it| it.token == token && is_well(it)),
                Wish::Hash(hash) => balance::by_hash(&endpoints, hash, |it| it.token, is_well),
            };
            let found = wished.or_else(|| balance::choose(&endpoints, random, |it| it.state(is_well(it), now)));
            let Some(found) = found else { break };
            if let Some(picked) = found.take(now) {
                return Some(picked);
            }
        }
        let untried = balance::choose(&endpoints, random, |it| it.state(is_untried(it), now));
        let any = untried.or_else(|| balance::choose(&endpoints, random, |it| it.state(true, now)));
        Some(any?.take_anyway())
    }

    /// Whether there is an endpoint beside these.
    pub fn has_other(&self, than: &[SocketAddr]) -> bool {
        self.endpoints.load().iter().any(|endpoint| !than.contains(&endpoint.address))
    }

    pub fn has_token(&self, token: u64) -> bool {
        self.endpoints.load().iter().any(|endpoint| endpoint.token == token)
    }

    /// Whether its health checks fail. Without them nobody asks any more, and what was found out is long ago.
    pub fn is_ill(&self, endpoint: &Endpoint) -> bool {
        self.backend.health_check.is_some() && endpoint.is_ill()
    }

    pub fn failed(&self, picked: &Picked, failure: Failure) {
        if picked.failed(failure, clock::now()) {
            self.ejections.increment(1);
        }
    }

    /// Nothing new comes here. What is under way may hold the cell for days, and its endpoints belong to a successor:
    /// nobody asks about them any more on behalf of this one.
    pub fn retire(&self) {
        self.retired.cancel();
    }

    /// Ends `task` when the cell is retired.
    fn spawn_until_retired(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.retired.clone().run_until_cancelled_owned(task));
    }

    pub fn addresses(&self) -> Endpoints {
        Endpoints { addresses: self.endpoints.load().iter().map(|endpoint| endpoint.address).collect() }
    }

    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }
}

#[cfg(test)]
mod tests {
    use k8s::model::{Addressing, BackendId, HealthCheck, Protocol, ServiceName};

    use super::*;

    fn endpoints(ports: &[u16]) -> Endpoints {
        Endpoints { addresses: ports.iter().map(|port| address(*port)).collect() }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn backend() -> Backend {
        Backend {
            id: BackendId { service: ServiceName::new("default", "web"), port: 80, spoken: None },
            protocol: Protocol::Http,
            validation: None,
            addressing: Addressing::EndpointSlices { port_name: "".into() },
            uid: "7d1a0a2e".into(),
            health_check: None,
        }
    }

    fn cell(ports: &[u16]) -> BackendCell {
        BackendCell::new(backend(), &endpoints(ports), None)
    }

    fn any(random: u64) -> Choice<'static> {
        Choice { wish: Wish::Any, tried: &[], random: balance::mix(random), now: 1 }
    }

    /// The ports that many requests in a row go to, sorted.
    fn used(cell: &BackendCell, choice: &Choice<'_>) -> Vec<u16> {
        let picked = (0..200).filter_map(|n| cell.pick(&Choice { random: balance::mix(n), ..*choice }));
        let mut ports: Vec<u16> = picked.map(|picked| picked.address().port()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    #[test]
    fn every_endpoint_is_used_over_a_short_run() {
        assert_eq!(used(&cell(&[1, 2, 3]), &any(0)), [1, 2, 3]);
    }

    #[test]
    fn a_busy_endpoint_gets_less() {
        let cell = cell(&[1, 2]);
        let busy = cell.pick(&any(0)).expect("an endpoint");
        assert!(!used(&cell, &any(0)).contains(&busy.address().port()));
    }

    #[test]
    fn a_retry_takes_another_endpoint_where_there_is_one() {
        let tried = [address(1)];
        let retry = Choice { tried: &tried, ..any(0) };
        assert_eq!(used(&cell(&[1, 2]), &retry), [2]);
        assert_eq!(used(&cell(&[1]), &retry), [1]);
        assert!(cell(&[]).pick(&retry).is_none() && cell(&[]).pick(&any(0)).is_none());
        assert!(cell(&[1, 2]).has_other(&tried) && !cell(&[1]).has_other(&tried));
    }

    #[test]
    fn an_ejected_endpoint_is_used_only_where_there_is_no_other() {
        let cell = cell(&[1, 2]);
        let eject = |port: u16| {
            let others = [address(3 - port)];
            let picked = cell.pick(&Choice { tried: &others, ..any(0) }).expect("an endpoint");
            assert!(picked.failed(Failure::NoConnection, 1));
        };
        eject(1);
        assert_eq!(used(&cell, &any(0)), [2]);
        assert_eq!(used(&cell, &Choice { tried: &[address(2)], ..any(0) }), [1]);
        eject(2);
        assert_eq!(used(&cell, &any(0)), [1, 2]);
    }

    #[test]
    fn when_its_time_is_over_one_request_probes_an_endpoint() {
        let cell = cell(&[1, 2]);
        let _ = cell.pick(&Choice { tried: &[address(2)], ..any(0) }).expect("one").failed(Failure::NoConnection, 1);
        let later = Choice { now: 5_000, ..any(0) };
        let picked: Vec<Picked> =
            (0..200).filter_map(|n| cell.pick(&Choice { random: balance::mix(n), ..later })).collect();
        let probes: Vec<&Picked> = picked.iter().filter(|picked| picked.address() == address(1)).collect();
        assert_eq!(probes.len(), 1);
        probes[0].answered(None);
        drop(picked);
        assert_eq!(used(&cell, &later), [1, 2]);
    }

    #[test]
    fn an_ill_endpoint_is_used_only_where_there_is_no_other_and_only_while_it_is_checked() {
        let checked = Backend { health_check: Some(HealthCheck { path: "/healthz".into() }), ..backend() };
        let cell = BackendCell::new(checked, &endpoints(&[1, 2]), None);
        for endpoint in cell.endpoints().iter().filter(|endpoint| endpoint.address == address(1)) {
            endpoint.checked(false);
            endpoint.checked(false);
        }
        assert_eq!(used(&cell, &any(0)), [2]);
        assert_eq!(used(&BackendCell::new(backend(), &endpoints(&[1, 2]), Some(&cell)), &any(0)), [1, 2]);
    }

    #[test]
    fn a_wish_is_granted_as_long_as_its_endpoint_is_well() {
        let cell = cell(&[1, 2, 3]);
        let token = cell.pick(&any(0)).expect("one").token();
        let wish = Choice { wish: Wish::Endpoint(token), ..any(0) };
        let [port] = used(&cell, &wish)[..] else { panic!("one endpoint") };
        assert!(cell.has_token(token));
        let same = Choice { wish: Wish::Hash(balance::hash(b"user")), ..any(0) };
        assert_eq!(used(&cell, &same).len(), 1);
        let _ = cell.pick(&wish).expect("one").failed(Failure::NoConnection, 1);
        assert!(!used(&cell, &wish).contains(&port));
        assert_eq!(used(&cell, &Choice { wish: Wish::Endpoint(7), ..any(0) }).len(), 2);
    }

    #[test]
    fn tokens_differ_by_service_and_address_and_are_the_same_for_every_replica() {
        let of = |backend: Backend| {
            let cell = BackendCell::new(backend, &endpoints(&[1, 2]), None);
            cell.endpoints().iter().map(|endpoint| endpoint.token).collect::<Vec<_>>()
        };
        assert_eq!(of(backend()), of(backend()));
        let mut all = [of(backend()), of(Backend { uid: "".into(), ..backend() })].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn what_is_known_of_an_endpoint_stays_through_changes_of_its_cell() {
        let old = cell(&[1, 2]);
        let _busy = old.pick(&Choice { tried: &[address(2)], ..any(0) }).expect("an endpoint");
        old.set_endpoints(&endpoints(&[1, 2, 3]));
        let new = BackendCell::new(Backend { protocol: Protocol::H2c, ..backend() }, &endpoints(&[1, 2]), Some(&old));
        let in_flight: Vec<usize> = new.endpoints().iter().map(|endpoint| endpoint.in_flight()).collect();
        assert_eq!(in_flight, [1, 0]);
    }

    #[test]
    fn those_that_join_begin_slowly_and_those_of_the_start_do_not() {
        let share = |cell: &BackendCell, place: usize| cell.endpoints()[place].state(true, clock::now()).share;
        let cell = cell(&[1]);
        cell.set_endpoints(&endpoints(&[1, 2]));
        assert!(share(&cell, 0) == balance::FULL && share(&cell, 1) < balance::FULL);
        cell.set_endpoints(&endpoints(&[]));
        cell.set_endpoints(&endpoints(&[3]));
        assert_eq!(share(&cell, 0), balance::FULL);
    }
}
