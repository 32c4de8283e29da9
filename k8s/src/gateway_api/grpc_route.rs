//! GRPCRoute.

use serde::{Deserialize, Serialize};

use super::{GROUP, HttpBackendRef, HttpHeaderMatch, HttpRouteFilter, ParentReference, SessionPersistence};
use crate::kind::{kind, or_default};

kind!(
    GrpcRoute,
    GrpcRouteSpec,
    GROUP,
    "v1",
    "GRPCRoute",
    "grpcroutes",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub parent_refs: Vec<ParentReference>,
    #[serde(default, deserialize_with = "or_default")]
    pub hostnames: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub rules: Vec<GrpcRouteRule>,
}

/// Its filters and backends have the form of an HTTPRoute's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteRule {
    pub name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub matches: Vec<GrpcRouteMatch>,
    #[serde(default, deserialize_with = "or_default")]
    pub filters: Vec<HttpRouteFilter>,
    #[serde(default, deserialize_with = "or_default")]
    pub backend_refs: Vec<HttpBackendRef>,
    /// Of the experimental channel: CRDs of the standard one do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct GrpcRouteMatch {
    pub method: Option<GrpcMethodMatch>,
    #[serde(default, deserialize_with = "or_default")]
    pub headers: Vec<HttpHeaderMatch>,
}

/// Of an exact match, what is not named may be anything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct GrpcMethodMatch {
    /// `Exact` where not set.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    pub service: Option<String>,
    pub method: Option<String>,
}
