//! From the shape of the file to [`Config`]: values parsed, defaults filled in, impossible combinations refused.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use ipnet::IpNet;

use super::{
    AdminConfig, Config, DrainConfig, EntryPointConfig, IngressConfig, PortConfig, SecretName, ZoneConfig,
    both_families,
    check_dns::check_dns,
    check_gateway_api::{check_container_ports, check_gateway_api},
    clash, file,
};
use crate::model::{HostName, Trust};

/// Each refusal begins with a path in the file.
pub(super) type Refusals = Vec<String>;

pub(super) fn check(file: file::File) -> Result<Config, Refusals> {
    let file::File {
        zones,
        entry_points,
        ingress,
        gateway_api,
        default_certificate,
        external_name_services,
        dns,
        admin,
        drain,
        state_directory,
    } = file;
    let mut refusals = Refusals::new();
    let zones = check_zones(zones, &mut refusals);
    let entry_points = check_entry_points(entry_points.0, &mut refusals);
    let dns = check_dns(dns, &zones, &entry_points, &mut refusals);
    let config = Config {
        zones,
        entry_points,
        ingress: IngressConfig {
            controller: ingress.controller.as_deref().unwrap_or("doorward.dev/ingress").into(),
            classes: ingress
                .classes
                .iter()
                .map(|(class, entry)| (class.as_str().into(), entry.as_str().into()))
                .collect(),
        },
        gateway_api: check_gateway_api(gateway_api, &mut refusals),
        default_certificate: default_certificate.and_then(|text| check_secret_name(&text, &mut refusals)),
        external_name_services,
        dns,
        admin: AdminConfig {
            gateway: check_socket("admin.gateway", admin.gateway.as_deref().unwrap_or("0.0.0.0:9153"), &mut refusals),
            router: check_socket("admin.router", admin.router.as_deref().unwrap_or("0.0.0.0:9154"), &mut refusals),
        },
        drain: DrainConfig { delay: drain.delay.unwrap_or(3), timeout: drain.timeout.unwrap_or(20) },
        state_directory: state_directory.and_then(|text| check_state_directory(&text, &mut refusals)),
    };
    check_classes(&config, &mut refusals);
    check_sockets(&config, &mut refusals);
    check_published(&config, &mut refusals);
    check_container_ports(&config, &mut refusals);
    if refusals.is_empty() { Ok(config) } else { Err(refusals) }
}

fn check_zones(zones: Vec<file::Zone>, refusals: &mut Refusals) -> Vec<ZoneConfig> {
    let mut checked: Vec<ZoneConfig> = Vec::new();
    for (index, file::Zone(zone)) in zones.into_iter().enumerate() {
        let path = format!("zones[{index}]");
        let file::FullZone { name, ttl, negative_ttl, acme_challenge } = zone;
        let Some(name) = parsed::<HostName>(&path, &name, "a domain such as home.example", refusals) else { continue };
        if checked.iter().any(|other| other.name == name) {
            refusals.push(format!("{path}: {name} is already a zone; name each zone once"));
        }
        // `hostmaster.` and a name of 242 bytes are as much as DNS takes.
        if name.as_str().len() > 242 {
            refusals.push(format!("{path}: has more than 242 characters, which leave no room for hostmaster.{name}"));
        }
        let ttl = ttl.unwrap_or(30);
        let negative_ttl = negative_ttl.unwrap_or(5);
        for (key, value) in [("ttl", ttl), ("negativeTtl", negative_ttl)] {
            check_ttl(&format!("{path}.{key}"), value, refusals);
        }
        let acme_challenge = acme_challenge.and_then(|text| {
            parsed(&format!("{path}.acmeChallenge"), &text, "a domain such as acme.example.org", refusals)
        });
        checked.push(ZoneConfig { name, ttl, negative_ttl, acme_challenge });
    }
    check_acme_challenges(&checked, refusals);
    checked
}

/// Inside one of our zones nobody could put the challenge: what we answer is what Kubernetes objects say.
fn check_acme_challenges(zones: &[ZoneConfig], refusals: &mut Refusals) {
    for (index, zone) in zones.iter().enumerate() {
        let Some(domain) = &zone.acme_challenge else { continue };
        if let Some(around) = zones.iter().find(|other| domain.is_within(&other.name)) {
            refusals.push(format!(
                "zones[{index}].acmeChallenge: found {domain}, expected a domain outside the zone {}, at a DNS server that the ACME client can write to",
                around.name
            ));
        }
    }
}

pub(super) fn check_ttl(path: &str, seconds: u32, refusals: &mut Refusals) {
    if seconds > 86_400 {
        refusals.push(format!("{path}: found {seconds}, expected seconds from 0 to 86400"));
    }
}

fn check_entry_points(entries: Vec<(String, file::EntryPoint)>, refusals: &mut Refusals) -> Vec<EntryPointConfig> {
    if entries.is_empty() {
        refusals.push("entryPoints: is empty, expected at least one, such as `lan`".to_owned());
    }
    let marked: Vec<&str> = entries.iter().filter(|(_, entry)| entry.default).map(|(name, _)| name.as_str()).collect();
    if let [first, second, ..] = *marked {
        refusals.push(format!("entryPoints.{second}.default: {first} is the default already; one entry point can be"));
    }
    let default =
        marked.first().map_or_else(|| entries.first().map(|(name, _)| name.clone()), |name| Some((*name).to_owned()));
    entries
        .into_iter()
        .map(|(name, entry)| {
            let is_default = default.as_ref() == Some(&name);
            check_entry_point(&name, entry, is_default, refusals)
        })
        .collect()
}

fn check_entry_point(name: &str, entry: file::EntryPoint, default: bool, refusals: &mut Refusals) -> EntryPointConfig {
    let file::EntryPoint { addresses, http, https, listen, redirect_to_https, trust, default: _ } = entry;
    let path = format!("entryPoints.{name}");
    // It is shown in metrics, lists and messages, and one with a slash could be that of a Gateway.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        refusals.push(format!(
            "entryPoints: found the name {name:?}, expected one of letters, digits, `-`, `_` and `.`, such as `lan`"
        ));
    }
    if addresses.is_empty() {
        refusals.push(format!("{path}.addresses: is empty, expected the addresses where clients reach {name}"));
    }
    let addresses = published(&format!("{path}.addresses"), addresses, refusals);
    if http.is_none() && https.is_none() {
        refusals.push(format!("{path}: has neither `http` nor `https`, expected a port for at least one of them"));
    }
    if redirect_to_https && (http.is_none() || https.is_none()) {
        refusals.push(format!("{path}.redirectToHttps: needs both `http` and `https`"));
    }
    for (key, listen, published) in [("http", listen.http, http), ("https", listen.https, https)] {
        if listen.is_some() && published.is_none() {
            refusals.push(format!("{path}.listen.{key}: {name} has no `{key}` port; set {path}.{key} as well"));
        }
        for (at, port) in [(format!("{path}.{key}"), published), (format!("{path}.listen.{key}"), listen)] {
            if port == Some(0) {
                refusals.push(format!("{at}: found 0, expected a port from 1 to 65535"));
            }
        }
    }
    let port = |published: Option<u16>, listen: Option<u16>| {
        published.map(|port| PortConfig { port, listen: listen.unwrap_or(port) })
    };
    let (http, https) = (port(http, listen.http), port(https, listen.https));
    if listen.addresses.as_ref().is_some_and(Vec::is_empty) {
        refusals.push(format!(
            "{path}.listen.addresses: is empty, expected at least one address to bind, such as 0.0.0.0; leave it out to bind {path}.addresses"
        ));
    }
    let listen = match listen.addresses {
        Some(listen) => each_once(&format!("{path}.listen.addresses"), listen, refusals),
        None => addresses.clone(),
    };
    let trust = check_trust(&path, trust, refusals);
    EntryPointConfig { name: name.into(), addresses, listen, http, https, redirect_to_https, trust, default }
}

fn check_trust(path: &str, trust: file::Trust, refusals: &mut Refusals) -> Trust {
    if trust.client_address.is_some() && trust.sources.is_empty() {
        refusals.push(format!(
            "{path}.trust.clientAddress: believed from nobody; name in {path}.trust.sources who may send it, such as 10.69.0.0/16"
        ));
    }
    let sources = check_networks(&format!("{path}.trust.sources"), &trust.sources, refusals);
    if let Some(name) = &trust.client_address
        && (name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    {
        refusals.push(format!(
            "{path}.trust.clientAddress: found {name:?}, expected a header name such as cf-connecting-ip"
        ));
    }
    let proxy_protocol = check_networks(&format!("{path}.trust.proxyProtocol"), &trust.proxy_protocol, refusals);
    Trust { sources, client_address: trust.client_address.map(|name| name.to_ascii_lowercase().into()), proxy_protocol }
}

/// Those that are right; an address is a network of one. What has bits set behind its length may mean either.
pub(super) fn check_networks(path: &str, texts: &[String], refusals: &mut Refusals) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>()) {
            Ok(network) if network.trunc() != network => refusals.push(format!(
                "{path}[{index}]: found {text:?}, expected the address {} or the network {}",
                network.addr(),
                network.trunc()
            )),
            Ok(network) => networks.push(network),
            Err(_) => refusals.push(format!(
                "{path}[{index}]: found {text:?}, expected an address or a network such as 10.69.0.0/16"
            )),
        }
    }
    networks
}

fn check_secret_name(text: &str, refusals: &mut Refusals) -> Option<SecretName> {
    let (namespace, name) = namespaced("defaultCertificate", text, "a TLS Secret", refusals)?;
    Some(SecretName { namespace: namespace.into(), name: name.into() })
}

pub(super) fn namespaced<'a>(
    path: &str,
    text: &'a str,
    what: &str,
    refusals: &mut Refusals,
) -> Option<(&'a str, &'a str)> {
    let parts = text.split_once('/');
    let parts = parts.filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
    if parts.is_none() {
        refusals.push(format!("{path}: found {text:?}, expected namespace/name of {what}"));
    }
    parts
}

/// A relative one would be another directory wherever the program is started.
fn check_state_directory(text: &str, refusals: &mut Refusals) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Some(path);
    }
    refusals.push(format!("stateDirectory: found {text:?}, expected a path that begins with /"));
    None
}

fn check_classes(config: &Config, refusals: &mut Refusals) {
    for (class, entry) in &config.ingress.classes {
        if !config.entry_points.iter().any(|known| known.name == *entry) {
            let known: Vec<&str> = config.entry_points.iter().map(|known| &*known.name).collect();
            refusals.push(format!(
                "ingress.classes.{class}: found {entry:?}, expected an entry point: {}",
                known.join(" or ")
            ));
        }
    }
}

/// Nothing may want a socket that something else of the same program wants. The two programs may run on two hosts.
fn check_sockets(config: &Config, refusals: &mut Refusals) {
    let mut of_router = BTreeMap::new();
    for (path, entry, port) in ports(config) {
        for ip in &entry.listen {
            refusals.extend(claim(&mut of_router, SocketAddr::new(*ip, port.listen), path.clone()));
        }
    }
    for address in both_families(config.admin.router) {
        refusals.extend(claim(&mut of_router, address, "admin.router".to_owned()));
    }
    // The first of these are bound for UDP and for TCP, the others for TCP.
    let mut of_gateway = BTreeMap::new();
    for (index, address) in config.dns.listen.iter().enumerate() {
        refusals.extend(claim(&mut of_gateway, *address, format!("dns.listen[{index}]")));
    }
    for (index, address) in config.dns.tls.iter().flat_map(|tls| &tls.listen).enumerate() {
        refusals.extend(claim(&mut of_gateway, *address, format!("dns.tls.listen[{index}]")));
    }
    for address in both_families(config.admin.gateway) {
        refusals.extend(claim(&mut of_gateway, address, "admin.gateway".to_owned()));
    }
}

/// The refusal, where somebody has the socket.
fn claim(taken: &mut BTreeMap<SocketAddr, String>, address: SocketAddr, path: String) -> Option<String> {
    let holder = taken.iter().find(|(other, _)| clash(**other, address));
    if let Some((other, owner)) = holder {
        return Some(format!("{path}: {address} is taken by {owner} ({other}); choose another port or address"));
    }
    taken.insert(address, path);
    None
}

/// What clients reach at one address and port is one port of one door, wherever the router listens for it.
fn check_published(config: &Config, refusals: &mut Refusals) {
    let mut taken: BTreeMap<SocketAddr, (String, bool)> = BTreeMap::new();
    for (path, entry, port) in ports(config) {
        for ip in &entry.addresses {
            let address = SocketAddr::new(*ip, port.port);
            let is_bound = port.listen == port.port && entry.listen.contains(ip);
            match taken.get(&address) {
                // It is one socket too, which is refused as such.
                Some((_, true)) if is_bound => {}
                Some((owner, _)) => refusals.push(format!(
                    "{path}: clients reach {owner} at {address} already; choose another port or address"
                )),
                None => {
                    taken.insert(address, (path.clone(), is_bound));
                }
            }
        }
    }
}

/// Every port of every door, with its path in the file.
pub(super) fn ports(config: &Config) -> impl Iterator<Item = (String, &EntryPointConfig, PortConfig)> {
    config.entry_points.iter().flat_map(|entry| {
        let ports = [("http", entry.http), ("https", entry.https)];
        ports
            .into_iter()
            .filter_map(move |(key, port)| Some((format!("entryPoints.{}.{key}", entry.name), entry, port?)))
    })
}

/// Addresses that clients use: an unspecified one (0.0.0.0) can be bound, never reached.
pub(super) fn published(path: &str, addresses: Vec<IpAddr>, refusals: &mut Refusals) -> Vec<IpAddr> {
    for (index, address) in addresses.iter().enumerate().filter(|(_, address)| address.is_unspecified()) {
        refusals.push(format!(
            "{path}[{index}]: found {address}, expected an address that clients can reach; what to bind belongs in `listen`"
        ));
    }
    each_once(path, addresses, refusals)
}

pub(super) fn each_once(path: &str, addresses: Vec<IpAddr>, refusals: &mut Refusals) -> Vec<IpAddr> {
    let mut kept = Vec::new();
    for (index, address) in addresses.into_iter().enumerate() {
        if kept.contains(&address) {
            refusals.push(format!("{path}[{index}]: {address} is there already; name each address once"));
        } else {
            kept.push(address);
        }
    }
    kept
}

pub(super) fn check_socket(path: &str, text: &str, refusals: &mut Refusals) -> SocketAddr {
    parsed(path, text, "an address with a port, such as 0.0.0.0:9153", refusals)
        .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

pub(super) fn parsed<T: FromStr>(path: &str, text: &str, expected: &str, refusals: &mut Refusals) -> Option<T> {
    let value = text.parse().ok();
    if value.is_none() {
        refusals.push(format!("{path}: found {text:?}, expected {expected}"));
    }
    value
}

#[cfg(test)]
mod tests;
