//! Model to zones: which names exist, and which address each gets.

use std::{net::IpAddr, sync::Arc};

use k8s::{
    config::{Config, ZoneConfig},
    model::{EntryPoint, Model, ObjectName},
};

use super::{Claim, Node, WireName, Zone, Zones, name};

impl Zones {
    /// Every name the router serves inside a zone gets the addresses of one entry point: the first,
    /// in the model's order, that serves it. Two doors in one answer would send half of the
    /// requests to the one that does not know the name.
    pub fn build(model: &Model, config: &Config, serial: u32) -> Self {
        let mut zones: Vec<Zone> = config.zones.iter().map(|zone| empty(zone, serial)).collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(name::labels(zone.apex.as_bytes()).count()));
        place_inner_zones(&mut zones);
        for entry_point in &model.entry_points {
            for listener in &entry_point.listeners {
                for attachment in &listener.routes {
                    for pattern in listener.effective_hostnames(attachment) {
                        let name = WireName::from(&pattern);
                        if let Some(zone) = zones.iter_mut().find(|zone| zone.apex.is_at_or_above(name.as_bytes())) {
                            claim(zone, name, entry_point, &attachment.route.source);
                        }
                    }
                }
            }
        }
        for zone in &mut zones {
            place_name_server(zone, &config.dns.addresses);
        }
        Self { zones, serial }
    }
}

/// A zone with its apex.
fn empty(config: &ZoneConfig, serial: u32) -> Zone {
    let apex = WireName::from(&config.name);
    Zone {
        name_server: WireName::from_labels(std::iter::once(b"ns".as_slice()).chain(name::labels(apex.as_bytes()))),
        serial,
        ttl: config.ttl,
        negative_ttl: config.negative_ttl,
        nodes: std::iter::once((apex.clone(), Node::default())).collect(),
        apex,
    }
}

/// A zone's apex is a name of the zone around it too. Without it the names above it would be
/// denied there, and with them everything below (RFC 8020).
fn place_inner_zones(zones: &mut [Zone]) {
    for index in 1..zones.len() {
        let (inner, outer) = zones.split_at_mut(index);
        let Some(Zone { apex, .. }) = inner.last() else { continue };
        // The longest apex first: the first that holds it is the nearest.
        if let Some(outer) = outer.iter_mut().find(|zone| zone.apex.is_at_or_above(apex.as_bytes())) {
            node(outer, apex.clone());
        }
    }
}

fn claim(zone: &mut Zone, name: WireName, entry_point: &EntryPoint, object: &ObjectName) {
    let node = node(zone, name);
    if node.claims.is_empty() {
        (node.v4, node.v6) = by_family(&entry_point.addresses);
    }
    let claim = Claim { object: object.clone(), entry_point: Arc::clone(&entry_point.name) };
    if !node.claims.contains(&claim) {
        node.claims.push(claim);
    }
}

/// Last, as an object that wants the name has it: the router serves it at the object's address, and
/// nothing that forwards to us asks where the name server is.
fn place_name_server(zone: &mut Zone, addresses: &[IpAddr]) {
    let name_server = zone.name_server.clone();
    let node = node(zone, name_server);
    if !node.claims.is_empty() || addresses.is_empty() {
        return;
    }
    (node.v4, node.v6) = by_family(addresses);
    let object = ObjectName::new("Configuration", "", "dns.addresses");
    node.claims.push(Claim { object, entry_point: "gateway".into() });
}

/// The node of a name, made if need be.
fn node(zone: &mut Zone, name: WireName) -> &mut Node {
    // Everything between the name and the apex exists once the name does (RFC 4592 section 2.2.2).
    let missing: Vec<WireName> = name::ancestors(name.as_bytes())
        .take_while(|ancestor| *ancestor != zone.apex.as_bytes())
        .filter(|ancestor| !zone.nodes.contains_key(*ancestor))
        .map(|ancestor| WireName::from_labels(name::labels(ancestor)))
        .collect();
    zone.nodes.extend(missing.into_iter().map(|ancestor| (ancestor, Node::default())));
    zone.nodes.entry(name).or_default()
}

fn by_family(addresses: &[IpAddr]) -> (Vec<std::net::Ipv4Addr>, Vec<std::net::Ipv6Addr>) {
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(*v6),
    });
    (v4.collect(), v6.collect())
}
