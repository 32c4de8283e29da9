//! The zone that every server serves, as manifests and as a zone file, and the queries for it.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use benches::{random::Random, routes::host};

pub(crate) const ZONE: &str = "home.example";
const N_NAMES: usize = 1_000;
/// More than a processor's caches foresee, and few enough to make in no time.
const N_QUERIES: usize = 20_000;

const V4: Ipv4Addr = Ipv4Addr::new(192, 168, 8, 21);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x21);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 8, 22);

const A: u16 = 1;
const AAAA: u16 = 28;
const HTTPS: u16 = 65;

/// Every name that is served, and whether it has an IPv6 address: one in two has.
pub(crate) fn names() -> impl Iterator<Item = (String, Ipv4Addr, Option<Ipv6Addr>)> {
    (0..N_NAMES).map(|number| (host(number), V4, has_v6(number).then_some(V6)))
}

fn has_v6(number: usize) -> bool {
    number % 2 == 1
}

/// For Knot, NSD and CoreDNS. SOA and TTLs are what `gateway` serves.
pub(crate) fn file() -> String {
    let mut text = format!(
        "$ORIGIN {ZONE}.\n$TTL 30\n@ 5 IN SOA ns hostmaster 1 7200 1800 86400 5\n@ IN NS ns\nns IN A {NAME_SERVER}\n"
    );
    for (name, v4, v6) in names() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}. IN A {v4}");
        if let Some(v6) = v6 {
            let _ = writeln!(text, "{name}. IN AAAA {v6}");
        }
    }
    text
}

/// The Ingresses from which `gateway` makes the same zone.
pub(crate) fn manifests() -> String {
    let mut text = String::new();
    for class in ["v4", "both"] {
        let _ = writeln!(
            text,
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {class}}}\nspec: {{controller: doorward.dev/ingress}}\n---"
        );
    }
    text.push_str(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {ports: [{port: 80}]}\n",
    );
    for (number, (name, _, v6)) in names().enumerate() {
        let class = if v6.is_some() { "both" } else { "v4" };
        let _ = write!(
            text,
            "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: app-{number}, namespace: default}}
spec:
  ingressClassName: {class}
  rules:
  - host: {name}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"
        );
    }
    text
}

/// The first door that serves a name gives it its addresses.
pub(crate) fn configuration(listen: SocketAddr) -> String {
    let address = listen.ip();
    format!(
        "zones: [{ZONE}]
entryPoints:
  v4: {{addresses: [{V4}], http: 80}}
  both: {{addresses: [{V4}, '{V6}'], http: 81, default: true}}
ingress: {{classes: {{v4: v4, both: both}}}}
dns: {{listen: [\"{listen}\"], addresses: [{NAME_SERVER}]}}
admin: {{gateway: \"{address}:9153\", router: \"{address}:9154\"}}
drain: {{delay: 0}}
"
    )
}

/// A query, and what is right to answer.
#[derive(Debug)]
pub(crate) struct Query {
    /// With the id 0.
    pub(crate) bytes: Vec<u8>,
    pub(crate) rcode: u8,
    pub(crate) n_answers: u16,
}

/// What a home asks: 55 % A, 20 % AAAA, 20 % HTTPS and 5 % for names that do not exist; half of it with
/// EDNS, a quarter in random case.
pub(crate) fn queries() -> Vec<Query> {
    let mut random = Random::new(7);
    (0..N_QUERIES).map(|_| query(&mut random)).collect()
}

fn query(random: &mut Random) -> Query {
    let number = random.below(N_NAMES);
    let (host, kind, rcode, n_answers) = match random.below(100) {
        0..55 => (host(number), A, 0, 1),
        55..75 => (host(number), AAAA, 0, u16::from(has_v6(number))),
        75..95 => (host(number), HTTPS, 0, 0),
        _ => (host(N_NAMES + number), A, 3, 0),
    };
    let mixed_case = random.below(4) == 0;
    let edns = random.below(2) == 0;
    // One question, and recursion desired, as forwarders say.
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    for label in host.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.bytes().map(|byte| {
            let upper = mixed_case && random.below(2) == 0;
            if upper { byte.to_ascii_uppercase() } else { byte }
        }));
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    if edns {
        // An OPT with a payload of 1232 bytes.
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    Query { bytes, rcode, n_answers }
}
