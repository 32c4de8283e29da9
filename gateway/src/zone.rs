//! The zones: names to records, immutable, swapped whole. Pure.
//!
//! Lookup follows RFC 4592: the closest encloser decides which wildcard may answer, and nothing
//! that exists (a name, or an empty non-terminal above one) is ever covered by a wildcard.

mod build;
mod name;
mod record;
mod reverse;

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use k8s::model::ObjectName;

pub use self::{
    name::{LONGEST as LONGEST_NAME, WireName, labels},
    record::{Data, RrSet, SOA_TIMES, Soa, kind},
    reverse::name_of as name_of_address,
};

/// All zones, the longest apex first, so that a zone inside another one is found first.
#[derive(Debug, Default)]
pub struct Zones {
    zones: Vec<Zone>,
    serial: u32,
}

#[derive(Debug)]
pub struct Zone {
    pub apex: WireName,
    pub name_server: WireName,
    /// The SOA's RNAME, `hostmaster` below the apex.
    pub mailbox: WireName,
    pub serial: u32,
    /// TTL of positive answers, in seconds.
    pub ttl: u32,
    /// TTL of negative answers, in seconds, and of the SOA that says so (RFC 2308 section 4).
    pub negative_ttl: u32,
    /// Its place in the configuration file; None for a reverse zone, which is made from addresses.
    pub configured: Option<usize>,
    /// Where `_acme-challenge.X` of this zone leads: a CNAME to `X` below this domain.
    pub acme_challenge: Option<WireName>,
    pub soa: Soa,
    names: HashMap<WireName, u32, RandomState>,
    nodes: Vec<Node>,
}

/// What a name has. A node without records is an empty non-terminal, the apex, or a name without an address yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// At most one of each type. A CNAME stands alone (RFC 2181 section 10.1).
    pub rrsets: Vec<RrSet>,
    /// Who asked for the name, in the order of precedence. Empty for empty non-terminals.
    pub claims: Vec<Claim>,
    /// `*` below this name.
    wildcard: Option<u32>,
}

/// An object that wants a name answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub object: ObjectName,
    /// Where the router serves it; None for records of the object's own.
    pub entry_point: Option<Arc<str>>,
    /// The types that it gives, or would if it answered.
    pub kinds: Vec<u16>,
    pub part: Part,
}

/// What a claim has of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Answers,
    /// Its entry point has no address yet.
    NoAddress,
    /// Another claim comes before it.
    Outranked,
}

/// What the zones know of a name.
#[derive(Debug)]
pub enum Lookup<'z> {
    /// The name exists; which types it has is the node's to say. `wildcard` is the name that answers in its place.
    Found { zone: &'z Zone, node: &'z Node, wildcard: bool },
    /// NXDOMAIN (RFC 8020: nor does anything below it).
    Missing { zone: &'z Zone },
    /// NXDOMAIN in the name of `apex`, which is no zone of ours; NODATA where the name `exists`, as a zone lies below it.
    Denied { apex: WireName, exists: bool },
    /// No zone holds it.
    OutOfZone,
}

/// Seconds that "no such name" holds for what is [`Lookup::Denied`].
pub const DENIED_TTL: u32 = 60;

impl Zones {
    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter()
    }

    /// The most specific zone that holds the name.
    pub fn zone(&self, name: &[u8]) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.apex.is_at_or_above(name))
    }

    /// The zone in which a DS record of this name belongs (RFC 4035 section 3.1.4.1): of an apex that is the zone above.
    pub fn zone_of_ds(&self, name: &[u8]) -> Option<&Zone> {
        let mut holding = self.zones.iter().filter(|zone| zone.apex.is_at_or_above(name));
        let nearest = holding.next()?;
        if nearest.apex.as_bytes() == name { holding.next().or(Some(nearest)) } else { Some(nearest) }
    }

    /// `name` in lower case, as [`WireName`] has it.
    pub fn lookup(&self, name: &[u8]) -> Lookup<'_> {
        match self.zone(name) {
            Some(zone) => zone.lookup(name),
            None => match reverse::denied_in(name) {
                Some(apex) => {
                    let is_above = |zone: &Zone| ends_with_labels(zone.apex.as_bytes(), name);
                    let exists = apex.as_bytes() == name || self.zones.iter().any(is_above);
                    Lookup::Denied { apex, exists }
                }
                None => Lookup::OutOfZone,
            },
        }
    }
}

impl Zone {
    pub fn lookup(&self, name: &[u8]) -> Lookup<'_> {
        if let Some(node) = self.node(name) {
            return Lookup::Found { zone: self, node, wildcard: false };
        }
        // RFC 4592 section 3.3.1: the closest encloser is the nearest ancestor that exists; only the
        // wildcard right below it may answer. The apex exists, so the walk ends there.
        let encloser = name::ancestors(name).find_map(|ancestor| self.node(ancestor));
        match encloser.and_then(|encloser| self.nodes.get(encloser.wildcard? as usize)) {
            Some(node) => Lookup::Found { zone: self, node, wildcard: true },
            None => Lookup::Missing { zone: self },
        }
    }

    pub fn node(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.get(*self.names.get(name)? as usize)
    }

    /// Every name with its node, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (&WireName, &Node)> {
        self.names.iter().filter_map(|(name, index)| Some((name, self.nodes.get(*index as usize)?)))
    }

    /// Names that exist only because names below them do, where otherwise a wildcard would answer (RFC 4592
    /// section 2.2.2), each with that wildcard.
    pub fn shadowed(&self) -> Vec<(&WireName, WireName)> {
        let covering = |name: &WireName| {
            for ancestor in name::ancestors(name.as_bytes()) {
                let node = self.node(ancestor)?;
                if node.wildcard.is_some() {
                    return Some(WireName::from_wire(&name::wildcard_below(ancestor)));
                }
                // What somebody asks for stays, and keeps wildcards above it from names below it.
                if !node.is_empty_non_terminal() {
                    return None;
                }
            }
            None
        };
        let mut found: Vec<(&WireName, WireName)> = self
            .nodes()
            .filter(|(name, node)| node.is_empty_non_terminal() && **name != self.apex)
            .filter_map(|(name, _)| Some((name, covering(name)?)))
            .collect();
        found.sort();
        found
    }

    /// Whether the name, in any case, is one that [`acme_challenge_target`](Self::acme_challenge_target) may lead elsewhere.
    pub fn may_be_challenge(&self, name: &[u8]) -> bool {
        const LABEL: &[u8] = b"\x0f_acme-challenge";
        self.acme_challenge.is_some() && name.get(..LABEL.len()).is_some_and(|first| first.eq_ignore_ascii_case(LABEL))
    }

    /// `X` below the challenge domain for `_acme-challenge.X` of this zone, whether X exists or not.
    pub fn acme_challenge_target(&self, name: &[u8]) -> Option<WireName> {
        let domain = self.acme_challenge.as_ref()?;
        let mut labels: Vec<&[u8]> = labels(name).collect();
        labels.truncate(labels.len().checked_sub(labels_in(&self.apex))?);
        let (b"_acme-challenge", below) = labels.split_first().map(|(first, rest)| (*first, rest))? else {
            return None;
        };
        let target = WireName::from_labels(below.iter().copied().chain(self::labels(domain.as_bytes())));
        (target.as_bytes().len() <= name::LONGEST).then_some(target)
    }
}

/// Whether `name` lies below `above`.
fn ends_with_labels(name: &[u8], above: &[u8]) -> bool {
    name::ancestors(name).any(|ancestor| ancestor == above)
}

fn labels_in(name: &WireName) -> usize {
    labels(name.as_bytes()).count()
}

impl Node {
    /// Nobody asks for it: names below it do (RFC 4592 section 2.2.2).
    pub fn is_empty_non_terminal(&self) -> bool {
        self.claims.is_empty()
    }

    pub fn rrset(&self, kind: u16) -> Option<&RrSet> {
        self.rrsets.iter().find(|rrset| rrset.kind == kind)
    }

    /// Its addresses, of one kind or both.
    pub fn addresses(&self) -> impl Iterator<Item = &RrSet> {
        self.rrsets.iter().filter(|rrset| matches!(rrset.kind, kind::A | kind::AAAA))
    }

    /// The name that this one is an alias of.
    pub fn alias(&self) -> Option<WireName> {
        match self.rrset(kind::CNAME)?.data.first()? {
            Data::Record(k8s::model::RecordData::Cname(target)) => Some(target.into()),
            Data::Record(_) | Data::Https { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
