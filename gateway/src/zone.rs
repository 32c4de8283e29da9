//! The zones: names to records, immutable, swapped whole. Pure.
//!
//! Lookup follows RFC 4592: the closest encloser decides which wildcard may answer, and nothing
//! that exists (a name, or an empty non-terminal above one) is ever covered by a wildcard.

mod build;
mod name;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use foldhash::fast::RandomState;
use k8s::model::ObjectName;

pub use self::name::WireName;

/// All zones, the longest apex first, so that a zone inside another one is found first.
#[derive(Debug, Default)]
pub struct Zones {
    zones: Vec<Zone>,
    serial: u32,
}

#[derive(Debug)]
pub struct Zone {
    pub apex: WireName,
    /// `ns.` below the apex.
    pub name_server: WireName,
    pub serial: u32,
    /// TTL of positive answers, in seconds.
    pub ttl: u32,
    /// TTL of negative answers, in seconds, and of the SOA that says so (RFC 2308 section 4).
    pub negative_ttl: u32,
    nodes: HashMap<WireName, Node, RandomState>,
}

/// What a name has. A node without addresses is an empty non-terminal, or the apex.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub v4: Vec<Ipv4Addr>,
    pub v6: Vec<Ipv6Addr>,
    /// Who asked for the name, the one whose address is answered first. Empty for empty non-terminals.
    pub claims: Vec<Claim>,
}

/// An object that wants a name served at an entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub object: ObjectName,
    pub entry_point: Arc<str>,
}

/// What the zones know of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'z> {
    /// The name exists; which types it has is the node's to say. `wildcard` is the name that answers in its place.
    Found { zone: &'z Zone, node: &'z Node, wildcard: Option<&'z WireName> },
    /// NXDOMAIN (RFC 8020: nor does anything below it).
    Missing { zone: &'z Zone },
    /// NXDOMAIN in the name of `apex`, which is no zone of ours.
    Denied { apex: WireName },
    /// No zone holds it.
    OutOfZone,
}

/// Seconds that "no such name" holds for what is [`Lookup::Denied`].
pub const DENIED_TTL: u32 = 60;

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.apex == other.apex
    }
}

impl Eq for Zone {}

impl Zones {
    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter()
    }

    /// Every name that has addresses, with its zone.
    pub fn names(&self) -> impl Iterator<Item = (&Zone, &WireName, &Node)> {
        self.zones.iter().flat_map(|zone| {
            zone.nodes.iter().filter(|(_, node)| node.has_addresses()).map(move |(name, node)| (zone, name, node))
        })
    }

    /// `name` in lower case, as [`WireName`] has it.
    pub fn lookup(&self, name: &[u8]) -> Lookup<'_> {
        match self.zones.iter().find(|zone| zone.apex.is_at_or_above(name)) {
            Some(zone) => zone.lookup(name),
            None => match denied_in(name) {
                Some(apex) => Lookup::Denied { apex },
                None => Lookup::OutOfZone,
            },
        }
    }
}

impl Zone {
    fn lookup(&self, name: &[u8]) -> Lookup<'_> {
        if let Some(node) = self.nodes.get(name) {
            return Lookup::Found { zone: self, node, wildcard: None };
        }
        // RFC 4592 section 3.3.1: the closest encloser is the nearest ancestor that exists; only the
        // wildcard right below it may answer. The apex exists, so the walk ends there.
        let encloser = name::ancestors(name).find(|ancestor| self.nodes.contains_key(*ancestor));
        let wildcard = encloser.and_then(|encloser| self.nodes.get_key_value(&*name::wildcard_below(encloser)));
        match wildcard {
            Some((wildcard, node)) => Lookup::Found { zone: self, node, wildcard: Some(wildcard) },
            None => Lookup::Missing { zone: self },
        }
    }

    pub fn node(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.get(name)
    }
}

/// The zone in whose name a single label or a private address is denied: the root, or the reverse
/// zone (RFC 6303). Pi-hole's conditional forwarding sends these to us alone. Refusing them for
/// ever would make it give us up for the names that we do have.
fn denied_in(name: &[u8]) -> Option<WireName> {
    let labels: Vec<&[u8]> = name::labels(name).collect();
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

impl Node {
    pub fn has_addresses(&self) -> bool {
        !self.v4.is_empty() || !self.v6.is_empty()
    }
}

#[cfg(test)]
mod tests;
