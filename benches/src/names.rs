//! Zones with many names, and names to look up in them.

use gateway::zone::{Lookup, WireName, Zones};
use k8s::model::{EntryPoint, Model, Trust};

use crate::{objects::configuration, random::Random, routes};

/// Names in wire form, in the order in which they are asked for.
#[derive(Debug)]
pub struct Names {
    pub n_served: usize,
    wire: Vec<u8>,
    lengths: Vec<usize>,
}

impl Names {
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Looks all of them up and counts those that have addresses.
    pub fn look_up(&self, zones: &Zones) -> usize {
        let mut found = 0;
        let mut rest = self.wire.as_slice();
        for length in &self.lengths {
            let (name, tail) = rest.split_at(*length);
            rest = tail;
            found += usize::from(matches!(zones.lookup(name), Lookup::Found { node, .. } if node.has_addresses()));
        }
        found
    }
}

/// A zone with the hosts of [`routes::three_prefixes`], and random ones of them.
pub fn zones(n_names: usize) -> (Zones, Names) {
    let lan = EntryPoint {
        name: "lan".into(),
        addresses: vec!["192.168.8.21".parse().expect("an address")],
        trust: Trust::default(),
        listeners: vec![routes::three_prefixes(n_names)],
    };
    let zones = Zones::build(&Model { entry_points: vec![lan], ..Model::default() }, &configuration(), 1);
    let mut random = Random::new(2);
    let mut names = Names { n_served: n_names, wire: Vec::new(), lengths: Vec::new() };
    for _ in 0..n_names.max(20_000) {
        let host = routes::host(random.below(n_names));
        let name = WireName::from_labels(host.split('.').map(str::as_bytes));
        names.wire.extend_from_slice(name.as_bytes());
        names.lengths.push(name.as_bytes().len());
    }
    assert_eq!(names.look_up(&zones), names.len(), "every name is served");
    (zones, names)
}
