//! Ingresses with their Services, as manifests say them.

use std::{fmt::Write, iter, sync::Arc};

use k8s::{
    config::{self, Config},
    snapshot::Snapshot,
    source::{Object, manifest},
};

use crate::routes::host;

pub fn configuration() -> Arc<Config> {
    let text = "zones: [home.example]\nentryPoints: {lan: {addresses: [192.168.8.21], http: 80}}\ningress: {classes: {internal: lan}}\ndns: {addresses: [192.168.8.22]}";
    Arc::new(config::parse(text).expect("a right configuration"))
}

const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: internal}\n\
                     spec: {controller: doorward.dev/ingress}";

/// As many Ingresses as asked for, each with one host, three paths and a Service.
pub fn snapshot(n_ingresses: usize) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for text in iter::once(CLASS.to_owned()).chain((0..n_ingresses).map(ingress_and_service)) {
        for object in manifest::read(&text).expect("right manifests") {
            match object {
                Object::IngressClass(it) => snapshot.ingress_classes.push(it),
                Object::Ingress(it) => snapshot.ingresses.push(it),
                Object::Service(it) => snapshot.services.push(it),
                other => panic!("{other:?} was not written"),
            }
        }
    }
    snapshot
}

fn ingress_and_service(number: usize) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: app-{number}, namespace: default}}\n\
         spec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: app-{number}, namespace: default}}\n\
         spec:\n  ingressClassName: internal\n  rules:\n  - host: {}\n    http:\n      paths:\n",
        host(number)
    );
    for path in ["/", "/api", "/static/assets"] {
        let backend = format!("service: {{name: app-{number}, port: {{name: http}}}}");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "      - {{path: {path}, pathType: Prefix, backend: {{{backend}}}}}");
    }
    text
}
