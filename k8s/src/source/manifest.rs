//! YAML text to objects, as `kubectl apply` would read it.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{EndpointAddress, EndpointSubset, Endpoints, Namespace, Secret, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
        networking::v1::{Ingress, IngressClass},
    },
};
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use serde_saphyr::{Error, UserMessageFormatter, budget::BudgetBreach};

use super::object::{Kind, Object};
use crate::{
    cluster_trust_bundle::ClusterTrustBundle,
    config_map::{AUTHORITIES, ConfigMap},
    external_dns::DnsEndpoint,
    gateway_api::{
        BackendTlsPolicy, BackendTlsPolicySpec, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet,
        ReferenceGrant, TcpRoute, TlsRoute, UdpRoute,
    },
    model::ObjectName,
};

/// What one document, or one item of a List, says.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// As its author names it. None where it does not say what it is.
    pub name: Option<ObjectName>,
    pub objects: Vec<Object>,
    /// What is wrong with it, and where; then it gives no objects.
    pub error: Option<String>,
}

/// All objects of a text. The error is the first thing that is wrong with it.
pub fn read(text: &str) -> Result<Vec<Object>, String> {
    let mut all = Vec::new();
    for Document { name, objects, error } in documents(text)? {
        match (name, error) {
            (_, None) => all.extend(objects),
            (Some(name), Some(error)) => return Err(format!("{name}: {error}")),
            (None, Some(error)) => return Err(error),
        }
    }
    Ok(all)
}

/// The YAML (or JSON) documents of a file. Kinds that nobody here watches are passed over.
///
/// The error is that of a text that is no YAML; then nothing of it can be used, because half of a
/// file that is being written is not what its author asked for. A document that is wrong stops no other.
pub fn documents(text: &str) -> Result<Vec<Document>, String> {
    let all: Vec<Documents> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| refusal(&error))?;
    let placed = all.into_iter().enumerate().flat_map(|(index, read)| read.at(&format!("document {}", index + 1)));
    Ok(placed.collect())
}

/// What one value says: a document, or the items of a List.
pub(super) struct Documents(Vec<Document>);

impl Documents {
    /// An object that does not say what it is can only be found by its place.
    pub(super) fn at(mut self, place: &str) -> Vec<Document> {
        for document in self.0.iter_mut().filter(|document| document.name.is_none()) {
            document.error = document.error.take().map(|error| format!("{place}{error}"));
        }
        self.0
    }
}

/// At once, so that of a long text only one document is ever held as what it was read as.
impl<'de> Deserialize<'de> for Documents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut documents = Vec::new();
        read_document(Value::deserialize(deserializer)?, "", &mut documents);
        Ok(Self(documents))
    }
}

/// Far more than ten thousand objects need, so that only what has no end, or was made to do harm, is refused.
const MOST_DOCUMENTS: usize = 100_000;
const MOST_VALUES: usize = 5_000_000;

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: MOST_DOCUMENTS,
            max_nodes: MOST_VALUES,
            max_events: 4 * MOST_VALUES,
            max_merge_keys: MOST_DOCUMENTS,
            // What aliases stand for is counted; how many there are says nothing.
            enforce_alias_anchor_ratio: false,
        },
    }
}

fn refusal(error: &Error) -> String {
    let line = error.location().map(|place| format!(" at line {}", place.line())).unwrap_or_default();
    match error {
        Error::AliasError { error, .. } if matches!(**error, Error::Budget { .. }) => refusal(error),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => format!("is nested too deeply{line}"),
        Error::Budget { .. } => format!(
            "holds more than is read of one file{line}: {MOST_DOCUMENTS} documents or {MOST_VALUES} values, where an alias counts for what it stands for"
        ),
        error => error.render_with_formatter(&UserMessageFormatter),
    }
}

/// `place` says where in its document the value is.
fn read_document(mut value: Value, place: &str, documents: &mut Vec<Document>) {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let mut nameless = |error: &str| {
        documents.push(Document { name: None, objects: Vec::new(), error: Some(format!("{place}: {error}")) });
    };
    if api.is_empty() || kind.is_empty() {
        return nameless("has no apiVersion or no kind");
    }
    if kind == "List" {
        let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else { return };
        for (index, item) in items.into_iter().enumerate() {
            read_document(item, &format!("{place}, item {}", index + 1), documents);
        }
        return;
    }
    let Some(watched) = WATCHED.iter().find(|it| it.kind.eq_ignore_ascii_case(&kind)) else { return };
    let right = watched.kind == kind && (watched.version == api || watched.also.contains(&api.as_str()));
    if !right && !is_kubernetes_own(&api) {
        return;
    }
    if name.is_empty() {
        return nameless(&format!("{kind} has no metadata.name"));
    }
    drop_nulls(&mut value);
    let namespace = place_in_namespace(&mut value, watched);
    let name = ObjectName::new(watched.kind, &namespace, &name);
    let policy =
        (watched.kind == Kind::BackendTlsPolicy.name()).then(|| value.get("spec").cloned().unwrap_or_default());
    let read = if right { (watched.decode)(value) } else { Err(misspelt(watched, &api, &kind)) };
    let (objects, error) = match (read, policy) {
        (Ok(objects), _) => (objects, None),
        (Err(error), Some(spec)) => (vec![unreadable_policy(&name, &spec, error)], None),
        (Err(error), None) => (Vec::new(), Some(error)),
    };
    documents.push(Document { name: Some(name), objects, error });
}

/// One that was left out would have its Services spoken to unverified. What is wrong with it is said by itself.
fn unreadable_policy(name: &ObjectName, spec: &Value, error: String) -> Object {
    let metadata = ObjectMeta {
        namespace: Some(name.namespace.to_string()),
        name: Some(name.name.to_string()),
        ..ObjectMeta::default()
    };
    BackendTlsPolicy { metadata, spec: BackendTlsPolicySpec::unreadable(spec, error) }.into()
}

/// A kind that is watched.
struct Watched {
    kind: &'static str,
    version: &'static str,
    /// Others of the same shape.
    also: &'static [&'static str],
    namespaced: bool,
    decode: fn(Value) -> Result<Vec<Object>, String>,
}

const V1ALPHA3: &[&str] = &["gateway.networking.k8s.io/v1alpha3"];
const V1BETA1: &[&str] = &["gateway.networking.k8s.io/v1beta1"];

#[rustfmt::skip]
const WATCHED: &[Watched] = &[
    Watched { kind: "BackendTLSPolicy", version: "gateway.networking.k8s.io/v1", also: V1ALPHA3, namespaced: true, decode: one::<BackendTlsPolicy> },
    Watched { kind: "ClusterTrustBundle", version: "certificates.k8s.io/v1beta1", also: &["certificates.k8s.io/v1", "certificates.k8s.io/v1alpha1"], namespaced: false, decode: one::<ClusterTrustBundle> },
    Watched { kind: "ConfigMap", version: "v1", also: &[], namespaced: true, decode: config_map },
    Watched { kind: "DNSEndpoint", version: "externaldns.k8s.io/v1alpha1", also: &[], namespaced: true, decode: one::<DnsEndpoint> },
    Watched { kind: "Endpoints", version: "v1", also: &[], namespaced: true, decode: endpoints },
    Watched { kind: "EndpointSlice", version: "discovery.k8s.io/v1", also: &[], namespaced: true, decode: one::<EndpointSlice> },
    Watched { kind: "Gateway", version: "gateway.networking.k8s.io/v1", also: V1BETA1, namespaced: true, decode: one::<Gateway> },
    Watched { kind: "GatewayClass", version: "gateway.networking.k8s.io/v1", also: V1BETA1, namespaced: false, decode: one::<GatewayClass> },
    Watched { kind: "GRPCRoute", version: "gateway.networking.k8s.io/v1", also: &[], namespaced: true, decode: one::<GrpcRoute> },
    Watched { kind: "HTTPRoute", version: "gateway.networking.k8s.io/v1", also: V1BETA1, namespaced: true, decode: one::<HttpRoute> },
    Watched { kind: "Ingress", version: "networking.k8s.io/v1", also: &[], namespaced: true, decode: one::<Ingress> },
    Watched { kind: "IngressClass", version: "networking.k8s.io/v1", also: &[], namespaced: false, decode: one::<IngressClass> },
    Watched { kind: "ListenerSet", version: "gateway.networking.k8s.io/v1", also: &[], namespaced: true, decode: one::<ListenerSet> },
    Watched { kind: "Namespace", version: "v1", also: &[], namespaced: false, decode: namespace },
    Watched { kind: "ReferenceGrant", version: "gateway.networking.k8s.io/v1", also: V1BETA1, namespaced: true, decode: one::<ReferenceGrant> },
    Watched { kind: "Secret", version: "v1", also: &[], namespaced: true, decode: secret },
    Watched { kind: "Service", version: "v1", also: &[], namespaced: true, decode: one::<Service> },
    Watched { kind: "TCPRoute", version: "gateway.networking.k8s.io/v1", also: &[], namespaced: true, decode: one::<TcpRoute> },
    Watched { kind: "TLSRoute", version: "gateway.networking.k8s.io/v1", also: &[], namespaced: true, decode: one::<TlsRoute> },
    Watched { kind: "UDPRoute", version: "gateway.networking.k8s.io/v1", also: &[], namespaced: true, decode: one::<UdpRoute> },
];

/// Others have an Ingress or a Gateway too, of groups that look like a domain of theirs.
fn is_kubernetes_own(api: &str) -> bool {
    let group = api.split_once('/').map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// An old version, or a slip of the pen: to pass over it in silence would leave its author without a word.
fn misspelt(watched: &Watched, api: &str, kind: &str) -> String {
    format!("is written as {kind} of {api}, expected {} of {}", watched.kind, watched.version)
}

fn one<T: DeserializeOwned + Into<Object>>(value: Value) -> Result<Vec<Object>, String> {
    Ok(vec![typed::<T>(value)?.into()])
}

/// The error begins with the path in the object.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string().as_str() {
        "." => error.inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })
}

/// Where an object does not name its namespace it is `default`; where its kind has none, what it names is dropped.
fn place_in_namespace(value: &mut Value, watched: &Watched) -> String {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return String::new() };
    if !watched.namespaced {
        metadata.remove("namespace");
        return String::new();
    }
    let namespace = metadata.entry("namespace").or_insert_with(|| "".into());
    if namespace == "" {
        *namespace = "default".into();
    }
    namespace.as_str().unwrap_or_default().to_owned()
}

/// A field that is null is one that is not set. In a map of strings it is an empty string, as the API server reads
/// it: a selector must not select more because a value is missing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["annotations", "labels", "matchLabels"] {
                let strings = fields.get_mut(name).and_then(Value::as_object_mut);
                for null in strings.into_iter().flat_map(|strings| strings.values_mut()).filter(|it| it.is_null()) {
                    *null = "".into();
                }
            }
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The API server gives every Namespace a label with its name, which selectors go by.
fn namespace(value: Value) -> Result<Vec<Object>, String> {
    let mut namespace: Namespace = typed(value)?;
    let name = namespace.metadata.name.clone().unwrap_or_default();
    namespace.metadata.labels.get_or_insert_default().insert("kubernetes.io/metadata.name".to_owned(), name);
    Ok(vec![namespace.into()])
}

/// A cluster mirrors Endpoints into EndpointSlices unless they say not to. (Nor those of a Service with a selector,
/// which is not known here; what they add to the EndpointSlices of such a Service is their author's word.)
fn endpoints(value: Value) -> Result<Vec<Object>, String> {
    let Endpoints { metadata, subsets } = typed(value)?;
    let says = |of: &Option<BTreeMap<String, String>>, key: &str| of.as_ref().and_then(|all| all.get(key)).cloned();
    if says(&metadata.labels, "endpointslice.kubernetes.io/skip-mirror").as_deref() == Some("true")
        || says(&metadata.annotations, "control-plane.alpha.kubernetes.io/leader").is_some()
    {
        return Ok(Vec::new());
    }
    let mut slices = Vec::new();
    for (index, subset) in subsets.into_iter().flatten().enumerate() {
        for (family, endpoints) in by_family(index, &subset)? {
            let mut metadata = metadata.clone();
            let service = metadata.name.clone().unwrap_or_default();
            // No EndpointSlice that somebody wrote can have a name with a capital letter.
            metadata.name = Some(format!("{service}-{index}-{family}"));
            metadata.labels.get_or_insert_default().insert("kubernetes.io/service-name".to_owned(), service);
            let ports = subset.ports.iter().flatten().cloned().map(|port| EndpointPort {
                app_protocol: port.app_protocol,
                name: port.name,
                port: Some(port.port),
                protocol: port.protocol,
            });
            let ports = Some(ports.collect());
            slices.push(EndpointSlice { address_type: family.to_owned(), endpoints, metadata, ports }.into());
        }
    }
    Ok(slices)
}

fn by_family(index: usize, subset: &EndpointSubset) -> Result<BTreeMap<&'static str, Vec<Endpoint>>, String> {
    let mut families: BTreeMap<_, Vec<Endpoint>> = BTreeMap::new();
    for (field, addresses, ready) in
        [("addresses", &subset.addresses, true), ("notReadyAddresses", &subset.not_ready_addresses, false)]
    {
        for (place, EndpointAddress { ip, .. }) in addresses.iter().flatten().enumerate() {
            let family = match ip.parse() {
                Ok(IpAddr::V4(_)) => "IPv4",
                Ok(IpAddr::V6(_)) => "IPv6",
                Err(_) => return Err(format!("subsets[{index}].{field}[{place}].ip: {ip:?} is not an IP address")),
            };
            let conditions = Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() });
            let endpoint = Endpoint { addresses: vec![ip.clone()], conditions, ..Endpoint::default() };
            families.entry(family).or_default().push(endpoint);
        }
    }
    Ok(families)
}

/// Of others nothing is read, so nothing in them can be wrong.
fn config_map(value: Value) -> Result<Vec<Object>, String> {
    let has_authorities = value.get("data").and_then(|data| data.get(AUTHORITIES)).is_some();
    if has_authorities { one::<ConfigMap>(value) } else { Ok(Vec::new()) }
}

/// Only a Secret of this type is anybody's here; of another one nothing is read, so nothing in it can be wrong.
const TLS: &str = "kubernetes.io/tls";

/// As the API server does on write, `stringData` becomes `data`. No error shows a value: it may be a key.
fn secret(mut value: Value) -> Result<Vec<Object>, String> {
    if value.get("type").and_then(Value::as_str) != Some(TLS) {
        return Ok(Vec::new());
    }
    let mut data = BTreeMap::new();
    for (key, coded) in take_strings(&mut value, "data")? {
        // Written over several lines it has line breaks, which count for nothing.
        let coded: String = coded.split_ascii_whitespace().collect();
        let bytes = serde_json::from_value(coded.into())
            .map_err(|_| format!("data.{key}: is not base64; if the file is encrypted, decrypt it first"))?;
        data.insert(key, bytes);
    }
    for (key, text) in take_strings(&mut value, "stringData")? {
        data.insert(key, ByteString(text.into_bytes()));
    }
    let secret: Secret = typed(value)?;
    Ok(vec![Secret { data: Some(data), ..secret }.into()])
}

fn take_strings(value: &mut Value, field: &str) -> Result<Vec<(String, String)>, String> {
    let strings = match value.get_mut(field).map(Value::take) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(strings)) => strings,
        Some(_) => return Err(format!("{field}: is not a map")),
    };
    strings
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            _ => Err(format!("{field}.{key}: is not a string")),
        })
        .collect()
}

#[cfg(test)]
mod tests;
