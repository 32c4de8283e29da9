//! GRPCRoute: where it is attached, and for which names.

use serde::{Deserialize, Serialize};

use super::{GROUP, ParentReference};
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

/// What its rules say is not read: nothing serves them yet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub parent_refs: Vec<ParentReference>,
    #[serde(default, deserialize_with = "or_default")]
    pub hostnames: Vec<String>,
}
