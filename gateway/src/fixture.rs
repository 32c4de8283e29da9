//! Small models and zones, for unit tests.

use std::sync::Arc;

use k8s::{
    config::{self, Config},
    model::{Attachment, EntryPoint, HostPattern, Labels, Listener, ListenerProtocol, Model, ObjectName, Route, Trust},
};

/// `text` with an entry point, which every configuration must have.
pub(crate) fn config(text: &str) -> Config {
    config::parse(&format!("entryPoints: {{lan: {{addresses: [192.168.8.21], http: 80}}}}\n{text}"))
        .expect("a right configuration")
}

/// One entry point for each name: (`192.168.8.21 fd00::21`, `grafana.home.example`). Its addresses are
/// its name too (`nowhere` without one), and the Ingress is called after the host.
pub(crate) fn model(served: &[(&str, &str)]) -> Model {
    Model {
        entry_points: served.iter().map(|(addresses, name)| entry_point(addresses, name)).collect(),
        ..Model::default()
    }
}

fn entry_point(addresses: &str, name: &str) -> EntryPoint {
    EntryPoint {
        name: if addresses.is_empty() { "nowhere" } else { addresses }.into(),
        addresses: addresses.split(' ').filter(|it| !it.is_empty()).map(|it| it.parse().expect("an address")).collect(),
        trust: Trust::default(),
        listeners: vec![Listener {
            name: "http".into(),
            port: 80,
            sockets: Vec::new(),
            protocol: ListenerProtocol::Http { redirect_to_https: None },
            hostname: None,
            certificates: Vec::new(),
            default_certificate: None,
            routes: vec![Attachment {
                hostnames: vec![HostPattern::parse(name, Labels::OneOrMore).expect("a pattern")],
                route: Arc::new(Route {
                    source: ObjectName::new("Ingress", "default", name),
                    created: 0,
                    rules: Vec::new(),
                    falls_through: false,
                }),
            }],
        }],
    }
}
