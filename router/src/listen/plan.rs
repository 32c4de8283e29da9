//! What to open and what to close. Pure.

use std::net::SocketAddr;

/// A socket that should be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    pub address: SocketAddr,
    pub tls: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Before anything is opened: an address that changes its kind is in both.
    pub(super) close: Vec<SocketAddr>,
    pub(super) open: Vec<Wanted>,
}

pub(super) fn plan(open: &[Wanted], wanted: &[Wanted]) -> Plan {
    let close = open.iter().filter(|it| !wanted.contains(it)).map(|it| it.address).collect();
    let mut missing: Vec<Wanted> = wanted.iter().filter(|it| !open.contains(it)).copied().collect();
    missing.sort();
    // An address can be opened once, however often it is asked for.
    missing.dedup_by_key(|it| it.address);
    Plan { close, open: missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(port: u16, tls: bool) -> Wanted {
        Wanted { address: SocketAddr::from(([127, 0, 0, 1], port)), tls }
    }

    #[test]
    fn what_stays_is_not_touched() {
        assert_eq!(plan(&[wanted(1, false)], &[wanted(1, false)]), Plan::default());
    }

    #[test]
    fn what_is_new_is_opened_what_is_gone_is_closed_and_what_changed_is_both() {
        let plan = plan(&[wanted(1, false), wanted(2, false)], &[wanted(2, true), wanted(3, false), wanted(3, false)]);
        let address = |port| wanted(port, false).address;
        assert_eq!(plan.close, [address(1), address(2)]);
        assert_eq!(plan.open, [wanted(2, true), wanted(3, false)]);
    }
}
