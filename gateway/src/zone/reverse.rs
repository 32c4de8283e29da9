//! Names of addresses: below `in-addr.arpa` (RFC 1035 section 3.5) and `ip6.arpa` (RFC 3596 section 2.5).

use std::net::IpAddr;

use super::name::{WireName, labels};

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
