//! Listeners of one port that browsers may take for one: a connection that was opened for a name of the one is good,
//! by its certificate, for names of the other, and HTTP/2 uses it for both (RFC 9113 section 9.1.1). The router sends
//! such requests back with 421; who writes the listeners is told, as the Gateway API wants.

use std::collections::{BTreeMap, HashSet};

use super::listener::Standing;
use crate::model::{HostName, HostPattern};

/// Marks those of a Gateway and its ListenerSets whose hostnames another one's cover, or that cover another one's.
pub(super) fn mark(listeners: &mut [Standing<'_>]) {
    let mut by_port: BTreeMap<u16, Vec<&mut Standing<'_>>> = BTreeMap::new();
    for standing in listeners.iter_mut().filter(|it| it.is_accepted()) {
        if standing.listener.as_ref().is_some_and(|listener| listener.protocol.is_tls()) {
            by_port.entry(standing.spec.port).or_default().push(standing);
        }
    }
    for on_port in by_port.values_mut().filter(|on_port| on_port.len() > 1) {
        let names: Vec<Option<HostPattern>> = on_port.iter().map(|it| hostname(it)).collect();
        let found: Vec<bool> = overlapping(&names);
        for (standing, overlaps) in on_port.iter_mut().zip(found) {
            standing.overlaps = overlaps;
        }
    }
}

fn hostname(standing: &Standing<'_>) -> Option<HostPattern> {
    standing.listener.as_ref()?.hostname.clone()
}

/// For each of several, whether another one has a host of it. None is every host. No two are the same.
fn overlapping(names: &[Option<HostPattern>]) -> Vec<bool> {
    let (mut wildcards, mut above) = (HashSet::new(), HashSet::new());
    for name in names.iter().flatten() {
        match name {
            HostPattern::Exact(name) => above.extend(parents(name)),
            HostPattern::Wildcard { parent, .. } => {
                wildcards.insert(parent.clone());
                above.extend(parents(parent));
            }
        }
    }
    let has_every_host = names.contains(&None);
    let overlaps = |name: &Option<HostPattern>| match name {
        None => true,
        Some(_) if has_every_host => true,
        Some(HostPattern::Exact(name)) => parents(name).any(|it| wildcards.contains(&it)),
        Some(HostPattern::Wildcard { parent, .. }) => {
            above.contains(parent) || parents(parent).any(|it| wildcards.contains(&it))
        }
    };
    names.iter().map(overlaps).collect()
}

/// The names that a name lies below, without itself.
fn parents(name: &HostName) -> impl Iterator<Item = HostName> {
    std::iter::successors(name.parent(), HostName::parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn what_covers_another_ones_hosts_overlaps_and_so_does_what_is_covered() {
        for (names, expected) in [
            (&["foo.example.com", "foo.example.org", "*.example.com"][..], &[true, false, true][..]),
            (&["a.example", "b.example"], &[false, false]),
            (&["*.a.example", "*.example", "*.b.test"], &[true, true, false]),
            (&["*.a.example", "a.example"], &[false, false]),
            (&["", "a.example"], &[true, true]),
            (&["*.example", "x.y.example"], &[true, true]),
        ] {
            let read = |text: &&str| {
                (!text.is_empty()).then(|| HostPattern::parse(text, Labels::OneOrMore).expect("a hostname"))
            };
            let patterns: Vec<_> = names.iter().map(read).collect();
            assert_eq!(overlapping(&patterns), expected, "{names:?}");
            // As slow and plain as can be.
            let naive = |(place, one): (usize, &Option<HostPattern>)| {
                patterns.iter().enumerate().any(|(other_place, other)| {
                    let meets = match (one, other) {
                        (Some(one), Some(other)) => one.intersect(other).is_some(),
                        _ => true,
                    };
                    place != other_place && meets
                })
            };
            assert_eq!(patterns.iter().enumerate().map(naive).collect::<Vec<_>>(), expected, "{names:?}");
        }
    }
}
