//! Every field of the Gateway API that is read is set in one file, which the CRDs accept.
//!
//! This half needs no cluster. The other, in the cluster tests, has the API server validate the
//! same file strictly: together they say that no field is read that the CRDs do not have.

use std::collections::BTreeSet;

use k8s::source::{Object, manifest};
use serde_json::Value;

const EVERY_FIELD: &str = include_str!("gateway_api/every_field.yaml");

#[test]
fn the_file_sets_every_field_that_is_read() {
    let (mut set, mut unset) = (BTreeSet::new(), BTreeSet::new());
    for object in manifest::read(EVERY_FIELD).expect("the file is right") {
        let (kind, spec) = match &object {
            Object::BackendTlsPolicy(it) => ("BackendTLSPolicy", serde_json::to_value(&it.spec)),
            Object::Gateway(it) => ("Gateway", serde_json::to_value(&it.spec)),
            Object::GatewayClass(it) => ("GatewayClass", serde_json::to_value(&it.spec)),
            Object::GrpcRoute(it) => ("GRPCRoute", serde_json::to_value(&it.spec)),
            Object::HttpRoute(it) => ("HTTPRoute", serde_json::to_value(&it.spec)),
            Object::ReferenceGrant(it) => ("ReferenceGrant", serde_json::to_value(&it.spec)),
            Object::ListenerSet(it) => ("ListenerSet", serde_json::to_value(&it.spec)),
            Object::TcpRoute(it) => ("TCPRoute", serde_json::to_value(&it.spec)),
            Object::UdpRoute(it) => ("UDPRoute", serde_json::to_value(&it.spec)),
            Object::TlsRoute(it) => ("TLSRoute", serde_json::to_value(&it.spec)),
            other => panic!("{other:?} is not of the Gateway API"),
        };
        walk(kind, &spec.expect("what was read can be written"), &mut set, &mut unset);
    }
    assert!(set.len() > 80, "{set:#?}");
    let never: Vec<_> = unset.difference(&set).collect();
    assert!(never.is_empty(), "every_field.yaml sets these nowhere: {never:#?}");
}

/// Of one type each.
const ALIKE: [(&str, &str); 4] = [
    ("backendRefs[].filters", "filters"),
    ("GRPCRoute.rules[].filters", "HTTPRoute.rules[].filters"),
    ("ListenerSet.listeners[]", "Gateway.listeners[]"),
    ("ListenerSet.parentRef.", "HTTPRoute.parentRefs[]."),
];

/// Sorts the paths of all fields into those that are set and those that are not; elements of a list share a path,
/// and so does what is [`ALIKE`].
fn walk(path: &str, value: &Value, set: &mut BTreeSet<String>, unset: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let path = ALIKE.iter().fold(format!("{path}.{name}"), |path, (a, b)| path.replace(a, b));
                walk(&path, field, set, unset);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for element in elements {
                walk(&format!("{path}[]"), element, set, unset);
            }
        }
        Value::Null | Value::Object(_) | Value::Array(_) => {
            unset.insert(path.to_owned());
            return;
        }
        _ => {}
    }
    set.insert(path.to_owned());
}
