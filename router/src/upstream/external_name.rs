//! Backends that are a DNS name: resolved in the background, never while a request waits.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use k8s::model::{Addressing, Endpoints};
use tracing::warn;

use super::BackendCell;

const REFRESH: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the cell's endpoints at what its name resolves to, until it is retired.
/// A name that does not resolve keeps its last addresses.
pub fn follow(cell: &Arc<BackendCell>) {
    let Addressing::ExternalName { host, port } = &cell.backend.addressing else { return };
    let (host, port) = (Arc::clone(host), *port);
    let weak = Arc::downgrade(cell);
    cell.spawn_until_retired(async move {
        let mut was_resolved = true;
        while weak.strong_count() > 0 {
            let resolved = tokio::net::lookup_host((&*host, port)).await;
            let is_resolved = resolved.is_ok();
            match resolved {
                Ok(addresses) => set(&weak, addresses),
                Err(error) if was_resolved => warn!(%host, %error, "an ExternalName Service does not resolve"),
                Err(_) => {}
            }
            was_resolved = is_resolved;
            tokio::time::sleep(if is_resolved { REFRESH } else { RETRY }).await;
        }
    });
}

fn set(cell: &Weak<BackendCell>, addresses: impl Iterator<Item = SocketAddr>) {
    let Some(cell) = cell.upgrade() else { return };
    let mut addresses: Vec<SocketAddr> = addresses.filter(|address| is_allowed(address.ip())).collect();
    addresses.sort();
    addresses.dedup();
    cell.set_endpoints(&Endpoints { addresses });
}

/// Whoever may write a Service must not reach what listens for this host alone, nor a cloud's metadata.
fn is_allowed(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_to_this_host_or_to_metadata_leads_nowhere() {
        for (address, allowed) in [
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:127.0.0.1", false),
            ("fe80::1", false),
            ("192.168.8.9", true),
            ("fd00::1", true),
        ] {
            assert_eq!(is_allowed(address.parse().expect("an address")), allowed, "{address}");
        }
    }
}
