//! BackendTLSPolicy: TLS to backends, and how their certificates are verified.

use serde::{Deserialize, Serialize};

use super::{GROUP, LocalObjectReference};
use crate::kind::{kind, or_default};

kind!(
    BackendTlsPolicy,
    BackendTlsPolicySpec,
    GROUP,
    "v1",
    "BackendTLSPolicy",
    "backendtlspolicies",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);

/// Its `options` are for implementations that have some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    #[serde(default, deserialize_with = "or_default")]
    pub target_refs: Vec<PolicyTargetReference>,
    #[serde(default, deserialize_with = "or_default")]
    pub validation: BackendTlsPolicyValidation,
}

/// To an object in the policy's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTargetReference {
    #[serde(default, deserialize_with = "or_default")]
    pub group: String,
    pub kind: String,
    pub name: String,
    /// The name of a Service's port. Not set is all of them.
    pub section_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicyValidation {
    #[serde(default, deserialize_with = "or_default")]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// `System`.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub hostname: String,
    #[serde(default, deserialize_with = "or_default")]
    pub subject_alt_names: Vec<SubjectAltName>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct SubjectAltName {
    #[serde(rename = "type")]
    pub type_: String,
    pub hostname: Option<String>,
    pub uri: Option<String>,
}
