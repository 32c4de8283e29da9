//! Where aliases lead, for lists that hold no aliases, or only some.

use std::fmt;

use crate::{
    reference::ALIASES,
    zone::{Lookup, Node, RrSet, WireName, Zones},
};

/// What is at the end of a name's aliases.
#[derive(Debug)]
pub(super) enum End<'z> {
    Addresses {
        rrsets: Vec<&'z RrSet>,
        /// Whether a wildcard has answered on the way.
        by_wildcard: bool,
    },
    Circle,
    TooLong,
    OutOfZone(WireName),
    WithoutAddress(WireName),
}

/// What a client gets that asks for addresses of `name`, whose `node` has the alias.
pub(super) fn end<'z>(zones: &'z Zones, name: &WireName, node: &'z Node) -> End<'z> {
    let mut names = vec![name.clone()];
    let (mut node, mut by_wildcard) = (node, false);
    while let Some(target) = node.alias() {
        if names.contains(&target) {
            return End::Circle;
        }
        // The last name of these has to have the addresses.
        if names.len() == ALIASES {
            return End::TooLong;
        }
        match zones.lookup(target.as_bytes()) {
            Lookup::Found { node: next, wildcard, .. } => {
                node = next;
                by_wildcard |= wildcard;
            }
            Lookup::Missing { .. } => return End::WithoutAddress(target),
            Lookup::Denied { .. } | Lookup::OutOfZone => return End::OutOfZone(target),
        }
        names.push(target);
    }
    let rrsets: Vec<&RrSet> = node.addresses().collect();
    match names.pop() {
        Some(last) if rrsets.is_empty() => End::WithoutAddress(last),
        _ => End::Addresses { rrsets, by_wildcard },
    }
}

/// Ends a sentence on the name: `is left out: …`.
impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses { .. } => f.write_str("its aliases lead to addresses"),
            Self::Circle => f.write_str("its aliases lead in a circle"),
            Self::TooLong => write!(f, "it leads through {ALIASES} aliases or more, and no answer follows so many"),
            Self::OutOfZone(name) => write!(f, "it is an alias of {name}, which lies in no zone"),
            Self::WithoutAddress(name) => write!(f, "it is an alias of {name}, which has no address"),
        }
    }
}
