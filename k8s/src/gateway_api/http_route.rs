//! HTTPRoute.

use serde::{Deserialize, Serialize};

use super::{BackendObjectReference, GROUP, HttpRouteFilter, ParentReference, SessionPersistence};
use crate::kind::{kind, or_default};

kind!(
    HttpRoute,
    HttpRouteSpec,
    GROUP,
    "v1",
    "HTTPRoute",
    "httproutes",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub parent_refs: Vec<ParentReference>,
    #[serde(default, deserialize_with = "or_default")]
    pub hostnames: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub rules: Vec<HttpRouteRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    pub name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub matches: Vec<HttpRouteMatch>,
    #[serde(default, deserialize_with = "or_default")]
    pub filters: Vec<HttpRouteFilter>,
    #[serde(default, deserialize_with = "or_default")]
    pub backend_refs: Vec<HttpBackendRef>,
    pub timeouts: Option<HttpRouteTimeouts>,
    pub retry: Option<HttpRouteRetry>,
    /// Of the experimental channel: CRDs of the standard one do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// A Gateway API duration: `500ms`, `1h30m`; `0s` is no limit.
    pub request: Option<String>,
    pub backend_request: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HttpRouteRetry {
    /// Statuses of answers.
    #[serde(default, deserialize_with = "or_default")]
    pub codes: Vec<u16>,
    /// Beyond the first try; 1 where not set, and 0 is none.
    pub attempts: Option<u32>,
    /// A Gateway API duration.
    pub backoff: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    pub path: Option<HttpPathMatch>,
    #[serde(default, deserialize_with = "or_default")]
    pub headers: Vec<HttpHeaderMatch>,
    #[serde(default, deserialize_with = "or_default")]
    pub query_params: Vec<HttpQueryParamMatch>,
    pub method: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HttpPathMatch {
    /// `PathPrefix` where not set.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// `/` where not set.
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HttpHeaderMatch {
    /// `Exact` where not set.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HttpQueryParamMatch {
    /// `Exact` where not set.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpBackendRef {
    #[serde(flatten)]
    pub target: BackendObjectReference,
    pub weight: Option<u32>,
    #[serde(default, deserialize_with = "or_default")]
    pub filters: Vec<HttpRouteFilter>,
}
