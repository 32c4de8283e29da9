//! Names of addresses: below `in-addr.arpa` (RFC 1035 section 3.5) and `ip6.arpa` (RFC 3596 section 2.5).

use std::{collections::BTreeMap, net::IpAddr};

use k8s::{
    config::Config,
    model::{ClaimedAnswer, HostName, HostPattern, NameClaim, RecordData},
};

use super::{
    Data, Zone,
    name::{WireName, labels},
};

/// The zone in whose name a single label or a private address is denied: the root, or the reverse
/// zone (RFC 6303). Pi-hole's conditional forwarding sends these to us alone. Refusing them for
/// ever would make it give us up for the names that we do have.
pub(super) fn denied_in(name: &[u8]) -> Option<WireName> {
    let labels: Vec<&[u8]> = labels(name).collect();
    let n_labels = match *labels {
        [_] => 0,
        [.., b"10", b"in-addr", b"arpa"] => 3,
        [.., b"168", b"192", b"in-addr", b"arpa"] => 4,
        [.., second, b"172", b"in-addr", b"arpa"] if is_private_below_172(second) => 4,
        [.., b"d", b"f", b"ip6", b"arpa"] => 4,
        _ => return None,
    };
    Some(WireName::from_labels(labels.iter().copied().skip(labels.len() - n_labels)))
}

/// 172.16.0.0/12.
fn is_private_below_172(label: &[u8]) -> bool {
    let second = std::str::from_utf8(label).ok().and_then(|label| label.parse().ok());
    second.is_some_and(|second: u8| (16..32).contains(&second))
}

/// The name of an address.
pub fn name_of(address: IpAddr) -> WireName {
    let (texts, suffix): (Vec<String>, &[u8]) = match address {
        IpAddr::V4(v4) => (v4.octets().iter().rev().map(u8::to_string).collect(), b"in-addr"),
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            (nibbles.map(|nibble| format!("{nibble:x}")).collect(), b"ip6")
        }
    };
    WireName::from_labels(texts.iter().map(String::as_bytes).chain([suffix, b"arpa"]))
}

/// The name of an address' network, from the address' own: a /24, or a /64.
pub(super) fn network_of(name: &WireName) -> WireName {
    let all: Vec<&[u8]> = labels(name.as_bytes()).collect();
    let n_host = if all.ends_with(&[b"ip6", b"arpa"]) { 16 } else { 1 };
    WireName::from_labels(all.into_iter().skip(n_host))
}

/// Names that entry points have for the sake of their addresses: each is called after itself in the first zone
/// (`lan.home.example`). One name is one door's, and an address that has a name already needs no other.
pub(super) fn doors(claims: &[NameClaim], config: &Config) -> Vec<(HostName, Vec<IpAddr>)> {
    let Some(zone) = config.zones.first() else { return Vec::new() };
    let of_file = config.entry_points.iter().map(|entry| (&*entry.name, entry.addresses.as_slice()));
    let of_gateways = claims.iter().filter_map(|claim| match &claim.answer {
        // `namespace/name`.
        ClaimedAnswer::EntryPoint { name, addresses, .. } => Some((name.split_once('/')?.1, &**addresses)),
        ClaimedAnswer::Records(_) | ClaimedAnswer::Withheld(_) => None,
    });
    let mut doors: Vec<(HostName, Vec<IpAddr>)> = Vec::new();
    // `ns` is the name server's.
    for (label, addresses) in of_file.chain(of_gateways).filter(|(label, _)| *label != "ns") {
        let Ok(name) = format!("{label}.{}", zone.name).parse::<HostName>() else { continue };
        let is_new = |address: &&IpAddr| {
            !config.dns.addresses.contains(address) && !doors.iter().any(|(_, taken)| taken.contains(address))
        };
        let new: Vec<IpAddr> = addresses.iter().filter(is_new).copied().collect();
        if !new.is_empty() && !doors.iter().any(|(taken, _)| *taken == name) {
            doors.push((name, new));
        }
    }
    doors
}

/// The name of each address: the first that is answered with it, of the name servers, the doors, the records of
/// objects, and what is served, in this order. A wildcard is no name that one could call.
pub(super) fn names_of_addresses(
    zones: &[Zone],
    claims: &[NameClaim],
    doors: &[(HostName, Vec<IpAddr>)],
    config: &Config,
) -> BTreeMap<IpAddr, HostName> {
    let mut named = BTreeMap::new();
    let mut offer = |name: &HostName, addresses: &mut dyn Iterator<Item = IpAddr>| {
        for address in addresses {
            if !named.contains_key(&address) && is_answered_with(zones, name, address) {
                named.insert(address, name.clone());
            }
        }
    };
    for name in config.zones.iter().filter_map(|zone| format!("ns.{}", zone.name).parse().ok()) {
        offer(&name, &mut config.dns.addresses.iter().copied());
    }
    for (name, addresses) in doors {
        offer(name, &mut addresses.iter().copied());
    }
    for claim in claims {
        if let (HostPattern::Exact(name), ClaimedAnswer::Records(data)) = (&claim.name, &claim.answer) {
            offer(name, &mut data.iter().filter_map(RecordData::address));
        }
    }
    for claim in claims {
        if let (HostPattern::Exact(name), ClaimedAnswer::EntryPoint { addresses, .. }) = (&claim.name, &claim.answer) {
            offer(name, &mut addresses.iter().copied());
        }
    }
    named
}

fn is_answered_with(zones: &[Zone], name: &HostName, address: IpAddr) -> bool {
    let name = WireName::from(name);
    let node = zone_of(zones, &name).and_then(|zone| zone.node(name.as_bytes()));
    let wanted = Data::Record(RecordData::from(address));
    let rrset = node.and_then(|node| node.rrset(wanted.kind()));
    rrset.is_some_and(|rrset| rrset.data.contains(&wanted))
}

/// Of zones that have the longest apex first, the one that holds the name.
pub(super) fn zone_of<'z>(zones: &'z [Zone], name: &WireName) -> Option<&'z Zone> {
    zones.iter().find(|zone| zone.apex.is_at_or_above(name.as_bytes()))
}
