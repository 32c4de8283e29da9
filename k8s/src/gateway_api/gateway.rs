//! GatewayClass, Gateway and ListenerSet.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use super::{GROUP, HttpRouteFilter, LocalObjectReference, ObjectReference, ParentReference, SecretObjectReference};
use crate::kind::{kind, or_default};

kind!(GatewayClass, GatewayClassSpec, GROUP, "v1", "GatewayClass", "gatewayclasses", k8s_openapi::ClusterResourceScope);
kind!(Gateway, GatewaySpec, GROUP, "v1", "Gateway", "gateways", k8s_openapi::NamespaceResourceScope);
kind!(ListenerSet, ListenerSetSpec, GROUP, "v1", "ListenerSet", "listenersets", k8s_openapi::NamespaceResourceScope);

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    pub controller_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    pub gateway_class_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub listeners: Vec<Listener>,
    #[serde(default, deserialize_with = "or_default")]
    pub addresses: Vec<GatewayAddress>,
    pub infrastructure: Option<Infrastructure>,
    pub allowed_listeners: Option<AllowedListeners>,
    pub tls: Option<GatewayTls>,
}

/// More listeners for a Gateway, of somebody who may not write the Gateway.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// A Gateway where it does not say otherwise. It has no section and no port.
    pub parent_ref: ParentReference,
    #[serde(default, deserialize_with = "or_default")]
    pub listeners: Vec<Listener>,
}

/// For what is made on behalf of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Infrastructure {
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    pub parameters_ref: Option<LocalObjectReference>,
}

/// Whose ListenerSets a Gateway takes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct AllowedListeners {
    /// Nobody's where not set; `from` of it, too.
    pub namespaces: Option<FromNamespaces>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct GatewayTls {
    pub frontend: Option<FrontendTls>,
    pub backend: Option<BackendTls>,
}

/// Towards backends.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    pub client_certificate_ref: Option<SecretObjectReference>,
}

/// Towards clients, for all HTTPS listeners.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTls {
    #[serde(default, deserialize_with = "or_default")]
    pub default: TlsConfig,
    /// In place of the default.
    #[serde(default, deserialize_with = "or_default")]
    pub per_port: Vec<PortTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct PortTls {
    pub port: u16,
    #[serde(default, deserialize_with = "or_default")]
    pub tls: TlsConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct TlsConfig {
    pub validation: Option<ClientValidation>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientValidation {
    #[serde(default, deserialize_with = "or_default")]
    pub ca_certificate_refs: Vec<ObjectReference>,
    /// `AllowValidOnly` where not set.
    pub mode: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct GatewayAddress {
    /// `IPAddress` where not set.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub name: String,
    pub hostname: Option<String>,
    pub port: u16,
    pub protocol: String,
    pub tls: Option<ListenerTls>,
    pub allowed_routes: Option<AllowedRoutes>,
    /// Of the experimental channel: CRDs of the standard one do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<ListenerFilters>,
}

/// Before a request's route is looked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct ListenerFilters {
    /// In this order, and of the types `ExternalAuth` and `ExtensionRef` only.
    #[serde(default, deserialize_with = "or_default")]
    pub requests: Vec<HttpRouteFilter>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// `Terminate` where not set.
    pub mode: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub certificate_refs: Vec<SecretObjectReference>,
    /// Of releases before v1.4, in the place of `spec.tls.frontend`; what is in it is not read.
    #[serde(skip_serializing)]
    pub frontend_validation: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct AllowedRoutes {
    /// `Same` where not set; `from` of it, too.
    pub namespaces: Option<FromNamespaces>,
    #[serde(default, deserialize_with = "or_default")]
    pub kinds: Vec<RouteGroupKind>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct FromNamespaces {
    /// `All`, `Same`, `Selector` or `None`.
    pub from: Option<String>,
    pub selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct RouteGroupKind {
    pub group: Option<String>,
    pub kind: String,
}
