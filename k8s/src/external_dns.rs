//! The type of external-dns that Doorward reads: DNSEndpoint (externaldns.k8s.io/v1alpha1), records by hand.

use serde::{Deserialize, Serialize};

use crate::kind::{kind, or_default};

pub const GROUP: &str = "externaldns.k8s.io";

kind!(
    DnsEndpoint,
    DnsEndpointSpec,
    GROUP,
    "v1alpha1",
    "DNSEndpoint",
    "dnsendpoints",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsEndpointSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub endpoints: Vec<Endpoint>,
}

/// Records of one type for one name. Its own labels and what providers need are for external-dns alone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    #[serde(default, deserialize_with = "or_default")]
    pub dns_name: String,
    /// `A` where not set.
    pub record_type: Option<String>,
    /// In seconds; 0 is not set.
    #[serde(rename = "recordTTL")]
    pub record_ttl: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub targets: Vec<String>,
}
