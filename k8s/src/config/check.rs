//! From the shape of the file to [`Config`]: values parsed, defaults filled in, impossible combinations refused.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use ipnet::IpNet;

use super::{
    AdminConfig, Config, DrainConfig, EntryPointConfig, GatewayApiConfig, IngressConfig, PortConfig, SecretName,
    ZoneConfig, both_families, check_dns::check_dns, clash, file,
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
        gateway_api: GatewayApiConfig {
            controller: gateway_api.controller.as_deref().unwrap_or("doorward.dev/gateway").into(),
            address: check_gateway_address(gateway_api.address, &mut refusals),
        },
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
    Trust { sources, client_address: trust.client_address.map(|name| name.to_ascii_lowercase().into()) }
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

fn check_gateway_address(address: Option<IpAddr>, refusals: &mut Refusals) -> Option<IpAddr> {
    if let Some(address) = address.filter(IpAddr::is_unspecified) {
        refusals.push(format!("gatewayApi.address: found {address}, expected an address that clients can reach"));
    }
    address
}

fn check_secret_name(text: &str, refusals: &mut Refusals) -> Option<SecretName> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Some(SecretName { namespace: namespace.into(), name: name.into() })
        }
        _ => {
            refusals.push(format!("defaultCertificate: found {text:?}, expected namespace/name of a TLS Secret"));
            None
        }
    }
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
fn ports(config: &Config) -> impl Iterator<Item = (String, &EntryPointConfig, PortConfig)> {
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

fn each_once(path: &str, addresses: Vec<IpAddr>, refusals: &mut Refusals) -> Vec<IpAddr> {
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
mod tests {
    use crate::config::parse;

    /// A file that is right, with the given lines in place of or after its own.
    fn refusals(more: &str) -> Vec<String> {
        parse(&format!("entryPoints:\n  lan: {{addresses: [192.168.8.21], http: 80, https: 443}}\n{more}"))
            .err()
            .map(|error| error.refusals)
            .unwrap_or_default()
    }

    #[test]
    fn a_minimal_file_gets_every_default() {
        let config = parse("entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}").expect("a right file");
        assert!(config.entry_points[0].default);
        assert_eq!(config.entry_points[0].listen, config.entry_points[0].addresses);
        assert_eq!(config.dns.listen.len(), 2);
        assert_eq!((config.drain.delay, config.drain.timeout), (3, 20));
        assert_eq!(config.state_directory, None);
    }

    #[test]
    fn entry_points_keep_the_order_of_the_file() {
        let config = parse(
            "entryPoints: {zoo: {addresses: [10.0.0.1], http: 80}, lan: {addresses: [10.0.0.2], http: 80, default: true}}",
        )
        .expect("a right file");
        assert_eq!(config.entry_points.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["zoo", "lan"]);
        assert!(!config.entry_points[0].default && config.entry_points[1].default);
    }

    #[test]
    fn the_example_is_right() {
        let text = include_str!("../../../doorward.example.yaml");
        let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.zones.len(), 2);
        assert!(config.default_certificate.is_some());
    }

    #[test]
    fn every_refusal_names_its_path_and_what_was_expected() {
        for (more, expected) in [
            ("zones: [a..b]", "zones[0]: found \"a..b\", expected a domain such as home.example"),
            ("zones: [a.example, A.example.]", "zones[1]: a.example is already a zone; name each zone once"),
            ("zones: [{name: a.example, ttl: 90000}]", "zones[0].ttl: found 90000, expected seconds from 0 to 86400"),
            (
                "ingress: {classes: {external: tunel}}",
                "ingress.classes.external: found \"tunel\", expected an entry point: lan",
            ),
            (
                "defaultCertificate: home-tls",
                "defaultCertificate: found \"home-tls\", expected namespace/name of a TLS Secret",
            ),
            (
                "admin: {router: '192.168.8.21:80'}",
                "admin.router: 192.168.8.21:80 is taken by entryPoints.lan.http (192.168.8.21:80); choose another port or address",
            ),
            (
                "gatewayApi: {address: 0.0.0.0}",
                "gatewayApi.address: found 0.0.0.0, expected an address that clients can reach",
            ),
            ("gatewayApi: {address: '::'}", "gatewayApi.address: found ::, expected an address that clients can reach"),
            (
                "dns: {addresses: ['::']}",
                "dns.addresses[0]: found ::, expected an address that clients can reach; what to bind belongs in `listen`",
            ),
            (
                "dns: {addresses: [192.168.8.22, 192.168.8.22]}",
                "dns.addresses[1]: 192.168.8.22 is there already; name each address once",
            ),
            (
                "  b: {addresses: [10.0.0.1, 10.0.0.1], http: 80}",
                "entryPoints.b.addresses[1]: 10.0.0.1 is there already; name each address once",
            ),
            (
                "  b: {addresses: [10.0.0.1], http: 80, listen: {addresses: ['::', 10.0.0.2, '::'], http: 81}}",
                "entryPoints.b.listen.addresses[2]: :: is there already; name each address once",
            ),
            (
                "dns: {listen: ['192.168.8.22:53', '0.0.0.0:53', '[::]:53']}",
                "dns.listen[1]: 0.0.0.0:53 is taken by dns.listen[0] (192.168.8.22:53); choose another port or address",
            ),
            (
                "dns: {listen: ['0.0.0.0:5353']}\nadmin: {gateway: '127.0.0.1:5353'}",
                "admin.gateway: 127.0.0.1:5353 is taken by dns.listen[0] (0.0.0.0:5353); choose another port or address",
            ),
            (
                "dns: {listen: ['0.0.0.0:5353']}\nadmin: {gateway: '[::]:5353'}",
                "admin.gateway: 0.0.0.0:5353 is taken by dns.listen[0] (0.0.0.0:5353); choose another port or address",
            ),
            (
                "  b: {addresses: [192.168.8.21], http: 80}",
                "entryPoints.b.http: 192.168.8.21:80 is taken by entryPoints.lan.http (192.168.8.21:80); choose another port or address",
            ),
            (
                "  b: {addresses: [192.168.8.21], https: 443, listen: {addresses: [0.0.0.0], https: 8443}}",
                "entryPoints.b.https: clients reach entryPoints.lan.https at 192.168.8.21:443 already; choose another port or address",
            ),
            (
                "  b: {addresses: [10.0.0.1], http: 80, https: 80, listen: {http: 8080}}",
                "entryPoints.b.https: clients reach entryPoints.b.http at 10.0.0.1:80 already; choose another port or address",
            ),
            ("stateDirectory: state", "stateDirectory: found \"state\", expected a path that begins with /"),
            (
                "dns: {listen: [53]}",
                "dns.listen[0]: found \"53\", expected an address with a port, such as 0.0.0.0:9153",
            ),
        ] {
            assert_eq!(refusals(more), [expected], "{more}");
        }
    }

    #[test]
    fn impossible_entry_points_are_refused() {
        for (entry, expected) in [
            ("{addresses: [10.0.0.1]}", "has neither `http` nor `https`"),
            ("{addresses: [], http: 80}", "entryPoints.x.addresses: is empty"),
            ("{addresses: [0.0.0.0], http: 80}", "expected an address that clients can reach"),
            ("{addresses: [10.0.0.1], https: 443, redirectToHttps: true}", "needs both `http` and `https`"),
            ("{addresses: [10.0.0.1], http: 80, listen: {https: 8443}}", "has no `https` port"),
            ("{addresses: [10.0.0.1], http: 80, listen: {http: 0}}", "expected a port from 1 to 65535"),
            ("{addresses: [10.0.0.1], http: 80, trust: {clientAddress: cf-connecting-ip}}", "believed from nobody"),
            ("{addresses: [10.0.0.1], http: 80, trust: {sources: [lan]}}", "expected an address or a network"),
            (
                "{addresses: [10.0.0.1], http: 80, trust: {sources: ['fd00::1/64']}}",
                "entryPoints.x.trust.sources[0]: found \"fd00::1/64\", expected the address fd00::1 or the network fd00::/64",
            ),
            (
                "{addresses: [10.0.0.1], http: 80, trust: {sources: [10.0.0.9], clientAddress: ''}}",
                "entryPoints.x.trust.clientAddress: found \"\", expected a header name",
            ),
            (
                "{addresses: [10.0.0.1], http: 80, listen: {addresses: []}}",
                "entryPoints.x.listen.addresses: is empty, expected at least one address to bind",
            ),
        ] {
            let error = parse(&format!("entryPoints: {{x: {entry}}}")).expect_err(entry).to_string();
            assert!(error.contains(expected), "{entry}\n{error}");
        }
    }

    #[test]
    fn programs_doors_and_families_that_share_a_port_are_no_clash() {
        for more in [
            "  b: {addresses: [192.168.8.23], http: 80, https: 443}",
            "  b: {addresses: [192.168.8.21], http: 81}",
            "dns: {listen: ['192.168.8.21:80']}",
            "dns: {listen: ['0.0.0.0:53', '[::]:53', '0.0.0.0:5353']}",
            "dns: {listen: ['0.0.0.0:0', '0.0.0.0:0']}\nadmin: {gateway: '0.0.0.0:0', router: '0.0.0.0:0'}",
        ] {
            assert_eq!(refusals(more), Vec::<String>::new(), "{more}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path_its_line_and_the_nearest_key() {
        let lan = "entryPoints:\n  lan: {addresses: [192.168.8.21], http: 80}\n";
        for (text, expected) in [
            (
                "entryPoints:\n  lan:\n    addresses: [192.168.8.21]\n    htpp: 80\n",
                &["entryPoints.lan.htpp: ", "line 4", "did you mean `http`?"][..],
            ),
            (
                &format!("{lan}zones:\n- name: a.example\n  tll: 30\n"),
                &["zones[0].tll: ", "line 5", "did you mean `ttl`?"],
            ),
            (&format!("{lan}zones:\n- a.example\n- {{name: b.example, ttl: soon}}\n"), &["zones[1].ttl: ", "line 5"]),
            (&format!("{lan}zones:\n- {{ttl: 30}}\n"), &["zones[0]: ", "missing field `name`", "line 4"]),
            (&format!("{lan}zones: [[a.example]]\n"), &["zones[0]: ", "a domain such as home.example", "line 3"]),
            (&format!("{lan}zones: []\nzones: []\n"), &["duplicate mapping key `zones` is not allowed", "line 4"]),
            (&format!("{lan}zones: [5]\n"), &["zones[0]: ", "a domain such as home.example", "line 3"]),
        ] {
            let error = parse(text).expect_err(text).to_string();
            for part in expected {
                assert!(error.contains(part), "no {part:?} in {error}");
            }
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        assert_eq!(refusals("zones: [a..b]\ndefaultCertificate: x").len(), 2);
    }
}
