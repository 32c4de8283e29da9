//! Time as a number that fits into an atomic: milliseconds since this process first asked.

use std::{sync::OnceLock, time::Instant};

pub fn now() -> u64 {
    at(Instant::now())
}

pub fn at(instant: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(instant.saturating_duration_since(*start).as_millis()).unwrap_or(u64::MAX)
}
