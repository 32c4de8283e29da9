//! What only a cluster of our own may be used for: its API server stops, its CRDs go, its nodes fail.

#[path = "lab/api_server.rs"]
mod api_server;
#[path = "lab/gateway_api.rs"]
mod gateway_api;
#[path = "lab/last_known.rs"]
mod last_known;
#[path = "lab/late_crds.rs"]
mod late_crds;
#[path = "lab/many_routes.rs"]
mod many_routes;
#[path = "lab/pods.rs"]
mod pods;
#[path = "lab/statuses.rs"]
mod statuses;

use std::process::Command;

/// A Gateway of the test's own class, with its class.
const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: internal}
spec: {controllerName: doorward.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: home, namespace: default}
spec:
  gatewayClassName: internal
  listeners: [{name: http, protocol: HTTP, port: 8088}]
---
";

/// A route on it.
fn route(service: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app, namespace: default}}
spec:
  parentRefs: [{{name: home}}]
  hostnames: [gateway.home.example]
  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]
"
    )
}

/// `tests/lab/lab` with these arguments, still to be run.
fn lab_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/lab/lab"));
    command.args(arguments);
    command
}

/// Runs it, and returns what it says.
///
/// # Panics
/// When it fails.
fn lab(arguments: &[&str]) -> String {
    let output = lab_command(arguments).output().expect("the lab is beside these tests");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "lab {arguments:?}: {said}");
    said
}
