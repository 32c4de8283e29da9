//! Filters of the rules and backendRefs of an HTTPRoute or GRPCRoute.

use serde::{Deserialize, Serialize};

use super::{BackendObjectReference, LocalObjectReference};
use crate::kind::or_default;

/// A filter of a kind this version does not know keeps its `type` and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteFilter {
    #[serde(rename = "type")]
    pub type_: String,
    pub request_header_modifier: Option<HeaderModifier>,
    pub response_header_modifier: Option<HeaderModifier>,
    pub request_redirect: Option<HttpRequestRedirect>,
    pub request_mirror: Option<HttpRequestMirror>,
    pub url_rewrite: Option<HttpUrlRewrite>,
    pub cors: Option<HttpCors>,
    /// Of the experimental channel: CRDs of the standard one do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<HttpExternalAuth>,
    pub extension_ref: Option<LocalObjectReference>,
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

/// Everything is mirrored where neither a percentage nor a fraction is named.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestMirror {
    pub backend_ref: BackendObjectReference,
    pub percent: Option<u32>,
    pub fraction: Option<Fraction>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Fraction {
    pub numerator: u32,
    /// 100 where not set.
    pub denominator: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpCors {
    /// `*`, or `https://*.home.example:8443`.
    #[serde(default, deserialize_with = "or_default")]
    pub allow_origins: Vec<String>,
    pub allow_credentials: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    pub allow_methods: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub allow_headers: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub expose_headers: Vec<String>,
    /// In seconds; 5 where not set.
    pub max_age: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExternalAuth {
    /// `HTTP` or `GRPC`.
    #[serde(default, deserialize_with = "or_default")]
    pub protocol: String,
    pub backend_ref: BackendObjectReference,
    pub http: Option<HttpAuthConfig>,
    pub grpc: Option<GrpcAuthConfig>,
    pub forward_body: Option<ForwardBody>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuthConfig {
    /// What comes before the path of the client's request.
    pub path: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub allowed_headers: Vec<String>,
    /// None is all.
    #[serde(default, deserialize_with = "or_default")]
    pub allowed_response_headers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAuthConfig {
    /// None is all.
    #[serde(default, deserialize_with = "or_default")]
    pub allowed_headers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardBody {
    /// In bytes; 0 is not at all.
    pub max_size: Option<u64>,
}
