//! What to open and what to close. Pure.

use std::net::SocketAddr;

/// A socket that should be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    pub address: SocketAddr,
    pub kind: Kind,
}

/// What comes to a socket first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A request in the clear.
    Http,
    /// A handshake, whatever is inside or behind it.
    Tls,
    /// Any bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What can be bound once. TCP and UDP have the same addresses, and ports of their own.
pub(super) type Bound = (SocketAddr, Transport);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Wanted {
    pub(super) fn bound(self) -> Bound {
        let transport = match self.kind {
            Kind::Http | Kind::Tls | Kind::Tcp => Transport::Tcp,
            Kind::Udp => Transport::Udp,
        };
        (self.address, transport)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Before anything is opened: an address that changes its kind is in both.
    pub(super) close: Vec<Bound>,
    pub(super) open: Vec<Wanted>,
}

pub(super) fn plan(open: &[Wanted], wanted: &[Wanted]) -> Plan {
    let close = open.iter().filter(|it| !wanted.contains(it)).map(|it| it.bound()).collect();
    let mut missing: Vec<Wanted> = wanted.iter().filter(|it| !open.contains(it)).copied().collect();
    missing.sort_by_key(|it| (it.bound(), it.kind));
    // An address can be opened once, however often it is asked for.
    missing.dedup_by_key(|it| it.bound());
    Plan { close, open: missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(port: u16, kind: Kind) -> Wanted {
        Wanted { address: SocketAddr::from(([127, 0, 0, 1], port)), kind }
    }

    #[test]
    fn what_stays_is_not_touched() {
        assert_eq!(plan(&[wanted(1, Kind::Http)], &[wanted(1, Kind::Http)]), Plan::default());
    }

    #[test]
    fn what_is_new_is_opened_what_is_gone_is_closed_and_what_changed_is_both() {
        let open = [wanted(1, Kind::Http), wanted(2, Kind::Http)];
        let plan = plan(&open, &[wanted(2, Kind::Tls), wanted(3, Kind::Tcp), wanted(3, Kind::Tcp)]);
        assert_eq!(plan.close, open.map(Wanted::bound));
        assert_eq!(plan.open, [wanted(2, Kind::Tls), wanted(3, Kind::Tcp)]);
    }

    #[test]
    fn datagrams_have_the_same_address_as_connections_and_neither_closes_the_other() {
        let (tcp, udp) = (wanted(53, Kind::Tcp), wanted(53, Kind::Udp));
        assert_eq!(plan(&[], &[udp, tcp]), Plan { close: Vec::new(), open: vec![tcp, udp] });
        assert_eq!(plan(&[tcp, udp], &[tcp]), Plan { close: vec![udp.bound()], open: Vec::new() });
        assert_eq!(plan(&[tcp, udp], &[udp, wanted(53, Kind::Http)]).close, [tcp.bound()]);
    }
}
