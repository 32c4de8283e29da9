//! What is known of one endpoint. Every dataplane and cell that has the address shares it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    balance::{self, State},
    ejection::{Ejection, Failure, IsProbe},
    kept::Kept,
};

/// How long an idle connection is kept. Shorter than the idle timeouts of most servers, so that a connection is
/// rarely closed as it is used again.
const IDLE: Duration = Duration::from_secs(55);
/// Until the first answer has said how long the server keeps it: Node, which says so, does for 5 s.
const IDLE_UNKNOWN: Duration = Duration::from_secs(4);
/// Health checks in a row that have to fail.
const ILL: u8 = 2;
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// What stands for the address where clients see it, and where they must not learn it.
    pub token: u64,
    /// When it joined others, in milliseconds; None where it was there from the beginning.
    joined: Option<u64>,
    in_flight: AtomicUsize,
    pub ejection: Ejection,
    failed_checks: AtomicU8,
    /// In milliseconds.
    idle: AtomicU64,
    /// Of HTTP/1.1 in the clear. All others are pingora's.
    pub(super) kept: Kept,
}

/// An endpoint with a request on its way to it, until it is dropped.
#[derive(Debug)]
pub struct Picked {
    endpoint: Arc<Endpoint>,
    is_probe: IsProbe,
}

impl Endpoint {
    pub fn new(address: SocketAddr, token: u64, joined: Option<u64>) -> Self {
        Self {
            address,
            token,
            joined,
            in_flight: AtomicUsize::new(0),
            ejection: Ejection::default(),
            failed_checks: AtomicU8::new(0),
            idle: AtomicU64::new(UNKNOWN),
            kept: Kept::default(),
        }
    }

    pub fn state(&self, is_usable: bool, now: u64) -> State {
        State { is_usable, in_flight: self.in_flight(), share: balance::share(self.joined, now) }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// None where it is ejected.
    pub fn take(self: &Arc<Self>, now: u64) -> Option<Picked> {
        let is_probe = self.ejection.claim(now)?;
        Some(self.picked(is_probe))
    }

    /// Whatever is known of it.
    pub fn take_anyway(self: &Arc<Self>) -> Picked {
        self.picked(IsProbe::default())
    }

    fn picked(self: &Arc<Self>, is_probe: IsProbe) -> Picked {
        self.in_flight.fetch_add(1, Relaxed);
        Picked { endpoint: Arc::clone(self), is_probe }
    }

    pub fn checked(&self, is_well: bool) {
        let failed = if is_well { 0 } else { self.failed_checks.load(Relaxed).saturating_add(1) };
        self.failed_checks.store(failed, Relaxed);
    }

    /// Whether its health checks fail.
    pub fn is_ill(&self) -> bool {
        self.failed_checks.load(Relaxed) >= ILL
    }

    /// How long a connection to it may be idle before it is closed.
    pub fn idle(&self) -> Duration {
        match self.idle.load(Relaxed) {
            UNKNOWN => IDLE_UNKNOWN,
            milliseconds => Duration::from_millis(milliseconds),
        }
    }

    fn set_idle(&self, idle: Duration) {
        let milliseconds = u64::try_from(idle.as_millis()).unwrap_or(UNKNOWN - 1);
        if self.idle.load(Relaxed) != milliseconds {
            self.idle.store(milliseconds, Relaxed);
        }
    }
}

impl Picked {
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    pub fn token(&self) -> u64 {
        self.endpoint.token
    }

    pub fn idle(&self) -> Duration {
        self.endpoint.idle()
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn kept(&self) -> &Kept {
        &self.endpoint.kept
    }

    /// The head of an answer has come; `keep_alive` is its field of this name.
    pub fn answered(&self, keep_alive: Option<&str>) {
        self.endpoint.ejection.succeeded();
        self.endpoint.set_idle(keep_alive.and_then(timeout).map_or(IDLE, closes_after));
    }

    /// It takes connections, which is all that can be known where nobody knows what is said on them.
    pub fn connected(&self) {
        self.endpoint.ejection.succeeded();
    }

    /// Returns whether the endpoint is ejected by this.
    pub fn failed(&self, failure: Failure, now: u64) -> bool {
        self.endpoint.ejection.failed(failure, self.is_probe, now)
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The seconds of `timeout=5, max=100`. No RFC says what Keep-Alive looks like; servers agree on this.
fn timeout(keep_alive: &str) -> Option<u64> {
    let parameters = keep_alive.split(',').filter_map(|parameter| parameter.split_once('='));
    let mut timeouts = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"));
    timeouts.next()?.1.trim().trim_matches('"').parse().ok()
}

/// A second before the server does; of a single second half of it.
fn closes_after(seconds: u64) -> Duration {
    let timeout = Duration::from_secs(seconds);
    timeout.saturating_sub(Duration::from_secs(1)).max(timeout / 2).min(IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_closed_before_the_server_closes_it() {
        for (field, milliseconds) in [
            (None, 55_000),
            (Some("timeout=5"), 4_000),
            (Some("Timeout = 5 , max=100"), 4_000),
            (Some("max=100, timeout=\"2\""), 1_000),
            (Some("timeout=1"), 500),
            (Some("timeout=0"), 0),
            (Some("timeout=3600"), 55_000),
            (Some("timeout=18446744073709551615"), 55_000),
            (Some("timeout=-1"), 55_000),
            (Some("timeout"), 55_000),
            (Some(""), 55_000),
        ] {
            let endpoint = Arc::new(Endpoint::new(([127, 0, 0, 1], 1).into(), 0, None));
            assert_eq!(endpoint.idle(), IDLE_UNKNOWN);
            endpoint.take_anyway().answered(field);
            assert_eq!(endpoint.idle(), Duration::from_millis(milliseconds), "{field:?}");
        }
    }

    #[test]
    fn one_failed_check_is_chance_and_one_that_succeeds_is_enough() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into(), 0, None);
        endpoint.checked(false);
        assert!(!endpoint.is_ill());
        (0..300).for_each(|_| endpoint.checked(false));
        assert!(endpoint.is_ill());
        endpoint.checked(true);
        assert!(!endpoint.is_ill());
    }
}
