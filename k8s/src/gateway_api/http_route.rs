//! HTTPRoute.

use serde::{Deserialize, Serialize};

use super::{BackendObjectReference, GROUP, ParentReference};
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
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// A Gateway API duration: `500ms`, `1h30m`; `0s` is no limit.
    pub request: Option<String>,
    pub backend_request: Option<String>,
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

/// A filter of a kind this version does not know keeps its `type` and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteFilter {
    #[serde(rename = "type")]
    pub type_: String,
    pub request_header_modifier: Option<HeaderModifier>,
    pub response_header_modifier: Option<HeaderModifier>,
    pub request_redirect: Option<HttpRequestRedirect>,
    pub url_rewrite: Option<HttpUrlRewrite>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HeaderModifier {
    #[serde(default, deserialize_with = "or_default")]
    pub set: Vec<HttpHeader>,
    #[serde(default, deserialize_with = "or_default")]
    pub add: Vec<HttpHeader>,
    #[serde(default, deserialize_with = "or_default")]
    pub remove: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HttpHeader {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestRedirect {
    pub scheme: Option<String>,
    pub hostname: Option<String>,
    pub path: Option<HttpPathModifier>,
    pub port: Option<u16>,
    pub status_code: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HttpUrlRewrite {
    pub hostname: Option<String>,
    pub path: Option<HttpPathModifier>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathModifier {
    #[serde(rename = "type")]
    pub type_: String,
    pub replace_full_path: Option<String>,
    pub replace_prefix_match: Option<String>,
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
