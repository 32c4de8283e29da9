//! When an endpoint that fails is left alone, and for how long. Pure: the time comes from outside.
//!
//! No answer is a failure, whatever its status: an endpoint that says 503 is there, and a client that knows how
//! to make it say so must not be able to take it away from all others. Nor is slowness: endpoints that are slow
//! have more in flight, and get less for it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What went wrong, before anything of an answer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody takes a connection: reason enough.
    NoConnection,
    /// The connection ended under a request. It may be the request's own fault, and so takes several in a row.
    NoAnswer,
}

/// Failures in a row that eject.
const ENOUGH: u64 = 3;
/// The first time, in milliseconds, doubled with each one that follows.
const SHORTEST: u64 = 1_000;
const LONGEST: u64 = 30_000;

/// Until when (milliseconds) in the upper 48 bits, and failures in a row in the lower 16. 0 is well.
#[derive(Debug, Default)]
pub struct Ejection(AtomicU64);

impl Ejection {
    /// Whether it is ejected. One that was, and whose time is over, is not: but see `claim`.
    pub fn is_out(&self, now: u64) -> bool {
        self.until() > now
    }

    /// In milliseconds; 0 is never.
    pub fn until(&self) -> u64 {
        unpack(self.0.load(Relaxed)).0
    }

    /// To be asked for before an endpoint is used: None where it is out. Of an endpoint whose time is over
    /// the first request is a probe, and until that has ended well it stays out for all others.
    pub fn claim(&self, now: u64) -> Option<IsProbe> {
        let state = self.0.load(Relaxed);
        match unpack(state) {
            (0, _) => Some(IsProbe(false)),
            (until, _) if until > now => None,
            (_, failures) => {
                let next = pack(now + time(failures), failures);
                self.0.compare_exchange(state, next, Relaxed, Relaxed).ok().map(|_| IsProbe(true))
            }
        }
    }

    /// Returns whether it is ejected by this.
    pub fn failed(&self, failure: Failure, IsProbe(is_probe): IsProbe, now: u64) -> bool {
        let mut ejects = false;
        let changed = self.0.fetch_update(Relaxed, Relaxed, |state| {
            let (until, failures) = unpack(state);
            // What was on its way as it was ejected says nothing new.
            if until > now && !is_probe {
                return None;
            }
            let counts = if until > 0 || failure == Failure::NoConnection { ENOUGH } else { 1 };
            let failures = (failures + counts).min(u64::from(u16::MAX));
            ejects = failures >= ENOUGH;
            Some(pack(if ejects { now + time(failures) } else { 0 }, failures))
        });
        changed.is_ok() && ejects
    }

    /// An answer, of any status.
    pub fn succeeded(&self) {
        if self.0.load(Relaxed) != 0 {
            self.0.store(0, Relaxed);
        }
    }
}

/// Whether a request is the one that finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IsProbe(bool);

/// How long it is ejected after so many failures in a row.
fn time(failures: u64) -> u64 {
    let doublings = (failures / ENOUGH).saturating_sub(1).min(5);
    (SHORTEST << doublings).min(LONGEST)
}

fn pack(until: u64, failures: u64) -> u64 {
    (until << 16) | failures
}

fn unpack(state: u64) -> (u64, u64) {
    (state >> 16, state & u64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: IsProbe = IsProbe(false);

    /// What a request of that time is told.
    fn ask(ejection: &Ejection, now: u64) -> Option<IsProbe> {
        ejection.claim(now)
    }

    #[test]
    fn one_that_takes_no_connection_is_out_at_once_and_comes_back_by_one_request() {
        let ejection = Ejection::default();
        assert_eq!(ask(&ejection, 5), Some(NO));
        assert!(ejection.failed(Failure::NoConnection, NO, 5));
        assert_eq!(ask(&ejection, 1_004), None);
        let probe = ask(&ejection, 1_005).expect("the time is over");
        assert!(probe.0);
        assert_eq!(ask(&ejection, 1_005), None, "one request finds out");
        ejection.succeeded();
        assert_eq!(ask(&ejection, 1_005), Some(NO));
    }

    #[test]
    fn many_failures_at_once_are_one() {
        let ejection = Ejection::default();
        let ejected = (0..50).filter(|_| ejection.failed(Failure::NoConnection, NO, 5)).count();
        assert_eq!((ejected, ejection.until()), (1, 1_005));
    }

    #[test]
    fn each_time_it_is_out_for_twice_as_long_up_to_half_a_minute() {
        let ejection = Ejection::default();
        let mut now = 1;
        ejection.failed(Failure::NoConnection, NO, now);
        let mut times = vec![ejection.until() - now];
        for _ in 0..7 {
            now = ejection.until();
            let probe = ask(&ejection, now).expect("the time is over");
            assert!(ejection.failed(Failure::NoAnswer, probe, now));
            times.push(ejection.until() - now);
        }
        assert_eq!(times, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        ejection.succeeded();
        assert!(ejection.failed(Failure::NoConnection, NO, now));
        assert_eq!(ejection.until() - now, 1_000, "a success forgets it all");
    }

    #[test]
    fn connections_that_end_under_requests_count_in_a_row() {
        let ejection = Ejection::default();
        let silent = |now| ejection.failed(Failure::NoAnswer, NO, now);
        assert!(!silent(1) && !silent(2));
        ejection.succeeded();
        assert!(!silent(3) && !silent(4) && silent(5));
    }

    #[test]
    fn a_probe_that_never_ends_is_followed_by_another() {
        let ejection = Ejection::default();
        ejection.failed(Failure::NoConnection, NO, 1);
        assert!(ask(&ejection, 1_001).is_some() && ask(&ejection, 1_500).is_none());
        assert!(ask(&ejection, 2_001).is_some());
    }
}
