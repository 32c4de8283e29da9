//! TLSRoute, TCPRoute and UDPRoute: what is carried unread.

use serde::{Deserialize, Serialize};

use super::{BackendRef, GROUP, ParentReference};
use crate::kind::{kind, or_default};

kind!(
    TlsRoute,
    TlsRouteSpec,
    GROUP,
    "v1",
    "TLSRoute",
    "tlsroutes",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);
kind!(
    TcpRoute,
    StreamRouteSpec,
    GROUP,
    "v1",
    "TCPRoute",
    "tcproutes",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);
kind!(
    UdpRoute,
    StreamRouteSpec,
    GROUP,
    "v1",
    "UDPRoute",
    "udproutes",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub parent_refs: Vec<ParentReference>,
    #[serde(default, deserialize_with = "or_default")]
    pub hostnames: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub rules: Vec<StreamRouteRule>,
}

/// Of TCPRoutes and UDPRoutes, which know no names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRouteSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub parent_refs: Vec<ParentReference>,
    #[serde(default, deserialize_with = "or_default")]
    pub rules: Vec<StreamRouteRule>,
}

/// There is nothing to tell rules apart by: the first one counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRouteRule {
    pub name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub backend_refs: Vec<BackendRef>,
}
