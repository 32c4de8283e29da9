//! Small sets of claims, and configurations, for unit tests.

use std::sync::Arc;

use k8s::{
    config::{self, Config},
    model::{ClaimedAnswer, HostPattern, Labels, NameClaim, ObjectName, RecordData},
};

/// `text` with an entry point, which every configuration must have.
pub(crate) fn config(text: &str) -> Config {
    config::parse(&format!("entryPoints: {{lan: {{addresses: [192.168.8.21], http: 80}}}}\n{text}"))
        .expect("a right configuration")
}

/// A claim for each (`192.168.8.21 fd00::21`, `grafana.home.example`). The addresses are the entry point's
/// name too (`nowhere` without one), unless it stands before them (`default/vpn=192.168.8.23`), and the Ingress
/// is called after the host. Only hosts with a `+` before them have TLS.
pub(crate) fn claims(served: &[(&str, &str)]) -> Vec<NameClaim> {
    served.iter().map(|(addresses, name)| claim(addresses, name)).collect()
}

fn claim(addresses: &str, name: &str) -> NameClaim {
    let (name, https) = name.strip_prefix('+').map_or((name, false), |name| (name, true));
    let entry_point = if addresses.is_empty() { "nowhere" } else { addresses };
    let (entry_point, addresses) = addresses.split_once('=').unwrap_or((entry_point, addresses));
    NameClaim {
        name: pattern(name),
        object: ObjectName::new("Ingress", "default", name),
        ttl: None,
        answer: ClaimedAnswer::EntryPoint {
            name: entry_point.into(),
            addresses: addresses
                .split(' ')
                .filter(|it| !it.is_empty())
                .map(|it| it.parse().expect("an address"))
                .collect(),
            https,
        },
    }
}

/// A DNSEndpoint of that name with its records.
pub(crate) fn records(name: &str, data: impl IntoIterator<Item = RecordData>) -> NameClaim {
    NameClaim {
        name: pattern(name),
        object: ObjectName::new("DNSEndpoint", "default", name),
        ttl: None,
        answer: ClaimedAnswer::Records(data.into_iter().collect()),
    }
}

pub(crate) fn alias(name: &str, target: &str) -> NameClaim {
    records(name, [RecordData::Cname(target.parse().expect("a name"))])
}

pub(crate) fn text(strings: &[&str]) -> RecordData {
    RecordData::Txt(strings.iter().map(|text| Arc::from(*text)).collect())
}

pub(crate) fn withheld(name: &str, why: &str) -> NameClaim {
    NameClaim { answer: ClaimedAnswer::Withheld(why.into()), ..claim("", name) }
}

fn pattern(name: &str) -> HostPattern {
    HostPattern::parse(name, Labels::OneOrMore).expect("a pattern")
}
