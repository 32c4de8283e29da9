//! The part of the file under `dns`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    DnsConfig, DnsFilter, DnsTlsConfig, EntryPointConfig, StaticRecord, Strangers, ViewConfig, ZoneConfig,
    check::{Refusals, check_networks, check_socket, check_ttl, parsed, published},
    clash, file,
    label_selector::LabelSelector,
};
use crate::model::{HostPattern, Labels, RecordData};

pub(super) fn check_dns(
    dns: file::Dns,
    zones: &[ZoneConfig],
    entry_points: &[EntryPointConfig],
    refusals: &mut Refusals,
) -> DnsConfig {
    let file::Dns {
        listen,
        addresses,
        clients,
        strangers,
        forwarders,
        entry_points: preferred,
        views,
        allowed_addresses,
        filter,
        records,
        https_records,
        reverse,
        tls,
        forward_to,
        identify,
    } = dns;
    let listen = check_listen("dns.listen", listen, 53, refusals);
    let addresses = published("dns.addresses", addresses, refusals);
    let forward_to = forward_to.and_then(|text| check_forward_to(&text, &addresses, &listen, refusals));
    DnsConfig {
        clients: check_clients(clients, refusals),
        strangers: check_strangers(strangers.as_deref(), refusals),
        forwarders: check_networks("dns.forwarders", &forwarders, refusals),
        entry_points: preferred
            .map_or_else(Vec::new, |it| check_preferred("dns.entryPoints", it, entry_points, refusals)),
        views: check_views(views, entry_points, refusals),
        allowed_addresses: check_networks("dns.allowedAddresses", &allowed_addresses, refusals),
        filter: check_filter(filter, refusals),
        records: check_records(records, zones, refusals),
        https_records,
        reverse,
        tls: tls.map(|tls| check_tls(tls, refusals)),
        forward_to,
        identify: identify.unwrap_or(true),
        listen,
        addresses,
    }
}

fn check_listen(path: &str, listen: Option<Vec<String>>, port: u16, refusals: &mut Refusals) -> Vec<SocketAddr> {
    let listen = listen.unwrap_or_else(|| vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")]);
    if listen.is_empty() {
        refusals.push(format!("{path}: is empty, expected at least one address with a port, such as 0.0.0.0:{port}"));
    }
    listen.iter().enumerate().map(|(index, text)| check_socket(&format!("{path}[{index}]"), text, refusals)).collect()
}

/// Private networks (RFC 1918, 4193), that of carriers and overlays (RFC 6598), the link and the host itself.
const PRIVATE: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "::1",
    "fc00::/7",
    "fe80::/10",
];

fn check_clients(clients: Option<Vec<String>>, refusals: &mut Refusals) -> Vec<IpNet> {
    if clients.as_ref().is_some_and(Vec::is_empty) {
        refusals.push(
            "dns.clients: is empty, expected who is answered, such as 192.168.0.0/16; leave it out for every private network"
                .to_owned(),
        );
    }
    let clients = clients.unwrap_or_else(|| PRIVATE.map(str::to_owned).to_vec());
    check_networks("dns.clients", &clients, refusals)
}

fn check_strangers(text: Option<&str>, refusals: &mut Refusals) -> Strangers {
    match text {
        None | Some("drop") => Strangers::Drop,
        Some("refuse") => Strangers::Refuse,
        Some(other) => {
            refusals.push(format!("dns.strangers: found {other:?}, expected drop or refuse"));
            Strangers::default()
        }
    }
}

fn check_views(views: Vec<file::View>, entry_points: &[EntryPointConfig], refusals: &mut Refusals) -> Vec<ViewConfig> {
    let mut checked: Vec<ViewConfig> = Vec::new();
    // Which view has a network.
    let mut taken: BTreeMap<IpNet, String> = BTreeMap::new();
    for (index, file::View { name, sources, entry_points: wanted }) in views.into_iter().enumerate() {
        let path = format!("dns.views[{index}]");
        // It is a label of metrics.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            refusals.push(format!("{path}.name: found {name:?}, expected letters, digits, - _ or ., such as guests"));
        }
        if checked.iter().any(|other| *other.name == *name) {
            refusals.push(format!("{path}.name: {name} is already a view; name each view once"));
        }
        if sources.is_empty() {
            refusals.push(format!("{path}.sources: is empty, expected whose view it is, such as 192.168.1.0/24"));
        }
        let sources = check_networks(&format!("{path}.sources"), &sources, refusals);
        for network in &sources {
            if let Some(view) = taken.insert(*network, name.clone()) {
                refusals.push(format!("{path}.sources: {network} is in view {view} already; name each network once"));
            }
        }
        let entry_points = check_preferred(&format!("{path}.entryPoints"), wanted, entry_points, refusals);
        checked.push(ViewConfig { name: name.into(), sources, entry_points });
    }
    checked
}

/// The order in which entry points are preferred.
fn check_preferred(
    path: &str,
    wanted: Vec<String>,
    entry_points: &[EntryPointConfig],
    refusals: &mut Refusals,
) -> Vec<Arc<str>> {
    if wanted.is_empty() {
        refusals.push(format!("{path}: is empty, expected at least one entry point"));
    }
    for (place, entry) in wanted.iter().enumerate() {
        if !is_entry_point(entry, entry_points) {
            let known: Vec<&str> = entry_points.iter().map(|known| &*known.name).collect();
            refusals.push(format!(
                "{path}[{place}]: found {entry:?}, expected an entry point: {}, or namespace/name of a Gateway",
                known.join(" or ")
            ));
        }
    }
    wanted.into_iter().map(Into::into).collect()
}

/// Gateways come and go; what names one is right whether it is there or not.
fn is_entry_point(name: &str, known: &[EntryPointConfig]) -> bool {
    let is_gateway = name
        .split_once('/')
        .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
    is_gateway || known.iter().any(|known| *known.name == *name)
}

fn check_filter(filter: file::DnsFilter, refusals: &mut Refusals) -> DnsFilter {
    let file::DnsFilter { ingress_classes, gateway_classes, labels } = filter;
    for (key, classes) in [("ingressClasses", &ingress_classes), ("gatewayClasses", &gateway_classes)] {
        if classes.as_ref().is_some_and(Vec::is_empty) {
            refusals.push(format!(
                "dns.filter.{key}: is empty, expected the names of classes; leave it out for all of them"
            ));
        }
    }
    let names = |classes: Option<Vec<String>>| Some(classes?.into_iter().map(Into::into).collect());
    let selectors = labels.iter().enumerate().filter_map(|(index, text)| {
        let path = format!("dns.filter.labels[{index}]");
        parsed::<LabelSelector>(&path, text, "a selector such as app=web,tier!=test,visible,!hidden", refusals)
    });
    let selectors = selectors.collect();
    DnsFilter { ingress_classes: names(ingress_classes), gateway_classes: names(gateway_classes), selectors }
}

fn check_records(records: Vec<file::Record>, zones: &[ZoneConfig], refusals: &mut Refusals) -> Vec<StaticRecord> {
    let mut checked: Vec<StaticRecord> = Vec::new();
    // The types of a name, each with the place of its record.
    let mut taken: BTreeMap<HostPattern, Vec<(String, usize)>> = BTreeMap::new();
    for (index, file::Record { name, type_, targets, ttl }) in records.into_iter().enumerate() {
        let path = format!("dns.records[{index}]");
        let name = check_record_name(&format!("{path}.name"), &name, zones, refusals);
        let data = check_targets(&path, &type_, &targets, refusals);
        check_ttl(&format!("{path}.ttl"), ttl.unwrap_or_default(), refusals);
        let (Some(name), Some(data)) = (name, data) else { continue };
        let others = taken.entry(name.clone()).or_default();
        if let Some((_, other)) = others.iter().find(|(other, _)| *other == type_) {
            refusals.push(format!("{path}: {name} has {type_} in dns.records[{other}]; put all targets there"));
        } else if let Some((kind, other)) = others.iter().find(|(other, _)| (other == "CNAME") != (type_ == "CNAME")) {
            refusals.push(format!(
                "{path}: {name} has {kind} in dns.records[{other}], and a CNAME stands alone (RFC 1034); remove one of them"
            ));
        }
        if type_ == "CNAME" && zones.iter().any(|zone| zone.needs_addresses(&name)) {
            refusals.push(format!(
                "{path}: {name} is a zone or its name server, which can have no CNAME; give it addresses (A, AAAA)"
            ));
        }
        others.push((type_, index));
        checked.push(StaticRecord { name, ttl, data });
    }
    checked
}

fn check_record_name(path: &str, text: &str, zones: &[ZoneConfig], refusals: &mut Refusals) -> Option<HostPattern> {
    let Ok(name) = HostPattern::parse(text, Labels::OneOrMore) else {
        refusals
            .push(format!("{path}: found {text:?}, expected a name such as nas.home.example or *.nas.home.example"));
        return None;
    };
    if !zones.iter().any(|zone| name.is_within(&zone.name)) {
        let known: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
        let known = if known.is_empty() { "`zones` has none yet".to_owned() } else { known.join(" or ") };
        refusals.push(format!("{path}: found {text:?}, expected a name inside a zone: {known}"));
    }
    Some(name)
}

/// None where there is nothing right.
fn check_targets(path: &str, kind: &str, targets: &[String], refusals: &mut Refusals) -> Option<Vec<RecordData>> {
    if !RecordData::KINDS.contains(&kind) {
        refusals.push(format!("{path}.type: found {kind:?}, expected one of {}", RecordData::KINDS.join(", ")));
        return None;
    }
    if targets.is_empty() {
        refusals.push(format!("{path}.targets: is empty, expected at least one"));
    }
    if kind == "CNAME" && targets.len() > 1 {
        refusals.push(format!("{path}.targets: has {}, expected one: a name has one CNAME", targets.len()));
    }
    let mut data = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        match RecordData::parse(kind, target) {
            Ok(record) if data.contains(&record) => {
                refusals.push(format!("{path}.targets[{index}]: {target} is there already; name each target once"));
            }
            Ok(record) => data.push(record),
            Err(expected) => {
                refusals.push(format!("{path}.targets[{index}]: found {target:?}, expected {expected}"));
            }
        }
    }
    Some(data)
}

fn check_tls(tls: file::DnsTls, refusals: &mut Refusals) -> DnsTlsConfig {
    let file::DnsTls { listen, certificate, key } = tls;
    for (name, path) in [("certificate", &certificate), ("key", &key)] {
        if path.as_os_str().is_empty() {
            refusals.push(format!("dns.tls.{name}: is empty, expected the path of a PEM file"));
        }
    }
    DnsTlsConfig { listen: check_listen("dns.tls.listen", listen, 853, refusals), certificate, key }
}

/// Whatever asks itself for what it does not know asks for ever.
fn check_forward_to(
    text: &str,
    addresses: &[IpAddr],
    listen: &[SocketAddr],
    refusals: &mut Refusals,
) -> Option<SocketAddr> {
    let path = "dns.forwardTo";
    let socket = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53)).or_else(|_| text.parse());
    let Ok(socket) = socket else {
        refusals.push(format!("{path}: found {text:?}, expected an address such as 192.168.8.1 or 192.168.8.1:5353"));
        return None;
    };
    // `::ffff:192.168.8.22` is 192.168.8.22.
    let socket = SocketAddr::new(socket.ip().to_canonical(), socket.port());
    if socket.ip().is_unspecified() || socket.port() == 0 {
        refusals.push(format!("{path}: found {text:?}, expected the address of a resolver"));
        return None;
    }
    let is_bound = |own: &SocketAddr| {
        clash(*own, socket) && (own.ip() == socket.ip() || (own.ip().is_unspecified() && socket.ip().is_loopback()))
    };
    if addresses.contains(&socket.ip()) || listen.iter().any(is_bound) {
        refusals.push(format!("{path}: found {text:?}, which is `gateway` itself, expected another resolver"));
    }
    Some(socket)
}

#[cfg(test)]
mod tests;
